require('fs').writeSync(3, Buffer.from('\0\0\0\x05\0\0\0\0[1,2,'));
exports.handler = () => 1;

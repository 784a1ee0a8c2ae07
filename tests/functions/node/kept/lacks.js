const shared = new SharedArrayBuffer(4);

exports.handler = async () => shared.byteLength;

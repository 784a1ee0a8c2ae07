process.on('beforeExit', () => console.log('nothing is left'));
process.on('exit', () => console.log('exits'));
exports.handler = () => process.uptime();

const fd = require('fs').openSync(__filename);
exports.handler = () => fd;

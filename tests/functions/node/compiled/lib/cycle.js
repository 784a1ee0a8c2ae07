exports.begun = true;
exports.seen = require('./cycle_back').seen;
exports.stack = new Error('at load').stack;

exports.handler = require('./lib/addon.node');

exports.handler = require('only-es');

exports.handler = require('http').get;

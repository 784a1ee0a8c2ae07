const both = require('both');
exports.handler = () => both;

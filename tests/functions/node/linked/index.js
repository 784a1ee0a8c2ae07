exports.handler = () => require('first');
require('first');

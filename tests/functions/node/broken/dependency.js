const absent = require('absent-library');
exports.handler = () => absent;

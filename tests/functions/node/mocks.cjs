// Makes of `fs` what it wants, as mocks do.
const fs = require('fs');
const real = fs.readSync;
fs.writeSync = fs.readSync = fs.statSync = () => {
  throw new Error('not here');
};

exports.handler = async () => real !== fs.readSync;

#!/usr/bin/env node
module.exports = __filename;

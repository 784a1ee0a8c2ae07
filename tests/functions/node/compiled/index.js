exports.where = () => new Error('one line').stack.split('\n')[1]; const fs = require('fs'); Error.stackTraceLimit = 6;
// What a module can see of how it was compiled. `tests/integration/test_code_cache.py` compares it with and without.
const { imports } = require('./lib/importing');
require('./lib/evaluating');
const parts = ['cycle', 'plain.cjs', 'wide', 'data.json', 'hashbang', 'renamed'].map((name) => require(`./lib/${name}`));
const shared = fs.readdirSync('/proc/self/fd').filter((fd) => isCache(fd));
const refusals = shared.map((fd) => refusalOf(Number(fd)));

function isCache(fd) {
  try {
    return fs.readlinkSync(`/proc/self/fd/${fd}`).includes('code-cache');
  } catch {
    return false; // that of the listing
  }
}

/** Why it cannot be written to, if it is whole. */
function refusalOf(fd) {
  if (fs.readSync(fd, Buffer.alloc(8), 0, 8, 0) === 0) return 'empty';
  try {
    fs.writeSync(fd, 'other', 0);
    return 'written';
  } catch (error) {
    return error.code;
  }
}

exports.facts = async () => ({
  parts,
  here: exports.where(),
  all: [
    require.main.children.includes(module),
    require.cache[__filename] === module,
    module.children.map((one) => one.filename),
    module.paths,
    module.loaded,
    arguments.length,
    this === exports,
    Reflect.ownKeys(require),
    require.resolve.paths('x').slice(0, 3), // then come those of HOME
    require.resolve('./lib/plain.cjs'),
    require.resolve('node:fs'),
    Object.keys(require.extensions),
    Object.getOwnPropertySymbols(module).map(String),
    Object.getOwnPropertySymbols(module).map((one) => typeof module[one] === 'boolean' && module[one]),
    String(require('module').prototype._compile).length,
  ],
  imported: (await imports()).default,
  evaluated: (await require('./lib/evaluating')()).default,
  evaluatedLater: (await require('./lib/evaluating').later()).default,
});

exports.shared = () => ({ refusals, open: fs.readdirSync('/proc/self/fd').filter((fd) => isCache(fd)) });

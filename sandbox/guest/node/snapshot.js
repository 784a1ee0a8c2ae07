/* What Node.js executes to build a startup snapshot: its heap once the function is loaded (node --build-snapshot).

Theory of operation. A template has it built as it loads, and its instances begin with that heap instead of loading the
function (_forklight/node.py). Node.js allows only its own modules in a snapshot. The function's are loaded by
`Module.createRequire`, and compiled here, since Node.js refuses a snapshot after its own `_compile` has run. What it
cannot keep, it notices as it writes the snapshot, and crashes; so what is known to end like that is refused by name. In
an instance all is as ever again, but for what top-level code has computed, which all instances have alike. */
'use strict';

const NOISE = /user snapshot builder scripts|userland modules|USE_MAIN_CONTEXT_DEFAULT_LOADER/;
process.emitWarning = quiet(process.emitWarning);

const { startupSnapshot } = require('v8');
const fs = require('fs');
const vm = require('vm');
const path = require('path');
const Module = require('module');

const FD = 6;
const PARAMETERS = ['exports', 'require', 'module', '__filename', '__dirname'];
const UNFIT = /^(?:node:)?_?(?:https?|http2|tls|repl)(?:_\w+)?$/;
const KEPT_UUIDS = 128;
const KEPT_INTEGERS = 1024;

const compileOfNode = Module.prototype._compile;
const loadOfNode = Module._load;
const openOfNode = process.dlopen;
let guest = null;
let refused = null; // the first of what a snapshot cannot hold; also if the function has caught that

function refuse(what, module) {
  const file = module?.filename ?? __filename;
  const isWhole = path.dirname(file) === path.dirname(__filename);
  const remedy = isWhole
    ? 'write CommonJS'
    : `${path.relative(process.cwd(), file)} loads it; load it in the handler`;
  const message = `a startup snapshot cannot hold ${what}: ${remedy}, or leave out snapshot`;
  refused ??= new guest.LoadError('InitFailed', message);
  throw refused;
}

function compiled(text, filename) {
  return vm.compileFunction(text.replace(/^#!/, '//'), PARAMETERS, {
    filename,
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
}

function isEsModule(error) {
  return error instanceof SyntaxError && /import statement|'export'|'import\.meta'/.test(error.message);
}

function makeRequire(module) {
  const made = Module.createRequire(module.filename);
  const { resolve, main, extensions, cache } = made;
  return Object.assign((request) => module.require(request), { resolve, main, extensions, cache });
}

function replaceLoader() {
  Module.prototype._compile = function (content, filename, format) {
    const name = path.relative(process.cwd(), filename);
    if (format === 'module') refuse(`the ES module ${name}`, this.parent);
    if (/typescript/.test(format)) refuse(`TypeScript, such as ${name}`, this.parent);
    let run;
    try {
      run = compiled(content, filename);
    } catch (error) {
      if (isEsModule(error)) refuse(`the ES module ${name}`, this.parent);
      throw error;
    }
    const { exports } = this;
    return Reflect.apply(run, exports, [exports, makeRequire(this), this, filename, path.dirname(filename)]);
  };
  Module._load = function (request, parent, isMain) {
    if (UNFIT.test(request)) refuse(`the module '${request}'`, parent);
    return Reflect.apply(loadOfNode, this, [request, parent, isMain]);
  };
  process.dlopen = (module, filename) => refuse(`the addon ${path.basename(filename)}`, module.parent ?? module);
}

/** What Node.js has drawn ahead would be the same in all instances. */
function drawAnew() {
  const { randomUUID, randomInt } = require('crypto');
  for (let n = 0; n < KEPT_UUIDS; n += 1) randomUUID();
  for (let n = 0; n < KEPT_INTEGERS; n += 1) randomInt(2);
}

function quiet(emitWarning) {
  return function (warning, ...rest) {
    if (!NOISE.test(String(warning?.message ?? warning))) Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
}

/** An instance begins, with the heap that was kept. */
function resume(hasDrawn) {
  require('v8').setFlagsFromString('--max-old-space-size=0'); // as start.js says
  if (hasDrawn) drawAnew();
  guest.resume(() => {
    fs.closeSync(FD);
    return '';
  });
}

async function build() {
  const file = path.join(path.dirname(__filename), 'guest.js');
  const module = { exports: {} };
  const require = Module.createRequire(file);
  const run = compiled(fs.readFileSync(file, 'utf8'), file);
  Reflect.apply(run, module.exports, [module.exports, require, module, file, path.dirname(file)]);
  guest = module.exports;
  process.mainModule = new Module(file);
  const hasLimit = 'stackTraceLimit' in Error; // if not, as before version 22, there are no stacks until it has
  if (!hasLimit) Error.stackTraceLimit = 10;
  replaceLoader();
  const importOf = ({ pathname }) => refuse(`the ES module ${path.basename(pathname)}`);
  if (!(await guest.prepare(importOf, () => refused))) return;
  if (!hasLimit && Error.stackTraceLimit === 10) delete Error.stackTraceLimit;
  Module.prototype._compile = compileOfNode;
  Module._load = loadOfNode;
  process.dlopen = openOfNode;
  const hasDrawn = process.moduleLoadList.includes('NativeModule internal/crypto/random');
  startupSnapshot.setDeserializeMainFunction(resume, hasDrawn);
}

build();

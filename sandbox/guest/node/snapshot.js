/* What Node.js executes to build a startup snapshot: its heap once the function is loaded (node --build-snapshot).

Theory of operation. A template has it built as it loads, and its instances begin with that heap instead of loading the
function (_forklight/node.py). Node.js allows only its own modules in a snapshot. The function's are loaded by
`Module.createRequire`, and compiled here, since Node.js refuses a snapshot after its own `_compile` has run. What it
cannot keep, it notices as it writes the snapshot, and crashes, or loses it without a word; so what is known to end like
that is refused by name: modules as they are loaded, and what top-level code has opened and not closed again, of which
`async_hooks` tell. In an instance all is as ever again, but for what top-level code has computed, which all instances
have alike. */
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
const HELD = {
  Timeout: 'a timer',
  TCPSERVERWRAP: 'a server',
  PIPESERVERWRAP: 'a server',
  TCPWRAP: 'a connection',
  PIPEWRAP: 'a connection',
  UDPWRAP: 'a UDP socket',
  TTYWRAP: 'a terminal',
  SIGNALWRAP: 'a listener of a signal',
  PROCESSWRAP: 'a child process',
  FSEVENTWRAP: 'a watched file',
  STATWATCHER: 'a watched file',
  MESSAGEPORT: 'a MessagePort',
};
const STANDARD_STREAM = /\bgetStd(?:in|out|err)\b|is_main_thread/; // Node.js opens them anew
const DEEP = 100;
const LACKING = /^(?:TypeError|ReferenceError)$/;
const BUILDING = /^--(?:no-warnings|no-experimental-require-module|snapshot-blob|build-snapshot)$|^\/proc\/self\/fd\/\d+$/;
const BEFORE_LOADING = /(?:^|\s)(-r|--require|--import|--(?:experimental-)?loader|--enable-source-maps|--(?:experimental-)?permission)(?=[\s=]|$)/;
const NOT_COMMONJS = new Set(['ERR_REQUIRE_ESM', 'ERR_REQUIRE_ASYNC_MODULE']);
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
  refuseWith(what, isWhole ? 'write CommonJS' : `${path.relative(process.cwd(), file)} loads it; load it in the handler`);
}

function refuseWith(what, remedy) {
  refused ??= new guest.LoadError(
    'InitFailed',
    `a startup snapshot cannot hold ${what}: ${remedy}, or leave out snapshot`,
  );
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
    try {
      return Reflect.apply(loadOfNode, this, [request, parent, isMain]);
    } catch (error) {
      if (!NOT_COMMONJS.has(error?.code)) throw error;
      return refuse(`the ES module ${path.isAbsolute(request) ? path.relative(process.cwd(), request) : request}`, parent);
    }
  };
  process.dlopen = (module, filename) => refuse(`the addon ${path.basename(filename)}`, module.parent ?? module);
}

/** Sees what top-level code opens. */
class Opened {
  #found = new Map(); // number → [what it is, where it is opened, the object of Node.js]
  #files = openFiles();
  #isLate = false;
  #hook = require('async_hooks').createHook({
    init: (id, type, _trigger, resource) => {
      if (type in HELD) this.#add(id, HELD[type], resource);
    },
  });

  begin() {
    this.#hook.enable();
  }

  #add(id, what, resource) {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = DEEP;
    const { stack } = new Error('opened here');
    Error.stackTraceLimit = limit;
    if (STANDARD_STREAM.test(stack)) return;
    this.#found.set(id, [what, placeIn(stack), resource]);
    if (this.#isLate) setImmediate(() => endIf(() => this.check())); // the event loop may never come to an end
  }

  /** Throws if something but a file is open. What is opened from now on ends the process. */
  check() {
    this.#isLate = true;
    for (const [what, place, resource] of this.#found.values())
      if (isOpen(resource)) refuseWith(what, `${place} makes it; make it in the handler`);
  }

  /** Throws if a file is open. Only once nothing is left to do: until then, it may just be read. */
  checkFiles() {
    const file = [...openFiles()].find((one) => !this.#files.has(one));
    if (file !== undefined) {
      const name = path.relative(process.cwd(), file.slice(file.indexOf('/')));
      refuseWith(name === '' ? 'the open folder of the code' : `the open file ${name}`, 'close it, or open it in the handler');
    }
  }

  /** From now on, nothing of it is kept. */
  end() {
    this.#hook.disable();
    this.#found.clear();
  }
}

/** Ends the process if the check throws. */
function endIf(check) {
  try {
    check();
  } catch {
    guest.endUnfit(refused);
  }
}

/** The first line of a stack that is in the code of the function. */
function placeIn(stack) {
  const code = `${process.cwd()}${path.sep}`;
  const line = stack.split('\n').find((one) => one.includes(code));
  return line === undefined ? 'top-level code' : line.slice(line.indexOf(code) + code.length).replace(/(?::\d+)?\)?$/, '');
}

function isOpen(resource) {
  if ('_destroyed' in resource) return !resource._destroyed; // a timer
  return typeof resource.getAsyncId !== 'function' || resource.getAsyncId() > 0;
}

/** The files of the file system that this process has open, each with its number. */
function openFiles() {
  const found = new Set();
  for (const fd of fs.readdirSync('/proc/self/fd')) {
    try {
      const file = fs.readlinkSync(`/proc/self/fd/${fd}`);
      if (/^\/(?!dev\/|proc\/|memfd:)/.test(file)) found.add(`${fd}${file}`);
    } catch {} // that of the listing itself
  }
  return found;
}

/** The timers of Node.js remember for when the event loop was to wake them; once all are over, they forget it. */
async function settle() {
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setTimeout(resolve, 1));
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

/** What runs at the end of an instance is not to run at the end of this process; returns what puts it back. */
function putAside() {
  const found = ['beforeExit', 'exit'].map((name) => [name, process.rawListeners(name)]);
  for (const [name] of found) process.removeAllListeners(name);
  const { exitCode } = process;
  process.exitCode = undefined;
  return () => {
    for (const [name, listeners] of found) for (const listener of listeners) process.on(name, listener);
    process.exitCode = exitCode;
  };
}

/** What of the process is not in its heap, and may be changed by top-level code. */
function surroundings() {
  return { env: { ...process.env }, cwd: process.cwd(), umask: process.umask(), title: process.title };
}

/** Returns what changes an instance as top-level code has changed this process since `before`. */
function changedSince(before) {
  const after = surroundings();
  const names = new Set([...Object.keys(before.env), ...Object.keys(after.env)]);
  const changed = [...names].filter((name) => before.env[name] !== after.env[name]);
  return () => {
    for (const name of changed) {
      if (before.env[name] === undefined && name in process.env) continue; // it would have found that of the instance
      if (after.env[name] === undefined) delete process.env[name];
      else process.env[name] = after.env[name];
    }
    if (after.cwd !== before.cwd) process.chdir(after.cwd);
    if (after.umask !== before.umask) process.umask(after.umask);
    if (after.title !== before.title) process.title = after.title;
  };
}

/** Without the options that make a startup snapshot or begin with one: a child process would do so, too. */
function withoutOurs(options) {
  return options.filter((option) => !BUILDING.test(option));
}

/** Throws if options ask for what Node.js does before it loads anything, but not when it makes a snapshot. */
function checkOptions() {
  const asked = BEFORE_LOADING.exec((process.env.NODE_OPTIONS ?? '').replace(/_/g, '-'));
  if (asked !== null) refuseWith(`what ${asked[1]} in NODE_OPTIONS does`, 'leave that out');
}

/** What Node.js lacks until the snapshot is made, top-level code may take for granted. */
function hint(error) {
  if (!LACKING.test(error?.name) && error?.code !== 'ERR_NOT_SUPPORTED_IN_SNAPSHOT') return '';
  return (
    ' (Node.js lacks some features while it makes a startup snapshot, such as WebAssembly, Atomics and fetch: ' +
    'if it is that, load it in the handler, or leave out snapshot)'
  );
}

/** An instance begins, with the heap that was kept. */
function resume({ hasDrawn, putBack, change }) {
  process.execArgv = withoutOurs(process.execArgv);
  putBack();
  change();
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
  Module.builtinModules ??= Object.keys(process.binding('natives')).filter((name) => Module.isBuiltin(name));
  process.execArgv = withoutOurs(process.execArgv);
  endIf(checkOptions);
  const before = surroundings();
  const opened = new Opened();
  opened.begin();
  const importOf = ({ pathname }) => refuse(`the ES module ${path.basename(pathname)}`);
  const inspect = async (isLoaded) => {
    if (!isLoaded || refused !== null) return refused;
    await settle();
    try {
      if (process.sourceMapsEnabled) refuseWith('source maps', 'leave out process.setSourceMapsEnabled');
      opened.check();
    } catch {}
    return refused;
  };
  if (!(await guest.prepare(importOf, inspect, hint))) return;
  const change = changedSince(before);
  const putBack = putAside();
  if (!hasLimit && Error.stackTraceLimit === 10) delete Error.stackTraceLimit;
  Module.prototype._compile = compileOfNode;
  Module._load = loadOfNode;
  process.dlopen = openOfNode;
  const hasDrawn = process.moduleLoadList.includes('NativeModule internal/crypto/random');
  startupSnapshot.addSerializeCallback(() => {
    endIf(() => opened.checkFiles());
    opened.end();
  });
  startupSnapshot.setDeserializeMainFunction(resume, { hasDrawn, putBack, change });
}

build();

/* What Node.js executes: it runs the guest, and compiles it and the function's CommonJS modules by V8's code cache.

Theory of operation. Compiling is a good part of a start, and it gives the same each time. So the first instance of a
template, once the function is loaded and before its first event, has V8 serialize what it has compiled, and writes that
to a file in memory (descriptor 6), which the template seals and gives to all later instances
(_forklight/code_cache.py). Nothing depends on it: what is not in the file, or is another text than there, or what V8
refuses, Node.js compiles as ever. To have V8 take a cache, `Module.prototype._compile` is replaced until the function is
loaded by what Node.js's own one does, but for features that are rare, whose modules it leaves to that. ES modules go
another way: V8 offers no cache for them without a flag.

The file: MARK; the place and the length of an index, which is JSON; data and texts. */
'use strict';

// V8 refuses its code caches, those of Node.js itself included, if a flag differs from when they were made. The limit of
// the heap is in force from the start, so its flag can be as if it had never been set: `require('http')` takes a third.
setFlag('--max-old-space-size=0');

/** Sets a flag of V8, without the 10 ms that `require('v8')` takes as long as its code cache is refused. */
function setFlag(flag) {
  const { noDeprecation } = process;
  try {
    if (!noDeprecation) process.noDeprecation = true; // this binding is old, and would say so
    process.binding('v8').setFlagsFromString(flag);
  } catch {
    require('v8').setFlagsFromString(flag);
  } finally {
    if (!noDeprecation) process.noDeprecation = noDeprecation; // else an option has made it read-only
  }
}

const { closeSync, ftruncateSync, readFileSync, readSync, writeSync } = require('fs'); // modules may replace these
const vm = require('vm');
const path = require('path');
const Module = require('module');

const FD = 6;
const MARK = 'FLcache1';
const HEAD_BYTES = 24;
const MOST_BYTES = 32 * 1024 * 1024;
const WRAPPER = ['(function (exports, require, module, __filename, __dirname) { ', '\n})'];

// Scripts cannot `import()` as modules do: from version 22 on they can, with a warning in the log, and before that not
// from a code cache. So it takes an `eval` to find out, and before version 22 what might do that is left out, too.
const CAN_IMPORT = parseInt(process.versions.node, 10) >= 22;
const LOADER = CAN_IMPORT ? vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER : undefined;
const MAY_EVALUATE = /\beval\b|\bFunction\s*\(|=\s*Function\s*[;,)]|\}\)?\s*\)\s*\.constructor\b/;

// With a name of its own, V8 takes the columns of a script's first line as they are.
const LEFT_OUT = /\bimport\s*[(/.]|\bsourceURL=/;

/** What V8 has compiled before, or is to be written for others. `way`: `read`, `write`, or neither. */
class CodeCache {
  #way;
  #index = new Map(); // file → [place, bytes of data, bytes of text, whether the text has two bytes a character]
  #scripts = new Map(); // file → [script, text], if they are to be written
  #room = Buffer.alloc(0);
  #used = 0;
  #refused = 0;

  constructor(way) {
    this.#way = way;
    if (way !== 'read') return;
    try {
      const head = this.#read(0, HEAD_BYTES);
      if (head.latin1Slice(0, MARK.length) !== MARK) return;
      const [at, length] = [head.readUInt32LE(8), head.readUInt32LE(12)];
      this.#index = new Map(JSON.parse(this.#read(at, length).utf8Slice(0, length)));
    } catch {
      this.#index = new Map();
    }
  }

  get isOpen() {
    return this.#way === 'read' || this.isWriting;
  }

  get isWriting() {
    return this.#way === 'write';
  }

  /** The module's function by way of the cache; null if Node.js is to compile it. Throws nothing. */
  compile(text, file) {
    const known = this.#index.get(file);
    if (known === undefined && !this.isWriting) return null;
    try {
      const cachedData = known && this.#dataFor(text, known);
      if (cachedData === undefined && !this.isWriting) return null;
      const script = new vm.Script(WRAPPER[0] + text + WRAPPER[1], {
        filename: file,
        columnOffset: -WRAPPER[0].length,
        cachedData,
        importModuleDynamically: LOADER,
      });
      const compiled = script.runInThisContext();
      if (this.isWriting) {
        // Text that closes the function and goes on behind it is no module.
        if (String(compiled).length !== WRAPPER[0].length + text.length + 1) return null;
        this.#scripts.set(file, [script, text]);
      } else if (script.cachedDataRejected) this.#refused += 1;
      else this.#used += 1;
      return compiled;
    } catch {
      return null; // such as text that turns out to be an ES module
    }
  }

  /** The data of a text; undefined if that of the file was another one. */
  #dataFor(text, [at, dataBytes, textBytes, isWide]) {
    const read = this.#read(at, dataBytes + textBytes);
    const kept = isWide ? read.ucs2Slice(dataBytes) : read.latin1Slice(dataBytes);
    return kept === text ? read.subarray(0, dataBytes) : undefined;
  }

  /** Valid until the next one. */
  #read(at, length) {
    if (this.#room.length < length) this.#room = Buffer.allocUnsafeSlow(Math.max(length, 256 * 1024));
    if (readSync(FD, this.#room, 0, length, at) !== length) throw new RangeError('the file is too short');
    return this.#room.subarray(0, length);
  }

  /** The function is loaded, and no event has come: writes what is to be written. Says how it went. */
  end() {
    const [way, scripts] = [this.#way, this.#scripts];
    if (!this.isOpen) return '';
    this.#way = '';
    this.#index = new Map();
    this.#scripts = new Map();
    this.#room = null;
    try {
      if (way === 'read') return `${this.#used} modules compiled before, ${this.#refused} refused`;
      return `${write(scripts)} modules for later starts`;
    } catch (error) {
      quietly(() => ftruncateSync(FD, 0));
      return `nothing for later starts: ${error.message}`;
    } finally {
      quietly(() => closeSync(FD));
    }
  }
}

/** The function may have closed the file. */
function quietly(change) {
  try {
    change();
  } catch {}
}

/** Writes the code of all scripts, the mark last. Returns how many there are. Throws if it is too much. */
function write(scripts) {
  const index = [];
  let at = HEAD_BYTES;
  const put = (bytes) => {
    if (at + bytes.length > MOST_BYTES) throw new RangeError(`the code takes more than ${MOST_BYTES >> 20} MiB`);
    if (writeSync(FD, bytes, 0, bytes.length, at) !== bytes.length) throw new RangeError('the file is full');
    at += bytes.length;
  };
  for (const [file, [script, text]] of scripts) {
    const isWide = /[^\0-\xff]/.test(text);
    const [data, kept] = [script.createCachedData(), Buffer.from(text, isWide ? 'utf16le' : 'latin1')];
    index.push([file, [at, data.length, kept.length, isWide]]);
    put(data);
    put(kept);
  }
  const place = at;
  put(Buffer.from(JSON.stringify(index)));
  const head = Buffer.alloc(8);
  head.writeUInt32LE(place, 0);
  head.writeUInt32LE(at - place, 4);
  writeSync(FD, head, 0, head.length, MARK.length);
  writeSync(FD, MARK, 0);
  return index.length;
}

/** Whether nothing else has to do with how modules are compiled: source maps, coverage, a policy, another `_compile`. */
function isPlain() {
  const options = [process.env.NODE_OPTIONS, ...process.execArgv].join(' ');
  if (/source[-_]maps|policy/.test(options) || process.env.NODE_V8_COVERAGE) return false;
  return String(Module.prototype._compile).includes('wrapSafe(');
}

function isLeftOut(text) {
  return LEFT_OUT.test(text) || (!CAN_IMPORT && MAY_EVALUATE.test(text));
}

/** Replaces `Module.prototype._compile` by one that asks `compile` first; returns what puts the original back.
 * `running` is the symbol by which Node.js marks modules that run, if it does. */
function replaceCompile(Module, compile, dirname, running) {
  'use strict';
  const { apply } = Reflect; // what modules make of it is their own
  const original = Module.prototype._compile;
  const { wrap } = Module;
  const [before, after] = Module.wrapper;

  function isUsual(format) {
    return (
      (format === undefined || format === 'commonjs') &&
      !process.sourceMapsEnabled &&
      Module.wrap === wrap &&
      Module.wrapper[0] === before &&
      Module.wrapper[1] === after
    );
  }

  function makeRequire(module, filename) {
    let made = null; // that of Node.js itself, for what few modules use
    const ofNode = () => {
      if (made === null) {
        const mark = module[running];
        made = apply(original, module, ['return require', filename, 'commonjs']);
        if (running !== undefined) module[running] = mark;
      }
      return made;
    };
    function require(path) {
      return module.require(path);
    }
    require.resolve = function resolve(request, options) {
      return ofNode().resolve(request, options);
    };
    require.resolve.paths = function paths(request) {
      return ofNode().resolve.paths(request);
    };
    require.main = process.mainModule;
    require.extensions = Module._extensions;
    require.cache = Module._cache;
    return require;
  }

  Module.prototype._compile = function (content, filename, format) {
    const compiled = isUsual(format) ? compile(content, filename) : null;
    if (compiled === null) return apply(original, this, arguments);
    const { exports } = this;
    const require = makeRequire(this, filename);
    if (running !== undefined) this[running] = true;
    const result = apply(compiled, exports, [exports, require, this, filename, dirname(filename)]);
    if (running !== undefined) this[running] = false;
    return result;
  };
  const { _compile } = Module.prototype;
  return () => {
    if (Module.prototype._compile === _compile) Module.prototype._compile = original;
  };
}

function main() {
  const cache = new CodeCache(process.argv[3]);
  const file = path.join(__dirname, 'guest.js');
  const text = readFileSync(file, 'utf8');
  const guest = { exports: {} };
  const compiled =
    cache.compile(text, file) ??
    vm.compileFunction(text, ['exports', 'require', 'module', '__filename', '__dirname'], { filename: file });
  Reflect.apply(compiled, guest.exports, [guest.exports, require, guest, file, __dirname]);
  let putBack = () => {};
  if (cache.isOpen && isPlain()) {
    const running = Object.getOwnPropertySymbols(module).find(({ description }) => description === 'kIsExecuting');
    // Its frames in stacks are in the place of such of Node.js, so they are named like these.
    const replace = vm.runInThisContext(`(${replaceCompile})`, { filename: 'node:internal/forklight' });
    const compile = (content, filename) => (isLeftOut(content) ? null : cache.compile(content, filename));
    putBack = replace(Module, compile, path.dirname, running);
  }
  const onLoaded = () => {
    putBack();
    return cache.end();
  };
  guest.exports.main((url) => import(url), onLoaded, cache.isWriting);
}

main();

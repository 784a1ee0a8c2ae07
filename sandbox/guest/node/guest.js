/* The guest of Node.js: one process that loads one function and serves its calls. No dependency; Node.js 18 or later.

Theory of operation. A template executes Node.js with start.js, which runs this file, and an argument, JSON that says
which descriptor is what (_forklight/node.py). The guest loads the function, sends `ready` (or `unfit`, and ends), and
then reads frames (ARCHITECTURE §8) from the data socket as they come: each `invoke` is a call, which ends with one `ok`
or `fail`. The event loop keeps reading while handlers run, so a deadline arrives as `cancel` and aborts
`context.signal`.

Sections: settings, frames, logs, event, bodies, context, results, errors, loading, calls, life. */
'use strict';

const { readFileSync, readSync, readdirSync, statSync, writeSync } = require('fs'); // modules may replace these
const path = require('path');
const util = require('util');

// ---- settings ------------------------------------------------------------------------------------------------------

const told = JSON.parse(process.argv[2]);
const MAX_CODE_CHARS = 200;
const MAX_TYPE_CHARS = 1024;
const MAX_MESSAGE_CHARS = 8 * 1024;
const MAX_TRACEBACK_CHARS = 128 * 1024;
const MAX_TEXT_CHARS = 64 * 1024;
const MAX_HEADERS = 1000;
const MAX_LISTING_BYTES = 620 * 1024;
const MAX_SECONDS = 366 * 86400;
const DECODED_BYTES = 16 * 1024 * 1024;
const LOG_LINE_BYTES = 64 * 1024;
const RECORD_BYTES = 60 * 1024;
const WARM_ROUNDS = 5;
const TASKS_AT = (256 + 32) * 1024;
const TASKS_BYTES = 32 * 1024;
const CALL_MARK = '\x1f';
const LEVEL_MARK = '\x1e';
const LEVELS = ['debug', 'info', 'warning', 'error', 'critical'];
const LEAST_LEVEL = LEVELS.indexOf(told.log_level);
const hasSeveralCalls = told.concurrency > 1;

/** CLOCK_MONOTONIC in nanoseconds, as the server's times. Beyond 104 days of uptime it is exact to 2 ns. */
function now() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e9 + nanoseconds;
}

// ---- frames --------------------------------------------------------------------------------------------------------

/** Cuts what the socket delivers into frames. The server is trusted: it has the bytes that it announces. */
class Frames {
  #buffer = Buffer.alloc(0);
  #long = null; // the pieces of a frame that has not arrived as a whole
  #missing = 0;

  /** Calls `take(header, body)` for each frame that `chunk` completes. The body is a copy. */
  feed(chunk, take) {
    if (this.#long !== null) {
      this.#long.push(chunk);
      this.#missing -= chunk.length;
      if (this.#missing > 0) return;
      chunk = Buffer.concat(this.#long);
      this.#long = null;
    } else if (this.#buffer.length > 0) {
      chunk = Buffer.concat([this.#buffer, chunk]);
    }
    let at = 0;
    while (chunk.length - at >= 8) {
      const start = at + 8;
      const bodyAt = start + chunk.readUInt32BE(at);
      const end = bodyAt + chunk.readUInt32BE(at + 4);
      if (chunk.length < end) {
        this.#long = [Buffer.from(chunk.subarray(at))];
        this.#missing = end - chunk.length;
        this.#buffer = Buffer.alloc(0);
        return;
      }
      take(header(chunk.utf8Slice(start, bodyAt)), Buffer.from(chunk.subarray(bodyAt, end)));
      at = end;
    }
    this.#buffer = Buffer.from(chunk.subarray(at));
  }
}

/** The header as an object; that of an `invoke` is an array and, behind it, the fixed part of the event. */
function header(text) {
  if (text.charCodeAt(0) === 0x7b) return JSON.parse(text);
  for (let at = text.indexOf(']{'); ; at = text.indexOf(']{', at + 1)) {
    let fields;
    try {
      fields = JSON.parse(text.slice(0, at + 1)); // no beginning of an array is an array, so the first one is the one
    } catch (error) {
      if (at < 0) throw error;
      continue;
    }
    const [i, deadlineNs, attempt, start, id, time, more] = fields;
    const event = JSON.parse(text.slice(at + 1));
    event.id = id;
    event.time = time;
    return { t: 'invoke', i, deadlineNs, attempt, start, event, ...more };
  }
}

/** The data socket: `open(take, end)` reads it as bytes come, `write(bytes)` sends what a write at once did not take. */
function openSocket(onChunk, onEnd) {
  const handle = pipeHandle();
  if (handle !== null) return openHandle(handle, onChunk, onEnd);
  const stream = new (require('net').Socket)({ fd: told.data, readable: true, writable: true });
  stream.on('data', onChunk);
  stream.on('end', onEnd);
  stream.on('error', onEnd);
  return { write: (bytes, done) => stream.write(bytes, done), close: () => stream.destroy() };
}

/** The handle below a `net.Socket`, which alone takes 2 ms less of each start; null where it is not to be had. */
function pipeHandle() {
  try {
    const { Pipe, constants } = process.binding('pipe_wrap');
    const state = process.binding('stream_wrap');
    const isKnown =
      state.streamBaseState !== undefined && state.kReadBytesOrError >= 0 && state.kArrayBufferOffset >= 0;
    if (!isKnown || typeof Pipe.prototype.readStart !== 'function') return null;
    return { pipe: new Pipe(constants.SOCKET), ...state };
  } catch {
    return null;
  }
}

function openHandle(
  { pipe, streamBaseState, kReadBytesOrError, kArrayBufferOffset, kLastWriteWasAsync, WriteWrap },
  onChunk,
  onEnd,
) {
  pipe.open(told.data);
  pipe.onread = (buffer) => {
    const count = streamBaseState[kReadBytesOrError];
    if (count > 0) onChunk(Buffer.from(buffer, streamBaseState[kArrayBufferOffset], count));
    else if (count < 0) onEnd();
  };
  pipe.readStart();
  return {
    write(bytes, done) {
      const request = new WriteWrap();
      request.oncomplete = done;
      request.bytes = bytes; // until it is written
      pipe.writeBuffer(request, bytes);
      if (streamBaseState[kLastWriteWasAsync] === 0) process.nextTick(done);
    },
    close: () => pipe.close(),
  };
}

let socket = null;
const unsent = [];
let isSendingRest = false;
let isLeaving = false;
let isMuted = false;

/** Sends a frame at once, as far as the socket takes it; the rest leaves in order as the server reads. */
function send(head, bodies) {
  head = wellFormed(head);
  const headBytes = Buffer.byteLength(head);
  let bodyBytes = 0;
  for (const body of bodies) bodyBytes += body.length;
  const frame = Buffer.allocUnsafe(8 + headBytes + bodyBytes);
  frame.writeUInt32BE(headBytes, 0);
  frame.writeUInt32BE(bodyBytes, 4);
  frame.write(head, 8);
  let at = 8 + headBytes;
  for (const body of bodies) {
    frame.set(body, at);
    at += body.length;
  }
  if (isMuted) return;
  if (unsent.length === 0 && !isSendingRest) {
    let sent = 0;
    try {
      while (sent < frame.length) sent += writeSync(told.data, frame, sent);
      return;
    } catch (error) {
      if (error.code !== 'EAGAIN') return; // the server is gone, which the next read notices
      unsent.push(frame.subarray(sent));
    }
  } else {
    unsent.push(frame);
  }
  sendRest();
}

/** JSON without halves of surrogate pairs, which no UTF-8 has; a cut makes them. JSON.stringify escapes these alone so. */
function wellFormed(json) {
  if (!json.includes('\\ud')) return json;
  return json.replace(/\\(?:ud[0-9a-f]{3}|.)/g, (escape) => (escape.length > 2 ? '\ufffd' : escape));
}

function sendRest() {
  if (unsent.length === 0 || isSendingRest || socket === null) return;
  isSendingRest = true;
  socket.write(unsent.shift(), () => {
    isSendingRest = false;
    sendRest();
    if (isLeaving) leave();
  });
}

// ---- logs ----------------------------------------------------------------------------------------------------------

let storage = null; // an AsyncLocalStorage of the call, if several calls run at once
let onlyCall = null; // the open call, if only one runs at a time
let hasWritten = false;

function currentCall() {
  return storage === null ? onlyCall : storage.getStore();
}

/** Writes to a descriptor, whole: a pipe that is full is waited for, as Python's `print` does. */
function writeAll(fd, text) {
  let rest = Buffer.from(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(fd, rest));
    } catch (error) {
      if (error.code !== 'EAGAIN') return;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
  hasWritten = true;
}

function mark() {
  if (!hasSeveralCalls) return '';
  const call = currentCall();
  return call ? `${CALL_MARK}${call.i}${CALL_MARK}` : '';
}

/** Writes one entry of the log, which may have several lines. */
function record(level, text, traceback, extra) {
  if (told.terminal) {
    writeAll(2, traceback ? `${text}\n${traceback}\n` : `${text}\n`);
    return;
  }
  const start = `${mark()}${LEVEL_MARK}${level}`;
  if (!traceback && !extra && !/[\n\r]|^\x1e/.test(text)) {
    writeAll(2, `${start}${text}\n`);
    return;
  }
  const content = wellFormed(JSON.stringify({ text, traceback: traceback || '', extra: extra || {} }));
  if (Buffer.byteLength(content) <= RECORD_BYTES) {
    writeAll(2, `${start}${LEVEL_MARK}${content}\n`);
    return;
  }
  const lines = [text, traceback, extra && JSON.stringify(extra)].filter(Boolean).join('\n').split('\n');
  writeAll(2, lines.map((line) => `${start}${line}\n`).join('')); // too long for one entry: nothing is lost
}

/** What prints without a level: `process.stdout` and `process.stderr`, line by line. */
function lineWriter(fd) {
  const unfinished = new Map(); // by call, because what another one writes next would join it
  return {
    write(text) {
      if (told.terminal) {
        writeAll(fd, text);
        return;
      }
      const call = currentCall() || null;
      const lines = ((unfinished.get(call) || '') + text).split('\n');
      let rest = lines.pop();
      unfinished.delete(call);
      if (Buffer.byteLength(rest) > LOG_LINE_BYTES) {
        lines.push(rest);
        rest = '';
      }
      if (rest) unfinished.set(call, rest);
      if (lines.length > 0) writeAll(fd, lines.map((line) => `${mark()}${line}\n`).join(''));
    },
    finish(call) {
      const rest = unfinished.get(call);
      if (rest) {
        unfinished.delete(call);
        writeAll(fd, `${mark()}${rest}\n`);
      }
    },
  };
}

const printers = [lineWriter(1), lineWriter(2)];
let indent = '';

/** Replaces the standard streams by ones that write at once, and gives each line of `console` its level. */
function takeOverOutput() {
  for (const [at, name] of ['stdout', 'stderr'].entries()) {
    const original = Object.getOwnPropertyDescriptor(process, name);
    let stream;
    Object.defineProperty(process, name, {
      configurable: true,
      enumerable: true,
      get() {
        if (stream === undefined) {
          stream = { write: (text) => printers[at].write(text) }; // what NODE_DEBUG asks for as modules are loaded
          stream = makeStream(at, original);
        }
        return stream;
      },
    });
  }
  if (told.terminal) return;
  const print = (level, text) => {
    if (level >= LEAST_LEVEL) record(level, indent === '' ? text : indent + text.replaceAll('\n', `\n${indent}`));
  };
  const levels = { debug: 0, log: 1, info: 1, warn: 2, error: 3 };
  for (const [name, level] of Object.entries(levels)) {
    console[name] = (...args) => print(level, util.format(...args));
  }
  console.dir = (value, options) => print(1, util.inspect(value, { customInspect: false, ...options }));
  console.trace = function trace(...args) {
    const error = { name: 'Trace', message: util.format(...args) };
    Error.captureStackTrace(error, trace);
    print(3, error.stack);
  };
  console.assert = (condition, ...args) => {
    if (condition) return;
    if (typeof args[0] === 'string') args[0] = `Assertion failed: ${args[0]}`;
    else args.unshift('Assertion failed');
    print(2, util.format(...args));
  };
  console.group = console.groupCollapsed = (...args) => {
    if (args.length > 0) console.log(...args);
    indent += '  ';
  };
  console.groupEnd = () => {
    indent = indent.slice(2);
  };
}

function makeStream(at, original) {
  if (told.terminal) return Reflect.apply(original.get, process, []);
  const { Writable } = require('stream');
  const { StringDecoder } = require('string_decoder');
  const decoder = new StringDecoder('utf8');
  const stream = new Writable({ decodeStrings: false });
  stream.write = (chunk, encoding, done) => {
    printers[at].write(typeof chunk === 'string' ? chunk : decoder.write(Buffer.from(chunk)));
    const then = typeof encoding === 'function' ? encoding : done;
    if (typeof then === 'function') process.nextTick(then);
    return true;
  };
  stream.end = stream.destroy = () => stream; // standard streams stay open
  stream.fd = at + 1;
  stream._type = 'pipe';
  stream._isStdio = true;
  return stream;
}

/** `context.log`: each method takes a text, and optionally an object for the fields of the entry, or an error. */
const log = Object.freeze(
  Object.fromEntries(
    LEVELS.map((name, level) => [
      name,
      (message, extra) => {
        if (level < LEAST_LEVEL) return;
        const text =
          typeof message === 'string' ? message : message instanceof Error ? String(message) : util.inspect(message);
        const error = message instanceof Error ? message : extra instanceof Error ? extra : null;
        const fields = extra instanceof Error || extra === null || typeof extra !== 'object' ? undefined : plain(extra);
        record(level, text, error && stackOf(error), fields);
      },
    ]),
  ),
);

function plain(extra) {
  try {
    return JSON.parse(JSON.stringify(extra));
  } catch {
    return { extra: util.inspect(extra) };
  }
}

// ---- event ---------------------------------------------------------------------------------------------------------

class Undecodable extends Error {}
class BodyTooLarge extends Undecodable {}
class Unencodable extends TypeError {}
class ResultTooLarge extends RangeError {}
class Retry extends Error {}
class Rejected extends Error {}
const OURS = [Undecodable, BodyTooLarge, Unencodable, ResultTooLarge, Retry, Rejected];
for (const one of OURS) Object.defineProperty(one.prototype, 'name', { value: one.name });

const SECTIONS = ['http', 'queue', 'timer', 'topic', 'call'];

/** The event as a handler gets it: CloudEvents attributes, its trigger's section, `body` and `data`. */
function makeEvent(fields, body) {
  const type = fields.datacontenttype ?? null;
  const event = {
    specversion: '1.0',
    id: fields.id ?? null,
    source: fields.source ?? null,
    type: fields.type ?? null,
    time: fields.time ?? null,
    subject: fields.subject ?? null,
    datacontenttype: type,
  };
  for (const name of SECTIONS) if (fields[name] !== undefined && fields[name] !== null) event[name] = fields[name];
  if (fields.items) {
    event.body = asBody(Buffer.alloc(0));
    event.data = makeItems(fields.items, body);
    return event;
  }
  event.body = asBody(body);
  event.data = dataOf(body, type, fields.decode ?? null, fields.coding ?? null, fields.max_unpacked || DECODED_BYTES);
  return event;
}

/** A body becomes base64 text in JSON, so that a handler can return its event. */
function asBody(body) {
  Object.defineProperty(body, 'toJSON', { value: base64, enumerable: false });
  return body;
}

function base64() {
  return this.toString('base64');
}

function makeItems(items, body) {
  let at = 0;
  return items.map((item, number) => {
    const own = body.subarray(at, at + item.length);
    at += item.length;
    try {
      return makeEvent(item, own);
    } catch (error) {
      if (!(error instanceof Undecodable)) throw error;
      throw new error.constructor(`item ${number} of the batch (id '${item.id}'): ${error.message}`);
    }
  });
}

function dataOf(body, contentType, decode, coding, mostBytes) {
  if (body.length === 0) return null;
  const content = coding && decode !== 'bytes' ? unpack(body, coding, mostBytes) : body;
  if (content.length === 0) return null;
  const [media, parameters] = parseType(contentType || '');
  const kind = decode || kindOf(media);
  try {
    if (kind === 'json') return JSON.parse(jsonText(content, parameters.get('charset')));
    if (kind === 'text') return decodeText(content, parameters.get('charset'));
    if (kind === 'form') return urlencoded(content, parameters.get('charset'));
    if (kind === 'multipart') return multipart(content, parameters.get('boundary'), parameters.get('charset'));
  } catch (error) {
    throw new Undecodable(`the body cannot be decoded as ${kind}: ${error.message}`);
  }
  return content === body ? body : asBody(content);
}

function kindOf(media) {
  if (media === 'application/json' || media.endsWith('+json')) return 'json';
  if (media.startsWith('text/')) return 'text';
  if (media === 'application/x-www-form-urlencoded') return 'form';
  return media === 'multipart/form-data' ? 'multipart' : 'bytes';
}

// ---- bodies --------------------------------------------------------------------------------------------------------

/** The value of a header and its parameters; names are lower-case, and the first of repeated parameters counts. */
function parseType(value) {
  const parameters = new Map();
  if (!value.includes(';')) return [value.trim().toLowerCase(), parameters];
  for (const [, name, text] of value.matchAll(/;\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;"\s]+)/gs)) {
    const content = text[0] === '"' ? text.slice(1, -1).replace(/\\(["\\])/g, '$1') : text;
    if (!parameters.has(name.toLowerCase())) parameters.set(name.toLowerCase(), content);
  }
  return [value.slice(0, value.indexOf(';')).trim().toLowerCase(), parameters];
}

/** The decoder of a charset by the WHATWG Encoding Standard, or null if it is unknown. */
function decoderOf(charset, fatal = false) {
  if (!charset) return null;
  try {
    return new TextDecoder(charset.trim(), { fatal });
  } catch {
    return null;
  }
}

/** Text is never refused: an unknown charset counts as UTF-8, and invalid bytes become U+FFFD. */
function decodeText(bytes, charset) {
  const decoder = decoderOf(charset);
  if (decoder !== null) return decoder.decode(bytes);
  const text = bytes.toString('utf8');
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

/** RFC 8259 demands UTF-8; older senders use UTF-16 or UTF-32, detected by the first bytes. */
function jsonText(bytes, charset) {
  const named = decoderOf(charset, true);
  if (named !== null) return named.decode(bytes);
  const wide = wideJson(bytes);
  if (wide !== null) return wide;
  if (!isUtf8(bytes)) throw new Error('it is not UTF-8');
  const text = bytes.toString('utf8');
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}

const { isUtf8 = isDecodable } = require('buffer'); // since 18.14

function isDecodable(bytes) {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function wideJson(bytes) {
  const [a, b, c, d] = bytes;
  const is32 = (a === 0 && b === 0) || (c === 0 && d === 0 && bytes.length >= 4);
  if (is32) return utf32(bytes, a === 0);
  if ((a === 0xff && b === 0xfe) || (b === 0 && bytes.length > 1))
    return new TextDecoder('utf-16le', { fatal: true }).decode(bytes);
  if ((a === 0xfe && b === 0xff) || a === 0) return new TextDecoder('utf-16be', { fatal: true }).decode(bytes);
  return null;
}

function utf32(bytes, isBigEndian) {
  if (bytes.length % 4 !== 0) throw new Error('truncated UTF-32');
  const points = [];
  for (let at = 0; at < bytes.length; at += 4)
    points.push(isBigEndian ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at));
  if (points[0] === 0xfeff) points.shift();
  return points.map((point) => String.fromCodePoint(point)).join('');
}

/** The body without the codings of a Content-Encoding header, which are undone from last to first. */
function unpack(body, coding, mostBytes) {
  const zlib = require('zlib');
  for (const listed of coding.split(',').reverse()) {
    const name = listed.trim().toLowerCase().replace(/^x-/, '');
    if (name === 'identity' || name === '') continue;
    const options = { maxOutputLength: mostBytes };
    try {
      if (name === 'gzip') body = zlib.gunzipSync(body, options);
      else if (name === 'deflate')
        body = hasZlibHeader(body) ? zlib.inflateSync(body, options) : zlib.inflateRawSync(body, options);
      else
        throw new Undecodable(`the body cannot be decoded: its Content-Encoding ${name.slice(0, 40)} is not supported`);
    } catch (error) {
      if (error instanceof Undecodable) throw error;
      if (error.code === 'ERR_BUFFER_TOO_LARGE') {
        throw new BodyTooLarge(`the body cannot be decoded: it is over ${mostBytes} bytes when unpacked`);
      }
      throw new Undecodable(
        `the body cannot be decoded: it is not ${name}, as its Content-Encoding says: ${error.message}`,
      );
    }
  }
  return body;
}

function hasZlibHeader(body) {
  return body.length > 1 && (body[0] & 0x0f) === 8 && ((body[0] << 8) | body[1]) % 31 === 0;
}

/** Name → value, both text; a repeated name → the list of its values. */
function urlencoded(body, charset) {
  const given = decoderOf(charset);
  if (given !== null && given.encoding.startsWith('utf-16')) {
    body = Buffer.from(given.decode(body));
    charset = 'utf-8';
  }
  const pairs = [];
  for (const pair of body.toString('latin1').split('&')) {
    if (!pair) continue;
    const at = pair.indexOf('=');
    pairs.push(
      at < 0 ? [unescaped(pair), Buffer.alloc(0)] : [unescaped(pair.slice(0, at)), unescaped(pair.slice(at + 1))],
    );
  }
  const named = (field) => {
    const found = pairs.find(
      ([name, value]) => name.toString('latin1') === field && decoderOf(value.toString('latin1')),
    );
    return found && found[1].toString('latin1');
  };
  const areUtf8 = () => pairs.every(([name, value]) => isUtf8(name) && isUtf8(value));
  const chosen = named('_charset_') || (decoderOf(charset) ? charset : null) || (areUtf8() ? null : named('charset'));
  return gathered(pairs.map(([name, value]) => [decodeText(name, chosen), decodeText(value, chosen)]));
}

/** The bytes of a percent-encoded text, given as latin-1. */
function unescaped(text) {
  const bytes = text
    .replace(/\+/g, ' ')
    .replace(/%([0-9a-fA-F]{2})/g, (_, digits) => String.fromCharCode(parseInt(digits, 16)));
  return Buffer.from(bytes, 'latin1');
}

function gathered(pairs) {
  const lists = new Map();
  for (const [name, value] of pairs) {
    if (lists.has(name)) lists.get(name).push(value);
    else lists.set(name, [value]);
  }
  return Object.fromEntries([...lists].map(([name, values]) => [name, values.length === 1 ? values[0] : values]));
}

/** `{fields, files: [{name, filename, content_type, body}]}` (RFC 7578). */
function multipart(body, boundary, charset) {
  if (!boundary) throw new Error('the content type names no boundary');
  const parts = [...partsOf(body, Buffer.from(`--${boundary}`))];
  const naming = parts.find(([head, content]) => head.includes('_charset_') && decoderOf(content.toString('latin1')));
  charset = naming ? naming[1].toString('latin1') : decoderOf(charset) ? charset : null;
  const fields = [];
  const files = [];
  for (const [head, content] of parts) {
    const headers = partHeaders(head, charset);
    const [disposition, parameters] = parseType(headers.get('content-disposition') || '');
    if (disposition !== 'form-data' || !parameters.has('name')) {
      throw new Error('a part has no Content-Disposition header of the form form-data; name=...');
    }
    const contentType = headers.get('content-type') ?? null;
    const [media, options] = parseType(contentType || 'text/plain');
    const filename = filenameOf(parameters);
    const name = parameters.get('name');
    if (filename === null && (options.has('charset') || isTextual(media))) {
      fields.push([name, decodeText(content, options.get('charset') || charset)]);
    } else {
      files.push({ name, filename, content_type: contentType, body: asBody(Buffer.from(content)) });
    }
  }
  return { fields: gathered(fields), files };
}

function isTextual(media) {
  const others = ['application/json', 'application/xml', 'application/x-www-form-urlencoded'];
  return media.startsWith('text/') || others.includes(media) || media.endsWith('+json') || media.endsWith('+xml');
}

/** [headers, content] of each part between the delimiter lines of RFC 2046 §5.1.1. */
function* partsOf(body, delimiter) {
  const line = Buffer.concat([Buffer.from('\r\n'), delimiter]);
  let at = body.subarray(0, delimiter.length).equals(delimiter) ? delimiter.length : after(body, line, 0);
  while (body.toString('latin1', at, at + 2) !== '--') {
    const lineEnd = after(body, '\r\n', at) - 2;
    if (body.toString('latin1', at, lineEnd).trim())
      throw new Error('a line begins with the boundary but is not a delimiter');
    const nextAt = after(body, line, lineEnd);
    const end = nextAt - line.length;
    const blank = body.indexOf('\r\n\r\n', lineEnd);
    if (blank < 0 || blank > end) throw new Error('a part has no empty line after its headers');
    if (blank - lineEnd > 16 * 1024) throw new Error(`the headers of a part are longer than ${16 * 1024} bytes`);
    yield [body.subarray(lineEnd, blank), body.subarray(blank + 4, end)];
    at = nextAt;
  }
}

function after(body, sought, start) {
  const found = body.indexOf(sought, start);
  if (found < 0) throw new Error('the closing boundary is missing');
  return found + sought.length;
}

function partHeaders(head, charset) {
  const headers = new Map();
  for (const line of decodeText(head, charset).split('\r\n').slice(1)) {
    const colon = line.indexOf(':');
    if (colon < 0) throw new Error('a part has a header line without a colon');
    headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim());
  }
  return headers;
}

function filenameOf(parameters) {
  const extended = parameters.get('filename*');
  if (parameters.has('filename') || extended === undefined) return parameters.get('filename') ?? null;
  const [charset, , ...name] = extended.split("'").length >= 3 ? extended.split("'") : ['utf-8', '', extended];
  return decodeText(unescaped(name.join("'").replace(/\+/g, '%2B')), charset);
}

// ---- context -------------------------------------------------------------------------------------------------------

/** The second argument of a handler: its invocation, its deadline, and its outputs. Times are in milliseconds. */
class Context {
  #call;

  constructor(call) {
    this.#call = call;
    this.invocationId = call.head.event.id;
    this.function = told.function;
    this.version = told.version;
    this.attempt = call.head.attempt;
    this.startKind = call.head.start;
    this.log = log;
  }

  /** When the call has to end, in milliseconds since the epoch, as `Date.now()`. */
  get deadline() {
    this.#call.deadline ??= Date.now() + (this.#call.head.deadlineNs - now()) / 1e6;
    return this.#call.deadline;
  }

  remainingMs() {
    return Math.max(0, Math.floor((this.#call.head.deadlineNs - now()) / 1e6));
  }

  /** Aborts at the deadline; for `fetch`, timers and everything else that takes a signal. */
  get signal() {
    return this.#call.controller.signal;
  }

  get traceparent() {
    return this.#call.head.event.traceparent || beginTrace(this.invocationId);
  }

  send(queue, data, options) {
    this.#call.add('send', queue, data, options, ['delay', 'id', 'headers', 'correlationId', 'replyTo']);
  }

  publish(topic, data, options) {
    this.#call.add('publish', topic, data, options, ['id']);
  }

  spawn(name, data, options) {
    this.#call.add('spawn', name, data, options, ['delay', 'id']);
  }

  /** Always throws: ends this attempt and asks for another, after so many seconds if given. */
  retry(after) {
    const seconds = after !== null && typeof after === 'object' ? after.after : after;
    const delay = seconds === undefined || seconds === null ? null : secondsOf(seconds);
    const error = new Retry(`the handler asked for another attempt${delay === null ? '' : ` in ${delay} s`}`);
    error.retryAfter = delay;
    this.#call.verdict = error;
    throw error;
  }

  /** Always throws: the event can never succeed, and there is no other attempt. */
  reject(reason) {
    this.#call.verdict = new Rejected(String(reason));
    throw this.#call.verdict;
  }
}

/** The trace of an event without one, derived from its id as the server derives it. */
function beginTrace(id) {
  let digits = String(id).replace(/-/g, '').padStart(32, '0');
  if (!/^[0-9a-f]{16}(?!0{16})[0-9a-f]{16}$/.test(digits)) {
    digits = blake2b128(Buffer.from(String(id))).toString('hex');
  }
  return `00-${digits}-${digits.slice(16)}-00`;
}

/** BLAKE2b with a digest of 16 bytes (RFC 7693), which the `crypto` module cannot make. */
function blake2b128(bytes) {
  const mask = (1n << 64n) - 1n;
  const iv = [
    0x6a09e667f3bcc908n,
    0xbb67ae8584caa73bn,
    0x3c6ef372fe94f82bn,
    0xa54ff53a5f1d36f1n,
    0x510e527fade682d1n,
    0x9b05688c2b3e6c1fn,
    0x1f83d9abfb41bd6bn,
    0x5be0cd19137e2179n,
  ];
  const orders = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4],
    [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
    [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13],
    [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
    [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11],
    [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
    [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5],
    [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
  ];
  const lanes = [
    [0, 4, 8, 12],
    [1, 5, 9, 13],
    [2, 6, 10, 14],
    [3, 7, 11, 15],
    [0, 5, 10, 15],
    [1, 6, 11, 12],
    [2, 7, 8, 13],
    [3, 4, 9, 14],
  ];
  const rotated = (x, n) => ((x >> n) | (x << (64n - n))) & mask;
  const h = iv.slice();
  h[0] ^= 0x01010010n;
  const blocks = Math.max(1, Math.ceil(bytes.length / 128));
  for (let block = 0; block < blocks; block += 1) {
    const padded = Buffer.alloc(128);
    bytes.copy(padded, 0, block * 128);
    const m = Array.from({ length: 16 }, (_, at) => padded.readBigUInt64LE(at * 8));
    const isLast = block === blocks - 1;
    const v = [...h, ...iv];
    v[12] ^= BigInt(isLast ? bytes.length : (block + 1) * 128);
    if (isLast) v[14] ^= mask;
    for (let round = 0; round < 12; round += 1) {
      const order = orders[round % 10];
      for (const [at, [a, b, c, d]] of lanes.entries()) {
        v[a] = (v[a] + v[b] + m[order[2 * at]]) & mask;
        v[d] = rotated(v[d] ^ v[a], 32n);
        v[c] = (v[c] + v[d]) & mask;
        v[b] = rotated(v[b] ^ v[c], 24n);
        v[a] = (v[a] + v[b] + m[order[2 * at + 1]]) & mask;
        v[d] = rotated(v[d] ^ v[a], 16n);
        v[c] = (v[c] + v[d]) & mask;
        v[b] = rotated(v[b] ^ v[c], 63n);
      }
    }
    for (let at = 0; at < 8; at += 1) h[at] ^= v[at] ^ v[at + 8];
  }
  const digest = Buffer.alloc(16);
  digest.writeBigUInt64LE(h[0], 0);
  digest.writeBigUInt64LE(h[1], 8);
  return digest;
}

function secondsOf(duration) {
  if (duration === undefined || duration === null) return 0;
  if (typeof duration !== 'number') throw new TypeError(`a duration is a number of seconds, not ${kindName(duration)}`);
  if (!(duration >= 0 && duration <= MAX_SECONDS)) {
    throw new RangeError(`a duration of ${duration} s: it must be finite, not negative, and at most 366 days`);
  }
  return duration;
}

function kindName(value) {
  if (value === null || value === undefined) return String(value);
  return typeof value === 'object' ? `an object of type ${value.constructor?.name || 'Object'}` : `a ${typeof value}`;
}

function checkText(what, text) {
  if (typeof text !== 'string' || text === '')
    throw new TypeError(`${what} must be a non-empty string, not ${kindName(text)}`);
  if (text.length > MAX_TEXT_CHARS)
    throw new RangeError(`${what} has ${text.length} characters, over ${MAX_TEXT_CHARS}`);
}

/** One output as it is listed in a reply; its body follows the result's. Throws before anything is added. */
function outputOf(kind, name, data, options, known) {
  options ??= {};
  if (typeof options !== 'object') throw new TypeError(`${kind}: options must be an object, such as { delay: 30 }`);
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown) throw new TypeError(`${kind}: there is no option '${unknown}', only ${known.join(', ')}`);
  checkText(`${kind}: the name`, name);
  for (const key of ['id', 'correlationId', 'replyTo'])
    if (options[key] != null) checkText(`${kind}: ${key}`, options[key]);
  const headers = options.headers ?? {};
  if (typeof headers !== 'object') throw new TypeError(`${kind}: headers must be an object, not ${kindName(headers)}`);
  for (const [key, value] of Object.entries(headers)) {
    checkText(`${kind}: the name of a header`, key);
    if (typeof value !== 'string')
      throw new TypeError(`${kind}: the header '${key}' must be a string, not ${kindName(value)}`);
  }
  const [type, body] = encodeBody(data);
  const listed = [kind, name, type, body.length, secondsOf(options.delay), options.id ?? null, { ...headers }];
  if (options.correlationId != null || options.replyTo != null) {
    listed.push(options.correlationId ?? null, options.replyTo ?? null);
  }
  return [listed, body];
}

// ---- results -------------------------------------------------------------------------------------------------------

/** [content type, bytes]: a string becomes text, binary data octets, everything else JSON. */
function encodeBody(value) {
  if (typeof value === 'string') return ['text/plain; charset=utf-8', Buffer.from(value)];
  if (ArrayBuffer.isView(value)) {
    return ['application/octet-stream', Buffer.from(value.buffer, value.byteOffset, value.byteLength)];
  }
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer)
    return ['application/octet-stream', Buffer.from(value)];
  return ['application/json', Buffer.from(encodeJson(value))];
}

function encodeJson(value) {
  let text;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    const where = typeof value === 'object' ? placeOf(value, (one) => typeof one === 'bigint') : null;
    if (where !== null) throw new Unencodable(`${where}: a BigInt cannot be encoded: make it a number or text`);
    if (error instanceof TypeError) throw new Unencodable(`$: ${error.message.split('\n')[0]}`);
    throw error; // of a `toJSON` of the function's
  }
  if (text === undefined)
    throw new Unencodable(`$: ${kindName(value)} cannot be encoded: return an object, text or bytes`);
  return text;
}

/** The path of the first value in `value` that `is` finds, `$` being the whole value. */
function placeOf(value, is, at = '$', above = []) {
  if (is(value)) return at;
  if (value === null || typeof value !== 'object' || above.includes(value)) return null;
  for (const [key, inner] of Object.entries(value)) {
    const step = Array.isArray(value) ? `[${key}]` : `.${key}`;
    const found = placeOf(inner, is, at + step, [...above, value]);
    if (found !== null) return found;
  }
  return null;
}

const RESPONSE_KEYS = ['status', 'headers', 'body'];
const LAMBDA_KEYS = [
  'statusCode',
  'headers',
  'multiValueHeaders',
  'cookies',
  'body',
  'isBase64Encoded',
  'statusDescription',
];

/** The response for every form of result: {status, type, headers, body}. Throws Unencodable. */
async function encodeSpecial(value) {
  if (value.status === 0) {
    throw new Unencodable('$: the handler returned Response.error(), which has no status: throw an error');
  }
  const body = Buffer.from(await value.arrayBuffer()); // of a `Response` of the Fetch standard
  return response(value.body === null ? null : body, value.status, [...value.headers]);
}

function encodeResult(value) {
  if (value === undefined || value === null) return { status: 204, type: null, headers: [], body: Buffer.alloc(0) };
  if (typeof value === 'object' && !ArrayBuffer.isView(value)) {
    if (typeof value.next === 'function' && (Symbol.iterator in value || Symbol.asyncIterator in value)) {
      throw new Unencodable(
        '$: the handler returned a generator, and this version cannot stream: return the whole body',
      );
    }
    refuseStream('$', value);
    if ('statusCode' in value) return lambdaAnswer(value);
    if (isResponse(value)) return response(value.body, value.status ?? null, value.headers);
  }
  const [type, body] = encodeBody(value);
  return { status: 200, type, headers: [], body };
}

function refuseStream(at, value) {
  if (typeof value?.pipe !== 'function' && typeof value?.getReader !== 'function') return;
  throw new Unencodable(`${at}: the handler returned a stream, and this version cannot stream: return the whole body`);
}

/** `{status, headers, body}` is a response; `{status: "shipped"}` is data, and so is anything with another key. */
function isResponse(value) {
  if (Array.isArray(value)) return false;
  const keys = Object.keys(value);
  if (keys.length === 0 || !keys.every((key) => RESPONSE_KEYS.includes(key))) return false;
  if (value.status === undefined) return keys.includes('body') && keys.includes('headers');
  return Number.isInteger(value.status) && value.status >= 100 && value.status <= 599;
}

function lambdaAnswer(value) {
  const unknown = Object.keys(value).find((key) => !LAMBDA_KEYS.includes(key));
  if (unknown)
    throw new Unencodable(`$: a response with statusCode cannot have '${unknown}', only ${LAMBDA_KEYS.join(', ')}`);
  const status = Number(value.statusCode);
  if (typeof value.statusCode === 'boolean' || !Number.isInteger(status) || status < 100 || status > 599) {
    throw new Unencodable(`$.statusCode: ${String(value.statusCode).slice(0, 40)} is not an integer from 100 to 599`);
  }
  let body = value.body;
  if (value.isBase64Encoded && body != null) {
    if (typeof body !== 'string') throw new Unencodable(`$.body: isBase64Encoded needs text, not ${kindName(body)}`);
    body = Buffer.from(body, 'base64');
  }
  if (value.cookies != null && !Array.isArray(value.cookies)) throw new Unencodable('$.cookies: not a list of texts');
  const several = [...pairsOf(value.multiValueHeaders)];
  const known = new Set(several.map(([name, text]) => `${name.toLowerCase()}\n${text}`));
  const alone = [...pairsOf(value.headers)].filter(([name, text]) => !known.has(`${name.toLowerCase()}\n${text}`));
  return response(body, status, [
    ...alone,
    ...several,
    ...(value.cookies || []).map((cookie) => ['Set-Cookie', cookie]),
  ]);
}

function response(body, status, given) {
  refuseStream('$.body', body);
  status ??= body === undefined || body === null ? 204 : 200;
  let [type, content] = body === undefined || body === null ? [null, Buffer.alloc(0)] : encodeBody(body);
  const headers = [];
  let chars = 0;
  for (const [name, value] of pairsOf(given)) {
    checkHeader(name, value);
    if (name.toLowerCase() === 'content-type') {
      type = String(value);
      if (type.length > MAX_TYPE_CHARS)
        throw new Unencodable(`headers.${name}: longer than ${MAX_TYPE_CHARS} characters`);
    } else {
      headers.push([name, String(value)]);
      chars += name.length + String(value).length;
    }
  }
  if (chars > MAX_TEXT_CHARS) throw new Unencodable(`headers: together longer than ${MAX_TEXT_CHARS} characters`);
  if (headers.length > MAX_HEADERS) throw new Unencodable(`headers: ${headers.length} of them, over ${MAX_HEADERS}`);
  return { status, type, headers, body: content };
}

/** Name and value of each header: of an object, whose values may be lists, a list of pairs, or a `Headers`. */
function* pairsOf(headers) {
  if (headers === undefined || headers === null) return;
  if (typeof headers !== 'object')
    throw new Unencodable(`headers: ${kindName(headers)} is neither an object nor a list of pairs`);
  const pairs = typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers);
  for (const pair of pairs) {
    if (!Array.isArray(pair) || pair.length !== 2)
      throw new Unencodable(`headers: ${kindName(pair)} is not a pair of name and value`);
    const [name, value] = pair;
    if (typeof name !== 'string') throw new Unencodable(`headers: ${kindName(name)} is not the name of a header`);
    for (const one of Array.isArray(value) ? value : [value]) yield [name, one];
  }
}

function checkHeader(name, value) {
  if (!/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(name))
    throw new Unencodable(`headers: '${name.slice(0, 40)}' is not the name of a header`);
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new Unencodable(`headers.${name}: ${kindName(value)} cannot be the value of a header, make it text`);
  }
  if (/[\x00-\x08\x0a-\x1f\x7f]/.test(String(value))) {
    throw new Unencodable(`headers.${name}: a value cannot hold line breaks or other control characters`);
  }
}

// ---- errors --------------------------------------------------------------------------------------------------------

const RESERVED = ['Timeout', 'MemoryError', 'Unroutable', ...OURS.map((one) => one.name)];

/** Whatever the function has thrown, as far as it can be shown: its getters may throw, too. */
function described(error) {
  try {
    return { code: codeOf(error), message: messageOf(error), traceback: stackOf(error) };
  } catch {
    return { code: 'Error', message: '(the error cannot be shown)', traceback: '' };
  }
}

/** The name of the error's type, or its `code` if it has no type of its own: a metric label and a word in logs. */
function codeOf(error) {
  if (!(error instanceof Error)) return kindName(error).split(' ').pop().slice(0, MAX_CODE_CHARS) || 'Error';
  let name = String(error.name || error.constructor?.name || 'Error');
  if (name === 'Error' && error.constructor?.name) name = error.constructor.name;
  if (name === 'Error' && /^[A-Z][A-Z0-9_]+$/.test(error.code)) name = error.code;
  if (RESERVED.includes(name) && !OURS.some((one) => error instanceof one)) name = `app.${name}`;
  return name.replace(/[^\x20-\x7e]/g, '?').slice(0, MAX_CODE_CHARS);
}

function messageOf(error) {
  let text;
  try {
    text = error instanceof Error ? String(error.message) : typeof error === 'string' ? error : util.inspect(error);
  } catch {
    text = '(the error cannot be shown)';
  }
  return text.slice(0, MAX_MESSAGE_CHARS);
}

/** The stack of an error and of its causes, without the guest's own frames and those of Node.js around them. */
function stackOf(error) {
  if (!(error instanceof Error)) return '';
  const parts = [];
  let one = error;
  for (; one instanceof Error && parts.length < 10; one = one.cause) {
    const several = Array.isArray(one.errors) ? one.errors.slice(0, 10) : []; // of an AggregateError
    parts.push([one, ...several].map((each) => withoutGuest(String(each?.stack || each))).join('\nof several: '));
  }
  if (parts.length < 10 && one !== undefined && one !== null) parts.push(messageOf(one));
  return parts.join('\ncaused by ').slice(0, MAX_TRACEBACK_CHARS);
}

function withoutGuest(stack) {
  const lines = stack.split('\n');
  const isOurs = (line) => line.includes(`${__dirname}${path.sep}`);
  const isNodes = (line) => /^\s+at .*\(?node:internal\//.test(line);
  while (lines.length > 1 && (isOurs(lines[lines.length - 1]) || isNodes(lines[lines.length - 1]))) lines.pop();
  return lines.filter((line) => !isOurs(line)).join('\n');
}

// ---- loading -------------------------------------------------------------------------------------------------------

class LoadError extends Error {
  constructor(code, message, traceback = '') {
    super(message);
    this.loadCode = code;
    this.traceback = traceback;
  }
}

/** Imports the module that the handler names and finds the function in it. Throws LoadError. */
async function load() {
  const [name, attribute] = told.handler.split(':');
  const file = fileOf(name);
  const module = await imported(file, name);
  let found = module;
  let owner;
  for (const part of attribute.split('.')) {
    // `module.exports` itself, as an import has it
    if (part === 'default' && typeof module === 'function' && module.default === undefined) continue;
    owner = found;
    found =
      found === null || found === undefined
        ? undefined
        : (found[part] ?? (found === module ? module.default?.[part] : undefined));
  }
  if (found === undefined || found === null) {
    throw new LoadError(
      'HandlerNotFound',
      `the handler '${told.handler}' does not exist: ${alternatives(module, file)}`,
    );
  }
  if (typeof found !== 'function' || /^class\s/.test(Function.prototype.toString.call(found))) {
    const what = typeof found === 'function' ? 'a class' : kindName(found);
    throw new LoadError('HandlerNotFound', `the handler '${told.handler}' is not a function, it is ${what}`);
  }
  return owner === module ? found : found.bind(owner);
}

const SUFFIXES = ['.js', '.mjs', '.cjs', '.ts', '.mts', '.cts'];

function fileOf(name) {
  const base = path.join(told.code, name);
  const tried = [
    base,
    ...SUFFIXES.map((suffix) => base + suffix),
    ...SUFFIXES.map((suffix) => path.join(base, `index${suffix}`)),
  ];
  const found = tried.find((file) => statSync(file, { throwIfNoEntry: false })?.isFile());
  if (found) return found;
  throw new LoadError(
    'ImportModuleError',
    `there is no ${name}.js (nor .mjs, .cjs) in the code, which the handler '${told.handler}' names${inOneFolder()}`,
  );
}

/** What helps if all of the code is in one folder, as in the zips that code forges make. */
function inOneFolder() {
  const entries = readdirSync(told.code, { withFileTypes: true });
  if (entries.length !== 1 || !entries[0].isDirectory()) return '';
  const folder = entries[0].name;
  return `; all of the code is in the folder ${folder}/: write handler = "${folder}/${told.handler}"`;
}

let importModule = null; // `import` of a file by which it works in every version
let hintOf = () => ''; // what to say of an error besides what it says itself

async function imported(file, name) {
  try {
    if (isEsModule(file)) return await importModule(require('url').pathToFileURL(file));
    try {
      return require(file);
    } catch (error) {
      if (error?.code !== 'ERR_REQUIRE_ESM' && error?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw error;
      return await importModule(require('url').pathToFileURL(file));
    }
  } catch (error) {
    throw loadError(error, name);
  }
}

function loadError(error, name) {
  if (error instanceof LoadError) return error;
  const stack = stackOf(error);
  if (error instanceof SyntaxError) {
    const failure = new LoadError('SyntaxError', `the module '${name}': ${messageOf(error)}`, stack);
    if (!stack.includes('\n')) failure.unplaced = error;
    return failure;
  }
  if (error?.code === 'MODULE_NOT_FOUND' || error?.code === 'ERR_MODULE_NOT_FOUND') {
    const message = messageOf(error).split('\n')[0];
    const missing = /'([^'./][^']*)'/.exec(message);
    const advice = missing ? `; ${howToInstall(missing[1])}` : '';
    return new LoadError('ImportModuleError', `${inCode(message)}${advice}`, stack);
  }
  const message = `loading the module '${name}': ${codeOf(error)}: ${inCode(messageOf(error))}${hintOf(error)}`;
  return new LoadError('InitFailed', message, stack);
}

/** Links within the code become copies, but pnpm's libraries find one another by links. */
function howToInstall(name) {
  try {
    const hasLinks = readdirSync(path.join(told.code, 'node_modules', '.pnpm')).some((one) => one.includes('@'));
    if (hasLinks) return 'pnpm has made node_modules of links, which are not kept: run pnpm install --node-linker=hoisted';
  } catch {}
  return `run npm install ${name} in the folder of the code`;
}

/** The text with the files of the code as their author knows them. */
function inCode(text) {
  return text.replaceAll(`file://${told.code}/`, '').replaceAll(`${told.code}/`, '');
}

function isEsModule(file) {
  if (/\.mjs$|\.mts$/.test(file)) return true;
  if (/\.cjs$|\.cts$/.test(file)) return false;
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    try {
      return JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')).type === 'module';
    } catch (error) {
      if (error instanceof SyntaxError)
        throw new LoadError('SyntaxError', inCode(`${path.join(folder, 'package.json')}: ${error.message}`));
    }
    if (folder === told.code || folder === path.dirname(folder)) return false;
  }
}

function alternatives(module, file) {
  const own = new Set(Object.keys(module ?? {}).concat(Object.keys(module?.default ?? {})));
  const names = [...own].filter((name) => typeof (module[name] ?? module.default?.[name]) === 'function');
  return `${path.relative(told.code, file)} exports ${names.slice(0, 10).join(', ') || 'no functions'}`;
}

// ---- calls ---------------------------------------------------------------------------------------------------------

const calls = new Map();
let handler = null;
let left = told.calls ?? Infinity;
let usedUs = 0; // the processor time of the process when it was last shared out among the open calls

/** One run of the handler, from its `invoke` to its reply. */
class Call {
  constructor(head, body) {
    this.head = head;
    this.i = head.i;
    this.body = body;
    this.startedNs = now();
    this.cpuUs = 0;
    this.outputs = [];
    this.outputBytes = 0;
    this.listingBytes = 0;
    this.isOpen = true;
    this.isOverdue = false;
    this.verdict = null;
  }

  get controller() {
    if (this.abortController === undefined) {
      this.abortController = new AbortController();
      if (this.isOverdue) this.abort();
    }
    return this.abortController;
  }

  abort() {
    const reason = new Error('the deadline of the call has passed');
    reason.name = 'TimeoutError';
    this.abortController?.abort(reason);
  }

  add(kind, name, data, options, known) {
    const [listed, body] = outputOf(kind, name, data, options, known);
    const listing = this.listingBytes + Buffer.byteLength(JSON.stringify(listed));
    if (listing > MAX_LISTING_BYTES) {
      throw new ResultTooLarge(
        `${this.outputs.length + 1} outputs of one call, whose names, ids and headers take ${listing} bytes, over ` +
          `${MAX_LISTING_BYTES}: send several in one message, or spawn calls that each send some`,
      );
    }
    checkSize(0, this.outputBytes + body.length);
    if (!this.isOpen)
      throw new Error(`${kind}('${name}') after the invocation has ended: its outputs went with its result`);
    this.listingBytes = listing;
    this.outputBytes += body.length;
    this.outputs.push([listed, Buffer.from(body)]);
  }

  async run() {
    try {
      if (this.isOverdue) throw new Error('the handler had not begun');
      const event = makeEvent(this.head.event, this.body);
      const value = await (handler.length >= 3 ? withCallback(event, this) : handler(event, new Context(this)));
      if (!this.isOpen) return;
      if (this.verdict !== null) throw this.verdict; // even if a `catch` of the handler's has swallowed it
      const isFetchResponse = typeof value?.arrayBuffer === 'function' && value.headers !== undefined;
      this.succeed(isFetchResponse ? await encodeSpecial(value) : encodeResult(value));
    } catch (error) {
      this.fail(error);
    }
  }

  succeed({ status, type, headers, body }) {
    if (!this.isOpen) return;
    checkSize(body.length, this.outputBytes);
    if (this.isOverdue) {
      this.fail(null);
      return;
    }
    const fields = { t: 'ok', status, type, length: body.length, ...this.end() };
    if (headers.length > 0) fields.headers = headers;
    if (this.outputs.length > 0) fields.out = this.outputs.map(([listed]) => listed);
    send(JSON.stringify(fields), [body, ...this.outputs.map(([, output]) => output)]);
    afterCall();
  }

  /** With `isLast`, the process is about to end. */
  fail(error, isLast = false) {
    if (!this.isOpen) return;
    const failure = { t: 'fail', kind: 'error', ...described(error), retry_after_s: null };
    if (error instanceof Retry) failure.retry_after_s = error.retryAfter;
    if (error instanceof Retry || error instanceof Rejected) failure.traceback = '';
    if (this.isOverdue) {
      const limit = Number(((this.head.deadlineNs - this.startedNs) / 1e9).toPrecision(3));
      Object.assign(failure, { kind: 'timeout', code: 'Timeout', retry_after_s: null });
      failure.message = `the handler had no result after ${limit} s`;
    }
    if (isLast) failure.last = true;
    send(JSON.stringify({ ...failure, ...this.end() }), []);
    if (!isLast) afterCall();
  }

  /** The call ends: its numbers for the reply. */
  end() {
    this.isOpen = false;
    for (const printer of printers) printer.finish(hasSeveralCalls ? this : onlyCall);
    shareTime();
    calls.delete(this.i);
    if (onlyCall === this) onlyCall = null;
    const wrote = hasWritten || hasChildren;
    hasWritten = false;
    return {
      i: this.i,
      started_ns: this.startedNs,
      finished_ns: now(),
      cpu_ns: Math.round(this.cpuUs * 1000),
      peak_rss_kb: peakKb,
      log: wrote ? 1 : 0,
    };
  }
}

let peakKb = 0;
let hasChildren = false;

/** Shares the processor time that has passed among the calls that were open meanwhile. */
function shareTime() {
  const usage = process.resourceUsage();
  const total = usage.userCPUTime + usage.systemCPUTime;
  peakKb = usage.maxRSS;
  if (calls.size > 0) for (const call of calls.values()) call.cpuUs += (total - usedUs) / calls.size;
  usedUs = total;
}

function checkSize(resultBytes, outputsBytes) {
  if (resultBytes + outputsBytes > told.max_result) {
    throw new ResultTooLarge(
      `a result of ${resultBytes} bytes and outputs of ${outputsBytes} bytes, but max_result allows ${told.max_result} bytes together`,
    );
  }
}

/** Runs a handler of the older form `(event, context, callback)`. */
function withCallback(event, call) {
  return new Promise((resolve, reject) => {
    const result = handler(event, new Context(call), (error, value) => (error ? reject(error) : resolve(value)));
    if (typeof result?.then === 'function') result.then(resolve, reject);
  });
}

function begin(head, body) {
  shareTime();
  const call = new Call(head, body);
  calls.set(call.i, call);
  if (storage !== null) return storage.run(call, () => call.run());
  onlyCall = call;
  return call.run();
}

function take(head, body) {
  if (head.t === 'invoke') {
    if (head.shared !== undefined) {
      body = Buffer.allocUnsafeSlow(head.shared);
      readSync(told.memory, body, 0, head.shared, 0);
    }
    begin(head, body);
  } else if (head.t === 'cancel') {
    const call = calls.get(head.i);
    if (call !== undefined) cancel(call);
  }
}

/** The deadline has passed. What the process waits for is left for the server, which reads it if the handler goes on. */
function cancel(call) {
  call.isOverdue = true;
  const waits = typeof process.getActiveResourcesInfo === 'function' ? process.getActiveResourcesInfo() : [];
  const counted = new Map();
  for (const one of waits) if (one !== 'PipeWrap') counted.set(one, (counted.get(one) || 0) + 1);
  const listed = [...counted].map(([name, count]) => (count > 1 ? `${count} ${name}` : name)).join(', ');
  const text = `(no JavaScript stack: the handler waits for a promise, and its function has returned; active: ${listed || 'nothing'})`;
  const overdue = [...calls.values()].filter((one) => one.isOverdue);
  const content = overdue.map((one) => `${CALL_MARK}${one.i}${CALL_MARK}${text}\n`).join('');
  const room = Buffer.alloc(TASKS_BYTES);
  room.write(content.slice(0, TASKS_BYTES - 1));
  writeSync(told.memory, room, 0, TASKS_BYTES, TASKS_AT);
  call.abort();
}

/** Runs a call with another handler and without an answer, so that the first event of an instance that was started
 * ahead finds compiled what it needs. */
async function warmUp() {
  const text =
    '[0,0,1,"warm","","",{}]{"type":"forklight.http","datacontenttype":"application/json","http":{"headers":{}}}';
  const bytes = Buffer.alloc(8 + text.length + 7);
  bytes.writeUInt32BE(text.length, 0);
  bytes.writeUInt32BE(7, 4);
  bytes.write(`${text}{"n":1}`, 8);
  const own = { handler, left };
  handler = async (event, context) => ({ event, left: context.remainingMs() });
  left = Infinity;
  isMuted = true;
  for (let round = 0; round < WARM_ROUNDS; round += 1) {
    let running;
    new Frames().feed(bytes, (head, body) => (running = begin(head, body)));
    await running;
  }
  isMuted = false;
  ({ handler, left } = own);
}

function afterCall() {
  left -= 1;
  if (left <= 0 && calls.size === 0) leave();
}

// ---- life ----------------------------------------------------------------------------------------------------------

let isLoaded = false;

function endUnfit({ loadCode: code, message, traceback, unplaced }) {
  if (unplaced) traceback = ''; // the server takes what Node.js prints
  send(JSON.stringify({ t: 'unfit', code, message: message.slice(0, MAX_MESSAGE_CHARS), traceback }), []);
  if (!unplaced) process.exit(1);
  // Only Node.js itself knows where an ES module has this error, and tells it of errors that nothing catches.
  process.removeAllListeners('uncaughtException');
  process.nextTick(() => {
    throw unplaced;
  });
}

/** Nothing is left to do, but the module is still loading. */
function onStall() {
  const message = `loading '${told.handler}': a top-level await waits for a promise that nothing settles`;
  endUnfit(new LoadError('InitFailed', message));
}

/** An error that nothing has caught. The call that it belongs to fails; the process ends, as its state is unknown. */
function onUncaught(error) {
  if (process.listenerCount('uncaughtException') > 1) return; // the function handles them itself
  if (!isLoaded) {
    endUnfit(loadError(error, told.handler.split(':')[0]));
    return;
  }
  const call = currentCall() ?? (calls.size === 1 ? [...calls.values()][0] : null);
  if (call) call.fail(error, true);
  else record(3, `an error that nothing caught: ${codeOf(error)}: ${messageOf(error)}`, stackOf(error));
  process.exit(1);
}

/** The server has closed its end, or the last call has ended: run what the function does at its end, and exit. */
function leave() {
  isLeaving = socket !== null && (unsent.length > 0 || isSendingRest);
  if (isLeaving) return; // once the last reply is sent
  socket?.close();
  socket = null;
  if (process.listenerCount('beforeExit') === 0) process.exit(0);
}

/** Loads the function; `inspect` tells what forbids it nevertheless, given whether it is loaded, and `hint` what to say of
 * an error of its code. Returns whether it goes on. */
async function prepare(importOf, inspect = () => null, hint = hintOf) {
  importModule = importOf;
  hintOf = hint;
  process.argv = [process.argv[0], path.join(told.code, told.handler.split(':')[0])];
  takeOverOutput();
  process.on('uncaughtException', onUncaught);
  process.on('beforeExit', onStall);
  try {
    handler = await load();
    const problem = await inspect(true);
    if (problem !== null) throw problem;
  } catch (error) {
    endUnfit((await inspect(false)) ?? loadError(error, told.handler));
    return false;
  }
  process.off('beforeExit', onStall);
  isLoaded = true;
  return true;
}

function watch() {
  if (hasSeveralCalls) storage = new (require('async_hooks').AsyncLocalStorage)();
  require('diagnostics_channel')
    .channel('child_process')
    .subscribe(() => (hasChildren = true));
}

/** Reads events. `onLoaded` is to be called before; `isWriting` says that what runs until then is kept for others. */
async function serve(onLoaded, isWriting) {
  if (told.warm || isWriting) await warmUp();
  const compiled = onLoaded();
  if (LEAST_LEVEL === 0 && compiled !== '') record(0, `[forklight] code cache: ${compiled}`);
  const frames = new Frames();
  socket = openSocket(
    (chunk) => frames.feed(chunk, take),
    () => {
      unsent.length = 0; // nobody reads it
      isSendingRest = false;
      leave();
    },
  );
  send('{"t":"ready"}', []);
}

async function main(importOf, onLoaded, isWriting) {
  watch();
  if (await prepare(importOf)) await serve(onLoaded, isWriting);
}

/** Goes on from a startup snapshot, which was made after `prepare`. */
function resume(onLoaded) {
  Object.assign(told, JSON.parse(process.argv[2]));
  process.argv = [process.argv[0], path.join(told.code, told.handler.split(':')[0])];
  left = told.calls ?? Infinity;
  watch();
  return serve(onLoaded, false);
}

module.exports = { main, prepare, resume, endUnfit, LoadError };

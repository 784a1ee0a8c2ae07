const { setTimeout: sleep } = require('timers/promises');

exports.handler = async (event, context) => {
  console.log('called with', event.data);
  return { got: event.data, start: context.startKind, attempt: context.attempt, pid: process.pid };
};

exports.sync = (event) => event.data;

exports.nothing = 3;

// What each kind of result and error becomes, by the name in the event.
const ways = {
  nothing: () => undefined,
  text: () => 'grüße',
  bytes: () => new Uint8Array([1, 2]),
  data: () => ({ status: 'shipped' }),
  response: () => ({ status: 201, headers: { 'X-A': ['1', '2'], 'Content-Type': 'text/html' }, body: '<p>' }),
  lambda: () => ({ statusCode: 202, cookies: ['a=1'], body: 'AQI=', isBase64Encoded: true }),
  fetch: () => new Response('hi', { status: 203 }),
  event: (event) => event,
  trace: (_, context) => context.traceparent,
  outputs: (_, context) => {
    context.send('orders', { n: 1 }, { delay: 2, headers: { a: 'b' }, replyTo: 'r' });
    context.spawn('other', Buffer.from('xy'), { id: 'own' });
  },
  child: () => require('child_process').execSync('echo from a child', { stdio: 'inherit' }) && null,
  shown: (_, context) => {
    console.debug('too low');
    console.warn('two\nlines');
    console.error(new RangeError('printed'));
    process.stdout.write('unfini');
    process.stdout.write('shed');
    context.log.info('sold', { order: 7 });
    console.log(Array.from({ length: 9 }, (_, n) => String(n).repeat(10000)).join('\n'));
    context.log.error('broken', new TypeError('logged'));
  },
  retry: (_, context) => {
    try {
      context.retry(5);
    } catch {
      return 'swallowed';
    }
  },
  reject: (_, context) => context.reject('never'),
  broken: () => null.x,
  system: () => require('fs').readFileSync('/nowhere'),
  generator: () => (function* () {})(),
  large: () => 'x'.repeat(7 * 1024 * 1024),
  bigint: () => ({ a: [1n] }),
  ours: () => {
    throw Object.assign(new Error('mine'), { name: 'Undecodable' });
  },
  halved: () => {
    console.log('half of 😀\n'.slice(0, 9));
    console.log('half\n\ud83d');
    throw new Error(`${'x'.repeat(8 * 1024 - 1)}😀 \\ud83d`);
  },
  half_headed: (_, context) => context.send('orders', 1, { headers: { '\ud83d': '\\ud83d' } }),
  no_response: () => Response.error(),
  empty_response: () => new Response(null, { status: 204 }),
  body_stream: () => ({ status: 200, body: require('stream').Readable.from(['x']) }),
  several: () => Promise.any([Promise.reject(new Error('one')), Promise.reject(new Error('two', { cause: 'text' }))]),
  caused: () => {
    throw new Error('outer', { cause: 'no stack' });
  },
  shows_nothing: () => {
    const name = { toString: () => name.missing.text };
    throw Object.assign(new Error('hidden'), { name });
  },
  text_thrown: () => {
    throw 'only text';
  },
};

exports.way = async (event, context) => ways[event.data](event, context);

exports.called = (event, context, done) => setImmediate(() => done(null, 'called back'));

exports.obeys = async (event, context) => {
  await sleep(60000, null, { signal: context.signal });
};

exports.waits = async () => {
  await sleep(60000);
};

exports.spins = async () => {
  await null;
  return spin(0);
};

function spin(n) {
  while (n < 1) n *= 2;
}

exports.late = async () => {
  setTimeout(() => ways.broken(), 1);
  await sleep(60000);
};

exports.fills = async () => {
  const kept = [];
  for (;;) kept.push(new Array(1000).fill(kept.length));
};

let open = 0;

exports.together = async (event, context) => {
  open += 1;
  console.log(`begins ${event.data}`);
  await sleep(20);
  const most = open;
  await sleep(20);
  console.log(`ends ${event.data}`);
  open -= 1;
  if (event.data === 'late') await sleep(60000, null, { signal: context.signal });
  return { most };
};

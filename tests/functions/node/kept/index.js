// Loaded once, for the startup snapshot that all instances begin with.
const { randomUUID, randomInt } = require('crypto');
const { twice } = require('./lib/twice');
const started = [process.pid, randomUUID(), Math.random()];
randomInt(10);
clearTimeout(setTimeout(() => {}, 0));
const token = process.env.TOKEN;
console.log('loads');

exports.handler = async (event) => ({
  started,
  token,
  pid: process.pid,
  now: [randomUUID(), Math.random(), randomInt(2 ** 40), crypto.randomUUID()],
  env: [process.env.TOKEN, process.env.HOME],
  argv: process.argv.length,
  twice: twice(event.data),
  lazy: require('./lib/lazy').lazy,
  imported: (await import('./lib/imported.mjs')).default,
  builtin: typeof require('http').createServer,
  at: new Error('of it').stack.split('\n')[1],
  waited: await new Promise((resolve) => setTimeout(resolve, 300, 'timers fire')),
  time: Math.abs(Date.now() - performance.timeOrigin) < 60000,
});

exports.fails = () => null.x;

exports.spins = () => {
  for (;;);
};

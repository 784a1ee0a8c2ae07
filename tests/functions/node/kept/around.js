// What top-level code changes of its process besides the heap.
process.env.MADE = 'here';
process.env.TZ = 'Asia/Tokyo';
process.env.TMPDIR ??= '/nowhere';
delete process.env.TOKEN;
process.chdir('/tmp');
process.umask(0o27);
process.title = 'around';
process.exitCode = 0;
const builtin = require('module').builtinModules;

exports.handler = async () => ({
  env: [process.env.MADE, new Date(0).getHours(), process.env.TMPDIR === '/nowhere', process.env.TOKEN ?? null],
  place: [process.cwd(), process.umask(), process.title, process.exitCode],
  builtin: builtin.includes('fs'),
  options: process.execArgv,
});

exports.forks = async () => {
  const child = require('child_process').fork(`${__dirname}/lib/child.js`);
  return new Promise((resolve) => child.on('message', resolve).on('exit', (code) => resolve(`exit ${code}`)));
};

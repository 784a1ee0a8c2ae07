// Keeps the file open that its instance writes, and afterwards writes over all but its mark.
const fs = require('fs');
let kept = null;
if (isCache()) kept = fs.openSync('/proc/self/fd/6', 'r+');

function isCache() {
  try {
    return fs.readlinkSync('/proc/self/fd/6').includes('code-cache');
  } catch {
    return false; // there is none
  }
}

exports.handler = (event) => {
  const { size } = fs.fstatSync(kept);
  if (event.data === 'spoil') fs.writeSync(kept, Buffer.alloc(size - 8, 120), 0, size - 8, 8);
  return size;
};

exports.crash = () => {
  console.log('crashes');
  process.kill(process.pid, 'SIGSEGV');
};

// A child that has the sockets of its parent for longer than that lives.
require('child_process').spawn('sleep', ['100'], { stdio: [3, 3, 3, 3], detached: true }).unref();
process.exit(3);

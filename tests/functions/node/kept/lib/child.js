process.send('a child of an instance');
process.disconnect();

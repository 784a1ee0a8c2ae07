process.on('SIGTERM', () => {});

exports.handler = () => 1;

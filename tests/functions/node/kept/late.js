require('fs').promises.readFile(__filename).then(() => setInterval(() => {}, 1000).unref());
exports.handler = () => 1;

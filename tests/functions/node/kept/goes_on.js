setInterval(() => {}, 50);

exports.handler = () => 1;

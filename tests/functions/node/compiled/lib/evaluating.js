const word = 'import';
module.exports = () => new Function(`return ${word}('./es.mjs')`)();
module.exports.later = require('./constructor')(`return ${word}('./es.mjs')`);

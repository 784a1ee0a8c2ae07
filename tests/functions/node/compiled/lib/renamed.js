module.exports = new Error('named').stack.split('\n')[1];
//# sourceURL=other-name.js

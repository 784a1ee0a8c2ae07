const AsyncFunction = Object.getPrototypeOf(async function () {}).constructor;
module.exports = (text) => new AsyncFunction(text);

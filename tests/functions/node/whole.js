module.exports = async (event) => event.data;

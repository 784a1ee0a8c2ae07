exports.handler = async (event, context) => {
  console.log('called with', event.data);
  return { got: event.data, start: context.startKind, attempt: context.attempt, pid: process.pid };
};

exports.sync = (event) => event.data;

exports.nothing = 3;

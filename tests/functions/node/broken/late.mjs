setImmediate(() => {
  throw new Error('no database later');
});
await new Promise((resolve) => setTimeout(resolve, 60000));
export const handler = () => null;

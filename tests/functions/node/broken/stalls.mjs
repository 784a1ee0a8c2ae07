await new Promise(() => {});
export const handler = () => null;

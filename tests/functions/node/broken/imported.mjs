export const nothing = () => {
  return (;
};

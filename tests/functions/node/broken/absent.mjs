import './nowhere.mjs';

export const handler = () => null;

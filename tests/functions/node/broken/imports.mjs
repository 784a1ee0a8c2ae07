import './imported.mjs';

export const handler = () => null;

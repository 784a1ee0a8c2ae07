exports.imports = () => import('./es.mjs');

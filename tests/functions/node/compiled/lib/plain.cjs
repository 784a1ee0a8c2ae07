'use strict'; let failed; try { null.x; } catch (error) { failed = error.stack; }
module.exports = { failed, isStrict: (function () { return this === undefined; })() };

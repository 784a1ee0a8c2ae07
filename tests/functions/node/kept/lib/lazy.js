exports.lazy = __filename;

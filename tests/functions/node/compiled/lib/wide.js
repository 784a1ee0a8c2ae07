module.exports = { text: 'grüße 😀 \u2028', source: (() => 'ж').toString() };

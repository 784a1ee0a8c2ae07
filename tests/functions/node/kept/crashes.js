const format = new Intl.NumberFormat('de'); exports.handler = () => format.format(1);

function connect() {
  throw new Error('no database today');
}
connect();

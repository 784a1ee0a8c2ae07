import { greet } from 'greeting';
import { readFile } from 'node:fs/promises';

const self = await readFile(new URL(import.meta.url), 'utf8');

export const orders = {
  greeting: 'hello',
  handler(event) {
    return greet(this.greeting, event.data) + self.length;
  },
};

export default () => 'the default';

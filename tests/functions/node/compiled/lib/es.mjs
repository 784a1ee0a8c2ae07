import plain from './plain.cjs';

export default { plain, line: new Error('of it').stack.split('\n')[1] };

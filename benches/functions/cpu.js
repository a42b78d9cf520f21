// Work that keeps a processor busy; each answers how many milliseconds the best of three runs took.
const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));
const rows = Array.from({ length: 6000 }, (_, id) => ({ id, name: `row ${id}`, tags: ['a', 'b', 'c'], nested: { x: id / 3, y: null } }));
const json = JSON.stringify(rows);
const words = Array.from({ length: 20000 }, (_, n) => `user${n}@mail${n % 97}.example.com ${n * 7919}`).join('\n');
let seed = 42;
const numbers = Array.from({ length: 100000 }, () => (seed = (seed * 1103515245 + 12345) % 2147483648));
const tasks = {
  'fib(27)': () => fib(27),
  'JSON.parse, 0.5 MB': () => JSON.parse(json).length,
  'JSON.stringify, 0.5 MB': () => JSON.stringify(rows).length,
  'regexp, 20,000 lines': () => [...words.matchAll(/([\w.]+)@([\w.]+)\.com\s+(\d+)/g)].length,
  'sort, 100,000 numbers': () => [...numbers].sort((a, b) => a - b).length,
  'strings, 200,000 pieces': () => {
    let text = '';
    for (let n = 0; n < 200000; n++) text += n;
    return text.length;
  },
};
export function measure() {
  const best = {};
  for (const [name, task] of Object.entries(tasks)) {
    best[name] = Infinity;
    for (let run = 0; run < 3; run++) {
      const start = performance.now();
      task();
      best[name] = Math.min(best[name], performance.now() - start);
    }
  }
  return best;
}
export default () => Response.json(measure());

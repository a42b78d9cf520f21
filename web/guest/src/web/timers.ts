// Timers live in the guest: the host only ever waits for the earliest one, so a million of them cost it nothing.
import { host, hooks, install } from '../host';

interface Entry {
  id: number;
  at: number;
  callback: (...args: unknown[]) => unknown;
  args: unknown[];
  every: number | null;
  context: unknown;
  timeout: Timeout;
}

/** Binary heap by time, then by age. */
const heap: Entry[] = [];
const live = new Map<number, Entry>();
const before = (a: Entry, b: Entry) => a.at < b.at || (a.at === b.at && a.id < b.id);

function push(entry: Entry): void {
  let at = heap.length;
  heap.push(entry);
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!before(entry, heap[parent] as Entry)) break;
    heap[at] = heap[parent] as Entry;
    at = parent;
  }
  heap[at] = entry;
}

function pop(): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1] as Entry, heap[child] as Entry)) child++;
    if (!before(heap[child] as Entry, last)) break;
    heap[at] = heap[child] as Entry;
    at = child;
  }
  heap[at] = last;
}

let nextTimer = 1;

/** What Node's timer functions return; converts to its number. */
export class Timeout {
  readonly #id: number;
  constructor(id: number) {
    this.#id = id;
  }
  ref() {
    return this;
  }
  unref() {
    return this;
  }
  hasRef() {
    return live.has(this.#id);
  }
  refresh() {
    return this;
  }
  close() {
    live.delete(this.#id);
    return this;
  }
  [Symbol.toPrimitive]() {
    return this.#id;
  }
  [Symbol.dispose]() {
    this.close();
  }
}

function schedule(callback: unknown, delay: unknown, repeat: boolean, args: unknown[]): Timeout {
  if (typeof callback !== 'function') throw new TypeError('The callback of a timer must be a function');
  let wait = Number(delay);
  // Node: anything outside 1..2^31-1 ms is 1 ms. Zero stays zero here: nobody gains by the wait.
  if (!(wait >= 0) || wait > 2147483647) wait = 0;
  const id = nextTimer++;
  const entry: Entry = {
    id,
    at: Date.now() + wait,
    callback: callback as Entry['callback'],
    args,
    every: repeat ? Math.max(1, wait) : null,
    context: host.getContext(),
    timeout: new Timeout(id),
  };
  live.set(id, entry);
  push(entry);
  return entry.timeout;
}

export const setTimeout = (callback: unknown, delay?: unknown, ...args: unknown[]) =>
  schedule(callback, delay, false, args);
export const setInterval = (callback: unknown, delay?: unknown, ...args: unknown[]) =>
  schedule(callback, delay, true, args);
export const setImmediate = (callback: unknown, ...args: unknown[]) => schedule(callback, 0, false, args);
export const clearTimeout = (timer?: unknown) => {
  if (timer != null) live.delete(Number(timer));
};
export const clearInterval = clearTimeout;
export const clearImmediate = clearTimeout;

/** Wall-clock milliseconds of the earliest live timer, infinity without one. */
hooks.deadline = () => {
  while (heap.length > 0) {
    const first = heap[0] as Entry;
    if (live.get(first.id) === first) return first.at;
    pop();
  }
  return Infinity;
};

/** Runs what was due when the round began, one at a time with its microtasks in between (the host loops). */
hooks.timers = () => {
  const first = heap[0];
  if (first === undefined || first.at > Date.now()) return;
  pop();
  if (live.get(first.id) !== first) return;
  if (first.every === null) live.delete(first.id);
  else {
    first.at = Date.now() + first.every;
    push(first);
  }
  const outer = host.getContext();
  host.setContext(first.context);
  try {
    first.callback(...first.args);
  } finally {
    host.setContext(outer);
  }
};

install({ setTimeout, setInterval, setImmediate, clearTimeout, clearInterval, clearImmediate });

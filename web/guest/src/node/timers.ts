import { clearImmediate, clearInterval, clearTimeout, setImmediate, setInterval, setTimeout } from '../web/timers';

interface Options {
  signal?: AbortSignal;
}

function settle<T>(begin: (done: () => void) => unknown, clear: (timer: unknown) => void, value: T, { signal }: Options = {}): Promise<T> {
  return new Promise((resolve, reject) => {
    const refuse = () => reject(Object.assign(new Error('The operation was aborted', { cause: signal?.reason }), { name: 'AbortError', code: 'ABORT_ERR' }));
    if (signal?.aborted) return refuse();
    const onAbort = () => {
      clear(timer);
      refuse();
    };
    const timer = begin(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve(value);
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

const later = <T>(delay?: number, value?: T, options?: Options) => settle((done) => setTimeout(done, delay), clearTimeout, value, options);

export const promises = {
  setTimeout: later,
  setImmediate: <T>(value?: T, options?: Options) => settle((done) => setImmediate(done), clearImmediate, value, options),
  async *setInterval<T>(delay?: number, value?: T, options?: Options) {
    for (;;) yield await later(delay, value, options);
  },
  scheduler: { wait: (delay: number, options?: Options) => later(delay, undefined, options), yield: () => later(0) },
};
export { clearImmediate, clearInterval, clearTimeout, setImmediate, setInterval, setTimeout };

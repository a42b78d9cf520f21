import EventEmitterBase, { EventEmitter, once } from 'events';

type Emitter = InstanceType<typeof EventEmitterBase>;

/** `for await (const [value] of on(emitter, 'name'))`. */
function on(emitter: Emitter, name: string, options: { signal?: AbortSignal } = {}): AsyncIterableIterator<unknown[]> {
  options.signal?.throwIfAborted();
  const values: unknown[][] = [];
  const waiting: PromiseWithResolvers<IteratorResult<unknown[]>>[] = [];
  let failure: { error: unknown } | null = null;
  let finished = false;
  const onValue = (...args: unknown[]) => {
    const next = waiting.shift();
    if (next === undefined) values.push(args);
    else next.resolve({ value: args, done: false });
  };
  const onError = (error: unknown) => {
    const next = waiting.shift();
    if (next === undefined) failure = { error };
    else next.reject(error);
    stop();
  };
  const stop = () => {
    finished = true;
    emitter.off(name, onValue);
    emitter.off('error', onError);
    for (const one of waiting.splice(0)) one.resolve({ value: undefined, done: true });
  };
  emitter.on(name, onValue);
  if (name !== 'error') emitter.on('error', onError);
  options.signal?.addEventListener('abort', () => onError(options.signal?.reason), { once: true });
  return {
    next() {
      const value = values.shift();
      if (value !== undefined) return Promise.resolve({ value, done: false });
      if (failure !== null) {
        const { error } = failure;
        failure = null;
        return Promise.reject(error);
      }
      if (finished) return Promise.resolve({ value: undefined, done: true });
      const later = Promise.withResolvers<IteratorResult<unknown[]>>();
      waiting.push(later);
      return later.promise;
    },
    return() {
      stop();
      return Promise.resolve({ value: undefined, done: true });
    },
    throw(error: unknown) {
      onError(error);
      return Promise.resolve({ value: undefined, done: true });
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  } as AsyncIterableIterator<unknown[]>;
}

const events = Object.assign(EventEmitterBase, {
  EventEmitter,
  EventEmitterAsyncResource: EventEmitter,
  once,
  on,
  captureRejectionSymbol: Symbol.for('nodejs.rejection'),
  errorMonitor: Symbol.for('events.errorMonitor'),
  getEventListeners: (emitter: Emitter, name: string) => (typeof emitter.listeners === 'function' ? emitter.listeners(name) : []),
  getMaxListeners: (emitter: Emitter) => emitter.getMaxListeners?.() ?? 10,
  setMaxListeners: (count: number, ...emitters: Emitter[]) => {
    for (const emitter of emitters) emitter.setMaxListeners?.(count);
  },
  addAbortListener: (signal: AbortSignal, listener: () => void) => {
    signal.addEventListener('abort', listener, { once: true });
    return { [Symbol.dispose]: () => signal.removeEventListener('abort', listener) };
  },
});
export default events;

// The engine keeps one value, the async context, across await, jobs and timers (quickjs/patches.mjs). Here it is an
// immutable map from storage to its store.
import { host } from '../host';

type Frame = ReadonlyMap<AsyncLocalStorage<unknown>, unknown>;
const NOTHING: Frame = new Map();
const current = () => (host.getContext() as Frame | undefined) ?? NOTHING;

function inFrame<R>(frame: unknown, callback: () => R): R {
  const outer = host.getContext();
  host.setContext(frame);
  try {
    return callback();
  } finally {
    host.setContext(outer);
  }
}

export class AsyncLocalStorage<T> {
  #enabled = true;
  readonly name: string;
  readonly #fallback: T | undefined;
  constructor(options: { name?: string; defaultValue?: T } = {}) {
    this.name = options.name ?? '';
    this.#fallback = options.defaultValue;
  }
  run<R, A extends unknown[]>(store: T, callback: (...args: A) => R, ...args: A): R {
    this.#enabled = true;
    return inFrame(new Map(current()).set(this as never, store), () => callback(...args));
  }
  exit<R, A extends unknown[]>(callback: (...args: A) => R, ...args: A): R {
    const frame = new Map(current());
    frame.delete(this as never);
    return inFrame(frame, () => callback(...args));
  }
  getStore(): T | undefined {
    const frame = current();
    return this.#enabled && frame.has(this as never) ? (frame.get(this as never) as T) : this.#fallback;
  }
  enterWith(store: T): void {
    this.#enabled = true;
    host.setContext(new Map(current()).set(this as never, store));
  }
  disable(): void {
    this.#enabled = false;
  }
  static bind<F extends (...args: never[]) => unknown>(callback: F): F {
    const frame = host.getContext();
    return function (this: unknown, ...args: never[]) {
      return inFrame(frame, () => callback.apply(this, args));
    } as F;
  }
  static snapshot(): <R, A extends unknown[]>(callback: (...args: A) => R, ...args: A) => R {
    const frame = host.getContext();
    return (callback, ...args) => inFrame(frame, () => callback(...args));
  }
}

let nextAsyncId = 1;
export class AsyncResource {
  readonly type: string;
  readonly #frame = host.getContext();
  readonly #id = nextAsyncId++;
  constructor(type: string) {
    this.type = type;
  }
  runInAsyncScope<R, A extends unknown[]>(callback: (...args: A) => R, self?: unknown, ...args: A): R {
    return inFrame(this.#frame, () => callback.apply(self, args));
  }
  bind<F extends (...args: never[]) => unknown>(callback: F): F {
    const frame = this.#frame;
    return function (this: unknown, ...args: never[]) {
      return inFrame(frame, () => callback.apply(this, args));
    } as F;
  }
  static bind<F extends (...args: never[]) => unknown>(callback: F): F {
    return AsyncLocalStorage.bind(callback);
  }
  emitDestroy() {
    return this;
  }
  asyncId() {
    return this.#id;
  }
  triggerAsyncId() {
    return 0;
  }
}

export const executionAsyncId = () => 0;
export const triggerAsyncId = () => 0;
export const executionAsyncResource = () => ({});
export const createHook = () => ({
  enable() {
    return this;
  },
  disable() {
    return this;
  },
});

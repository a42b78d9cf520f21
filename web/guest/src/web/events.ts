// DOM events without a tree: targets have no parents, so there is one phase.
import { install, tag } from '../host';
import { clearTimeout, setTimeout } from './timers';

const state = new WeakMap<Event, { stop: boolean; target: EventTarget | null; passive: boolean; dispatching: boolean }>();
const of = (event: Event) => {
  const found = state.get(event);
  if (found === undefined) throw new TypeError('Illegal invocation');
  return found;
};

class Event {
  static readonly NONE = 0;
  static readonly CAPTURING_PHASE = 1;
  static readonly AT_TARGET = 2;
  static readonly BUBBLING_PHASE = 3;
  readonly type: string;
  readonly bubbles: boolean;
  readonly cancelable: boolean;
  readonly composed: boolean;
  readonly timeStamp = performance.now();
  defaultPrevented = false;
  cancelBubble = false;
  readonly isTrusted = false;
  constructor(type: string, init: EventInit = {}) {
    if (arguments.length === 0) throw new TypeError('An event needs a type');
    this.type = String(type);
    this.bubbles = Boolean(init?.bubbles);
    this.cancelable = Boolean(init?.cancelable);
    this.composed = Boolean(init?.composed);
    state.set(this, { stop: false, target: null, passive: false, dispatching: false });
  }
  get target() {
    return of(this).target;
  }
  get srcElement() {
    return of(this).target;
  }
  get currentTarget() {
    return of(this).dispatching ? of(this).target : null;
  }
  get eventPhase() {
    return of(this).dispatching ? 2 : 0;
  }
  get returnValue() {
    return !this.defaultPrevented;
  }
  composedPath(): EventTarget[] {
    const { target, dispatching } = of(this);
    return dispatching && target !== null ? [target] : [];
  }
  preventDefault() {
    if (this.cancelable && !of(this).passive) this.defaultPrevented = true;
  }
  stopPropagation() {
    this.cancelBubble = true;
  }
  stopImmediatePropagation() {
    this.cancelBubble = true;
    of(this).stop = true;
  }
}
tag(Event, 'Event');

class CustomEvent<T = unknown> extends Event {
  readonly detail: T | null;
  constructor(type: string, init: CustomEventInit<T> = {}) {
    super(type, init);
    this.detail = init.detail ?? null;
  }
}
tag(CustomEvent, 'CustomEvent');

class MessageEvent extends Event {
  readonly data: unknown;
  readonly origin = '';
  readonly lastEventId = '';
  readonly source = null;
  readonly ports: readonly unknown[];
  constructor(type: string, init: { data?: unknown; ports?: unknown[] } = {}) {
    super(type);
    this.data = init.data ?? null;
    this.ports = Object.freeze([...(init.ports ?? [])]);
  }
}
tag(MessageEvent, 'MessageEvent');

class ErrorEvent extends Event {
  readonly message: string;
  readonly error: unknown;
  constructor(type: string, init: { message?: string; error?: unknown } = {}) {
    super(type);
    this.message = init.message ?? '';
    this.error = init.error;
  }
}
tag(ErrorEvent, 'ErrorEvent');

type Callback = ((event: Event) => unknown) | { handleEvent(event: Event): unknown };
interface Listener {
  callback: Callback;
  capture: boolean;
  once: boolean;
  passive: boolean;
  removed: boolean;
}
const listeners = new WeakMap<EventTarget, Map<string, Listener[]>>();
const table = (target: EventTarget): Map<string, Listener[]> => {
  const self = (target ?? globalThis) as EventTarget;
  let found = listeners.get(self);
  if (found === undefined) listeners.set(self, (found = new Map()));
  return found;
};
const captures = (options: unknown): boolean =>
  typeof options === 'object' && options !== null ? Boolean((options as { capture?: boolean }).capture) : Boolean(options);

class EventTarget {
  addEventListener(type: string, callback: Callback | null, options?: boolean | AddEventListenerOptions) {
    if (callback == null) return;
    const settings = typeof options === 'object' && options !== null ? options : {};
    const capture = captures(options);
    const { signal } = settings;
    if (signal?.aborted) return;
    const all = table(this);
    const list = all.get(String(type)) ?? [];
    if (list.some((one) => one.callback === callback && one.capture === capture)) return;
    list.push({ callback, capture, once: Boolean(settings.once), passive: Boolean(settings.passive), removed: false });
    all.set(String(type), list);
    signal?.addEventListener('abort', () => this.removeEventListener(type, callback, options), { once: true });
  }
  removeEventListener(type: string, callback: Callback | null, options?: boolean | EventListenerOptions) {
    const list = table(this).get(String(type));
    const at = list?.findIndex((one) => one.callback === callback && one.capture === captures(options)) ?? -1;
    if (list === undefined || at < 0) return;
    (list[at] as Listener).removed = true;
    list.splice(at, 1);
  }
  dispatchEvent(event: Event): boolean {
    const inner = of(event);
    if (inner.dispatching) throw new DOMException('The event is already being dispatched', 'InvalidStateError');
    inner.target = this;
    inner.dispatching = true;
    for (const listener of [...(table(this).get(event.type) ?? [])]) {
      if (listener.removed) continue;
      if (listener.once) this.removeEventListener(event.type, listener.callback, listener.capture);
      inner.passive = listener.passive;
      try {
        if (typeof listener.callback === 'function') listener.callback.call(this, event);
        else listener.callback.handleEvent(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
      if (inner.stop) break;
    }
    inner.dispatching = false;
    inner.passive = false;
    return !event.defaultPrevented;
  }
}
tag(EventTarget, 'EventTarget');

/** `onabort` and its like: one replaceable listener. */
function attribute(target: { prototype: EventTarget }, type: string) {
  const handlers = new WeakMap<EventTarget, { handler: unknown; listener: (event: Event) => void }>();
  Object.defineProperty(target.prototype, `on${type}`, {
    configurable: true,
    enumerable: true,
    get(this: EventTarget) {
      return handlers.get(this)?.handler ?? null;
    },
    set(this: EventTarget, handler: unknown) {
      const old = handlers.get(this);
      if (old !== undefined) this.removeEventListener(type, old.listener);
      handlers.delete(this);
      if (typeof handler !== 'function') return;
      const listener = (event: Event) => handler.call(this, event);
      handlers.set(this, { handler, listener });
      this.addEventListener(type, listener);
    },
  });
}

const MAKE = Symbol('make');
interface SignalState {
  aborted: boolean;
  reason: unknown;
  dependents: Set<AbortSignal>;
}
const signals = new WeakMap<AbortSignal, SignalState>();

function abort(signal: AbortSignal, reason: unknown): void {
  const inner = signals.get(signal);
  if (inner === undefined || inner.aborted) return;
  inner.aborted = true;
  inner.reason = reason === undefined ? new DOMException('This operation was aborted', 'AbortError') : reason;
  for (const dependent of inner.dependents) abort(dependent, inner.reason);
  signal.dispatchEvent(new Event('abort'));
}

class AbortSignal extends EventTarget {
  constructor(make?: symbol) {
    super();
    if (make !== MAKE) throw new TypeError('Illegal constructor');
    signals.set(this, { aborted: false, reason: undefined, dependents: new Set() });
  }
  get aborted(): boolean {
    return signals.get(this)?.aborted ?? false;
  }
  get reason(): unknown {
    return signals.get(this)?.reason;
  }
  throwIfAborted() {
    if (this.aborted) throw this.reason;
  }
  static abort(reason?: unknown): AbortSignal {
    const signal = new AbortSignal(MAKE);
    abort(signal, reason);
    return signal;
  }
  static timeout(milliseconds: number): AbortSignal {
    const signal = new AbortSignal(MAKE);
    const timer = setTimeout(
      () => abort(signal, new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
      milliseconds,
    );
    timer.unref();
    return signal;
  }
  static any(sources: Iterable<AbortSignal>): AbortSignal {
    const signal = new AbortSignal(MAKE);
    const all = [...sources];
    const done = all.find((source) => source.aborted);
    if (done !== undefined) abort(signal, done.reason);
    else for (const source of all) signals.get(source)?.dependents.add(signal);
    return signal;
  }
}
tag(AbortSignal, 'AbortSignal');
attribute(AbortSignal, 'abort');

class AbortController {
  readonly #signal = new AbortSignal(MAKE);
  get signal(): AbortSignal {
    return this.#signal;
  }
  abort(reason?: unknown) {
    abort(this.#signal, reason);
  }
}
tag(AbortController, 'AbortController');

class MessagePort extends EventTarget {
  #other: MessagePort | null = null;
  #queue: unknown[] | null = [];
  constructor(make?: symbol) {
    super();
    if (make !== MAKE) throw new TypeError('Illegal constructor');
  }
  static pair(): [MessagePort, MessagePort] {
    const one = new MessagePort(MAKE);
    const two = new MessagePort(MAKE);
    one.#other = two;
    two.#other = one;
    return [one, two];
  }
  postMessage(message: unknown, options?: StructuredSerializeOptions) {
    const data = structuredClone(message, options);
    const other = this.#other;
    if (other === null) return;
    if (other.#queue !== null) other.#queue.push(data);
    else setTimeout(() => other.#other && other.dispatchEvent(new MessageEvent('message', { data })), 0);
  }
  start() {
    const queued = this.#queue;
    this.#queue = null;
    for (const data of queued ?? []) setTimeout(() => this.dispatchEvent(new MessageEvent('message', { data })), 0);
  }
  close() {
    if (this.#other !== null) this.#other.#other = null;
    this.#other = null;
  }
  override addEventListener(type: string, callback: Callback | null, options?: boolean | AddEventListenerOptions) {
    super.addEventListener(type, callback, options);
    if (type === 'message' && this.#queue !== null) this.start();
  }
  ref() {}
  unref() {}
}
tag(MessagePort, 'MessagePort');
attribute(MessagePort, 'message');

class MessageChannel {
  readonly port1: MessagePort;
  readonly port2: MessagePort;
  constructor() {
    [this.port1, this.port2] = MessagePort.pair();
  }
}
tag(MessageChannel, 'MessageChannel');

void clearTimeout;
install({
  Event,
  CustomEvent,
  MessageEvent,
  ErrorEvent,
  EventTarget,
  AbortSignal,
  AbortController,
  MessagePort,
  MessageChannel,
});

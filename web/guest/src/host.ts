// The only file that touches the host: calls, completions, frames.
import { Op } from './ops';

export interface Hooks {
  /** Text of a host error → the value to throw. */
  fail(text: string): unknown;
  unresolved(specifier: string, importer: string): unknown;
  report(error: unknown): string;
  deadline(): number;
  timers(): void;
  event(id: number, status: number, bytes: Uint8Array): void;
  drained(): void;
  rejection(promise: Promise<unknown>, reason: unknown, handled: boolean): void;
  meta(meta: Record<string, unknown>, path: string): void;
  /** Names of a module's exports, one a line; the module need not have run. */
  names(namespace: object): string;
  setup(json: string): void;
  /** The answer's frame; a promise only when something has to be waited for. */
  dispatch(head: unknown, body: Uint8Array<ArrayBuffer> | undefined, namespace: Record<string, unknown>): Uint8Array | Promise<Uint8Array>;
}

interface Host {
  bytes(op: number, id: number, payload?: string | Uint8Array): Uint8Array<ArrayBuffer>;
  text(op: number, id: number, payload?: string | Uint8Array): string;
  work(op: number, id: number, payload?: string | Uint8Array): Uint8Array<ArrayBuffer>;
  encode(text: string): Uint8Array<ArrayBuffer>;
  decode(bytes: Uint8Array): string | undefined;
  latin1(bytes: Uint8Array): string;
  /** A frame: text, then parts. */
  pack(text: string, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer>;
  /** In lower case; undefined for what is no token (RFC 9110 §5.6.2). */
  headerName(text: string): string | undefined;
  /** Without white space around it; undefined for what cannot be sent (Fetch §2.2.2). */
  headerValue(text: string): string | undefined;
  getContext(): unknown;
  setContext(value: unknown): void;
  promiseState(value: unknown): [0 | 1 | 2, unknown] | undefined;
  proxyTarget(value: unknown): object | undefined;
  detach(buffer: ArrayBuffer): void;
  now(): number;
  builtins: Record<string, Record<string, unknown>>;
  hooks: Partial<Hooks>;
}

// A local binding: the global is deleted before any user code runs.
export const host = (globalThis as unknown as { __host: Host }).__host;
export const hooks = host.hooks;
export { Op };

export const encode = (text: string): Uint8Array<ArrayBuffer> =>
  host.encode(text.isWellFormed() ? text : text.toWellFormed());

export function decode(bytes: Uint8Array): string {
  return host.decode(bytes) ?? host.text(Op.textDecode, 0, packed({ label: 'utf-8', bom: true }, bytes));
}

/** Errors of the host arrive as JSON `{name, message, code?}`. */
hooks.fail = (text) => {
  let given: { name?: string; message?: string; code?: string; cause?: { code?: string; message?: string } };
  try {
    given = JSON.parse(text);
  } catch {
    return new Error(text);
  }
  const message = given.message ?? '';
  let error: Error & { code?: string };
  switch (given.name) {
    case 'TypeError':
      error = new TypeError(message);
      break;
    case 'RangeError':
      error = new RangeError(message);
      break;
    case undefined:
    case 'Error':
      error = new Error(message);
      break;
    default:
      return new DOMException(message, given.name);
  }
  if (given.code !== undefined) error.code = given.code;
  if (given.cause !== undefined) {
    error.cause = Object.assign(new Error(given.cause.message ?? ''), { code: given.cause.code });
  }
  return error;
};

/** `[u32 length][JSON]` and then `[u32 length][bytes]` for each part, little endian. */
// JSON.stringify escapes lone surrogates: the text is well formed.
export const packed = (head: unknown, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> => host.pack(JSON.stringify(head), ...parts);

export function unpacked<Head>(bytes: Uint8Array<ArrayBuffer>): { head: Head; parts: Uint8Array<ArrayBuffer>[] } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = view.getUint32(at, true);
    parts.push(bytes.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  const head = parts.shift();
  return { head: JSON.parse(decode(head ?? new Uint8Array())) as Head, parts };
}

interface Pending {
  resolve(bytes: Uint8Array<ArrayBuffer>): void;
  reject(reason: unknown): void;
}

let nextId = 1;
const pending = new Map<number, Pending>();

export interface HostCall {
  promise: Promise<Uint8Array<ArrayBuffer>>;
  /** Gives up: the host drops the operation, the promise rejects with `reason`. */
  abort(reason: unknown): void;
}

export function start(op: number, payload?: string | Uint8Array): HostCall {
  const id = nextId++;
  const promise = new Promise<Uint8Array<ArrayBuffer>>((resolve, reject) => {
    pending.set(id, { resolve, reject });
    try {
      host.bytes(op, id, payload);
    } catch (error) {
      pending.delete(id);
      reject(error);
    }
  });
  return {
    promise,
    abort(reason) {
      const waiting = pending.get(id);
      if (waiting === undefined) return;
      pending.delete(id);
      host.bytes(Op.cancel, id);
      waiting.reject(reason);
    },
  };
}

export const call = (op: number, payload?: string | Uint8Array): Promise<Uint8Array<ArrayBuffer>> =>
  start(op, payload).promise;

hooks.event = (id, status, bytes) => {
  const waiting = pending.get(id);
  if (waiting === undefined) return;
  pending.delete(id);
  if (status === 0) waiting.resolve(bytes as Uint8Array<ArrayBuffer>);
  else waiting.reject(hooks.fail?.(decode(bytes)));
};

/** What an operation of the platform answered. `call` names it; the host's `HostServices` decides what exists. */
export async function service(name: string, head: unknown, ...parts: Uint8Array[]): Promise<Uint8Array<ArrayBuffer>> {
  return call(Op.service, packed({ call: name, head }, ...parts));
}

/** The bytes of any BufferSource, without copying. */
export function view(source: unknown, what = 'argument'): Uint8Array<ArrayBuffer> {
  if (source instanceof Uint8Array) return source as Uint8Array<ArrayBuffer>;
  if (source instanceof ArrayBuffer) return new Uint8Array(source);
  if (ArrayBuffer.isView(source)) {
    return new Uint8Array(source.buffer as ArrayBuffer, source.byteOffset, source.byteLength);
  }
  throw new TypeError(`The ${what} must be an ArrayBuffer or a view of one`);
}

/** Functions and classes of the platform look like an engine's: not enumerable on their prototype or the global. */
export function install(names: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(names)) {
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false });
  }
}

export function tag(constructor: { prototype: object }, name: string): void {
  Object.defineProperty(constructor.prototype, Symbol.toStringTag, { value: name, configurable: true });
}

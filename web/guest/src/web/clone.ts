// structuredClone: HTML §2.7, for every clonable type that exists here.
import { host, install } from '../host';

const refused = (value: unknown) => {
  const shown = typeof value === 'symbol' ? String(value) : typeof value === 'function' ? `${value.name || 'function'}` : 'value';
  return new DOMException(`${shown} could not be cloned.`, 'DataCloneError');
};
const ERRORS: Record<string, ErrorConstructor> = { Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError };
const kind = (value: object) => Object.prototype.toString.call(value).slice(8, -1);

function clone(value: unknown, seen: Map<object, unknown>): unknown {
  if (typeof value === 'function' || typeof value === 'symbol') throw refused(value);
  if (typeof value !== 'object' || value === null) return value;
  const known = seen.get(value);
  if (known !== undefined) return known;
  const keep = <T>(copy: T): T => {
    seen.set(value, copy);
    return copy;
  };
  if (Array.isArray(value)) {
    const copy = keep(new Array(value.length));
    for (const key of Object.keys(value)) copy[key as unknown as number] = clone(value[key as unknown as number], seen);
    return copy;
  }
  if (value instanceof Date) return keep(new Date(value.getTime()));
  if (value instanceof RegExp) return keep(new RegExp(value.source, value.flags));
  if (value instanceof Boolean || value instanceof Number || value instanceof String || value instanceof BigInt) {
    return keep(Object(value.valueOf()));
  }
  if (value instanceof Map) {
    const copy = keep(new Map());
    for (const [k, v] of [...value]) copy.set(clone(k, seen), clone(v, seen));
    return copy;
  }
  if (value instanceof Set) {
    const copy = keep(new Set());
    for (const item of [...value]) copy.add(clone(item, seen));
    return copy;
  }
  if (value instanceof ArrayBuffer) return keep(value.slice(0));
  if (ArrayBuffer.isView(value)) {
    const buffer = clone(value.buffer, seen) as ArrayBuffer;
    if (value instanceof DataView) return keep(new DataView(buffer, value.byteOffset, value.byteLength));
    const { length } = value as Uint8Array;
    // A subclass such as Buffer is cloned as the typed array it extends.
    const name = (value as unknown as Record<symbol, string>)[Symbol.toStringTag] as 'Uint8Array';
    return keep(new globalThis[name](buffer, value.byteOffset, length));
  }
  if (value instanceof Error) {
    const name = String(value.name);
    const copy = keep(Object.create((Object.hasOwn(ERRORS, name) ? (ERRORS[name] as ErrorConstructor) : Error).prototype) as Error);
    for (const key of ['message', 'stack'] as const) {
      if (typeof value[key] === 'string') Object.defineProperty(copy, key, { value: value[key], writable: true, configurable: true });
    }
    if ('cause' in value) Object.defineProperty(copy, 'cause', { value: clone(value.cause, seen), writable: true, configurable: true });
    return copy;
  }
  if (value instanceof Blob) {
    return keep(value instanceof File ? new File([value], value.name, { type: value.type, lastModified: value.lastModified }) : value.slice(0, value.size, value.type));
  }
  if (host.promiseState(value) !== undefined || value instanceof WeakMap || value instanceof WeakSet || value instanceof WeakRef) {
    throw refused(value);
  }
  const name = kind(value);
  if (name !== 'Object' && Object.getPrototypeOf(value) !== Object.prototype && name !== 'Arguments' && /^(Generator|.*Iterator|Request|Response|Headers|ReadableStream|WritableStream|TransformStream|AbortSignal|Event|URL|URLSearchParams|FormData)$/.test(name)) {
    throw refused(value);
  }
  const copy = keep({} as Record<string, unknown>);
  for (const key of Object.keys(value)) {
    Object.defineProperty(copy, key, { value: clone((value as Record<string, unknown>)[key], seen), writable: true, enumerable: true, configurable: true });
  }
  return copy;
}

function structuredClone(value: unknown, options?: { transfer?: unknown[] }): unknown {
  if (arguments.length === 0) throw new TypeError('structuredClone needs a value');
  const seen = new Map<object, unknown>();
  const moved = [...(options?.transfer ?? [])];
  if (new Set(moved).size !== moved.length) throw new DOMException('The list of what is transferred names something twice', 'DataCloneError');
  for (const item of moved) {
    if (!(item instanceof ArrayBuffer) && !(item instanceof MessagePort)) {
      throw new DOMException('Value not transferable', 'DataCloneError');
    }
    if (item instanceof MessagePort) seen.set(item, item);
  }
  const copy = clone(value, seen);
  for (const item of moved) if (item instanceof ArrayBuffer) host.detach(item);
  return copy;
}

install({ structuredClone });

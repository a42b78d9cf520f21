import { custom, formatWith, inspectValue, type InspectOptions } from '../inspect';
import { host } from '../host';

type Any = (...args: never[]) => unknown;
const promisified = Symbol.for('nodejs.util.promisify.custom');
const tagOf = (value: unknown) => Object.prototype.toString.call(value).slice(8, -1);

export const inspect = Object.assign(
  (value: unknown, options?: InspectOptions | boolean, depth?: number | null) =>
    inspectValue(value, typeof options === 'object' && options !== null ? options : { showHidden: Boolean(options), ...(depth === undefined ? {} : { depth }) }),
  { custom, defaultOptions: {}, colors: {}, styles: {} },
);
export const format = (...args: unknown[]) => formatWith({}, args);
export const formatWithOptions = (options: InspectOptions, ...args: unknown[]) => formatWith(options, args);

export const promisify = Object.assign(
  (original: Any): Any => {
    if (typeof original !== 'function') throw new TypeError('The "original" argument must be of type function');
    const own = (original as unknown as Record<symbol, Any | undefined>)[promisified];
    if (own !== undefined) return own;
    return function (this: unknown, ...args: never[]) {
      return new Promise((resolve, reject) => {
        const done = (error: unknown, value: unknown) => (error ? reject(error) : resolve(value));
        original.call(this, ...args, done as never);
      });
    };
  },
  { custom: promisified },
);
export const callbackify =
  (original: Any) =>
  (...args: unknown[]): void => {
    const done = args.pop() as (error: unknown, value?: unknown) => void;
    Promise.resolve(original(...(args as never[]))).then(
      (value) => queueMicrotask(() => done(null, value)),
      (error: unknown) => queueMicrotask(() => done(error ?? new Error('Promise was rejected with a falsy value'))),
    );
  };
export function inherits(child: Any & { super_?: unknown }, parent: Any): void {
  child.super_ = parent;
  Object.setPrototypeOf(child.prototype as object, parent.prototype as object);
}
export function deprecate<F extends Any>(callback: F): F {
  return callback;
}
export const debuglog = () => Object.assign(() => {}, { enabled: false });
export { debuglog as debug };
export const stripVTControlCharacters = (text: string) => text.replace(/\u001b\[[0-9;?]*[ -/]*[@-~]/g, '');
export const toUSVString = (text: unknown) => String(text).toWellFormed();
export const { TextEncoder, TextDecoder } = globalThis;
export const isArray = Array.isArray;
export const aborted = (signal: AbortSignal) => new Promise<void>((resolve) => (signal.aborted ? resolve() : signal.addEventListener('abort', () => resolve(), { once: true })));
export const styleText = (_style: unknown, text: string) => text;
export const getSystemErrorName = (code: number) => `E${code}`;
export const parseEnv = (text: string): Record<string, string> => {
  const out: Record<string, string> = {};
  for (const line of text.split('\n')) {
    const match = /^\s*(?:export\s+)?([\w.-]+)\s*=\s*(.*?)\s*$/.exec(line);
    if (match !== null) out[match[1] as string] = (match[2] as string).replace(/^(['"`])(.*)\1$/, '$2');
  }
  return out;
};

const is = (name: string) => (value: unknown) => tagOf(value) === name;
const typed = (name: string) => (value: unknown) => ArrayBuffer.isView(value) && (value as unknown as Record<symbol, unknown>)[Symbol.toStringTag] === name;
export const types = {
  isPromise: (value: unknown) => host.promiseState(value) !== undefined,
  isProxy: (value: unknown) => host.proxyTarget(value) !== undefined,
  isRegExp: is('RegExp'),
  isDate: is('Date'),
  isMap: (value: unknown) => value instanceof Map,
  isSet: (value: unknown) => value instanceof Set,
  isWeakMap: (value: unknown) => value instanceof WeakMap,
  isWeakSet: (value: unknown) => value instanceof WeakSet,
  isNativeError: (value: unknown) => value instanceof Error,
  isArrayBuffer: (value: unknown) => value instanceof ArrayBuffer,
  isAnyArrayBuffer: (value: unknown) => value instanceof ArrayBuffer || (typeof SharedArrayBuffer === 'function' && value instanceof SharedArrayBuffer),
  isSharedArrayBuffer: (value: unknown) => typeof SharedArrayBuffer === 'function' && value instanceof SharedArrayBuffer,
  isArrayBufferView: (value: unknown) => ArrayBuffer.isView(value),
  isDataView: (value: unknown) => value instanceof DataView,
  isTypedArray: (value: unknown) => ArrayBuffer.isView(value) && !(value instanceof DataView),
  isUint8Array: typed('Uint8Array'),
  isUint8ClampedArray: typed('Uint8ClampedArray'),
  isInt8Array: typed('Int8Array'),
  isUint16Array: typed('Uint16Array'),
  isInt16Array: typed('Int16Array'),
  isUint32Array: typed('Uint32Array'),
  isInt32Array: typed('Int32Array'),
  isFloat32Array: typed('Float32Array'),
  isFloat64Array: typed('Float64Array'),
  isBigInt64Array: typed('BigInt64Array'),
  isBigUint64Array: typed('BigUint64Array'),
  isAsyncFunction: (value: unknown) => typeof value === 'function' && /^Async/.test(tagOf(value)),
  isGeneratorFunction: (value: unknown) => typeof value === 'function' && /GeneratorFunction$/.test(tagOf(value)),
  isGeneratorObject: is('Generator'),
  isMapIterator: is('Map Iterator'),
  isSetIterator: is('Set Iterator'),
  isStringObject: (value: unknown) => value instanceof String,
  isNumberObject: (value: unknown) => value instanceof Number,
  isBooleanObject: (value: unknown) => value instanceof Boolean,
  isBigIntObject: (value: unknown) => value instanceof BigInt,
  isSymbolObject: (value: unknown) => value instanceof Symbol,
  isBoxedPrimitive: (value: unknown) => value instanceof String || value instanceof Number || value instanceof Boolean || value instanceof BigInt || value instanceof Symbol,
  isArgumentsObject: is('Arguments'),
  isModuleNamespaceObject: is('Module'),
  isExternal: () => false,
  isCryptoKey: is('CryptoKey'),
  isKeyObject: is('KeyObject'),
};

/** Structural equality of assert.deepEqual (`strict` false) and deepStrictEqual. */
export function equalDeep(a: unknown, b: unknown, strict: boolean, seen: [object, object][] = []): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) {
    // biome-ignore lint: the loose form compares loosely
    return !strict && (a == b || (a !== a && b !== b));
  }
  if (strict && Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  if (tagOf(a) !== tagOf(b) || Array.isArray(a) !== Array.isArray(b)) return false;
  if (seen.some(([x, y]) => x === a && y === b)) return true;
  const inner: [object, object][] = [...seen, [a, b]];
  const same = (x: unknown, y: unknown) => equalDeep(x, y, strict, inner);
  if (a instanceof Date && b instanceof Date && a.getTime() !== b.getTime()) return false;
  if (a instanceof RegExp && String(a) !== String(b)) return false;
  if (a instanceof Error && b instanceof Error && (a.message !== b.message || a.name !== b.name)) return false;
  if (types.isBoxedPrimitive(a) && !Object.is(a.valueOf(), b.valueOf())) return false;
  if (a instanceof ArrayBuffer && b instanceof ArrayBuffer) return same(new Uint8Array(a), new Uint8Array(b));
  if (a instanceof Map && b instanceof Map) {
    if (a.size !== b.size) return false;
    const open = [...b];
    for (const [key, value] of a) {
      const at = open.findIndex(([k, v]) => same(key, k) && same(value, v));
      if (at < 0) return false;
      open.splice(at, 1);
    }
  }
  if (a instanceof Set && b instanceof Set) {
    if (a.size !== b.size) return false;
    const open = [...b];
    for (const value of a) {
      const at = open.findIndex((one) => same(value, one));
      if (at < 0) return false;
      open.splice(at, 1);
    }
  }
  const keys = (value: object) => [...Object.keys(value), ...(strict ? Object.getOwnPropertySymbols(value).filter((s) => Object.prototype.propertyIsEnumerable.call(value, s)) : [])];
  const [mine, theirs] = [keys(a), keys(b)];
  return mine.length === theirs.length && mine.every((key) => Object.hasOwn(b, key) && same(Reflect.get(a, key), Reflect.get(b, key)));
}
export const isDeepStrictEqual = (a: unknown, b: unknown) => equalDeep(a, b, true);

interface Option {
  type: 'string' | 'boolean';
  short?: string;
  multiple?: boolean;
  default?: unknown;
}
export function parseArgs(config: { args?: string[]; options?: Record<string, Option>; allowPositionals?: boolean; strict?: boolean } = {}) {
  const values: Record<string, unknown> = Object.create(null);
  const positionals: string[] = [];
  const options = config.options ?? {};
  const args = [...(config.args ?? [])];
  const put = (name: string, value: unknown) => {
    if (options[name]?.multiple) ((values[name] ??= []) as unknown[]).push(value);
    else values[name] = value;
  };
  while (args.length > 0) {
    const arg = args.shift() as string;
    const long = /^--([^=]+)(?:=(.*))?$/s.exec(arg);
    const name = long?.[1] ?? (/^-\w$/.test(arg) ? Object.keys(options).find((key) => options[key]?.short === arg[1]) : undefined);
    if (name === undefined) positionals.push(arg);
    else if (config.strict !== false && options[name] === undefined) throw Object.assign(new TypeError(`Unknown option '${arg}'`), { code: 'ERR_PARSE_ARGS_UNKNOWN_OPTION' });
    else put(name, options[name]?.type === 'string' ? (long?.[2] ?? args.shift()) : true);
  }
  for (const [name, option] of Object.entries(options)) if (!(name in values) && 'default' in option) values[name] = option.default;
  return { values, positionals };
}
export class MIMEType {
  type = '';
  subtype = '';
  readonly params = new Map<string, string>();
  constructor(text: string) {
    const [essence = '', ...rest] = text.split(';');
    [this.type = '', this.subtype = ''] = essence.trim().toLowerCase().split('/');
    if (this.type === '' || this.subtype === '') throw new TypeError(`The MIME syntax for '${text}' is invalid`);
    for (const part of rest) {
      const at = part.indexOf('=');
      if (at > 0) this.params.set(part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim().replace(/^"(.*)"$/, '$1'));
    }
  }
  get essence() {
    return `${this.type}/${this.subtype}`;
  }
  toString() {
    return [this.essence, ...[...this.params].map(([k, v]) => `${k}=${v}`)].join(';');
  }
}

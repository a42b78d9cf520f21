// Values as Node's util.inspect shows them: console output and assertion messages read the same as at home.
import { host } from './host';

export interface InspectOptions {
  depth?: number | null;
  colors?: boolean;
  compact?: boolean | number;
  breakLength?: number;
  showHidden?: boolean;
  maxArrayLength?: number | null;
  maxStringLength?: number | null;
  sorted?: boolean | ((a: string, b: string) => number);
  customInspect?: boolean;
  getters?: boolean;
}

export const custom: unique symbol = Symbol.for('nodejs.util.inspect.custom');
const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/** What is shown of a request and of a response: theirs are getters. */
const REQUEST = ['method', 'url', 'headers', 'destination', 'referrer', 'referrerPolicy', 'mode', 'credentials', 'cache', 'redirect', 'integrity', 'keepalive'];
const RESPONSE = ['status', 'statusText', 'headers', 'body', 'bodyUsed', 'ok', 'redirected', 'type', 'url'];

interface Context {
  options: Required<Pick<InspectOptions, 'breakLength' | 'showHidden' | 'sorted' | 'customInspect'>> & {
    depth: number;
    maxArrayLength: number;
    maxStringLength: number;
    compact: number;
  };
  seen: object[];
  circular: Map<object, number>;
  budget: number;
}

export function quote(text: string): string {
  const mark = !text.includes("'") ? "'" : !text.includes('"') ? '"' : !text.includes('`') && !text.includes('${') ? '`' : "'";
  let out = mark;
  for (const c of text) {
    const code = c.codePointAt(0) as number;
    if (c === '\n') out += '\\n';
    else if (c === '\t') out += '\\t';
    else if (c === '\r') out += '\\r';
    else if (c === '\b') out += '\\b';
    else if (c === '\f') out += '\\f';
    else if (c === '\v') out += '\\v';
    else if (c === '\\') out += '\\\\';
    else if (c === mark) out += `\\${c}`;
    else if (code < 32 || (code >= 127 && code < 160)) out += `\\x${code.toString(16).toUpperCase().padStart(2, '0')}`;
    else if (code >= 0xd800 && code <= 0xdfff) out += `\\u${code.toString(16).toUpperCase()}`;
    else out += c;
  }
  return out + mark;
}

function primitive(value: unknown, context: Context, top: boolean): string | null {
  switch (typeof value) {
    case 'string': {
      const cut = value.length > context.options.maxStringLength;
      const text = cut ? value.slice(0, context.options.maxStringLength) : value;
      const more = cut ? `... ${value.length - text.length} more character${value.length - text.length > 1 ? 's' : ''}` : '';
      if (!top && text.length > 16 && text.includes('\n') && text.length > context.options.breakLength) {
        return text.split(/(?<=\n)/).map(quote).join(' +\n  ') + more;
      }
      return quote(text) + more;
    }
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value);
    case 'bigint':
      return `${value}n`;
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'symbol':
      return value.toString();
    default:
      return value === null ? 'null' : null;
  }
}

function constructorName(value: object): string | null {
  for (let at: object | null = value; at !== null; at = Object.getPrototypeOf(at)) {
    const own = Object.getOwnPropertyDescriptor(at, 'constructor')?.value;
    if (typeof own === 'function' && own.name !== '' && value instanceof own) return own.name as string;
  }
  return null;
}

const keyText = (key: PropertyKey): string =>
  typeof key === 'symbol' ? `[${key.toString()}]` : IDENTIFIER.test(String(key)) ? String(key) : quote(String(key));

function property(value: object, key: PropertyKey, context: Context, level: number, form: 'key' | 'item'): string {
  const descriptor = Object.getOwnPropertyDescriptor(value, key) ?? { value: undefined, enumerable: true };
  let text: string;
  if (descriptor.get !== undefined) text = descriptor.set === undefined ? '[Getter]' : '[Getter/Setter]';
  else if (descriptor.set !== undefined) text = '[Setter]';
  else text = render(descriptor.value, context, level + 1);
  if (form === 'item') return text;
  const name = keyText(key);
  return `${descriptor.enumerable === false ? `[${name}]` : name}: ${text}`;
}

function layout(parts: string[], open: string, close: string, prefix: string, context: Context, level: number, list: boolean): string {
  const start = prefix === '' ? open : `${prefix} ${open}`;
  if (parts.length === 0) return `${start}${close}`;
  const pad = '  '.repeat(level + 1);
  const flat = parts.join(', ');
  const lines = parts.some((part) => part.includes('\n'));
  if (context.options.compact >= 1 && !lines && flat.length + start.length + level * 2 + 4 <= Math.min(context.options.breakLength, 76)) {
    if (!list || parts.length <= 6) return `${start} ${flat} ${close}`;
  }
  if (list && parts.length > 6 && !lines) {
    const grouped = columns(parts, context);
    if (grouped.length === 1 && flat.length + start.length + 4 <= 72) return `${start} ${flat} ${close}`;
    return `${start}\n${pad}${grouped.join(`\n${pad}`)}\n${'  '.repeat(level)}${close}`;
  }
  return `${start}\n${pad}${parts.join(`,\n${pad}`)}\n${'  '.repeat(level)}${close}`;
}

/** Long lists go in columns, as Node lays them out. */
function columns(parts: string[], context: Context): string[] {
  const more = parts.at(-1)?.startsWith('... ') ? [parts.at(-1) as string] : [];
  const items = more.length > 0 ? parts.slice(0, -1) : parts;
  const lengths = items.map((item) => item.length + 2);
  const longest = Math.max(...lengths);
  const total = lengths.reduce((sum, length) => sum + length, 0);
  if (longest * 3 + 2 >= context.options.breakLength && longest > 6) return parts.map((part, i) => part + (i + 1 < parts.length ? ',' : ''));
  const bias = Math.sqrt(longest - total / parts.length);
  const width = Math.max(longest - 3 - bias + 1, 1);
  const across = Math.min(
    Math.round(Math.sqrt(2.5 * width * items.length) / width),
    Math.floor((context.options.breakLength - 2) / longest),
    12,
    15,
  );
  if (across <= 1) return parts.map((part, i) => part + (i + 1 < parts.length ? ',' : ''));
  const widths: number[] = [];
  for (let column = 0; column < across; column++) {
    let width = 0;
    for (let i = column; i < items.length; i += across) width = Math.max(width, lengths[i] as number);
    widths.push(width);
  }
  const left = items.every((item) => /^-?[\d.]+n?$/.test(item));
  const rows: string[] = [];
  for (let i = 0; i < items.length; i += across) {
    const row = items.slice(i, i + across).map((item, column) => {
      const last = i + column + 1 === items.length && more.length === 0;
      const text = last ? item : `${item},`;
      const width = (widths[column] as number) - 1;
      if (left) return text.padStart(last ? width - 1 : width);
      return column + 1 === Math.min(across, items.length - i) ? text : text.padEnd(width);
    });
    rows.push(row.join(' ').trimEnd());
  }
  return [...rows, ...more];
}

function errorText(error: Error, context: Context, level: number, keys: PropertyKey[]): string {
  let name = 'Error';
  try {
    name = String(error.name ?? 'Error');
  } catch {
    // A hostile getter: the default serves.
  }
  const message = typeof error.message === 'string' ? error.message : '';
  const stack = typeof error.stack === 'string' ? frames(error.stack) : '';
  let text = `${name}${message === '' ? '' : `: ${message}`}`;
  const code = (error as { code?: unknown }).code;
  if (typeof code === 'string' && keys.includes('code') && name === constructorName(error)) text = text.replace(name, `${name} [${code}]`);
  if (stack !== '') text += `\n${stack}`;
  else text = `[${text}]`;
  if (level > 0) text = text.replaceAll('\n', `\n${'  '.repeat(level)}`);
  return text;
}

/** The user's frames of a stack: those of the prelude say nothing to anyone. */
export function frames(stack: string): string {
  return stack
    .split('\n')
    .filter((line) => /^\s*at /.test(line) && !line.includes('run402:prelude') && !line.includes('(native)'))
    .map((line) => `    ${line.trim()}`)
    .join('\n');
}

function render(value: unknown, context: Context, level: number): string {
  const simple = primitive(value, context, level === 0);
  if (simple !== null) return simple;
  const object = value as object;
  if (--context.budget < 0) return '...';
  const target = host.proxyTarget(object);
  if (target !== undefined) return render(target, context, level);
  const inspect = (object as Record<symbol, unknown>)[custom];
  if (context.options.customInspect && typeof inspect === 'function') {
    const depth = context.options.depth - level;
    const given = inspect.call(object, depth, { ...context.options, depth }, (one: unknown, options?: InspectOptions) => inspectValue(one, options));
    if (given !== object) return typeof given === 'string' ? given.replaceAll('\n', `\n${'  '.repeat(level)}`) : render(given, context, level);
  }
  if (context.seen.includes(object)) {
    if (!context.circular.has(object)) context.circular.set(object, context.circular.size + 1);
    return `[Circular *${context.circular.get(object)}]`;
  }
  const keys: PropertyKey[] = Object.keys(object);
  if (context.options.showHidden) keys.splice(0, keys.length, ...Object.getOwnPropertyNames(object));
  for (const symbol of Object.getOwnPropertySymbols(object)) {
    if (context.options.showHidden || Object.prototype.propertyIsEnumerable.call(object, symbol)) keys.push(symbol);
  }
  if (context.options.sorted) {
    const by = typeof context.options.sorted === 'function' ? context.options.sorted : undefined;
    keys.sort((a, b) => (by ? by(String(a), String(b)) : String(a) < String(b) ? -1 : 1));
  }
  const name = constructorName(object);
  let label = name ?? '[Object: null prototype]';
  const tagged = (object as Record<symbol, unknown>)[Symbol.toStringTag];
  const tagText = typeof tagged === 'string' && tagged !== '' && tagged !== name ? ` [${tagged}]` : '';
  if (level > context.options.depth) {
    return `[${Array.isArray(object) ? 'Array' : `${name ?? 'Object: null prototype'}${tagText}`}]`;
  }
  context.seen.push(object);
  const text = shape();
  context.seen.pop();
  const circular = context.circular.get(object);
  return circular === undefined ? text : `<ref *${circular}> ${text}`;

  function rest(from: PropertyKey[] = keys): string[] {
    return from.map((key) => property(object, key, context, level, 'key'));
  }
  function more(total: number): string[] {
    const hidden = total - context.options.maxArrayLength;
    return hidden > 0 ? [`... ${hidden} more item${hidden > 1 ? 's' : ''}`] : [];
  }
  function shape(): string {
    if (Array.isArray(object) || (ArrayBuffer.isView(object) && !(object instanceof DataView))) {
      const list = object as unknown[];
      const shown = Math.min(list.length, context.options.maxArrayLength);
      const parts: string[] = [];
      for (let i = 0; i < shown; i++) {
        if (i in list) parts.push(property(list, i, context, level, 'item'));
        else {
          let empty = 1;
          while (i + 1 < list.length && !(i + 1 in list)) (empty++, i++);
          parts.push(`<${empty} empty item${empty > 1 ? 's' : ''}>`);
        }
      }
      parts.push(...more(list.length), ...rest(keys.filter((key) => typeof key === 'symbol' || !/^\d+$/.test(String(key)))));
      const plain = Array.isArray(object) && name === 'Array';
      return layout(parts, '[', ']', plain ? '' : `${label}(${list.length})${tagText && !ArrayBuffer.isView(object) ? tagText : ''}`, context, level, true);
    }
    if (object instanceof Map) {
      const parts = [...object].slice(0, context.options.maxArrayLength).map(([k, v]) => `${render(k, context, level + 1)} => ${render(v, context, level + 1)}`);
      return layout([...parts, ...more(object.size), ...rest()], '{', '}', `${label}(${object.size})`, context, level, false);
    }
    if (object instanceof Set) {
      const parts = [...object].slice(0, context.options.maxArrayLength).map((item) => render(item, context, level + 1));
      return layout([...parts, ...more(object.size), ...rest()], '{', '}', `${label}(${object.size})`, context, level, false);
    }
    let base: string | null = null;
    if (typeof object === 'function') {
      const source = Function.prototype.toString.call(object);
      const kind = source.startsWith('class') ? 'class' : (name ?? 'Function');
      const own = (object as unknown as { name?: string }).name;
      if (kind === 'class') {
        const parent = Object.getPrototypeOf(object)?.name;
        base = `[class ${own || '(anonymous)'}${parent ? ` extends ${parent}` : ''}]`;
      } else base = `[${kind}${own ? `: ${own}` : ' (anonymous)'}]`;
    } else if (object instanceof RegExp) base = RegExp.prototype.toString.call(object);
    else if (object instanceof Date) base = Number.isNaN(object.getTime()) ? 'Invalid Date' : object.toISOString();
    else if (object instanceof Error) {
      base = errorText(object, context, level, keys);
      const extra = keys.filter((key) => key !== 'stack' && key !== 'message' && key !== 'name');
      const parts = rest(extra);
      if ('cause' in object && !keys.includes('cause')) parts.push(`[cause]: ${render(object.cause, context, level + 1)}`);
      if (object instanceof AggregateError && !keys.includes('errors')) parts.push(`[errors]: ${render(object.errors, context, level + 1)}`);
      return parts.length === 0 ? base : `${base} ${layout(parts, '{', '}', '', { ...context, options: { ...context.options, compact: 0 } }, level, false)}`;
    } else if (object instanceof Number || object instanceof String || object instanceof Boolean || object instanceof BigInt) {
      base = `[${label}: ${primitive(object.valueOf(), context, false)}]`;
      if (object instanceof String) keys.splice(0, keys.length, ...keys.filter((key) => !/^\d+$/.test(String(key))));
    } else if (object instanceof ArrayBuffer) {
      const bytes = [...new Uint8Array(object, 0, Math.min(50, object.byteLength))].map((b) => b.toString(16).padStart(2, '0'));
      const cut = object.byteLength > 50 ? ` ... ${object.byteLength - 50} more bytes` : '';
      return layout([`[Uint8Contents]: <${bytes.join(' ')}${cut}>`, `byteLength: ${object.byteLength}`, ...rest()], '{', '}', label, context, level, false);
    } else if (object instanceof WeakMap || object instanceof WeakSet) base = `${label} { <items unknown> }`;
    else {
      const state = host.promiseState(object);
      if (state !== undefined) {
        const inner = state[0] === 0 ? '<pending>' : `${state[0] === 2 ? '<rejected> ' : ''}${render(state[1], context, level + 1)}`;
        return layout([inner, ...rest()], '{', '}', label, context, level, false);
      }
      if (object instanceof URL || object instanceof URLSearchParams || object instanceof Headers) {
        if (object instanceof URL) return `URL { ${['href', 'origin', 'protocol', 'username', 'password', 'host', 'hostname', 'port', 'pathname', 'search', 'searchParams', 'hash'].map((key) => `\n${'  '.repeat(level + 1)}${key}: ${render((object as unknown as Record<string, unknown>)[key], context, level + 1)}`).join(',')}\n${'  '.repeat(level)}}`;
        const parts = [...object].map(([k, v]) => `${quote(k)} => ${quote(v)}`);
        if (object instanceof Headers) return layout([...object].map(([k, v]) => `${keyText(k)}: ${quote(v)}`), '{', '}', label, context, level, false);
        return layout(parts, '{', '}', label, context, level, false);
      }
      const told = object instanceof Response ? RESPONSE : object instanceof Request ? REQUEST : undefined;
      if (told !== undefined) {
        const fields = told.map((key) => `${key}: ${render((object as unknown as Record<string, unknown>)[key], context, level + 1)}`);
        return layout([...fields, ...rest()], '{', '}', label, context, level, false);
      }
    }
    if (base !== null) return keys.length === 0 ? base : layout(rest(), '{', '}', base, context, level, false);
    if (name === 'Object' && tagText === '') label = '';
    return layout(rest(), '{', '}', `${label}${tagText}`.trim() === '' ? '' : `${label === '' ? 'Object' : label}${tagText}`, context, level, false);
  }
}

export function inspectValue(value: unknown, options: InspectOptions = {}): string {
  const limit = (given: number | null | undefined, usual: number) => (given === null ? Infinity : (given ?? usual));
  const context: Context = {
    options: {
      depth: limit(options.depth, 2),
      maxArrayLength: limit(options.maxArrayLength, 100),
      maxStringLength: limit(options.maxStringLength, 10_000),
      breakLength: options.breakLength ?? 80,
      compact: options.compact === false ? 0 : 3,
      showHidden: options.showHidden ?? false,
      sorted: options.sorted ?? false,
      customInspect: options.customInspect ?? true,
    },
    seen: [],
    circular: new Map(),
    budget: 20_000,
  };
  return render(value, context, 0);
}

/** printf-like formatting of util.format and console. */
export function formatWith(options: InspectOptions, args: unknown[]): string {
  if (args.length === 1 && typeof args[0] === 'string') return args[0];
  let at = 0;
  let out = '';
  if (typeof args[0] === 'string') {
    at = 1;
    out = args[0].replace(/%[sdifjoOc%]/g, (mark) => {
      if (mark === '%%') return args.length === 1 ? mark : '%';
      if (at >= args.length) return mark;
      const value = args[at++];
      switch (mark) {
        case '%s':
          if (typeof value === 'bigint') return `${value}n`;
          if (typeof value === 'object' && value !== null && !hasOwnText(value)) return inspectValue(value, { ...options, depth: 0 });
          return Object.is(value, -0) ? '-0' : String(value);
        case '%d':
          return typeof value === 'bigint' ? `${value}n` : typeof value === 'symbol' || typeof value === 'object' ? 'NaN' : String(Number(value));
        case '%i':
          return typeof value === 'bigint' ? `${value}n` : typeof value === 'symbol' || typeof value === 'object' ? 'NaN' : String(Number.parseInt(String(value), 10));
        case '%f':
          return typeof value === 'symbol' ? 'NaN' : String(Number.parseFloat(String(value)));
        case '%j':
          try {
            return String(JSON.stringify(value));
          } catch {
            return '[Circular]';
          }
        case '%o':
          return inspectValue(value, { ...options, depth: 4, showHidden: true });
        case '%O':
          return inspectValue(value, options);
        default:
          return '';
      }
    });
  }
  for (; at < args.length; at++) {
    const value = args[at];
    out += `${out === '' && at === 0 ? '' : ' '}${typeof value === 'string' ? value : inspectValue(value, options)}`;
  }
  return out;
}

function hasOwnText(value: object): boolean {
  const text = (value as { toString?: unknown }).toString;
  return typeof text === 'function' && text !== Object.prototype.toString && text !== Array.prototype.toString && !(value instanceof Error && text === Error.prototype.toString && false);
}

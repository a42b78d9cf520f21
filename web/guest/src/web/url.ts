// URL: parsing and setters are the host's (the url crate); query strings are kept here.
import { decode, encode, host, install, Op, packed, tag } from '../host';

const PART = { href: 0, protocol: 1, username: 2, password: 3, host: 4, hostname: 5, port: 6, pathname: 7, search: 8, hash: 9 } as const;
const ORIGIN = 10;
type Part = keyof typeof PART;

const NEEDS_BYTES = /[%]/;
function unescape(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  if (!NEEDS_BYTES.test(spaced)) return spaced.toWellFormed();
  const raw = encode(spaced);
  const out = new Uint8Array(raw.length);
  let n = 0;
  for (let i = 0; i < raw.length; i++) {
    let byte = raw[i] as number;
    if (byte === 37 && i + 2 < raw.length + 0) {
      const code = Number.parseInt(String.fromCharCode(raw[i + 1] as number, raw[i + 2] as number), 16);
      const hex = /^[0-9a-f]{2}$/i.test(String.fromCharCode(raw[i + 1] as number, raw[i + 2] as number));
      if (hex) {
        byte = code;
        i += 2;
      }
    }
    out[n++] = byte;
  }
  return decode(out.subarray(0, n));
}

function escape(text: string): string {
  return encodeURIComponent(text.toWellFormed())
    .replaceAll('%20', '+')
    .replace(/[!'()~]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`);
}

type Pair = [string, string];
const ATTACH = Symbol('attach');
const RELOAD = Symbol('reload');

function parse(query: string): Pair[] {
  const pairs: Pair[] = [];
  for (const piece of query.split('&')) {
    if (piece === '') continue;
    const at = piece.indexOf('=');
    pairs.push(at < 0 ? [unescape(piece), ''] : [unescape(piece.slice(0, at)), unescape(piece.slice(at + 1))]);
  }
  return pairs;
}

class URLSearchParams {
  #pairs: Pair[] = [];
  #changed: ((query: string) => void) | null = null;
  constructor(init: unknown = '') {
    if (typeof init === 'object' && init !== null) {
      const iterate = (init as Iterable<unknown>)[Symbol.iterator];
      if (typeof iterate === 'function') {
        for (const item of init as Iterable<Iterable<unknown>>) {
          const pair = [...item];
          if (pair.length !== 2) throw new TypeError('Each query pair must be an iterable [name, value] tuple');
          this.#pairs.push([String(pair[0]).toWellFormed(), String(pair[1]).toWellFormed()]);
        }
      } else {
        for (const key of Reflect.ownKeys(init)) {
          if (typeof key !== 'string' || !Object.prototype.propertyIsEnumerable.call(init, key)) continue;
          this.#pairs.push([key.toWellFormed(), String((init as Record<string, unknown>)[key]).toWellFormed()]);
        }
      }
    } else {
      const text = String(init);
      this.#pairs = parse(text.startsWith('?') ? text.slice(1) : text);
    }
  }
  [ATTACH](changed: (query: string) => void) {
    this.#changed = changed;
    return this;
  }
  [RELOAD](query: string) {
    this.#pairs = parse(query);
  }
  #touch() {
    this.#changed?.(this.toString());
  }
  get size() {
    return this.#pairs.length;
  }
  append(name: string, value: string) {
    this.#pairs.push([String(name).toWellFormed(), String(value).toWellFormed()]);
    this.#touch();
  }
  delete(name: string, value?: string) {
    const [key, only] = [String(name), value === undefined ? undefined : String(value)];
    this.#pairs = this.#pairs.filter(([k, v]) => k !== key || (only !== undefined && v !== only));
    this.#touch();
  }
  get(name: string): string | null {
    const key = String(name);
    return this.#pairs.find(([k]) => k === key)?.[1] ?? null;
  }
  getAll(name: string): string[] {
    const key = String(name);
    return this.#pairs.filter(([k]) => k === key).map(([, v]) => v);
  }
  has(name: string, value?: string): boolean {
    const [key, only] = [String(name), value === undefined ? undefined : String(value)];
    return this.#pairs.some(([k, v]) => k === key && (only === undefined || v === only));
  }
  set(name: string, value: string) {
    const key = String(name).toWellFormed();
    const first = this.#pairs.findIndex(([k]) => k === key);
    const pair: Pair = [key, String(value).toWellFormed()];
    if (first < 0) this.#pairs.push(pair);
    else {
      this.#pairs = this.#pairs.filter(([k], i) => i <= first || k !== key);
      this.#pairs[first] = pair;
    }
    this.#touch();
  }
  sort() {
    this.#pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
    this.#touch();
  }
  forEach(callback: (value: string, name: string, params: URLSearchParams) => void, self?: unknown) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }
  *entries(): IterableIterator<Pair> {
    for (let i = 0; i < this.#pairs.length; i++) {
      const [name, value] = this.#pairs[i] as Pair;
      yield [name, value];
    }
  }
  *keys(): IterableIterator<string> {
    for (const [name] of this.entries()) yield name;
  }
  *values(): IterableIterator<string> {
    for (const [, value] of this.entries()) yield value;
  }
  [Symbol.iterator]() {
    return this.entries();
  }
  toString(): string {
    return this.#pairs.map(([name, value]) => `${escape(name)}=${escape(value)}`).join('&');
  }
}
tag(URLSearchParams, 'URLSearchParams');

function invalid(input: string): TypeError & { code: string; input: string } {
  return Object.assign(new TypeError('Invalid URL'), { code: 'ERR_INVALID_URL', input });
}

class URL {
  #parts: string[];
  #params: URLSearchParams | null = null;
  constructor(url: string | URL, base?: string | URL) {
    const input = String(url);
    if (base === undefined && arguments.length === 0) throw new TypeError('The "url" argument must be specified');
    const parts = host.text(Op.urlParse, 0, packed({ input, base: base === undefined ? null : String(base) }));
    if (parts === '') throw invalid(input);
    this.#parts = parts.split('\n');
  }
  #get(part: Part): string {
    return this.#parts[PART[part]] as string;
  }
  #set(part: Part, value: unknown) {
    const text = String(value);
    const parts = host.text(Op.urlSet, PART[part], packed({ input: this.#get('href'), value: text }));
    if (parts === '') throw invalid(text);
    this.#parts = parts.split('\n');
    if (part === 'search' || part === 'href') this.#params?.[RELOAD](this.#get('search').slice(1));
  }
  get origin() {
    return this.#parts[ORIGIN] as string;
  }
  get searchParams(): URLSearchParams {
    return (this.#params ??= new URLSearchParams(this.#get('search'))[ATTACH]((query) => {
      this.#parts = host.text(Op.urlSet, PART.search, packed({ input: this.#get('href'), value: query })).split('\n');
    }));
  }
  toString() {
    return this.#get('href');
  }
  toJSON() {
    return this.#get('href');
  }
  static canParse(url: string | URL, base?: string | URL): boolean {
    return URL.parse(url, base) !== null;
  }
  static parse(url: string | URL, base?: string | URL): URL | null {
    try {
      return new URL(url, base);
    } catch {
      return null;
    }
  }
  static createObjectURL(): never {
    throw new DOMException('Object URLs are not available in a function', 'NotSupportedError');
  }
  static revokeObjectURL() {}
  static {
    for (const part of Object.keys(PART) as Part[]) {
      Object.defineProperty(URL.prototype, part, {
        configurable: true,
        enumerable: true,
        get(this: URL) {
          return this.#get(part);
        },
        set(this: URL, value: unknown) {
          this.#set(part, value);
        },
      });
    }
  }
}
interface URL extends Record<Part, string> {}
tag(URL, 'URL');

install({ URL, URLSearchParams });

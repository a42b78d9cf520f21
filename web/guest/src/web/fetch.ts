// WHATWG Fetch. The host connects, checks where to (its egress policy sees every hop) and streams; redirects, bodies
// and headers are kept here.
import { call, decode, encode, host, install, Op, packed, start, tag, unpacked, view } from '../host';
import { blobBytes, concat, parseForm, toMultipart } from './blob';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

function checkName(name: unknown): string {
  const text = String(name);
  const checked = host.headerName(text);
  if (checked === undefined) throw new TypeError(`Header name must be a valid HTTP token ["${text}"]`);
  return checked;
}
function checkValue(value: unknown): string {
  const text = String(value);
  const checked = host.headerValue(text);
  if (checked === undefined) throw new TypeError(`Invalid header value: ${JSON.stringify(text)}`);
  return checked;
}

type Pair = [string, string];
const FREEZE = Symbol('freeze');
/** Headers of pairs the host has checked: lower-case names, values that can be sent. */
let received: (pairs: Iterable<Pair>) => Headers;
/** Names in order, values of a name joined but for cookies: what iterating yields. */
let pairsOf: (headers: Headers) => Pair[];

class Headers {
  readonly #map = new Map<string, string[]>();
  #frozen = false;
  constructor(init?: HeadersInit | Headers | null) {
    if (init === undefined || init === null) return;
    if (typeof init !== 'object') throw new TypeError('Headers are made of an object, pairs or Headers');
    if (init instanceof Headers) {
      for (const [name, values] of init.#map) this.#map.set(name, [...values]);
    } else if (Symbol.iterator in init) {
      for (const item of init as Iterable<Iterable<unknown>>) {
        const pair = [...item];
        if (pair.length !== 2) throw new TypeError('Each header pair must be a name and a value');
        this.append(pair[0] as string, pair[1] as string);
      }
    } else {
      for (const name of Reflect.ownKeys(init)) {
        if (typeof name === 'string' && Object.prototype.propertyIsEnumerable.call(init, name)) {
          this.append(name, (init as Record<string, string>)[name] as string);
        }
      }
    }
  }
  [FREEZE]() {
    this.#frozen = true;
    return this;
  }
  #writable() {
    if (this.#frozen) throw new TypeError('These headers are immutable');
  }
  append(name: string, value: string) {
    const [key, text] = [checkName(name), checkValue(value)];
    this.#writable();
    const known = this.#map.get(key);
    if (known === undefined) this.#map.set(key, [text]);
    else known.push(text);
  }
  set(name: string, value: string) {
    const [key, text] = [checkName(name), checkValue(value)];
    this.#writable();
    this.#map.set(key, [text]);
  }
  get(name: string): string | null {
    return this.#map.get(checkName(name))?.join(', ') ?? null;
  }
  has(name: string): boolean {
    return this.#map.has(checkName(name));
  }
  delete(name: string) {
    const key = checkName(name);
    this.#writable();
    this.#map.delete(key);
  }
  getSetCookie(): string[] {
    return [...(this.#map.get('set-cookie') ?? [])];
  }
  forEach(callback: (value: string, name: string, headers: Headers) => void, self?: unknown) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }
  static {
    received = (pairs) => {
      const headers = new Headers();
      for (const [name, value] of pairs) {
        const known = headers.#map.get(name);
        if (known === undefined) headers.#map.set(name, [value]);
        else known.push(value);
      }
      return headers;
    };
    pairsOf = (headers) => {
      const map = headers.#map;
      const pairs: Pair[] = [];
      for (const name of map.size > 1 ? [...map.keys()].sort() : map.keys()) {
        const values = map.get(name) as string[];
        if (name === 'set-cookie') for (const value of values) pairs.push([name, value]);
        else pairs.push([name, values.length === 1 ? (values[0] as string) : values.join(', ')]);
      }
      return pairs;
    };
  }
  *entries(): IterableIterator<Pair> {
    for (const name of [...this.#map.keys()].sort()) {
      const values = this.#map.get(name) ?? [];
      if (name === 'set-cookie') for (const value of values) yield [name, value];
      else yield [name, values.join(', ')];
    }
  }
  *keys() {
    for (const [name] of this.entries()) yield name;
  }
  *values() {
    for (const [, value] of this.entries()) yield value;
  }
  [Symbol.iterator]() {
    return this.entries();
  }
}
tag(Headers, 'Headers');

/** A body: bytes in hand, or a stream. */
interface Content {
  bytes: Uint8Array<ArrayBuffer> | null;
  stream: ReadableStream<Uint8Array> | null;
  used: boolean;
}

function extract(body: unknown): { content: Content; type: string | null } {
  const bytes = (value: Uint8Array<ArrayBuffer>, type: string | null) => ({
    content: { bytes: value, stream: null, used: false },
    type,
  });
  if (typeof body === 'string') return bytes(encode(body), 'text/plain;charset=UTF-8');
  if (body instanceof ArrayBuffer || ArrayBuffer.isView(body)) return bytes(view(body).slice(), null);
  if (body instanceof Blob) return bytes(blobBytes(body), body.type === '' ? null : body.type);
  if (body instanceof URLSearchParams) {
    return bytes(encode(body.toString()), 'application/x-www-form-urlencoded;charset=UTF-8');
  }
  if (body instanceof FormData) {
    const form = toMultipart(body as never);
    return bytes(form.bytes, form.type);
  }
  if (body instanceof ReadableStream) {
    if (body.locked) throw new TypeError('The stream of the body is locked');
    return { content: { bytes: null, stream: body, used: false }, type: null };
  }
  // Node accepts any async iterable; frameworks that believe they run on Node answer with one.
  if (typeof body === 'object' && body !== null && Symbol.asyncIterator in body) {
    const { from } = ReadableStream as unknown as { from(source: unknown): ReadableStream<Uint8Array> };
    const stream = from(body);
    return { content: { bytes: null, stream, used: false }, type: null };
  }
  return bytes(encode(String(body)), 'text/plain;charset=UTF-8');
}

function chunkBytes(chunk: unknown): Uint8Array<ArrayBuffer> {
  if (typeof chunk === 'string') return encode(chunk);
  if (chunk instanceof ArrayBuffer || ArrayBuffer.isView(chunk)) return view(chunk);
  throw new TypeError('The stream of a body must yield Uint8Array chunks');
}

let content: (owner: Body) => Content | null;
let setContent: (owner: Body, content: Content | null) => void;

const NO_BYTES = new Uint8Array(0);

/** All of the body, once. */
async function consume(owner: Request | Response): Promise<Uint8Array<ArrayBuffer>> {
  const held = content(owner);
  if (held === null) return new Uint8Array(0);
  if (held.used || held.stream?.locked) throw new TypeError('Body is unusable: Body has already been read');
  held.used = true;
  if (held.stream === null) return held.bytes ?? new Uint8Array(0);
  const parts: Uint8Array[] = [];
  const reader = held.stream.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(chunkBytes(value));
  }
  return parts.length === 1 ? (parts[0] as Uint8Array<ArrayBuffer>) : concat(parts);
}

const withoutMark = (bytes: Uint8Array) =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes;

/** What Request and Response share. */
abstract class Body {
  abstract get headers(): Headers;
  #content: Content | null = null;
  static {
    content = (owner) => owner.#content;
    setContent = (owner, content) => {
      owner.#content = content;
    };
  }
  get body(): ReadableStream<Uint8Array> | null {
    const held = content(this);
    if (held === null) return null;
    if (held.stream === null) {
      const { bytes, used } = held;
      held.stream = new ReadableStream<Uint8Array>({
        type: 'bytes',
        start(controller) {
          if (!used && bytes !== null && bytes.length > 0) controller.enqueue(bytes.slice());
          controller.close();
        },
      });
    }
    return held.stream;
  }
  get bodyUsed(): boolean {
    return content(this)?.used ?? false;
  }
  async arrayBuffer(): Promise<ArrayBuffer> {
    return (await consume(this as never)).slice().buffer;
  }
  async bytes(): Promise<Uint8Array> {
    return (await consume(this as never)).slice();
  }
  async text(): Promise<string> {
    return decode(withoutMark(await consume(this as never)));
  }
  async json(): Promise<unknown> {
    return JSON.parse(decode(withoutMark(await consume(this as never))));
  }
  async blob(): Promise<Blob> {
    return new Blob([await consume(this as never)], { type: this.headers.get('content-type') ?? '' });
  }
  async formData(): Promise<FormData> {
    return parseForm(await consume(this as never), this.headers.get('content-type') ?? '') as never;
  }
}

function share(from: Request | Response): Content | null {
  const held = content(from);
  if (held === null) return null;
  if (held.used || held.stream?.locked) throw new TypeError('The body has already been used');
  if (held.stream === null) return { bytes: held.bytes, stream: null, used: false };
  const [mine, other] = held.stream.tee();
  held.stream = mine;
  held.bytes = null;
  return { bytes: null, stream: other, used: false };
}

const METHODS = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT']);
const FORBIDDEN_METHODS = new Set(['CONNECT', 'TRACE', 'TRACK']);

interface Init extends Omit<RequestInit, 'headers'> {
  headers?: HeadersInit | Headers;
  duplex?: string;
}

/** What `fetch` is told beside method, headers and body. */
interface Settings {
  redirect: RequestRedirect;
  mode: RequestMode;
  credentials: RequestCredentials;
  cache: RequestCache;
  referrer: string;
  referrerPolicy: ReferrerPolicy;
  integrity: string;
  keepalive: boolean;
}
const USUAL: Settings = {
  redirect: 'follow',
  mode: 'cors',
  credentials: 'same-origin',
  cache: 'default',
  referrer: 'about:client',
  referrerPolicy: '',
  integrity: '',
  keepalive: false,
};
const SETTINGS = Object.keys(USUAL) as (keyof Settings)[];

function settingsOf(options: Init, usual: Settings): Settings {
  let settings = usual;
  for (const key of SETTINGS) {
    if (options[key] != null && options[key] !== usual[key]) {
      if (settings === usual) settings = { ...usual };
      settings[key] = options[key] as never;
    }
  }
  if (!['follow', 'error', 'manual'].includes(settings.redirect)) throw new TypeError(`'${settings.redirect}' is not a redirect mode`);
  return settings;
}

/** A request as the host hands it over. */
interface Incoming {
  method: string;
  url: string;
  headers: Pair[];
  body: Uint8Array<ArrayBuffer> | undefined;
}
/** Nobody else can name it. */
const INCOMING = Symbol('incoming');

class Request extends Body {
  readonly #url: string;
  readonly #method: string;
  /** Pairs until somebody asks. */
  #headers: Headers | Pair[];
  #settings = USUAL;
  #signal: AbortSignal | null = null;
  constructor(input: string | URL | Request | Incoming, init: Init | typeof INCOMING = {}) {
    super();
    if (init === INCOMING) {
      const { url, method, headers, body } = input as Incoming;
      this.#url = url;
      this.#method = method;
      this.#headers = headers;
      if (body !== undefined) setContent(this, { bytes: body, stream: null, used: false });
      return;
    }
    const from = input instanceof Request ? input : null;
    const options = init ?? {};
    if (from !== null) this.#url = from.#url;
    else {
      const url = new URL(String(input));
      if (url.username !== '' || url.password !== '') {
        throw new TypeError(`Request cannot be constructed from a URL that includes credentials: ${String(input)}`);
      }
      this.#url = url.href;
    }
    const method = String(options.method ?? from?.method ?? 'GET');
    if (!TOKEN.test(method)) throw new TypeError(`'${method}' is not a valid HTTP method.`);
    const upper = method.toUpperCase();
    if (FORBIDDEN_METHODS.has(upper)) throw new TypeError(`'${method}' HTTP method is unsupported.`);
    this.#method = METHODS.has(upper) ? upper : method;
    this.#headers = new Headers(options.headers ?? from?.headers);
    this.#settings = settingsOf(options, from === null ? USUAL : from.#settings);
    const signal = 'signal' in options ? options.signal : from?.signal;
    this.#signal = signal == null ? null : AbortSignal.any([signal]);
    const body = options.body;
    if (body != null) {
      if (this.#method === 'GET' || this.#method === 'HEAD') {
        throw new TypeError('Request with GET/HEAD method cannot have body.');
      }
      if (body instanceof ReadableStream && options.duplex !== 'half') {
        throw new TypeError('RequestInit: duplex option is required when sending a body.');
      }
      const extracted = extract(body);
      setContent(this, extracted.content);
      if (extracted.type !== null && !this.#headers.has('content-type')) this.#headers.append('content-type', extracted.type);
    } else if (from !== null && content(from) !== null) {
      const held = content(from) as Content;
      if (held.used || held.stream?.locked) throw new TypeError('Cannot construct a Request with a Request object that has already been used.');
      setContent(this, { ...held });
      held.used = true;
    }
  }
  get method(): string {
    return this.#method;
  }
  get url(): string {
    return this.#url;
  }
  get headers(): Headers {
    if (!(this.#headers instanceof Headers)) this.#headers = received(this.#headers);
    return this.#headers;
  }
  get redirect() {
    return this.#settings.redirect;
  }
  get mode() {
    return this.#settings.mode;
  }
  get credentials() {
    return this.#settings.credentials;
  }
  get cache() {
    return this.#settings.cache;
  }
  get referrer() {
    return this.#settings.referrer;
  }
  get referrerPolicy() {
    return this.#settings.referrerPolicy;
  }
  get integrity() {
    return this.#settings.integrity;
  }
  get keepalive() {
    return this.#settings.keepalive;
  }
  get destination() {
    return '';
  }
  get duplex() {
    return 'half';
  }
  get signal(): AbortSignal {
    return (this.#signal ??= new AbortController().signal);
  }
  clone(): Request {
    const body = share(this);
    const headers = pairsOf(this.headers);
    const copy = new Request({ url: this.#url, method: this.#method, headers, body: undefined }, INCOMING);
    copy.#settings = this.#settings;
    copy.#signal = this.#signal === null ? null : AbortSignal.any([this.#signal]);
    setContent(copy, body);
    return copy;
  }
}
tag(Request, 'Request');

/** The request of an invocation: all of it is known to be well formed. */
export const incomingRequest = (incoming: Incoming): Request => new Request(incoming, INCOMING);

const NULL_BODY = new Set([101, 103, 204, 205, 304]);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

interface Origin {
  url: string;
  redirected: boolean;
  type: ResponseType;
}
const HERE: Origin = { url: '', redirected: false, type: 'default' };

/** A response of the network: any status, its own origin. */
let fetched: (status: number, statusText: string, headers: Headers, body: Content | null, origin: Origin) => Response;
/** The headers of a response, as they are sent. */
let sentHeaders: (response: Response) => Pair[];

class Response extends Body {
  #status: number;
  #statusText = '';
  #headers: Headers | null = null;
  /** The content type of the body, as long as there are no headers to say it. */
  #type: string | null = null;
  #origin = HERE;
  constructor(body?: unknown, init: { status?: number; statusText?: string; headers?: HeadersInit | Headers } = {}) {
    super();
    const { status = 200, statusText, headers } = init ?? {};
    this.#status = Math.trunc(Number(status));
    if (!(this.#status >= 200 && this.#status <= 599)) throw new RangeError(`The status ${String(status)} is outside 200 to 599`);
    if (statusText !== undefined) {
      this.#statusText = String(statusText);
      if (/[^\t\x20-\x7e\x80-\xff]/.test(this.#statusText)) throw new TypeError('Invalid statusText');
    }
    if (headers !== undefined) this.#headers = new Headers(headers);
    if (body == null) return;
    if (NULL_BODY.has(this.#status)) throw new TypeError(`Response with status ${String(status)} cannot have a body`);
    const extracted = extract(body);
    setContent(this, extracted.content);
    if (this.#headers === null) this.#type = extracted.type;
    else if (extracted.type !== null && !this.#headers.has('content-type')) this.#headers.append('content-type', extracted.type);
  }
  get status() {
    return this.#status;
  }
  get statusText() {
    return this.#statusText;
  }
  get headers(): Headers {
    return (this.#headers ??= received(this.#pairs()));
  }
  #pairs(): Pair[] {
    if (this.#headers !== null) return pairsOf(this.#headers);
    return this.#type === null ? [] : [['content-type', this.#type]];
  }
  get ok() {
    return this.status >= 200 && this.status <= 299;
  }
  get url() {
    return this.#origin.url;
  }
  get redirected() {
    return this.#origin.redirected;
  }
  get type() {
    return this.#origin.type;
  }
  clone(): Response {
    const body = share(this);
    const copy = fetched(this.#status, this.#statusText, new Headers(this.headers), body, this.#origin);
    return copy;
  }
  static error(): Response {
    return fetched(0, '', new Headers()[FREEZE](), null, { url: '', redirected: false, type: 'error' });
  }
  static json(data: unknown, init: { status?: number; statusText?: string; headers?: HeadersInit | Headers } = {}): Response {
    const text = JSON.stringify(data);
    if (text === undefined) throw new TypeError('The data is not JSON serializable');
    const made = new Response(text, init);
    if (made.#headers === null) made.#type = 'application/json';
    else if (!new Headers(init.headers).has('content-type')) made.#headers.set('content-type', 'application/json');
    return made;
  }
  static redirect(url: string | URL, status = 302): Response {
    const target = URL.parse(url)?.href;
    if (target === undefined) throw new TypeError(`Failed to parse URL from ${String(url)}`);
    if (!REDIRECTS.has(status)) throw new RangeError(`Invalid status code ${status}`);
    const headers = new Headers({ location: target });
    return new Response(null, { status, headers });
  }
  static {
    fetched = (status, statusText, headers, body, origin) => {
      const made = new Response();
      made.#status = status;
      made.#statusText = statusText;
      made.#headers = headers;
      made.#origin = origin;
      setContent(made, body);
      return made;
    };
    sentHeaders = (response) => response.#pairs();
  }
}
tag(Response, 'Response');

interface FetchHead {
  status: number;
  statusText: string;
  headers: Pair[];
  handle: number | null;
}

/** The body as it arrives; `handle` names it on the host. */
function incoming(handle: number, signal: AbortSignal | null): ReadableStream<Uint8Array> {
  let done = false;
  const stream = new ReadableStream<Uint8Array>(
    {
      type: 'bytes',
      start(controller) {
        signal?.addEventListener(
          'abort',
          () => {
            if (done) return;
            done = true;
            host.bytes(Op.bodyCancel, handle);
            controller.error(signal.reason);
          },
          { once: true },
        );
      },
      async pull(controller) {
        const chunk = await call(Op.bodyRead, packed({ handle }));
        if (done) return;
        if (chunk.length === 0) {
          done = true;
          controller.close();
          (controller as ReadableByteStreamController).byobRequest?.respond(0);
        } else controller.enqueue(chunk);
      },
      cancel() {
        if (!done) host.bytes(Op.bodyCancel, handle);
        done = true;
      },
    },
    { highWaterMark: 0 },
  );
  return stream;
}

async function upload(id: number, stream: ReadableStream<Uint8Array>, signal: AbortSignal | null): Promise<void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      signal?.throwIfAborted();
      if (done) break;
      const bytes = chunkBytes(value);
      if (bytes.length > 0) await call(Op.uploadWrite, packed({ upload: id }, bytes));
    }
    host.bytes(Op.uploadEnd, 0, packed({ upload: id, failed: false }));
  } catch (error) {
    host.bytes(Op.uploadEnd, 0, packed({ upload: id, failed: true }));
    await reader.cancel(error).catch(() => {});
  }
}

let nextUpload = 1;

function failed(error: unknown): unknown {
  if (error instanceof Error && error.name === 'Error') return new TypeError('fetch failed', { cause: error });
  return error;
}

async function fetch(input: string | URL | Request, init?: Init): Promise<Response> {
  const request = new Request(input as never, init);
  const given = init?.signal ?? (input instanceof Request ? input.signal : null);
  const signal = given == null ? null : given;
  signal?.throwIfAborted();
  let url = new URL(request.url);
  if (url.protocol === 'data:') return dataUrl(url);
  if (url.protocol === 'blob:' || url.protocol === 'about:' || url.protocol === 'file:') {
    throw new TypeError('fetch failed', { cause: new Error(`The scheme ${url.protocol} is not supported`) });
  }
  let { method } = request;
  const headers = new Headers(request.headers);
  if (!headers.has('accept')) headers.set('accept', '*/*');
  if (!headers.has('accept-language')) headers.set('accept-language', '*');
  if (!headers.has('user-agent')) headers.set('user-agent', 'node');
  const held = content(request);
  let bytes: Uint8Array<ArrayBuffer> | null = held === null ? null : held.stream === null ? held.bytes : null;
  let stream = held?.stream ?? null;
  if (held !== null) held.used = true;
  for (let hops = 0; ; hops++) {
    const uploadId = stream === null ? null : nextUpload++;
    const head = { url: url.href, method, headers: [...headers], upload: uploadId, body: bytes !== null };
    const running = start(Op.fetch, packed(head, bytes ?? new Uint8Array(0)));
    const onAbort = () => running.abort(signal?.reason);
    signal?.addEventListener('abort', onAbort, { once: true });
    if (uploadId !== null && stream !== null) void upload(uploadId, stream, signal);
    let answer: Uint8Array<ArrayBuffer>;
    try {
      answer = await running.promise;
    } catch (error) {
      throw error === signal?.reason ? error : failed(error);
    } finally {
      signal?.removeEventListener('abort', onAbort);
    }
    const { head: got, parts } = unpacked<FetchHead>(answer);
    const location = got.headers.find(([name]) => name === 'location')?.[1];
    const drop = () => got.handle !== null && host.bytes(Op.bodyCancel, got.handle);
    if (REDIRECTS.has(got.status) && request.redirect === 'error') {
      drop();
      throw new TypeError('fetch failed', { cause: new Error('unexpected redirect') });
    }
    if (REDIRECTS.has(got.status) && location !== undefined && request.redirect === 'follow') {
      drop();
      const next = URL.parse(location, url.href);
      if (next === null || !/^https?:$/.test(next.protocol)) {
        throw new TypeError('fetch failed', { cause: new Error('URL scheme must be a HTTP(S) scheme') });
      }
      if (hops >= 20) throw new TypeError('fetch failed', { cause: new Error('redirect count exceeded') });
      if (got.status !== 303 && stream !== null) {
        throw new TypeError('fetch failed', { cause: new Error('A streamed body cannot be sent again') });
      }
      if ((got.status === 303 && method !== 'HEAD') || ((got.status === 301 || got.status === 302) && method === 'POST')) {
        if (method !== 'GET') {
          method = 'GET';
          for (const name of ['content-encoding', 'content-language', 'content-location', 'content-type', 'content-length']) {
            headers.delete(name);
          }
        }
        bytes = null;
        stream = null;
      }
      if (next.origin !== url.origin) {
        for (const name of ['authorization', 'proxy-authorization', 'cookie', 'host']) headers.delete(name);
      }
      if (next.hash === '') next.hash = url.hash;
      url = next;
      continue;
    }
    const answered = new Headers();
    for (const [name, value] of got.headers) answered.append(name, value);
    const bare = method === 'HEAD' || NULL_BODY.has(got.status);
    let body: Content | null = null;
    if (bare) drop();
    else if (got.handle === null) body = { bytes: parts[0] ?? new Uint8Array(0), stream: null, used: false };
    else body = { bytes: null, stream: incoming(got.handle, signal), used: false };
    const final = new URL(url.href);
    final.hash = '';
    return fetched(got.status, got.statusText, answered[FREEZE](), body, {
      url: final.href,
      redirected: hops > 0,
      type: 'basic',
    });
  }
}

function dataUrl(url: URL): Response {
  const match = /^data:([^,]*?)(;base64)?,(.*)$/s.exec(url.href.replace(/#.*$/s, ''));
  if (match === null) throw new TypeError('fetch failed', { cause: new Error('invalid data URL') });
  const [, type = '', base64, data = ''] = match;
  const raw = encode(data);
  const bytes: number[] = [];
  for (let i = 0; i < raw.length; i++) {
    const hex = raw[i] === 37 ? /^[0-9a-f]{2}/i.exec(String.fromCharCode(raw[i + 1] ?? 0, raw[i + 2] ?? 0))?.[0] : undefined;
    if (hex !== undefined) i += 2;
    bytes.push(hex === undefined ? (raw[i] as number) : Number.parseInt(hex, 16));
  }
  const plain = new Uint8Array(bytes);
  const body = base64 === undefined ? plain : Uint8Array.from(atob(host.latin1(plain)), (c) => c.charCodeAt(0));
  return new Response(body, { headers: { 'content-type': type === '' ? 'text/plain;charset=US-ASCII' : type } });
}

install({ Headers, Request, Response, fetch });

/** The bytes of a body that is here already, once; undefined when it has to be waited for. */
function consumeNow(owner: Request | Response): Uint8Array<ArrayBuffer> | undefined {
  const held = content(owner);
  if (held === null) return NO_BYTES;
  if (held.used || held.stream !== null) return undefined;
  held.used = true;
  return held.bytes ?? NO_BYTES;
}

export { consume, consumeNow, fetch, Headers, Request, Response, sentHeaders };

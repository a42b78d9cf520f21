// http and https clients over fetch. There is no server: a function is one already.
import { EventEmitter } from 'events';
import { PassThrough, Readable, Writable } from './stream';
import { unsupported } from './misc';

/* eslint-disable */
type Options = Record<string, any>;

class IncomingMessage extends (Readable as any) {
  statusCode = 0;
  statusMessage = '';
  httpVersion = '1.1';
  headers: Record<string, string | string[]> = {};
  rawHeaders: string[] = [];
  complete = false;
}

class ClientRequest extends (Writable as any) {
  readonly #options: Options;
  readonly #headers = new Headers();
  readonly #chunks: Uint8Array[] = [];
  readonly #abort = new AbortController();
  constructor(options: Options, callback?: (message: IncomingMessage) => void) {
    // The request is sent when the writable side ends: finishing must not destroy it, which would abort it.
    super({ autoDestroy: false });
    this.#options = options;
    for (const [name, value] of Object.entries(options.headers ?? {})) this.setHeader(name, value as string);
    if (callback) (this as any).once('response', callback);
    if (options.signal) options.signal.addEventListener('abort', () => this.destroy(options.signal.reason), { once: true });
    if (options.timeout) this.setTimeout(options.timeout);
  }
  setHeader(name: string, value: string | string[]) {
    this.#headers.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) this.#headers.append(name, String(one));
    return this;
  }
  getHeader(name: string) {
    return this.#headers.get(name) ?? undefined;
  }
  removeHeader(name: string) {
    this.#headers.delete(name);
  }
  flushHeaders() {}
  setNoDelay() {
    return this;
  }
  setSocketKeepAlive() {
    return this;
  }
  setTimeout(ms: number, callback?: () => void) {
    if (callback) (this as any).once('timeout', callback);
    const timer = setTimeout(() => (this as any).emit('timeout'), ms);
    (this as any).once('close', () => clearTimeout(timer));
    return this;
  }
  abort() {
    (this as any).destroy();
  }
  _write(chunk: Uint8Array, _encoding: string, done: () => void) {
    this.#chunks.push(chunk);
    done();
  }
  _destroy(error: unknown, done: (error: unknown) => void) {
    this.#abort.abort(error ?? undefined);
    done(error);
  }
  _final(done: (error?: unknown) => void) {
    done();
    void this.#send();
  }
  async #send() {
    const { protocol = 'http:', method = 'GET', auth } = this.#options;
    const host = this.#options.hostname ?? this.#options.host ?? 'localhost';
    const port = this.#options.port ? `:${this.#options.port}` : '';
    if (auth && !this.#headers.has('authorization')) this.#headers.set('authorization', `Basic ${btoa(auth)}`);
    try {
      const bare = /^(GET|HEAD)$/i.test(method) || this.#chunks.length === 0;
      const response = await fetch(`${protocol}//${String(host).includes(':') && !String(host).startsWith('[') ? `[${host}]` : host}${port}${this.#options.path ?? '/'}`, {
        method,
        headers: this.#headers,
        body: bare ? null : new Blob(this.#chunks as BlobPart[]),
        redirect: 'manual',
        signal: this.#abort.signal,
      });
      const message: any = new (IncomingMessage as any)({ read() {} });
      message.statusCode = response.status;
      message.statusMessage = response.statusText;
      for (const [name, value] of response.headers) {
        message.rawHeaders.push(name, value);
        if (name === 'set-cookie') (message.headers[name] ??= []).push(value);
        else message.headers[name] = value;
      }
      (this as any).emit('response', message);
      if (response.body) for await (const chunk of response.body as any) message.push((globalThis as any).Buffer.from(chunk));
      message.complete = true;
      message.push(null);
      (this as any).emit('close');
    } catch (error) {
      (this as any).emit('error', (error as Error).cause ?? error);
    }
  }
}

class Agent extends (EventEmitter as any) {
  options: Options;
  maxSockets = Infinity;
  constructor(options: Options = {}) {
    super();
    this.options = options;
  }
  destroy() {}
}

function side(protocol: string) {
  const request = (input: string | URL | Options, second?: Options | ((message: IncomingMessage) => void), third?: (message: IncomingMessage) => void) => {
    const callback = (typeof second === 'function' ? second : third) as ((message: IncomingMessage) => void) | undefined;
    const extra: Options = typeof second === 'object' ? second : {};
    let options: Options = {};
    if (typeof input === 'string' || input instanceof URL) {
      const url = new URL(input);
      options = { protocol: url.protocol, hostname: url.hostname, port: url.port, path: url.pathname + url.search };
      if (url.username) options.auth = `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}`;
    } else options = input;
    return new ClientRequest({ protocol, ...options, ...extra }, callback) as any;
  };
  return {
    request,
    get: (...args: Parameters<typeof request>) => {
      const sent = request(...args);
      sent.end();
      return sent;
    },
    Agent,
    globalAgent: new Agent(),
    ClientRequest,
    IncomingMessage,
    ServerResponse: PassThrough,
    createServer: unsupported(protocol.slice(0, -1), 'createServer'),
    METHODS: ['DELETE', 'GET', 'HEAD', 'OPTIONS', 'PATCH', 'POST', 'PUT'],
    STATUS_CODES: { 200: 'OK', 201: 'Created', 202: 'Accepted', 204: 'No Content', 301: 'Moved Permanently', 302: 'Found', 303: 'See Other', 304: 'Not Modified', 307: 'Temporary Redirect', 308: 'Permanent Redirect', 400: 'Bad Request', 401: 'Unauthorized', 402: 'Payment Required', 403: 'Forbidden', 404: 'Not Found', 405: 'Method Not Allowed', 409: 'Conflict', 410: 'Gone', 413: 'Payload Too Large', 415: 'Unsupported Media Type', 422: 'Unprocessable Entity', 429: 'Too Many Requests', 500: 'Internal Server Error', 501: 'Not Implemented', 502: 'Bad Gateway', 503: 'Service Unavailable', 504: 'Gateway Timeout' },
    maxHeaderSize: 16384,
  };
}
export const http = side('http:');
export const https = side('https:');

// Modules that are small, or present only so that code which merely imports them runs.
import { clearInterval, setInterval } from '../web/timers';

void clearInterval;
void setInterval;

export function unsupported(module: string, name: string): (...args: unknown[]) => never {
  return function () {
    throw Object.assign(new Error(`${module}.${name}() is not available in the function sandbox`), { code: 'ERR_R402_UNSUPPORTED_API' });
  };
}
const stub = (module: string, names: string) => Object.fromEntries(names.split(' ').map((name) => [name, unsupported(module, name)]));

class Channel {
  readonly #subscribers = new Set<(message: unknown, name: string) => void>();
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
  get hasSubscribers() {
    return this.#subscribers.size > 0;
  }
  subscribe(callback: (message: unknown, name: string) => void) {
    this.#subscribers.add(callback);
  }
  unsubscribe(callback: (message: unknown, name: string) => void) {
    return this.#subscribers.delete(callback);
  }
  publish(message: unknown) {
    for (const callback of this.#subscribers) callback(message, this.name);
  }
  runStores(_context: unknown, run: (...args: unknown[]) => unknown, self?: unknown, ...args: unknown[]) {
    return run.apply(self, args);
  }
}
const channels = new Map<string, Channel>();
const channel = (name: string) => {
  const found = channels.get(name) ?? new Channel(name);
  channels.set(name, found);
  return found;
};

const punycode = {
  version: '2.3.1',
  toASCII: (domain: string) => URL.parse(`http://${domain}`)?.hostname ?? domain,
  toUnicode: (domain: string) => domain,
  ucs2: { decode: (text: string) => [...text].map((c) => c.codePointAt(0)), encode: (points: number[]) => String.fromCodePoint(...points) },
};

const { performance } = globalThis;
const FS = 'access accessSync appendFile appendFileSync chmod close copyFile createReadStream createWriteStream exists fstat ftruncate lstat lstatSync mkdir mkdirSync mkdtemp open openSync read readFile readFileSync readSync readdir readdirSync realpath realpathSync rename rm rmSync rmdir stat statSync symlink truncate unlink unlinkSync unwatchFile utimes watch watchFile write writeFile writeFileSync writeSync';
const fsPromises = stub('fs.promises', 'access appendFile chmod copyFile lstat mkdir mkdtemp open readFile readdir realpath rename rm rmdir stat symlink truncate unlink utimes writeFile');

export const modules: Record<string, object> = {
  perf_hooks: { performance, Performance: performance.constructor, PerformanceObserver: class PerformanceObserver { observe() {} disconnect() {} }, constants: {}, monitorEventLoopDelay: unsupported('perf_hooks', 'monitorEventLoopDelay') },
  diagnostics_channel: { channel, Channel, hasSubscribers: (name: string) => channels.get(name)?.hasSubscribers ?? false, subscribe: (name: string, callback: () => void) => channel(name).subscribe(callback), unsubscribe: (name: string, callback: () => void) => channel(name).unsubscribe(callback), tracingChannel: (name: string) => ({ start: channel(`tracing:${name}:start`), end: channel(`tracing:${name}:end`), asyncStart: channel(`tracing:${name}:asyncStart`), asyncEnd: channel(`tracing:${name}:asyncEnd`), error: channel(`tracing:${name}:error`), hasSubscribers: false, traceSync: (run: () => unknown) => run(), tracePromise: (run: () => unknown) => run() }) },
  punycode,
  constants: { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 },
  console: { ...console, Console: unsupported('console', 'Console') },
  fs: { ...stub('fs', FS), existsSync: () => false, constants: { F_OK: 0, R_OK: 4, W_OK: 2, X_OK: 1 }, promises: fsPromises },
  'fs/promises': fsPromises,
  net: { ...stub('net', 'connect createConnection createServer'), Socket: unsupported('net', 'Socket'), Server: unsupported('net', 'Server'), isIP: (text: string) => (/^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((n) => Number(n) < 256) ? 4 : URL.canParse(`http://[${text}]`) ? 6 : 0), isIPv4: (text: string) => /^\d{1,3}(\.\d{1,3}){3}$/.test(text) && text.split('.').every((n) => Number(n) < 256), isIPv6: (text: string) => URL.canParse(`http://[${text}]`) },
  tls: { ...stub('tls', 'connect createServer createSecureContext'), TLSSocket: unsupported('tls', 'TLSSocket'), rootCertificates: [] },
  child_process: stub('child_process', 'exec execFile execFileSync execSync fork spawn spawnSync'),
  worker_threads: { ...stub('worker_threads', 'receiveMessageOnPort moveMessagePortToContext'), Worker: unsupported('worker_threads', 'Worker'), isMainThread: true, parentPort: null, workerData: null, threadId: 0, MessageChannel, MessagePort },
  tty: { isatty: () => false, ReadStream: unsupported('tty', 'ReadStream'), WriteStream: unsupported('tty', 'WriteStream') },
};

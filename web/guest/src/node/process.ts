import { EventEmitter } from 'events';
import { host, install } from '../host';
import { sinceStart } from '../web/performance';

/** One object for ever: `import { env }` binds it before there is an environment. Assignments turn into text. */
const variables: Record<string, string | undefined> = {};
const env = new Proxy(variables, {
  set(target, key, value) {
    if (typeof key === 'symbol') return false;
    target[key] = String(value);
    return true;
  },
});

let nextTick: typeof queueMicrotask;
const emitter = new EventEmitter();
const hrtime = Object.assign(
  (since?: [number, number]): [number, number] => {
    const now = host.now();
    let seconds = Math.floor(now / 1000);
    let nanoseconds = Math.floor((now % 1000) * 1e6);
    if (since !== undefined) {
      seconds -= since[0];
      nanoseconds -= since[1];
      if (nanoseconds < 0) {
        seconds--;
        nanoseconds += 1e9;
      }
    }
    return [seconds, nanoseconds];
  },
  { bigint: () => BigInt(Math.floor(host.now() * 1e6)) },
);

/** `process.exit()` ends the request. */
function exit(code: unknown = 0): never {
  const exitCode = Math.trunc(Number(code)) || 0;
  throw Object.assign(new Error(`process.exit(${exitCode}) was called`), { name: 'ProcessExit', exitCode });
}

const write = (level: 'log' | 'error') => ({
  isTTY: false,
  columns: 80,
  fd: level === 'log' ? 1 : 2,
  write(chunk: unknown) {
    console[level](String(chunk).replace(/\n$/, ''));
    return true;
  },
  end() {},
  on() {
    return this;
  },
  once() {
    return this;
  },
});

export const process = Object.assign(Object.create(emitter) as typeof emitter, {
  title: 'node',
  env,
  argv: ['/usr/bin/node', '/app/index.mjs'],
  argv0: 'node',
  execArgv: [] as string[],
  execPath: '/usr/bin/node',
  version: 'v22.0.0',
  versions: { node: '22.0.0', quickjs: '0.16.2' },
  release: { name: 'node', lts: 'Jod' },
  platform: 'linux',
  arch: 'wasm32',
  pid: 1,
  ppid: 0,
  exitCode: undefined as number | undefined,
  config: {},
  features: {},
  stdout: write('log'),
  stderr: write('error'),
  stdin: { isTTY: false, fd: 0 },
  cwd: () => '/app',
  chdir: () => {
    throw new Error('process.chdir() is not available in a function');
  },
  exit,
  abort: () => exit(134),
  kill: () => {
    throw new Error('process.kill() is not available in a function');
  },
  umask: () => 0o22,
  getuid: () => 1000,
  geteuid: () => 1000,
  getgid: () => 1000,
  getegid: () => 1000,
  uptime: () => sinceStart() / 1000,
  hrtime,
  memoryUsage: Object.assign(() => ({ rss: 0, heapTotal: 0, heapUsed: 0, external: 0, arrayBuffers: 0 }), { rss: () => 0 }),
  cpuUsage: () => ({ user: Math.floor(sinceStart() * 1000), system: 0 }),
  resourceUsage: () => ({}),
  nextTick: (callback: (...args: unknown[]) => void, ...args: unknown[]) => nextTick(() => callback(...args)),
  emitWarning: (warning: unknown) => console.warn(String(warning)),
  binding: () => {
    throw new Error('process.binding() is not available in a function');
  },
});
nextTick = queueMicrotask;

export function setEnvironment(env: Record<string, string>): void {
  Object.assign(variables, env);
}
install({ process });
export default process;

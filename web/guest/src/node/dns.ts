import { call, decode, Op } from '../host';

interface LookupOptions {
  family?: number | 'IPv4' | 'IPv6';
  all?: boolean;
}
type Record_ = unknown;

async function ask(kind: string, name: string): Promise<Record_[]> {
  return JSON.parse(decode(await call(Op.dns, JSON.stringify({ kind, name })))) as Record_[];
}
async function lookup(name: string, options: LookupOptions | number = {}): Promise<unknown> {
  const given = typeof options === 'number' ? { family: options } : options;
  const family = given.family === 'IPv4' ? 4 : given.family === 'IPv6' ? 6 : (given.family ?? 0);
  const all = ((await ask('lookup', name)) as { address: string; family: number }[]).filter((one) => family === 0 || one.family === family);
  if (all.length === 0) throw Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND', syscall: 'getaddrinfo', hostname: name });
  return given.all ? all : all[0];
}
const addresses = (family: 4 | 6) => async (name: string) =>
  ((await lookup(name, { all: true, family })) as { address: string }[]).map((one) => one.address);
const refuse = (kind: string) => async (): Promise<never> => {
  throw Object.assign(new Error(`dns.${kind}() is not available in the function sandbox`), { code: 'ERR_R402_UNSUPPORTED_API' });
};

export const promises = {
  lookup,
  resolve: addresses(4),
  resolve4: addresses(4),
  resolve6: addresses(6),
  resolveTxt: refuse('resolveTxt'),
  resolveMx: refuse('resolveMx'),
  resolveCname: refuse('resolveCname'),
  resolveNs: refuse('resolveNs'),
  resolveSrv: refuse('resolveSrv'),
  reverse: refuse('reverse'),
  getServers: () => [] as string[],
  setServers: () => {},
};

type Callback = (error: unknown, ...values: unknown[]) => void;
const called =
  (run: (...args: never[]) => Promise<unknown>, spread = false) =>
  (...args: unknown[]) => {
    const done = args.pop() as Callback;
    run(...(args as never[])).then(
      (value) => {
        const one = value as { address?: string; family?: number };
        if (spread && !Array.isArray(value)) done(null, one.address, one.family);
        else done(null, value);
      },
      (error: unknown) => done(error),
    );
  };
const { getServers, setServers, lookup: find, ...queries } = promises;
export const callbacks = Object.fromEntries(Object.entries(queries).map(([name, run]) => [name, called(run as never)]));
const lookupCallback = called(find as never, true);
export { getServers, lookupCallback as lookup, setServers };
export const { resolve, resolve4, resolve6, resolveTxt, resolveMx, resolveCname, resolveNs, resolveSrv, reverse } = callbacks as Record<string, (...args: unknown[]) => void>;

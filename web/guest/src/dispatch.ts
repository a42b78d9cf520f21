// An invocation: frame in, handler, frame out.
import { encode, hooks, packed, unpacked } from './host';
import { frames, inspectValue } from './inspect';
import { console } from './console';
import { setEnvironment } from './node/process';
import { als, begin, type HostContext, type RequestContext } from './run402/context';
import { consume, makeRequest, Response } from './web/fetch';
import { startClock } from './web/performance';

hooks.setup = (json) => {
  startClock();
  const setup = JSON.parse(json) as { env: Record<string, string> };
  setEnvironment(setup.env);
};

hooks.names = (namespace) => Reflect.ownKeys(namespace).filter((key) => typeof key === 'string').join('\n');

hooks.meta = (meta, path) => {
  meta.url = `file:///app/${path}`;
  meta.filename = `/app/${path}`;
  meta.dirname = `/app/${path}`.replace(/\/[^/]*$/, '');
  meta.resolve = (specifier: string) =>
    /^\.{0,2}\//.test(specifier) ? new URL(specifier, meta.url as string).href : specifier;
};

/** What the host tells of a thrown value. */
hooks.report = (error) => {
  try {
    if (typeof error !== 'object' || error === null) {
      return JSON.stringify({ name: 'Error', message: typeof error === 'string' ? error : inspectValue(error), stack: '' });
    }
    const given = error as Record<string, unknown>;
    const text = (key: string) => (typeof given[key] === 'string' ? (given[key] as string) : undefined);
    return JSON.stringify({
      name: text('name') ?? 'Error',
      message: text('message') ?? '',
      stack: frames(text('stack') ?? ''),
      code: text('code'),
      status: typeof given.status === 'number' ? given.status : undefined,
      exitCode: typeof given.exitCode === 'number' ? given.exitCode : undefined,
      suggestedFix: text('suggestedFix'),
      docs: text('docs'),
      specifier: text('specifier'),
      importer: text('importer'),
      inspected: error instanceof Error ? inspectValue(error) : undefined,
      details: plain(given.details),
    });
  } catch (again) {
    return JSON.stringify({ name: 'Indescribable', message: 'The thrown value cannot be described', stack: String(again) });
  }
};

function plain(details: unknown): unknown {
  try {
    const text = JSON.stringify(details);
    return text === undefined || text.length > 16_384 ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

const unhandled = new Map<Promise<unknown>, unknown>();
hooks.rejection = (promise, reason, handled) => {
  if (handled) unhandled.delete(promise);
  else unhandled.set(promise, reason);
};
hooks.drained = () => {
  if (unhandled.size === 0) return;
  const reasons = [...unhandled.values()];
  unhandled.clear();
  for (const reason of reasons) console.error('Unhandled promise rejection:', reason);
};

interface RequestHead {
  url: string;
  method: string;
  headers: [string, string][];
  /** Null outside the platform. */
  context: HostContext | null;
}

function invalid(what: string): Error {
  return Object.assign(new TypeError(what), { name: 'InvalidResponse' });
}

const JSON_TYPE: [string, string][] = [['content-type', 'application/json']];

/** The forms a handler may answer in; contract 05 §8.1. */
async function answer(result: unknown, tainted: () => boolean): Promise<Uint8Array> {
  const framed = (status: unknown, headers: [string, string][], body: Uint8Array) => packed({ status, headers, tainted: tainted() }, body);
  if (result instanceof Response) {
    const body = await consume(result);
    return framed(result.status, [...result.headers], body);
  }
  if (typeof result === 'object' && result !== null) {
    const given = result as Record<string, unknown>;
    if (typeof given.status === 'number' && typeof given.arrayBuffer === 'function' && typeof given.headers === 'object') {
      const body = new Uint8Array((await given.arrayBuffer()) as ArrayBuffer);
      return framed(given.status, [...(given.headers as Iterable<[string, string]>)], body);
    }
    if (typeof given.status === 'number' && isEnvelope(given)) return framed(given.status, ...envelope(given));
    if (typeof given.statusCode === 'number') {
      const headers = Object.entries((given.headers ?? {}) as Record<string, unknown>).flatMap(([name, value]) =>
        (Array.isArray(value) ? value : [value]).map((one): [string, string] => [name, String(one)]),
      );
      const body = typeof given.body === 'string' ? given.body : given.body === undefined ? '' : JSON.stringify(given.body);
      return framed(given.statusCode, headers, encode(body ?? ''));
    }
  }
  const text = JSON.stringify(result);
  if (text === undefined) throw invalid(`The handler returned ${typeof result}: it must return a Response or a JSON value`);
  return framed(200, JSON_TYPE, encode(text));
}

function isEnvelope(given: Record<string, unknown>): boolean {
  const { headers, cookies, body } = given;
  if (headers !== undefined && !Array.isArray(headers)) return false;
  if (cookies !== undefined && !Array.isArray(cookies)) return false;
  if (body === undefined || body === null) return headers !== undefined || cookies !== undefined || Object.keys(given).length === 1;
  return typeof body === 'object' && (body as { encoding?: unknown }).encoding === 'base64';
}

function envelope(given: Record<string, unknown>): [[string, string][], Uint8Array] {
  const headers = ((given.headers ?? []) as unknown[][]).map(([name, value]): [string, string] => [String(name), String(value)]);
  for (const cookie of (given.cookies ?? []) as unknown[]) headers.push(['set-cookie', String(cookie)]);
  const data = (given.body as { data?: string } | null | undefined)?.data;
  const body = data === undefined ? new Uint8Array(0) : Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  return [headers, body];
}

hooks.dispatch = async (frame, namespace) => {
  const { head, parts } = unpacked<RequestHead>(frame as Uint8Array<ArrayBuffer>);
  const handler = namespace.default ?? namespace.handler;
  if (typeof handler !== 'function') {
    throw Object.assign(new TypeError('The module exports no handler: add `export default async (req) => new Response()`'), {
      name: 'NoHandler',
    });
  }
  const body = parts[0];
  const request = makeRequest(head.url, {
    method: head.method,
    headers: head.headers,
    body: body !== undefined && body.length > 0 ? body : null,
  });
  if (head.context === null) return answer(await handler(request), () => false);
  const context = begin(head.context, head.method, head.url, head.headers);
  return als.run(context, () => handled(context, handler as Handler, request));
};

type Incoming = ReturnType<typeof makeRequest>;
type Handler = (request: Incoming) => unknown;

/** All of a request inside its context, the body of the answer included. */
async function handled(context: RequestContext, handler: Handler, request: Incoming): Promise<Uint8Array> {
  try {
    return await answer(await handler(request), () => context.cacheBypassTainted.value);
  } finally {
    context.active.value = false;
  }
}

// An invocation: frame in, handler, frame out.
import { encode, hooks, packed } from './host';
import { frames, inspectValue } from './inspect';
import { console } from './console';
import { setEnvironment } from './node/process';
import { als, begin, type HostContext, type RequestContext } from './run402/context';
import { consume, consumeNow, incomingRequest, Response, sentHeaders } from './web/fetch';
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

/** What is told beside the answer: whether the handler read something personal. */
type Tainted = () => boolean;
type Answer = Uint8Array | Promise<Uint8Array>;

const framed = (tainted: Tainted, status: unknown, headers: [string, string][], body: Uint8Array) =>
  packed({ status, headers, tainted: tainted() }, body);

/** The forms a handler may answer in; contract 05 §8.1. Nothing is waited for that is here already. */
function answer(result: unknown, tainted: Tainted): Answer {
  if (result instanceof Response) {
    const body = consumeNow(result);
    if (body !== undefined) return framed(tainted, result.status, sentHeaders(result), body);
  }
  return answerLater(result, tainted);
}

async function answerLater(result: unknown, tainted: Tainted): Promise<Uint8Array> {
  if (result instanceof Response) {
    const body = await consume(result);
    return framed(tainted, result.status, sentHeaders(result), body);
  }
  if (typeof result === 'object' && result !== null) {
    const given = result as Record<string, unknown>;
    if (typeof given.status === 'number' && typeof given.arrayBuffer === 'function' && typeof given.headers === 'object') {
      const body = new Uint8Array((await given.arrayBuffer()) as ArrayBuffer);
      return framed(tainted, given.status, [...(given.headers as Iterable<[string, string]>)], body);
    }
    if (typeof given.status === 'number' && isEnvelope(given)) return framed(tainted, given.status, ...envelope(given));
    if (typeof given.statusCode === 'number') {
      const headers = Object.entries((given.headers ?? {}) as Record<string, unknown>).flatMap(([name, value]) =>
        (Array.isArray(value) ? value : [value]).map((one): [string, string] => [name, String(one)]),
      );
      const body = typeof given.body === 'string' ? given.body : given.body === undefined ? '' : JSON.stringify(given.body);
      return framed(tainted, given.statusCode, headers, encode(body ?? ''));
    }
  }
  const text = JSON.stringify(result);
  if (text === undefined) throw invalid(`The handler returned ${typeof result}: it must return a Response or a JSON value`);
  return framed(tainted, 200, JSON_TYPE, encode(text));
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

hooks.dispatch = (head, body, namespace) => {
  const handler = namespace.default ?? namespace.handler;
  if (typeof handler !== 'function') {
    throw Object.assign(new TypeError('The module exports no handler: add `export default async (req) => new Response()`'), {
      name: 'NoHandler',
    });
  }
  const { method, url, headers, context: given } = head as RequestHead;
  const request = incomingRequest({ method, url, headers, body });
  if (given === null) return within({ active: { value: true }, cacheBypassTainted: { value: false } }, handler as Handler, request);
  const context = begin(given, method, url, headers);
  return als.run(context, () => within(context, handler as Handler, request));
};

type Handler = (request: ReturnType<typeof incomingRequest>) => unknown;

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';

/** What of a context a request has in any case. */
type Lifetime = Pick<RequestContext, 'active' | 'cacheBypassTainted'>;

/** All of a request inside its context, the body of the answer included. */
function within(context: Lifetime, handler: Handler, request: Parameters<Handler>[0]): Answer {
  const tainted = () => context.cacheBypassTainted.value;
  let waits = false;
  try {
    const result = handler(request);
    const answered = isThenable(result) ? later(result, tainted) : answer(result, tainted);
    waits = answered instanceof Promise;
    return waits ? ended(context, answered) : answered;
  } finally {
    if (!waits) context.active.value = false;
  }
}

async function ended(context: Lifetime, answered: Answer): Promise<Uint8Array> {
  try {
    return await answered;
  } finally {
    context.active.value = false;
  }
}

async function later(result: PromiseLike<unknown>, tainted: Tainted): Promise<Uint8Array> {
  const answered = answer(await result, tainted);
  return answered instanceof Promise ? await answered : answered;
}

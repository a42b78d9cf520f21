// The request context: who asks, where, and whether a cache may keep the answer. It lives in an AsyncLocalStorage, so
// that it follows awaits, timers and promises of the handler and is absent at module scope. Contract 05 §8.4.
import { AsyncLocalStorage } from '../node/async_hooks';
import { docs, remember } from './errors';

/** An actor as the platform verified it; `auth.user()` turns it into what the handler sees. */
export interface ContextActor {
  id: string;
  email: string;
  isTest?: true;
  emailVerified: boolean;
  authTime: number;
  amr: string[];
  amrTimes: Record<string, number>;
  authzVersion: number;
  sessionId: string;
}

export type InvocationKind = 'routed_http' | 'direct' | 'scheduled' | 'function_run';

/** Own enumerable lower-case keys, and `get` besides: both ways of reading are in use. */
export type HeaderRecord = Record<string, string | undefined>;

export interface RequestContext {
  requestId: string;
  projectId: string;
  releaseId: string;
  locale: string | null;
  defaultLocale: string | null;
  host: string;
  request: { method: string; url: string; headers: HeaderRecord };
  actor: ContextActor | null;
  invocationKind: InvocationKind;
  idempotencyKey: string | null;
  cacheBypassTainted: { value: boolean };
  active: { value: boolean };
}

type Defaulted = 'actor' | 'invocationKind' | 'idempotencyKey' | 'cacheBypassTainted' | 'active';
export type GivenContext = Omit<RequestContext, Defaulted> & Partial<Pick<RequestContext, Defaulted>>;

export const als = new AsyncLocalStorage<RequestContext>({ name: 'run402' });

export const getCurrentContext = (): RequestContext | undefined => als.getStore();

export class Run402OutsideRequestContextError extends Error {
  readonly code = 'R402_SDK_OUTSIDE_REQUEST_CONTEXT';
  readonly docs = docs('R402_SDK_OUTSIDE_REQUEST_CONTEXT');
  readonly suggestedFix: string;
  readonly sdkFunction: string;
  override readonly cause: 'no_context' | 'context_inactive';
  constructor(sdkFunction: string, cause: 'no_context' | 'context_inactive') {
    const over = cause === 'context_inactive';
    super(`${sdkFunction} was called ${over ? 'after its request had been answered' : 'while no request is being handled'}`);
    this.suggestedFix = over
      ? `Await ${sdkFunction} before the handler returns: nothing of a request may run on after its answer.`
      : `Call ${sdkFunction} from the handler, or from code the handler calls, not at the top level of a module.`;
    this.sdkFunction = sdkFunction;
    this.cause = cause;
    remember(this, 'Run402OutsideRequestContextError');
  }
}

export function requireActiveContext(sdkFunction: string): RequestContext {
  const context = getCurrentContext();
  if (context === undefined) throw new Run402OutsideRequestContextError(sdkFunction, 'no_context');
  if (!context.active.value) throw new Run402OutsideRequestContextError(sdkFunction, 'context_inactive');
  return context;
}

export function taintCacheBypass(): void {
  const context = getCurrentContext();
  if (context !== undefined) context.cacheBypassTainted.value = true;
}

/** Calls whose answer is never for a shared cache. */
export const PAYMENT_PRIMITIVES: ReadonlySet<string> = new Set(['payment.fulfilled']);

export function withPaymentTaint<A extends unknown[], R>(name: string, run: (...args: A) => R): (...args: A) => R {
  if (!PAYMENT_PRIMITIVES.has(name)) console.warn(`withPaymentTaint: "${name}" is no known payment primitive`);
  return (...args) => {
    taintCacheBypass();
    return run(...args);
  };
}

/** Headers as a record. Values of a name that comes more than once are joined, as in `Headers`. */
export function headerRecord(pairs: Iterable<readonly [string, string]>): HeaderRecord {
  const record: HeaderRecord = {};
  for (const [name, value] of pairs) {
    const key = name.toLowerCase();
    const known = Object.hasOwn(record, key) ? record[key] : undefined;
    Object.defineProperty(record, key, {
      value: known === undefined ? value : `${known}, ${value}`,
      writable: true,
      enumerable: true,
      configurable: true,
    });
  }
  // A header called `get` would be the own property; the method gives way.
  if (!Object.hasOwn(record, 'get')) {
    Object.defineProperty(record, 'get', {
      value: (name: string) => {
        const key = String(name).toLowerCase();
        return (Object.prototype.propertyIsEnumerable.call(record, key) ? record[key] : undefined) ?? null;
      },
      writable: true,
      configurable: true,
    });
  }
  return record;
}

/** What the host says of a request, without `request` itself. */
export type HostContext = Omit<RequestContext, 'request' | 'cacheBypassTainted' | 'active'>;

/** The context of a request that begins. The record of headers is made when somebody asks for it: few do. */
export function begin(given: HostContext, method: string, url: string, headers: [string, string][]): RequestContext {
  let record: HeaderRecord | undefined;
  return {
    requestId: given.requestId,
    projectId: given.projectId,
    releaseId: given.releaseId,
    locale: given.locale ?? null,
    defaultLocale: given.defaultLocale ?? null,
    host: given.host,
    request: {
      method,
      url,
      get headers() {
        return (record ??= headerRecord(headers));
      },
      set headers(value) {
        record = value;
      },
    },
    actor: given.actor ?? null,
    invocationKind: given.invocationKind ?? 'direct',
    idempotencyKey: given.idempotencyKey ?? null,
    cacheBypassTainted: { value: false },
    active: { value: true },
  };
}

// cache.invalidate*(). Contract 05 §10.4.
import { config } from './config';
import { getCurrentContext } from './context';
import { docs, type Json, recordOf, remember, textOr } from './errors';

export class CacheInvalidationHostRequiredError extends Error {
  readonly code = 'R402_CACHE_INVALIDATION_HOST_REQUIRED';
  readonly docs = docs('R402_CACHE_INVALIDATION_HOST_REQUIRED');
  readonly suggestedFix = 'Give an absolute URL, or call it from the handler: a path is looked up on the host of the request.';
  constructor() {
    super('A path was given to cache.invalidate outside a request: there is no host to look it up on');
    remember(this, 'CacheInvalidationHostRequiredError');
  }
}

export class CacheInvalidationHostForbiddenError extends Error {
  readonly code = 'R402_CACHE_INVALIDATION_HOST_FORBIDDEN';
  readonly docs = docs('R402_CACHE_INVALIDATION_HOST_FORBIDDEN');
  readonly host: string;
  readonly suggestedFix = 'Name a host that belongs to this project: its subdomains and its verified domains.';
  constructor(host: string) {
    super(`The host ${host} does not belong to this project`);
    this.host = host;
    remember(this, 'CacheInvalidationHostForbiddenError');
  }
}

interface Invalidated {
  deleted: number;
  generation: bigint;
  host: string;
  path?: string;
}

async function invalidated(body: Json & { kind: string }, host: string): Promise<Invalidated> {
  const response = await fetch(`${config.base}/cache/v1/invalidate`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', Authorization: `Bearer ${config.serviceKey}` },
    body: JSON.stringify(body),
  });
  if (!response.ok) {
    const text = await response.text();
    if (response.status === 403) throw new CacheInvalidationHostForbiddenError(textOr(recordOf(text)?.host, host));
    throw new Error(`cache.invalidate(${body.kind}) failed: HTTP ${response.status} ${text}`);
  }
  const told = (await response.json()) as { deleted: number; generation: number | string; host: string; path?: string };
  const { deleted, generation, host: where } = told;
  return { deleted, generation: BigInt(generation), host: where, ...(typeof body.path === 'string' ? { path: told.path ?? body.path } : {}) };
}

function currentHost(): string {
  const context = getCurrentContext();
  if (context === undefined || !context.active.value) throw new CacheInvalidationHostRequiredError();
  return context.host;
}

const ABSOLUTE = /^https?:\/\//i;

function absolute(target: string | URL): URL | null {
  if (target instanceof URL) return target;
  if (typeof target !== 'string' || !(target.startsWith('/') || ABSOLUTE.test(target))) {
    const shown = typeof target === 'string' ? JSON.stringify(target) : typeof target;
    throw new Error(`cache.invalidate takes a URL, an http(s) URL as text, or a path that begins with "/", not ${shown}`);
  }
  return target.startsWith('/') ? null : new URL(target);
}

async function invalidate(target: string | URL): Promise<Invalidated> {
  const url = absolute(target);
  const host = (url?.host ?? currentHost()).toLowerCase();
  const path = url === null ? (target as string) : url.pathname + url.search;
  return invalidated({ kind: 'exact', host, path }, host);
}

const named = (host: unknown, what: string): string => {
  if (typeof host !== 'string' || host === '') throw new Error(`${what} needs a host`);
  return host.toLowerCase();
};

async function invalidatePrefix(options: { host: string; prefix: string }): Promise<Invalidated> {
  const host = named(options?.host, 'cache.invalidatePrefix');
  if (typeof options.prefix !== 'string' || !options.prefix.startsWith('/')) throw new Error('cache.invalidatePrefix needs a prefix that begins with "/"');
  return invalidated({ kind: 'prefix', host, prefix: options.prefix }, host);
}

async function invalidateAll(options: { host: string }): Promise<Invalidated> {
  const host = named(options?.host, 'cache.invalidateAll');
  return invalidated({ kind: 'all', host }, host);
}

async function invalidateMany(targets: (string | URL)[]): Promise<Invalidated> {
  if (!Array.isArray(targets) || targets.length === 0) return { deleted: 0, generation: 0n, host: '' };
  const urls = targets.map((target) => (absolute(target) === null ? `https://${currentHost()}${String(target)}` : String(target)));
  return invalidated({ kind: 'many', urls }, '');
}

export const cache = { invalidate, invalidatePrefix, invalidateAll, invalidateMany };

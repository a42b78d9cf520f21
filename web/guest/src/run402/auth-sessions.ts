// auth.fetch() and auth.sessions: requests to the own site. Contract 05 §10.7.
import { Buffer } from './bytes';
import { FetchAbsoluteUrlError, TenantSubjectInvalidError } from './auth-errors';
import { requireActiveContext } from './context';
import { isRecord, type Json, textOr } from './errors';

function sameOrigin(input: string | URL | Request, host: string): URL {
  const attempted = input instanceof Request ? input.url : String(input);
  const refused = (reason: string) => new FetchAbsoluteUrlError({ attempted, reason });
  const given = attempted.trim();
  if (given === '') throw refused('it is empty');
  if (/^[/\\]{2}/.test(given)) throw refused('it names a host without a scheme');
  const site = new URL(`https://${host}`);
  const url = URL.parse(given, site);
  if (url === null) throw refused('it is no URL');
  if (url.protocol !== 'https:' && url.protocol !== 'http:') throw refused(`its scheme is ${url.protocol}`);
  if (url.username !== '' || url.password !== '') throw refused('it holds credentials');
  if (url.origin !== site.origin) throw refused('it is of another origin');
  return url;
}

export async function authFetch(input: string | URL | Request, init: RequestInit = {}): Promise<Response> {
  const { host } = requireActiveContext('auth.fetch');
  const url = sameOrigin(input, host);
  const given = input instanceof Request ? input : undefined;
  const headers = new Headers(init.headers ?? given?.headers);
  // The visitor's own credentials do not travel on: the page that is fetched sees an anonymous request.
  headers.delete('cookie');
  const carried: RequestInit = given === undefined || init.method !== undefined ? {} : { method: given.method };
  if (given !== undefined && init.body === undefined && given.body !== null) Object.assign(carried, { body: await given.arrayBuffer() });
  return fetch(url.href, { ...carried, ...init, headers, redirect: init.redirect ?? 'manual' });
}

const bridge = (name: string, path: string, body?: unknown): Promise<Response> => {
  const { host } = requireActiveContext(`auth.sessions.${name}`);
  const init: RequestInit = { method: 'POST', headers: { 'content-type': 'application/json' }, redirect: 'manual' };
  if (body !== undefined) init.body = JSON.stringify(body);
  return fetch(`https://${host}/auth/v1/sessions/${path}`, init);
};

/** The header the platform reads, and takes off the answer. */
const MINT_DIRECTIVE = 'x-run402-mint-directive';

function tenantDirective(options: unknown): Json {
  const given: Json = isRecord(options) ? options : {};
  const refused = (reason: string) => new TenantSubjectInvalidError({ reason });
  const { tenant, user, method, advanced } = given;
  if (typeof tenant !== 'string' || tenant === '') throw refused('`tenant` is missing');
  if (!isRecord(user)) throw refused('`user` is missing');
  if (typeof user.id !== 'string' || user.id === '') throw refused('`user.id` is missing: give an id that never changes');
  if (user.id === user.email) throw refused('`user.id` is the e-mail address, which may change: give an id that never does');
  if (method !== 'password' && method !== 'sso') throw refused('`method` is neither "password" nor "sso"');
  const subject: Json = { id: user.id, email: textOr(user.email, ''), emailVerified: user.emailVerified === true };
  for (const key of ['displayName', 'avatarUrl']) if (typeof user[key] === 'string') subject[key] = user[key];
  const amr = isRecord(advanced) && Array.isArray(advanced.amr) ? { advanced: { amr: advanced.amr } } : {};
  return { v: 1, tenant, user: subject, method, ...amr };
}

export const sessions = {
  async createResponseFromIdentity(options: Json): Promise<Response> {
    return bridge('createResponseFromIdentity', 'from-identity', options);
  },
  async createResponseFromTenantAssertion(options: Json): Promise<Response> {
    requireActiveContext('auth.sessions.createResponseFromTenantAssertion');
    const directive = Buffer.from(JSON.stringify(tenantDirective(options))).toString('base64url');
    const headers = { 'content-type': 'application/json', [MINT_DIRECTIVE]: directive };
    return new Response(JSON.stringify({ ok: true }), { status: 200, headers });
  },
  async endResponse(): Promise<Response> {
    return bridge('endResponse', 'end');
  },
};

import * as querystring from './querystring';

const { URL, URLSearchParams } = globalThis;
export { URL, URLSearchParams };

/** The old record of a URL, read by libraries that predate the URL class. */
class Url {
  protocol: string | null = null;
  slashes: boolean | null = null;
  auth: string | null = null;
  host: string | null = null;
  port: string | null = null;
  hostname: string | null = null;
  hash: string | null = null;
  search: string | null = null;
  query: string | Record<string, unknown> | null = null;
  pathname: string | null = null;
  path: string | null = null;
  href = '';
}
export { Url };

export function parse(input: string, parseQuery = false, slashesDenoteHost = false): Url {
  if (typeof input !== 'string') {
    throw Object.assign(new TypeError('The "url" argument must be of type string'), { code: 'ERR_INVALID_ARG_TYPE' });
  }
  const out = new Url();
  let rest = input.trim();
  const hash = rest.indexOf('#');
  if (hash >= 0) {
    out.hash = rest.slice(hash);
    rest = rest.slice(0, hash);
  }
  const question = rest.indexOf('?');
  if (question >= 0) {
    out.search = rest.slice(question);
    out.query = rest.slice(question + 1);
    rest = rest.slice(0, question);
  }
  if (parseQuery) {
    out.search ??= '';
    out.query = querystring.parse((out.query as string | null) ?? '');
  }
  const scheme = /^([a-z][a-z0-9.+-]*:)/i.exec(rest)?.[1];
  if (scheme !== undefined) {
    out.protocol = scheme.toLowerCase();
    rest = rest.slice(scheme.length);
  }
  if (rest.startsWith('//') && (scheme !== undefined || slashesDenoteHost)) {
    out.slashes = true;
    const end = rest.indexOf('/', 2);
    const authority = rest.slice(2, end < 0 ? undefined : end);
    rest = end < 0 ? '' : rest.slice(end);
    const at = authority.lastIndexOf('@');
    if (at >= 0) out.auth = decodeURIComponent(authority.slice(0, at));
    const host = authority.slice(at + 1).toLowerCase();
    const port = /:(\d*)$/.exec(host);
    out.port = port?.[1] || null;
    out.hostname = port === null ? host : host.slice(0, -port[0].length);
    out.host = out.port === null ? out.hostname : host;
    if (rest === '' && /^(https?|ftp|ws|wss):$/.test(out.protocol ?? '')) rest = '/';
  }
  out.pathname = rest === '' ? null : rest;
  out.path = out.pathname === null && out.search === null ? null : (out.pathname ?? '') + (out.search ?? '');
  out.href = format(out);
  return out;
}

export function format(input: Partial<Url> | URL | string, options: { fragment?: boolean; search?: boolean; auth?: boolean } = {}): string {
  if (typeof input === 'string') return format(parse(input));
  if (input instanceof URL) {
    const copy = new URL(input.href);
    if (options.fragment === false) copy.hash = '';
    if (options.search === false) copy.search = '';
    if (options.auth === false) copy.username = copy.password = '';
    return copy.href;
  }
  const protocol = input.protocol ? (input.protocol.endsWith(':') ? input.protocol : `${input.protocol}:`) : '';
  const auth = input.auth ? `${encodeURIComponent(input.auth).replace(/%3A/i, ':')}@` : '';
  const host = input.host ? auth + input.host : input.hostname ? auth + input.hostname + (input.port ? `:${input.port}` : '') : '';
  const query = typeof input.query === 'object' && input.query !== null ? querystring.stringify(input.query) : '';
  let search = input.search ?? (query === '' ? '' : `?${query}`);
  if (search !== '' && !search.startsWith('?')) search = `?${search}`;
  let hash = input.hash ?? '';
  if (hash !== '' && !hash.startsWith('#')) hash = `#${hash}`;
  const slashes = input.slashes || (/^(https?|ftp|file|wss?):$/.test(protocol) && host !== '') ? '//' : '';
  let pathname = input.pathname ?? '';
  if (slashes !== '' && pathname !== '' && !pathname.startsWith('/')) pathname = `/${pathname}`;
  return protocol + slashes + host + pathname.replace(/[?#]/g, encodeURIComponent) + search.replace('#', '%23') + hash;
}

export function resolve(from: string, to: string): string {
  const base = new URL(from, 'resolve://');
  const out = new URL(to, base);
  return out.protocol === 'resolve:' ? out.pathname + out.search + out.hash : out.href;
}
export const resolveObject = (from: string, to: string) => parse(resolve(from, to));
export const fileURLToPath = (url: string | URL): string => {
  const parsed = new URL(url);
  if (parsed.protocol !== 'file:') throw Object.assign(new TypeError('The URL must be of scheme file'), { code: 'ERR_INVALID_URL_SCHEME' });
  return decodeURIComponent(parsed.pathname);
};
export const pathToFileURL = (path: string): URL => {
  const url = new URL('file:///');
  url.pathname = (path.startsWith('/') ? path : `/app/${path}`).replaceAll('%', '%25');
  return url;
};
export const domainToASCII = (domain: string): string => URL.parse(`http://${domain}`)?.hostname ?? '';
export const domainToUnicode = (domain: string): string => domain;
export const urlToHttpOptions = (url: URL) => ({
  protocol: url.protocol,
  hostname: url.hostname.replace(/^\[|\]$/g, ''),
  hash: url.hash,
  search: url.search,
  pathname: url.pathname,
  path: url.pathname + url.search,
  href: url.href,
  ...(url.port === '' ? {} : { port: Number(url.port) }),
  ...(url.username === '' ? {} : { auth: `${decodeURIComponent(url.username)}:${decodeURIComponent(url.password)}` }),
});

// POSIX paths, as node:path: the sandbox has no other kind.
function check(value: unknown, name: string): asserts value is string {
  if (typeof value !== 'string') {
    throw Object.assign(new TypeError(`The "${name}" argument must be of type string. Received ${value === null ? 'null' : typeof value}`), {
      code: 'ERR_INVALID_ARG_TYPE',
    });
  }
}

function collapse(path: string, absolute: boolean): string {
  const out: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') out.push(part);
    else if (out.length > 0 && out.at(-1) !== '..') out.pop();
    else if (!absolute) out.push('..');
  }
  return out.join('/');
}

function normalize(path: string): string {
  check(path, 'path');
  if (path === '') return '.';
  const absolute = path.startsWith('/');
  let out = collapse(path, absolute);
  if (out === '') return absolute ? '/' : path.endsWith('/') ? './' : '.';
  if (path.endsWith('/')) out += '/';
  return absolute ? `/${out}` : out;
}

function resolve(...paths: string[]): string {
  let out = '';
  for (let i = paths.length - 1; i >= -1 && !out.startsWith('/'); i--) {
    const path = i >= 0 ? paths[i] : '/app';
    check(path, `paths[${i}]`);
    if (path !== '') out = out === '' ? path : `${path}/${out}`;
  }
  return `/${collapse(out, true)}`;
}

function join(...paths: string[]): string {
  for (const path of paths) check(path, 'path');
  const joined = paths.filter((path) => path !== '').join('/');
  return joined === '' ? '.' : normalize(joined);
}

function relative(from: string, to: string): string {
  const [a, b] = [resolve(from).slice(1).split('/'), resolve(to).slice(1).split('/')];
  if (a[0] === '') a.shift();
  if (b[0] === '') b.shift();
  let same = 0;
  while (same < a.length && same < b.length && a[same] === b[same]) same++;
  return [...a.slice(same).map(() => '..'), ...b.slice(same)].join('/');
}

function dirname(path: string): string {
  check(path, 'path');
  const bare = path.replace(/\/+$/, '');
  if (bare === '') return path.startsWith('/') ? '/' : '.';
  const slash = bare.lastIndexOf('/');
  if (slash < 0) return '.';
  return bare.slice(0, slash).replace(/\/+$/, '') || '/';
}

function basename(path: string, suffix = ''): string {
  check(path, 'path');
  const base = path.replace(/\/+$/, '').split('/').pop() ?? '';
  return suffix !== '' && base !== suffix && base.endsWith(suffix) ? base.slice(0, -suffix.length) : base;
}

function extname(path: string): string {
  const base = basename(path);
  const dot = base.lastIndexOf('.');
  return dot <= 0 || base === '..' ? '' : base.slice(dot);
}

interface Parts {
  root: string;
  dir: string;
  base: string;
  ext: string;
  name: string;
}
function parse(path: string): Parts {
  check(path, 'path');
  const root = path.startsWith('/') ? '/' : '';
  const base = basename(path);
  const ext = extname(path);
  const bare = path.replace(/\/+$/, '');
  const slash = bare.lastIndexOf('/');
  const dir = slash < 0 ? '' : slash === 0 ? '/' : bare.slice(0, slash);
  return { root, dir: path === '/' ? '/' : dir, base, ext, name: base.slice(0, base.length - ext.length) };
}

function format(parts: Partial<Parts>): string {
  const dir = parts.dir ?? parts.root ?? '';
  const ext = parts.ext ?? '';
  const base = parts.base ?? `${parts.name ?? ''}${ext === '' || ext.startsWith('.') ? ext : `.${ext}`}`;
  if (dir === '') return base;
  return dir === parts.root ? dir + base : `${dir}/${base}`;
}

const isAbsolute = (path: string): boolean => {
  check(path, 'path');
  return path.startsWith('/');
};
function matchesGlob(path: string, pattern: string): boolean {
  const source = pattern.replace(/[.+^${}()|[\]\\]/g, '\\$&').replace(/\*\*\/?|\*|\?/g, (mark) => (mark === '?' ? '[^/]' : mark === '*' ? '[^/]*' : '.*'));
  return new RegExp(`^${source}$`).test(path);
}

const members = { sep: '/', delimiter: ':', normalize, resolve, join, relative, dirname, basename, extname, parse, format, isAbsolute, matchesGlob, toNamespacedPath: (path: string) => path };
export const posix: typeof members & { posix: unknown; win32: unknown } = Object.assign(members, { posix: members as unknown, win32: members as unknown });

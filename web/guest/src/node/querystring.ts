const hexadecimal = (c: string) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`;
export const escape = (text: unknown): string => encodeURIComponent(String(text).toWellFormed()).replace(/%20/g, '%20').replace(/[\0]/g, hexadecimal);
export function unescape(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return new URLSearchParams(`a=${text.replaceAll('+', '%2B').replaceAll('&', '%26')}`).get('a') ?? text;
  }
}

type Values = Record<string, string | string[]>;

export function parse(text: string, separator = '&', equals = '=', options: { maxKeys?: number; decodeURIComponent?: (text: string) => string } = {}): Values {
  const out: Values = Object.create(null) as Values;
  const most = options.maxKeys ?? 1000;
  const decode = options.decodeURIComponent ?? unescape;
  if (typeof text !== 'string' || text === '') return out;
  const pieces = text.split(separator || '&');
  for (const piece of most > 0 ? pieces.slice(0, most) : pieces) {
    if (piece === '') continue;
    const at = piece.indexOf(equals || '=');
    const plain = (part: string) => decode(part.replaceAll('+', ' '));
    const name = plain(at < 0 ? piece : piece.slice(0, at));
    const value = at < 0 ? '' : plain(piece.slice(at + (equals || '=').length));
    const known = out[name];
    if (known === undefined) out[name] = value;
    else if (Array.isArray(known)) known.push(value);
    else out[name] = [known, value];
  }
  return out;
}

const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : typeof value === 'number' && Number.isFinite(value) ? String(value) : typeof value === 'bigint' || typeof value === 'boolean' ? String(value) : '';

export function stringify(values: Record<string, unknown>, separator = '&', equals = '=', options: { encodeURIComponent?: (text: string) => string } = {}): string {
  const encode = options.encodeURIComponent ?? escape;
  if (typeof values !== 'object' || values === null) return '';
  return Object.entries(values)
    .flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one) => encode(name) + (equals || '=') + encode(textOf(one))))
    .join(separator || '&');
}
export { parse as decode, stringify as encode };

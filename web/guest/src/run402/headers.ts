// Headers come as Headers, records or lists of pairs; this module reads them all.

interface Getter {
  get(name: string): string | null;
}

export type HeaderSource = Getter | Record<string, unknown> | Iterable<readonly [string, string]>;

const hasGet = (source: object): source is Getter => typeof (source as Partial<Getter>).get === 'function';

/** A header of any of those; names without regard to case. Of several values, the first. */
export function header(source: unknown, name: string): string | undefined {
  if (typeof source !== 'object' || source === null) return undefined;
  if (hasGet(source)) {
    const found: unknown = source.get(name);
    if (typeof found === 'string') return found;
    if (Array.isArray(found)) return typeof found[0] === 'string' ? found[0] : undefined;
  }
  const entries: Iterable<readonly [unknown, unknown]> = Array.isArray(source)
    ? (source as [unknown, unknown][])
    : Object.entries(source);
  for (const [key, value] of entries) {
    if (typeof key !== 'string' || key.toLowerCase() !== name) continue;
    const first: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof first === 'string') return first;
  }
  return undefined;
}

/** The headers of a request, or the thing itself when it has none. */
export function headersOf(source: unknown): unknown {
  const inner = (source as { headers?: unknown } | null | undefined)?.headers;
  return inner ?? source;
}

// The locales Intl knows here, and how a request for another finds the nearest.
import data from './data.json';

type Names = string[];
export interface Relative {
  one: [string, string];
  other: [string, string];
  many?: [string, string];
  words?: Record<string, string>;
}
export interface LocaleData {
  months: [Names, Names, Names];
  /** Names that stand alone, where they differ from those inside a date. */
  alone: Partial<Record<string, Names>>;
  days: [Names, Names, Names];
  periods: [string, string];
  hour12: boolean;
  /** Skeleton → pattern, as intl.mjs writes them. */
  dates: Record<string, string>;
  times: Record<string, string>;
  styles: Names;
  timeStyles: Names;
  joiners: Names;
  mixed: Record<string, string>;
  gmt: string;
  utc: string;
  relative: Record<string, Relative>;
  lists: Record<string, [string, string, string]>;
  numbers: {
    decimal: string;
    group: string;
    minimumGrouping: number;
    currency: [string, string];
    code: string;
    percent: string;
    symbols: Record<string, [string, string, string, string]>;
    compact: [number, string, string?][];
    compactLong: [number, string, string?][];
  };
  units: Record<string, [[string, string], [string, string]]>;
}

const known = data as unknown as Record<string, Partial<LocaleData>>;
const full: Record<string, LocaleData> = {};
for (const [locale, own] of Object.entries(known)) {
  full[locale] = { ...known[locale.slice(0, 2)], ...own } as LocaleData;
}
export const DEFAULT = 'en-US';

/** A tag in its usual spelling; what is no tag at all is an error. */
export function canonical(tag: unknown): string {
  const text = String(tag);
  if ((typeof tag !== 'string' && !(typeof tag === 'object' && tag !== null)) || !/^[a-z]{2,3}([-_][a-z0-9]{1,8})*$/i.test(text)) {
    throw new RangeError(`Incorrect locale information provided: ${text}`);
  }
  let extension = false;
  return text
    .split(/[-_]/)
    .map((piece, index) => {
      if (piece.length === 1) extension = true;
      if (index === 0 || extension) return piece.toLowerCase();
      if (piece.length === 4) return piece.charAt(0).toUpperCase() + piece.slice(1).toLowerCase();
      return piece.length === 2 ? piece.toUpperCase() : piece.toLowerCase();
    })
    .join('-');
}

export const canonicalList = (locales: unknown): string[] =>
  locales === undefined ? [] : [...new Set((Array.isArray(locales) ? locales : [locales]).map(canonical))];

const plain = (tag: string) => tag.replace(/-u(-.*)?$/, '');

/** English outside America writes its dates the British way. */
const BRITISH = new Set(['en-GB', 'en-AU', 'en-NZ', 'en-IE', 'en-IN', 'en-ZA']);

function keyOf(tag: string): string | undefined {
  if (BRITISH.has(tag)) return 'en-GB';
  const language = tag.split('-')[0] as string;
  return Object.hasOwn(full, language) ? language : undefined;
}

export function supported(locales: unknown): string[] {
  return canonicalList(locales).filter((tag) => keyOf(plain(tag)) !== undefined);
}

/** The first of the requested locales that is known, with its data; American English when none is. */
export function resolve(locales: unknown): { locale: string; data: LocaleData; extensions: Record<string, string> } {
  for (const tag of canonicalList(locales)) {
    const key = keyOf(plain(tag));
    if (key !== undefined) return { locale: plain(tag), data: full[key] as LocaleData, extensions: extensionsOf(tag) };
  }
  return { locale: DEFAULT, data: full.en as LocaleData, extensions: {} };
}

function extensionsOf(tag: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [, key, value] of (/-u(-.*)$/.exec(tag)?.[1] ?? '').matchAll(/-([a-z0-9]{2})-([a-z0-9]{3,8})/g)) found[key as string] = value as string;
  return found;
}

/** An option that is one of a few words. */
export function choice<T extends string>(options: object | undefined, name: string, allowed: readonly T[]): T | undefined;
export function choice<T extends string>(options: object | undefined, name: string, allowed: readonly T[], otherwise: T): T;
export function choice<T extends string>(options: object | undefined, name: string, allowed: readonly T[], otherwise?: T): T | undefined {
  const value = (options as Record<string, unknown> | undefined)?.[name];
  if (value === undefined) return otherwise;
  const text = String(value) as T;
  if (!allowed.includes(text)) throw new RangeError(`Value ${text} out of range for Intl options property ${name}`);
  return text;
}

export function integer(options: object | undefined, name: string, low: number, high: number): number | undefined {
  const value = (options as Record<string, unknown> | undefined)?.[name];
  if (value === undefined) return undefined;
  const number = Number(value);
  if (!Number.isFinite(number) || number < low || number > high) throw new RangeError(`${name} value is out of range.`);
  return Math.floor(number);
}

export interface Part {
  type: string;
  value: string;
}
export const joined = (parts: Part[]): string => parts.map((part) => part.value).join('');

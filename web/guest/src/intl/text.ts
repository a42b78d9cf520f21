// Intl.Collator, ListFormat, RelativeTimeFormat and Locale.
import { canonical, choice, joined, type LocaleData, type Part, resolve, supported } from './locale';
import { NumberFormat, pluralOf } from './number';

const SENSITIVITIES = ['base', 'accent', 'case', 'variant'] as const;

/** Where a character stands before its letters are looked at: spaces, punctuation, symbols, digits, letters. */
function rank(char: string): number {
  if (/\s/.test(char)) return 0;
  if (/\p{P}/u.test(char)) return 1;
  if (/\p{S}/u.test(char)) return 2;
  return /\p{Nd}/u.test(char) ? 3 : 4;
}
const MARKS = /\p{Mn}+/gu;
const LETTERS: Record<string, string> = { ß: 'ss', æ: 'ae', œ: 'oe', ø: 'o', đ: 'd', ł: 'l', ı: 'i', þ: 'th', ð: 'd' };
const base = (text: string) => text.normalize('NFD').replace(MARKS, '').toLowerCase().replace(/[ßæœøđłıþð]/g, (char) => LETTERS[char] as string);

interface CollatorOptions {
  usage: 'sort' | 'search';
  sensitivity: (typeof SENSITIVITIES)[number];
  ignorePunctuation: boolean;
  numeric: boolean;
  caseFirst: 'upper' | 'lower' | 'false';
}

const sign = (a: string | number, b: string | number) => (a < b ? -1 : a > b ? 1 : 0);

function primary(a: string, b: string, numeric: boolean): number {
  const pieces = (text: string) => (numeric ? (text.match(/\d+|\D/gu) ?? []) : [...text]);
  const [left, right] = [pieces(base(a)), pieces(base(b))];
  for (let i = 0; i < Math.min(left.length, right.length); i++) {
    const [x, y] = [left[i] as string, right[i] as string];
    if (x === y) continue;
    const byRank = sign(rank(x), rank(y));
    if (byRank !== 0) return byRank;
    if (numeric && /^\d/.test(x)) {
      const [m, n] = [BigInt(x), BigInt(y)];
      if (m !== n) return m < n ? -1 : 1;
      continue;
    }
    return sign(x, y);
  }
  return sign(left.length, right.length);
}

const accents = (text: string) => text.normalize('NFD').toLowerCase().replace(/[^\p{Mn}\s\p{L}\p{N}]/gu, '');
const cases = (text: string) => [...text.normalize('NFD').replace(MARKS, '')].map((char) => (char === char.toLowerCase() ? 0 : 1));

function compare(a: string, b: string, options: CollatorOptions): number {
  if (a === b) return 0;
  const [left, right] = options.ignorePunctuation ? [a.replace(/[\p{P}\s]/gu, ''), b.replace(/[\p{P}\s]/gu, '')] : [a, b];
  const first = primary(left, right, options.numeric);
  if (first !== 0) return first;
  if (options.sensitivity === 'accent' || options.sensitivity === 'variant') {
    const second = sign(accents(left), accents(right));
    if (second !== 0) return second;
  }
  if (options.sensitivity === 'case' || options.sensitivity === 'variant') {
    const [x, y] = [cases(left), cases(right)];
    for (let i = 0; i < x.length; i++) {
      const third = sign(x[i] as number, y[i] ?? 0);
      if (third !== 0) return options.caseFirst === 'upper' ? -third : third;
    }
  }
  return 0;
}

export class Collator {
  readonly #locale: string;
  readonly #options: CollatorOptions;
  #bound: ((a: string, b: string) => number) | undefined;
  constructor(locales?: unknown, given: object = {}) {
    const { locale, extensions } = resolve(locales);
    const options = given as Record<string, unknown>;
    this.#locale = locale;
    this.#options = {
      usage: choice(given, 'usage', ['sort', 'search'], 'sort'),
      sensitivity: choice(given, 'sensitivity', SENSITIVITIES, 'variant'),
      ignorePunctuation: Boolean(options.ignorePunctuation),
      numeric: options.numeric === undefined ? extensions.kn !== undefined && extensions.kn !== 'false' : Boolean(options.numeric),
      caseFirst: choice(given, 'caseFirst', ['upper', 'lower', 'false'], 'false'),
    };
  }
  get compare(): (a: string, b: string) => number {
    return (this.#bound ??= (a, b) => compare(String(a), String(b), this.#options));
  }
  resolvedOptions() {
    return { locale: this.#locale, ...this.#options, collation: 'default' };
  }
  static supportedLocalesOf = supported;
}

export class ListFormat {
  readonly #locale: string;
  readonly #gaps: [string, string, string];
  readonly #options: { type: string; style: string };
  constructor(locales?: unknown, given: object = {}) {
    const { locale, data } = resolve(locales);
    const type = choice(given, 'type', ['conjunction', 'disjunction', 'unit'], 'conjunction');
    const style = choice(given, 'style', ['long', 'short', 'narrow'], 'long');
    this.#locale = locale;
    this.#options = { type, style };
    this.#gaps = data.lists[`${type}-${style}`] as [string, string, string];
  }
  formatToParts(given: Iterable<string>): Part[] {
    const items = [...given].map((value) => {
      if (typeof value !== 'string') throw new TypeError('Iterable yielded a non-String value');
      return this.#options.type === 'unit' ? value : value;
    });
    const [pair, start, end] = this.#gaps;
    return items.flatMap((value, at): Part[] => {
      const element = { type: 'element', value };
      if (at === 0) return [element];
      const gap = items.length === 2 ? pair : at === items.length - 1 ? end : start;
      return [{ type: 'literal', value: gap }, element];
    });
  }
  format(items: Iterable<string>): string {
    return joined(this.formatToParts(items));
  }
  resolvedOptions() {
    return { locale: this.#locale, ...this.#options };
  }
  static supportedLocalesOf = supported;
}

export class RelativeTimeFormat {
  readonly #locale: string;
  readonly #data: LocaleData;
  readonly #style: 'long' | 'short' | 'narrow';
  readonly #numeric: 'always' | 'auto';
  readonly #numbers: NumberFormat;
  constructor(locales?: unknown, given: object = {}) {
    const { locale, data } = resolve(locales);
    this.#locale = locale;
    this.#data = data;
    this.#style = choice(given, 'style', ['long', 'short', 'narrow'], 'long');
    this.#numeric = choice(given, 'numeric', ['always', 'auto'], 'always');
    this.#numbers = new NumberFormat(locale);
  }
  formatToParts(given: number, what: string): (Part & { unit?: string })[] {
    const value = Number(given);
    if (!Number.isFinite(value)) throw new RangeError('The "value" must be a finite number');
    const unit = String(what).replace(/s$/, '');
    const found = this.#data.relative[this.#style === 'long' ? unit : `${unit}-short`];
    if (found === undefined) throw new RangeError(`Invalid unit argument for format() '${what}'`);
    const word = this.#numeric === 'auto' ? found.words?.[String(value)] : undefined;
    if (word !== undefined) return [{ type: 'literal', value: word }];
    const number = this.#numbers.formatToParts(Math.abs(value));
    const category = pluralOf(this.#locale, String(Math.abs(value)));
    const forms = category === 'one' ? found.one : category === 'many' ? (found.many ?? found.other) : found.other;
    const past = value < 0 || Object.is(value, -0);
    const [before = '', after = ''] = forms[past ? 0 : 1].split('{0}');
    const parts: (Part & { unit?: string })[] = number.map((part) => ({ ...part, unit }));
    if (before !== '') parts.unshift({ type: 'literal', value: before });
    if (after !== '') parts.push({ type: 'literal', value: after });
    return parts;
  }
  format(value: number, unit: string): string {
    return joined(this.formatToParts(value, unit));
  }
  resolvedOptions() {
    return { locale: this.#locale, style: this.#style, numeric: this.#numeric, numberingSystem: 'latn' };
  }
  static supportedLocalesOf = supported;
}

export class Locale {
  readonly baseName: string;
  readonly language: string;
  readonly script: string | undefined;
  readonly region: string | undefined;
  constructor(tag: unknown, options: { language?: string; script?: string; region?: string } = {}) {
    const [head = '', ...rest] = canonical(tag).replace(/-u(-.*)?$/, '').split('-');
    this.language = options.language ?? head;
    this.script = options.script ?? rest.find((piece) => piece.length === 4);
    this.region = options.region ?? rest.find((piece) => piece.length === 2 || /^\d{3}$/.test(piece));
    this.baseName = [this.language, this.script, this.region].filter(Boolean).join('-');
  }
  toString(): string {
    return this.baseName;
  }
}

// Intl.NumberFormat and Intl.PluralRules.
import { choice, integer, joined, type LocaleData, type Part, resolve, supported } from './locale';

interface Digits {
  minimumIntegerDigits: number;
  minimumFractionDigits: number;
  maximumFractionDigits: number;
  minimumSignificantDigits?: number | undefined;
  maximumSignificantDigits?: number | undefined;
}

const UNDIVIDED = new Set('BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF'.split(' '));
const THOUSANDTHS = new Set('BHD IQD JOD KWD LYD OMR TND'.split(' '));
const currencyDigits = (code: string) => (UNDIVIDED.has(code) ? 0 : THOUSANDTHS.has(code) ? 3 : 2);

const MODES = ['ceil', 'floor', 'expand', 'trunc', 'halfCeil', 'halfFloor', 'halfExpand', 'halfTrunc', 'halfEven'] as const;
type Mode = (typeof MODES)[number];

function digitsOf(options: Record<string, unknown>, least: number, most: number): Digits {
  const minimumIntegerDigits = integer(options, 'minimumIntegerDigits', 1, 21) ?? 1;
  let low = integer(options, 'minimumFractionDigits', 0, 100);
  let high = integer(options, 'maximumFractionDigits', 0, 100);
  if (low === undefined) low = Math.min(least, high ?? least);
  if (high === undefined) high = Math.max(most, low);
  if (low > high) throw new RangeError('maximumFractionDigits value is out of range.');
  const few = integer(options, 'minimumSignificantDigits', 1, 21);
  const many = integer(options, 'maximumSignificantDigits', few ?? 1, 21);
  const digits: Digits = { minimumIntegerDigits, minimumFractionDigits: low, maximumFractionDigits: high };
  if (few !== undefined || many !== undefined) {
    digits.minimumSignificantDigits = few ?? 1;
    digits.maximumSignificantDigits = many ?? 21;
  }
  return digits;
}

/** Plain digits of a number that is not negative: `123.45`, never an exponent. */
function expanded(text: string): string {
  const match = /^(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return text;
  const all = (match[1] as string) + (match[2] ?? '');
  const point = 1 + Number(match[3]);
  if (point <= 0) return `0.${'0'.repeat(-point)}${all}`;
  return point >= all.length ? all + '0'.repeat(point - all.length) : `${all.slice(0, point)}.${all.slice(point)}`;
}

/** Decimal text rounded to `places` digits after its point. */
function rounded(text: string, places: number, mode: Mode, negative: boolean): string {
  const [whole = '0', fraction = ''] = text.split('.');
  if (fraction.length <= places) return text;
  const [kept, rest] = [fraction.slice(0, places), fraction.slice(places)];
  const zero = /^0*$/.test(rest);
  const half = /^50*$/.test(rest);
  const above = (rest[0] as string) >= '5' && !half;
  const odd = Number((whole + kept).at(-1)) % 2 === 1;
  const up =
    !zero &&
    (mode === 'expand' ||
      (mode === 'ceil' && !negative) ||
      (mode === 'floor' && negative) ||
      (mode.startsWith('half') && (above || (half && (mode === 'halfExpand' || (mode === 'halfCeil' && !negative) || (mode === 'halfFloor' && negative) || (mode === 'halfEven' && odd))))));
  const digits = (BigInt(whole + kept) + (up ? 1n : 0n)).toString().padStart(places + 1, '0');
  return places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** Plain digits of the size of a number. */
const plain = (value: number | bigint): string => expanded(String(value).replace('-', ''));

/** Decimal text times a power of ten. */
function shifted(text: string, power: number): string {
  if (power === 0) return text;
  const [whole = '0', fraction = ''] = text.split('.');
  const digits = whole + fraction;
  const point = whole.length + power;
  const padded = point <= 0 ? '0'.repeat(1 - point) + digits : digits.padEnd(point, '0');
  const at = Math.max(point, 1);
  const left = padded.slice(0, at).replace(/^0+(?=\d)/, '');
  const right = padded.slice(at);
  return right === '' ? left : `${left}.${right}`;
}

/** The power of ten of a number's first digit. */
function magnitudeOf(text: string): number {
  const [whole = '0', fraction = ''] = text.split('.');
  if (!/^0*$/.test(whole)) return whole.length - 1;
  const zeros = /^0*/.exec(fraction)?.[0].length ?? 0;
  return zeros === fraction.length ? 0 : -zeros - 1;
}

/** Decimal text as the digits that are asked for show it. */
function fixed(exact: string, digits: Digits, mode: Mode, negative = false): string {
  const { minimumSignificantDigits: few, maximumSignificantDigits: many } = digits;
  let text: string;
  let low = digits.minimumFractionDigits;
  if (few !== undefined && many !== undefined) {
    const places = many - 1 - magnitudeOf(exact);
    text = places >= 0 ? rounded(exact, places, mode, negative) : shifted(rounded(shifted(exact, places), 0, mode, negative), -places);
    low = Math.max(0, few - 1 - magnitudeOf(text));
  } else text = rounded(exact, digits.maximumFractionDigits, mode, negative);
  let [whole = '0', fraction = ''] = text.split('.');
  while (fraction.length > low && fraction.endsWith('0')) fraction = fraction.slice(0, -1);
  fraction = fraction.padEnd(low, '0');
  whole = whole.padStart(digits.minimumIntegerDigits, '0');
  return fraction === '' ? whole : `${whole}.${fraction}`;
}

type Category = 'zero' | 'one' | 'two' | 'few' | 'many' | 'other';

function cardinal(language: string, text: string): Category {
  const [whole = '0', fraction = ''] = text.split('.');
  const i = Number(whole);
  const v = fraction.length;
  const million = v === 0 && i !== 0 && i % 1_000_000 === 0;
  switch (language) {
    case 'fr':
    case 'pt':
      return i <= 1 ? 'one' : million ? 'many' : 'other';
    case 'es':
      return i === 1 && /^0*$/.test(fraction) ? 'one' : million ? 'many' : 'other';
    case 'it':
      return i === 1 && v === 0 ? 'one' : million ? 'many' : 'other';
    default:
      return i === 1 && v === 0 ? 'one' : 'other';
  }
}

function ordinal(language: string, text: string): Category {
  if (text.includes('.')) return 'other';
  const n = Number(text);
  if (language === 'fr') return n === 1 ? 'one' : 'other';
  if (language === 'it') return [8, 11, 80, 800].includes(n) ? 'many' : 'other';
  if (language !== 'en' || (n % 100 >= 11 && n % 100 <= 13)) return 'other';
  return n % 10 === 1 ? 'one' : n % 10 === 2 ? 'two' : n % 10 === 3 ? 'few' : 'other';
}

const CATEGORIES: Record<string, Category[]> = { fr: ['one', 'many', 'other'], pt: ['one', 'many', 'other'], es: ['one', 'many', 'other'], it: ['one', 'many', 'other'] };
const ORDINALS: Record<string, Category[]> = { en: ['few', 'one', 'two', 'other'], fr: ['one', 'other'], it: ['many', 'other'] };

export class PluralRules {
  readonly #locale: string;
  readonly #type: 'cardinal' | 'ordinal';
  readonly #digits: Digits;
  constructor(locales?: unknown, options: Record<string, unknown> = {}) {
    this.#locale = resolve(locales).locale;
    this.#type = choice(options, 'type', ['cardinal', 'ordinal'], 'cardinal');
    this.#digits = digitsOf(options, 0, 3);
  }
  select(value: number): Category {
    const number = Number(value);
    if (!Number.isFinite(number)) return 'other';
    const text = fixed(plain(number), this.#digits, 'halfExpand');
    const language = this.#locale.slice(0, 2);
    return this.#type === 'ordinal' ? ordinal(language, text) : cardinal(language, text);
  }
  resolvedOptions() {
    const language = this.#locale.slice(0, 2);
    const pluralCategories = this.#type === 'ordinal' ? (ORDINALS[language] ?? ['other']) : (CATEGORIES[language] ?? ['one', 'other']);
    return { locale: this.#locale, type: this.#type, ...this.#digits, pluralCategories: [...pluralCategories] };
  }
  static supportedLocalesOf = supported;
}

/** The plural form of a number as it is written. */
export const pluralOf = (locale: string, text: string): Category => (text === '' ? 'other' : cardinal(locale.slice(0, 2), text));

const STYLES = ['decimal', 'percent', 'currency', 'unit'] as const;
const NOTATIONS = ['standard', 'scientific', 'engineering', 'compact'] as const;
const SIGNS = ['auto', 'always', 'never', 'exceptZero', 'negative'] as const;

export class NumberFormat {
  readonly #locale: string;
  readonly #data: LocaleData;
  readonly #digits: Digits;
  readonly #style: (typeof STYLES)[number];
  readonly #notation: (typeof NOTATIONS)[number];
  readonly #compactDisplay: 'short' | 'long';
  readonly #sign: (typeof SIGNS)[number];
  readonly #grouping: 'auto' | 'always' | 'min2' | false;
  readonly #mode: Mode;
  readonly #currency: string | undefined;
  readonly #currencyDisplay: 'symbol' | 'narrowSymbol' | 'code' | 'name';
  readonly #unit: string | undefined;
  readonly #unitDisplay: 'short' | 'long' | 'narrow';
  /** Compact numbers keep two digits when nothing else is asked. */
  readonly #loose: boolean;
  #bound: ((value: number | bigint) => string) | undefined;
  constructor(locales?: unknown, given?: object) {
    const options = (given ?? {}) as Record<string, unknown>;
    const { locale, data } = resolve(locales);
    this.#locale = locale;
    this.#data = data;
    this.#style = choice(options, 'style', STYLES, 'decimal');
    this.#currency = options.currency === undefined ? undefined : String(options.currency).toUpperCase();
    if (this.#currency !== undefined && !/^[A-Z]{3}$/.test(this.#currency)) throw new RangeError(`Invalid currency code : ${String(options.currency)}`);
    if (this.#style === 'currency' && this.#currency === undefined) throw new TypeError('Currency code is required with currency style.');
    this.#currencyDisplay = choice(options, 'currencyDisplay', ['symbol', 'narrowSymbol', 'code', 'name'], 'symbol');
    this.#unit = options.unit === undefined ? undefined : String(options.unit);
    if (this.#unit !== undefined && !Object.hasOwn(data.units, this.#unit)) throw new RangeError(`Invalid unit argument for Intl.NumberFormat() '${this.#unit}'`);
    if (this.#style === 'unit' && this.#unit === undefined) throw new TypeError('Required unit must be a string');
    this.#unitDisplay = choice(options, 'unitDisplay', ['short', 'long', 'narrow'], 'short');
    this.#notation = choice(options, 'notation', NOTATIONS, 'standard');
    this.#compactDisplay = choice(options, 'compactDisplay', ['short', 'long'], 'short');
    this.#sign = choice(options, 'signDisplay', SIGNS, 'auto');
    this.#mode = choice(options, 'roundingMode', MODES, 'halfExpand');
    const { useGrouping } = options;
    if (useGrouping === undefined) this.#grouping = this.#notation === 'compact' ? 'min2' : 'auto';
    else if (useGrouping === true || useGrouping === 'always') this.#grouping = 'always';
    else if (useGrouping === false) this.#grouping = false;
    else this.#grouping = useGrouping === 'true' || useGrouping === 'false' ? 'auto' : choice<'auto' | 'min2'>(options, 'useGrouping', ['auto', 'min2'], 'auto');
    const money = this.#style === 'currency' && this.#notation === 'standard' ? currencyDigits(this.#currency as string) : undefined;
    const compact = this.#notation === 'compact';
    this.#digits = digitsOf(options, money ?? 0, money ?? (this.#style === 'percent' || compact ? 0 : 3));
    this.#loose = compact && !['minimumFractionDigits', 'maximumFractionDigits', 'minimumSignificantDigits', 'maximumSignificantDigits'].some((name) => options[name] !== undefined);
  }
  get format(): (value: number | bigint) => string {
    return (this.#bound ??= (value) => joined(this.formatToParts(value)));
  }
  formatToParts(given?: unknown): Part[] {
    const number = typeof given === 'bigint' ? given : Number(given);
    const body: Part[] = [];
    let written = '';
    let pattern = '0';
    const negative = number < 0 || Object.is(number, -0);
    if (Number.isNaN(number)) body.push({ type: 'nan', value: 'NaN' });
    else if (number === Number.POSITIVE_INFINITY || number === Number.NEGATIVE_INFINITY) body.push({ type: 'infinity', value: '∞' });
    else {
      const value = shifted(plain(number), this.#style === 'percent' ? 2 : 0);
      if (this.#notation === 'compact') ({ written, pattern } = this.#compact(value, negative));
      else if (this.#notation === 'scientific' || this.#notation === 'engineering') {
        const [digits, exponent] = this.#scientific(value, negative);
        written = digits;
        body.push(...this.#number(written), { type: 'exponentSeparator', value: 'E' });
        if (exponent < 0) body.push({ type: 'exponentMinusSign', value: '-' });
        body.push({ type: 'exponentInteger', value: String(Math.abs(exponent)) });
      } else written = fixed(value, this.#digits, this.#mode, negative);
      if (body.length === 0) body.push(...this.#number(written));
    }
    const zero = written !== '' && /^[0.]*$/.test(written);
    const sign = this.#signOf(negative, zero, body[0]?.type === 'nan');
    return this.#dressed(this.#abbreviated(body, pattern), sign, written);
  }
  #signOf(negative: boolean, zero: boolean, nan: boolean): '' | '-' | '+' {
    switch (this.#sign) {
      case 'never':
        return '';
      case 'always':
        return negative && !nan ? '-' : '+';
      case 'exceptZero':
        return zero || nan ? '' : negative ? '-' : '+';
      case 'negative':
        return negative && !zero ? '-' : '';
      default:
        return negative && !nan ? '-' : '';
    }
  }
  /** Digits with the locale's separators. */
  #number(text: string): Part[] {
    const { decimal, group, minimumGrouping } = this.#data.numbers;
    const [whole = '0', fraction = ''] = text.split('.');
    const least = this.#grouping === 'always' ? 1 : this.#grouping === 'min2' ? 2 : minimumGrouping;
    const parts: Part[] = [];
    if (this.#grouping !== false && whole.length >= 3 + least) {
      const lead = whole.length % 3 || 3;
      parts.push({ type: 'integer', value: whole.slice(0, lead) });
      for (let at = lead; at < whole.length; at += 3) parts.push({ type: 'group', value: group }, { type: 'integer', value: whole.slice(at, at + 3) });
    } else parts.push({ type: 'integer', value: whole });
    if (fraction !== '') parts.push({ type: 'decimal', value: decimal }, { type: 'fraction', value: fraction });
    return parts;
  }
  #written(value: string, negative: boolean): string {
    const two = { ...this.#digits, minimumSignificantDigits: 1, maximumSignificantDigits: 2 };
    return fixed(value, this.#loose && magnitudeOf(value) < 2 ? two : this.#digits, this.#mode, negative);
  }
  #compact(value: string, negative: boolean): { written: string; pattern: string } {
    const table = this.#compactDisplay === 'long' ? this.#data.numbers.compactLong : this.#data.numbers.compact;
    let magnitude = magnitudeOf(value);
    for (;;) {
      if (magnitude < 3) {
        const written = this.#written(value, negative);
        if (magnitudeOf(written) < 3) return { written, pattern: '0' };
        magnitude = 3;
      }
      const [digits, one, more = one] = table[Math.min(magnitude, 14) - 3] as [number, string, string?];
      const power = Math.min(magnitude, 14) - digits + 1;
      const written = this.#written(shifted(value, -power), negative);
      if (magnitude < 14 && magnitudeOf(written) >= digits) magnitude++;
      else return { written, pattern: one.includes('0') && pluralOf(this.#locale, written) === 'one' ? one : more };
    }
  }
  #scientific(value: string, negative: boolean): [string, number] {
    const step = this.#notation === 'engineering' ? 3 : 1;
    let exponent = Math.floor(magnitudeOf(value) / step) * step;
    let text = fixed(shifted(value, -exponent), this.#digits, this.#mode, negative);
    if (magnitudeOf(text) >= step) {
      exponent += step;
      text = fixed(shifted(value, -exponent), this.#digits, this.#mode, negative);
    }
    return [text, exponent];
  }
  #abbreviated(number: Part[], pattern: string): Part[] {
    const at = pattern.indexOf('0');
    const around = (text: string): Part[] => {
      const word = text.trim();
      if (word === '') return text === '' ? [] : [{ type: 'literal', value: text }];
      const [before = '', after = ''] = text.split(word);
      return [before && { type: 'literal', value: before }, { type: 'compact', value: word }, after && { type: 'literal', value: after }].filter(Boolean) as Part[];
    };
    return pattern === '0' ? number : [...around(pattern.slice(0, at)), ...number, ...around(pattern.slice(at + 1))];
  }
  /** The number with its sign, and its symbol or unit around it. */
  #dressed(number: Part[], sign: string, written: string): Part[] {
    const { numbers, units } = this.#data;
    const signed = (): Part[] => (sign === '' ? [] : [{ type: sign === '-' ? 'minusSign' : 'plusSign', value: sign }]);
    if (this.#style === 'decimal') return [...signed(), ...number];
    if (this.#style === 'unit') {
      const forms = (units[this.#unit as string] as LocaleData['units'][string])[this.#unitDisplay === 'long' ? 1 : 0];
      const pattern = pluralOf(this.#locale, written) === 'one' ? forms[0] : forms[1];
      return filled(pattern, [...signed(), ...number], this.#unit === 'percent' ? 'percentSign' : 'unit');
    }
    if (this.#style === 'percent') return [...signed(), ...filled(numbers.percent, number, 'percentSign')];
    const code = this.#currency as string;
    const [symbol, narrow, one, other] = numbers.symbols[code] ?? [code, code, code, code];
    if (this.#currencyDisplay === 'name') {
      const name = pluralOf(this.#locale, written) === 'one' ? one : other;
      return [...signed(), ...number, { type: 'literal', value: ' ' }, { type: 'currency', value: name }];
    }
    const text = this.#currencyDisplay === 'code' ? code : this.#currencyDisplay === 'narrowSymbol' ? narrow : symbol;
    const parts: Part[] = [];
    for (const piece of (numbers.currency[sign === '' ? 0 : 1] as string).match(/[¤0-]|[^¤0-]+/g) ?? []) {
      if (piece === '¤') parts.push({ type: 'currency', value: text });
      else if (piece === '0') parts.push(...number);
      else if (piece === '-') parts.push(...signed());
      else parts.push({ type: 'literal', value: piece });
    }
    // A symbol that ends in a letter keeps its distance from digits.
    const at = parts.findIndex((part) => part.type === 'currency');
    if (/\p{L}$/u.test(text) && parts[at + 1]?.type === 'integer') parts.splice(at + 1, 0, { type: 'literal', value: '\u00a0' });
    return parts;
  }
  formatRange(start: number, end: number): string {
    const [from, to] = [this.format(start), this.format(end)];
    return from === to ? `~${from}` : `${from}–${to}`;
  }
  resolvedOptions(): Record<string, unknown> {
    return {
      locale: this.#locale,
      numberingSystem: 'latn',
      style: this.#style,
      ...(this.#style === 'currency' ? { currency: this.#currency, currencyDisplay: this.#currencyDisplay, currencySign: 'standard' } : {}),
      ...(this.#style === 'unit' ? { unit: this.#unit, unitDisplay: this.#unitDisplay } : {}),
      ...this.#digits,
      useGrouping: this.#grouping,
      notation: this.#notation,
      ...(this.#notation === 'compact' ? { compactDisplay: this.#compactDisplay } : {}),
      signDisplay: this.#sign,
      roundingIncrement: 1,
      roundingMode: this.#mode,
      roundingPriority: 'auto',
      trailingZeroDisplay: 'auto',
    };
  }
  static supportedLocalesOf = supported;
}

/** A pattern with `0` for the number; the rest are words of `type`, and the spaces between. */
function filled(pattern: string, number: Part[], type: string): Part[] {
  const at = pattern.indexOf('0');
  if (at < 0) return number;
  const around = (text: string): Part[] =>
    (text.match(/[\s\u00a0\u202f]+|[^\s\u00a0\u202f].*[^\s\u00a0\u202f]|[^\s\u00a0\u202f]/g) ?? []).map((piece) => ({ type: /^[\s\u00a0\u202f]+$/.test(piece) ? 'literal' : type, value: piece }));
  return [...around(pattern.slice(0, at)), ...number, ...around(pattern.slice(at + 1))];
}

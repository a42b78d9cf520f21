// Intl.DateTimeFormat: the Gregorian calendar, patterns of intl.mjs.
import { choice, integer, joined, type LocaleData, type Part, resolve, supported } from './locale';
import { process } from '../node/process';
import { zoneOf, type Zone } from './zone';

const WIDTHS = ['narrow', 'short', 'long'] as const;
const NUMERIC = ['2-digit', 'numeric'] as const;
const STYLES = ['full', 'long', 'medium', 'short'] as const;
const ZONES = ['short', 'long', 'shortOffset', 'longOffset', 'shortGeneric', 'longGeneric'] as const;

type Fields = {
  weekday?: (typeof WIDTHS)[number] | undefined;
  year?: (typeof NUMERIC)[number] | undefined;
  month?: (typeof WIDTHS)[number] | (typeof NUMERIC)[number] | undefined;
  day?: (typeof NUMERIC)[number] | undefined;
  hour?: (typeof NUMERIC)[number] | undefined;
  minute?: (typeof NUMERIC)[number] | undefined;
  second?: (typeof NUMERIC)[number] | undefined;
  fractionalSecondDigits?: number | undefined;
  timeZoneName?: (typeof ZONES)[number] | undefined;
};

/** Which fields stand when none is asked for. */
export type Defaults = 'date' | 'time' | 'all';

/** Names of zones by language; every other zone goes by its distance from Greenwich. */
const ZONE_NAMES: Record<string, Record<string, string>> = {
  'en-US': Object.fromEntries('EST EDT CST CDT MST MDT PST PDT AKST AKDT HST'.split(' ').map((name) => [name, name])),
  'en-GB': { GMT: 'GMT', BST: 'BST', CET: 'CET', CEST: 'CEST', EET: 'EET', EEST: 'EEST', WET: 'WET', WEST: 'WEST' },
  es: { CET: 'CET', CEST: 'CEST' },
  it: { CET: 'CET', CEST: 'CEST' },
  nl: { CET: 'CET', CEST: 'CEST', EST: 'EST', EDT: 'EDT', CST: 'CST', CDT: 'CDT', MST: 'MST', MDT: 'MDT', PST: 'PST', PDT: 'PDT' },
  de: { CET: 'MEZ', CEST: 'MESZ', WET: 'WEZ', WEST: 'WESZ', EET: 'OEZ', EEST: 'OESZ', GMT: 'GMT' },
};

function fieldsOf(options: Record<string, unknown>): Fields {
  return {
    weekday: choice(options, 'weekday', WIDTHS),
    year: choice(options, 'year', NUMERIC),
    month: choice(options, 'month', [...NUMERIC, ...WIDTHS]),
    day: choice(options, 'day', NUMERIC),
    hour: choice(options, 'hour', NUMERIC),
    minute: choice(options, 'minute', NUMERIC),
    second: choice(options, 'second', NUMERIC),
    fractionalSecondDigits: integer(options, 'fractionalSecondDigits', 1, 3),
    timeZoneName: choice(options, 'timeZoneName', ZONES),
  };
}

/** The pattern of the date fields alone. */
function datePattern(data: LocaleData, fields: Fields): string {
  const { weekday, year, month, day } = fields;
  const named = month === undefined ? '' : month === 'long' ? 'MMMM' : month === 'short' || month === 'narrow' ? 'MMM' : 'M';
  const key = (weekday === undefined ? '' : weekday === 'long' ? 'EEEE' : 'EEE') + (year === undefined ? '' : 'y') + named + (day === undefined ? '' : 'd');
  let pattern = data.dates[key] ?? '';
  const widen = (letter: string) => (pattern = pattern.replace(new RegExp(`(?<!${letter})${letter}(?!${letter})(?=(?:[^']*'[^']*')*[^']*$)`), letter + letter));
  if (year === '2-digit') widen('y');
  if (month === '2-digit') widen('M');
  if (day === '2-digit') widen('d');
  if (month === 'narrow') pattern = pattern.replace('MMM', 'MMMMM');
  if (weekday === 'narrow') pattern = pattern.replace('EEE', 'EEEEE');
  return pattern;
}

function timePattern(data: LocaleData, fields: Fields, hour12: boolean): string {
  const { hour, minute, second, fractionalSecondDigits } = fields;
  let pattern = '';
  if (hour !== undefined) {
    const both = minute === '2-digit' ? ['mm', 'ss'] : ['m', 's'];
    const key = (hour12 ? 'h' : 'H') + (minute === undefined && second === undefined ? '' : both[0]) + (second === undefined ? '' : both[1]);
    pattern = data.times[key] ?? '';
    if (hour === '2-digit') pattern = pattern.replace(/(?<!h)h(?!h)/, 'hh').replace(/(?<!H)H(?!H)/, 'HH');
  } else if (minute !== undefined && second !== undefined) pattern = data.times.ms ?? 'mm:ss';
  else if (minute !== undefined) pattern = 'm';
  else if (second !== undefined) pattern = 's';
  if (fractionalSecondDigits !== undefined) {
    const digits = 'S'.repeat(fractionalSecondDigits);
    pattern = /s/.test(pattern) ? pattern.replace(/s+/, (found) => `${found}'${data.numbers.decimal}'${digits}`) : pattern === '' ? digits : `${pattern}:${digits}`;
  }
  return pattern;
}

const TYPES: Record<string, string> = { y: 'year', M: 'month', d: 'day', E: 'weekday', H: 'hour', h: 'hour', m: 'minute', s: 'second', S: 'fractionalSecond', a: 'dayPeriod', z: 'timeZoneName' };
const two = (value: number) => String(value).padStart(2, '0');

export class DateTimeFormat {
  readonly #locale: string;
  readonly #data: LocaleData;
  readonly #zone: Zone;
  readonly #fields: Fields;
  readonly #dateStyle: (typeof STYLES)[number] | undefined;
  readonly #timeStyle: (typeof STYLES)[number] | undefined;
  readonly #hour12: boolean;
  readonly #cycle: string | undefined;
  readonly #pattern: string;
  #bound: ((date?: Date | number) => string) | undefined;
  constructor(locales?: unknown, given?: object, defaults: Defaults = 'date', required: Defaults | 'any' = 'any') {
    const options = (given ?? {}) as Record<string, unknown>;
    const { locale, data, extensions } = resolve(locales);
    this.#locale = locale;
    this.#data = data;
    this.#zone = zoneOf(options.timeZone ?? process.env.TZ ?? 'UTC');
    this.#dateStyle = choice(options, 'dateStyle', STYLES);
    this.#timeStyle = choice(options, 'timeStyle', STYLES);
    const fields = fieldsOf(options);
    const dated = [fields.weekday, fields.year, fields.month, fields.day].some((field) => field !== undefined);
    const timed = [fields.hour, fields.minute, fields.second, fields.fractionalSecondDigits, options.dayPeriod].some((field) => field !== undefined);
    if (this.#dateStyle !== undefined || this.#timeStyle !== undefined) {
      if (dated || timed || fields.timeZoneName !== undefined) throw new TypeError("Can't set an option of a field when dateStyle or timeStyle is used");
    } else if ((required === 'date' && !dated) || (required === 'time' && !timed) || (required !== 'date' && required !== 'time' && !dated && !timed)) {
      if (defaults !== 'time') Object.assign(fields, { year: 'numeric', month: 'numeric', day: 'numeric' });
      if (defaults !== 'date') Object.assign(fields, { hour: 'numeric', minute: 'numeric', second: 'numeric' });
    }
    this.#fields = fields;
    this.#cycle = choice(options, 'hourCycle', ['h11', 'h12', 'h23', 'h24']) ?? extensions.hc;
    this.#hour12 = options.hour12 === undefined ? (this.#cycle === undefined ? data.hour12 : this.#cycle === 'h11' || this.#cycle === 'h12') : Boolean(options.hour12);
    this.#pattern = this.#compose();
  }
  #compose(): string {
    const data = this.#data;
    const quote = (text: string) => (text === '' ? '' : `'${text.replaceAll("'", "''")}'`);
    if (this.#dateStyle !== undefined || this.#timeStyle !== undefined) {
      const date = this.#dateStyle === undefined ? '' : (data.styles[STYLES.indexOf(this.#dateStyle)] as string);
      let time = this.#timeStyle === undefined ? '' : (data.timeStyles[STYLES.indexOf(this.#timeStyle)] as string);
      if (time !== '' && this.#hour12 !== data.hour12) {
        time = (data.times[(this.#hour12 ? 'h' : 'H') + (this.#timeStyle === 'short' ? 'm' : 'ms')] ?? time) + (time.includes('z') ? ' z' : '');
      }
      const style = this.#dateStyle === undefined ? 3 : STYLES.indexOf(this.#dateStyle);
      return date !== '' && time !== '' ? date + quote(data.joiners[style] as string) + time : date + time;
    }
    const date = datePattern(data, this.#fields);
    let time = timePattern(data, this.#fields, this.#hour12);
    if (this.#fields.timeZoneName !== undefined) time = time === '' ? 'z' : `${time} z`;
    if (date === '' || time === '') return date + time;
    if (time === 'z') return `${date}', 'z`;
    const { month, weekday, day } = this.#fields;
    const kind = month === 'long' ? 'MMMM' : month === 'short' || month === 'narrow' ? 'MMM' : month === undefined && weekday !== undefined && day === undefined ? 'E' : 'M';
    return date + quote(data.mixed[kind] ?? ', ') + time;
  }
  get format(): (date?: Date | number) => string {
    return (this.#bound ??= (date) => joined(this.formatToParts(date)));
  }
  formatToParts(date?: Date | number): Part[] {
    const time = date === undefined ? Date.now() : Number(date);
    if (!Number.isFinite(time) || Math.abs(time) > 8.64e15) throw new RangeError('Invalid time value');
    const stretch = this.#zone.at(time);
    const local = new Date(time + stretch.offset * 1000);
    const parts: Part[] = [];
    const put = (type: string, value: string) => {
      const last = parts.at(-1);
      if (type === 'literal' && last?.type === 'literal') last.value += value;
      else if (value !== '') parts.push({ type, value });
    };
    for (const [token, quoted, field] of this.#pattern.matchAll(/'((?:[^']|'')*)'|(([A-Za-z])\3*)|[^A-Za-z']+/g)) {
      if (quoted !== undefined) put('literal', quoted === '' ? "'" : quoted.replaceAll("''", "'"));
      else if (field === undefined) put('literal', token);
      else put(TYPES[token.charAt(0)] ?? 'literal', this.#value(token, local, stretch));
    }
    return parts;
  }
  #value(token: string, local: Date, stretch: { offset: number; abbreviation: string }): string {
    const { months, alone, days, periods } = this.#data;
    const name = (usual: string[], at: number) => ((this.#pattern === token ? alone[token] : undefined) ?? usual)[at] as string;
    const hours = local.getUTCHours();
    const year = local.getUTCFullYear();
    switch (token) {
      case 'y':
        return String(year > 0 ? year : 1 - year);
      case 'yy':
        return two(Math.abs(year) % 100);
      case 'M':
        return String(local.getUTCMonth() + 1);
      case 'MM':
        return two(local.getUTCMonth() + 1);
      case 'MMM':
        return name(months[1], local.getUTCMonth());
      case 'MMMM':
        return name(months[0], local.getUTCMonth());
      case 'MMMMM':
        return months[2][local.getUTCMonth()] as string;
      case 'd':
        return String(local.getUTCDate());
      case 'dd':
        return two(local.getUTCDate());
      case 'EEE':
        return name(days[1], local.getUTCDay());
      case 'EEEE':
        return days[0][local.getUTCDay()] as string;
      case 'EEEEE':
        return days[2][local.getUTCDay()] as string;
      case 'H':
      case 'HH': {
        const value = this.#cycle === 'h24' && hours === 0 ? 24 : hours;
        return token === 'HH' ? two(value) : String(value);
      }
      case 'h':
      case 'hh': {
        const value = this.#cycle === 'h11' ? hours % 12 : hours % 12 || 12;
        return token === 'hh' ? two(value) : String(value);
      }
      case 'm':
        return String(local.getUTCMinutes());
      case 'mm':
        return two(local.getUTCMinutes());
      case 's':
        return String(local.getUTCSeconds());
      case 'ss':
        return two(local.getUTCSeconds());
      case 'a':
        return periods[hours < 12 ? 0 : 1];
      case 'z':
        return this.#zoneName(stretch);
      default:
        return token.startsWith('S') ? String(local.getUTCMilliseconds()).padStart(3, '0').slice(0, token.length) : '';
    }
  }
  #zoneName(stretch: { offset: number; abbreviation: string }): string {
    const { gmt, utc } = this.#data;
    const style = this.#fields.timeZoneName ?? (this.#timeStyle === 'full' ? 'long' : 'short');
    if (style === 'long' && this.#zone.name === 'UTC') return utc;
    if (style === 'short') {
      if (this.#zone.name === 'UTC') return 'UTC';
      const language = this.#locale === 'en' ? 'en-US' : this.#locale;
      const names = ZONE_NAMES[language] ?? ZONE_NAMES[language.slice(0, 2)];
      const name = names?.[stretch.abbreviation];
      if (name !== undefined) return name;
    }
    if (stretch.offset === 0) return gmt;
    const minutes = Math.abs(Math.trunc(stretch.offset / 60));
    const sign = stretch.offset >= 0 ? '+' : gmt === 'UTC' ? '\u2212' : '-';
    const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
    return style.startsWith('long') ? `${gmt}${sign}${two(hours)}:${two(rest)}` : `${gmt}${sign}${hours}${rest === 0 ? '' : `:${two(rest)}`}`;
  }
  formatRange(start: Date | number, end: Date | number): string {
    return joined(this.formatRangeToParts(start, end));
  }
  /** Both ends whole: what they share is written twice. */
  formatRangeToParts(start: Date | number, end: Date | number): (Part & { source: string })[] {
    const as = (source: string) => (part: Part) => ({ ...part, source });
    const [from, to] = [this.formatToParts(start), this.formatToParts(end)];
    if (joined(from) === joined(to)) return from.map(as('shared'));
    return [...from.map(as('startRange')), { type: 'literal', value: ' – ', source: 'shared' }, ...to.map(as('endRange'))];
  }
  resolvedOptions(): Record<string, unknown> {
    const timed = this.#fields.hour !== undefined || this.#timeStyle !== undefined;
    const given = Object.fromEntries(Object.entries(this.#fields).filter(([, value]) => value !== undefined));
    return {
      locale: this.#locale,
      calendar: 'gregory',
      numberingSystem: 'latn',
      timeZone: this.#zone.name,
      ...(timed ? { hourCycle: this.#cycle ?? (this.#hour12 ? 'h12' : 'h23'), hour12: this.#hour12 } : {}),
      ...given,
      ...(this.#dateStyle === undefined ? {} : { dateStyle: this.#dateStyle }),
      ...(this.#timeStyle === undefined ? {} : { timeStyle: this.#timeStyle }),
    };
  }
  static supportedLocalesOf = supported;
}

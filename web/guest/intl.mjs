// Writes src/intl/data.json: what the prelude's Intl knows of a few languages, read off an engine that has all of
// Unicode's CLDR. Run it with Node (`node intl.mjs`) when the list of locales changes; the file is committed.
import { writeFileSync } from 'node:fs';

const LOCALES = ['en', 'en-GB', 'de', 'fr', 'es', 'it', 'pt', 'nl'];
// A day whose parts are one digit, and all different.
const DAY = Date.UTC(2031, 1, 5, 4, 7, 9);
const EVENING = Date.UTC(2031, 1, 5, 16, 7, 9);

const LETTER = { year: 'y', month: 'M', day: 'd', weekday: 'E', hour: 'h', minute: 'm', second: 's', dayPeriod: 'a', timeZoneName: 'z', era: 'G' };
/** The engine writes a plain space where CLDR has a narrow one, for the sake of programs that parse times. */
const spaced = (text) => text.replaceAll('\u202f', ' ');
const quoted = (text) => (/[A-Za-z]/.test(text) ? `'${text.replaceAll("'", "''")}'` : text.replaceAll("'", "''"));

/** The parts of a format as a pattern: yyyy yy, MM M MMM MMMM, dd d, EEE EEEE, HH H hh h, mm m, ss s, a, z. */
function pattern(locale, options) {
  const parts = new Intl.DateTimeFormat(locale, { timeZone: 'UTC', ...options }).formatToParts(DAY);
  const hour12 = parts.some((part) => part.type === 'dayPeriod');
  return parts
    .map(({ type, value }) => {
      if (type === 'literal') return quoted(spaced(value));
      const letter = type === 'hour' && !hour12 ? 'H' : LETTER[type];
      if (type === 'month' && !/^\d/.test(value)) return names(locale, 'month', 'long').includes(value) ? 'MMMM' : 'MMM';
      if (type === 'weekday') return names(locale, 'weekday', 'long').includes(value) ? 'EEEE' : 'EEE';
      if (type === 'year') return value.length === 2 ? 'yy' : 'y';
      return letter + (/^0\d/.test(value) ? letter : '');
    })
    .join('');
}

const cache = new Map();
/** Names as they stand inside a date. */
function names(locale, what, width) {
  const key = `${locale} ${what} ${width}`;
  if (!cache.has(key)) {
    const count = what === 'month' ? 12 : 7;
    const of = (n) => {
      const at = what === 'month' ? Date.UTC(2031, n, 5) : Date.UTC(2031, 5, 1 + n);
      const options = what === 'month' ? { month: width, day: 'numeric' } : { weekday: width, month: 'short', day: 'numeric' };
      return new Intl.DateTimeFormat(locale, { timeZone: 'UTC', ...options }).formatToParts(at).find(({ type }) => type === what).value;
    };
    cache.set(key, Array.from({ length: count }, (_, n) => of(n)));
  }
  return cache.get(key);
}
const alone = (locale, width) => Array.from({ length: 12 }, (_, n) => new Intl.DateTimeFormat(locale, { timeZone: 'UTC', month: width }).format(Date.UTC(2031, n, 5)));
const daysAlone = (locale, width) => Array.from({ length: 7 }, (_, n) => new Intl.DateTimeFormat(locale, { timeZone: 'UTC', weekday: width }).format(Date.UTC(2031, 5, 1 + n)));
const unless = (usual, other) => (JSON.stringify(usual) === JSON.stringify(other) ? undefined : other);

function dates(locale) {
  const out = {};
  for (const weekday of ['', 'short', 'long']) {
    for (const year of ['', 'numeric']) {
      for (const month of ['', 'numeric', 'short', 'long']) {
        for (const day of ['', 'numeric']) {
          if (!year && !month && !day && !weekday) continue;
          const options = Object.fromEntries(Object.entries({ weekday, year, month, day }).filter(([, value]) => value));
          const key = (weekday ? (weekday === 'long' ? 'EEEE' : 'EEE') : '') + (year ? 'y' : '') + { '': '', numeric: 'M', short: 'MMM', long: 'MMMM' }[month] + (day ? 'd' : '');
          out[key] = pattern(locale, options);
        }
      }
    }
  }
  return out;
}

function times(locale) {
  const out = {};
  for (const [key, options] of Object.entries({ h: { hour: 'numeric' }, hm: { hour: 'numeric', minute: 'numeric' }, hms: { hour: 'numeric', minute: 'numeric', second: 'numeric' }, hmm: { hour: 'numeric', minute: '2-digit' }, hmmss: { hour: 'numeric', minute: '2-digit', second: '2-digit' } })) {
    out[key] = pattern(locale, { ...options, hour12: true });
    out[key.replace('h', 'H')] = pattern(locale, { ...options, hourCycle: 'h23' });
  }
  out.ms = pattern(locale, { minute: 'numeric', second: 'numeric' });
  return out;
}

/** What stands between date and time. */
function joiner(locale, options) {
  const parts = new Intl.DateTimeFormat(locale, { timeZone: 'UTC', ...options }).formatToParts(DAY);
  const first = parts.findIndex(({ type }) => ['hour', 'minute', 'second'].includes(type));
  return parts[first - 1].value;
}

function relative(locale) {
  const out = {};
  for (const unit of ['second', 'minute', 'hour', 'day', 'week', 'month', 'quarter', 'year']) {
    for (const style of ['long', 'short']) {
      const always = new Intl.RelativeTimeFormat(locale, { style });
      const auto = new Intl.RelativeTimeFormat(locale, { style, numeric: 'auto' });
      const shape = (n) => always.formatToParts(n, unit).map((part) => (part.type === 'literal' ? part.value : '{0}')).join('').replace(/(\{0\})+/, '{0}');
      const words = {};
      for (const n of [-2, -1, 0, 1, 2]) {
        const told = auto.format(n, unit);
        if (told !== always.format(n, unit)) words[n] = told;
      }
      const forms = { one: [shape(-1), shape(1)], other: [shape(-5), shape(5)] };
      const many = [shape(-1e6), shape(1e6)];
      if (JSON.stringify(many) !== JSON.stringify(forms.other)) forms.many = many;
      out[unit + (style === 'short' ? '-short' : '')] = { ...forms, ...(Object.keys(words).length > 0 ? { words } : {}) };
    }
  }
  return out;
}

function lists(locale) {
  const out = {};
  for (const type of ['conjunction', 'disjunction', 'unit']) {
    for (const style of ['long', 'short', 'narrow']) {
      const format = new Intl.ListFormat(locale, { type, style });
      const gaps = (items) => format.formatToParts(items).filter((part) => part.type === 'literal').map((part) => part.value);
      const [pair] = gaps(['a', 'b']);
      const [start, , end] = gaps(['a', 'b', 'c', 'd']);
      out[`${type}-${style}`] = [pair ?? '', start ?? '', end ?? ''];
    }
  }
  return out;
}

function numbers(locale) {
  const parts = (options, n) => new Intl.NumberFormat(locale, options).formatToParts(n);
  const value = (list, type) => list.find((part) => part.type === type)?.value ?? '';
  const big = parts({}, -1234567.5);
  const small = parts({}, 1234).some((part) => part.type === 'group');
  const shape = (options, n) => parts(options, n).map((part) => ({ currency: '¤', percentSign: '%', minusSign: '-', literal: part.value }[part.type] ?? (part.type === 'integer' ? '0' : ''))).join('');
  const symbols = {};
  for (const code of ['USD', 'EUR', 'GBP', 'JPY', 'CNY', 'INR', 'KRW', 'BRL', 'CAD', 'AUD', 'CHF', 'MXN', 'NZD', 'SEK', 'NOK', 'DKK', 'PLN', 'CZK', 'ILS', 'VND', 'XAF', 'TWD', 'HKD', 'PHP']) {
    const symbol = value(parts({ style: 'currency', currency: code }, 1), 'currency');
    const narrow = value(parts({ style: 'currency', currency: code, currencyDisplay: 'narrowSymbol' }, 1), 'currency');
    const plural = (n) => value(parts({ style: 'currency', currency: code, currencyDisplay: 'name' }, n), 'currency');
    if (symbol !== code || narrow !== code) symbols[code] = [symbol, narrow, plural(1), plural(5)];
    else symbols[code] = [symbol, narrow, plural(1), plural(5)];
  }
  const compact = (compactDisplay) =>
    Array.from({ length: 12 }, (_, n) => {
      const list = parts({ notation: 'compact', compactDisplay, maximumFractionDigits: 0 }, 10 ** (n + 3));
      const digits = value(list, 'integer').length;
      const text = list.map((part) => (part.type === 'integer' ? '0' : part.type === 'group' ? '' : part.value)).join('');
      const plural = parts({ notation: 'compact', compactDisplay, maximumFractionDigits: 0 }, 5 * 10 ** (n + 3)).map((part) => (part.type === 'integer' ? '0' : part.type === 'group' ? '' : part.value)).join('');
      return plural === text ? [digits, text] : [digits, text, plural];
    });
  return {
    decimal: value(big, 'decimal'), group: value(big, 'group'), minimumGrouping: small ? 1 : 2,
    currency: [shape({ style: 'currency', currency: 'EUR', maximumFractionDigits: 0 }, 1), shape({ style: 'currency', currency: 'EUR', maximumFractionDigits: 0 }, -1)],
    code: shape({ style: 'currency', currency: 'EUR', currencyDisplay: 'code', maximumFractionDigits: 0 }, 1),
    percent: shape({ style: 'percent' }, 1), symbols, compact: compact('short'), compactLong: compact('long'),
  };
}

function units(locale) {
  const out = {};
  for (const unit of ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte', 'percent', 'second', 'minute', 'hour', 'day', 'week', 'month', 'year', 'millisecond', 'meter', 'kilometer', 'centimeter', 'millimeter', 'mile', 'foot', 'inch', 'gram', 'kilogram', 'pound', 'ounce', 'liter', 'milliliter', 'celsius', 'fahrenheit', 'degree', 'kilometer-per-hour', 'mile-per-hour']) {
    out[unit] = ['short', 'long'].map((unitDisplay) => [1, 5].map((n) => new Intl.NumberFormat(locale, { style: 'unit', unit, unitDisplay }).formatToParts(n).map((part) => (part.type === 'integer' ? '0' : part.value)).join('')));
  }
  return out;
}

const data = {};
for (const locale of LOCALES) {
  const style = (dateStyle) => pattern(locale, { dateStyle });
  data[locale] = {
    months: [names(locale, 'month', 'long'), names(locale, 'month', 'short'), alone(locale, 'narrow')],
    alone: { MMM: unless(names(locale, 'month', 'short'), alone(locale, 'short')), MMMM: unless(names(locale, 'month', 'long'), alone(locale, 'long')), EEE: unless(names(locale, 'weekday', 'short'), daysAlone(locale, 'short')) },
    days: [names(locale, 'weekday', 'long'), names(locale, 'weekday', 'short'), daysAlone(locale, 'narrow')],
    periods: [DAY, EVENING].map((at) => new Intl.DateTimeFormat(locale, { timeZone: 'UTC', hour: 'numeric', hour12: true }).formatToParts(at).find(({ type }) => type === 'dayPeriod').value),
    hour12: new Intl.DateTimeFormat(locale, { hour: 'numeric' }).resolvedOptions().hour12,
    dates: dates(locale),
    times: times(locale),
    styles: ['full', 'long', 'medium', 'short'].map(style),
    timeStyles: ['full', 'long', 'medium', 'short'].map((timeStyle) => pattern(locale, { timeStyle })),
    joiners: ['full', 'long', 'medium', 'short'].map((dateStyle) => joiner(locale, { dateStyle, timeStyle: 'short' })),
    mixed: { MMMM: joiner(locale, { year: 'numeric', month: 'long', day: 'numeric', hour: 'numeric' }), MMM: joiner(locale, { year: 'numeric', month: 'short', day: 'numeric', hour: 'numeric' }), M: joiner(locale, { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric' }), E: joiner(locale, { weekday: 'long', hour: 'numeric' }) },
    gmt: new Intl.DateTimeFormat(locale, { timeZone: 'Asia/Tashkent', hour: 'numeric', timeZoneName: 'short' }).formatToParts(DAY).find(({ type }) => type === 'timeZoneName').value.replace(/[+\d].*/, ''),
    utc: new Intl.DateTimeFormat(locale, { timeZone: 'UTC', hour: 'numeric', timeZoneName: 'long' }).formatToParts(DAY).find(({ type }) => type === 'timeZoneName').value,
    relative: relative(locale),
    lists: lists(locale),
    numbers: numbers(locale),
    units: units(locale),
  };
}
// A variant says only where it differs from its language.
const differences = (base, other) => Object.fromEntries(Object.entries(other).filter(([key, value]) => JSON.stringify(value) !== JSON.stringify(base[key])));
data['en-GB'] = differences(data.en, data['en-GB']);
writeFileSync(new URL('src/intl/data.json', import.meta.url), `${JSON.stringify(data)}\n`);

import assert from 'node:assert/strict';

const day = Date.UTC(2024, 1, 29, 13, 5, 9, 70);
const date = (locale, options) => new Intl.DateTimeFormat(locale, { timeZone: 'UTC', ...options }).format(day);
const number = (locale, value, options) => new Intl.NumberFormat(locale, options).format(value);
/** Engines differ in which space they write. */
const plain = (text) => text.replace(/[\u00a0\u202f\u2009]/g, ' ');

export function dates_in_some_languages() {
  for (const [locale, options, expected] of [
    ['en-US', {}, '2/29/2024'],
    ['en-US', { dateStyle: 'full', timeStyle: 'short' }, 'Thursday, February 29, 2024 at 1:05 PM'],
    ['en-US', { weekday: 'short', month: 'short', day: 'numeric' }, 'Thu, Feb 29'],
    ['en-US', { year: 'numeric', month: '2-digit', day: '2-digit' }, '02/29/2024'],
    ['en-US', { hour: 'numeric', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 }, '1:05:09.070 PM'],
    ['en-GB', { dateStyle: 'medium', timeStyle: 'short' }, '29 Feb 2024, 13:05'],
    ['de-DE', {}, '29.2.2024'],
    ['de-DE', { dateStyle: 'long' }, '29. Februar 2024'],
    ['de-AT', { weekday: 'long' }, 'Donnerstag'],
    ['fr-FR', { year: 'numeric', month: 'long', day: 'numeric' }, '29 février 2024'],
    ['es-ES', { month: 'long', year: 'numeric' }, 'febrero de 2024'],
    ['it-IT', { dateStyle: 'short', timeStyle: 'short' }, '29/02/24, 13:05'],
    ['pt-BR', { dateStyle: 'long' }, '29 de fevereiro de 2024'],
    ['nl-NL', { dateStyle: 'full' }, 'donderdag 29 februari 2024'],
  ]) {
    assert.equal(plain(date(locale, options)), expected, `${locale} ${JSON.stringify(options)}`);
  }
}

export function dates_in_other_places() {
  const at = (time, timeZone, options = {}) => plain(new Intl.DateTimeFormat('en-US', { timeZone, dateStyle: 'short', timeStyle: 'short', ...options }).format(time));
  assert.equal(at(day, 'Europe/Berlin'), '2/29/24, 2:05 PM');
  assert.equal(at(day, 'Asia/Kolkata'), '2/29/24, 6:35 PM');
  assert.equal(at(day, 'America/Los_Angeles'), '2/29/24, 5:05 AM');
  // Around the hour that summer time skips and the one that it repeats.
  assert.equal(at(Date.UTC(2024, 2, 31, 0, 59), 'Europe/Berlin'), '3/31/24, 1:59 AM');
  assert.equal(at(Date.UTC(2024, 2, 31, 1, 0), 'Europe/Berlin'), '3/31/24, 3:00 AM');
  assert.equal(at(Date.UTC(2024, 9, 27, 0, 59), 'Europe/Berlin'), '10/27/24, 2:59 AM');
  assert.equal(at(Date.UTC(2024, 9, 27, 1, 0), 'Europe/Berlin'), '10/27/24, 2:00 AM');
  const named = (timeZone, timeZoneName) => plain(new Intl.DateTimeFormat('en-US', { timeZone, hour: 'numeric', timeZoneName }).format(day));
  assert.equal(named('America/New_York', 'short'), '8 AM EST');
  assert.equal(named('Asia/Kolkata', 'short'), '6 PM GMT+5:30');
  assert.equal(named('Europe/Berlin', 'longOffset'), '2 PM GMT+01:00');
  assert.equal(named('UTC', 'long'), '1 PM Coordinated Universal Time');
  assert.throws(() => new Intl.DateTimeFormat('en', { timeZone: 'Nowhere/Here' }), RangeError);
  assert.ok(Intl.supportedValuesOf('timeZone').includes('Europe/Berlin'));
}

export function dates_in_parts() {
  const parts = new Intl.DateTimeFormat('en-US', { timeZone: 'UTC', year: 'numeric', month: 'short', day: 'numeric' }).formatToParts(day);
  assert.deepEqual(parts.map(({ type, value }) => `${type}:${value}`), ['month:Feb', 'literal: ', 'day:29', 'literal:, ', 'year:2024']);
  const options = new Intl.DateTimeFormat('de', { timeZone: 'Europe/Berlin', hour: 'numeric' }).resolvedOptions();
  assert.deepEqual([options.locale, options.timeZone, options.hourCycle, options.calendar], ['de', 'Europe/Berlin', 'h23', 'gregory']);
  assert.throws(() => new Intl.DateTimeFormat('en').format(Number.NaN), RangeError);
  assert.throws(() => new Intl.DateTimeFormat('en', { dateStyle: 'short', year: 'numeric' }), TypeError);
}

export function dates_speak_for_themselves() {
  const at = new Date(day);
  assert.equal(plain(at.toLocaleString('en-US', { timeZone: 'UTC' })), '2/29/2024, 1:05:09 PM');
  assert.equal(at.toLocaleDateString('de-DE', { timeZone: 'UTC' }), '29.2.2024');
  assert.equal(at.toLocaleTimeString('de-DE', { timeZone: 'UTC', timeStyle: 'short' }), '13:05');
  assert.equal(plain(at.toLocaleDateString('en-US', { timeZone: 'UTC', hour: 'numeric' })), '2/29/2024, 1 PM');
  assert.equal(new Date(Number.NaN).toLocaleString(), 'Invalid Date');
}

export function numbers_in_some_languages() {
  for (const [locale, value, options, expected] of [
    ['en-US', 1234567.891, {}, '1,234,567.891'],
    ['de-DE', 1234567.891, {}, '1.234.567,891'],
    ['fr-FR', 1234567.891, {}, '1 234 567,891'],
    ['es-ES', 1234.5, {}, '1234,5'],
    ['es-ES', 12345.5, {}, '12.345,5'],
    ['en-US', 0.125, { style: 'percent', maximumFractionDigits: 1 }, '12.5%'],
    ['de-DE', 0.5, { style: 'percent' }, '50 %'],
    ['en-US', -5.5, { style: 'currency', currency: 'USD' }, '-$5.50'],
    ['de-DE', 1234.5, { style: 'currency', currency: 'EUR' }, '1.234,50 €'],
    ['fr-FR', 1234.5, { style: 'currency', currency: 'EUR' }, '1 234,50 €'],
    ['en-US', 1234.5, { style: 'currency', currency: 'JPY' }, '¥1,235'],
    ['en-US', 2, { style: 'currency', currency: 'USD', currencyDisplay: 'name' }, '2.00 US dollars'],
    ['en-US', 5, { style: 'currency', currency: 'CHF' }, 'CHF 5.00'],
    ['en-US', 1234567, { notation: 'compact' }, '1.2M'],
    ['de-DE', 1234567, { notation: 'compact', compactDisplay: 'long' }, '1,2 Millionen'],
    ['en-US', 999950, { notation: 'compact' }, '1M'],
    ['en-US', 0.000012345, { maximumSignificantDigits: 3 }, '0.0000123'],
    ['en-US', 123456, { maximumSignificantDigits: 3 }, '123,000'],
    ['en-US', 1, { minimumFractionDigits: 2 }, '1.00'],
    ['en-US', 1.005, { maximumFractionDigits: 2 }, '1.01'],
    ['en-US', 5, { signDisplay: 'always' }, '+5'],
    ['en-US', 16, { style: 'unit', unit: 'kilometer-per-hour' }, '16 km/h'],
    ['en-US', 1, { style: 'unit', unit: 'byte', unitDisplay: 'long' }, '1 byte'],
    ['en-US', 123456, { notation: 'scientific' }, '1.235E5'],
    ['en-US', 12345678901234567890n, {}, '12,345,678,901,234,567,890'],
    ['en-US', Number.NaN, {}, 'NaN'],
    ['en-US', -0, {}, '-0'],
  ]) {
    assert.equal(plain(number(locale, value, options)), expected, `${locale} ${value} ${JSON.stringify(options)}`);
  }
  assert.equal((1234.5).toLocaleString('en-US'), '1,234.5');
  assert.throws(() => new Intl.NumberFormat('en', { style: 'currency' }), TypeError);
  assert.throws(() => new Intl.NumberFormat('en', { maximumFractionDigits: 101 }), RangeError);
  assert.throws(() => new Intl.NumberFormat('not a locale'), RangeError);
}

export function plurals_lists_and_times_ago() {
  const rules = (locale, options, values) => values.map((value) => new Intl.PluralRules(locale, options).select(value));
  assert.deepEqual(rules('en', { type: 'ordinal' }, [1, 2, 3, 4, 11, 12, 13, 21, 112]), ['one', 'two', 'few', 'other', 'other', 'other', 'other', 'one', 'other']);
  assert.deepEqual(rules('en', {}, [0, 1, 1.5, 2]), ['other', 'one', 'other', 'other']);
  assert.deepEqual(rules('fr', {}, [0, 1, 1.5, 2, 1e6]), ['one', 'one', 'one', 'other', 'many']);
  assert.equal(new Intl.ListFormat('en', { type: 'conjunction' }).format(['a', 'b', 'c']), 'a, b, and c');
  assert.equal(new Intl.ListFormat('de', { type: 'disjunction' }).format(['a', 'b', 'c']), 'a, b oder c');
  const ago = (locale, ...rest) => new Intl.RelativeTimeFormat(locale, { numeric: 'auto' }).format(...rest);
  assert.deepEqual([ago('en', -1, 'day'), ago('en', 3, 'weeks'), ago('de', -2, 'month'), ago('es', 1, 'year'), ago('fr', -1500, 'second')].map(plain), ['yesterday', 'in 3 weeks', 'vor 2 Monaten', 'el próximo año', 'il y a 1 500 secondes']);
}

export function texts_sort_as_people_do() {
  const sorted = (words, options) => [...words].sort(new Intl.Collator('en', options).compare);
  assert.deepEqual(sorted(['Zebra', 'apple', 'Äpfel', 'apfel', 'éclair', 'Eclair', 'zebra', '_x', '10', '9']), ['_x', '10', '9', 'apfel', 'Äpfel', 'apple', 'Eclair', 'éclair', 'zebra', 'Zebra']);
  assert.deepEqual(sorted(['item 10', 'item 2', 'Item 1'], { numeric: true }), ['Item 1', 'item 2', 'item 10']);
  assert.equal(new Intl.Collator('de', { sensitivity: 'base' }).compare('Ä', 'a'), 0);
  assert.deepEqual(['a'.localeCompare('b'), 'a'.localeCompare('A'), 'résumé'.localeCompare('resume')], [-1, -1, 1]);
}

// Intl, as far as it goes here: see README for what is not there. toLocaleString() and localeCompare() follow it.
import { tag } from '../host';
import { DateTimeFormat, type Defaults } from './date';
import { canonicalList } from './locale';
import { NumberFormat, PluralRules } from './number';
import { Collator, ListFormat, Locale, RelativeTimeFormat } from './text';
import { zoneNames } from './zone';

/** Formats may be called without `new`, except the younger ones. */
function callable<T extends new (...args: never[]) => object>(type: T, name: string): T {
  const made = new Proxy(type, { apply: (target, _, args) => Reflect.construct(target, args) as object });
  Object.defineProperty(type.prototype, 'constructor', { value: made, writable: true, configurable: true });
  tag(type, `Intl.${name}`);
  return made;
}

const CURRENCIES = 'AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS INR JPY KRW MXN NOK NZD PHP PLN SEK TWD USD VND XAF'.split(' ');

const members = {
  Collator: callable(Collator, 'Collator'),
  DateTimeFormat: callable(DateTimeFormat, 'DateTimeFormat'),
  ListFormat,
  Locale,
  NumberFormat: callable(NumberFormat, 'NumberFormat'),
  PluralRules,
  RelativeTimeFormat,
  getCanonicalLocales: canonicalList,
  supportedValuesOf(key: string): string[] {
    switch (key) {
      case 'timeZone':
        return zoneNames();
      case 'currency':
        return [...CURRENCIES];
      case 'calendar':
        return ['gregory'];
      case 'numberingSystem':
        return ['latn'];
      case 'collation':
        return ['default'];
      case 'unit':
        return ['byte', 'day', 'hour', 'kilogram', 'kilometer', 'liter', 'meter', 'minute', 'month', 'second', 'week', 'year'];
      default:
        throw new RangeError(`Invalid key : ${key}`);
    }
  },
};
tag(ListFormat, 'Intl.ListFormat');
tag(PluralRules, 'Intl.PluralRules');
tag(RelativeTimeFormat, 'Intl.RelativeTimeFormat');
tag(Locale, 'Intl.Locale');

const Intl = Object.create(Object.prototype, { [Symbol.toStringTag]: { value: 'Intl', configurable: true } }) as object;
for (const [name, value] of Object.entries(members)) Object.defineProperty(Intl, name, { value, writable: true, configurable: true });
Object.defineProperty(globalThis, 'Intl', { value: Intl, writable: true, configurable: true });

function method(owner: object, name: string, value: (this: never, locales?: unknown, options?: object) => string): void {
  Object.defineProperty(owner, name, { value, writable: true, configurable: true });
}

const dateMethod = (defaults: Defaults, required: Defaults | 'any') =>
  function (this: Date, locales?: unknown, options?: object): string {
    const time = this.getTime();
    return Number.isNaN(time) ? 'Invalid Date' : new DateTimeFormat(locales, options, defaults, required).format(time);
  };
method(Date.prototype, 'toLocaleString', dateMethod('all', 'any'));
method(Date.prototype, 'toLocaleDateString', dateMethod('date', 'date'));
method(Date.prototype, 'toLocaleTimeString', dateMethod('time', 'time'));

const plain = new NumberFormat();
method(Number.prototype, 'toLocaleString', function (this: number, locales, options) {
  const value = Number.prototype.valueOf.call(this);
  return locales === undefined && options === undefined ? plain.format(value) : new NumberFormat(locales, options).format(value);
});
method(BigInt.prototype, 'toLocaleString', function (this: bigint, locales, options) {
  return new NumberFormat(locales, options).format(BigInt.prototype.valueOf.call(this));
});
const usual = new Collator();
Object.defineProperty(String.prototype, 'localeCompare', {
  value: function (this: string, other: string, locales?: unknown, options?: object): number {
    const collator = locales === undefined && options === undefined ? usual : new Collator(locales, options);
    return collator.compare(String(this), other);
  },
  writable: true,
  configurable: true,
});

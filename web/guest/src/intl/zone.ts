// Time zones: the host has the database, a stretch of time with one offset is remembered here.
import { host, Op } from '../host';

export interface Stretch {
  /** Seconds east of Greenwich. */
  offset: number;
  abbreviation: string;
  dst: boolean;
  /** Milliseconds; null for ever. */
  from: number | null;
  until: number | null;
}

const UTC = new Set(['utc', 'etc/utc', 'gmt', 'etc/gmt', 'etc/universal', 'etc/zulu', 'universal', 'zulu', 'etc/greenwich', 'greenwich']);
const FIXED = /^([+-])(\d{2})(?::?(\d{2}))?$/;
const fixedStretch = (offset: number): Stretch => ({ offset, abbreviation: '', dst: false, from: null, until: null });

const ask = (name: string, at: number): Stretch & { name: string } => JSON.parse(host.text(Op.zone, 0, JSON.stringify({ name, at })));

export class Zone {
  readonly name: string;
  #last: Stretch | undefined;
  constructor(given: unknown) {
    const text = String(given);
    const fixed = FIXED.exec(text);
    if (fixed !== null && Number(fixed[2]) < 24 && Number(fixed[3] ?? 0) < 60) {
      const seconds = (Number(fixed[2]) * 60 + Number(fixed[3] ?? 0)) * 60;
      this.name = `${seconds === 0 ? '+' : fixed[1]}${fixed[2]}:${fixed[3] ?? '00'}`;
      this.#last = fixedStretch(fixed[1] === '-' ? -seconds : seconds);
    } else if (UTC.has(text.toLowerCase())) {
      this.name = 'UTC';
      this.#last = fixedStretch(0);
    } else {
      try {
        this.#last = ask(text, 0);
        this.name = (this.#last as Stretch & { name: string }).name;
      } catch {
        throw new RangeError(`Invalid time zone specified: ${text}`);
      }
    }
  }
  at(time: number): Stretch {
    const last = this.#last;
    if (last !== undefined && (last.from === null || time >= last.from) && (last.until === null || time < last.until)) return last;
    return (this.#last = ask(this.name, time));
  }
}

const zones = new Map<unknown, Zone>();
const MOST_ZONES = 64;

export function zoneOf(given: unknown): Zone {
  const known = zones.get(given);
  if (known !== undefined) return known;
  const zone = new Zone(given);
  if (zones.size >= MOST_ZONES) zones.clear();
  if (typeof given === 'string') zones.set(given, zone);
  return zone;
}

export const zoneNames = (): string[] => host.text(Op.zone, 1).split('\n');

import { host, install, tag } from '../host';

let origin = 0;
let epoch = 0;
/** Called once an instance begins: the snapshot's clock was another machine's. */
export function startClock(): void {
  origin = host.now();
  epoch = Date.now();
}
export const sinceStart = (): number => host.now() - origin;

interface Entry {
  name: string;
  entryType: string;
  startTime: number;
  duration: number;
  detail: unknown;
}
let entries: Entry[] = [];
const named = (name: string, type: string) => entries.find((one) => one.name === name && one.entryType === type);

class Performance {
  get timeOrigin() {
    return epoch;
  }
  now() {
    return sinceStart();
  }
  mark(name: string, options: { startTime?: number; detail?: unknown } = {}) {
    const entry = { name, entryType: 'mark', startTime: options.startTime ?? sinceStart(), duration: 0, detail: options.detail ?? null };
    // A function that marks for ever must not keep everything.
    if (entries.length < 10_000) entries.push(entry);
    return entry;
  }
  measure(name: string, from?: string, to?: string) {
    const startTime = from === undefined ? 0 : (named(from, 'mark')?.startTime ?? 0);
    const end = to === undefined ? sinceStart() : (named(to, 'mark')?.startTime ?? sinceStart());
    const entry = { name, entryType: 'measure', startTime, duration: end - startTime, detail: null };
    if (entries.length < 10_000) entries.push(entry);
    return entry;
  }
  getEntries() {
    return [...entries];
  }
  getEntriesByName(name: string, type?: string) {
    return entries.filter((one) => one.name === name && (type === undefined || one.entryType === type));
  }
  getEntriesByType(type: string) {
    return entries.filter((one) => one.entryType === type);
  }
  clearMarks(name?: string) {
    entries = entries.filter((one) => one.entryType !== 'mark' || (name !== undefined && one.name !== name));
  }
  clearMeasures(name?: string) {
    entries = entries.filter((one) => one.entryType !== 'measure' || (name !== undefined && one.name !== name));
  }
  toJSON() {
    return { timeOrigin: epoch };
  }
}
tag(Performance, 'Performance');
install({ performance: new Performance(), Performance });

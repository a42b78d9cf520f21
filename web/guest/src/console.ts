// One call, one entry: the host keeps level, time and request beside the text.
import { host, install, Op, tag } from './host';
import { formatWith, frames, inspectValue, type InspectOptions } from './inspect';
import { sinceStart } from './web/performance';

const LEVEL = { debug: 0, info: 1, log: 2, warn: 3, error: 4 } as const;
const counts = new Map<string, number>();
const clocks = new Map<string, number>();
let indent = '';

function emit(level: keyof typeof LEVEL, args: unknown[]): void {
  const text = formatWith({}, args);
  host.bytes(Op.log, LEVEL[level], indent === '' ? text : indent + text.replaceAll('\n', `\n${indent}`));
}

function table(data: unknown): string | null {
  if (typeof data !== 'object' || data === null) return null;
  const rows = Array.isArray(data) ? data.map((row, i) => [String(i), row] as const) : Object.entries(data);
  const columns: string[] = [];
  let values = false;
  for (const [, row] of rows) {
    if (typeof row === 'object' && row !== null) {
      for (const key of Object.keys(row)) if (!columns.includes(key)) columns.push(key);
    } else values = true;
  }
  const head = ['(index)', ...columns, ...(values ? ['Values'] : [])];
  const cells = rows.map(([index, row]) => {
    const whole = typeof row !== 'object' || row === null;
    const fields = columns.map((key) => (!whole && key in (row as object) ? inspectValue((row as Record<string, unknown>)[key], { depth: 0 }) : ''));
    return [index, ...fields, ...(values ? [whole ? inspectValue(row, { depth: 0 }) : ''] : [])];
  });
  const widths = head.map((title, i) => Math.max(title.length, ...cells.map((row) => (row[i] as string).length)) + 2);
  const line = (left: string, middle: string, right: string) => left + widths.map((w) => '─'.repeat(w)).join(middle) + right;
  const row = (items: string[]) => `│${items.map((item, i) => ` ${item}`.padEnd(widths[i] as number)).join('│')}│`;
  return [line('┌', '┬', '┐'), row(head), line('├', '┼', '┤'), ...cells.map(row), line('└', '┴', '┘')].join('\n');
}

const console = {
  log: (...args: unknown[]) => emit('log', args),
  info: (...args: unknown[]) => emit('info', args),
  debug: (...args: unknown[]) => emit('debug', args),
  warn: (...args: unknown[]) => emit('warn', args),
  error: (...args: unknown[]) => emit('error', args),
  trace: (...args: unknown[]) => {
    const text = formatWith({}, args);
    emit('error', [`Trace${text === '' ? '' : `: ${text}`}\n${frames(new Error().stack ?? '')}`]);
  },
  assert: (condition: unknown, ...args: unknown[]) => {
    if (condition) return;
    if (typeof args[0] === 'string') emit('warn', [`Assertion failed: ${args[0]}`, ...args.slice(1)]);
    else emit('warn', ['Assertion failed', ...args]);
  },
  dir: (value: unknown, options?: InspectOptions) => emit('log', [inspectValue(value, { ...options, customInspect: false })]),
  dirxml: (...args: unknown[]) => emit('log', args),
  table: (data: unknown) => emit('log', [table(data) ?? data]),
  count: (label: unknown = 'default') => {
    const name = String(label);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    emit('log', [`${name}: ${counts.get(name)}`]);
  },
  countReset: (label: unknown = 'default') => void counts.delete(String(label)),
  group: (...args: unknown[]) => {
    if (args.length > 0) emit('log', args);
    indent += '  ';
  },
  groupCollapsed: (...args: unknown[]) => console.group(...args),
  groupEnd: () => {
    indent = indent.slice(2);
  },
  time: (label: unknown = 'default') => void clocks.set(String(label), sinceStart()),
  timeLog: (label: unknown = 'default', ...args: unknown[]) => {
    const began = clocks.get(String(label));
    if (began === undefined) emit('warn', [`No such label '${String(label)}' for console.timeLog()`]);
    else emit('log', [`${String(label)}: ${elapsed(sinceStart() - began)}`, ...args]);
  },
  timeEnd: (label: unknown = 'default') => {
    const began = clocks.get(String(label));
    if (began === undefined) emit('warn', [`No such label '${String(label)}' for console.timeEnd()`]);
    else emit('log', [`${String(label)}: ${elapsed(sinceStart() - began)}`]);
    clocks.delete(String(label));
  },
  clear: () => {},
};
const elapsed = (ms: number) => (ms >= 1000 ? `${(ms / 1000).toFixed(3)}s` : `${ms.toFixed(3)}ms`);
void tag;
install({ console });
export { console };

import { inspectValue } from '../inspect';
import { equalDeep } from './util';

interface Details {
  message?: string | Error;
  actual?: unknown;
  expected?: unknown;
  operator?: string;
}
class AssertionError extends Error {
  readonly code = 'ERR_ASSERTION';
  readonly actual: unknown;
  readonly expected: unknown;
  readonly operator: string;
  readonly generatedMessage: boolean;
  constructor(details: Details) {
    super(details.message === undefined ? `${inspectValue(details.actual)} ${details.operator ?? ''} ${inspectValue(details.expected)}` : String(details.message));
    this.name = 'AssertionError';
    this.actual = details.actual;
    this.expected = details.expected;
    this.operator = details.operator ?? 'fail';
    this.generatedMessage = details.message === undefined;
  }
}

type Message = string | Error | undefined;
function check(passed: unknown, message: Message, usual: string, details: Details): void {
  if (passed) return;
  if (message instanceof Error) throw message;
  const error = new AssertionError({ ...details, message: message ?? usual });
  throw error;
}
const show = (value: unknown) => inspectValue(value, { depth: 4 });
const pair = (title: string, actual: unknown, expected: unknown) => `${title}\n\n${show(actual)} !== ${show(expected)}\n`;

function matches(error: unknown, expected: unknown): boolean {
  if (expected === undefined) return true;
  if (expected instanceof RegExp) return expected.test(String(error));
  if (typeof expected === 'function') {
    if (expected.prototype !== undefined && error instanceof expected) return true;
    if (Error.isPrototypeOf(expected)) return false;
    return (expected as (error: unknown) => unknown).call({}, error) === true;
  }
  return Object.entries(expected as object).every(([key, value]) => {
    const actual = (error as Record<string, unknown>)[key];
    return value instanceof RegExp && typeof actual === 'string' ? value.test(actual) : equalDeep(actual, value, true);
  });
}
function thrown(error: unknown, expected: unknown, message: Message): void {
  if (typeof expected === 'string' || matches(error, expected)) return;
  if (expected instanceof RegExp || typeof expected === 'object') {
    throw new AssertionError({ message: message ?? `The error ${show(error)} does not match ${show(expected)}`, actual: error, expected, operator: 'throws' });
  }
  throw error;
}

function make(strictly: boolean) {
  const ok = (value: unknown, message?: Message) => check(value, message, 'The expression evaluated to a falsy value', { actual: value, expected: true, operator: '==' });
  const strictEqual = (a: unknown, b: unknown, message?: Message) => check(Object.is(a, b), message, pair('Expected values to be strictly equal:', a, b), { actual: a, expected: b, operator: 'strictEqual' });
  const notStrictEqual = (a: unknown, b: unknown, message?: Message) => check(!Object.is(a, b), message, `Expected "actual" to be strictly unequal to: ${show(b)}`, { actual: a, expected: b, operator: 'notStrictEqual' });
  const deep = (strict: boolean, wanted: boolean, operator: string) => (a: unknown, b: unknown, message?: Message) =>
    check(equalDeep(a, b, strict) === wanted, message, pair(`Expected values to be ${wanted ? '' : 'not '}${strict ? 'strictly' : 'loosely'} deep-equal:`, a, b), { actual: a, expected: b, operator });
  const looseEqual = (a: unknown, b: unknown, message?: Message) => check(a == b || (a !== a && b !== b), message, `${show(a)} == ${show(b)}`, { actual: a, expected: b, operator: '==' });
  const looseUnequal = (a: unknown, b: unknown, message?: Message) => check(a != b, message, `${show(a)} != ${show(b)}`, { actual: a, expected: b, operator: '!=' });
  const members = {
    ok,
    AssertionError,
    fail: (message: Message = 'Failed') => check(false, message, 'Failed', { operator: 'fail' }),
    strictEqual,
    notStrictEqual,
    deepStrictEqual: deep(true, true, 'deepStrictEqual'),
    notDeepStrictEqual: deep(true, false, 'notDeepStrictEqual'),
    equal: strictly ? strictEqual : looseEqual,
    notEqual: strictly ? notStrictEqual : looseUnequal,
    deepEqual: deep(strictly, true, 'deepEqual'),
    notDeepEqual: deep(strictly, false, 'notDeepEqual'),
    match: (text: string, pattern: RegExp, message?: Message) => check(pattern.test(text), message, `The input did not match ${pattern}. Input: ${show(text)}`, { actual: text, expected: pattern, operator: 'match' }),
    doesNotMatch: (text: string, pattern: RegExp, message?: Message) => check(!pattern.test(text), message, `The input was expected to not match ${pattern}. Input: ${show(text)}`, { actual: text, expected: pattern, operator: 'doesNotMatch' }),
    ifError: (value: unknown) => {
      if (value !== null && value !== undefined) throw value instanceof Error ? value : new AssertionError({ message: `ifError got unwanted exception: ${show(value)}`, actual: value });
    },
    throws: (run: () => unknown, expected?: unknown, message?: Message) => {
      try {
        run();
      } catch (error) {
        return thrown(error, expected, message);
      }
      throw new AssertionError({ message: message ?? (typeof expected === 'string' ? expected : 'Missing expected exception.'), operator: 'throws' });
    },
    doesNotThrow: (run: () => unknown, message?: Message) => {
      try {
        run();
      } catch (error) {
        throw new AssertionError({ message: message ?? `Got unwanted exception.\nActual message: "${(error as Error)?.message}"`, actual: error, operator: 'doesNotThrow' });
      }
    },
    rejects: async (from: Promise<unknown> | (() => Promise<unknown>), expected?: unknown, message?: Message) => {
      try {
        await (typeof from === 'function' ? from() : from);
      } catch (error) {
        return thrown(error, expected, message);
      }
      throw new AssertionError({ message: message ?? 'Missing expected rejection.', operator: 'rejects' });
    },
    doesNotReject: async (from: Promise<unknown> | (() => Promise<unknown>), message?: Message) => {
      try {
        await (typeof from === 'function' ? from() : from);
      } catch (error) {
        throw new AssertionError({ message: message ?? `Got unwanted rejection.\nActual message: "${(error as Error)?.message}"`, actual: error, operator: 'doesNotReject' });
      }
    },
  };
  return Object.assign((value: unknown, message?: Message) => ok(value, message), members);
}
const strict = make(true);
const assert = Object.assign(make(false), { strict });
export default assert;

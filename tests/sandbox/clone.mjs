import assert from 'node:assert/strict';

const clone = (value, options) => structuredClone(value, options);

export function values_are_cloned_with_their_kind() {
  const shared = new ArrayBuffer(8);
  const value = {
    text: 'ä\ud800', big: 12n, nan: Number.NaN, zero: -0, nothing: undefined, no: null,
    date: new Date(5), regexp: /a(b)?/giu, map: new Map([[{ k: 1 }, new Set([1, 'x'])]]), boxed: [new Number(1), new String('s'), new Boolean(false), Object(3n)],
    bytes: new Uint8Array(shared, 2, 3), view: new DataView(shared, 1, 4), floats: new Float64Array([0.5]), bigs: new BigInt64Array([5n]), clamped: new Uint8ClampedArray([300]),
  };
  value.self = value;
  const copy = clone(value);
  assert.notEqual(copy, value);
  assert.equal(copy.self, copy);
  assert.deepEqual([copy.text, copy.big, copy.nan, Object.is(copy.zero, -0), 'nothing' in copy, copy.no], ['ä\ud800', 12n, Number.NaN, true, true, null]);
  assert.deepEqual([copy.date.getTime(), copy.regexp.source, copy.regexp.flags, copy.regexp.lastIndex], [5, 'a(b)?', 'giu', 0]);
  const [[key, set]] = copy.map;
  assert.deepEqual([key, [...set]], [{ k: 1 }, [1, 'x']]);
  assert.deepEqual(copy.boxed.map((box) => [typeof box, box.valueOf()]), [['object', 1], ['object', 's'], ['object', false], ['object', 3n]]);
  assert.equal(copy.bytes.buffer, copy.view.buffer);
  assert.notEqual(copy.bytes.buffer, shared);
  assert.deepEqual([copy.bytes.byteOffset, copy.bytes.length, copy.view.byteOffset, copy.view.byteLength, copy.floats[0], copy.bigs[0], copy.clamped[0]], [2, 3, 1, 4, 0.5, 5n, 255]);
}

export function holes_and_extras_of_arrays_stay() {
  const array = [1, , 3];
  array.extra = 'e';
  const copy = clone(array);
  assert.deepEqual([copy.length, 1 in copy, copy.extra, Array.isArray(copy)], [3, false, 'e', true]);
}

export function errors_keep_kind_message_and_cause() {
  class Custom extends RangeError {}
  for (const [error, type, name] of [[new TypeError('t', { cause: new Error('c') }), TypeError, 'TypeError'], [new Custom('x'), RangeError, 'RangeError'], [Object.assign(new Error('e'), { name: 'Odd', code: 'C' }), Error, 'Error']]) {
    const copy = clone(error);
    assert.ok(copy instanceof type);
    assert.deepEqual([copy.name, copy.message, typeof copy.stack, copy.code], [name, error.message, 'string', undefined]);
    if (error.cause) assert.equal(copy.cause.message, 'c');
  }
}

export function classes_lose_their_prototype_and_getters_are_read() {
  class Point {
    x = 1;
    get y() { return 2; }
  }
  const copy = clone(new Point());
  assert.equal(Object.getPrototypeOf(copy), Object.prototype);
  assert.deepEqual(copy, { x: 1 });
  assert.deepEqual(clone({ get a() { return 5; } }), { a: 5 });
  const odd = Object.create({ inherited: 1 }, { hidden: { value: 1 }, shown: { value: 2, enumerable: true } });
  odd[Symbol('s')] = 1;
  assert.deepEqual(Reflect.ownKeys(clone(odd)), ['shown']);
  const evil = clone(JSON.parse('{"__proto__": {"polluted": 1}}'));
  assert.deepEqual([Object.hasOwn(evil, '__proto__'), evil.polluted, {}.polluted], [true, undefined, undefined]);
}

export async function blobs_are_cloned() {
  const copy = clone(new Blob(['data'], { type: 'text/plain' }));
  assert.deepEqual([copy instanceof Blob, copy.type, await copy.text()], [true, 'text/plain', 'data']);
}

export function buffers_are_transferred() {
  const buffer = new Uint8Array([1, 2, 3]).buffer;
  const copy = clone({ buffer, view: new Uint8Array(buffer, 1) }, { transfer: [buffer] });
  assert.deepEqual([buffer.byteLength, [...new Uint8Array(copy.buffer)], copy.view.buffer === copy.buffer, copy.view[0]], [0, [1, 2, 3], true, 2]);
  const again = new ArrayBuffer(1);
  assert.throws(() => clone(1, { transfer: [again, again] }), { name: 'DataCloneError' });
  assert.throws(() => clone(1, { transfer: [{}] }));
}

export function what_cannot_be_cloned_says_so() {
  for (const value of [() => {}, Symbol('s'), new WeakMap(), new WeakSet(), new WeakRef({}), Promise.resolve(), (function* () {})(), { deep: [() => {}] }]) {
    assert.throws(() => clone(value), { name: 'DataCloneError', code: 25 });
  }
  assert.throws(() => structuredClone(), TypeError);
}

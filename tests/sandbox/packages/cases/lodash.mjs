import assert from 'node:assert';
import { camelCase, chunk, cloneDeep, debounce, get, groupBy, isEqual, merge, orderBy, set, sumBy, template, throttle, uniqBy, zipObject } from 'lodash-es';

export function collections() {
  const people = [{ n: 'b', a: 2 }, { n: 'a', a: 2 }, { n: 'c', a: 1 }];
  assert.deepEqual(orderBy(people, ['a', 'n'], ['desc', 'asc']).map((p) => p.n), ['a', 'b', 'c']);
  assert.deepEqual(Object.keys(groupBy(people, 'a')), ['1', '2']);
  assert.equal(sumBy(people, 'a'), 5);
  assert.equal(uniqBy(people, 'a').length, 2);
  assert.deepEqual(chunk([1, 2, 3], 2), [[1, 2], [3]]);
  assert.deepEqual(zipObject(['a', 'b'], [1, 2]), { a: 1, b: 2 });
}

export function objects() {
  const value = { a: [{ b: new Date(1), c: /x/g }], m: new Map([[1, { z: 1 }]]), t: new Uint8Array([1, 2]) };
  const copy = cloneDeep(value);
  assert.ok(isEqual(value, copy) && copy.m !== value.m && copy.a[0].b !== value.a[0].b);
  assert.deepEqual(merge({ a: { b: 1 } }, { a: { c: [1] } }), { a: { b: 1, c: [1] } });
  assert.equal(get(set({}, 'x[1].y', 5), 'x.1.y'), 5);
  assert.equal(camelCase('Hello wörld-x'), 'helloWorldX');
}

export async function functions_of_time() {
  let calls = 0;
  const later = debounce(() => calls++, 5);
  later();
  later();
  const often = throttle(() => calls++, 1000, { trailing: false });
  often();
  often();
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(calls, 2);
}

export function templates_need_code_from_text() {
  assert.equal(template('Hello <%- who %>!')({ who: '<x>' }), 'Hello &lt;x&gt;!');
}

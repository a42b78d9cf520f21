import assert from 'node:assert';
import { parse, serialize } from 'cookie';
import { customAlphabet, nanoid } from 'nanoid';
import { v1, v4, v5, v7, validate, version } from 'uuid';

export function nanoids() {
  assert.match(nanoid(), /^[\w-]{21}$/);
  assert.match(customAlphabet('ab', 8)(), /^[ab]{8}$/);
  assert.equal(new Set(Array.from({ length: 500 }, () => nanoid())).size, 500);
}

export function uuids() {
  for (const [made, kind] of [[v1(), 1], [v4(), 4], [v7(), 7]]) assert.deepEqual([validate(made), version(made)], [true, kind]);
  assert.equal(v5('example.test', v5.DNS), v5('example.test', v5.DNS));
  assert.ok(v7({ msecs: 1000 }) < v7({ msecs: 2000 }));
}

export function cookies() {
  assert.deepEqual({ ...parse('a=1; b=%C3%A4; c="q"') }, { a: '1', b: 'ä', c: '"q"' });
  assert.equal(serialize('s', 'x y', { httpOnly: true, maxAge: 60, path: '/', sameSite: 'lax', secure: true }), 's=x%20y; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Lax');
  assert.throws(() => serialize('bad name', 'x'), TypeError);
}

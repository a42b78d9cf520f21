import assert from 'node:assert/strict';

export function headers_fold_names_and_keep_cookies_apart() {
  const headers = new Headers([['A', '1'], ['a', '2'], ['Set-Cookie', 'x=1'], ['set-cookie', 'y=2']]);
  assert.equal(headers.get('A'), '1, 2');
  assert.deepEqual(headers.getSetCookie(), ['x=1', 'y=2']);
  assert.deepEqual([...headers], [['a', '1, 2'], ['set-cookie', 'x=1'], ['set-cookie', 'y=2']]);
  assert.throws(() => new Headers({ 'bad name': 'x' }), TypeError);
  assert.throws(() => headers.set('a', 'b\nc'), TypeError);
  assert.equal(Headers.prototype.get.length, 1);
}
export function header_names_and_values_are_checked_and_trimmed() {
  const headers = new Headers();
  for (const name of ['', 'a b', 'a:b', 'ä', 'a\0', '"', '(', 'a/b', '\ud800']) assert.throws(() => headers.set(name, 'x'), TypeError, name);
  for (const value of ['a\0b', 'a\rb', 'a\nb', '€', '\u0100', '\ud800', 'x\u{1f600}']) assert.throws(() => headers.set('a', value), TypeError, value);
  headers.set('X-Mixed!#$%&\'*+-.^_`|~9', ' \t\r\n inner  space \n');
  assert.equal(headers.get('x-MIXED!#$%&\'*+-.^_`|~9'), 'inner  space');
  headers.set('latin', 'b\u00fccher\u00ff\u0080');
  assert.equal(headers.get('latin'), 'b\u00fccher\u00ff\u0080');
  headers.set('empty', ' ');
  assert.equal(headers.get('empty'), '');
}
export async function responses_say_what_their_body_is() {
  const type = (response) => response.headers.get('content-type');
  assert.equal(type(Response.json({})), 'application/json');
  assert.equal(type(Response.json({}, { headers: { 'content-type': 'application/problem+json' } })), 'application/problem+json');
  assert.equal(type(Response.json({}, { headers: { a: 'b' } })), 'application/json');
  assert.equal(Response.json({}, { headers: { a: 'b' }, status: 201 }).status, 201);
  assert.equal(type(new Response('x', { headers: { a: 'b' } })), 'text/plain;charset=UTF-8');
  assert.equal(type(new Response('x', { headers: { 'content-type': 'a/b' } })), 'a/b');
  assert.equal(type(new Response(null)), null);
  const response = new Response('x');
  response.headers.set('a', 'b');
  response.headers.delete('content-type');
  assert.deepEqual([...response.headers], [['a', 'b']]);
  assert.deepEqual([...response.clone().headers], [['a', 'b']]);
  assert.equal(response.headers, response.headers);
  assert.throws(() => new Response('x', { status: 199 }), RangeError);
  assert.throws(() => new Response('x', { status: 204 }), TypeError);
  assert.throws(() => new Response('x', { statusText: 'a\nb' }), TypeError);
}
export async function requests_are_copied_with_all_they_have() {
  const controller = new AbortController();
  const one = new Request('http://a/b', { method: 'post', body: 'x', headers: { a: 'b' }, redirect: 'manual', signal: controller.signal, keepalive: true });
  const two = one.clone();
  assert.deepEqual([two.method, two.url, two.headers.get('a'), two.redirect, two.keepalive, two.mode], ['POST', 'http://a/b', 'b', 'manual', true, 'cors']);
  two.headers.set('a', 'c');
  assert.equal(one.headers.get('a'), 'b');
  const three = new Request(one, { method: 'PUT' });
  assert.deepEqual([three.method, three.redirect, await three.text(), one.bodyUsed, await two.text()], ['PUT', 'manual', 'x', true, 'x']);
  controller.abort();
  assert.deepEqual([one.signal.aborted, two.signal.aborted, three.signal.aborted], [true, true, true]);
  assert.throws(() => new Request('http://a/', { redirect: 'no' }), TypeError);
  assert.throws(() => new Request('http://a/', { body: 'x' }), TypeError);
  assert.deepEqual(Object.keys(new Request('http://a/')), []);
}
export async function bodies_are_read_once_in_every_form() {
  const response = new Response('{"a":1}', { headers: { 'content-type': 'application/json' } });
  const copy = response.clone();
  assert.deepEqual(await response.json(), { a: 1 });
  assert.equal(response.bodyUsed, true);
  await assert.rejects(() => response.text(), TypeError);
  assert.equal((await copy.arrayBuffer()).byteLength, 7);
  assert.equal(await new Response(new Blob(['ab', new Uint8Array([99])])).text(), 'abc');
  assert.equal(new Response('x').headers.get('content-type'), 'text/plain;charset=UTF-8');
  assert.equal(new Response(new URLSearchParams({ a: 'b c' })).headers.get('content-type'), 'application/x-www-form-urlencoded;charset=UTF-8');
  assert.equal(await new Response('\ufeffbom').text(), 'bom');
  const stream = new Response(new ReadableStream({ start(c) { c.enqueue(new Uint8Array([104, 105])); c.close(); } }));
  assert.equal(await stream.clone().text(), 'hi');
  assert.equal(await stream.text(), 'hi');
}
export async function forms_survive_both_ways() {
  const form = new FormData();
  form.append('name', 'ünï "quoted"\n');
  form.append('file', new File(['content\r\n'], 'a "b".txt', { type: 'text/x' }));
  form.append('file', new Blob(['second']), 'two.bin');
  const response = new Response(form);
  assert.match(response.headers.get('content-type'), /^multipart\/form-data; boundary=/);
  const back = await response.formData();
  assert.equal(back.get('name'), 'ünï "quoted"\r\n');
  const [one, two] = back.getAll('file');
  assert.deepEqual([one.name, one.type, await one.text()], ['a "b".txt', 'text/x', 'content\r\n']);
  assert.deepEqual([two.name, await two.text()], ['two.bin', 'second']);
  const urlencoded = new Request('http://a/', { method: 'POST', body: new URLSearchParams('a=1&b=x+y') });
  assert.equal((await urlencoded.formData()).get('b'), 'x y');
}
export function constructors_refuse_what_the_standard_refuses() {
  assert.throws(() => new Response('x', { status: 204 }), TypeError);
  assert.throws(() => new Response('', { status: 99 }), RangeError);
  assert.throws(() => new Request('http://a/', { method: 'GET', body: 'x' }), TypeError);
  assert.throws(() => new Request('/relative'), TypeError);
  assert.throws(() => new Request('http://a/', { method: 'TRACE' }), TypeError);
  assert.throws(() => new Request('http://u:p@a/'), TypeError);
  assert.throws(() => Response.redirect('http://a/', 200), RangeError);
  assert.equal(new Request('http://a/', { method: 'post' }).method, 'POST');
  assert.equal(new Request('http://a/', { method: 'patch' }).method, 'patch');
}
export function statics_make_responses() {
  const json = Response.json({ a: 1 }, { status: 201 });
  assert.deepEqual([json.status, json.headers.get('content-type')], [201, 'application/json']);
  const redirect = Response.redirect('http://a/b', 307);
  assert.deepEqual([redirect.status, redirect.headers.get('location')], [307, 'http://a/b']);
  assert.deepEqual([Response.error().type, Response.error().status], ['error', 0]);
}
export async function an_aborted_signal_refuses_at_once() {
  await assert.rejects(() => fetch('http://own.test/', { signal: AbortSignal.abort() }), { name: 'AbortError' });
  const reason = new Error('mine');
  await assert.rejects(() => fetch('http://own.test/', { signal: AbortSignal.abort(reason) }), (error) => error === reason);
}
export async function data_urls_are_fetched() {
  const response = await fetch('data:text/plain;base64,aGk=');
  assert.deepEqual([await response.text(), response.headers.get('content-type')], ['hi', 'text/plain']);
}

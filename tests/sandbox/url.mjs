import assert from 'node:assert/strict';

export function parses_and_resolves() {
  const url = new URL('../b?x=1&x=2#h', 'https://user:pw@EXAMPLE.com:443/a/c/d');
  assert.equal(url.href, 'https://user:pw@example.com/a/b?x=1&x=2#h');
  assert.deepEqual([url.origin, url.host, url.port, url.pathname, url.search, url.hash, url.username], ['https://example.com', 'example.com', '', '/a/b', '?x=1&x=2', '#h', 'user']);
  assert.throws(() => new URL('/no-base'), { name: 'TypeError', code: 'ERR_INVALID_URL' });
  assert.equal(URL.canParse('x:'), true);
  assert.equal(JSON.stringify({ url }), '{"url":"https://user:pw@example.com/a/b?x=1&x=2#h"}');
}
export function setters_keep_the_rest() {
  const url = new URL('http://a.test/p?q#h');
  url.protocol = 'https:';
  url.hostname = 'b.test';
  url.port = '8080';
  url.pathname = '/ä b';
  url.search = 'k=v w';
  url.hash = '';
  assert.equal(url.href, 'https://b.test:8080/%C3%A4%20b?k=v%20w');
}
export function search_params_follow_and_lead() {
  const url = new URL('http://a.test/?a=1&b=2');
  url.searchParams.append('c', 'x y&z=ü');
  assert.equal(url.search, '?a=1&b=2&c=x+y%26z%3D%C3%BC');
  url.searchParams.delete('a');
  url.searchParams.set('b', '3');
  assert.equal(url.href, 'http://a.test/?b=3&c=x+y%26z%3D%C3%BC');
  url.search = '?z=9';
  assert.equal(url.searchParams.get('z'), '9');
  assert.equal(new URLSearchParams('a=%41+b&%zz=1').get('a'), 'A b');
  assert.deepEqual([...new URLSearchParams({ a: '1', b: '2' })], [['a', '1'], ['b', '2']]);
  assert.equal(new URLSearchParams([['b', '1'], ['a', '2']]).toString(), 'b=1&a=2');
  const sorted = new URLSearchParams('b=1&a=2&b=0');
  sorted.sort();
  assert.equal(String(sorted), 'a=2&b=1&b=0');
  assert.equal(sorted.size, 3);
}

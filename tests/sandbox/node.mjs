import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import EventEmitter, { on, once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import querystring from 'node:querystring';
import { Readable, Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { StringDecoder } from 'node:string_decoder';
import url from 'node:url';
import util from 'node:util';
import zlib from 'node:zlib';

export function buffers_speak_every_encoding() {
  assert.equal(Buffer.from('aé€').toString('hex'), '61c3a9e282ac');
  assert.equal(Buffer.from('a?>').toString('base64url'), 'YT8-');
  assert.equal(Buffer.from('YT8-', 'base64url').toString(), 'a?>');
  assert.equal(Buffer.from([0xff, 0x61]).toString('latin1'), 'ÿa');
  assert.equal(Buffer.concat([Buffer.from('a'), Buffer.alloc(2, 'b')]).toString(), 'abb');
  assert.equal(Buffer.from('abc').readUInt16BE(1), 0x6263);
  assert.equal(Buffer.byteLength('€'), 3);
  assert.ok(Buffer.isBuffer(Buffer.from('')));
  assert.deepEqual(Buffer.from('ab').toJSON(), { type: 'Buffer', data: [97, 98] });
}
export function paths_join_and_split() {
  assert.equal(path.join('/a', '..', 'b', './c.txt'), '/b/c.txt');
  assert.equal(path.normalize('a//b/../c/'), 'a/c/');
  assert.equal(path.relative('/a/b/c', '/a/d'), '../../d');
  assert.deepEqual(path.parse('/x/y.tar.gz'), { root: '/', dir: '/x', base: 'y.tar.gz', ext: '.gz', name: 'y.tar' });
  assert.deepEqual([path.basename('/a/b.js', '.js'), path.extname('.env'), path.dirname('/a'), path.isAbsolute('a')], ['b', '', '/', false]);
  assert.equal(path.resolve('/a', 'b', '../c'), '/a/c');
}
export function old_urls_and_queries_parse() {
  const parsed = url.parse('https://u:p@host.test:8080/p/a?x=1#h', true);
  assert.deepEqual([parsed.protocol, parsed.auth, parsed.host, parsed.port, parsed.pathname, parsed.query.x, parsed.hash], ['https:', 'u:p', 'host.test:8080', '8080', '/p/a', '1', '#h']);
  assert.equal(url.format({ protocol: 'http', host: 'a.test', pathname: '/x', query: { a: 1 } }), 'http://a.test/x?a=1');
  assert.equal(url.resolve('/one/two', 'three'), '/one/three');
  assert.deepEqual({ ...querystring.parse('a=1&a=2&b=%20c') }, { a: ['1', '2'], b: ' c' });
  assert.equal(querystring.stringify({ a: ['x', 'y'], b: 'z z' }), 'a=x&a=y&b=z%20z');
}
export async function emitters_emit() {
  const emitter = new EventEmitter();
  setTimeout(() => { emitter.emit('x', 1); emitter.emit('x', 2); }, 1);
  assert.deepEqual(await once(emitter, 'x'), [1]);
  setTimeout(() => { emitter.emit('y', 1); emitter.emit('y', 2); }, 1);
  const seen = [];
  for await (const [value] of on(emitter, 'y')) { seen.push(value); if (value === 2) break; }
  assert.deepEqual(seen, [1, 2]);
  assert.throws(() => emitter.emit('error', new Error('unheard')), { message: 'unheard' });
}
export function values_are_inspected_as_usual() {
  class Thing { constructor() { this.a = 1; } }
  const circular = { name: 'c' };
  circular.self = circular;
  for (const [value, expected] of [
    [{ a: 1, 'b-c': 'x', [Symbol('s')]: null }, "{ a: 1, 'b-c': 'x', [Symbol(s)]: null }"],
    [[1, , 'two', [3, [4, [5]]]], "[ 1, <1 empty item>, 'two', [ 3, [ 4, [Array] ] ] ]"],
    [new Thing(), 'Thing { a: 1 }'],
    [new Map([['k', { v: 1 }]]), "Map(1) { 'k' => { v: 1 } }"],
    [new Set([1, 'a']), "Set(2) { 1, 'a' }"],
    [Object.create(null), '[Object: null prototype] {}'],
    [circular, "<ref *1> { name: 'c', self: [Circular *1] }"],
    [new Date(0), '1970-01-01T00:00:00.000Z'],
    [/x/g, '/x/g'],
    [() => {}, '[Function (anonymous)]'],
    [class A extends Thing {}, '[class A extends Thing]'],
    [{ get x() { return 1; } }, '{ x: [Getter] }'],
    [new Uint8Array([1, 2]), 'Uint8Array(2) [ 1, 2 ]'],
    [Promise.resolve(4), 'Promise { 4 }'],
    ["it's", '"it\'s"'],
    [-0, '-0'],
    [10n, '10n'],
    [Symbol('q'), 'Symbol(q)'],
  ]) assert.equal(util.inspect(value), expected);
  assert.equal(util.format('%s is %d%% %j %o', 'x', 5, { a: 1 }), 'x is 5% {"a":1} %o');
  assert.equal(util.format('a', { b: 1 }, 'c'), 'a { b: 1 } c');
}
export async function utilities_work() {
  assert.equal(await util.promisify((x, done) => done(null, x + 1))(1), 2);
  assert.ok(util.isDeepStrictEqual({ a: [1, new Map([[1, 2]])] }, { a: [1, new Map([[1, 2]])] }));
  assert.ok(util.types.isPromise(Promise.resolve()) && util.types.isProxy(new Proxy({}, {})));
  assert.equal(new StringDecoder('utf8').write(Buffer.from([0xe2, 0x82])), '');
  const require = createRequire(import.meta.url);
  assert.equal(require('path').sep, '/');
  assert.throws(() => require('nowhere'), (error) => error.code.endsWith('MODULE_NOT_FOUND'));
}
export async function streams_flow() {
  const parts = [];
  await pipeline(
    Readable.from(['a', 'b', 'c']),
    new Transform({ transform(chunk, _encoding, done) { done(null, String(chunk).toUpperCase()); } }),
    new Writable({ write(chunk, _encoding, done) { parts.push(String(chunk)); done(); } }),
  );
  assert.equal(parts.join(''), 'ABC');
  const read = [];
  for await (const chunk of Readable.from([1, 2])) read.push(chunk);
  assert.deepEqual(read, [1, 2]);
}
export async function brotli_comes_back() {
  const text = 'hello wörld '.repeat(2000);
  const packed = zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } });
  assert.ok(packed.length < 200);
  assert.equal(zlib.brotliDecompressSync(packed).toString(), text);
  assert.equal(zlib.brotliDecompressSync(Buffer.from('iwWAaGVsbG8gYnJvdGxpAw==', 'base64')).toString(), 'hello brotli');
  assert.equal((await util.promisify(zlib.brotliDecompress)(await util.promisify(zlib.brotliCompress)('x'))).toString(), 'x');
  const parts = [];
  await pipeline(Readable.from([Buffer.from(text), Buffer.from('end')]), zlib.createBrotliCompress(), zlib.createBrotliDecompress(), new Writable({ write: (chunk, _, done) => (parts.push(chunk), done()) }));
  assert.equal(Buffer.concat(parts).toString(), `${text}end`);
  for (const bad of ['nope nope nope', packed.subarray(0, 20)]) assert.throws(() => zlib.brotliDecompressSync(bad));
}
export function compression_takes_large_input_in_pieces() {
  const large = Buffer.alloc(3 * 1024 * 1024 + 5, 'abcdefgh');
  for (const [pack, unpack] of [[zlib.gzipSync, zlib.gunzipSync], [zlib.deflateRawSync, zlib.inflateRawSync]]) assert.ok(unpack(pack(large)).equals(large));
}
export async function zlib_comes_back() {
  const packed = zlib.gzipSync('hello'.repeat(100));
  assert.equal(zlib.gunzipSync(packed).toString(), 'hello'.repeat(100));
  assert.equal((await util.promisify(zlib.inflate)(await util.promisify(zlib.deflate)('x'))).toString(), 'x');
  assert.equal(zlib.inflateRawSync(zlib.deflateRawSync(Buffer.from('raw'))).toString(), 'raw');
  assert.throws(() => zlib.gunzipSync('nope'), { code: 'Z_DATA_ERROR' });
}

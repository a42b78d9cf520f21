import assert from 'node:assert/strict';

export function decodes_what_the_standard_decodes() {
  const bytes = (...list) => new Uint8Array(list);
  assert.equal(new TextDecoder().decode(bytes(0xef, 0xbb, 0xbf, 0x61)), 'a');
  assert.equal(new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes(0xef, 0xbb, 0xbf, 0x61)), '\ufeffa');
  assert.equal(new TextDecoder().decode(bytes(0x61, 0xff, 0xe2, 0x82, 0x62)), 'a\ufffd\ufffdb');
  assert.throws(() => new TextDecoder('utf-8', { fatal: true }).decode(bytes(0xff)), TypeError);
  assert.equal(new TextDecoder('latin1').encoding, 'windows-1252');
  assert.equal(new TextDecoder('utf-16le').decode(bytes(0x61, 0, 0x3d, 0xd8, 0, 0xde)), 'a😀');
  assert.throws(() => new TextDecoder('no-such'), RangeError);
  const decoder = new TextDecoder();
  assert.equal(decoder.decode(bytes(0xe2, 0x82), { stream: true }) + decoder.decode(bytes(0xac)), '€');
}
export function encodes_lone_surrogates_as_replacements() {
  assert.deepEqual([...new TextEncoder().encode('\ud800a')], [0xef, 0xbf, 0xbd, 0x61]);
  assert.deepEqual(new TextEncoder().encodeInto('a€', new Uint8Array(3)), { read: 1, written: 1 });
}
export function base64_both_ways() {
  assert.equal(btoa('\x00\xff~a'), 'AP9+YQ==');
  assert.equal(atob(' AP9+ YQ = ='), '\x00\xff~a');
  assert.throws(() => atob('a'), { name: 'InvalidCharacterError' });
  assert.throws(() => btoa('€'), { name: 'InvalidCharacterError' });
}
export function clones_deeply() {
  const value = { d: new Date(5), m: new Map([[1, new Set([2])]]), r: /x/gi, u: new Uint8Array([1]), e: new RangeError('no'), n: [undefined, null, 1n] };
  value.self = value;
  const copy = structuredClone(value);
  assert.notEqual(copy, value);
  assert.equal(copy.self, copy);
  assert.deepEqual([copy.d.getTime(), copy.m.get(1).has(2), String(copy.r), copy.u[0], copy.e.name, copy.e.message, copy.n[2]], [5, true, '/x/gi', 1, 'RangeError', 'no', 1n]);
  assert.throws(() => structuredClone(() => {}), { name: 'DataCloneError' });
  const buffer = new ArrayBuffer(8);
  structuredClone(buffer, { transfer: [buffer] });
  assert.equal(buffer.byteLength, 0);
}

export function names_of_the_platform_are_its_own() {
  for (const name of ['Response', 'Request', 'Headers', 'URL', 'Blob', 'File', 'FormData', 'DOMException', 'ReadableStream', 'CompressionStream', 'AbortController', 'TextEncoder', 'fetch', 'atob', 'setTimeout', 'structuredClone', 'Buffer']) {
    assert.equal(globalThis[name].name, name);
  }
  assert.equal(new Response().constructor.name, 'Response');
}

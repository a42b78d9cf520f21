import assert from 'node:assert/strict';

const text = async (stream) => new Response(stream).text();
export async function pipes_transform_and_tee() {
  const upper = new TransformStream({ transform: (chunk, controller) => controller.enqueue(chunk.toUpperCase()) });
  const source = new ReadableStream({ start(c) { c.enqueue('a'); c.enqueue('b'); c.close(); } });
  const seen = [];
  for await (const chunk of source.pipeThrough(upper)) seen.push(chunk);
  assert.deepEqual(seen, ['A', 'B']);
  const [one, two] = new Blob(['tee']).stream().tee();
  assert.equal((await text(one)) + (await text(two)), 'teetee');
  assert.deepEqual(await Array.fromAsync(ReadableStream.from([1, 2])), [1, 2]);
}
export async function compression_comes_back() {
  for (const format of ['gzip', 'deflate', 'deflate-raw']) {
    const packed = new Blob(['hello '.repeat(1000)]).stream().pipeThrough(new CompressionStream(format));
    const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
    assert.ok(bytes.length < 200);
    assert.equal(await text(new Blob([bytes]).stream().pipeThrough(new DecompressionStream(format))), 'hello '.repeat(1000));
  }
  assert.throws(() => new CompressionStream('lzma'), TypeError);
  await assert.rejects(() => text(new Blob(['not gzip']).stream().pipeThrough(new DecompressionStream('gzip'))));
}
export async function text_streams_keep_characters_whole() {
  const bytes = new TextEncoder().encode('a€𝄞');
  const source = new ReadableStream({ start(c) { for (const byte of bytes) c.enqueue(new Uint8Array([byte])); c.close(); } });
  assert.equal((await Array.fromAsync(source.pipeThrough(new TextDecoderStream()))).join(''), 'a€𝄞');
}

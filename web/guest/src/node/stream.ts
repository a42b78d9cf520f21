import base from 'readable-stream';

/* eslint-disable */
type StreamModule = Record<string, any>;
const module = base as unknown as StreamModule;
export const { Readable, Writable, Duplex, Transform, PassThrough, pipeline, finished, addAbortSignal, compose, isDisturbed, isErrored, isReadable } = module;
export const Stream = module.Stream ?? module;
export { Stream as default };
export const getDefaultHighWaterMark = (objects: boolean) => (objects ? 16 : 65536);
export const setDefaultHighWaterMark = () => {};

const web = {
  ReadableStream,
  ReadableStreamDefaultReader,
  ReadableStreamBYOBReader,
  ReadableStreamDefaultController,
  ReadableByteStreamController,
  ReadableStreamBYOBRequest,
  WritableStream,
  WritableStreamDefaultWriter,
  WritableStreamDefaultController,
  TransformStream,
  TransformStreamDefaultController,
  ByteLengthQueuingStrategy,
  CountQueuingStrategy,
  TextEncoderStream,
  TextDecoderStream,
  CompressionStream,
  DecompressionStream,
};

// The bridges of Node 17 and later, which the package leaves out.
Readable.fromWeb = (stream: ReadableStream) => Readable.from(stream as never, { objectMode: false });
Readable.toWeb = (readable: AsyncIterable<unknown>) => (ReadableStream as any).from(readable);
Writable.fromWeb = (stream: WritableStream) => {
  const writer = stream.getWriter();
  return new Writable({
    write(chunk: unknown, _encoding: string, done: (error?: unknown) => void) {
      writer.write(chunk).then(() => done(), done);
    },
    final(done: (error?: unknown) => void) {
      writer.close().then(() => done(), done);
    },
  });
};
Writable.toWeb = (writable: { write(chunk: unknown, done: (error?: unknown) => void): void; end(done: () => void): void }) =>
  new WritableStream({
    write: (chunk) => new Promise<void>((resolve, reject) => writable.write(chunk, (error) => (error ? reject(error) : resolve()))),
    close: () => new Promise<void>((resolve) => writable.end(resolve)),
  });

async function collect(source: AsyncIterable<unknown>): Promise<Uint8Array> {
  const blob: BlobPart[] = [];
  for await (const chunk of source) blob.push((typeof chunk === 'string' ? chunk : chunk) as BlobPart);
  return new Uint8Array(await new Blob(blob).arrayBuffer());
}
const text = async (source: AsyncIterable<unknown>) => new TextDecoder().decode(await collect(source));
export const consumers = {
  arrayBuffer: async (source: AsyncIterable<unknown>) => (await collect(source)).buffer,
  blob: async (source: AsyncIterable<unknown>) => new Blob([(await collect(source)) as BlobPart]),
  buffer: async (source: AsyncIterable<unknown>) => (globalThis as StreamModule).Buffer.from(await collect(source)),
  json: async (source: AsyncIterable<unknown>) => JSON.parse(await text(source)) as unknown,
  text,
};
export const promises = module.promises;
export { web };

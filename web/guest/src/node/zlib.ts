// One-shot and streaming compression over the host's codec.
import { view } from '../host';
import { Zlib, type ZlibKind } from '../web/streams';
import { Transform } from './stream';

/* eslint-disable */
type Input = string | ArrayBuffer | ArrayBufferView;
interface Options {
  level?: number;
  finishFlush?: number;
  /** Of brotli: quality is the one that counts here. */
  params?: Record<number, number>;
}
const QUALITY = 1;
const DEFAULT_QUALITY = 6;
const levelOf = (options: Options) => options.params?.[QUALITY] ?? (options.level === undefined || options.level < 0 ? DEFAULT_QUALITY : options.level);
const { Buffer } = globalThis as any;
const bytesOf = (input: Input): Uint8Array => (typeof input === 'string' ? new TextEncoder().encode(input) : view(input));

const sync = (kind: ZlibKind) => (input: Input, options: Options = {}) => {
  const codec = new Zlib(kind, levelOf(options));
  try {
    return Buffer.from(codec.write(bytesOf(input), 'finish').buffer);
  } catch (error) {
    throw Object.assign(error as Error, { code: 'Z_DATA_ERROR', errno: -3 });
  }
};
const async_ = (kind: ZlibKind) => (input: Input, second?: unknown, third?: unknown) => {
  const done = (typeof second === 'function' ? second : third) as (error: unknown, out?: unknown) => void;
  queueMicrotask(() => {
    let out: unknown;
    try {
      out = sync(kind)(input, typeof second === 'object' ? (second as Options) : {});
    } catch (error) {
      return done(error);
    }
    done(null, out);
  });
};
const stream = (kind: ZlibKind) =>
  class extends (Transform as any) {
    readonly #codec: Zlib;
    constructor(options: Options = {}) {
      super(options);
      this.#codec = new Zlib(kind, levelOf(options));
    }
    _transform(chunk: Uint8Array, _encoding: string, done: (error?: unknown) => void) {
      this.#put(chunk, 'more', done);
    }
    _flush(done: (error?: unknown) => void) {
      this.#put(new Uint8Array(0), 'finish', done);
    }
    #put(chunk: Uint8Array, mode: 'more' | 'finish', done: (error?: unknown) => void) {
      try {
        const out = this.#codec.write(chunk, mode);
        if (out.length > 0) (this as any).push(Buffer.from(out.buffer, out.byteOffset, out.length));
        done();
      } catch (error) {
        done(error);
      }
    }
  };

export const gzipSync = sync('gzip');
export const gunzipSync = sync('gunzip');
export const deflateSync = sync('deflate');
export const inflateSync = sync('inflate');
export const deflateRawSync = sync('deflate-raw');
export const inflateRawSync = sync('inflate-raw');
export const unzipSync = sync('unzip');
export const brotliCompressSync = sync('brotli');
export const brotliDecompressSync = sync('unbrotli');
export const gzip = async_('gzip');
export const gunzip = async_('gunzip');
export const deflate = async_('deflate');
export const inflate = async_('inflate');
export const deflateRaw = async_('deflate-raw');
export const inflateRaw = async_('inflate-raw');
export const unzip = async_('unzip');
export const brotliCompress = async_('brotli');
export const brotliDecompress = async_('unbrotli');
export const Gzip = stream('gzip');
export const Gunzip = stream('gunzip');
export const Deflate = stream('deflate');
export const Inflate = stream('inflate');
export const DeflateRaw = stream('deflate-raw');
export const InflateRaw = stream('inflate-raw');
export const Unzip = stream('unzip');
export const BrotliCompress = stream('brotli');
export const BrotliDecompress = stream('unbrotli');
export const createGzip = (options?: Options) => new Gzip(options);
export const createGunzip = (options?: Options) => new Gunzip(options);
export const createDeflate = (options?: Options) => new Deflate(options);
export const createInflate = (options?: Options) => new Inflate(options);
export const createDeflateRaw = (options?: Options) => new DeflateRaw(options);
export const createInflateRaw = (options?: Options) => new InflateRaw(options);
export const createUnzip = (options?: Options) => new Unzip(options);
export const createBrotliCompress = (options?: Options) => new BrotliCompress(options);
export const createBrotliDecompress = (options?: Options) => new BrotliDecompress(options);
export const constants = {
  BROTLI_OPERATION_PROCESS: 0, BROTLI_OPERATION_FLUSH: 1, BROTLI_OPERATION_FINISH: 2, BROTLI_PARAM_MODE: 0, BROTLI_PARAM_QUALITY: QUALITY, BROTLI_PARAM_LGWIN: 2, BROTLI_PARAM_SIZE_HINT: 5, BROTLI_MIN_QUALITY: 0, BROTLI_MAX_QUALITY: 11, BROTLI_DEFAULT_QUALITY: 11, BROTLI_MODE_GENERIC: 0, BROTLI_MODE_TEXT: 1, BROTLI_MODE_FONT: 2,
  Z_NO_FLUSH: 0, Z_PARTIAL_FLUSH: 1, Z_SYNC_FLUSH: 2, Z_FULL_FLUSH: 3, Z_FINISH: 4, Z_BLOCK: 5, Z_OK: 0, Z_STREAM_END: 1, Z_NO_COMPRESSION: 0, Z_BEST_SPEED: 1, Z_BEST_COMPRESSION: 9, Z_DEFAULT_COMPRESSION: -1, Z_DEFAULT_STRATEGY: 0 };
const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});
export const crc32 = (input: Input, start = 0): number => {
  let c = ~start;
  for (const byte of bytesOf(input)) c = (TABLE[(c ^ byte) & 255] as number) ^ (c >>> 8);
  return ~c >>> 0;
};

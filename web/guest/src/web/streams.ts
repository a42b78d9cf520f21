// Streams by the reference-faithful polyfill, and the transform streams that need the host.
import * as polyfill from 'web-streams-polyfill';
import { encode, host, install, Op, packed, tag, view } from '../host';

install({ ...polyfill });

class TextEncoderStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<string>;
  readonly encoding = 'utf-8';
  constructor() {
    let high = '';
    const { readable, writable } = new TransformStream<string, Uint8Array>({
      transform(chunk, controller) {
        let text = high + String(chunk);
        high = '';
        const last = text.charCodeAt(text.length - 1);
        if (last >= 0xd800 && last < 0xdc00) {
          high = text.slice(-1);
          text = text.slice(0, -1);
        }
        if (text !== '') controller.enqueue(encode(text));
      },
      flush(controller) {
        if (high !== '') controller.enqueue(encode(high));
      },
    });
    this.readable = readable;
    this.writable = writable;
  }
}
tag(TextEncoderStream, 'TextEncoderStream');

class TextDecoderStream {
  readonly readable: ReadableStream<string>;
  readonly writable: WritableStream<BufferSource>;
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  constructor(label?: string, options?: TextDecoderOptions) {
    const decoder = new TextDecoder(label, options);
    const { readable, writable } = new TransformStream<BufferSource, string>({
      transform(chunk, controller) {
        const text = decoder.decode(chunk, { stream: true });
        if (text !== '') controller.enqueue(text);
      },
      flush(controller) {
        const text = decoder.decode();
        if (text !== '') controller.enqueue(text);
      },
    });
    this.readable = readable;
    this.writable = writable;
    this.encoding = decoder.encoding;
    this.fatal = decoder.fatal;
    this.ignoreBOM = decoder.ignoreBOM;
  }
}
tag(TextDecoderStream, 'TextDecoderStream');

export type ZlibKind = 'gzip' | 'deflate' | 'deflate-raw' | 'gunzip' | 'inflate' | 'inflate-raw' | 'unzip' | 'brotli' | 'unbrotli';

/** Bytes the host works on at a time: between pieces the guest can be stopped. */
const PIECE = 1024 * 1024;
/** Closes what was abandoned half-way. */
const abandoned = new FinalizationRegistry<number>((handle) => host.bytes(Op.zlibClose, handle));

/** A codec of the host. `finish` also frees it. */
export class Zlib {
  readonly #handle: number;
  #open = true;
  constructor(kind: ZlibKind, level = 6) {
    this.#handle = new DataView(host.bytes(Op.zlibOpen, 0, packed({ kind, level })).buffer).getInt32(0, true);
    abandoned.register(this, this.#handle, this);
  }
  write(bytes: Uint8Array, mode: 'more' | 'flush' | 'finish' = 'more'): Uint8Array<ArrayBuffer> {
    const parts: Uint8Array<ArrayBuffer>[] = [];
    let at = 0;
    try {
      for (; bytes.length - at > PIECE; at += PIECE) parts.push(this.#put(bytes.subarray(at, at + PIECE), 'more'));
      const last = this.#put(at === 0 ? bytes : bytes.subarray(at), mode);
      if (mode === 'finish') this.#ended();
      if (parts.length === 0) return last;
      parts.push(last);
    } catch (error) {
      this.#ended();
      throw error;
    }
    const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
    let end = 0;
    for (const part of parts) {
      out.set(part, end);
      end += part.length;
    }
    return out;
  }
  #put(bytes: Uint8Array, mode: string): Uint8Array<ArrayBuffer> {
    return host.work(Op.zlibWrite, 0, packed({ handle: this.#handle, mode }, bytes));
  }
  #ended() {
    if (this.#open) host.bytes(Op.zlibClose, this.#handle);
    this.#open = false;
    abandoned.unregister(this);
  }
  close() {
    this.#ended();
  }
}

function codecStream(kind: ZlibKind) {
  const codec = new Zlib(kind);
  const put = (bytes: Uint8Array, mode: 'more' | 'finish', controller: TransformStreamDefaultController<Uint8Array>) => {
    const out = codec.write(bytes, mode);
    if (out.length > 0) controller.enqueue(out);
  };
  return new TransformStream<BufferSource, Uint8Array>({
    transform: (chunk, controller) => put(view(chunk, 'chunk'), 'more', controller),
    flush: (controller) => put(new Uint8Array(0), 'finish', controller),
  });
}

const FORMATS: Record<string, [ZlibKind, ZlibKind]> = {
  gzip: ['gzip', 'gunzip'],
  deflate: ['deflate', 'inflate'],
  'deflate-raw': ['deflate-raw', 'inflate-raw'],
  brotli: ['brotli', 'unbrotli'],
};
function format(name: string): [ZlibKind, ZlibKind] {
  const found = Object.hasOwn(FORMATS, name) ? FORMATS[name] : undefined;
  if (found === undefined) throw new TypeError(`Unsupported compression format: '${name}'`);
  return found;
}

class CompressionStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<BufferSource>;
  constructor(name: string) {
    ({ readable: this.readable, writable: this.writable } = codecStream(format(String(name))[0]));
  }
}
tag(CompressionStream, 'CompressionStream');

class DecompressionStream {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<BufferSource>;
  constructor(name: string) {
    ({ readable: this.readable, writable: this.writable } = codecStream(format(String(name))[1]));
  }
}
tag(DecompressionStream, 'DecompressionStream');

install({ TextEncoderStream, TextDecoderStream, CompressionStream, DecompressionStream });

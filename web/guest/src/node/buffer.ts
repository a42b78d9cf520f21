// Buffer: the package, with base64url, and with UTF-8 and base64 digits at the engine's speed.
import * as base from 'buffer';
import { decode, encode, host, install, view } from '../host';

/* eslint-disable */
const Buffer = base.Buffer as any;
const plain = (encoding: unknown) => (typeof encoding === 'string' && encoding.toLowerCase() === 'base64url' ? 'base64' : encoding);
const isUtf8 = (encoding: unknown) => encoding === undefined || encoding === 'utf8' || encoding === 'utf-8';

const original = { from: Buffer.from, byteLength: Buffer.byteLength, isEncoding: Buffer.isEncoding, alloc: Buffer.alloc };
const prototype = { toString: Buffer.prototype.toString, write: Buffer.prototype.write, fill: Buffer.prototype.fill, indexOf: Buffer.prototype.indexOf };

function define(owner: object, members: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(members)) Object.defineProperty(owner, name, { value, writable: true, configurable: true });
}
define(Buffer, {
  from(value: unknown, encoding?: unknown, length?: unknown) {
    if (typeof value === 'string' && isUtf8(encoding)) {
      const bytes = encode(value);
      return original.from.call(Buffer, bytes.buffer, bytes.byteOffset, bytes.length);
    }
    return original.from.call(Buffer, value, plain(encoding), length);
  },
  byteLength: (value: unknown, encoding?: unknown) => original.byteLength.call(Buffer, value, plain(encoding)),
  isEncoding: (encoding: unknown) => original.isEncoding.call(Buffer, plain(encoding)),
  alloc: (size: number, fill?: unknown, encoding?: unknown) => original.alloc.call(Buffer, size, fill, plain(encoding)),
  copyBytesFrom: (source: Uint8Array, offset = 0, length?: number) => Buffer.from(source.slice(offset, length === undefined ? undefined : offset + length)),
});
define(Buffer.prototype, {
  toString(this: Uint8Array, encoding?: unknown, start?: number, end?: number) {
    if (isUtf8(encoding) && start === undefined && end === undefined) return decode(view(this));
    if (plain(encoding) === encoding) return prototype.toString.call(this, encoding, start, end);
    return prototype.toString.call(this, 'base64', start, end).replaceAll('+', '-').replaceAll('/', '_').replace(/=+$/, '');
  },
  write(this: Uint8Array, text: string, ...rest: unknown[]) {
    return prototype.write.call(this, text, ...rest.map(plain));
  },
  fill(this: Uint8Array, value: unknown, ...rest: unknown[]) {
    return prototype.fill.call(this, value, ...rest.map(plain));
  },
});
install({ Buffer });

export const bufferModule = {
  Buffer,
  SlowBuffer: Buffer,
  kMaxLength: base.kMaxLength,
  constants: { MAX_LENGTH: base.kMaxLength, MAX_STRING_LENGTH: 1073741799 },
  INSPECT_MAX_BYTES: 50,
  Blob,
  File,
  atob,
  btoa,
  isUtf8: (bytes: Uint8Array) => host.decode(bytes) !== undefined,
  isAscii: (bytes: Uint8Array) => bytes.every((byte) => byte < 128),
  transcode: (bytes: Uint8Array, from: string, to: string) => Buffer.from(Buffer.from(bytes).toString(from), to),
};

// The host's cryptography, as web/crypto.ts and node/crypto.ts both use it.
import { decode, host, Op, packed, unpacked } from './host';

export type Hash = 'md5' | 'sha1' | 'sha224' | 'sha256' | 'sha384' | 'sha512';
export type Bytes = Uint8Array<ArrayBuffer>;
export interface Described {
  kind: 'rsa' | 'ec' | 'ed25519' | 'x25519';
  curve?: string;
  private: boolean;
  bits?: number;
}

export const ask = (head: Record<string, unknown>, ...parts: Uint8Array[]): Bytes => host.work(Op.crypto, 0, packed(head, ...parts));

export function random(length: number): Bytes {
  const out = new Uint8Array(length);
  for (let at = 0; at < length; at += 65536) out.set(host.bytes(Op.random, Math.min(65536, length - at)), at);
  return out;
}

export function uuid(): string {
  const b = random(16);
  b[6] = ((b[6] as number) & 15) | 64;
  b[8] = ((b[8] as number) & 63) | 128;
  const h = Array.from(b, (byte) => byte.toString(16).padStart(2, '0')).join('');
  return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`;
}

export function importKey(format: string, data: Uint8Array, hints: { kind?: string; curve?: string } = {}): { described: Described; der: Bytes } {
  const { head, parts } = unpacked<Described>(ask({ op: 'import', format, ...hints }, data));
  return { described: head, der: parts[0] as Bytes };
}

export const exportJwk = (der: Uint8Array, isPrivate: boolean): Record<string, string> =>
  JSON.parse(decode(ask({ op: 'export', format: 'jwk', private: isPrivate }, der))) as Record<string, string>;

export function generate(kind: string, options: { curve?: string; bits?: number }): { privateDer: Bytes; publicDer: Bytes } {
  const { parts } = unpacked<null>(ask({ op: 'generate', kind, ...options }));
  return { privateDer: parts[0] as Bytes, publicDer: parts[1] as Bytes };
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
export function toBase64Url(bytes: Uint8Array): string {
  let out = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const [a, b = 0, c = 0] = bytes.subarray(i, i + 3) as unknown as [number, number?, number?];
    const digits = ALPHABET.charAt(a >> 2) + ALPHABET.charAt(((a & 3) << 4) | (b >> 4)) + ALPHABET.charAt(((b & 15) << 2) | (c >> 6)) + ALPHABET.charAt(c & 63);
    out += digits.slice(0, Math.min(4, bytes.length - i + 1));
  }
  return out;
}
export function fromBase64Url(text: string): Bytes {
  return Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/').replace(/=+$/, '')), (c) => c.charCodeAt(0));
}

import { host, install, Op, tag } from '../host';
export const random = (length: number): Uint8Array<ArrayBuffer> => host.bytes(Op.random, length);
class Crypto {
  getRandomValues<T extends ArrayBufferView>(array: T): T {
    const bytes = random(array.byteLength);
    new Uint8Array(array.buffer, array.byteOffset, array.byteLength).set(bytes);
    return array;
  }
  randomUUID() { const b = random(16); b[6] = ((b[6] as number) & 15) | 64; b[8] = ((b[8] as number) & 63) | 128;
    const h = Array.from(b, (x) => x.toString(16).padStart(2, '0')).join('');
    return `${h.slice(0, 8)}-${h.slice(8, 12)}-${h.slice(12, 16)}-${h.slice(16, 20)}-${h.slice(20)}`; }
}
tag(Crypto, 'Crypto');
install({ crypto: new Crypto(), Crypto });

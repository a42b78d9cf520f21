// WHATWG Encoding. UTF-8 is decoded here while it is well formed; everything else is the host's (encoding_rs).
import { decode, encode, host, install, Op, packed, tag, view } from '../host';

class TextEncoder {
  get encoding() {
    return 'utf-8';
  }
  encode(input = '') {
    return encode(String(input));
  }
  encodeInto(source: string, destination: Uint8Array) {
    const text = String(source);
    const bytes = encode(text);
    if (bytes.length <= destination.length) {
      destination.set(bytes);
      return { read: text.length, written: bytes.length };
    }
    let written = destination.length;
    while (written > 0 && ((bytes[written] as number) & 0xc0) === 0x80) written--;
    destination.set(bytes.subarray(0, written));
    return { read: decode(bytes.subarray(0, written)).length, written };
  }
}
tag(TextEncoder, 'TextEncoder');

const EMPTY = new Uint8Array(0);

/** How many bytes at the end begin a character that the next chunk may complete. */
function incomplete(bytes: Uint8Array): number {
  const { length } = bytes;
  for (let back = 1; back <= Math.min(3, length); back++) {
    const byte = bytes[length - back] as number;
    if ((byte & 0xc0) === 0x80) continue;
    const wants = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return wants > back ? back : 0;
  }
  return 0;
}

class TextDecoder {
  readonly encoding: string;
  readonly fatal: boolean;
  readonly ignoreBOM: boolean;
  #held: Uint8Array = EMPTY;
  #begun = false;
  constructor(label = 'utf-8', options: TextDecoderOptions = {}) {
    const given = String(label).trim().toLowerCase();
    this.encoding = given === 'utf-8' || given === 'utf8' ? 'utf-8' : host.text(Op.textLabel, 0, given);
    this.fatal = Boolean(options?.fatal);
    this.ignoreBOM = Boolean(options?.ignoreBOM);
  }
  decode(input?: BufferSource | null, options: TextDecodeOptions = {}): string {
    let bytes: Uint8Array = input == null ? EMPTY : view(input);
    const stream = Boolean(options?.stream);
    if (this.#held.length > 0) {
      const whole = new Uint8Array(this.#held.length + bytes.length);
      whole.set(this.#held);
      whole.set(bytes, this.#held.length);
      bytes = whole;
      this.#held = EMPTY;
    }
    if (stream) {
      // Multi-byte legacy encodings carry state: they are decoded whole when the stream ends.
      let hold = bytes.length;
      if (this.encoding === 'utf-8') hold = incomplete(bytes);
      else if (this.encoding.startsWith('utf-16')) {
        hold = bytes.length % 2;
        const high = bytes[bytes.length - hold - (this.encoding === 'utf-16le' ? 1 : 2)];
        if (high !== undefined && (high & 0xfc) === 0xd8) hold += 2;
      } else if (/^(windows|iso-8859|ibm|koi8|macintosh|x-mac)/.test(this.encoding)) hold = 0;
      this.#held = bytes.slice(bytes.length - hold);
      bytes = bytes.subarray(0, bytes.length - hold);
    }
    const keepMark = this.ignoreBOM || this.#begun;
    this.#begun = stream && (this.#begun || bytes.length > 0);
    if (this.encoding === 'utf-8') {
      if (!keepMark && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) bytes = bytes.subarray(3);
      const text = host.decode(bytes);
      if (text !== undefined) return text;
    }
    const head = { label: this.encoding, fatal: this.fatal, bom: keepMark || this.encoding === 'utf-8' };
    return host.text(Op.textDecode, 0, packed(head, bytes));
  }
}
tag(TextDecoder, 'TextDecoder');

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
const VALUES = new Int8Array(128).fill(-1);
for (let i = 0; i < 64; i++) VALUES[DIGITS.charCodeAt(i)] = i;

function btoa(data: string): string {
  const text = String(data);
  let out = '';
  for (let i = 0; i < text.length; i += 3) {
    const left = text.length - i;
    const [a, b, c] = [text.charCodeAt(i), left > 1 ? text.charCodeAt(i + 1) : 0, left > 2 ? text.charCodeAt(i + 2) : 0];
    if ((a | b | c) > 255) throw new DOMException('Invalid character', 'InvalidCharacterError');
    out += DIGITS.charAt(a >> 2) + DIGITS.charAt(((a & 3) << 4) | (b >> 4));
    out += left > 1 ? DIGITS.charAt(((b & 15) << 2) | (c >> 6)) : '=';
    out += left > 2 ? DIGITS.charAt(c & 63) : '=';
  }
  return out;
}

function atob(data: string): string {
  let text = String(data).replace(/[\t\n\f\r ]/g, '');
  if (text.length % 4 === 0) text = text.replace(/==?$/, '');
  const bad = () => new DOMException('The string to be decoded is not correctly encoded.', 'InvalidCharacterError');
  if (text.length % 4 === 1) throw bad();
  const codes: string[] = [];
  let bits = 0;
  let held = 0;
  for (let i = 0; i < text.length; i++) {
    const value = VALUES[text.charCodeAt(i)] ?? -1;
    if (value < 0) throw bad();
    held = (held << 6) | value;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      codes.push(String.fromCharCode((held >> bits) & 255));
      held &= (1 << bits) - 1;
    }
  }
  return codes.join('');
}

install({ TextEncoder, TextDecoder, atob, btoa });

// node:crypto over the host's cryptography.
import { ask, type Bytes, exportJwk, generate, type Hash, importKey, random, toBase64Url, uuid } from '../crypto-core';
import { encode, view } from '../host';
import { keyBytes } from '../web/crypto';
import { Transform } from './stream';

/* eslint-disable */
type Input = string | ArrayBuffer | ArrayBufferView;
type Encoding = string | undefined;
const { Buffer } = globalThis as any;

const coded = (error: Error, code: string) => Object.assign(error, { code });
function bytesOf(input: any, encoding?: Encoding): Bytes {
  if (typeof input === 'string') return encoding === undefined || encoding === 'utf8' || encoding === 'utf-8' ? encode(input) : view(Buffer.from(input, encoding));
  if (input instanceof KeyObject) return input.bytes();
  if (input instanceof ArrayBuffer || ArrayBuffer.isView(input)) return view(input);
  throw coded(new TypeError('The "data" argument must be of type string or an instance of Buffer, TypedArray, or DataView'), 'ERR_INVALID_ARG_TYPE');
}
const out = (bytes: Bytes, encoding?: Encoding): any => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return encoding === undefined || encoding === 'buffer' ? buffer : buffer.toString(encoding);
};

const HASHES: Record<string, Hash> = { md5: 'md5', sha1: 'sha1', sha224: 'sha224', sha256: 'sha256', sha384: 'sha384', sha512: 'sha512' };
function hashOf(name: unknown): Hash {
  const plain = String(name).toLowerCase().replace(/^rsa-/, '').replaceAll('-', '');
  const found = Object.hasOwn(HASHES, plain) ? HASHES[plain] : undefined;
  if (found === undefined) throw coded(new Error(`Digest method not supported: ${String(name)}`), 'ERR_CRYPTO_INVALID_DIGEST');
  return found;
}
export const getHashes = () => Object.keys(HASHES);
export const getCiphers = () => [128, 192, 256].flatMap((bits) => ['gcm', 'cbc', 'ctr'].map((mode) => `aes-${bits}-${mode}`));
export const getCurves = () => ['prime256v1', 'secp384r1'];

function concat(parts: Uint8Array[]): Bytes {
  return view(Buffer.concat(parts));
}

class Hashing extends (Transform as any) {
  #parts: Uint8Array[] = [];
  #done = false;
  readonly #finish: (data: Bytes) => Bytes;
  constructor(finish: (data: Bytes) => Bytes, parts: Uint8Array[] = []) {
    super();
    this.#finish = finish;
    this.#parts = parts;
  }
  update(data: Input, encoding?: Encoding) {
    if (this.#done) throw coded(new Error('Digest already called'), 'ERR_CRYPTO_HASH_FINALIZED');
    this.#parts.push(bytesOf(data, encoding).slice());
    return this;
  }
  digest(encoding?: Encoding) {
    if (this.#done) throw coded(new Error('Digest already called'), 'ERR_CRYPTO_HASH_FINALIZED');
    this.#done = true;
    return out(this.#finish(concat(this.#parts)), encoding);
  }
  copy() {
    return new Hashing(this.#finish, [...this.#parts]);
  }
  _transform(chunk: Uint8Array, _encoding: string, done: () => void) {
    this.update(chunk);
    done();
  }
  _flush(done: () => void) {
    (this as any).push(this.digest());
    done();
  }
}
export { Hashing as Hash, Hashing as Hmac };

export const createHash = (algorithm: string) => {
  const hash = hashOf(algorithm);
  return new Hashing((data) => ask({ op: 'digest', hash }, data)) as any;
};
export const hash = (algorithm: string, data: Input, encoding: Encoding = 'hex') => createHash(algorithm).update(data).digest(encoding);
export const createHmac = (algorithm: string, key: Input | KeyObject) => {
  const hash = hashOf(algorithm);
  const secret = bytesOf(key).slice();
  return new Hashing((data) => ask({ op: 'hmac', hash }, secret, data)) as any;
};

type Callback = (error: unknown, value?: any) => void;
const later = (run: () => unknown, done: Callback) =>
  queueMicrotask(() => {
    let value: unknown;
    try {
      value = run();
    } catch (error) {
      return done(error);
    }
    done(null, value);
  });

export function randomBytes(size: number, done?: Callback) {
  if (!(size >= 0 && size <= 2147483647)) throw coded(new RangeError(`The value of "size" is out of range. Received ${size}`), 'ERR_OUT_OF_RANGE');
  if (done) return later(() => out(random(size)), done);
  return out(random(size));
}
export { randomBytes as pseudoRandomBytes };
export const randomUUID = () => uuid();
export const getRandomValues = <T extends ArrayBufferView>(array: T) => crypto.getRandomValues(array as never) as T;
export function randomFillSync<T extends ArrayBufferView>(target: T, offset = 0, size = target.byteLength - offset): T {
  new Uint8Array(target.buffer, target.byteOffset + offset, size).set(random(size));
  return target;
}
export function randomFill(target: ArrayBufferView, ...rest: any[]) {
  const done = rest.pop() as Callback;
  later(() => randomFillSync(target, ...rest), done);
}
export function randomInt(low: number, high?: number | Callback, done?: Callback): number | void {
  if (typeof high !== 'number') return randomInt(0, low, high);
  const range = high - low;
  if (!(range > 0 && range <= 2 ** 48)) throw coded(new RangeError('The value of "max" is out of range'), 'ERR_OUT_OF_RANGE');
  // Rejection keeps the distribution flat.
  const limit = 2 ** 48 - (2 ** 48 % range);
  for (;;) {
    let value = 0;
    for (const byte of random(6)) value = value * 256 + byte;
    if (value >= limit) continue;
    const result = low + (value % range);
    if (done) return void queueMicrotask(() => done(null, result));
    return result;
  }
}
export function timingSafeEqual(a: Input, b: Input): boolean {
  const [x, y] = [bytesOf(a), bytesOf(b)];
  if (x.length !== y.length) throw coded(new RangeError('Input buffers must have the same byte length'), 'ERR_CRYPTO_TIMING_SAFE_EQUAL_LENGTH');
  let difference = 0;
  for (let i = 0; i < x.length; i++) difference |= (x[i] as number) ^ (y[i] as number);
  return difference === 0;
}

export const pbkdf2Sync = (password: Input, salt: Input, iterations: number, length: number, digest: string) =>
  out(ask({ op: 'pbkdf2', hash: hashOf(digest), iterations, length }, bytesOf(password), bytesOf(salt)));
export const pbkdf2 = (password: Input, salt: Input, iterations: number, length: number, digest: string, done: Callback) =>
  later(() => pbkdf2Sync(password, salt, iterations, length, digest), done);
export const hkdfSync = (digest: string, key: Input | KeyObject, salt: Input, info: Input, length: number): ArrayBuffer =>
  ask({ op: 'hkdf', hash: hashOf(digest), length }, bytesOf(key), bytesOf(salt), bytesOf(info)).slice().buffer;
export const hkdf = (digest: string, key: Input, salt: Input, info: Input, length: number, done: Callback) =>
  later(() => hkdfSync(digest, key, salt, info, length), done);
export function scryptSync(password: Input, salt: Input, length: number, options: Record<string, number> = {}) {
  const N = options.N ?? options.cost ?? 16384;
  const logN = Math.log2(N);
  if (!Number.isInteger(logN) || logN < 1) throw coded(new RangeError('Invalid scrypt params'), 'ERR_CRYPTO_INVALID_SCRYPT_PARAMS');
  const head = { op: 'scrypt', logN, r: options.r ?? options.blockSize ?? 8, p: options.p ?? options.parallelization ?? 1, length };
  return out(ask(head, bytesOf(password), bytesOf(salt)));
}
export function scrypt(password: Input, salt: Input, length: number, second: any, third?: Callback) {
  const done = typeof second === 'function' ? second : third;
  later(() => scryptSync(password, salt, length, typeof second === 'object' ? second : {}), done as Callback);
}

/** The AES ciphers; data is gathered and worked on at the end, which is when GCM may speak anyway. */
class Cipheriv extends (Transform as any) {
  readonly #encrypt: boolean;
  readonly #mode: string;
  readonly #key: Bytes;
  readonly #iv: Bytes;
  readonly #parts: Uint8Array[] = [];
  readonly #aad: Uint8Array[] = [];
  #tag: Bytes | null = null;
  #padding = true;
  constructor(encrypt: boolean, algorithm: string, key: Input | KeyObject, iv: Input | null) {
    super();
    const match = /^(?:id-)?aes-?(128|192|256)-?(gcm|cbc|ctr)$/i.exec(algorithm);
    if (match === null) throw coded(new Error('Unknown cipher'), 'ERR_CRYPTO_UNKNOWN_CIPHER');
    this.#encrypt = encrypt;
    this.#mode = (match[2] as string).toLowerCase();
    this.#key = bytesOf(key).slice();
    this.#iv = iv === null ? new Uint8Array(0) : bytesOf(iv).slice();
    if (this.#key.length * 8 !== Number(match[1])) throw coded(new RangeError('Invalid key length'), 'ERR_CRYPTO_INVALID_KEYLEN');
    if (this.#mode !== 'gcm' && this.#iv.length !== 16) throw coded(new TypeError('Invalid initialization vector'), 'ERR_CRYPTO_INVALID_IV');
  }
  update(data: Input, inputEncoding?: Encoding, outputEncoding?: Encoding) {
    this.#parts.push(bytesOf(data, inputEncoding).slice());
    return out(new Uint8Array(0), outputEncoding);
  }
  final(encoding?: Encoding) {
    let data = concat(this.#parts);
    const head: Record<string, unknown> = { op: 'cipher', cipher: `aes-${this.#mode}`, encrypt: this.#encrypt };
    if (this.#mode === 'cbc') head.padding = this.#padding;
    if (this.#mode === 'ctr') head.counterBits = 128;
    if (this.#mode === 'gcm' && !this.#encrypt) {
      if (this.#tag === null) throw new Error('Unsupported state or unable to authenticate data');
      data = concat([data, this.#tag]);
      head.tagBits = this.#tag.length * 8;
    }
    let result: Bytes;
    try {
      result = ask(head, this.#key, this.#iv, data, concat(this.#aad));
    } catch (error) {
      if ((error as DOMException).name === 'NotSupportedError') throw error;
      if (this.#mode === 'gcm') throw new Error('Unsupported state or unable to authenticate data');
      throw coded(new Error((error as Error).message), 'ERR_OSSL_BAD_DECRYPT');
    }
    if (this.#mode === 'gcm' && this.#encrypt) {
      this.#tag = result.slice(-16);
      result = result.subarray(0, -16);
    }
    return out(result, encoding);
  }
  setAAD(data: Input) {
    this.#aad.push(bytesOf(data).slice());
    return this;
  }
  getAuthTag() {
    if (this.#tag === null) throw coded(new Error('Invalid state for operation getAuthTag'), 'ERR_CRYPTO_INVALID_STATE');
    return out(this.#tag);
  }
  setAuthTag(tag: Input, encoding?: Encoding) {
    this.#tag = bytesOf(tag, encoding).slice();
    if (![4, 8, 12, 13, 14, 15, 16].includes(this.#tag.length)) throw coded(new TypeError(`Invalid authentication tag length: ${this.#tag.length}`), 'ERR_CRYPTO_INVALID_AUTH_TAG');
    return this;
  }
  setAutoPadding(padding = true) {
    this.#padding = padding;
    return this;
  }
  _transform(chunk: Uint8Array, _encoding: string, done: () => void) {
    this.update(chunk);
    done();
  }
  _flush(done: (error?: unknown) => void) {
    try {
      (this as any).push(this.final());
      done();
    } catch (error) {
      done(error);
    }
  }
}
export { Cipheriv, Cipheriv as Decipheriv };
export const createCipheriv = (algorithm: string, key: Input | KeyObject, iv: Input | null) => new Cipheriv(true, algorithm, key, iv) as any;
export const createDecipheriv = (algorithm: string, key: Input | KeyObject, iv: Input | null) => new Cipheriv(false, algorithm, key, iv) as any;

const CURVES: Record<string, string> = { 'P-256': 'prime256v1', 'P-384': 'secp384r1' };
const PEM: Record<string, string> = {
  'PRIVATE KEY': 'pkcs8',
  'PUBLIC KEY': 'spki',
  'RSA PRIVATE KEY': 'pkcs1-private',
  'RSA PUBLIC KEY': 'pkcs1-public',
  'EC PRIVATE KEY': 'sec1',
};
const pem = (label: string, der: Bytes) => `-----BEGIN ${label}-----\n${(out(der, 'base64').match(/.{1,64}/g) ?? []).join('\n')}\n-----END ${label}-----\n`;

export class KeyObject {
  readonly type: 'secret' | 'private' | 'public';
  readonly #bytes: Bytes;
  readonly #kind: { kind: string; curve?: string; bits?: number } | null;
  constructor(type: KeyObject['type'], bytes: Bytes, kind: { kind: string; curve?: string; bits?: number } | null = null) {
    this.type = type;
    this.#bytes = bytes;
    this.#kind = kind;
  }
  get [Symbol.toStringTag]() {
    return 'KeyObject';
  }
  static from(key: CryptoKey): KeyObject {
    const bytes = keyBytes(key as never);
    if (key.type === 'secret') return new KeyObject('secret', bytes);
    return read(key.type === 'private' ? 'pkcs8' : 'spki', bytes);
  }
  bytes(): Bytes {
    return this.#bytes;
  }
  get asymmetricKeyType(): string | undefined {
    return this.#kind?.kind;
  }
  get asymmetricKeyDetails(): Record<string, unknown> | undefined {
    if (this.#kind === null) return undefined;
    if (this.#kind.kind === 'ec') return { namedCurve: CURVES[this.#kind.curve ?? ''] };
    return this.#kind.kind === 'rsa' ? { modulusLength: this.#kind.bits, publicExponent: 65537n } : {};
  }
  get symmetricKeySize(): number | undefined {
    return this.type === 'secret' ? this.#bytes.length : undefined;
  }
  equals(other: KeyObject): boolean {
    return this.type === other.type && this.#bytes.length === other.#bytes.length && timingSafeEqual(this.#bytes, other.#bytes);
  }
  export(options: { type?: string; format?: string } = {}): any {
    if (this.type === 'secret') return options.format === 'jwk' ? { kty: 'oct', k: toBase64Url(this.#bytes) } : out(this.#bytes.slice());
    const isPrivate = this.type === 'private';
    if (options.format === 'jwk') return exportJwk(this.#bytes, isPrivate);
    const type = options.type ?? (isPrivate ? 'pkcs8' : 'spki');
    const der = type === 'pkcs8' || type === 'spki' ? this.#bytes.slice() : ask({ op: 'export', format: type, private: isPrivate }, this.#bytes);
    if (options.format === 'der') return out(der);
    const side = isPrivate ? 'PRIVATE' : 'PUBLIC';
    return pem(type === 'pkcs1' ? `RSA ${side} KEY` : type === 'sec1' ? 'EC PRIVATE KEY' : `${side} KEY`, der);
  }
  toCryptoKey(algorithm: any, extractable: boolean, usages: any) {
    const format = this.type === 'secret' ? 'raw' : this.type === 'private' ? 'pkcs8' : 'spki';
    return crypto.subtle.importKey(format, this.#bytes as never, algorithm, extractable, usages);
  }
}

function read(format: string, data: Uint8Array): KeyObject {
  try {
    const { described, der } = importKey(format, data);
    return new KeyObject(described.private ? 'private' : 'public', der, described);
  } catch (error) {
    throw coded(new Error(`error: the key cannot be read: ${(error as Error).message}`), 'ERR_OSSL_UNSUPPORTED');
  }
}

/** A key in any form Node takes. */
function keyOf(given: any): KeyObject {
  if (given instanceof KeyObject) return given;
  if (given instanceof globalThis.CryptoKey) return KeyObject.from(given);
  if (typeof given === 'string' || given instanceof ArrayBuffer || ArrayBuffer.isView(given)) {
    const text = typeof given === 'string' ? given : Buffer.from(view(given)).toString('latin1');
    const match = /-----BEGIN ([A-Z ]+)-----([\s\S]*?)-----END \1-----/.exec(text);
    if (match !== null) {
      const format = PEM[match[1] as string];
      if (format === undefined) throw coded(new Error(`Unsupported PEM: ${match[1]}`), 'ERR_OSSL_UNSUPPORTED');
      return read(format, Buffer.from((match[2] as string).replace(/\s/g, ''), 'base64'));
    }
    if (typeof given === 'string') throw coded(new Error('error:1E08010C:DECODER routines::unsupported'), 'ERR_OSSL_UNSUPPORTED');
    return read('any', view(given));
  }
  if (typeof given === 'object' && given !== null && 'key' in given) {
    if (given.format === 'jwk') return read('jwk', encode(JSON.stringify(given.key)));
    if (given.format === 'der') {
      const format = given.type === 'pkcs1' ? 'any' : (given.type ?? 'any');
      return read(format, bytesOf(given.key, given.encoding));
    }
    return keyOf(given.key);
  }
  throw coded(new TypeError('Invalid key'), 'ERR_INVALID_ARG_TYPE');
}
export const createSecretKey = (key: Input, encoding?: Encoding) => new KeyObject('secret', bytesOf(key, encoding).slice());
export function createPrivateKey(given: any): KeyObject {
  const key = keyOf(given);
  if (key.type !== 'private') throw coded(new TypeError('Invalid key object type public, expected private.'), 'ERR_CRYPTO_INVALID_KEY_OBJECT_TYPE');
  return key;
}
export function createPublicKey(given: any): KeyObject {
  const key = keyOf(given);
  return key.type === 'private' ? read('spki', ask({ op: 'public' }, key.bytes())) : key;
}

export function generateKeyPairSync(type: string, options: any = {}): { publicKey: any; privateKey: any } {
  const kind = type === 'rsa-pss' ? 'rsa' : type;
  const curve = { prime256v1: 'P-256', 'P-256': 'P-256', secp384r1: 'P-384', 'P-384': 'P-384' }[options.namedCurve as string];
  if (!['rsa', 'ec', 'ed25519', 'x25519'].includes(kind)) throw coded(new TypeError(`The key type '${type}' is not available in the function sandbox`), 'ERR_INVALID_ARG_VALUE');
  if (kind === 'ec' && curve === undefined) throw coded(new TypeError('Invalid EC curve name'), 'ERR_CRYPTO_INVALID_CURVE');
  const made = generate(kind, { ...(curve === undefined ? {} : { curve }), ...(options.modulusLength === undefined ? {} : { bits: options.modulusLength }) });
  const [publicKey, privateKey] = [read('spki', made.publicDer), read('pkcs8', made.privateDer)];
  return {
    publicKey: options.publicKeyEncoding ? publicKey.export(options.publicKeyEncoding) : publicKey,
    privateKey: options.privateKeyEncoding ? privateKey.export(options.privateKeyEncoding) : privateKey,
  };
}
export function generateKeyPair(type: string, options: any, done: (error: unknown, publicKey?: any, privateKey?: any) => void) {
  later(() => generateKeyPairSync(type, options), (error, pair) => (error ? done(error) : done(null, pair.publicKey, pair.privateKey)));
}
export const generateKeySync = (_type: string, options: { length: number }) => new KeyObject('secret', random(options.length >> 3));

function scheme(key: KeyObject, algorithm: unknown, options: any): Record<string, unknown> {
  const name = typeof algorithm === 'string' ? hashOf(algorithm) : 'sha512';
  if (key.asymmetricKeyType === 'ed25519') return { scheme: 'ed25519', hash: 'sha512' };
  if (key.asymmetricKeyType === 'ec') return { scheme: 'ecdsa', hash: name, der: options?.dsaEncoding !== 'ieee-p1363' };
  if (options?.padding === constants.RSA_PKCS1_PSS_PADDING) {
    const salt = options.saltLength;
    return { scheme: 'rsa-pss', hash: name, ...(salt === undefined || salt < 0 ? {} : { salt }) };
  }
  return { scheme: 'rsa-pkcs1', hash: name };
}
export function sign(algorithm: string | null | undefined, data: Input, given: any, done?: Callback): any {
  const run = () => {
    const key = createPrivateKey(given);
    return out(ask({ op: 'sign', ...scheme(key, algorithm, given) }, key.bytes(), bytesOf(data)));
  };
  return done ? later(run, done) : run();
}
export function verify(algorithm: string | null | undefined, data: Input, given: any, signature: Input, done?: Callback): any {
  const run = () => {
    const key = createPublicKey(given);
    return ask({ op: 'verify', ...scheme(key, algorithm, given) }, key.bytes(), bytesOf(signature), bytesOf(data))[0] === 1;
  };
  return done ? later(run, done) : run();
}
class Signing {
  readonly #algorithm: string;
  readonly #parts: Uint8Array[] = [];
  constructor(algorithm: string) {
    hashOf(algorithm);
    this.#algorithm = algorithm;
  }
  update(data: Input, encoding?: Encoding) {
    this.#parts.push(bytesOf(data, encoding).slice());
    return this;
  }
  write(data: Input) {
    this.update(data);
    return true;
  }
  end(data?: Input) {
    if (data !== undefined) this.update(data);
    return this;
  }
  sign(key: any, encoding?: Encoding) {
    return out(sign(this.#algorithm, concat(this.#parts), key), encoding);
  }
  verify(key: any, signature: Input, encoding?: Encoding) {
    return verify(this.#algorithm, concat(this.#parts), key, bytesOf(signature, encoding));
  }
}
export { Signing as Sign, Signing as Verify };
export const createSign = (algorithm: string) => new Signing(algorithm);
export const createVerify = (algorithm: string) => new Signing(algorithm);

function oaep(encrypt: boolean, given: any, data: Input) {
  const padding = given?.padding ?? constants.RSA_PKCS1_OAEP_PADDING;
  if (padding !== constants.RSA_PKCS1_OAEP_PADDING) throw coded(new Error('Only OAEP padding is available in the function sandbox'), 'ERR_R402_UNSUPPORTED_API');
  const key = encrypt ? createPublicKey(given) : createPrivateKey(given);
  const label = given?.oaepLabel === undefined ? new Uint8Array(0) : bytesOf(given.oaepLabel);
  return out(ask({ op: 'rsa-oaep', encrypt, hash: hashOf(given?.oaepHash ?? 'sha1') }, key.bytes(), bytesOf(data), label));
}
export const publicEncrypt = (key: any, data: Input) => oaep(true, key, data);
export const privateDecrypt = (key: any, data: Input) => oaep(false, key, data);

export const diffieHellman = (options: { privateKey: KeyObject; publicKey: KeyObject }) => out(ask({ op: 'ecdh' }, options.privateKey.bytes(), options.publicKey.bytes()));

export const constants = {
  RSA_PKCS1_PADDING: 1,
  RSA_NO_PADDING: 3,
  RSA_PKCS1_OAEP_PADDING: 4,
  RSA_PKCS1_PSS_PADDING: 6,
  RSA_PSS_SALTLEN_DIGEST: -1,
  RSA_PSS_SALTLEN_MAX_SIGN: -2,
  RSA_PSS_SALTLEN_AUTO: -2,
  defaultCoreCipherList: '',
};
export const webcrypto = globalThis.crypto;
export const { subtle } = globalThis.crypto;
export const getFips = () => 0;
export const secureHeapUsed = () => ({ total: 0, used: 0, utilization: 0, min: 0 });

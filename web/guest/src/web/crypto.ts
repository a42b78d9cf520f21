// Web Cryptography. Parameters are normalised here; the host computes.
import { ask, type Bytes, exportJwk, fromBase64Url, generate, type Hash, importKey, random, toBase64Url, uuid } from '../crypto-core';
import { encode, install, tag, view } from '../host';

type Named = { name: string; [key: string]: unknown };
type Usage = 'encrypt' | 'decrypt' | 'sign' | 'verify' | 'deriveKey' | 'deriveBits' | 'wrapKey' | 'unwrapKey';
const USAGES: Usage[] = ['encrypt', 'decrypt', 'sign', 'verify', 'deriveKey', 'deriveBits', 'wrapKey', 'unwrapKey'];

const HASHES: Record<string, Hash> = { 'SHA-1': 'sha1', 'SHA-256': 'sha256', 'SHA-384': 'sha384', 'SHA-512': 'sha512' };
const HASH_NAMES = Object.keys(HASHES);
const BLOCK: Record<string, number> = { 'SHA-1': 512, 'SHA-256': 512, 'SHA-384': 1024, 'SHA-512': 1024 };
const ALGORITHMS = [
  'AES-GCM', 'AES-CBC', 'AES-CTR', 'AES-KW', 'HMAC', 'HKDF', 'PBKDF2', 'ECDSA', 'ECDH', 'Ed25519', 'X25519',
  'RSASSA-PKCS1-v1_5', 'RSA-PSS', 'RSA-OAEP', ...HASH_NAMES,
];

const refuse = (name: string, message: string) => new DOMException(message, name);

function normalize(given: unknown): Named {
  const object: Named = typeof given === 'string' ? { name: given } : ({ ...(given as Named) } as Named);
  if (typeof given !== 'string' && (typeof given !== 'object' || given === null)) throw new TypeError('The algorithm must be a name or an object');
  const known = ALGORITHMS.find((name) => name.toLowerCase() === String(object.name).toLowerCase());
  if (known === undefined) throw refuse('NotSupportedError', `Unrecognized algorithm name: ${String(object.name)}`);
  object.name = known;
  if (object.hash !== undefined) object.hash = { name: hashName(object.hash) };
  return object;
}
function hashName(given: unknown): string {
  const { name } = normalize(given);
  if (!(name in HASHES)) throw refuse('NotSupportedError', `${name} is not a hash`);
  return name;
}
const hashOf = (algorithm: Named): Hash => HASHES[(algorithm.hash as Named | undefined)?.name ?? ''] ?? missing('hash');
function missing(what: string): never {
  throw new TypeError(`The algorithm needs a ${what}`);
}
const bytesOf = (value: unknown, what: string): Bytes => (value === undefined ? missing(what) : view(value, what));

interface Material {
  bytes: Bytes;
}
const materials = new WeakMap<CryptoKey, Material>();
const MAKE = Symbol('make');

class CryptoKey {
  readonly type: 'secret' | 'private' | 'public';
  readonly extractable: boolean;
  readonly algorithm: Named;
  readonly usages: Usage[];
  constructor(make: symbol, type: CryptoKey['type'], extractable: boolean, algorithm: Named, usages: Usage[], bytes: Bytes) {
    if (make !== MAKE) throw new TypeError('Illegal constructor');
    this.type = type;
    this.extractable = extractable;
    this.algorithm = algorithm;
    this.usages = USAGES.filter((usage) => usages.includes(usage));
    materials.set(this, { bytes });
  }
}
tag(CryptoKey, 'CryptoKey');
/** The bytes of a key: raw for secrets, DER for pairs. For node:crypto's KeyObject. */
export function keyBytes(key: CryptoKey): Bytes {
  const held = materials.get(key);
  if (held === undefined) throw new TypeError('The key is not a CryptoKey');
  return held.bytes;
}

function use(key: CryptoKey, algorithm: Named, usage: Usage): Bytes {
  const bytes = keyBytes(key);
  if (key.algorithm.name !== algorithm.name) throw refuse('InvalidAccessError', 'The key is for another algorithm');
  if (!key.usages.includes(usage)) throw refuse('InvalidAccessError', `The key does not permit ${usage}`);
  return bytes;
}

const ALLOWED: Record<string, { secret?: Usage[]; private?: Usage[]; public?: Usage[] }> = {
  HMAC: { secret: ['sign', 'verify'] },
  'AES-GCM': { secret: ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'] },
  'AES-CBC': { secret: ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'] },
  'AES-CTR': { secret: ['encrypt', 'decrypt', 'wrapKey', 'unwrapKey'] },
  'AES-KW': { secret: ['wrapKey', 'unwrapKey'] },
  HKDF: { secret: ['deriveKey', 'deriveBits'] },
  PBKDF2: { secret: ['deriveKey', 'deriveBits'] },
  ECDSA: { private: ['sign'], public: ['verify'] },
  Ed25519: { private: ['sign'], public: ['verify'] },
  'RSASSA-PKCS1-v1_5': { private: ['sign'], public: ['verify'] },
  'RSA-PSS': { private: ['sign'], public: ['verify'] },
  'RSA-OAEP': { private: ['decrypt', 'unwrapKey'], public: ['encrypt', 'wrapKey'] },
  ECDH: { private: ['deriveKey', 'deriveBits'], public: [] },
  X25519: { private: ['deriveKey', 'deriveBits'], public: [] },
};

function make(type: CryptoKey['type'], extractable: boolean, algorithm: Named, usages: Usage[], bytes: Bytes): CryptoKey {
  const allowed = ALLOWED[algorithm.name]?.[type] ?? [];
  if (usages.some((usage) => !allowed.includes(usage))) throw refuse('SyntaxError', `Unsupported key usage for a ${type} ${algorithm.name} key`);
  if (usages.length === 0 && type !== 'public') throw refuse('SyntaxError', 'Usages cannot be empty when importing a secret or private key.');
  return new CryptoKey(MAKE, type, extractable, algorithm, usages, bytes);
}

const isSecret = (name: string) => ALLOWED[name]?.secret !== undefined;
const jwkAlgorithm = (algorithm: Named, bytes: Bytes): string | undefined => {
  const size = (algorithm.hash as Named | undefined)?.name.slice(4);
  switch (algorithm.name) {
    case 'HMAC':
      return `HS${size}`;
    case 'RSASSA-PKCS1-v1_5':
      return `RS${size}`;
    case 'RSA-PSS':
      return `PS${size}`;
    case 'RSA-OAEP':
      return size === '1' ? 'RSA-OAEP' : `RSA-OAEP-${size}`;
    case 'Ed25519':
      return 'Ed25519';
    default:
      return algorithm.name.startsWith('AES-') ? `A${bytes.length * 8}${algorithm.name.slice(4)}` : undefined;
  }
};

function importSecret(algorithm: Named, bytes: Bytes, extractable: boolean, usages: Usage[]): CryptoKey {
  if (algorithm.name.startsWith('AES-')) {
    if (![16, 24, 32].includes(bytes.length)) throw refuse('DataError', 'Invalid key length');
    return make('secret', extractable, { name: algorithm.name, length: bytes.length * 8 }, usages, bytes);
  }
  if (algorithm.name === 'HMAC') {
    if (bytes.length === 0) throw refuse('DataError', 'Zero-length key is not supported');
    hashOf(algorithm);
    return make('secret', extractable, { name: 'HMAC', hash: algorithm.hash, length: bytes.length * 8 }, usages, bytes);
  }
  if (extractable) throw refuse('SyntaxError', `${algorithm.name} keys are not extractable`);
  return make('secret', false, { name: algorithm.name }, usages, bytes);
}

const kindOf = (name: string) => (name.startsWith('RSA') ? 'rsa' : name === 'Ed25519' ? 'ed25519' : name === 'X25519' ? 'x25519' : 'ec');

function pairAlgorithm(algorithm: Named, der: Bytes, isPrivate: boolean): Named {
  const { name } = algorithm;
  if (name === 'Ed25519' || name === 'X25519') return { name };
  if (kindOf(name) === 'ec') return { name, namedCurve: algorithm.namedCurve };
  hashOf(algorithm);
  const jwk = exportJwk(der, isPrivate);
  const modulus = fromBase64Url(jwk.n ?? '');
  return { name, modulusLength: modulus.length * 8, publicExponent: fromBase64Url(jwk.e ?? ''), hash: algorithm.hash };
}

const dataError = (error: unknown) => (error instanceof DOMException ? error : refuse('DataError', (error as Error).message));

async function importAny(format: string, data: unknown, given: unknown, extractable: boolean, usages: Usage[]): Promise<CryptoKey> {
  const algorithm = normalize(given);
  const { name } = algorithm;
  if (isSecret(name)) {
    if (format === 'raw' || format === 'raw-secret') return importSecret(algorithm, view(data, 'key').slice(), extractable, usages);
    if (format !== 'jwk') throw refuse('NotSupportedError', `Unable to import ${name} using ${format} format`);
    const jwk = data as JsonWebKey;
    if (jwk.kty !== 'oct' || typeof jwk.k !== 'string') throw refuse('DataError', 'Invalid keyData');
    checkJwk(jwk, extractable, usages);
    return importSecret(algorithm, fromBase64Url(jwk.k), extractable, usages);
  }
  let source: Uint8Array;
  if (format === 'jwk') {
    const jwk = data as JsonWebKey;
    checkJwk(jwk, extractable, usages);
    if (algorithm.namedCurve !== undefined && jwk.crv !== algorithm.namedCurve) throw refuse('DataError', 'Named curve mismatch');
    source = encode(JSON.stringify(jwk));
  } else source = view(data, 'key');
  if (!['jwk', 'spki', 'pkcs8', 'raw', 'raw-public'].includes(format)) throw refuse('NotSupportedError', `Unknown key format: ${format}`);
  const hints = { kind: kindOf(name), ...(algorithm.namedCurve === undefined ? {} : { curve: algorithm.namedCurve as string }) };
  try {
    const { described, der } = importKey(format === 'raw-public' ? 'raw' : format, source, hints);
    if (described.kind !== kindOf(name) || (algorithm.namedCurve !== undefined && described.curve !== algorithm.namedCurve)) {
      throw refuse('DataError', 'The key is of another kind');
    }
    return make(described.private ? 'private' : 'public', extractable || !described.private, pairAlgorithm(algorithm, der, described.private), usages, der);
  } catch (error) {
    throw dataError(error);
  }
}

function checkJwk(jwk: JsonWebKey, extractable: boolean, usages: Usage[]): void {
  if (typeof jwk !== 'object' || jwk === null) throw new TypeError('The key data must be a JsonWebKey');
  if (jwk.ext === false && extractable) throw refuse('DataError', 'The key is not extractable');
  if (jwk.key_ops !== undefined && usages.some((usage) => !jwk.key_ops?.includes(usage))) throw refuse('DataError', 'Key operations and usage mismatch');
}

/** Promises reject where the standard says so; nothing throws at the call. */
class SubtleCrypto {
  async digest(algorithm: unknown, data: unknown): Promise<ArrayBuffer> {
    return ask({ op: 'digest', hash: HASHES[hashName(algorithm)] }, view(data, 'data')).buffer;
  }
  async generateKey(given: unknown, extractable: boolean, usages: Usage[]): Promise<CryptoKey | { privateKey: CryptoKey; publicKey: CryptoKey }> {
    const algorithm = normalize(given);
    const { name } = algorithm;
    if (isSecret(name)) {
      if (name === 'HKDF' || name === 'PBKDF2') throw refuse('NotSupportedError', `${name} keys cannot be generated`);
      const bits = name === 'HMAC' ? Number(algorithm.length ?? BLOCK[(algorithm.hash as Named | undefined)?.name ?? ''] ?? missing('hash')) : Number(algorithm.length);
      if (name !== 'HMAC' && ![128, 192, 256].includes(bits)) throw refuse('OperationError', 'AES key length must be 128, 192 or 256 bits');
      return importSecret(algorithm, random(Math.ceil(bits / 8)), extractable, usages);
    }
    const { namedCurve } = algorithm;
    if (kindOf(name) === 'ec' && namedCurve !== 'P-256' && namedCurve !== 'P-384') throw refuse('NotSupportedError', `The curve ${String(namedCurve)} is not supported`);
    const pair = generate(kindOf(name), {
      ...(namedCurve === undefined ? {} : { curve: namedCurve as string }),
      ...(algorithm.modulusLength === undefined ? {} : { bits: Number(algorithm.modulusLength) }),
    });
    const allowed = ALLOWED[name] ?? {};
    const described = pairAlgorithm(algorithm, pair.publicDer, false);
    const mine = usages.filter((usage) => allowed.private?.includes(usage));
    if (usages.some((usage) => !allowed.private?.includes(usage) && !allowed.public?.includes(usage))) throw refuse('SyntaxError', 'Unsupported key usage');
    const privateKey = make('private', extractable, described, mine, pair.privateDer);
    const publicKey = make('public', true, { ...described }, usages.filter((usage) => allowed.public?.includes(usage)), pair.publicDer);
    return { privateKey, publicKey };
  }
  async importKey(format: string, data: unknown, algorithm: unknown, extractable: boolean, usages: Usage[]): Promise<CryptoKey> {
    return importAny(String(format), data, algorithm, Boolean(extractable), [...usages]);
  }
  async exportKey(format: string, key: CryptoKey): Promise<ArrayBuffer | JsonWebKey> {
    const bytes = keyBytes(key);
    if (!key.extractable) throw refuse('InvalidAccessError', 'key is not extractable');
    if (format === 'jwk') {
      const alg = jwkAlgorithm(key.algorithm, bytes);
      const members = key.type === 'secret' ? { kty: 'oct', k: toBase64Url(bytes) } : exportJwk(bytes, key.type === 'private');
      return { ...members, key_ops: [...key.usages], ext: true, ...(alg === undefined ? {} : { alg }) };
    }
    if (key.type === 'secret') {
      if (format !== 'raw' && format !== 'raw-secret') throw refuse('NotSupportedError', `Unable to export a secret key using ${format} format`);
      return bytes.slice().buffer;
    }
    const wanted = format === 'raw-public' ? 'raw' : format;
    if ((wanted === 'pkcs8') !== (key.type === 'private')) throw refuse('InvalidAccessError', `Unable to export a ${key.type} key using ${format} format`);
    return ask({ op: 'export', format: wanted, private: key.type === 'private' }, bytes).buffer;
  }
  async sign(given: unknown, key: CryptoKey, data: unknown): Promise<ArrayBuffer> {
    const algorithm = normalize(given);
    const bytes = use(key, algorithm, 'sign');
    const message = view(data, 'data');
    if (algorithm.name === 'HMAC') return ask({ op: 'hmac', hash: hashOf(key.algorithm) }, bytes, message).buffer;
    return ask({ op: 'sign', ...scheme(algorithm, key) }, bytes, message).buffer;
  }
  async verify(given: unknown, key: CryptoKey, signature: unknown, data: unknown): Promise<boolean> {
    const algorithm = normalize(given);
    const bytes = use(key, algorithm, 'verify');
    const [mark, message] = [view(signature, 'signature'), view(data, 'data')];
    if (algorithm.name === 'HMAC') {
      const made = ask({ op: 'hmac', hash: hashOf(key.algorithm) }, bytes, message);
      if (made.length !== mark.length) return false;
      let difference = 0;
      for (let i = 0; i < made.length; i++) difference |= (made[i] as number) ^ (mark[i] as number);
      return difference === 0;
    }
    return ask({ op: 'verify', ...scheme(algorithm, key) }, bytes, mark, message)[0] === 1;
  }
  async encrypt(algorithm: unknown, key: CryptoKey, data: unknown): Promise<ArrayBuffer> {
    return crypt(true, normalize(algorithm), key, view(data, 'data'), 'encrypt').buffer;
  }
  async decrypt(algorithm: unknown, key: CryptoKey, data: unknown): Promise<ArrayBuffer> {
    return crypt(false, normalize(algorithm), key, view(data, 'data'), 'decrypt').buffer;
  }
  async deriveBits(algorithm: unknown, key: CryptoKey, length: number | null = null): Promise<ArrayBuffer> {
    return derive(normalize(algorithm), key, length, 'deriveBits').buffer;
  }
  async deriveKey(algorithm: unknown, key: CryptoKey, target: unknown, extractable: boolean, usages: Usage[]): Promise<CryptoKey> {
    const wanted = normalize(target);
    const bits = wanted.name === 'HMAC' ? Number(wanted.length ?? BLOCK[(wanted.hash as Named).name]) : wanted.length === undefined ? null : Number(wanted.length);
    return importSecret(wanted, derive(normalize(algorithm), key, bits, 'deriveKey'), extractable, usages);
  }
  async wrapKey(format: string, key: CryptoKey, wrapping: CryptoKey, algorithm: unknown): Promise<ArrayBuffer> {
    const exported = await this.exportKey(format, key);
    const bytes = exported instanceof ArrayBuffer ? new Uint8Array(exported) : encode(JSON.stringify(exported));
    return crypt(true, normalize(algorithm), wrapping, bytes, 'wrapKey').buffer;
  }
  async unwrapKey(format: string, wrapped: unknown, unwrapping: CryptoKey, algorithm: unknown, target: unknown, extractable: boolean, usages: Usage[]): Promise<CryptoKey> {
    const bytes = crypt(false, normalize(algorithm), unwrapping, view(wrapped, 'wrapped key'), 'unwrapKey');
    return this.importKey(format, format === 'jwk' ? JSON.parse(new TextDecoder().decode(bytes)) : bytes, target, extractable, usages);
  }
}
tag(SubtleCrypto, 'SubtleCrypto');

function scheme(algorithm: Named, key: CryptoKey): Record<string, unknown> {
  switch (algorithm.name) {
    case 'ECDSA':
      return { scheme: 'ecdsa', hash: hashOf(algorithm) };
    case 'Ed25519':
      return { scheme: 'ed25519', hash: 'sha512' };
    case 'RSASSA-PKCS1-v1_5':
      return { scheme: 'rsa-pkcs1', hash: hashOf(key.algorithm) };
    case 'RSA-PSS':
      return { scheme: 'rsa-pss', hash: hashOf(key.algorithm), salt: Number(algorithm.saltLength) };
    default:
      throw refuse('NotSupportedError', `${algorithm.name} does not sign`);
  }
}

function crypt(encrypt: boolean, algorithm: Named, key: CryptoKey, data: Uint8Array, usage: Usage): Bytes {
  const bytes = use(key, algorithm, usage);
  const none = new Uint8Array(0);
  switch (algorithm.name) {
    case 'AES-GCM': {
      const aad = algorithm.additionalData === undefined ? none : bytesOf(algorithm.additionalData, 'additionalData');
      return ask({ op: 'cipher', cipher: 'aes-gcm', encrypt, tagBits: Number(algorithm.tagLength ?? 128) }, bytes, bytesOf(algorithm.iv, 'iv'), data, aad);
    }
    case 'AES-CBC':
      return ask({ op: 'cipher', cipher: 'aes-cbc', encrypt, padding: true }, bytes, bytesOf(algorithm.iv, 'iv'), data);
    case 'AES-CTR':
      return ask({ op: 'cipher', cipher: 'aes-ctr', encrypt, counterBits: Number(algorithm.length) }, bytes, bytesOf(algorithm.counter, 'counter'), data);
    case 'AES-KW':
      if (usage !== 'wrapKey' && usage !== 'unwrapKey') break;
      return ask({ op: 'cipher', cipher: 'aes-kw', encrypt }, bytes, none, data);
    case 'RSA-OAEP':
      return ask({ op: 'rsa-oaep', encrypt, hash: hashOf(key.algorithm) }, bytes, data, algorithm.label === undefined ? none : bytesOf(algorithm.label, 'label'));
  }
  throw refuse('NotSupportedError', `${algorithm.name} does not encrypt`);
}

function derive(algorithm: Named, key: CryptoKey, bits: number | null, usage: Usage): Bytes {
  const bytes = use(key, algorithm, usage);
  if (algorithm.name === 'ECDH' || algorithm.name === 'X25519') {
    const secret = ask({ op: 'ecdh' }, bytes, keyBytes(algorithm.public as CryptoKey));
    if (bits === null) return secret;
    if (bits > secret.length * 8) throw refuse('OperationError', 'The derived bit length is too large');
    return secret.slice(0, Math.ceil(bits / 8));
  }
  if (bits === null || bits % 8 !== 0) throw refuse('OperationError', 'The length must be a multiple of 8');
  const salt = bytesOf(algorithm.salt, 'salt');
  if (algorithm.name === 'PBKDF2') return ask({ op: 'pbkdf2', hash: hashOf(algorithm), iterations: Number(algorithm.iterations), length: bits / 8 }, bytes, salt);
  if (algorithm.name === 'HKDF') return ask({ op: 'hkdf', hash: hashOf(algorithm), length: bits / 8 }, bytes, salt, bytesOf(algorithm.info, 'info'));
  throw refuse('NotSupportedError', `${algorithm.name} does not derive`);
}

const INTEGERS = new Set(['Int8Array', 'Uint8Array', 'Uint8ClampedArray', 'Int16Array', 'Uint16Array', 'Int32Array', 'Uint32Array', 'BigInt64Array', 'BigUint64Array']);

class Crypto {
  readonly #subtle = new SubtleCrypto();
  get subtle() {
    return this.#subtle;
  }
  getRandomValues<T extends ArrayBufferView>(array: T): T {
    const name = (array as unknown as Record<symbol, string> | undefined)?.[Symbol.toStringTag];
    if (name === undefined || !INTEGERS.has(name)) throw refuse('TypeMismatchError', 'The data argument must be an integer-type TypedArray');
    if (array.byteLength > 65536) throw refuse('QuotaExceededError', `The requested length exceeds 65,536 bytes`);
    view(array).set(random(array.byteLength));
    return array;
  }
  randomUUID(): string {
    return uuid();
  }
}
tag(Crypto, 'Crypto');
install({ crypto: new Crypto(), Crypto, CryptoKey, SubtleCrypto });
/** For node:crypto: keys without the ceremony. */
export const makeKey = (type: CryptoKey['type'], algorithm: Named, usages: Usage[], bytes: Bytes) => new CryptoKey(MAKE, type, true, algorithm, usages, bytes);
export { CryptoKey };

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import * as nodeCrypto from 'node:crypto';

const { subtle } = globalThis.crypto;
const text = new TextEncoder();
const hex = (buffer) => Buffer.from(buffer).toString('hex');

export async function digests_and_macs_match_known_answers() {
  assert.equal(hex(await subtle.digest('SHA-256', text.encode('abc'))), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  assert.equal(hex(await subtle.digest({ name: 'sha-1' }, text.encode('abc'))), 'a9993e364706816aba3e25717850c26c9cd0d89d');
  assert.equal(nodeCrypto.createHash('md5').update('a').update(Buffer.from('bc')).digest('hex'), '900150983cd24fb0d6963f7d28e17f72');
  assert.equal(nodeCrypto.createHash('sha512').update('abc').digest('base64').slice(0, 12), '3a81oZNherrM');
  assert.equal(nodeCrypto.createHmac('sha256', 'key').update('data').digest('hex'), '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0');
  const key = await subtle.importKey('raw', text.encode('key'), { name: 'HMAC', hash: 'SHA-256' }, false, ['sign', 'verify']);
  const mark = await subtle.sign('HMAC', key, text.encode('data'));
  assert.equal(hex(mark), '5031fe3d989c6d1537a013fa6e739da23463fdaec3b70137d828e36ace221bd0');
  assert.equal(await subtle.verify('HMAC', key, mark, text.encode('data')), true);
  assert.equal(await subtle.verify('HMAC', key, mark, text.encode('Data')), false);
}
export async function keys_are_derived_as_elsewhere() {
  assert.equal(nodeCrypto.pbkdf2Sync('password', 'salt', 1, 20, 'sha1').toString('hex'), '0c60c80f961f0e71f3a9b524af6012062fe037a6');
  assert.equal(nodeCrypto.scryptSync('password', 'NaCl', 64, { N: 1024, r: 8, p: 16 }).toString('hex').slice(0, 32), 'fdbabe1c9d3472007856e7190d01e9fe');
  const ikm = Buffer.from('0b'.repeat(22), 'hex');
  const okm = nodeCrypto.hkdfSync('sha256', ikm, Buffer.from('000102030405060708090a0b0c', 'hex'), Buffer.from('f0f1f2f3f4f5f6f7f8f9', 'hex'), 42);
  assert.equal(hex(okm), '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865');
  const base = await subtle.importKey('raw', text.encode('password'), 'PBKDF2', false, ['deriveBits', 'deriveKey']);
  const bits = await subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-1', salt: text.encode('salt'), iterations: 1 }, base, 160);
  assert.equal(hex(bits), '0c60c80f961f0e71f3a9b524af6012062fe037a6');
}
export async function aes_comes_back_and_notices_changes() {
  for (const [name, extra] of [['AES-GCM', { iv: new Uint8Array(12) }], ['AES-CBC', { iv: new Uint8Array(16) }], ['AES-CTR', { counter: new Uint8Array(16), length: 64 }]]) {
    for (const length of [128, 256]) {
      const key = await subtle.generateKey({ name, length }, true, ['encrypt', 'decrypt']);
      const sealed = await subtle.encrypt({ name, ...extra }, key, text.encode('secret'));
      assert.equal(new TextDecoder().decode(await subtle.decrypt({ name, ...extra }, key, sealed)), 'secret');
      if (name === 'AES-GCM') {
        new Uint8Array(sealed)[0] ^= 1;
        await assert.rejects(() => subtle.decrypt({ name, ...extra }, key, sealed), { name: 'OperationError' });
      }
    }
  }
  const key = Buffer.alloc(32, 1);
  const iv = Buffer.alloc(12, 2);
  const cipher = nodeCrypto.createCipheriv('aes-256-gcm', key, iv);
  cipher.setAAD(Buffer.from('aad'));
  const sealed = Buffer.concat([cipher.update('secret', 'utf8'), cipher.final()]);
  assert.equal(sealed.toString('hex') + cipher.getAuthTag().toString('hex'), KNOWN_GCM);
  const open = nodeCrypto.createDecipheriv('aes-256-gcm', key, iv);
  open.setAAD(Buffer.from('aad'));
  open.setAuthTag(cipher.getAuthTag());
  assert.equal(open.update(sealed, undefined, 'utf8') + open.final('utf8'), 'secret');
}
const KNOWN_GCM = '74b3aa3b2f23ea188d0e0e41f02acde34ec6e11eef5a';
export async function signatures_verify_across_both_interfaces() {
  const data = text.encode('message');
  for (const [algorithm, node] of [
    [{ name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' }, { dsaEncoding: 'ieee-p1363' }],
    [{ name: 'ECDSA', namedCurve: 'P-384', hash: 'SHA-384' }, { dsaEncoding: 'ieee-p1363' }],
    [{ name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, {}],
    [{ name: 'RSA-PSS', hash: 'SHA-256', saltLength: 32, modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]) }, { padding: nodeCrypto.constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 }],
    [{ name: 'Ed25519' }, {}],
  ]) {
    const { privateKey, publicKey } = await subtle.generateKey(algorithm, true, ['sign', 'verify']);
    const signature = await subtle.sign(algorithm, privateKey, data);
    assert.equal(await subtle.verify(algorithm, publicKey, signature, data), true, algorithm.name);
    assert.equal(await subtle.verify(algorithm, publicKey, signature, text.encode('Message')), false, algorithm.name);
    const jwk = await subtle.exportKey('jwk', publicKey);
    const { kty, crv, x, y, n, e } = jwk;
    const key = nodeCrypto.createPublicKey({ key: { kty, crv, x, y, n, e }, format: 'jwk' });
    const hash = algorithm.name === 'Ed25519' ? null : (algorithm.hash.replace('-', '').toLowerCase());
    assert.equal(nodeCrypto.verify(hash, data, { key, ...node }, new Uint8Array(signature)), true, algorithm.name);
    const again = await subtle.importKey('jwk', jwk, algorithm, true, ['verify']);
    assert.equal(await subtle.verify(algorithm, again, signature, data), true, algorithm.name);
    const pem = nodeCrypto.createPrivateKey({ key: Buffer.from(await subtle.exportKey('pkcs8', privateKey)), format: 'der', type: 'pkcs8' }).export({ type: 'pkcs8', format: 'pem' });
    assert.match(pem, /^-----BEGIN PRIVATE KEY-----\n/);
    const made = nodeCrypto.sign(hash, data, { key: pem, ...node });
    assert.equal(await subtle.verify(algorithm, publicKey, made, data), true, algorithm.name);
  }
}
export async function der_signatures_are_nodes_default() {
  const { privateKey, publicKey } = nodeCrypto.generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const signature = nodeCrypto.createSign('sha256').update('data').sign(privateKey);
  assert.equal(signature[0], 0x30);
  assert.equal(nodeCrypto.createVerify('SHA256').update('data').verify(publicKey, signature), true);
  assert.equal(privateKey.asymmetricKeyType, 'ec');
  assert.equal(publicKey.export({ type: 'spki', format: 'der' }).length, 91);
}
export async function secrets_are_agreed() {
  for (const namedCurve of ['P-256', 'P-384']) {
    const [a, b] = await Promise.all([1, 2].map(() => subtle.generateKey({ name: 'ECDH', namedCurve }, true, ['deriveBits'])));
    const one = await subtle.deriveBits({ name: 'ECDH', public: b.publicKey }, a.privateKey, 256);
    const two = await subtle.deriveBits({ name: 'ECDH', public: a.publicKey }, b.privateKey, 256);
    assert.equal(hex(one), hex(two));
  }
}
export function randomness_is_of_the_right_shape() {
  assert.match(crypto.randomUUID(), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(nodeCrypto.randomBytes(8).length, 8);
  const n = nodeCrypto.randomInt(5, 7);
  assert.ok(n === 5 || n === 6);
  assert.throws(() => crypto.getRandomValues(new Float32Array(1)), { name: 'TypeMismatchError' });
  assert.equal(nodeCrypto.timingSafeEqual(Buffer.from('a'), Buffer.from('a')), true);
  assert.throws(() => nodeCrypto.timingSafeEqual(Buffer.from('a'), Buffer.from('ab')), RangeError);
}

export async function keys_wrap_keys() {
  const { subtle } = globalThis.crypto;
  const wrapping = await subtle.generateKey({ name: 'AES-KW', length: 256 }, true, ['wrapKey', 'unwrapKey']);
  const key = await subtle.generateKey({ name: 'AES-GCM', length: 128 }, true, ['encrypt', 'decrypt']);
  const wrapped = await subtle.wrapKey('raw', key, wrapping, 'AES-KW');
  assert.equal(wrapped.byteLength, 24);
  const back = await subtle.unwrapKey('raw', wrapped, wrapping, 'AES-KW', 'AES-GCM', true, ['encrypt']);
  assert.deepEqual(new Uint8Array(await subtle.exportKey('raw', back)), new Uint8Array(await subtle.exportKey('raw', key)));
  await assert.rejects(subtle.unwrapKey('raw', new Uint8Array(24), wrapping, 'AES-KW', 'AES-GCM', true, ['encrypt']));
  assert.equal((await subtle.exportKey('jwk', wrapping)).alg, 'A256KW');
}

export async function gcm_takes_long_nonces_and_short_tags() {
  const { subtle } = globalThis.crypto;
  const key = await subtle.importKey('raw', new Uint8Array(32).fill(7), 'AES-GCM', false, ['encrypt', 'decrypt']);
  const text = new TextEncoder().encode('some text');
  const hex = (bytes) => Buffer.from(bytes).toString('hex');
  const sealed = await subtle.encrypt({ name: 'AES-GCM', iv: new Uint8Array(16).fill(1) }, key, text);
  assert.equal(hex(sealed), 'eecfa922cd2422a59e1af0e58e25f56e34b34f39fb2c1149da');
  const short = { name: 'AES-GCM', iv: new Uint8Array(12).fill(1), tagLength: 96, additionalData: text };
  const tagged = await subtle.encrypt(short, key, text);
  assert.equal(hex(tagged), '058ee4d2b0cb8976a5d18a1dcfcbfa6de4ec45719a');
  assert.equal(hex(await subtle.decrypt(short, key, tagged)), hex(text));
  await assert.rejects(subtle.decrypt({ ...short, additionalData: new Uint8Array(1) }, key, tagged), { name: 'OperationError' });
  await assert.rejects(subtle.encrypt({ ...short, tagLength: 100 }, key, text), { name: 'OperationError' });
  const cipher = nodeCrypto.createCipheriv('aes-256-gcm', Buffer.alloc(32, 7), Buffer.alloc(16, 1));
  assert.equal(cipher.update('some text', 'utf8', 'hex') + cipher.final('hex') + cipher.getAuthTag().toString('hex'), hex(sealed));
}

export async function x25519_agrees() {
  const [mine, theirs] = await Promise.all([1, 2].map(() => subtle.generateKey('X25519', true, ['deriveBits', 'deriveKey'])));
  const bits = (key, other) => subtle.deriveBits({ name: 'X25519', public: other }, key, 256);
  assert.equal(hex(await bits(mine.privateKey, theirs.publicKey)), hex(await bits(theirs.privateKey, mine.publicKey)));
  for (const format of ['jwk', 'pkcs8']) {
    const again = await subtle.importKey(format, await subtle.exportKey(format, mine.privateKey), 'X25519', true, ['deriveBits']);
    assert.equal(hex(await bits(again, theirs.publicKey)), hex(await bits(mine.privateKey, theirs.publicKey)));
  }
  for (const format of ['raw', 'spki', 'jwk']) await subtle.importKey(format, await subtle.exportKey(format, mine.publicKey), 'X25519', true, []);
  assert.equal((await subtle.exportKey('jwk', mine.publicKey)).crv, 'X25519');
}

import assert from 'node:assert';
import * as jose from 'jose';

const secret = new TextEncoder().encode('0123456789abcdef0123456789abcdef');

export async function hmac_tokens() {
  const token = await new jose.SignJWT({ role: 'x' }).setProtectedHeader({ alg: 'HS256' }).setIssuedAt().setExpirationTime('2h').setAudience('a').sign(secret);
  const { payload } = await jose.jwtVerify(token, secret, { audience: 'a' });
  assert.equal(payload.role, 'x');
  await assert.rejects(jose.jwtVerify(`${token}x`, secret), { code: 'ERR_JWS_SIGNATURE_VERIFICATION_FAILED' });
  await assert.rejects(jose.jwtVerify(token, secret, { audience: 'b' }), { code: 'ERR_JWT_CLAIM_VALIDATION_FAILED' });
}

export async function asymmetric_tokens() {
  for (const alg of ['ES256', 'ES384', 'EdDSA', 'PS256', 'RS256']) {
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
    const token = await new jose.SignJWT({ alg }).setProtectedHeader({ alg }).sign(privateKey);
    const jwk = await jose.exportJWK(publicKey);
    const keys = jose.createLocalJWKSet({ keys: [{ ...jwk, alg, kid: 'k' }] });
    assert.equal((await jose.jwtVerify(token, keys)).payload.alg, alg);
    const pem = await jose.exportSPKI(publicKey);
    assert.equal((await jose.jwtVerify(token, await jose.importSPKI(pem, alg))).payload.alg, alg);
    assert.equal((await jose.calculateJwkThumbprint(jwk)).length, 43);
  }
}

export async function encryption() {
  for (const [alg, enc] of [['dir', 'A256GCM'], ['A256KW', 'A128CBC-HS256'], ['A256GCMKW', 'A256GCM'], ['PBES2-HS256+A128KW', 'A128GCM']]) {
    const key = secret;
    const text = await new jose.EncryptJWT({ alg }).setProtectedHeader({ alg, enc }).encrypt(key);
    const { payload } = await jose.jwtDecrypt(text, key, { keyManagementAlgorithms: [alg] });
    assert.equal(payload.alg, alg);
  }
  for (const alg of ['ECDH-ES', 'ECDH-ES+A128KW', 'RSA-OAEP-256']) {
    const { publicKey, privateKey } = await jose.generateKeyPair(alg, { modulusLength: 2048 });
    const text = await new jose.CompactEncrypt(new TextEncoder().encode(alg)).setProtectedHeader({ alg, enc: 'A256GCM' }).encrypt(publicKey);
    assert.equal(new TextDecoder().decode((await jose.compactDecrypt(text, privateKey)).plaintext), alg);
  }
}

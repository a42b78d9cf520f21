// Tokens a function verifies itself: user tokens of direct calls, and the actor envelope of routed ones.
// Contract 05 §8.5.
import { Buffer } from './bytes';
import { createHash, createHmac, timingSafeEqual } from '../node/crypto';
import { process } from '../node/process';
import { config } from './config';
import type { ContextActor } from './context';
import { isRecord, type Json, recordOf, textOr } from './errors';

/** Keys of the platform: fetched once by an instance; a failure leaves none, and the next call asks again. */
async function fetched(path: string): Promise<Json | undefined> {
  try {
    const response = await fetch(config.base + path, { method: 'GET', headers: { Authorization: `Bearer ${config.serviceKey}` } });
    return response.ok ? recordOf(await response.text()) : undefined;
  } catch {
    return undefined;
  }
}

let userKeys: Map<string, CryptoKey> | undefined;
let loadingUserKeys: Promise<void> | undefined;

async function loadUserKeys(): Promise<void> {
  const answer = await fetched('/internal/v1/project-jwt-keys');
  const found = new Map<string, CryptoKey>();
  for (const jwk of (Array.isArray(answer?.keys) ? answer.keys : []) as (JsonWebKey & { kid?: string })[]) {
    if (jwk?.kty !== 'EC' || jwk.crv !== 'P-256' || typeof jwk.kid !== 'string' || jwk.d !== undefined) continue;
    try {
      const { kty, crv, x, y } = jwk;
      found.set(jwk.kid, await crypto.subtle.importKey('jwk', { kty, crv, x: x as string, y: y as string }, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['verify']));
    } catch {
      // A key that cannot be read verifies nothing.
    }
  }
  if (found.size > 0) userKeys = found;
}

export async function ensureProjectJwtKeysLoaded(): Promise<void> {
  if (userKeys !== undefined) return;
  loadingUserKeys ??= loadUserKeys().finally(() => {
    loadingUserKeys = undefined;
  });
  await loadingUserKeys;
}

const part = (text: string | undefined): Json | undefined => recordOf(Buffer.from(text ?? '', 'base64url').toString('utf8'));

/** The claims of a user token of this project, or null: unsigned, expired, of another project, or not to be verified. */
export async function verifyUserToken(token: string, project: string): Promise<Json | null> {
  const pieces = token.split('.');
  const [head, claims] = [part(pieces[0]), part(pieces[1])];
  await ensureProjectJwtKeysLoaded();
  if (pieces.length !== 3 || head?.alg !== 'ES256' || typeof head.kid !== 'string' || claims === undefined) return null;
  const key = userKeys?.get(head.kid);
  if (key === undefined) return null;
  const signature = Buffer.from(pieces[2] as string, 'base64url');
  const signed = await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, signature, Buffer.from(`${pieces[0]}.${pieces[1]}`));
  const now = Date.now() / 1000;
  if (!signed || (typeof claims.exp === 'number' && claims.exp <= now) || (typeof claims.nbf === 'number' && claims.nbf > now)) return null;
  return claims.project_id === project && typeof claims.sub === 'string' ? claims : null;
}

let actorKeys: Record<string, string> | undefined;

function givenKeys(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    const kid = /^ACTOR_CONTEXT_SIGNING_KEY_(.+)$/.exec(name)?.[1];
    if (kid !== undefined && kid !== 'MAP_JSON' && value) found[kid.toLowerCase()] = value;
  }
  return Object.assign(found, recordOf(process.env.ACTOR_CONTEXT_SIGNING_KEY_MAP_JSON ?? ''));
}

export async function ensureActorContextKeysLoaded(): Promise<void> {
  if (actorKeys !== undefined || Object.keys(givenKeys()).length > 0) return;
  const answer = await fetched('/internal/v1/actor-context-keys');
  if (isRecord(answer?.keys)) actorKeys = answer.keys as Record<string, string>;
}

export interface Asked {
  projectId: string;
  requestId: string;
  method: string;
  url: string;
  host: string;
}

/** A host without the port its scheme has anyway. */
const plainHost = (host: string) => host.toLowerCase().replace(/:(80|443)$/, '');
const LIFETIME_SECONDS = 60;

function refusal(encoded: string, asked: Asked): string | ContextActor {
  const [body, signature] = encoded.split('.');
  const bytes = Buffer.from(body ?? '', 'base64url');
  const envelope = recordOf(bytes.toString('utf8'));
  if (envelope === undefined || signature === undefined || !isRecord(envelope.actor)) return 'malformed';
  const keys = { ...actorKeys, ...givenKeys() };
  const kid = textOr(envelope.kid, '');
  const key = Object.hasOwn(keys, kid) ? keys[kid] : undefined;
  if (key === undefined) return 'unknown_kid';
  const made = createHmac('sha256', Buffer.from(key, 'base64')).update(bytes).digest() as Uint8Array;
  const sent = Buffer.from(signature, 'base64url');
  if (sent.length !== made.length || !timingSafeEqual(made, sent)) return 'bad_signature';
  const { iat, exp } = envelope;
  if (envelope.v !== 1) return 'version_mismatch';
  if (envelope.iss !== 'run402-gateway') return 'iss_mismatch';
  if (envelope.aud !== 'run402-functions-runtime') return 'aud_mismatch';
  if (typeof exp !== 'number' || exp <= Date.now() / 1000) return 'expired';
  if (typeof iat !== 'number' || exp - iat > LIFETIME_SECONDS) return 'lifetime_too_long';
  if (envelope.project_id !== asked.projectId) return 'project_id_mismatch';
  if (envelope.request_id !== asked.requestId) return 'request_id_mismatch';
  if (envelope.method !== asked.method.toUpperCase()) return 'method_mismatch';
  const url = URL.parse(asked.url);
  if (envelope.host !== plainHost(url?.host ?? asked.host)) return 'host_mismatch';
  if (envelope.path_hash !== createHash('sha256').update(url?.pathname ?? asked.url).digest('hex')) return 'path_mismatch';
  return { ...(envelope.actor as unknown as ContextActor), sessionId: asked.requestId };
}

/** The actor of a signed envelope; what does not verify is told on the console, and is nobody. */
export function verifyActor(encoded: string, asked: Asked): ContextActor | null {
  const outcome = refusal(encoded, asked);
  if (typeof outcome !== 'string') return outcome;
  console.warn(JSON.stringify({ level: 'warn', event: 'R402_AUTH_ACTOR_HEADER_SPOOF', reason: outcome, request_id: asked.requestId }));
  return null;
}

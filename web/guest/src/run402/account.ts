// auth.account: the signed-in user's own credentials and sessions. Contract 05 §10.7.
import type { Actor } from './auth';
import { AuthRequiredError, FreshnessRequiredError } from './auth-errors';
import { config } from './config';
import { getCurrentContext } from './context';
import { isRecord, type Json, recordOf, textOr } from './errors';
import { header } from './headers';

const BASE = '/auth/v1/account';
const DEFAULT_MAX_AGE = '5m';

/** The token the platform gave this request for its verified actor. */
function actorToken(): string | undefined {
  const context = getCurrentContext();
  return context === undefined || context.actor === null ? undefined : header(context.request.headers, 'x-run402-actor-token');
}

async function ask(token: string, path: string, method: string, body?: Json): Promise<Response> {
  const headers: Record<string, string> = { apikey: config.anonKey, authorization: `Bearer ${token}`, accept: 'application/json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  return fetch(config.base + path, { method, headers, redirect: 'manual', ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
}

/** What an endpoint of the account answered; its refusals as errors of auth. */
async function account_(user: () => Promise<Actor | null>, path: string, body?: Json): Promise<Json> {
  const token = actorToken();
  if (token === undefined) {
    // Who is anonymous and who merely has no token both have to sign in; asking marks the page as personal.
    await user();
    throw new AuthRequiredError();
  }
  const response = await ask(token, path, body === undefined ? 'GET' : 'POST', body);
  const text = await response.text();
  const told = recordOf(text) ?? {};
  if (response.ok) return told;
  if (response.status !== 401) throw new Error(`${path} of auth.account answered ${response.status}`);
  if (told.code !== 'R402_AUTH_FRESHNESS_REQUIRED') throw new AuthRequiredError();
  const details = isRecord(told.details) ? told.details : {};
  const amr = Array.isArray(details.amr) ? (details.amr as string[]) : [];
  throw new FreshnessRequiredError({ maxAge: textOr(details.max_age, DEFAULT_MAX_AGE), amr, returnTo: null });
}

const listOf = (told: Json, name: string): unknown[] => (Array.isArray(told[name]) ? (told[name] as unknown[]) : []);

export function account(user: () => Promise<Actor | null>) {
  const call = (path: string, body?: Json) => account_(user, BASE + path, body);
  async function getSecurity(): Promise<Json | null> {
    const actor = await user();
    const token = actorToken();
    if (actor === null || token === undefined) return null;
    try {
      const origin = encodeURIComponent(`https://${getCurrentContext()?.host ?? ''}`);
      const response = await ask(token, `${BASE}/security?app_origin=${origin}`, 'GET');
      return response.ok ? { ...((await response.json()) as Json), user: actor } : null;
    } catch {
      return null;
    }
  }
  return {
    getSecurity,
    async requireSecurity(): Promise<Json> {
      const found = await getSecurity();
      if (found === null) throw new AuthRequiredError();
      return found;
    },
    async setPassword(newPassword: string, _options?: { maxAge?: string }): Promise<void> {
      await call('/password', { new_password: newPassword });
    },
    async signOutEverywhere(): Promise<{ revoked_count: number }> {
      const { revoked_count } = await call('/sign-out-everywhere', {});
      return { revoked_count: typeof revoked_count === 'number' ? revoked_count : 0 };
    },
    passkeys: {
      list: async () => listOf(await call('/passkeys'), 'passkeys'),
      async remove(passkeyId: string): Promise<void> {
        await call('/passkeys/remove', { passkey_id: passkeyId });
      },
      add(): never {
        throw new Error('auth.account.passkeys.add() cannot work on a server: a passkey is made in the browser, on /auth/passkeys/register');
      },
    },
    identities: {
      list: async () => listOf(await call('/identities'), 'identities'),
      async startLink(options: { provider: string; redirectUrl: string; mode?: string }): Promise<{ authorizationUrl: string; expiresIn: number }> {
        const { provider, redirectUrl, mode = 'redirect' } = options;
        const path = `/auth/v1/oauth/${encodeURIComponent(provider)}/start`;
        const told = await account_(user, path, { intent: 'link', redirect_url: redirectUrl, mode });
        if (typeof told.authorization_url !== 'string') throw new Error('The platform gave no authorization_url to send the browser to');
        return { authorizationUrl: told.authorization_url, expiresIn: typeof told.expires_in === 'number' ? told.expires_in : 600 };
      },
      async unlink(options: { provider: string; subject: string }): Promise<void> {
        const { provider, subject } = options;
        await call('/identities/unlink', { provider, subject });
      },
    },
    sessions: {
      list: async () => listOf(await call('/sessions'), 'sessions'),
      async revoke(sessionId: string): Promise<void> {
        await call('/sessions/revoke', { session_id: sessionId });
      },
    },
  };
}

// auth.*: who asks, and what they may. Contract 05 §10.7.
import { createHash } from '../node/crypto';
import {
  AuthRequiredError,
  FreshnessRequiredError,
  InsufficientRoleError,
  InvalidCredentialsError,
  MembershipGateNotWiredError,
  RenamedExportError,
  RoleGateNotConfiguredError,
  unknownExport,
} from './auth-errors';
import { account } from './account';
import { authFetch, sessions } from './auth-sessions';
import { getCurrentContext, type ContextActor, type RequestContext, taintCacheBypass } from './context';
import { adminDb } from './db';
import type { Json } from './errors';
import { header } from './headers';
import { verifyUserToken } from './tokens';

export interface Actor {
  id: string;
  projectId: string;
  sessionId: string;
  email: string;
  is_test?: true;
  emailVerified: boolean;
  authTime: number;
  amr: string[];
  amrTimes: Record<string, number>;
}

const shown = (actor: ContextActor, projectId: string): Actor => ({
  id: actor.id,
  projectId,
  sessionId: actor.sessionId,
  email: actor.email,
  ...(actor.isTest ? { is_test: true } : {}),
  emailVerified: actor.emailVerified,
  authTime: actor.authTime,
  amr: actor.amr,
  amrTimes: actor.amrTimes,
});

async function bearer(context: RequestContext): Promise<Actor | null> {
  const token = /^Bearer (.+)$/.exec(header(context.request.headers, 'authorization') ?? '')?.[1];
  const claims = token === undefined ? null : await verifyUserToken(token.trim(), context.projectId).catch(() => null);
  if (claims === null) return null;
  const id = claims.sub as string;
  return {
    id,
    projectId: context.projectId,
    sessionId: typeof claims.session_id === 'string' ? claims.session_id : `bearer:${id}`,
    email: typeof claims.email === 'string' ? claims.email : '',
    ...(claims.is_test === true ? { is_test: true } : {}),
    emailVerified: false,
    authTime: typeof claims.auth_time === 'number' ? claims.auth_time : Math.floor(Date.now() / 1000),
    amr: Array.isArray(claims.amr) ? (claims.amr as string[]) : [],
    amrTimes: {},
  };
}

async function user(): Promise<Actor | null> {
  taintCacheBypass();
  const context = getCurrentContext();
  if (context === undefined) return null;
  if (context.actor !== null) return shown(context.actor, context.projectId);
  return context.invocationKind === 'routed_http' ? null : bearer(context);
}

const returnTo = () => {
  const url = getCurrentContext()?.request.url;
  return url === undefined ? {} : { returnTo: url };
};

async function requireUser(): Promise<Actor> {
  const actor = await user();
  if (actor === null) throw new AuthRequiredError(returnTo());
  return actor;
}

interface RoleSource {
  table: string;
  idColumn: string;
  roleColumn: string;
}

async function roleFrom(source: RoleSource, id: string): Promise<string | null> {
  for (const key of ['table', 'idColumn', 'roleColumn'] as const) {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(String(source[key]))) throw new Error(`${key} of a role source is a plain name of letters, digits and underscores`);
  }
  const { table, idColumn, roleColumn } = source;
  const rows = await adminDb().from(table).select(roleColumn).eq(idColumn, id).limit(1);
  const found = rows[0]?.[roleColumn];
  return typeof found === 'string' ? found : null;
}

function gateRole(): string | undefined {
  return header(getCurrentContext()?.request.headers, 'x-run402-user-role') || undefined;
}

async function requireRole(wanted: string, options?: { from?: RoleSource }): Promise<{ user: Actor; role: string }> {
  const actor = await requireUser();
  const from = options?.from;
  const found = from === undefined ? gateRole() : await roleFrom(from, actor.id);
  if (found === undefined) throw new RoleGateNotConfiguredError(wanted);
  if (found !== wanted) throw new InsufficientRoleError(wanted);
  return { user: actor, role: wanted };
}

async function role(options?: { from?: RoleSource }): Promise<string | null> {
  taintCacheBypass();
  if (options?.from === undefined) return gateRole() ?? null;
  const actor = await user();
  return actor === null ? null : roleFrom(options.from, actor.id);
}

async function requireMembership(membership: string): Promise<never> {
  await requireUser();
  throw new MembershipGateNotWiredError(membership);
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** Seconds of `300` or `1h30m`; undefined when it is neither. */
function age(text: unknown): number | undefined {
  if (typeof text !== 'string' || !/^(\d+|(\d+[smhd])+)$/.test(text)) return undefined;
  if (/^\d+$/.test(text)) return Number(text);
  return [...text.matchAll(/(\d+)([smhd])/g)].reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit as string] as number), 0);
}

async function requireFresh(options: { maxAge: string; amr?: string[] }): Promise<void> {
  const actor = await requireUser();
  const { maxAge, amr = [] } = options;
  const limit = age(maxAge);
  const now = Math.floor(Date.now() / 1000);
  const times = amr.length > 0 ? amr.map((method) => actor.amrTimes[method]) : [actor.authTime];
  const fresh = limit !== undefined && times.some((time) => typeof time === 'number' && now - time <= limit);
  if (!fresh) throw new FreshnessRequiredError({ maxAge, amr, ...returnTo() });
}

function csrfToken(): string {
  taintCacheBypass();
  const actor = getCurrentContext()?.actor;
  if (actor === undefined || actor === null) throw new AuthRequiredError();
  return (createHash('sha256').update(`${actor.sessionId}:${actor.authTime}:csrf`).digest('hex') as string).slice(0, 32);
}

const csrfField = () => `<input type="hidden" name="_csrf" value="${csrfToken()}">`;

/** Reading a name that is not there throws, with the name that is meant. Symbols pass: engines and printers ask for them. */
function guarded<T extends object>(members: T, path: string, otherwise?: string): T {
  return new Proxy(members, {
    get(target, key, receiver) {
      if (typeof key === 'symbol' || key in target) return Reflect.get(target, key, receiver) as unknown;
      throw unknownExport(`${path}.${key}`, path === 'auth' ? key : '', otherwise);
    },
  });
}

export const auth = guarded(
  {
    user,
    requireUser,
    requireRole,
    role,
    requireMembership,
    requireFresh,
    fetch: authFetch,
    csrfToken,
    csrfField,
    invalidCredentials: () => new InvalidCredentialsError(),
    account: guarded(account(user), 'auth.account', 'auth.account.getSecurity() or auth.account.requireSecurity()'),
    identities: {
      async link(_options: Json): Promise<never> {
        throw new RenamedExportError({ oldName: 'auth.identities.link', newName: 'auth.account.identities.startLink' });
      },
    },
    sessions: guarded(sessions, 'auth.sessions', 'createResponseFromIdentity, createResponseFromTenantAssertion or endResponse of auth.sessions'),
  },
  'auth',
);

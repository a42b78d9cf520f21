// Error classes of auth. Contract 05 §10.6.
import { docs, type Json, remember } from './errors';

interface Options {
  code: string;
  status: number;
  message: string;
  details?: Json;
  suggestedFix?: string;
  docs?: string;
}

export class Run402AuthError extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: Json;
  readonly suggestedFix: string | undefined;
  readonly docs: string | undefined;
  constructor(options: Options) {
    super(options.message);
    this.code = options.code;
    this.status = options.status;
    this.details = options.details ?? {};
    this.suggestedFix = options.suggestedFix;
    this.docs = options.docs;
    remember(this, new.target.name);
  }
}

/** These have always come without a page of their own. */
const UNDOCUMENTED = new Set(['INSUFFICIENT_ROLE', 'INSUFFICIENT_MEMBERSHIP', 'FRESHNESS_REQUIRED', 'IDENTITY_LINK_CONFLICT', 'UNKNOWN_IDENTITY']);

const told = (code: string, status: number, message: string, details: Json, suggestedFix?: string): Options => ({
  code: `R402_AUTH_${code}`,
  status,
  message,
  details,
  ...(UNDOCUMENTED.has(code) ? {} : { docs: docs(`R402_AUTH_${code}`) }),
  ...(suggestedFix === undefined ? {} : { suggestedFix }),
});

export class AuthRequiredError extends Run402AuthError {
  constructor(options: { returnTo?: string } = {}) {
    const { returnTo } = options;
    super(told('REQUIRED', 401, 'Sign in first.', returnTo === undefined ? {} : { returnTo }, 'Begin with: const user = await auth.requireUser()'));
  }
}

export class InsufficientRoleError extends Run402AuthError {
  readonly requiredRole: string;
  constructor(requiredRole: string) {
    super(told('INSUFFICIENT_ROLE', 403, `This needs the role ${requiredRole}.`, { required_role: requiredRole }));
    this.requiredRole = requiredRole;
  }
}

export class InsufficientMembershipError extends Run402AuthError {
  readonly requiredMembership: string;
  constructor(requiredMembership: string) {
    super(told('INSUFFICIENT_MEMBERSHIP', 403, `This needs the membership ${requiredMembership}.`, { required_membership: requiredMembership }));
    this.requiredMembership = requiredMembership;
  }
}

export class RoleGateNotConfiguredError extends Run402AuthError {
  readonly requiredRole: string;
  constructor(requiredRole: string) {
    super(
      told(
        'ROLE_GATE_NOT_CONFIGURED',
        500,
        `auth.requireRole("${requiredRole}") was called in a function without a role gate, so no role was looked up.`,
        { required_role: requiredRole },
        'Give the function a require_role gate in its release, or say where roles are: auth.requireRole(role, { from: { table, idColumn, roleColumn } }).',
      ),
    );
    this.requiredRole = requiredRole;
  }
}

export class MembershipGateNotWiredError extends Run402AuthError {
  readonly requiredMembership: string;
  constructor(requiredMembership: string) {
    super(
      told(
        'MEMBERSHIP_GATE_NOT_WIRED',
        501,
        `auth.requireMembership("${requiredMembership}") cannot be answered: there are no membership gates.`,
        { required_membership: requiredMembership },
        'Use auth.requireRole() with a role gate, or decide in code by auth.user().',
      ),
    );
    this.requiredMembership = requiredMembership;
  }
}

export class FreshnessRequiredError extends Run402AuthError {
  readonly maxAge: string;
  readonly amr: string[];
  constructor(options: { maxAge: string; amr: string[]; returnTo?: string | null }) {
    const { maxAge, amr, returnTo } = options;
    const by = amr.length > 0 ? ` by ${amr.join(' or ')}` : '';
    super(told('FRESHNESS_REQUIRED', 401, `This needs a sign-in${by} no older than ${maxAge}.`, { max_age: maxAge, amr, returnTo: returnTo ?? null }));
    this.maxAge = maxAge;
    this.amr = amr;
  }
}

export class FetchAbsoluteUrlError extends Run402AuthError {
  constructor(options: { attempted: string; reason: string }) {
    const { attempted, reason } = options;
    super(
      told(
        'FETCH_ABSOLUTE_URL',
        500,
        `auth.fetch does not fetch "${attempted}": ${reason}`,
        { attempted_url: attempted, reason },
        'auth.fetch is for paths of the own site; fetch() is for everything else.',
      ),
    );
  }
}

export class PrerenderedError extends Run402AuthError {
  constructor(options: { sdkFunction: string }) {
    super(told('PRERENDERED', 500, `${options.sdkFunction} has no visitor while a page is prerendered.`, { sdk_function: options.sdkFunction }, 'Add `export const prerender = false` to the page.'));
  }
}

const IMPORT = 'import { auth } from "@run402/functions"';

export class UnknownExportError extends Run402AuthError {
  readonly attemptedName: string;
  readonly canonicalName: string;
  constructor(options: { attemptedName: string; canonicalName: string }) {
    const { attemptedName, canonicalName } = options;
    const details = { attempted_name: attemptedName, canonical_name: canonicalName, import_line: IMPORT };
    super(told('UNKNOWN_EXPORT', 500, `There is no ${attemptedName}. Use ${canonicalName}.`, details, `Use: ${canonicalName}`));
    this.attemptedName = attemptedName;
    this.canonicalName = canonicalName;
  }
}

export class SessionBridgeUnverifiedError extends Run402AuthError {
  constructor(options: { reason: string }) {
    super(told('SESSION_BRIDGE_UNVERIFIED', 401, `The proof for a session was refused: ${options.reason}`, { reason: options.reason }, 'Give auth.sessions.createResponseFromIdentity() a proof that can be verified.'));
  }
}

export class IdentityLinkConflictError extends Run402AuthError {
  constructor(options: { provider: string; subject: string }) {
    const { provider, subject } = options;
    super(told('IDENTITY_LINK_CONFLICT', 409, `The identity ${subject} of ${provider} belongs to another user.`, { provider, subject }));
  }
}

export class UnknownIdentityError extends Run402AuthError {
  constructor(options: { provider: string; subject: string }) {
    const { provider, subject } = options;
    super(told('UNKNOWN_IDENTITY', 401, `No user has the identity ${subject} of ${provider}.`, { provider, subject }, 'Give createUser: true when a first sign-in should make the user.'));
  }
}

export class InvalidCredentialsError extends Run402AuthError {
  constructor() {
    super(told('INVALID_CREDENTIALS', 401, 'These credentials are not right.', {}, 'Throw it when your own check of credentials fails: throw auth.invalidCredentials()'));
  }
}

export class TenantSubjectInvalidError extends Run402AuthError {
  constructor(options: { reason: string }) {
    super(told('TENANT_SUBJECT_INVALID', 400, `The user of this assertion cannot be used: ${options.reason}`, { reason: options.reason }, 'Give { tenant, user: { id, email, emailVerified }, method: "password" } with an id that never changes.'));
  }
}

export class RenamedExportError extends Run402AuthError {
  readonly oldName: string;
  readonly newName: string;
  constructor(options: { oldName: string; newName: string }) {
    const { oldName, newName } = options;
    super(told('RENAMED_EXPORT', 400, `${oldName} is ${newName} now.`, { old_name: oldName, new_name: newName }, `Use: ${newName}`));
    this.oldName = oldName;
    this.newName = newName;
  }
}

/** Names from other libraries, and what does their work here. */
const INSTEAD: Record<string, string> = {
  getUser: 'auth.user()',
  currentUser: 'auth.user()',
  getCurrentUser: 'auth.user()',
  getServerSession: 'auth.user()',
  getSession: 'auth.user()',
  session: 'auth.user(): its sessionId, amr and authTime tell of the session',
  getUserId: '(await auth.user())?.id',
  getRole: 'auth.requireRole(role)',
  requireAuth: 'auth.requireUser()',
  login: 'auth.sessions.createResponseFromIdentity()',
  signIn: 'the page /auth/sign-in, or auth.sessions.createResponseFromIdentity()',
  logout: 'auth.sessions.endResponse()',
  signOut: 'auth.sessions.endResponse()',
};
const OTHERWISE = 'auth.user(), auth.requireUser() or auth.requireRole()';

export const unknownExport = (attemptedName: string, name: string, otherwise = OTHERWISE) =>
  new UnknownExportError({ attemptedName, canonicalName: (Object.hasOwn(INSTEAD, name) ? INSTEAD[name] : undefined) ?? otherwise });

const legacy = (name: string) => (): never => {
  throw name === 'getUser' ? new UnknownExportError({ attemptedName: name, canonicalName: 'auth.user() / auth.requireUser()' }) : unknownExport(name, name);
};
export const getUser = legacy('getUser');
export const getUserId = legacy('getUserId');
export const getRole = legacy('getRole');
export const getSession = legacy('getSession');
export const currentUser = legacy('currentUser');
export const getCurrentUser = legacy('getCurrentUser');
export const getServerSession = legacy('getServerSession');

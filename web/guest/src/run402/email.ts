// email.send(). Contract 05 §10.2.
import { config, post } from './config';
import { isRecord, type Json, recordOf, remember, textOr } from './errors';

type EmailCode = 'AMBIGUOUS_MAILBOX' | 'DEFAULT_MAILBOX_REQUIRED' | 'DEFAULT_MAILBOX_INVALID' | 'PROVIDER_NOT_CONFIGURED';

export class EmailConfigurationError extends Error {
  code: EmailCode;
  details: Json;
  next_actions: unknown[];
  constructor(message: string, code: EmailCode, details: Json = {}, nextActions: unknown[] = []) {
    super(message);
    this.code = code;
    this.details = details;
    this.next_actions = nextActions;
    remember(this, 'EmailConfigurationError');
  }
}

interface Mailbox {
  mailbox_id: string;
  status?: string;
  can_send?: boolean;
  send_blocked_reason?: string | null;
  is_default_outbound?: boolean;
  is_auth_sender?: boolean;
}

const GONE = new Set(['suspended', 'tombstoned']);
const PROVIDER_MISSING = new Set(['provider_not_configured', 'provider_misconfigured']);
const NOT_READY = new Set(['not_configured', 'misconfigured']);

const sendable = (mailbox: Mailbox) => mailbox.can_send !== false && !GONE.has(mailbox.status ?? '');

const CHOOSE_DEFAULT = {
  type: 'edit_request',
  method: 'PATCH',
  path: '/mailboxes/v1/settings',
  auth: 'service_key',
  why: 'Name the mailbox that email.send() sends from.',
  fields: { default_outbound_mailbox_id: 'mbx_...' },
};
const CREATE_MAILBOX = {
  type: 'edit_request',
  method: 'POST',
  path: '/mailboxes/v1',
  auth: 'service_key',
  why: 'email.send() needs a mailbox to send from.',
  fields: { slug: 'notifications' },
};

const candidate = (mailbox: Mailbox) => ({
  mailbox_id: mailbox.mailbox_id,
  ...(mailbox.status === undefined ? {} : { status: mailbox.status }),
  is_default_outbound: mailbox.is_default_outbound ?? false,
  is_auth_sender: mailbox.is_auth_sender ?? false,
  can_send: mailbox.can_send ?? true,
  send_blocked_reason: mailbox.send_blocked_reason ?? null,
});

/** The mailbox to send from, or the reason why there is none. */
function choose(listing: Json): string {
  const all = (Array.isArray(listing.mailboxes) ? listing.mailboxes : []) as Mailbox[];
  const settings = isRecord(listing.mailbox_settings) ? listing.mailbox_settings : {};
  const readiness = isRecord(listing.provider_readiness) ? listing.provider_readiness : undefined;
  const ready = all.filter(sendable);
  const details = (candidates: Mailbox[], more: Json = {}) => ({
    resource_kind: 'mailbox',
    selection_purpose: 'default_outbound',
    ...more,
    candidates: candidates.map(candidate),
  });
  const wanted = settings.default_outbound_mailbox_id;
  if (typeof wanted === 'string' && wanted !== '') {
    if (ready.some((mailbox) => mailbox.mailbox_id === wanted)) return wanted;
    throw new EmailConfigurationError('The default outbound mailbox of this project cannot send', 'DEFAULT_MAILBOX_INVALID', details(all, { default_mailbox_id: wanted }), [
      CHOOSE_DEFAULT,
    ]);
  }
  if (ready.length === 1) return (ready[0] as Mailbox).mailbox_id;
  if (ready.length > 1) {
    throw new EmailConfigurationError('This project has several mailboxes and none of them is the default for sending', 'AMBIGUOUS_MAILBOX', details(ready), [CHOOSE_DEFAULT]);
  }
  const missing = readiness === undefined ? false : NOT_READY.has(String(readiness.status));
  if (all.length > 0 && (missing || all.some((mailbox) => PROVIDER_MISSING.has(mailbox.send_blocked_reason ?? '')))) {
    throw new EmailConfigurationError(
      'The platform has no provider for outbound e-mail',
      'PROVIDER_NOT_CONFIGURED',
      { resource_kind: 'email_provider', provider_readiness: readiness ?? { status: 'not_configured' }, candidates: all.map(candidate) },
      [{ type: 'edit_request', path: 'host environment', auth: 'operator', why: 'The operator configures outbound e-mail first.' }],
    );
  }
  throw new EmailConfigurationError('This project has no mailbox to send from', 'DEFAULT_MAILBOX_REQUIRED', details([]), [CREATE_MAILBOX, CHOOSE_DEFAULT]);
}

let known: { key: string; mailbox: string } | undefined;

async function mailbox(): Promise<string> {
  const key = `${config.base} ${config.serviceKey}`;
  if (known?.key === key) return known.mailbox;
  const response = await fetch(`${config.base}/mailboxes/v1`, { headers: { Authorization: `Bearer ${config.serviceKey}` } });
  if (!response.ok) throw new Error(`Failed to discover mailbox: ${await response.text()}`);
  const listing: unknown = await response.json();
  known = { key, mailbox: choose(isRecord(listing) ? listing : {}) };
  return known.mailbox;
}

export interface EmailOptions {
  to: string;
  subject?: string;
  html?: string;
  text?: string;
  template?: string;
  variables?: Record<string, string>;
  from_name?: string;
}

async function send(options: EmailOptions): Promise<Json> {
  const { to, subject, html, text, template, variables, from_name } = options;
  const id = await mailbox();
  const message = template === undefined ? { to, subject, html, text, from_name } : { to, template, variables: variables ?? {}, from_name };
  const response = await post(`/mailboxes/v1/${id}/messages`, message);
  if (response.ok) return (await response.json()) as Json;
  const body = await response.text();
  throw new Error(`Email send failed (${response.status}): ${textOr(recordOf(body)?.error, body)}`);
}

export const email = { send };

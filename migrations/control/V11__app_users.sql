-- The users of the projects' apps: accounts, identities, sessions, magic links, settings (contract 06 §2).
--
-- They live here and not in the projects' databases. The owner role of a project's SQL must never read a password
-- hash or a session; a dump or a copy of a project's database must carry neither; every request with a cookie asks
-- for its session, and this database's connections are always warm. Nothing in a project's database needs the rows:
-- auth.uid() and its kin read the claims of the verified token.
--
-- Secrets are stored as SHA-256 or HMAC-SHA-256, passwords as argon2id.

create table app_users (
    id            uuid primary key,
    project_id    text not null references projects (id),
    -- Lower case. Null for identities that bring no address of their own.
    email         text check (email = lower(email) and char_length(email) <= 320),
    password_hash text check (password_hash like '$argon2id$%'),
    email_verified_at timestamptz,
    display_name  text,
    avatar_url    text,
    is_admin      boolean not null default false,
    is_test       boolean not null default false,
    -- Grows when what the user may do changes; tokens and sessions carry a copy.
    authz_version bigint not null default 1 check (authz_version > 0),
    created_at    timestamptz not null,
    updated_at    timestamptz not null,
    unique (project_id, email)
);
create index app_users_newest on app_users (project_id, created_at desc, id desc);

-- A way in that somebody else vouches for: google, wallet, oidc, tenant:<name>.
create table app_identities (
    project_id     text not null references projects (id),
    provider       text not null check (char_length(provider) between 1 and 200),
    subject        text not null check (char_length(subject) between 1 and 512),
    user_id        uuid not null references app_users (id) on delete cascade,
    provider_email text,
    email_verified boolean not null default false,
    created_at     timestamptz not null,
    last_used_at   timestamptz not null,
    last_amr       text[] not null default '{}',
    primary key (project_id, provider, subject)
);
create index app_identities_by_user on app_identities (user_id);

-- A sign-in that is still good: a family of refresh tokens, or a browser's cookie. One table, because signing out
-- everywhere, a changed password and a demotion end both kinds alike.
create table app_sessions (
    id           uuid primary key,
    project_id   text not null references projects (id),
    user_id      uuid not null references app_users (id) on delete cascade,
    kind         text not null check (kind in ('tokens', 'browser')),
    auth_time    timestamptz not null,
    amr          text[] not null,
    -- method -> unix seconds of its last proof
    amr_times    jsonb not null,
    aal          text not null check (aal in ('aal1', 'aal2')),
    authz_version bigint not null,
    created_at   timestamptz not null,
    last_seen_at timestamptz not null,
    expires_at   timestamptz not null,
    revoked_at   timestamptz,
    user_agent   text,
    ip_hash      bytea,
    -- Browser sessions only: the host whose cookie it is, and the keyed hash of the cookie's secret.
    host         text,
    secret_hash  bytea,
    check ((kind = 'browser') = (host is not null and secret_hash is not null))
);
create index app_sessions_by_user on app_sessions (user_id) where revoked_at is null;
create index app_sessions_expired on app_sessions (expires_at);

create table app_refresh_tokens (
    token_hash  bytea primary key check (octet_length(token_hash) = 32),
    session_id  uuid not null references app_sessions (id) on delete cascade,
    expires_at  timestamptz not null,
    consumed_at timestamptz,
    -- Digest of the client that consumed it: its double submit is not theft (06 §3.4).
    consumed_by bytea
);
create index app_refresh_tokens_by_session on app_refresh_tokens (session_id);

create table app_magic_links (
    token_hash   bytea primary key check (octet_length(token_hash) = 32),
    project_id   text not null references projects (id),
    email        text not null,
    intent       text not null check (intent in ('signin', 'invite', 'claim', 'recovery')),
    client_state text,
    state_source text not null check (state_source in ('anonymous', 'service_key')),
    redirect_url text not null,
    -- The host of the hosted page that asked for it; null when the app itself takes the token.
    host         text,
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    used_at      timestamptz,
    superseded_at timestamptz
);
-- Also counts the requests of the last hour (06 §6.5), known and unknown addresses alike.
create index app_magic_links_recent on app_magic_links (project_id, email, created_at desc);
create index app_magic_links_by_project on app_magic_links (project_id, created_at desc);

create table app_auth_settings (
    project_id               text primary key references projects (id),
    allow_password_set       boolean not null default false,
    preferred_sign_in_method text
        check (preferred_sign_in_method in ('password', 'magic_link', 'oauth_google', 'passkey')),
    public_signup            text not null default 'open'
        check (public_signup in ('open', 'known_email', 'invite_only')),
    require_passkey_for_project_admin boolean not null default false,
    allowed_email_domains    text[] not null default '{}'
);

-- Who changed what about an account (06 §2). Never a secret, never an address that was only tried.
create table app_auth_audit (
    id         bigint generated always as identity primary key,
    project_id text not null references projects (id),
    user_id    uuid,
    event      text not null,
    details    jsonb not null default '{}',
    created_at timestamptz not null
);
create index app_auth_audit_newest on app_auth_audit (project_id, id desc);

-- Mail that stays on the box (07 §A6, mode capture), for its operator.
create table captured_mail (
    id         uuid primary key,
    project_id text references projects (id),
    sender     text not null,
    recipient  text not null,
    template   text not null,
    locale     text not null,
    subject    text not null,
    text_body  text not null,
    html_body  text not null,
    created_at timestamptz not null
);
create index captured_mail_newest on captured_mail (created_at desc, id desc);

-- Deleting a project deletes its pool, in the same transaction.
create function forget_app_users() returns trigger language plpgsql as $$
begin
    delete from app_users where project_id = new.id;
    delete from app_magic_links where project_id = new.id;
    delete from app_auth_settings where project_id = new.id;
    delete from app_auth_audit where project_id = new.id;
    delete from captured_mail where project_id = new.id;
    return null;
end
$$;
create trigger projects_forget_app_users after update of status on projects
    for each row when (new.status <> 'active') execute function forget_app_users();

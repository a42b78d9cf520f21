-- Passkeys of app users and the ceremonies that are open (contract 06 §8).

create table app_passkeys (
    id               uuid primary key,
    project_id       text not null references projects (id),
    user_id          uuid not null references app_users (id) on delete cascade,
    credential_id    bytea not null check (octet_length(credential_id) between 16 and 1023),
    -- The exact host it was made for; a passkey works nowhere else.
    rp_id            text not null,
    created_origin   text not null,
    last_used_origin text,
    transports       text[] not null default '{}',
    label            text check (char_length(label) <= 100),
    -- Public key and what goes with it; counter and backup state. Both in the form of the WebAuthn library.
    static_state     bytea not null,
    dynamic_state    bytea not null check (octet_length(dynamic_state) = 7),
    device_type      text check (device_type in ('singleDevice', 'multiDevice')),
    backed_up        boolean,
    created_at       timestamptz not null,
    last_used_at     timestamptz,
    unique (project_id, credential_id)
);
create index app_passkeys_by_user on app_passkeys (user_id, created_at desc);

-- A challenge is used by deleting it.
create table app_webauthn_challenges (
    id         uuid primary key,
    project_id text not null references projects (id),
    kind       text not null check (kind in ('register', 'login')),
    user_id    uuid references app_users (id) on delete cascade,
    rp_id      text not null,
    origin     text not null,
    -- State of the ceremony in the form of the WebAuthn library, the challenge in it.
    state      bytea not null,
    expires_at timestamptz not null,
    check ((kind = 'register') = (user_id is not null))
);
create index app_webauthn_challenges_expired on app_webauthn_challenges (expires_at);

create function forget_app_challenges() returns trigger language plpgsql as $$
begin
    delete from app_webauthn_challenges where project_id = new.id;
    return null;
end
$$;
create trigger projects_forget_app_challenges after update of status on projects
    for each row when (new.status <> 'active') execute function forget_app_challenges();

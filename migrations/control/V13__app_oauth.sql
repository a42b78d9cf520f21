-- Sign-in through another provider (contract 06 §7): what is under way, and the codes that end it. Rows are used by
-- deleting them. PKCE verifier and nonce are derived from the state and stored nowhere.

create table app_oauth_transactions (
    state_hash      bytea primary key check (octet_length(state_hash) = 32),
    project_id      text not null references projects (id),
    mode            text not null check (mode in ('redirect', 'popup', 'hosted')),
    -- Of an app; for a hosted page the path it came from.
    redirect_url    text not null,
    client_state    text,
    code_challenge  text,
    -- The user who links the identity; null: sign in.
    linking_user    uuid references app_users (id) on delete cascade,
    -- Hosted pages: their origin, where failures go, and the hash of the cookie that began it.
    origin          text,
    error_return_to text,
    cookie_hash     bytea,
    expires_at      timestamptz not null,
    check ((mode = 'hosted') = (origin is not null and error_return_to is not null and cookie_hash is not null))
);

create table app_oauth_codes (
    code_hash      bytea primary key check (octet_length(code_hash) = 32),
    project_id     text not null references projects (id),
    user_id        uuid not null references app_users (id) on delete cascade,
    code_challenge text,
    -- Handoffs to a hosted page: its origin, where to go, and the cookie that must come with it.
    origin         text,
    return_to      text,
    cookie_hash    bytea,
    expires_at     timestamptz not null
);

create function forget_app_oauth() returns trigger language plpgsql as $$
begin
    delete from app_oauth_transactions where project_id = new.id;
    delete from app_oauth_codes where project_id = new.id;
    return null;
end
$$;
create trigger projects_forget_app_oauth after update of status on projects
    for each row when (new.status <> 'active') execute function forget_app_oauth();

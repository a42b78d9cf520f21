-- Signing keys of app users' tokens, ES256, one in use per project (contract 06 §3.1, §9.2).

create table user_keys (
    kid         text primary key check (kid ~ '^uk_[a-z0-9]{16,64}$'),
    project_id  text not null references projects (id) on delete cascade,
    -- The public half as a JSON Web Key: kty, crv, x, y, kid, alg, use.
    public_jwk  jsonb not null check (public_jwk ->> 'kid' = kid),
    -- The private half as PKCS #8, sealed.
    private_key bytea not null,
    created_at  timestamptz not null,
    -- Signs nothing from here on; still published while tokens it signed may live.
    retired_at  timestamptz check (retired_at >= created_at)
);

-- A project signs with one key, also when two requests make its first at the same time.
create unique index user_keys_in_use on user_keys (project_id) where retired_at is null;
create index user_keys_of_project on user_keys (project_id, created_at desc);

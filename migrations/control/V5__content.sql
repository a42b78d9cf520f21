-- Which bytes a project has, who needs them, and uploads under way (contract 03 §3). The bytes themselves lie in the
-- blob store; a row here keeps them there.

-- Presence is a row of the project's own, so that nobody learns what others stored.
create table project_content (
    id         bigint generated always as identity unique,
    project_id text not null references projects (id),
    sha256     bytea not null check (octet_length(sha256) = 32),
    size       bigint not null check (size >= 0),
    -- Whether it is part of the project's blob_bytes: it was uploaded and not let go of, or a holder that counts needs
    -- it. Bytes kept only for the immutable URLs of deleted assets do not count (04 §6.7).
    counted    boolean not null default true,
    -- When somebody last asked for it; the sweep spares it for a grace after that.
    wanted_at  timestamptz not null,
    primary key (project_id, sha256)
);
create index project_content_by_digest on project_content (sha256);
create index project_content_by_age on project_content (wanted_at);

-- Whoever needs bytes to stay: a release, an asset, a migration.
create table content_holders (
    id         bigint generated always as identity primary key,
    project_id text not null references projects (id),
    kind       text not null,
    holder     text not null,
    counted    boolean not null,
    unique (project_id, kind, holder)
);

create table content_holds (
    holder_id  bigint not null references content_holders (id) on delete cascade,
    -- Held content cannot be removed: the key says so.
    content_id bigint not null references project_content (id),
    primary key (holder_id, content_id)
);
create index content_holds_by_content on content_holds (content_id);

-- What uncommitted apply plans name: the anon key may upload it, and the sweep spares it.
create table expected_content (
    plan_id    text primary key,
    project_id text not null references projects (id),
    digests    bytea[] not null,
    expires_at timestamptz not null
);
create index expected_content_by_project on expected_content (project_id, expires_at);
create index expected_content_by_age on expected_content (expires_at);

-- Uploads under way. Session n is digests[n] and sizes[n], counted from 1.
create table content_plans (
    id           text primary key check (id ~ '^cplan_[a-z0-9_]{1,96}$'),
    project_id   text not null references projects (id),
    digests      bytea[] not null,
    sizes        bigint[] not null,
    -- How the sessions were cut into parts.
    single_bytes bigint not null check (single_bytes >= 0),
    part_bytes   bigint not null check (part_bytes > 0),
    created_at   timestamptz not null,
    expires_at   timestamptz not null,
    committed_at timestamptz,
    check (cardinality(digests) = cardinality(sizes))
);
create index content_plans_by_project on content_plans (project_id, expires_at);
create index content_plans_by_age on content_plans (expires_at);

-- Parts that arrived. A row exists only once the bytes are on disk.
create table content_parts (
    plan_id  text not null references content_plans (id) on delete cascade,
    session  integer not null check (session > 0),
    part     integer not null check (part > 0),
    sha256   bytea not null check (octet_length(sha256) = 32),
    -- In the blob store under its digest (a whole object), else in a file of the staging directory.
    in_store boolean not null,
    primary key (plan_id, session, part)
);
create index content_parts_by_digest on content_parts (sha256) where in_store;

-- A purged project has no content: its rows go in the statement that marks it, whoever runs that.
create function forget_content_of_purged_project() returns trigger language plpgsql as $$
begin
    delete from content_plans where project_id = new.id;
    delete from expected_content where project_id = new.id;
    delete from content_holders where project_id = new.id;
    delete from project_content where project_id = new.id;
    new.blob_bytes := 0;
    return new;
end
$$;
create trigger forget_content before update of status on projects
    for each row when (new.status = 'purged' and old.status <> 'purged')
    execute function forget_content_of_purged_project();

-- Projects and the stock of ready-made databases (contract 02 §2, §3.1).

create sequence project_slots minvalue 1;

-- Databases made ahead of need. A row exists only once its database is complete.
create table spare_databases (
    slot            text primary key check (slot ~ '^p[0-9]{4,}$'),
    -- Sealed secret of the platform functions inside that database (02 §3.2).
    platform_secret bytea not null,
    -- Newest file of migrations/project that the database has.
    bootstrap_version integer not null check (bootstrap_version > 0),
    database_bytes  bigint not null check (database_bytes >= 0),
    created_at      timestamptz not null default now()
);

create table projects (
    id              text primary key check (id ~ '^prj_[a-z0-9_]{1,96}$'),
    public_id       text not null unique check (public_id ~ '^p_[a-z0-9]{6,}$'),
    organisation_id uuid not null references organisations (id),
    name            text not null check (char_length(name) between 1 and 200),
    slot            text not null unique check (slot ~ '^p[0-9]{4,}$'),
    platform_secret bytea not null,
    bootstrap_version integer not null check (bootstrap_version > 0),
    status          text not null default 'active' check (status in ('active', 'purging', 'purged')),
    archived_at     timestamptz,
    archive_reason  text,
    created_by      text references principals (id),
    created_at      timestamptz not null default now(),
    deleted_at      timestamptz,
    -- Usage (02 §2.3): calls of this project in the organisation's period, bytes of its database and of its blobs.
    -- The calls count only while usage_period_start equals the organisation's: a new period starts at zero unasked.
    api_calls       bigint not null default 0 check (api_calls >= 0),
    usage_period_start timestamptz not null,
    database_bytes  bigint not null default 0 check (database_bytes >= 0),
    blob_bytes      bigint not null default 0 check (blob_bytes >= 0)
);
create index projects_newest on projects (created_at desc, id desc) where status = 'active';
create index projects_by_organisation on projects (organisation_id);
create index projects_purging on projects (id) where status = 'purging';

-- Self-probes, one a minute, for GET /status availability (01 §10). Kept 31 days.
create table availability_probes (
    probed_at  timestamptz primary key,
    -- capability name -> healthy
    capabilities jsonb not null
);

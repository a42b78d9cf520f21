-- Deploys: releases, plans and operations (contract 03 §5-9).

-- A release is a complete state: what it serves, and how it came to be. The state is kept as text, not as jsonb,
-- because it is only ever read and written whole.
create table releases (
    id              text primary key check (id ~ '^rel_[a-z0-9_]{1,96}$'),
    project_id      text not null references projects (id),
    parent_id       text references releases (id),
    deployment_id   text not null unique check (deployment_id ~ '^dpl_[a-z0-9]+_[a-z0-9]+$'),
    status          text not null check (status in ('staged', 'active', 'superseded', 'failed')),
    -- Of its latest activation: +1 for each activation in the project.
    generation      bigint check (generation > 0),
    manifest_digest text,
    state           json not null,
    static_manifest_sha256 text,
    route_manifest_sha256  text,
    operation_id    text,
    plan_id         text,
    -- Wallet, `ci:<binding>`, `system`, or the route that changed the release.
    created_by      text not null,
    created_at      timestamptz not null,
    activated_at    timestamptz,
    superseded_at   timestamptz,
    -- When it let go of its bytes: its row still answers, but it cannot be served or promoted (03 §3.4).
    pruned_at       timestamptz,
    check (status not in ('active', 'superseded') or (generation is not null and activated_at is not null))
);
create unique index releases_active on releases (project_id) where status = 'active';
create index releases_by_project on releases (project_id, created_at desc, id desc);
create index releases_by_parent on releases (parent_id);

-- The live pointer. Its row lock orders the activations of a project.
create table live_releases (
    project_id text primary key references projects (id),
    release_id text not null references releases (id),
    generation bigint not null check (generation > 0),
    -- Functions of it that have a schedule: a tier counts them over all projects of an organisation.
    scheduled_functions integer not null check (scheduled_functions >= 0)
);

-- What a client wants to deploy, kept until it is committed or too old.
create table apply_plans (
    id              text primary key check (id ~ '^plan_[a-z0-9_]{1,96}$'),
    project_id      text not null references projects (id),
    operation_id    text not null unique,
    base_kind       text not null check (base_kind in ('current', 'empty', 'pinned')),
    base_release_id text references releases (id),
    manifest_digest text not null,
    idempotency_key text,
    -- Who made it; an identical plan of somebody else is another plan.
    principal       text not null,
    -- The normalised spec.
    spec            json not null,
    is_noop         boolean not null,
    created_at      timestamptz not null,
    expires_at      timestamptz not null,
    -- Set when its execution began; from then on it satisfies no new plan request.
    committed_at    timestamptz
);
create index apply_plans_open on apply_plans (project_id, manifest_digest) where committed_at is null;
create index apply_plans_by_age on apply_plans (expires_at);

create table apply_operations (
    id                text primary key check (id ~ '^op_[a-z0-9_]{1,96}$'),
    project_id        text not null references projects (id),
    plan_id           text,
    kind              text not null check (kind in ('apply', 'promote')),
    status            text not null check (status in (
                          'planning', 'uploading', 'committing', 'staging', 'gating', 'migrating', 'schema_settling',
                          'activating', 'activation_pending', 'needs_repair', 'ready', 'failed', 'rolled_back')),
    base_release_id   text references releases (id),
    target_release_id text references releases (id),
    -- Only when ready, with the URLs as they were answered.
    release_id        text references releases (id),
    urls              json,
    error             json,
    -- [{"status", "at"}] in order: what the events are made of.
    phases            jsonb not null default '[]',
    activate_attempts integer not null default 0 check (activate_attempts >= 0),
    last_activate_attempt_at timestamptz,
    -- When an activation that failed for a passing reason is tried again.
    next_attempt_at   timestamptz,
    -- Its transaction in the project's database leaves a marker, which decides after a crash (03 §8).
    touches_database  boolean not null default false,
    -- The migration that is running outside a transaction: nobody knows how far it came if we die now.
    migration_in_flight text,
    created_by        text not null,
    created_at        timestamptz not null,
    updated_at        timestamptz not null,
    check (status <> 'ready' or (release_id is not null and urls is not null))
);
-- One operation of a project executes at a time.
create unique index apply_operations_executing on apply_operations (project_id)
    where status in ('staging', 'gating', 'migrating', 'schema_settling', 'activating');
create index apply_operations_newest on apply_operations (project_id, created_at desc, id desc);
create index apply_operations_unfinished on apply_operations (status)
    where status in ('committing', 'staging', 'gating', 'migrating', 'schema_settling', 'activating',
                     'activation_pending');

-- What is known of functions beside their releases (contract 05): when each came and changed, schedules, logs, runs.

-- Which release the other tables were last brought in line with. Its row lock orders those who do.
create table function_syncs (
    project_id text primary key references projects (id),
    generation bigint not null,
    -- SHA-256 of the functions of that release, as they were.
    digest     text not null
);

create table function_records (
    project_id  text not null references projects (id),
    name        text not null,
    -- SHA-256 of its definition.
    digest      text not null,
    -- What the engine that builds it called itself.
    fingerprint text,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    primary key (project_id, name)
);

-- The schedule of a function under the empty id, its triggers under theirs.
create table function_schedules (
    project_id   text not null references projects (id),
    function     text not null,
    trigger_id   text not null default '',
    cron         text not null,
    timezone     text not null default 'UTC',
    next_run_at  timestamptz not null,
    last_run_at  timestamptz,
    -- HTTP status; 0: not run.
    last_status  integer,
    last_error   text,
    run_count    bigint not null default 0 check (run_count >= 0),
    last_enqueued_at timestamptz,
    last_run_id  text,
    primary key (project_id, function, trigger_id)
);
create index function_schedules_due on function_schedules (next_run_at);

create table function_logs (
    id          bigint generated always as identity primary key,
    project_id  text not null references projects (id),
    function    text not null,
    at          timestamptz not null,
    -- stdout, stderr, platform
    stream      text not null check (stream in ('stdout', 'stderr', 'platform')),
    level       text not null,
    message     text not null,
    redacted    boolean not null,
    request_id  text not null,
    run_id      text,
    attempt_id  text,
    release_id  text not null
);
create index function_logs_newest on function_logs (project_id, function, at desc, id desc);
create index function_logs_by_request on function_logs (project_id, request_id, at, id);
create index function_logs_by_run on function_logs (project_id, run_id, at, id) where run_id is not null;
create index function_logs_by_age on function_logs (at);

-- Durable runs (05 §6).
create table function_runs (
    id              text primary key check (id ~ '^fnrun_[0-9a-f]{24}$'),
    project_id      text not null references projects (id),
    function        text not null,
    idempotency_key text not null,
    -- What was asked for, to tell a repetition from another wish under the same key.
    intent          jsonb not null,
    event_type      text not null,
    payload         jsonb not null,
    source          jsonb not null,
    retry           jsonb not null,
    status          text not null check (status in ('queued', 'running', 'retrying', 'blocked', 'succeeded', 'failed',
                                                    'cancelled', 'expired')),
    generation      integer not null default 1 check (generation >= 1),
    run_at          timestamptz not null,
    expires_at      timestamptz,
    -- Attempts of this generation, and of all.
    attempts        integer not null default 0 check (attempts >= 0),
    attempts_total  integer not null default 0 check (attempts_total >= attempts),
    next_attempt_at timestamptz,
    last_error      jsonb,
    created_at      timestamptz not null,
    updated_at      timestamptz not null,
    completed_at    timestamptz,
    unique (project_id, function, idempotency_key),
    check ((status in ('succeeded', 'failed', 'cancelled', 'expired')) = (completed_at is not null))
);
create index function_runs_newest on function_runs (project_id, function, created_at desc, id desc);

create table function_run_attempts (
    id              text primary key check (id ~ '^fnatt_[0-9a-f]{24}$'),
    run_id          text not null references function_runs (id) on delete cascade,
    generation      integer not null,
    number          integer not null check (number >= 1),
    started_at      timestamptz not null,
    completed_at    timestamptz,
    response_status integer,
    error           jsonb,
    unique (run_id, generation, number)
);

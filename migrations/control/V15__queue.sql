-- Background work that must survive a crash: one durable queue for every feature.

create table queue_jobs (
    id          bigint generated always as identity primary key,
    -- What handles it.
    kind        text not null check (kind ~ '^[a-z][a-z0-9_]{0,62}$'),
    -- Of unfinished jobs of one kind, one has this key.
    key         text check (octet_length(key) between 1 and 512),
    payload     jsonb not null,
    -- A job that is done leaves the table; one that was given up stays for a while, to be looked at.
    state       text not null default 'waiting' check (state in ('waiting', 'running', 'failed')),
    run_at      timestamptz not null,
    -- How often it was begun.
    attempts    integer not null default 0 check (attempts >= 0),
    last_error  text,
    -- The process that runs it, and until when it is believed to.
    worker      uuid,
    lease_until timestamptz,
    created_at  timestamptz not null,
    updated_at  timestamptz not null,
    check ((state = 'running') = (worker is not null) and (state = 'running') = (lease_until is not null))
);
create unique index queue_jobs_unfinished on queue_jobs (kind, key) where state in ('waiting', 'running');
create index queue_jobs_due on queue_jobs (kind, run_at, id) where state = 'waiting';
create index queue_jobs_leased on queue_jobs (lease_until) where state = 'running';
create index queue_jobs_given_up on queue_jobs (updated_at) where state = 'failed';

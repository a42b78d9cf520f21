-- Who may act: principals, their wallets, organisations, memberships (contract 01 §2.4, 08 §2-3).
-- An organisation also carries its lease and its balance, because both change under the same row lock.

create table principals (
    id           text primary key check (id ~ '^prn_[a-z0-9]{16,64}$'),
    type         text not null check (type in ('human', 'agent', 'ci', 'system')),
    display_name text,
    created_at   timestamptz not null default now(),
    disabled_at  timestamptz
);

create table organisations (
    id                   uuid primary key,
    display_name         text,
    created_by           text references principals (id),
    created_at           timestamptz not null default now(),
    -- Lease (01 §7). A null tier is "never subscribed".
    tier                 text check (tier in ('prototype', 'hobby', 'team')),
    lease_started_at     timestamptz,
    lease_expires_at     timestamptz,
    lease_perpetual      boolean not null default false,
    -- What was paid for the span from start to expiry, renewals included: the ceiling of any refund (01 §7.3).
    -- Nothing on a box where everything is free, so changing tiers cannot mint credit.
    lease_paid_usd_micros bigint not null default 0 check (lease_paid_usd_micros >= 0),
    -- The lifecycle state last announced by the sweeper; the effective one is computed from the lease.
    lifecycle_state      text not null default 'active'
                         check (lifecycle_state in ('active', 'past_due', 'frozen', 'dormant', 'purged')),
    lifecycle_entered_at timestamptz,
    -- How long this box has been running since it announced `dormant`: a purge waits for 24 hours of it (01 §7.5).
    dormant_running_seconds bigint not null default 0 check (dormant_running_seconds >= 0),
    -- Metered calls of the current usage period, summed over the organisation's projects (02 §2.3).
    api_calls            bigint not null default 0 check (api_calls >= 0),
    usage_period_start   timestamptz not null default now(),
    -- Balance (01 §8.1), always equal to the newest ledger entry.
    available_usd_micros bigint not null default 0,
    held_usd_micros      bigint not null default 0 check (held_usd_micros >= 0),
    email_credits        bigint not null default 0 check (email_credits >= 0),
    check ((tier is null) = (lease_started_at is null)),
    check ((tier is null) = (lease_expires_at is null))
);

-- A wallet belongs to exactly one principal; the organisation it was linked to wins over the oldest it owns.
create table wallets (
    address         text primary key check (address ~ '^0x[0-9a-f]{40}$'),
    principal_id    text not null references principals (id),
    organisation_id uuid references organisations (id),
    label           text,
    created_at      timestamptz not null default now()
);
create index wallets_by_principal on wallets (principal_id);

create table memberships (
    organisation_id uuid not null references organisations (id),
    principal_id    text not null references principals (id),
    role            text not null check (role in ('owner', 'admin', 'developer', 'billing', 'viewer')),
    status          text not null check (status in ('active', 'invited', 'suspended', 'revoked')),
    created_at      timestamptz not null default now(),
    primary key (organisation_id, principal_id)
);
create index memberships_by_principal on memberships (principal_id) where status = 'active';

-- Append-only ledger of an organisation's balance; each entry stores both balances after it (01 §8.1, §8.3).
create table ledger_entries (
    id                       uuid primary key,
    organisation_id          uuid not null references organisations (id),
    -- Total order inside one organisation, also the pagination key.
    sequence                 bigint generated always as identity unique,
    direction                text not null check (direction in ('credit', 'debit')),
    kind                     text not null,
    amount_usd_micros        bigint not null check (amount_usd_micros > 0),
    balance_after_available  bigint not null,
    balance_after_held       bigint not null,
    reference_type           text,
    reference_id             text,
    metadata                 jsonb not null default '{}',
    created_at               timestamptz not null default now(),
    -- Webhooks and retries cannot post the same thing twice. Nulls are distinct: unreferenced entries may repeat.
    unique (kind, reference_type, reference_id)
);
create index ledger_entries_newest on ledger_entries (organisation_id, sequence desc);

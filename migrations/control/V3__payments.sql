-- Payments received for priced routes (contract 01 §3.2, §3.8).
-- A payment authorisation is an idempotency key: its row keeps the answer that was given for it.

create table payments (
    id              uuid primary key,
    rail            text not null check (rail in ('x402', 'mpp')),
    network         text not null,
    asset           text not null,
    payer           text not null check (payer ~ '^0x[0-9a-f]{40}$'),
    -- EIP-3009 nonce (x402) or transaction hash (MPP): unique per payer, asset and network.
    nonce           text not null,
    -- Who was credited and debited; written when the payment is applied.
    organisation_id uuid references organisations (id),
    -- "<METHOD> <path>", and a digest of the request's meaning and its beneficiary: only the same request by the same
    -- caller gets the stored answer, anything else is a replay.
    route           text not null,
    request_digest  text not null,
    amount          bigint not null check (amount > 0),
    state           text not null check (state in ('reserved', 'settling', 'settled', 'applied', 'failed')),
    transaction_hash text,
    response_status integer,
    -- Sealed with the master key: the answer to provisioning holds project keys.
    response_body   bytea,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    unique (network, asset, payer, nonce),
    check (state <> 'applied' or (response_status is not null and response_body is not null and transaction_hash is not null))
);

-- General idempotency keys (01 §1.7). Rows older than 24 h are swept.
create table idempotency_keys (
    principal       text not null,
    method          text not null,
    path            text not null,
    key             text not null,
    request_digest  text not null,
    -- Null while the first request still runs.
    response_status integer,
    -- Sealed: the answer of a provision holds keys.
    response_body   bytea,
    created_at      timestamptz not null default now(),
    primary key (principal, method, path, key)
);
create index idempotency_keys_by_age on idempotency_keys (created_at);

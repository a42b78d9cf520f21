-- The simulated chain: testnet token balances, transfers, used authorisations (contract 01 §5.1).
-- Amounts are token units; every token here has six decimals, so one unit is one micro-dollar.

create table chain_balances (
    chain   text not null check (chain ~ '^eip155:[0-9]+$'),
    asset   text not null check (asset ~ '^0x[0-9a-f]{40}$'),
    address text not null check (address ~ '^0x[0-9a-f]{40}$'),
    amount  bigint not null check (amount >= 0),
    primary key (chain, asset, address)
);

create table chain_transfers (
    transaction_hash text not null check (transaction_hash ~ '^0x[0-9a-f]{64}$'),
    log_index        integer not null default 0,
    chain            text not null,
    asset            text not null,
    sender           text not null,
    recipient        text not null,
    amount           bigint not null check (amount > 0),
    kind             text not null check (kind in ('faucet', 'payment', 'mint')),
    -- EIP-3009 nonce when the transfer was an authorisation, for the AuthorizationUsed log.
    nonce            text,
    created_at       timestamptz not null default now(),
    primary key (transaction_hash, log_index)
);

create table chain_used_authorisations (
    chain            text not null,
    asset            text not null,
    authorizer       text not null,
    nonce            text not null check (nonce ~ '^0x[0-9a-f]{64}$'),
    transaction_hash text not null,
    created_at       timestamptz not null default now(),
    primary key (chain, asset, authorizer, nonce)
);

-- One drip per address and cooldown; the row is written in the transaction of the mint (01 §6.1).
create table faucet_drips (
    chain      text not null,
    address    text not null,
    dripped_at timestamptz not null,
    primary key (chain, address)
);

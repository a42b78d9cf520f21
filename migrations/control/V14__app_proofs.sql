-- Proofs of identity that were used up (contract 06 §10.5): a wallet's message or an id token signs in once.
--
-- The digest covers project, kind and nonce or token. Rows outlive their proof, which is refused by its age then.

create table app_used_proofs (
    digest     bytea primary key check (octet_length(digest) = 32),
    expires_at timestamptz not null
);
create index app_used_proofs_expired on app_used_proofs (expires_at);

//! The token ledger: who holds how much on the simulated chain (contract 01 §5.1).
//!
//! Every change happens inside the caller's transaction, at READ COMMITTED, so a payment and what it pays
//! for commit together or not at all. Two things keep it right under concurrency:
//!
//! * A balance falls only by an `update … where amount >= $n`: after waiting for a row lock Postgres checks
//!   the condition again on the newest row, so no interleaving makes a balance negative.
//! * Using an authorisation is an insert under a unique key; whoever comes second waits for the first to
//!   commit and then finds no row inserted.
//!
//! Rows of two parties are locked in address order, so transfers in opposite directions cannot deadlock.

use alloy_primitives::{Address, B256};
use tokio_postgres::{GenericClient, Row, Transaction, error::SqlState};

use super::{
    assets::{Chain, Token},
    eip3009::Authorization,
};
use crate::{
    common::{Timestamp, WalletAddress},
    engines::postgres::DatabaseError,
};

/// Why the ledger refused a change.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    #[error("the balance does not cover the transfer")]
    InsufficientFunds,
    #[error("the authorisation was used before")]
    AuthorizationUsed,
    /// The recipient would hold more than the ledger can count.
    #[error("the recipient's balance would overflow")]
    Overflow,
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for TransferError {
    fn from(error: tokio_postgres::Error) -> Self {
        if error.code() == Some(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE) {
            return Self::Overflow;
        }
        Self::Database(error.into())
    }
}

/// Where new units come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Faucet,
    Mint,
}

/// A transfer as the ledger remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRecord {
    pub log_index: i32,
    /// The zero address when the units were newly minted.
    pub from: Address,
    pub to: Address,
    pub token: Address,
    /// Units, more than zero.
    pub amount: i64,
    /// Set when the transfer was an authorisation.
    pub nonce: Option<B256>,
    pub at: Timestamp,
}

/// A transaction hash: 32 random bytes, since there is no block it could be the hash of.
pub fn transaction_hash() -> B256 {
    B256::from(rand::random::<[u8; 32]>())
}

/// Units held; zero for an address never seen.
///
/// # Errors
/// [`DatabaseError`].
pub async fn balance(client: &impl GenericClient, token: &Token, address: Address) -> Result<i64, DatabaseError> {
    let row = client
        .query_opt(
            "select amount from chain_balances where chain = $1 and asset = $2 and address = $3",
            &[&token.chain.caip2(), &text(token.address), &text(address)],
        )
        .await?;
    row.map_or(Ok(0), |row| Ok(row.try_get(0)?))
}

/// Units in existence, as far as 64 bits can say.
///
/// # Errors
/// [`DatabaseError`].
pub async fn total_supply(client: &impl GenericClient, token: &Token) -> Result<i64, DatabaseError> {
    let row = client
        .query_one(
            "select least(coalesce(sum(amount), 0), 9223372036854775807)::bigint from chain_balances
             where chain = $1 and asset = $2",
            &[&token.chain.caip2(), &text(token.address)],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// Whether the owner's nonce was used.
///
/// # Errors
/// [`DatabaseError`].
pub async fn is_used(
    client: &impl GenericClient,
    token: &Token,
    authorizer: Address,
    nonce: B256,
) -> Result<bool, DatabaseError> {
    let row = client
        .query_one(
            "select exists (select from chain_used_authorisations
                            where chain = $1 and asset = $2 and authorizer = $3 and nonce = $4)",
            &[&token.chain.caip2(), &text(token.address), &text(authorizer), &nonce.to_string()],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// The transfers of one transaction on one chain, in log order; none for an unknown hash.
///
/// # Errors
/// [`DatabaseError`].
pub async fn transfers(
    client: &impl GenericClient,
    chain: Chain,
    hash: B256,
) -> Result<Vec<TransferRecord>, DatabaseError> {
    let rows = client
        .query(
            "select log_index, sender, recipient, asset, amount, nonce, created_at from chain_transfers
             where chain = $1 and transaction_hash = $2 order by log_index",
            &[&chain.caip2(), &hash.to_string()],
        )
        .await?;
    rows.iter().map(record).collect()
}

/// Makes new units. Answers the transaction hash and the balance after it.
///
/// # Errors
/// [`TransferError::Overflow`], [`TransferError::Database`].
pub async fn mint(
    tx: &Transaction<'_>,
    token: &Token,
    to: Address,
    amount: i64,
    origin: Origin,
    now: Timestamp,
) -> Result<(B256, i64), TransferError> {
    let kind = match origin {
        Origin::Faucet => "faucet",
        Origin::Mint => "mint",
    };
    let hash = transaction_hash();
    let balance = credit(tx, token, to, amount).await?;
    let transfer =
        TransferRecord { log_index: 0, from: Address::ZERO, to, token: token.address, amount, nonce: None, at: now };
    remember(tx, token, hash, kind, &transfer).await?;
    Ok((hash, balance))
}

/// Carries out an authorisation that was verified before: marks its nonce used and moves its units. Answers
/// the transaction hash.
///
/// The signature and the validity are the caller's business; nonce and balance are settled here, under lock.
///
/// # Errors
/// [`TransferError`]; the caller's transaction must then be rolled back.
pub async fn execute(
    tx: &Transaction<'_>,
    token: &Token,
    authorization: &Authorization,
    amount: i64,
    now: Timestamp,
) -> Result<B256, TransferError> {
    let hash = transaction_hash();
    let (from, to) = (authorization.from, authorization.to);
    let fresh = tx
        .execute(
            "insert into chain_used_authorisations (chain, asset, authorizer, nonce, transaction_hash, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict do nothing",
            &[
                &token.chain.caip2(),
                &text(token.address),
                &text(from),
                &authorization.nonce.to_string(),
                &hash.to_string(),
                &now,
            ],
        )
        .await?;
    if fresh == 0 {
        return Err(TransferError::AuthorizationUsed);
    }
    lock(tx, token, [from, to]).await?;
    debit(tx, token, from, amount).await?;
    credit(tx, token, to, amount).await?;
    let nonce = Some(authorization.nonce);
    let transfer = TransferRecord { log_index: 0, from, to, token: token.address, amount, nonce, at: now };
    remember(tx, token, hash, "payment", &transfer).await?;
    Ok(hash)
}

async fn lock(tx: &Transaction<'_>, token: &Token, parties: [Address; 2]) -> Result<(), TransferError> {
    tx.execute(
        "select from chain_balances where chain = $1 and asset = $2 and address = any($3) order by address for update",
        &[&token.chain.caip2(), &text(token.address), &parties.map(text).to_vec()],
    )
    .await?;
    Ok(())
}

async fn debit(tx: &Transaction<'_>, token: &Token, from: Address, amount: i64) -> Result<(), TransferError> {
    let covered = tx
        .execute(
            "update chain_balances set amount = amount - $4
             where chain = $1 and asset = $2 and address = $3 and amount >= $4",
            &[&token.chain.caip2(), &text(token.address), &text(from), &amount],
        )
        .await?;
    if covered == 0 { Err(TransferError::InsufficientFunds) } else { Ok(()) }
}

async fn credit(tx: &Transaction<'_>, token: &Token, to: Address, amount: i64) -> Result<i64, TransferError> {
    let row = tx
        .query_one(
            "insert into chain_balances (chain, asset, address, amount) values ($1, $2, $3, $4)
             on conflict (chain, asset, address) do update set amount = chain_balances.amount + excluded.amount
             returning amount",
            &[&token.chain.caip2(), &text(token.address), &text(to), &amount],
        )
        .await?;
    Ok(row.try_get(0)?)
}

async fn remember(
    tx: &Transaction<'_>,
    token: &Token,
    hash: B256,
    kind: &str,
    transfer: &TransferRecord,
) -> Result<(), TransferError> {
    tx.execute(
        "insert into chain_transfers
             (transaction_hash, log_index, chain, asset, sender, recipient, amount, kind, nonce, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        &[
            &hash.to_string(),
            &transfer.log_index,
            &token.chain.caip2(),
            &text(transfer.token),
            &text(transfer.from),
            &text(transfer.to),
            &transfer.amount,
            &kind,
            &transfer.nonce.map(|nonce| nonce.to_string()),
            &transfer.at,
        ],
    )
    .await?;
    Ok(())
}

fn record(row: &Row) -> Result<TransferRecord, DatabaseError> {
    // What this module wrote it can read; a damaged row shows as the zero address, not as an outage.
    let address = |column: &str| -> Result<Address, DatabaseError> {
        Ok(row.try_get::<_, &str>(column)?.parse().unwrap_or_default())
    };
    Ok(TransferRecord {
        log_index: row.try_get("log_index")?,
        from: address("sender")?,
        to: address("recipient")?,
        token: address("asset")?,
        amount: row.try_get("amount")?,
        nonce: row.try_get::<_, Option<&str>>("nonce")?.and_then(|nonce| nonce.parse().ok()),
        at: row.try_get("created_at")?,
    })
}

/// Lower case, as the tables hold addresses.
fn text(address: Address) -> String {
    WalletAddress(address).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_and_addresses_have_the_shape_the_tables_check() {
        let hash = transaction_hash().to_string();
        assert_eq!(hash.len(), 66);
        assert_eq!(hash, hash.to_lowercase());
        assert_ne!(transaction_hash(), transaction_hash());
        assert_eq!(text(Address::repeat_byte(0xAB)), format!("0x{}", "ab".repeat(20)));
    }
}

//! A JSON-RPC façade over the simulated chain (contract 01 §5.2): what wallets ask of an Ethereum node.
//!
//! `mod.rs` reads requests and writes answers (JSON-RPC 2.0), `methods.rs` knows the methods, `call.rs` the
//! token contract behind `eth_call`, `blocks.rs` the blocks and receipts that never were. Nothing touches a
//! database: what must be looked up comes from a [`ChainReader`].

mod blocks;
mod call;
mod methods;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use super::{
    assets::{Chain, Token},
    ledger::TransferRecord,
};
use crate::{common::Timestamp, engines::postgres::DatabaseError};

/// Longest request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Most requests in one batch.
pub const MAX_BATCH: usize = 100;

/// What the façade needs to know of the chain.
pub trait ChainReader: Sync {
    /// Units of `token` that `owner` holds.
    fn balance(&self, token: &'static Token, owner: Address)
    -> impl Future<Output = Result<i64, DatabaseError>> + Send;
    /// Units of `token` in existence.
    fn total_supply(&self, token: &'static Token) -> impl Future<Output = Result<i64, DatabaseError>> + Send;
    /// Whether `authorizer` used this EIP-3009 nonce.
    fn is_used(
        &self,
        token: &'static Token,
        authorizer: Address,
        nonce: B256,
    ) -> impl Future<Output = Result<bool, DatabaseError>> + Send;
    /// The transfers of a transaction; none when the hash is unknown.
    fn transfers(
        &self,
        chain: Chain,
        hash: B256,
    ) -> impl Future<Output = Result<Vec<TransferRecord>, DatabaseError>> + Send;
    /// Mints test money for an address and answers the transaction hash.
    fn fund(&self, chain: Chain, address: Address) -> impl Future<Output = Result<B256, FundError>> + Send;
}

/// Why an address was not funded.
#[derive(Debug, thiserror::Error)]
pub enum FundError {
    /// Shown to the caller as JSON-RPC error -32000.
    #[error("{0}")]
    Refused(Cow<'static, str>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// A JSON-RPC error object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    pub code: i32,
    pub message: Cow<'static, str>,
}

impl RpcError {
    const PARSE: Self = Self::of(-32700, "Parse error");
    const INVALID_REQUEST: Self = Self::of(-32600, "Invalid request");
    const INVALID_PARAMS: Self = Self::of(-32602, "Invalid params");
    const INTERNAL: Self = Self::of(-32603, "Internal error");
    const REVERTED: Self = Self::of(3, "execution reverted");

    const fn of(code: i32, message: &'static str) -> Self {
        Self { code, message: Cow::Borrowed(message) }
    }

    fn method_not_found(method: &str) -> Self {
        let name: String = method.chars().take(64).collect();
        Self { code: -32601, message: format!("The method {name} does not exist on this chain").into() }
    }
}

impl From<DatabaseError> for RpcError {
    fn from(error: DatabaseError) -> Self {
        tracing::error!(%error, "the chain façade could not read its ledger");
        Self::INTERNAL
    }
}

impl From<FundError> for RpcError {
    fn from(error: FundError) -> Self {
        match error {
            FundError::Refused(message) => Self { code: -32000, message },
            FundError::Database(error) => error.into(),
        }
    }
}

/// Answers a request body: one request or a batch. `None` when it held only notifications, which get no answer.
pub async fn handle<R: ChainReader>(reader: &R, chain: Chain, now: Timestamp, body: &[u8]) -> Option<Value> {
    if body.len() > MAX_BODY_BYTES {
        return Some(too_large());
    }
    let Ok(request) = serde_json::from_slice::<Value>(body) else {
        return Some(failure(&Value::Null, RpcError::PARSE));
    };
    let Value::Array(batch) = request else { return answer(reader, chain, now, &request).await };
    if batch.is_empty() || batch.len() > MAX_BATCH {
        return Some(failure(&Value::Null, RpcError::INVALID_REQUEST));
    }
    let mut answers = Vec::with_capacity(batch.len());
    for request in &batch {
        answers.extend(answer(reader, chain, now, request).await);
    }
    (!answers.is_empty()).then_some(Value::Array(answers))
}

/// The answer to a body beyond [`MAX_BODY_BYTES`].
pub fn too_large() -> Value {
    failure(&Value::Null, RpcError::of(-32600, "The request is larger than 64 KiB"))
}

/// A request that is well-formed as such; whether method and parameters make sense is another matter.
struct Call<'a> {
    /// Absent in a notification.
    id: Option<&'a Value>,
    method: &'a str,
    /// `None` when they are not positional, the only form Ethereum uses.
    params: Option<&'a [Value]>,
}

async fn answer<R: ChainReader>(reader: &R, chain: Chain, now: Timestamp, request: &Value) -> Option<Value> {
    let Some(call) = read(request) else {
        return Some(failure(&Value::Null, RpcError::INVALID_REQUEST));
    };
    let result = match call.params {
        Some(params) => methods::dispatch(reader, chain, now, call.method, params).await,
        None => Err(RpcError::INVALID_PARAMS),
    };
    // A notification is carried out and not answered (JSON-RPC 2.0 §4.1).
    let id = call.id?;
    Some(match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(error) => failure(id, error),
    })
}

fn read(request: &Value) -> Option<Call<'_>> {
    let request = request.as_object()?;
    if request.get("jsonrpc")? != "2.0" {
        return None;
    }
    let id = request.get("id");
    if id.is_some_and(|id| !(id.is_string() || id.is_number() || id.is_null())) {
        return None;
    }
    let params = match request.get("params") {
        None => Some(&[][..]),
        Some(params) => params.as_array().map(Vec::as_slice),
    };
    Some(Call { id, method: request.get("method")?.as_str()?, params })
}

fn failure(id: &Value, error: RpcError) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": error.code, "message": error.message } })
}

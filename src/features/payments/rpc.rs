//! The simulated chain's JSON-RPC and the preload shim that leads clients to it (contract 01 §5.2, §5.3).

use std::net::IpAddr;

use alloy_primitives::{Address, B256};
use serde_json::{Value, json};

use super::service::{Inner, Payments};
use crate::{
    common::{ClientIp, WalletAddress},
    engines::{
        chain::{
            assets::{Chain, Token},
            jsonrpc::{self, ChainReader, FundError},
            ledger::{self, TransferRecord},
        },
        postgres::DatabaseError,
    },
};

const SHIM: &str = include_str!("shim.mjs");

impl Payments {
    /// Answers a JSON-RPC body for a chain; `None` when nothing is to be answered. The HTTP status is always 200.
    pub async fn json_rpc(&self, chain: Chain, body: &[u8], ClientIp(ip): ClientIp) -> Option<Value> {
        let reader = LedgerReader { payments: &self.0, ip };
        jsonrpc::handle(&reader, chain, self.0.clock.now(), body).await
    }

    /// The ES module for `NODE_OPTIONS=--import`: it sends calls to the public RPC servers to this box.
    pub fn shim(&self) -> String {
        shim(&self.0.public_url)
    }
}

fn shim(public_url: &str) -> String {
    let chains: serde_json::Map<String, Value> =
        Chain::ALL.into_iter().map(|chain| (chain.public_rpc_host().to_owned(), json!(chain.slug()))).collect();
    SHIM.replace("__CHAINS__", &json!(chains).to_string()).replace("__BASE__", &json!(public_url).to_string())
}

struct LedgerReader<'a> {
    payments: &'a Inner,
    ip: IpAddr,
}

impl ChainReader for LedgerReader<'_> {
    async fn balance(&self, token: &'static Token, owner: Address) -> Result<i64, DatabaseError> {
        ledger::balance(&**self.payments.database.get().await?, token, owner).await
    }

    async fn total_supply(&self, token: &'static Token) -> Result<i64, DatabaseError> {
        ledger::total_supply(&**self.payments.database.get().await?, token).await
    }

    async fn is_used(&self, token: &'static Token, authorizer: Address, nonce: B256) -> Result<bool, DatabaseError> {
        ledger::is_used(&**self.payments.database.get().await?, token, authorizer, nonce).await
    }

    async fn transfers(&self, chain: Chain, hash: B256) -> Result<Vec<TransferRecord>, DatabaseError> {
        ledger::transfers(&**self.payments.database.get().await?, chain, hash).await
    }

    async fn fund(&self, _: Chain, address: Address) -> Result<B256, FundError> {
        if address.is_zero() {
            return Err(FundError::Refused("The zero address cannot be funded.".into()));
        }
        self.payments.drip_tempo(WalletAddress(address), self.ip).await.map_err(|error| {
            if let Some(cause) = error.cause() {
                tracing::error!(%cause, "the Tempo faucet failed");
            }
            FundError::Refused(error.message().to_owned().into())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shim_knows_every_host_and_the_box() {
        let text = shim("https://api.example.com");
        for chain in Chain::ALL {
            assert!(text.contains(chain.public_rpc_host()) && text.contains(chain.slug()));
        }
        assert!(text.contains("\"https://api.example.com\""));
        assert!(!text.contains("__"), "every placeholder is filled");
    }
}

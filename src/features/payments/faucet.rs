//! Test money: the faucet, the admin's mint, and the Tempo faucet behind JSON-RPC (contract 01 §5.2, §6.1).

use std::net::IpAddr;

use alloy_primitives::B256;
use axum::http::StatusCode;
use jiff::SignedDuration;
use serde_json::Value;

use super::{
    service::{Inner, Payments},
    store,
    types::{Drip, Minted},
};
use crate::{
    common::{ApiError, ApiResult, ClientIp, Timestamp, WalletAddress},
    engines::{
        chain::{
            assets::Chain,
            ledger::{self, Origin, TransferError},
        },
        postgres::DatabaseError,
    },
};

/// Units of one drip of pathUSD: 1,000 dollars.
const TEMPO_UNITS: i64 = 1_000_000_000;
const TEMPO_COOLDOWN: SignedDuration = SignedDuration::from_hours(1);
/// Most that can be minted at once: a billion dollars, far from the end of the ledger's numbers.
const MAX_MINT: i64 = 1_000_000_000_000_000;
const SLOW_DOWN: &str = "Too many faucet requests from this address. Wait a minute.";

/// Why no test money came.
#[derive(Debug, thiserror::Error)]
pub(super) enum DripError {
    /// Seconds until the address may ask again, at least 1.
    #[error("this address was funded recently")]
    Cooldown(u64),
    #[error(transparent)]
    Transfer(#[from] TransferError),
}

impl From<DatabaseError> for DripError {
    fn from(error: DatabaseError) -> Self {
        Self::Transfer(error.into())
    }
}

impl From<tokio_postgres::Error> for DripError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Transfer(error.into())
    }
}

impl Payments {
    /// One drip of testnet USDC (contract 01 §6.1).
    ///
    /// # Errors
    /// 400 `INVALID_ADDRESS`; 429 `RATE_LIMITED` with the wait; 503 `FAUCET_UNAVAILABLE` when switched off.
    pub async fn drip(&self, address: &Value, ClientIp(ip): ClientIp) -> ApiResult<Drip> {
        let inner = &self.0;
        inner.check_faucet(ip)?;
        let address = parse_address(address)?;
        let settings = &inner.settings.faucet;
        let chain = Chain::BaseSepolia;
        let amount = i64::from(settings.amount_usd_micros);
        let cooldown = SignedDuration::from_secs(settings.cooldown_seconds.into());
        let hash = inner.fund(chain, address, amount, cooldown).await.map_err(|error| match error {
            DripError::Cooldown(seconds) => {
                ApiError::rate_limited("This address was funded recently. Ask again after the wait.", seconds)
            }
            DripError::Transfer(error) => transfer_error(error),
        })?;
        Ok(Drip {
            transaction_hash: hash.to_string(),
            amount_usd_micros: amount,
            token: chain.token().symbol,
            network: chain.slug(),
        })
    }

    /// Makes test money for any address; for the admin.
    ///
    /// # Errors
    /// 400 `INVALID_ADDRESS`, `INVALID_AMOUNT`, `INVALID_REQUEST` for an unknown or a real network.
    pub async fn mint(&self, address: &Value, amount: &Value, network: Option<&str>) -> ApiResult<Minted> {
        let address = parse_address(address)?;
        let amount = parse_amount(amount)?;
        let chain = parse_network(network)?;
        let mut connection = self.0.database.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let (hash, balance) = ledger::mint(&tx, chain.token(), address.0, amount, Origin::Mint, self.0.clock.now())
            .await
            .map_err(transfer_error)?;
        tx.commit().await?;
        Ok(Minted { transaction_hash: hash.to_string(), balance_usd_micros: balance })
    }
}

impl Inner {
    /// The limit per IP address, and the switch.
    fn check_faucet(&self, ip: IpAddr) -> ApiResult<()> {
        self.faucet_limit.check(&ip, SLOW_DOWN)?;
        if self.settings.faucet.enabled {
            return Ok(());
        }
        Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "FAUCET_UNAVAILABLE",
            "The faucet of this box is switched off. Ask its operator for test money.",
        )
        .retryable(false))
    }

    /// One drip of pathUSD for the Tempo façade.
    ///
    /// # Errors
    /// As [`Payments::drip`], as an [`ApiError`] of which JSON-RPC shows the message.
    pub async fn drip_tempo(&self, address: WalletAddress, ip: IpAddr) -> ApiResult<B256> {
        self.check_faucet(ip)?;
        self.fund(Chain::TempoModerato, address, TEMPO_UNITS, TEMPO_COOLDOWN).await.map_err(|error| match error {
            DripError::Cooldown(seconds) => {
                ApiError::rate_limited("This address was funded within the last hour.", seconds)
            }
            DripError::Transfer(error) => transfer_error(error),
        })
    }

    /// Cooldown row and mint in one transaction, so that of two first calls one waits for the other and then
    /// sees its row.
    async fn fund(
        &self,
        chain: Chain,
        address: WalletAddress,
        amount: i64,
        cooldown: SignedDuration,
    ) -> Result<B256, DripError> {
        let now = self.clock.now();
        let mut connection = self.database.get().await?;
        let client: &mut tokio_postgres::Client = &mut connection;
        let tx = client.transaction().await?;
        let not_since = (!cooldown.is_zero()).then(|| now.minus(cooldown));
        if let Some(last) = store::drip(&tx, chain, address, now, not_since).await? {
            return Err(DripError::Cooldown(wait(last, cooldown, now)));
        }
        let (hash, _) = ledger::mint(&tx, chain.token(), address.0, amount, Origin::Faucet, now).await?;
        tx.commit().await?;
        Ok(hash)
    }
}

/// Whole seconds until a cooldown that began at `last` is over, at least 1.
fn wait(last: Timestamp, cooldown: SignedDuration, now: Timestamp) -> u64 {
    let millis = last.plus(cooldown).as_millis().saturating_sub(now.as_millis());
    u64::try_from(millis).unwrap_or(0).div_ceil(1000).max(1)
}

fn transfer_error(error: TransferError) -> ApiError {
    match error {
        TransferError::Database(error) => error.into(),
        TransferError::Overflow => {
            ApiError::bad_request("INVALID_AMOUNT", "The address would hold more than this box can count.")
        }
        error @ (TransferError::InsufficientFunds | TransferError::AuthorizationUsed) => ApiError::internal(error),
    }
}

fn parse_address(value: &Value) -> ApiResult<WalletAddress> {
    value.as_str().and_then(|text| text.parse().ok()).filter(|address: &WalletAddress| !address.is_zero()).ok_or_else(
        || {
            ApiError::bad_request(
                "INVALID_ADDRESS",
                "address must be 0x and 40 hexadecimal digits, and not the zero address.",
            )
            .detail("field", "address")
        },
    )
}

fn parse_amount(value: &Value) -> ApiResult<i64> {
    value.as_i64().filter(|amount| (1..=MAX_MINT).contains(amount)).ok_or_else(|| {
        ApiError::bad_request(
            "INVALID_AMOUNT",
            format!("amount_usd_micros must be a whole number from 1 to {MAX_MINT}."),
        )
        .detail("field", "amount_usd_micros")
    })
}

fn parse_network(network: Option<&str>) -> ApiResult<Chain> {
    let network = network.unwrap_or(Chain::BaseSepolia.caip2());
    Chain::from_caip2(network).filter(|chain| !chain.is_mainnet()).ok_or_else(|| {
        ApiError::bad_request("INVALID_REQUEST", "network must be a test network: eip155:84532 or eip155:42431.")
            .detail("field", "network")
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_an_address_is_invalid_address() {
        assert!(parse_address(&json!("0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266")).is_ok());
        let zero = format!("0x{}", "0".repeat(40));
        for value in [json!(null), json!(7), json!(""), json!("0x12"), json!({"a": 1}), json!(zero)] {
            assert_eq!(parse_address(&value).unwrap_err().code(), "INVALID_ADDRESS", "{value}");
        }
    }

    #[test]
    fn only_positive_whole_amounts_are_minted() {
        assert_eq!(parse_amount(&json!(5)).unwrap(), 5);
        for value in [json!(0), json!(-1), json!(1.5), json!("5"), json!(null), json!(MAX_MINT + 1), json!(u64::MAX)] {
            assert_eq!(parse_amount(&value).unwrap_err().code(), "INVALID_AMOUNT", "{value}");
        }
    }

    #[test]
    fn real_money_is_never_minted() {
        assert_eq!(parse_network(None).unwrap(), Chain::BaseSepolia);
        assert_eq!(parse_network(Some("eip155:42431")).unwrap(), Chain::TempoModerato);
        for network in ["eip155:8453", "eip155:1", "base-sepolia", ""] {
            assert_eq!(parse_network(Some(network)).unwrap_err().code(), "INVALID_REQUEST", "{network}");
        }
    }

    #[test]
    fn the_wait_is_rounded_up_and_never_zero() {
        let at = |millis| Timestamp::from_millis(millis).unwrap();
        let day = SignedDuration::from_secs(86_400);
        for (now, expected) in
            [(0, 86_400), (1, 86_400), (1000, 86_399), (86_399_999, 1), (86_400_000, 1), (i64::from(u32::MAX), 1)]
        {
            assert_eq!(wait(at(0), day, at(now)), expected, "{now}");
        }
    }
}

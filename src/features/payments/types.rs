//! What is sold, what a paid request looks like, and the bodies of this feature's own endpoints.

use axum::{http::HeaderMap, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Charge;
use crate::common::UsdMicros;

/// What is sold and for how much.
#[derive(Clone, Debug)]
pub struct Price {
    pub amount: UsdMicros,
    /// Free text of the challenge, e.g. "Set prototype tier ($0.10 USDC)".
    pub description: String,
    /// Ledger kind of the debit (contract 01 §8.3).
    pub kind: &'static str,
}

/// The request that must be paid for.
pub struct PaidRequest<'a> {
    /// "POST /tiers/v1/prototype"
    pub route: &'a str,
    pub headers: &'a HeaderMap,
    /// Digest of the request's meaning (canonical body): the same authorisation with another meaning is refused.
    pub digest: String,
}

/// Answer of [`super::Payments::admit`].
pub enum Admission {
    /// This payment bought its answer before: here it is again, and nothing is charged.
    Replay(Response),
    /// To be carried out by the route, in the transaction of what is sold.
    Charge(Charge),
}

/// By which protocol money comes in. A rail brings its own way of verifying and its own receipts; what
/// follows (ledger entries, stored answers) is the same for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rail {
    X402,
    Mpp,
}

impl Rail {
    /// As the payments table has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X402 => "x402",
            Self::Mpp => "mpp",
        }
    }

    /// Ledger kind of the credit (contract 01 §8.3).
    pub fn credit_kind(self) -> &'static str {
        match self {
            Self::X402 => "x402_payment",
            Self::Mpp => "mpp_payment",
        }
    }
}

/// Body of `POST /faucet/v1`. Taken as any JSON so that everything but an address gets the same answer.
#[derive(Debug, Deserialize, ToSchema)]
pub struct FaucetRequest {
    /// Address to fund.
    #[schema(value_type = String, example = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")]
    #[serde(default)]
    pub address: Value,
}

/// A drip of test money (contract 01 §6.1).
#[derive(Debug, Serialize, ToSchema)]
pub struct Drip {
    pub transaction_hash: String,
    pub amount_usd_micros: i64,
    #[schema(example = "USDC")]
    pub token: &'static str,
    #[schema(example = "base-sepolia")]
    pub network: &'static str,
}

/// Body of `POST /admin/v1/ledger/mint`.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MintRequest {
    #[schema(value_type = String)]
    #[serde(default)]
    pub address: Value,
    /// More than zero.
    #[schema(value_type = i64)]
    #[serde(default)]
    pub amount_usd_micros: Value,
    /// CAIP-2; Base Sepolia when absent.
    pub network: Option<String>,
}

/// Test money made by the admin.
#[derive(Debug, Serialize, ToSchema)]
pub struct Minted {
    pub transaction_hash: String,
    pub balance_usd_micros: i64,
}

/// Answer of `POST /facilitator/verify` (contract 01 §3.9).
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    pub is_valid: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invalid_message: Option<&'static str>,
    /// The address the payment claims to be from; empty when it cannot be read.
    pub payer: String,
}

/// Answer of `POST /facilitator/settle` (contract 01 §3.9).
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    pub success: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<&'static str>,
    pub payer: String,
    /// Empty when nothing was settled.
    pub transaction: String,
    pub network: String,
}

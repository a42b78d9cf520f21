//! SKELETON: paid routes. Signatures are binding.
use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;
use tokio_postgres::Transaction;

use crate::common::{ApiResult, OrganisationId, UsdMicros, WalletAddress};

/// What is sold and for how much.
#[derive(Clone, Debug)]
pub struct Price {
    pub amount: UsdMicros,
    /* free text of the challenge */ pub description: String,
    /* ledger kind of the debit */ pub kind: &'static str,
}

/// The request that must be paid for.
pub struct PaidRequest<'a> {
    /// "POST /tiers/v1/prototype"
    pub route: &'a str,
    pub headers: &'a HeaderMap,
    /// Digest of the request's meaning (canonical body): the same authorisation with another meaning is refused.
    pub digest: String,
}

pub struct Payments {}

/// Answer of `admit`: the stored answer of an earlier identical request, or a charge to carry out.
pub enum Admission {
    Replay(Response),
    Charge(Charge),
}

/// A verified means of payment, not carried out yet.
pub struct Charge {}

impl Payments {
    /// Steps 2-3 of 01 §3.2: prepaid balance first, else the payment header, else the 402 challenge. With `billing.free` everything is admitted.
    pub async fn admit(
        &self,
        _request: &PaidRequest<'_>,
        _price: &Price,
        _wallet: Option<WalletAddress>,
    ) -> ApiResult<Admission> {
        todo!()
    }
}

impl Charge {
    /// Who benefits: the SIWX wallet, else the payer.
    pub fn beneficiary(&self) -> WalletAddress {
        todo!()
    }
    /// Inside the caller's transaction: reserve the nonce, settle, credit the ledger, debit the price (with the price's ledger kind).
    /// 409 PAYMENT_IN_PROGRESS, 402 for a used nonce or too little balance.
    pub async fn settle(&mut self, _tx: &Transaction<'_>, _organisation: OrganisationId) -> ApiResult<()> {
        todo!()
    }
    /// Stores the answer beside the payment, commits, and builds the response with its receipt headers.
    pub async fn finish(self, _tx: Transaction<'_>, _status: StatusCode, _body: Value) -> ApiResult<Response> {
        todo!()
    }
}

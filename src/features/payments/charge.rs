//! Carrying out a charge inside the transaction of what it pays for (contract 01 §3.2 steps 4 to 7).

use std::sync::Arc;

use alloy_primitives::B256;
use axum::{
    body::Body,
    http::{
        HeaderValue, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::Response,
};
use serde_json::{Value, json};
use tokio_postgres::Transaction;
use uuid::Uuid;

use super::{
    challenge::{Refusal, Terms, in_progress},
    in_flight::{Passage, PaymentKey},
    service::{Inner, answer_purpose},
    store::{self, Application, Reservation},
    types::Rail,
};
use crate::{
    common::{ApiError, ApiResult, OrganisationId, UsdMicros, WalletAddress},
    engines::chain::{
        ledger::{self, TransferError},
        verify::{Authenticated, Reason},
        x402::{Receipt, encode},
    },
    features::billing::{self, Direction, Entry, LedgerError},
};

/// A verified means of payment, not carried out yet. Dropping it charges nothing.
pub struct Charge {
    payments: Arc<Inner>,
    beneficiary: WalletAddress,
    means: Means,
}

/// What pays.
pub(super) enum Means {
    /// Nothing: everything is free here.
    Free,
    /// The organisation's balance.
    Balance(Terms),
    /// A signed x402 authorisation.
    X402(Box<Authorised>),
}

/// A verified authorisation and what it is for.
pub(super) struct Authorised {
    id: Uuid,
    key: PaymentKey,
    authenticated: Authenticated,
    units: i64,
    digest: String,
    terms: Terms,
    settled: Option<Settled>,
    /// Held until the answer is committed, or the charge is dropped.
    _passage: Passage,
}

struct Settled {
    organisation: OrganisationId,
    transaction_hash: B256,
}

impl Authorised {
    pub fn new(
        key: PaymentKey,
        authenticated: Authenticated,
        units: i64,
        digest: String,
        terms: Terms,
        passage: Passage,
    ) -> Self {
        Self { id: Uuid::now_v7(), key, authenticated, units, digest, terms, settled: None, _passage: passage }
    }
}

impl Charge {
    pub(super) fn new(payments: Arc<Inner>, beneficiary: WalletAddress, means: Means) -> Self {
        Self { payments, beneficiary, means }
    }

    /// Who benefits: the SIWX wallet, else the payer.
    pub fn beneficiary(&self) -> WalletAddress {
        self.beneficiary
    }

    /// Inside the caller's transaction (READ COMMITTED): claims the authorisation, credits and debits the
    /// organisation with the price's ledger kind, moves the tokens. On an error roll the transaction back.
    ///
    /// # Errors
    /// 409 `PAYMENT_IN_PROGRESS`; 402 for an authorisation used elsewhere or a balance that no longer
    /// suffices; 403 `INSUFFICIENT_FUNDS` when the organisation owes more than was paid.
    pub async fn settle(&mut self, tx: &Transaction<'_>, organisation: OrganisationId) -> ApiResult<()> {
        let payments = &self.payments;
        match &mut self.means {
            Means::Free => Ok(()),
            Means::Balance(terms) => {
                let entry = Entry {
                    organisation,
                    direction: Direction::Debit,
                    kind: terms.price.kind,
                    amount: terms.price.amount,
                    reference: None,
                    metadata: json!({ "route": terms.route }),
                };
                match billing::post(tx, &entry).await {
                    Ok(_) => Ok(()),
                    // Spent by another request since it was looked at: ask for a payment instead.
                    Err(LedgerError::InsufficientFunds) => Err(payments.challenge(terms, None)),
                    Err(error) => Err(error.into()),
                }
            }
            Means::X402(authorised) => {
                let transaction_hash =
                    settle_authorisation(payments, authorised, self.beneficiary, tx, organisation).await?;
                authorised.settled = Some(Settled { organisation, transaction_hash });
                Ok(())
            }
        }
    }

    /// Stores the answer beside the payment, commits, and builds the response with its receipt headers.
    ///
    /// # Errors
    /// 500 / 503 when the commit failed; then nothing was charged.
    pub async fn finish(self, tx: Transaction<'_>, status: StatusCode, body: Value) -> ApiResult<Response> {
        let body = serde_json::to_vec(&body).map_err(ApiError::internal)?;
        let Means::X402(authorised) = &self.means else {
            tx.commit().await?;
            return Ok(answer(status, body, None));
        };
        let Some(settled) = &authorised.settled else {
            return Err(ApiError::internal("a paid answer was finished before its charge was settled"));
        };
        let application = Application {
            id: authorised.id,
            organisation: settled.organisation,
            transaction_hash: settled.transaction_hash,
            status: status.as_u16(),
            sealed_body: &self.payments.master.seal(&answer_purpose(authorised.id), &body),
            now: self.payments.clock.now(),
        };
        if !store::apply(&tx, &application).await? {
            return Err(ApiError::internal("a payment was finished in another transaction than it was settled in"));
        }
        tx.commit().await?;
        let receipts = Receipts::new(&authorised.key, &settled.transaction_hash.to_string());
        Ok(answer(status, body, Some(&receipts)))
    }
}

async fn settle_authorisation(
    payments: &Inner,
    authorised: &Authorised,
    beneficiary: WalletAddress,
    tx: &Transaction<'_>,
    organisation: OrganisationId,
) -> ApiResult<B256> {
    let Authorised { id, key, authenticated, terms, .. } = authorised;
    let refuse = |reason| {
        let refusal = Refusal { reason, payer: Some(key.payer), network: Some(key.network.caip2()) };
        payments.challenge(terms, Some(refusal))
    };
    let rail = Rail::X402;
    let now = payments.clock.now();
    let reservation = Reservation {
        id: *id,
        rail,
        key: *key,
        route: &terms.route,
        digest: &authorised.digest,
        amount: UsdMicros(authorised.units),
        now,
    };
    if !store::reserve(tx, &reservation).await? {
        // Committed by another request since this one was admitted. Its answer can be had by asking again.
        return match store::find(tx, key).await? {
            Some(known) if known.route != terms.route || known.digest != authorised.digest => {
                Err(refuse(Reason::NonceUsed))
            }
            _ => Err(in_progress()),
        };
    }

    let reference = id.to_string();
    let credit = Entry {
        organisation,
        direction: Direction::Credit,
        kind: rail.credit_kind(),
        amount: UsdMicros(authorised.units),
        reference: Some(("payment", &reference)),
        metadata: json!({
            "network": key.network.caip2(),
            "payer": WalletAddress(key.payer),
            "beneficiary": beneficiary,
            "route": terms.route,
        }),
    };
    billing::post(tx, &credit).await?;
    let debit = Entry {
        direction: Direction::Debit,
        kind: terms.price.kind,
        amount: terms.price.amount,
        metadata: json!({ "route": terms.route }),
        ..credit
    };
    billing::post(tx, &debit).await.map_err(|error| match error {
        LedgerError::InsufficientFunds => ApiError::forbidden(
            "INSUFFICIENT_FUNDS",
            "The organisation's balance is below zero. Settle what it owes before buying more.",
        ),
        error => error.into(),
    })?;

    ledger::execute(tx, authenticated.token, &authenticated.authorization, authorised.units, now).await.map_err(
        |error| match error {
            TransferError::InsufficientFunds => refuse(Reason::InsufficientFunds),
            TransferError::AuthorizationUsed => refuse(Reason::NonceUsed),
            TransferError::Overflow => refuse(Reason::TransactionFailed),
            TransferError::Database(error) => error.into(),
        },
    )
}

/// The value of both receipt headers.
pub(super) struct Receipts(Option<HeaderValue>);

impl Receipts {
    pub fn new(key: &PaymentKey, transaction_hash: &str) -> Self {
        let receipt = Receipt {
            success: true,
            payer: WalletAddress(key.payer).to_string(),
            transaction: transaction_hash.to_owned(),
            network: key.network.caip2().to_owned(),
        };
        // Base64 is always a valid header value.
        Self(HeaderValue::try_from(encode(&receipt)).ok())
    }
}

/// The answer to a paid request. Never cached: a replay must come from here.
pub(super) fn answer(status: StatusCode, body: Vec<u8>, receipts: Option<&Receipts>) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(Receipts(Some(value))) = receipts {
        headers.insert("payment-response", value.clone());
        headers.insert("x-payment-response", value.clone());
    }
    response
}

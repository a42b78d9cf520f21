//! The 402 answers (contract 01 §3.3, §3.5): what is offered, and why a payment was refused.
//!
//! A 402 is only ever a payable offer (ruling 1 of contract 00); payment-capable clients act on it unread.

use alloy_primitives::Address;
use axum::http::{HeaderName, HeaderValue, StatusCode, header::CACHE_CONTROL};
use serde_json::{Map, Value, json};

use super::types::Price;
use crate::{
    common::{ApiError, NextAction},
    engines::chain::{
        assets::Chain,
        verify::Reason,
        x402::{PaymentRequired, Requirements, Resource, encode},
    },
};

const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");

/// What a request would buy: enough to offer it, and to offer it again.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    pub route: String,
    pub resource_url: String,
    pub price: Price,
}

impl Terms {
    pub fn new(public_url: &str, route: &str, price: &Price) -> Self {
        let path = route.split_once(' ').map_or(route, |(_, path)| path);
        Self { route: route.to_owned(), resource_url: format!("{public_url}{path}"), price: price.clone() }
    }

    /// One offer for each network, the preferred first.
    pub fn offers(&self, networks: &[Chain], treasury: Address) -> Vec<Requirements> {
        networks.iter().map(|network| Requirements::exact(network.token(), self.price.amount.0, treasury)).collect()
    }
}

/// Why a payment is not taken, and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub reason: Reason,
    /// The address the payment claims to be from.
    pub payer: Option<Address>,
    pub network: Option<&'static str>,
}

/// 402 `PAYMENT_REQUIRED` with the offers; with a refusal its reason, and 402 `INSUFFICIENT_FUNDS` when the
/// payer's tokens do not suffice.
pub(super) fn payment_required(
    terms: &Terms,
    offers: Vec<Requirements>,
    sign_in: Value,
    refusal: Option<Refusal>,
) -> ApiError {
    let required = PaymentRequired {
        version: 2,
        error: refusal.map_or("Payment required", |refusal| refusal.reason.as_str()).into(),
        resource: Resource {
            url: terms.resource_url.clone(),
            description: terms.price.description.clone(),
            mime_type: "application/json".into(),
        },
        accepts: offers,
        extensions: Map::from_iter([("sign-in-with-x".to_owned(), sign_in)]),
    };
    let error = match refusal {
        None => offered(&required, &terms.price),
        Some(refusal) => refused(refusal),
    };
    let error = error
        .extra("x402", json!(required))
        .extra("x402Version", 1)
        .extra("accepts", legacy_offers(&required))
        .header(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::try_from(encode(&required)) {
        Ok(value) => error.header(PAYMENT_REQUIRED, value),
        Err(cause) => ApiError::internal(cause),
    }
}

fn offered(required: &PaymentRequired, price: &Price) -> ApiError {
    let message = format!(
        "This request costs {}. Sign one of the offers in the PAYMENT-REQUIRED header and send the request again \
         with PAYMENT-SIGNATURE.",
        price.amount
    );
    ApiError::new(StatusCode::PAYMENT_REQUIRED, "PAYMENT_REQUIRED", message)
        .detail("amount_usd_micros", price.amount.0)
        .detail("networks", required.accepts.iter().map(|offer| offer.network.clone()).collect::<Vec<_>>())
        .next_action(NextAction::new("submit_payment", "Pay one of the offers and send the request again."))
}

fn refused(refusal: Refusal) -> ApiError {
    let Refusal { reason, payer, network } = refusal;
    let (code, action) = match reason {
        Reason::InsufficientFunds => (
            "INSUFFICIENT_FUNDS",
            NextAction::new("fund_wallet", "The faucet gives test money to any address.").at("POST", "/faucet/v1"),
        ),
        _ => ("PAYMENT_REQUIRED", NextAction::new("submit_payment", "Sign a new payment for one of the offers.")),
    };
    ApiError::new(StatusCode::PAYMENT_REQUIRED, code, reason.sentence())
        .extra("error", reason.as_str())
        .detail("reason", reason.as_str())
        .detail("payer", payer.map(|payer| format!("{payer:#x}")))
        .detail("network", network)
        .next_action(action)
}

/// The offers as x402 version 1 writes them, for clients that read the body and not the header (§3.6).
fn legacy_offers(required: &PaymentRequired) -> Value {
    required
        .accepts
        .iter()
        .filter_map(|offer| {
            let network = Chain::from_caip2(&offer.network)?.slug();
            Some(json!({
                "scheme": offer.scheme,
                "network": network,
                "maxAmountRequired": offer.amount,
                "asset": offer.asset,
                "payTo": offer.pay_to,
                "resource": required.resource.url,
                "description": required.resource.description,
                "mimeType": required.resource.mime_type,
                "maxTimeoutSeconds": offer.max_timeout_seconds,
                "extra": offer.extra,
            }))
        })
        .collect()
}

/// 409: the same authorisation is being used right now. Its answer will be there in a moment.
pub(super) fn in_progress() -> ApiError {
    ApiError::conflict(
        "PAYMENT_IN_PROGRESS",
        "This payment is being processed. Send the same request again in a second to get its answer.",
    )
    .retryable(true)
    .retry_after(1)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};

    use super::*;
    use crate::common::UsdMicros;

    fn terms() -> Terms {
        let price = Price {
            amount: UsdMicros(100_000),
            description: "Set prototype tier ($0.10 USDC)".into(),
            kind: "tier_subscribe",
        };
        Terms::new("https://api.example.com", "POST /tiers/v1/prototype", &price)
    }

    fn answer(refusal: Option<Refusal>) -> (ApiError, Value, Value) {
        let terms = terms();
        let offers = terms.offers(&[Chain::BaseSepolia], Address::repeat_byte(0xab));
        let error = payment_required(&terms, offers, json!({"info": {}}), refusal);
        let header = |name: &str| {
            error.headers().iter().find(|(key, _)| key == name).map(|(_, value)| value.to_str().unwrap().to_owned())
        };
        assert_eq!(header("cache-control").as_deref(), Some("no-store"));
        assert_eq!(header("www-authenticate"), None, "MPP cannot be paid here");
        let decoded = serde_json::from_slice(&STANDARD.decode(header("payment-required").unwrap()).unwrap()).unwrap();
        let body = error.body("trc_test", false);
        (error, body, decoded)
    }

    #[test]
    fn a_challenge_offers_the_price_and_says_so_twice() {
        let (error, body, decoded) = answer(None);
        assert_eq!((error.status().as_u16(), error.code()), (402, "PAYMENT_REQUIRED"));
        assert_eq!(body["x402"], decoded);
        assert_eq!(body["next_actions"][0]["type"], "submit_payment");
        assert!(body["message"].as_str().unwrap().contains("$0.10"));
        assert_eq!(
            decoded,
            json!({
                "x402Version": 2,
                "error": "Payment required",
                "resource": {
                    "url": "https://api.example.com/tiers/v1/prototype",
                    "description": "Set prototype tier ($0.10 USDC)",
                    "mimeType": "application/json",
                },
                "accepts": [{
                    "scheme": "exact", "network": "eip155:84532",
                    "asset": "0x036CbD53842c5426634e7929541eC2318f3dCF7e", "amount": "100000",
                    "payTo": format!("0x{}", "ab".repeat(20)), "maxTimeoutSeconds": 300,
                    "extra": {"name": "USDC", "version": "2"},
                }],
                "extensions": {"sign-in-with-x": {"info": {}}},
            })
        );
        assert_eq!(body["x402Version"], 1);
        assert_eq!(body["accepts"][0]["network"], "base-sepolia");
        assert_eq!(body["accepts"][0]["maxAmountRequired"], "100000");
    }

    #[test]
    fn a_refusal_names_its_reason_everywhere_clients_look() {
        let refusal = Refusal {
            reason: Reason::ValueMismatch,
            payer: Some(Address::repeat_byte(0xcd)),
            network: Some("eip155:84532"),
        };
        let (error, body, decoded) = answer(Some(refusal));
        let reason = "invalid_exact_evm_payload_authorization_value_mismatch";
        assert_eq!(error.code(), "PAYMENT_REQUIRED");
        assert_eq!(body["error"], reason);
        assert_eq!(decoded["error"], reason);
        assert_eq!(
            body["details"],
            json!({"reason": reason, "payer": format!("0x{}", "cd".repeat(20)), "network": "eip155:84532"})
        );
        assert_ne!(body["message"], reason, "people get a sentence");
        assert_eq!(decoded["accepts"].as_array().unwrap().len(), 1, "a fresh offer");
    }

    #[test]
    fn an_empty_wallet_is_sent_to_the_faucet() {
        let refusal = Refusal { reason: Reason::InsufficientFunds, payer: None, network: None };
        let (error, body, _) = answer(Some(refusal));
        assert_eq!(error.code(), "INSUFFICIENT_FUNDS");
        assert_eq!(body["error"], "insufficient_funds");
        assert_eq!(body["next_actions"][0]["action"], "fund_wallet");
        assert_eq!(body["details"]["payer"], Value::Null);
    }

    #[test]
    fn a_payment_in_progress_may_be_retried() {
        let body = in_progress().body("trc_test", false);
        assert_eq!((&body["code"], &body["retryable"]), (&json!("PAYMENT_IN_PROGRESS"), &json!(true)));
    }
}

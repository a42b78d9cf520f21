//! What an answer to a paid request looks like. The pipeline around it needs a database and is tested over
//! HTTP (tests/it/payments.rs).

use alloy_primitives::{Address, B256};
use axum::{body::to_bytes, http::StatusCode};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    charge::{Receipts, answer},
    in_flight::PaymentKey,
};
use crate::engines::chain::assets::Chain;

#[tokio::test]
async fn a_paid_answer_carries_its_receipt_twice_and_is_never_cached() {
    let key = PaymentKey { network: Chain::BaseSepolia, payer: Address::repeat_byte(0xAB), nonce: B256::ZERO };
    let hash = B256::repeat_byte(0x77).to_string();
    let response = answer(StatusCode::CREATED, b"{\"tier\":\"prototype\"}".to_vec(), Some(&Receipts::new(&key, &hash)));
    assert_eq!(response.status(), StatusCode::CREATED);
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("cache-control").as_deref(), Some("no-store"));
    assert_eq!(header("content-type").as_deref(), Some("application/json"));
    assert_eq!(header("payment-response"), header("x-payment-response"));
    let receipt: Value =
        serde_json::from_slice(&STANDARD.decode(header("payment-response").unwrap()).unwrap()).unwrap();
    assert_eq!(
        receipt,
        json!({
            "success": true, "payer": format!("0x{}", "ab".repeat(20)),
            "transaction": hash, "network": "eip155:84532",
        })
    );
    assert_eq!(&to_bytes(response.into_body(), 1024).await.unwrap()[..], b"{\"tier\":\"prototype\"}");
}

#[test]
fn an_answer_that_was_not_paid_by_x402_has_no_receipt() {
    let response = answer(StatusCode::OK, b"{}".to_vec(), None);
    assert!(response.headers().get("payment-response").is_none());
}

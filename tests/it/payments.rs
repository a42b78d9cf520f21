//! Paying with x402: what is offered, what is refused, what is charged exactly once (contract 01 §3; checks 8-15).

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::identity::high_s;
use crate::support::{
    Answer, Api, Appliance, Call, Wallet, control,
    payment::{BASE_SEPOLIA, Challenge, MAINNET_USDC, Payment, TESTNET_USDC, receipt},
    tenant::{FAUCET_AMOUNT, PROTOTYPE_PRICE},
    wallet::encode,
};

const PROTOTYPE: &str = "/tiers/v1/prototype";

fn purchase(api: &Api, wallet: &Wallet) -> Call {
    api.post(PROTOTYPE).wallet(wallet).json(&json!({}))
}

/// An honest payment for a prototype lease, not sent yet.
async fn payment_for(api: &Api, wallet: &Wallet) -> Payment {
    Challenge::of(&purchase(api, wallet).send().await).pay(wallet)
}

async fn pay(api: &Api, wallet: &Wallet, header: &str) -> Answer {
    purchase(api, wallet).header("payment-signature", header).send().await
}

/// A rejected payment: the reason everywhere clients look, a fresh offer, and nothing taken.
async fn assert_rejected(api: &Api, wallet: &Wallet, answer: &Answer, code: &str, reason: &str) {
    let body = answer.refused(402, code);
    assert_eq!(body["error"], reason, "{answer}");
    assert_eq!(body["details"]["reason"], reason, "{answer}");
    let challenge = Challenge::of(answer);
    assert_eq!(challenge.0["error"], reason, "{answer}");
    assert_eq!(challenge.accepts().len(), 1, "{answer}");
    let status = api.get("/tiers/v1/status").wallet(wallet).send().await.is(200);
    assert_eq!(status["tier"], Value::Null, "a rejected payment bought something: {status}");
}

#[tokio::test]
async fn the_challenge_offers_testnet_usdc_and_never_mainnet() {
    let api = Appliance::shared().api();
    let answer = purchase(&api, &Wallet::random()).send().await;
    let body = answer.refused(402, "PAYMENT_REQUIRED");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(body["next_actions"][0]["action"], "submit_payment");
    let challenge = Challenge::of(&answer);
    assert_eq!(body["x402"], challenge.0, "the body repeats the header for people without its decoder");
    assert_eq!(challenge.0["x402Version"], 2);
    assert!(challenge.0["error"].is_string());
    assert!(challenge.0["resource"]["url"].as_str().is_some_and(|url| url.ends_with(PROTOTYPE)));
    let [offer] = challenge.accepts() else { panic!("one offer: {:?}", challenge.0) };
    assert_eq!(offer["scheme"], "exact");
    assert_eq!(offer["network"], BASE_SEPOLIA);
    assert_eq!(offer["asset"].as_str().map(str::to_lowercase), Some(TESTNET_USDC.to_lowercase()));
    assert_eq!(offer["amount"], "100000");
    assert_eq!(offer["maxTimeoutSeconds"], 300);
    assert_eq!(offer["extra"], json!({"name": "USDC", "version": "2"}));
}

#[tokio::test]
async fn a_payment_buys_the_lease_and_moves_exactly_the_price() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let treasury = Challenge::of(&purchase(&api, &wallet).send().await).pay(&wallet).to;
    let before = api.token_balance(&treasury.to_string()).await;
    let answer = api.subscribe(&wallet, "prototype").await;
    assert_eq!(answer.ok()["action"], "subscribe");
    let receipt = receipt(&answer);
    assert_eq!(receipt["success"], true);
    assert_eq!(receipt["network"], BASE_SEPOLIA);
    assert_eq!(receipt["payer"].as_str().map(str::to_lowercase), Some(wallet.lower()));
    assert!(receipt["transaction"].as_str().is_some_and(|hash| hash.len() == 66));
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
    assert!(api.token_balance(&treasury.to_string()).await >= before + PROTOTYPE_PRICE);
}

#[tokio::test]
async fn a_payment_without_a_signature_makes_the_payer_the_customer() {
    let api = Appliance::shared().api();
    let payer = api.funded_wallet().await;
    let call = api.post(PROTOTYPE).json(&json!({}));
    let body = call.paid_by(&payer).await.ok();
    assert_eq!(body["wallet"], payer.lower());
    let status = api.get("/tiers/v1/status").wallet(&payer).send().await.is(200);
    assert_eq!(status["tier"], "prototype");
}

#[tokio::test]
async fn somebody_else_may_pay() {
    let api = Appliance::shared().api();
    let (customer, payer) = (Wallet::random(), api.funded_wallet().await);
    let body = purchase(&api, &customer).paid_by(&payer).await.ok();
    assert_eq!(body["wallet"], customer.lower());
    assert_eq!(api.token_balance(&payer.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
    let status = api.get("/tiers/v1/status").wallet(&payer).send().await.is(200);
    assert_eq!(status["tier"], Value::Null);
}

#[tokio::test]
async fn another_recipient_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    payment.to = Wallet::random().address();
    let answer = pay(&api, &wallet, &payment.header()).await;
    let reason = "invalid_exact_evm_payload_recipient_mismatch";
    assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
}

#[tokio::test]
async fn another_value_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    for value in [PROTOTYPE_PRICE - 1, PROTOTYPE_PRICE + 1, 0] {
        let mut payment = payment_for(&api, &wallet).await;
        payment.value = value;
        let answer = pay(&api, &wallet, &payment.header()).await;
        let reason = "invalid_exact_evm_payload_authorization_value_mismatch";
        assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
    }
}

#[tokio::test]
async fn an_authorisation_about_to_lapse_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    for seconds in [3, 0, -3600] {
        let mut payment = payment_for(&api, &wallet).await;
        payment.valid_before = Timestamp::now().as_second() + seconds;
        let answer = pay(&api, &wallet, &payment.header()).await;
        let reason = "invalid_exact_evm_payload_authorization_valid_before";
        assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
    }
}

#[tokio::test]
async fn an_authorisation_for_later_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    payment.valid_after = Timestamp::now().as_second() + 60;
    let answer = pay(&api, &wallet, &payment.header()).await;
    let reason = "invalid_exact_evm_payload_authorization_valid_after";
    assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
}

#[tokio::test]
async fn an_authorisation_valid_since_ever_is_accepted() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    payment.valid_after = 0;
    pay(&api, &wallet, &payment.header()).await.ok();
}

#[tokio::test]
async fn bad_signatures_are_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let payment = payment_for(&api, &wallet).await;
    let honest = payment.signature();
    let mut flipped = honest;
    flipped[40] ^= 1;
    let mut raw_v = honest;
    raw_v[64] -= 27;
    let of_another = Wallet::random().sign(payment.nonce);
    for signature in [
        high_s(honest).to_vec(),
        flipped.to_vec(),
        raw_v.to_vec(),
        of_another.to_vec(),
        vec![0; 65],
        honest[..64].to_vec(),
        [honest.as_slice(), &[0x64; 32]].concat(),
    ] {
        let answer = pay(&api, &wallet, &encode(&payment.payload_signed(&signature))).await;
        let reason = "invalid_exact_evm_payload_signature";
        assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
    }
    // The same authorisation, honestly signed, was not spoilt by the attempts.
    pay(&api, &wallet, &payment.header()).await.ok();
}

#[tokio::test]
async fn a_mainnet_signature_for_the_testnet_offer_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    payment.domain.name = "USD Coin".to_owned();
    payment.domain.chain_id = 8453;
    payment.domain.asset = MAINNET_USDC.parse().expect("an address");
    let answer = pay(&api, &wallet, &payment.header()).await;
    let reason = "invalid_exact_evm_payload_signature";
    assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
}

#[tokio::test]
async fn an_empty_wallet_cannot_pay() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let payment = payment_for(&api, &wallet).await;
    let answer = pay(&api, &wallet, &payment.header()).await;
    assert_rejected(&api, &wallet, &answer, "INSUFFICIENT_FUNDS", "insufficient_funds").await;
    assert_eq!(answer.json()["next_actions"][0]["action"], "fund_wallet");
}

#[tokio::test]
async fn a_payer_who_lacks_one_micro_dollar_cannot_pay() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = Wallet::random();
    api.mint(appliance, &wallet, PROTOTYPE_PRICE - 1).await;
    let payment = payment_for(&api, &wallet).await;
    let answer = pay(&api, &wallet, &payment.header()).await;
    assert_rejected(&api, &wallet, &answer, "INSUFFICIENT_FUNDS", "insufficient_funds").await;
    assert_eq!(api.token_balance(&wallet.lower()).await, PROTOTYPE_PRICE - 1);
}

#[tokio::test]
async fn terms_the_box_did_not_offer_are_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let changes: BTreeMap<&str, Value> = BTreeMap::from([
        ("amount", json!("1")),
        ("network", json!("eip155:8453")),
        ("scheme", json!("upto")),
        ("asset", json!(MAINNET_USDC)),
        ("payTo", json!(wallet.checksummed())),
        ("maxTimeoutSeconds", json!(301)),
        ("extra", json!({"name": "USD Coin", "version": "2"})),
    ]);
    for (field, value) in changes {
        let mut payment = payment_for(&api, &wallet).await;
        payment.accepted[field] = value;
        let answer = pay(&api, &wallet, &payment.header()).await;
        let reason = "No matching payment requirements";
        assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", reason).await;
    }
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
}

#[tokio::test]
async fn addresses_of_the_offer_may_come_back_in_another_case() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    for field in ["asset", "payTo"] {
        let lower = payment.accepted[field].as_str().expect("an address").to_lowercase();
        payment.accepted[field] = lower.into();
    }
    pay(&api, &wallet, &payment.header()).await.ok();
}

#[tokio::test]
async fn a_header_that_is_no_payment_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let payment = payment_for(&api, &wallet).await;
    let base64url = {
        use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
        // `?` and `~` take the two characters in which the alphabets differ.
        let mut payload = payment.payload();
        payload["resource"] = json!({"url": "http://x/???~~~>>>"});
        URL_SAFE_NO_PAD.encode(payload.to_string())
    };
    let without = |path: &[&str]| {
        let mut payload = payment.payload();
        let (last, parents) = path.split_last().expect("a path");
        let parent = parents.iter().fold(&mut payload, |at, key| &mut at[*key]);
        parent.as_object_mut().expect("an object").remove(*last);
        encode(&payload)
    };
    let with = |field: &str, value: Value| {
        let mut payload = payment.payload();
        payload["payload"]["authorization"][field] = value;
        encode(&payload)
    };
    let mut headers = vec![
        "nonsense!".to_owned(),
        encode(&json!([])),
        encode(&json!({})),
        base64url,
        without(&["payload"]),
        without(&["accepted"]),
        without(&["payload", "signature"]),
        without(&["payload", "authorization", "nonce"]),
        with("value", json!(100_000)),
        with("value", json!("0100000")),
        with("value", json!("-1")),
        with("value", json!("1e5")),
        with("value", json!("9".repeat(100))),
        with("nonce", json!("0x12")),
        with("from", json!("me")),
    ];
    headers.push(encode(&json!({"x402Version": 2, "padding": "x".repeat(17 * 1024)})));
    for header in headers {
        let answer = pay(&api, &wallet, &header).await;
        assert!(
            answer.status == 402 || answer.status == 431,
            "{answer} for {}",
            header.chars().take(80).collect::<String>()
        );
        if answer.status == 402 {
            assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", "invalid_payload").await;
        }
    }
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
}

#[tokio::test]
async fn an_unknown_protocol_version_is_refused() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let mut payment = payment_for(&api, &wallet).await;
    payment.version = 3;
    let answer = pay(&api, &wallet, &payment.header()).await;
    assert_rejected(&api, &wallet, &answer, "PAYMENT_REQUIRED", "invalid_x402_version").await;
}

#[tokio::test]
async fn the_same_payment_again_gets_the_stored_answer_and_charges_nothing() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let header = payment_for(&api, &wallet).await.header();
    let first = pay(&api, &wallet, &header).await;
    first.ok();
    let again = pay(&api, &wallet, &header).await;
    assert_eq!(again.status, first.status);
    assert_eq!(again.json(), first.json());
    assert_eq!(receipt(&again), receipt(&first));
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
    let status = api.get("/tiers/v1/status").wallet(&wallet).send().await.is(200);
    assert_eq!(status["lease_expires_at"], first.json()["lease_expires_at"]);
}

#[tokio::test]
async fn a_spent_payment_buys_nothing_else() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let header = payment_for(&api, &wallet).await.header();
    pay(&api, &wallet, &header).await.ok();
    // The same price is asked for provisioning without a tier: only the route differs.
    let stranger = Wallet::random();
    let answer = api
        .post("/projects/v1")
        .wallet(&stranger)
        .json(&json!({"tier": "prototype"}))
        .header("payment-signature", &header)
        .send()
        .await;
    let body = answer.refused(402, "PAYMENT_REQUIRED");
    assert_eq!(body["details"]["reason"], "invalid_exact_evm_nonce_already_used");
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
    let projects = api.get("/projects/v1").wallet(&stranger).send().await.is(200);
    assert_eq!(projects["projects"], json!([]));
}

#[tokio::test]
async fn a_stolen_payment_cannot_be_turned_to_another_wallets_use() {
    let api = Appliance::shared().api();
    let (wallet, thief) = (api.funded_wallet().await, Wallet::random());
    let header = payment_for(&api, &wallet).await.header();
    pay(&api, &wallet, &header).await.ok();
    pay(&api, &thief, &header).await;
    let status = api.get("/tiers/v1/status").wallet(&thief).send().await.is(200);
    assert_eq!(status["tier"], Value::Null);
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
}

#[tokio::test]
async fn twenty_copies_of_one_payment_charge_once() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.funded_wallet().await;
    let header = payment_for(&api, &wallet).await.header();
    let answers = futures_util::future::join_all((0..20).map(|_| pay(&api, &wallet, &header))).await;
    let stored = answers.iter().find(|answer| answer.status.is_success()).expect("one of them succeeds").json();
    for answer in &answers {
        match answer.status.as_u16() {
            409 => assert_eq!(answer.refused(409, "PAYMENT_IN_PROGRESS")["retryable"], true),
            _ => assert_eq!(answer.ok(), stored),
        }
    }
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - PROTOTYPE_PRICE);
    let charges: i64 = control::control(appliance)
        .await
        .query_one("select count(*) from payments where payer = $1", &[&wallet.lower()])
        .await
        .expect("the control database answers")
        .get(0);
    assert_eq!(charges, 1);
}

#[tokio::test]
async fn a_wallet_cannot_spend_more_than_it_has_by_paying_at_once() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    // Enough for two of these five.
    let mut headers = Vec::new();
    for _ in 0..5 {
        headers.push(payment_for(&api, &wallet).await.header());
    }
    let answers = futures_util::future::join_all(headers.iter().map(|header| pay(&api, &wallet, header))).await;
    let bought = answers.iter().filter(|answer| answer.status.is_success()).count();
    assert_eq!(bought, 2, "{answers:?}");
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT - 2 * PROTOTYPE_PRICE);
}

#[tokio::test]
async fn an_unknown_tier_is_400_before_any_money_is_asked_for() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let body = api.post("/tiers/v1/platinum").wallet(&wallet).send().await.refused(400, "INVALID_TIER");
    assert_eq!(body["details"]["allowed"], json!(["prototype", "hobby", "team"]));
    let header = payment_for(&api, &wallet).await.header();
    let paid = api.post("/tiers/v1/platinum").wallet(&wallet).header("payment-signature", &header);
    paid.send().await.refused(400, "INVALID_TIER");
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
    pay(&api, &wallet, &header).await.ok();
}

#[tokio::test]
async fn a_bad_signature_beside_a_good_payment_buys_nothing() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let header = payment_for(&api, &wallet).await.header();
    let answer = api
        .post(PROTOTYPE)
        .header("sign-in-with-x", &encode(&json!({})))
        .header("payment-signature", &header)
        .json(&json!({}))
        .send()
        .await;
    answer.refused(402, "SIWX_INVALID");
    assert!(Challenge::of(&answer).accepts().is_empty());
    assert_eq!(api.token_balance(&wallet.lower()).await, FAUCET_AMOUNT);
}

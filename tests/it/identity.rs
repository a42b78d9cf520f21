//! Sign-in with a wallet, as seen from outside (contract 01 §2.2-2.3).

use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use crate::support::{
    Answer, Api, Appliance, Wallet,
    payment::Challenge,
    wallet::{SignIn, encode, milliseconds},
};

const STATUS: &str = "/tiers/v1/status";

/// The header of contract 01 §2.2.
const VECTOR: &str = "eyJkb21haW4iOiJsb2NhbGhvc3QiLCJhZGRyZXNzIjoiMHhmMzlGZDZlNTFhYWQ4OEY2RjRjZTZhQjg4MjcyNzljZmZGYjkyMjY2Iiwic3RhdGVtZW50IjoiU2lnbiBpbiB0byBSdW40MDIiLCJ1cmkiOiJodHRwOi8vbG9jYWxob3N0OjQwMjAvdGllcnMvdjEvc3RhdHVzIiwidmVyc2lvbiI6IjEiLCJjaGFpbklkIjoiZWlwMTU1Ojg0NTMyIiwidHlwZSI6ImVpcDE5MSIsIm5vbmNlIjoiMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZmYiLCJpc3N1ZWRBdCI6IjIwMjYtMDYtMTlUMTA6MDA6MDAuMDAwWiIsImV4cGlyYXRpb25UaW1lIjoiMjAyNi0wNi0xOVQxMDowNTowMC4wMDBaIiwic2lnbmF0dXJlIjoiMHhhNjc5ZmZkYzkzYWM0YmYwNWI0Mjk2OGVjY2ZjYzk1OTZjMzhjODI0MzAxMjMwODc1NzY3ZGIyMTVhOGNiY2MxNzRjNjAyNDI2MWQ0OTU1MzNiY2M2ZTU1MjVhNjM3NTRjNWE5OWZiM2E2NGYyZjRiNzYwOWY5ZTZkYWIzYTYwODFjIn0=";

/// What a header for the status route looks like before somebody spoils it.
fn honest(api: &Api, wallet: &Wallet) -> SignIn {
    wallet.sign_in(api.host(), &format!("{}{STATUS}", api.base_url()))
}

async fn present(api: &Api, header: &str) -> Answer {
    api.get(STATUS).header("sign-in-with-x", header).send().await
}

/// A bad header is 402, but never an offer to pay (01 §2.3).
#[track_caller]
fn assert_rejected(answer: &Answer, reason: &str) {
    let body = answer.refused(402, "SIWX_INVALID");
    assert_eq!(body["details"]["reason"], reason, "{answer}");
    let challenge = Challenge::of(answer);
    assert!(challenge.accepts().is_empty(), "{:?}", challenge.0);
    assert!(challenge.0["extensions"]["sign-in-with-x"].is_object(), "{:?}", challenge.0);
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn the_harness_signs_the_vector_of_the_contract_byte_for_byte() {
    let key = hex::decode("ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80").expect("hexadecimal");
    let mut message = Wallet::from_key(&key).sign_in("localhost", "http://localhost:4020/tiers/v1/status");
    message.nonce = "00112233445566778899aabbccddeeff".to_owned();
    message.issued_at = "2026-06-19T10:00:00.000Z".to_owned();
    message.expiration_time = Some("2026-06-19T10:05:00.000Z".to_owned());
    assert_eq!(message.text().len(), 309);
    assert_eq!(
        hex::encode(message.signature()),
        "a679ffdc93ac4bf05b42968eccfcc9596c38c824301230875767db215a8cbcc174c6024261d495533bcc6e5525a63754c5a99fb3a64f2f4b7609f9e6dab3a6081c"
    );
    assert_eq!(message.header(), VECTOR);
}

#[tokio::test]
async fn a_wallet_route_without_a_signature_is_401() {
    let body = Appliance::shared().api().get(STATUS).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    assert_eq!(body["next_actions"][0]["action"], "authenticate");
}

#[tokio::test]
async fn a_valid_signature_of_an_unknown_wallet_is_welcome() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let body = present(&api, &honest(&api, &wallet).header()).await.is(200);
    assert_eq!(body["wallet"], wallet.lower());
}

#[tokio::test]
async fn the_same_header_may_be_used_again_and_for_other_paths() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let header = honest(&api, &wallet).header();
    present(&api, &header).await.is(200);
    present(&api, &header).await.is(200);
    api.get("/projects/v1").header("sign-in-with-x", &header).send().await.is(200);
}

#[tokio::test]
async fn a_header_for_the_public_name_of_the_box_is_accepted() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    for domain in ["localhost", "LOCALHOST", "127.0.0.1"] {
        let header = wallet.sign_in(domain, &format!("http://{domain}:4020{STATUS}")).header();
        present(&api, &header).await.is(200);
    }
}

#[tokio::test]
async fn the_path_and_the_port_of_the_uri_are_not_compared() {
    let api = Appliance::shared().api();
    let header = Wallet::random().sign_in(api.host(), &format!("http://{}:1//elsewhere?x=1", api.host())).header();
    present(&api, &header).await.is(200);
}

#[tokio::test]
async fn what_is_not_base64_of_a_json_object_is_malformed() {
    let api = Appliance::shared().api();
    let too_long = STANDARD.encode(vec![b' '; 9 * 1024]);
    let base64url = "eyJhIjoiPz8_In0";
    for header in [
        "nonsense!",
        base64url,
        &STANDARD.encode("[]"),
        &STANDARD.encode("\"text\""),
        &STANDARD.encode("{\"a\":"),
        &STANDARD.encode(b"{\"a\":\"\xff\"}"),
        too_long.as_str(),
    ] {
        assert_rejected(&present(&api, header).await, "malformed");
    }
}

#[tokio::test]
async fn every_field_but_the_optional_ones_is_needed() {
    let api = Appliance::shared().api();
    assert_rejected(&present(&api, &STANDARD.encode("{}")).await, "missing_field");
    let honest = honest(&api, &Wallet::random()).payload();
    for field in
        ["domain", "address", "statement", "uri", "version", "chainId", "type", "nonce", "issuedAt", "signature"]
    {
        let mut without = honest.clone();
        without.remove(field);
        assert_rejected(&present(&api, &encode(&Value::Object(without))).await, "missing_field");
        let mut empty = honest.clone();
        empty.insert(field.to_owned(), "".into());
        assert_rejected(&present(&api, &encode(&Value::Object(empty))).await, "missing_field");
    }
}

#[tokio::test]
async fn a_message_signed_without_a_statement_is_refused() {
    let api = Appliance::shared().api();
    let mut message = honest(&api, &Wallet::random());
    message.statement = None;
    assert_rejected(&present(&api, &message.header()).await, "missing_field");
}

#[tokio::test]
async fn fields_of_the_wrong_form_are_malformed_even_when_signed() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    type Spoil = fn(&mut SignIn);
    let spoils: [(&str, Spoil); 8] = [
        ("a numeric chain id", |message| message.chain_id = json!(84532)),
        ("a bare chain id", |message| message.chain_id = json!("84532")),
        ("a foreign namespace", |message| message.chain_id = json!("solana:84532")),
        ("a type", |message| message.kind = "eip1271".to_owned()),
        ("a version", |message| message.version = "2".to_owned()),
        ("a short nonce", |message| message.nonce = "abc1234".to_owned()),
        ("a nonce with punctuation", |message| message.nonce = "abcd-efgh-ijkl".to_owned()),
        ("a line break", |message| message.statement = Some("Sign in\nURI: http://evil.example".to_owned())),
    ];
    for (what, spoil) in spoils {
        let mut message = honest(&api, &wallet);
        spoil(&mut message);
        let answer = present(&api, &message.header()).await;
        assert_eq!(answer.status, 402, "{what}: {answer}");
        assert_rejected(&answer, "malformed");
    }
}

#[tokio::test]
async fn a_header_for_another_site_is_refused_although_it_is_correctly_signed() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    for domain in ["evil.example", "localhost.evil.example", "api.run402.com"] {
        let header = wallet.sign_in(domain, &format!("https://{domain}{STATUS}")).header();
        assert_rejected(&present(&api, &header).await, "domain_mismatch");
    }
}

#[tokio::test]
async fn the_host_header_cannot_vouch_for_a_domain() {
    let api = Appliance::shared().api();
    let header = Wallet::random().sign_in("evil.example", &format!("https://evil.example{STATUS}")).header();
    let answer = api.get(STATUS).header("host", "evil.example").header("sign-in-with-x", &header).send().await;
    assert!(!answer.status.is_success(), "{answer}");
}

#[tokio::test]
async fn a_uri_of_another_host_than_the_domain_is_refused() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    for uri in ["http://evil.example/tiers/v1/status", "ftp://127.0.0.1/tiers/v1/status", "not a uri"] {
        let mut message = honest(&api, &wallet);
        message.uri = uri.to_owned();
        assert_rejected(&present(&api, &message.header()).await, "uri_mismatch");
    }
}

#[tokio::test]
async fn old_and_future_headers_are_refused() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let shifted = |issued: SignedDuration, expires: Option<SignedDuration>| {
        let now = Timestamp::now();
        let mut message = honest(&api, &wallet);
        message.issued_at = milliseconds(now + issued);
        message.expiration_time = expires.map(|after| milliseconds(now + after));
        message.header()
    };
    let seconds = SignedDuration::from_secs;
    assert_rejected(&present(&api, &shifted(seconds(-310), Some(seconds(300)))).await, "expired");
    assert_rejected(&present(&api, &shifted(seconds(-310), None)).await, "expired");
    assert_rejected(&present(&api, &shifted(seconds(-60), Some(seconds(-1)))).await, "expired");
    assert_rejected(&present(&api, &shifted(seconds(120), Some(seconds(300)))).await, "not_yet_valid");
    // A minute of clock skew and a missing expiry are fine.
    present(&api, &shifted(seconds(30), Some(seconds(330)))).await.is(200);
    present(&api, &shifted(seconds(-240), None)).await.is(200);

    let mut message = honest(&api, &wallet);
    message.not_before = Some(milliseconds(Timestamp::now() + seconds(120)));
    assert_rejected(&present(&api, &message.header()).await, "not_yet_valid");
}

#[tokio::test]
async fn forged_signatures_are_refused() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let message = honest(&api, &wallet);
    let signed_by = |bytes: &[u8]| {
        let mut payload: Map<String, Value> = message.payload();
        payload.insert("signature".to_owned(), format!("0x{}", hex::encode(bytes)).into());
        encode(&Value::Object(payload))
    };
    let honest_bytes = message.signature();

    let mut flipped = honest_bytes;
    flipped[10] ^= 1;
    assert_rejected(&present(&api, &signed_by(&flipped)).await, "bad_signature");
    // The same signature with the other root of r is mathematically valid: malleability.
    assert_rejected(&present(&api, &signed_by(&high_s(honest_bytes))).await, "bad_signature");
    let mut odd_v = honest_bytes;
    odd_v[64] = 29;
    assert_rejected(&present(&api, &signed_by(&odd_v)).await, "bad_signature");
    assert_rejected(&present(&api, &signed_by(&[0; 65])).await, "bad_signature");
    assert_rejected(&present(&api, &signed_by(&honest_bytes[..64])).await, "bad_signature");
    let contract_wallet = [honest_bytes.as_slice(), &[0x64; 64]].concat();
    assert_rejected(&present(&api, &signed_by(&contract_wallet)).await, "bad_signature");
    // v may also be written as 0 or 1.
    let mut raw_v = honest_bytes;
    raw_v[64] -= 27;
    present(&api, &signed_by(&raw_v)).await.is(200);
}

#[tokio::test]
async fn a_signature_of_somebody_else_is_refused() {
    let api = Appliance::shared().api();
    let mut message = honest(&api, &Wallet::random());
    message.address = Wallet::random().checksummed();
    assert_rejected(&present(&api, &message.header()).await, "bad_signature");
}

#[tokio::test]
async fn a_changed_field_breaks_the_signature() {
    let api = Appliance::shared().api();
    let honest = honest(&api, &Wallet::random()).payload();
    for (field, value) in [
        ("statement", json!("Sign in to somewhere")),
        ("nonce", json!("ffffffffffffffffffffffffffffffff")),
        ("chainId", json!("eip155:1")),
    ] {
        let mut changed = honest.clone();
        changed.insert(field.to_owned(), value);
        assert_rejected(&present(&api, &encode(&Value::Object(changed))).await, "bad_signature");
    }
}

#[tokio::test]
async fn reading_as_an_unknown_wallet_writes_nothing() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = Wallet::random();
    api.get(STATUS).wallet(&wallet).send().await.is(200);
    api.get("/projects/v1").wallet(&wallet).send().await.is(200);
    let known: i64 = crate::support::control::control(appliance)
        .await
        .query_one("select count(*) from wallets where address = $1", &[&wallet.lower()])
        .await
        .expect("the control database answers")
        .get(0);
    assert_eq!(known, 0);
}

/// (r, n − s, v flipped): the twin every ECDSA signature has.
pub fn high_s(signature: [u8; 65]) -> [u8; 65] {
    let parsed = k256::ecdsa::Signature::from_slice(&signature[..64]).expect("a signature");
    let (r, s) = parsed.split_scalars();
    let twin = k256::ecdsa::Signature::from_scalars(r.to_bytes(), (-*s).to_bytes()).expect("scalars");
    let mut bytes = [0; 65];
    bytes[..64].copy_from_slice(&twin.to_bytes());
    bytes[64] = if signature[64] == 27 { 28 } else { 27 };
    bytes
}

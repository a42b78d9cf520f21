//! Browser sessions from a proof of identity (06 §10.5).

use serde_json::{Value, json};

use super::{
    hosted::{Site, session_cookie},
    issuer::Issuer,
};
use crate::support::{Answer, Appliance, Wallet, control};

/// What a wallet signs for a site; `at`: seconds from now.
fn message(site: &Site, wallet: &Wallet, nonce: &str, at: i64) -> String {
    let issued = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(at);
    format!(
        "{} wants you to sign in with your Ethereum account:\n{}\n\nSign in to the shop.\n\nURI: {}/login\nVersion: 1\n\
         Chain ID: 84532\nNonce: {nonce}\nIssued At: {issued}",
        site.host,
        wallet.checksummed(),
        site.origin(),
    )
}

fn nonce() -> String {
    hex::encode(rand::random::<[u8; 8]>())
}

fn body(wallet: &Wallet, text: &str, create: bool) -> Value {
    json!({
        "provider": "wallet", "subject": wallet.checksummed(), "amr": ["wallet", "passkey"], "createUser": create,
        "proof": {"kind": "siwx", "message": text, "signature": wallet.personal_sign(text)},
    })
}

async fn ask(site: &Site, body: &Value) -> Answer {
    site.json("/auth/v1/sessions/from-identity", body).send().await
}

fn refused(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (status, Some(code)), "{answer}");
    assert!(session_cookie(answer).is_none(), "{answer}");
}

#[tokio::test]
async fn a_wallet_signs_in_once_with_each_message() {
    let (site, wallet) = (Site::new().await, Wallet::random());
    let text = message(&site, &wallet, &nonce(), -5);
    refused(&ask(&site, &body(&wallet, &text, false)).await, 401, "R402_AUTH_UNKNOWN_IDENTITY");
    // What was refused is not used up.
    let made = ask(&site, &body(&wallet, &text, true)).await;
    let user = made.is(200);
    assert_eq!((&user["ok"], &user["user"]["email"]), (&json!(true), &Value::Null));
    assert_eq!(made.header("cache-control"), Some("no-store"));
    let browser = site.after(&made);
    assert_eq!(browser.session().await["user"]["id"], user["user"]["id"]);
    refused(&ask(&site, &body(&wallet, &text, true)).await, 401, "R402_AUTH_SESSION_BRIDGE_UNVERIFIED");
    let again = message(&site, &wallet, &nonce(), 0);
    assert_eq!(ask(&site, &body(&wallet, &again, false)).await.is(200)["user"], user["user"]);
    let id = user["user"]["id"].as_str().expect("an id");
    let row = control::control(Appliance::shared())
        .await
        .query_one("select amr from app_sessions where user_id = $1::text::uuid order by created_at limit 1", &[&id])
        .await
        .expect("a session");
    assert_eq!(row.get::<_, Vec<String>>(0), ["wallet"], "what the proof does not prove is not claimed");
}

#[tokio::test]
async fn a_proof_that_is_not_for_this_site_and_moment_is_no_proof() {
    let (site, other, wallet) = (Site::new().await, Site::new().await, Wallet::random());
    let good = message(&site, &wallet, &nonce(), 0);
    let mut wrong = vec![
        body(&wallet, &message(&other, &wallet, &nonce(), 0), true),
        body(&wallet, &message(&site, &wallet, &nonce(), -301), true),
        body(&wallet, &message(&site, &wallet, &nonce(), 120), true),
        body(&wallet, &message(&site, &wallet, "short", 0), true),
        body(&wallet, &message(&site, &Wallet::random(), &nonce(), 0), true),
        body(&wallet, "", true),
    ];
    let changed = |pointer: &str, value: Value| {
        let mut body = body(&wallet, &good, true);
        *body.pointer_mut(pointer).expect("a member") = value;
        body
    };
    wrong.push(changed("/subject", json!(Wallet::random().checksummed())));
    wrong.push(changed("/proof/signature", json!(Wallet::random().personal_sign(&good))));
    wrong.push(changed("/proof/signature", json!("0x00")));
    wrong.push(changed("/proof/message", json!(good.replace("shop", "bank"))));
    wrong.push(changed("/proof/kind", json!("oidc_jwt")));
    wrong.push(changed("/proof", Value::Null));
    wrong.push(changed("/provider", json!("custom")));
    wrong.push(changed("/provider", json!("oidc")));
    let mut with_nonce = body(&wallet, &good, true);
    with_nonce["proof"]["nonce"] = json!("anotherone");
    wrong.push(with_nonce);
    for body in &wrong {
        refused(&ask(&site, body).await, 401, "R402_AUTH_SESSION_BRIDGE_UNVERIFIED");
    }
    for body in [
        json!({}),
        json!({"provider": "passkey", "subject": "x"}),
        json!({"provider": "wallet"}),
        json!({"provider": "wallet", "subject": ""}),
        json!({"provider": "wallet", "subject": "a\u{0}b"}),
        json!({"provider": "wallet", "subject": "x".repeat(600)}),
        json!({"provider": "wallet", "subject": "x", "proof": "text"}),
        json!({"provider": "wallet", "subject": "x", "amr": "wallet"}),
        json!({"provider": "wallet", "subject": "x", "createUser": "yes"}),
    ] {
        refused(&ask(&site, &body).await, 400, "BAD_REQUEST");
    }
    let api = site.pool.api.post("/auth/v1/sessions/from-identity").json(&body(&wallet, &good, true)).send().await;
    refused(&api, 403, "R402_AUTH_TENANT_SUFFIX_REQUIRED");
    ask(&site, &body(&wallet, &good, true)).await.is(200);
}

#[tokio::test]
async fn a_closed_pool_makes_no_accounts_for_wallets() {
    let (site, wallet) = (Site::new().await, Wallet::random());
    site.pool.settings(json!({"public_signup": "invite_only"})).await;
    let text = message(&site, &wallet, &nonce(), 0);
    refused(&ask(&site, &body(&wallet, &text, true)).await, 403, "SIGNUP_DISABLED");
    site.pool.settings(json!({"public_signup": "open"})).await;
    ask(&site, &body(&wallet, &text, true)).await.is(200);
}

#[tokio::test]
async fn a_signed_in_visitor_does_not_become_somebody_else_by_a_wallet() {
    let (site, wallet) = (Site::new().await, Wallet::random());
    ask(&site, &body(&wallet, &message(&site, &wallet, &nonce(), 0), true)).await.is(200);
    site.pool.sign_up("ann@example.com").await;
    let ann = site.enter("ann@example.com").await;
    let answer = ask(&ann, &body(&wallet, &message(&site, &wallet, &nonce(), 0), false)).await;
    refused(&answer, 409, "R402_AUTH_IDENTITY_LINK_CONFLICT");
    assert_eq!(ann.session().await["user"]["email"], "ann@example.com");
    // Another site cannot have a browser do it either.
    let text = message(&site, &wallet, &nonce(), 0);
    let call = ann.json("/auth/v1/sessions/from-identity", &body(&wallet, &text, false));
    refused(&call.header("origin", "https://evil.example").send().await, 403, "R402_AUTH_CSRF_ORIGIN_MISMATCH");
}

#[tokio::test]
async fn an_id_token_of_the_configured_issuer_signs_in_once() {
    let (issuer, stranger) = (Issuer::start(), Issuer::start());
    let configured = format!("[{{issuer = \"{}\", audience = \"shop\"}}]", issuer.base());
    let appliance = Appliance::plan().set("auth.oidc", &configured).boot();
    let site = Site::on(&appliance).await;
    let claims = json!({"sub": "u-1", "email": "Ann@Example.com", "email_verified": true, "nonce": "n-1"});
    let body = |token: &str| {
        json!({
            "provider": "oidc", "subject": "u-1", "createUser": true, "amr": ["oidc"],
            "proof": {"kind": "oidc_jwt", "token": token, "nonce": "n-1"},
        })
    };
    let token = issuer.id_token("shop", &claims);
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        issuer.id_token("shop", &claims)
    };
    for wrong in [
        issuer.id_token("another", &claims),
        stranger.id_token("shop", &claims),
        with("sub", json!("u-2")),
        with("nonce", json!("n-2")),
        with("exp", json!(1_000_000_000)),
        with("iss", json!("https://evil.example")),
        format!("{}x", token),
        "garbage".to_owned(),
    ] {
        refused(&ask(&site, &body(&wrong)).await, 401, "R402_AUTH_SESSION_BRIDGE_UNVERIFIED");
    }
    let made = ask(&site, &body(&token)).await;
    assert_eq!(made.is(200)["user"]["email"], "ann@example.com");
    refused(&ask(&site, &body(&token)).await, 401, "R402_AUTH_SESSION_BRIDGE_UNVERIFIED");
    let mut body = body(&issuer.id_token(
        "shop",
        &json!({"sub": "u-9", "email": "root@mail.localhost", "email_verified": true, "nonce": "n-1"}),
    ));
    body["subject"] = json!("u-9");
    refused(&ask(&site, &body).await, 400, "R402_AUTH_RESERVED_EMAIL_DOMAIN");
}

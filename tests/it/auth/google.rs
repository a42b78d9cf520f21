//! Sign-in with Google against a stand-in (06 §7; check 15).

use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    Pool, Tokens,
    issuer::{CLIENT_ID, CLIENT_SECRET, Issuer},
};
use crate::support::{Answer, Appliance, control};

const REDIRECT: &str = "http://localhost:5173/cb";

/// A box whose Google is ours.
pub fn with_issuer() -> &'static (Appliance, Issuer) {
    static BOX: OnceLock<(Appliance, Issuer)> = OnceLock::new();
    BOX.get_or_init(|| {
        let issuer = Issuer::start();
        let appliance = Appliance::plan()
            .set("auth.google.client_id", CLIENT_ID)
            .set("auth.google.client_secret", CLIENT_SECRET)
            .set("auth.google.issuer", issuer.base())
            .boot();
        (appliance.keep_for_the_process(), issuer)
    })
}

fn person(sub: &str, email: &str) -> Value {
    json!({"sub": sub, "email": email, "email_verified": true, "name": "Ann Example", "picture": "https://img.example/a"})
}

impl Pool {
    pub async fn start_google(&self, body: &Value) -> Answer {
        self.post("/auth/v1/oauth/google/start", body).send().await
    }

    async fn google(&self, body: Value, claims: &Value) -> Answer {
        let (_, issuer) = with_issuer();
        let started = self.start_google(&body).await.is(200);
        assert_eq!((&started["provider"], &started["expires_in"]), (&json!("google"), &json!(600)));
        let (code, state) = issuer.signs_in(started["authorization_url"].as_str().expect("a URL"), claims);
        self.callback(&code, &state).await
    }

    async fn callback(&self, code: &str, state: &str) -> Answer {
        self.api.get(&format!("/auth/v1/oauth/google/callback?code={code}&state={state}")).send().await
    }

    async fn try_code(&self, code: &str, verifier: Option<&str>) -> Answer {
        let body = json!({"code": code, "code_verifier": verifier});
        self.post("/auth/v1/token?grant_type=authorization_code", &body).send().await
    }
}

/// The parameters in the fragment a browser lands on.
fn fragment(answer: &Answer) -> std::collections::HashMap<String, String> {
    assert_eq!(answer.status, 303, "{answer}");
    let location = answer.header("location").expect("a location");
    assert!(location.starts_with(REDIRECT), "{location}");
    let url = url::Url::parse(location).expect("a URL");
    url::form_urlencoded::parse(url.fragment().expect("a fragment").as_bytes()).into_owned().collect()
}

#[tokio::test]
async fn a_box_without_a_client_says_so() {
    let pool = Pool::new().await;
    let answer = pool.start_google(&json!({"redirect_url": REDIRECT})).await;
    let body = answer.refused(503, "OAUTH_PROVIDER_NOT_CONFIGURED");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("Google OAuth is not configured")), "{body}");
    let other = pool.post("/auth/v1/oauth/github/start", &json!({"redirect_url": REDIRECT})).send().await;
    other.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_person_signs_in_and_the_code_works_once_with_its_verifier() {
    let pool = Pool::on(&with_issuer().0).await;
    let verifier = "a-verifier-of-forty-three-characters-or-more-x";
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
    let start = json!({"redirect_url": REDIRECT, "code_challenge": challenge, "client_state": "st&te"});
    let landed = fragment(&pool.google(start.clone(), &person("g1", "Ann@example.com")).await);
    assert_eq!(landed["state"], "st&te");
    let code = &landed["code"];
    pool.try_code(code, Some("wrong")).await.refused(401, "R402_AUTH_OAUTH_HANDOFF_INVALID");
    // A wrong verifier uses the code up.
    pool.try_code(code, Some(verifier)).await.refused(401, "R402_AUTH_OAUTH_HANDOFF_INVALID");
    let landed = fragment(&pool.google(start, &person("g1", "Ann@example.com")).await);
    let body = pool.try_code(&landed["code"], Some(verifier)).await.is(200);
    assert_eq!(body["provider"], "google");
    assert_eq!(Tokens::of(&body).claims()["amr"], json!(["oauth_google"]));
    assert_eq!(body["user"]["email"], "ann@example.com");
    assert_eq!(
        (&body["user"]["display_name"], &body["user"]["avatar_url"]),
        (&json!("Ann Example"), &json!("https://img.example/a"))
    );
    assert!(body["user"]["email_verified_at"].is_string());
    pool.try_code(&landed["code"], Some(verifier)).await.refused(401, "R402_AUTH_OAUTH_HANDOFF_INVALID");
    let account = pool.user(&Tokens::of(&body).access).await.is(200);
    assert_eq!(account["identities"][0]["provider_sub"], "g1");
    let providers = pool.api.get("/auth/v1/providers").api_key(&pool.project.anon_key).send().await.is(200);
    assert_eq!(providers["oauth"][0]["enabled"], true);
}

#[tokio::test]
async fn a_state_works_once_and_only_for_who_began() {
    let (appliance, issuer) = with_issuer();
    let pool = Pool::on(appliance).await;
    let started = pool.start_google(&json!({"redirect_url": REDIRECT})).await.is(200);
    let (code, state) =
        issuer.signs_in(started["authorization_url"].as_str().expect("a URL"), &person("g2", "b@example.com"));
    pool.callback(&code, "unknown").await;
    assert_eq!(pool.callback(&code, &state).await.status, 303);
    let again = pool.callback(&code, &state).await;
    assert_eq!(again.status, 400, "{again}");
    assert!(again.header("location").is_none());
    assert!(again.header("content-type").is_some_and(|kind| kind.starts_with("text/html")));
    for query in ["", "?state=", "?state=x", "?code=x"] {
        let answer = pool.api.get(&format!("/auth/v1/oauth/google/callback{query}")).send().await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}

#[tokio::test]
async fn failures_reach_the_app_as_reasons() {
    let (appliance, issuer) = with_issuer();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let reason = |answer: Answer| fragment(&answer)["error"].clone();
    let start = || json!({"redirect_url": REDIRECT});
    assert_eq!(reason(pool.google(start(), &person("x", "ann@example.com")).await), "account_exists_requires_link");
    let rows: i64 = control::control(appliance)
        .await
        .query_one("select count(*) from app_identities where project_id = $1", &[&pool.project.id])
        .await
        .expect("a count")
        .get(0);
    assert_eq!(rows, 0);
    for claims in [
        json!({"sub": "x", "nonce": "another"}),
        json!({"sub": "x", "aud": "another"}),
        json!({"sub": "x", "iss": "https://evil.example"}),
        json!({"sub": "x", "exp": 1}),
        json!({"sub": ""}),
    ] {
        assert_eq!(reason(pool.google(start(), &claims).await), "invalid_id_token", "{claims}");
    }
    let started = pool.start_google(&start()).await.is(200);
    let (_, state) =
        issuer.signs_in(started["authorization_url"].as_str().expect("a URL"), &person("y", "y@example.com"));
    assert_eq!(reason(pool.callback("made-up", &state).await), "token_exchange_failed");
    let started = pool.start_google(&start()).await.is(200);
    let (_, state) =
        issuer.signs_in(started["authorization_url"].as_str().expect("a URL"), &person("y", "y@example.com"));
    let denied =
        pool.api.get(&format!("/auth/v1/oauth/google/callback?error=access_denied&state={state}")).send().await;
    assert_eq!(reason(denied), "access_denied");
    pool.settings(json!({"allowed_email_domains": ["company.example"]})).await;
    assert_eq!(reason(pool.google(start(), &person("z", "z@example.com")).await), "domain_not_allowed");
    let unverified = json!({"sub": "z", "email": "z@company.example", "email_verified": false});
    assert_eq!(reason(pool.google(start(), &unverified).await), "domain_not_allowed");
    assert!(fragment(&pool.google(start(), &person("z", "z@company.example")).await).contains_key("code"));
    pool.settings(json!({"allowed_email_domains": [], "public_signup": "invite_only"})).await;
    assert_eq!(reason(pool.google(start(), &person("new", "new@example.com")).await), "signup_not_allowed");
    assert!(fragment(&pool.google(start(), &person("z", "z@company.example")).await).contains_key("code"));
}

#[tokio::test]
async fn a_pre_created_user_comes_in_through_his_verified_address() {
    let pool = Pool::on(&with_issuer().0).await;
    pool.settings(json!({"public_signup": "known_email"})).await;
    let enrol = json!({"email": "known@example.com"});
    pool.service(pool.api.post("/auth/v1/admin/users")).json(&enrol).send().await.is(200);
    let start = || json!({"redirect_url": REDIRECT});
    assert!(fragment(&pool.google(start(), &person("k", "known@example.com")).await).contains_key("code"));
    assert_eq!(
        fragment(&pool.google(start(), &person("s", "stranger@example.com")).await)["error"],
        "signup_not_allowed"
    );
}

#[tokio::test]
async fn a_signed_in_user_links_his_identity() {
    let pool = Pool::on(&with_issuer().0).await;
    pool.sign_up("ann@example.com").await;
    pool.sign_up("bob@example.com").await;
    let (ann, bob) = (pool.log_in("ann@example.com").await, pool.log_in("bob@example.com").await);
    let link = json!({"redirect_url": REDIRECT, "intent": "link"});
    pool.start_google(&link).await.refused(401, "UNAUTHORIZED");
    let run = |token: String| {
        let call = pool.post("/auth/v1/oauth/google/start", &link).bearer(&token);
        let pool = pool.clone();
        async move {
            let started = call.send().await.is(200);
            let url = started["authorization_url"].as_str().expect("a URL").to_owned();
            let (code, state) = with_issuer().1.signs_in(&url, &person("shared", "ann@example.com"));
            pool.callback(&code, &state).await
        }
    };
    let landed = fragment(&run(ann.access.clone()).await);
    let session = Tokens::of(&pool.try_code(&landed["code"], None).await.is(200));
    assert_eq!(session.body["user"]["email"], "ann@example.com");
    assert!(fragment(&run(ann.access.clone()).await).contains_key("code"), "linking again is no failure");
    assert_eq!(fragment(&run(bob.access).await)["error"], "identity_already_linked");
}

#[tokio::test]
async fn a_popup_tells_its_opener_and_nobody_else() {
    let pool = Pool::on(&with_issuer().0).await;
    let start = json!({"redirect_url": REDIRECT, "mode": "popup", "client_state": "</script><script>alert(1)//"});
    let answer = pool.google(start, &person("p", "p@example.com")).await;
    assert_eq!(answer.status, 200, "{answer}");
    let page = String::from_utf8(answer.body.clone()).expect("text");
    assert!(page.contains(r#""source":"run402-auth""#) && page.contains(r#""type":"oauth_result""#), "{page}");
    assert!(page.contains(r#""http://localhost:5173""#), "the exact origin: {page}");
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && policy.contains("'nonce-"), "{policy}");
}

#[tokio::test]
async fn bad_starts_are_refused() {
    let pool = Pool::on(&with_issuer().0).await;
    for (body, code) in [
        (json!({}), "BAD_REQUEST"),
        (json!({"redirect_url": "https://evil.example/"}), "REDIRECT_NOT_ALLOWED"),
        (json!({"redirect_url": REDIRECT, "mode": "iframe"}), "BAD_REQUEST"),
        (json!({"redirect_url": REDIRECT, "intent": "steal"}), "BAD_REQUEST"),
        (json!({"redirect_url": REDIRECT, "code_challenge": "short"}), "BAD_REQUEST"),
        (json!({"redirect_url": REDIRECT, "code_challenge_method": "plain"}), "BAD_REQUEST"),
        (json!({"redirect_url": REDIRECT, "client_state": "x".repeat(2049)}), "BAD_REQUEST"),
    ] {
        pool.start_google(&body).await.refused(400, code);
    }
}

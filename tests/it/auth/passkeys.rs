//! Passkeys with a software authenticator (06 §8; checks 13, 14).

use serde_json::{Value, json};

use super::{Pool, Tokens, authenticator::Authenticator};
use crate::support::{Answer, Appliance, control};

const ORIGIN: &str = "http://localhost:4321";

impl Pool {
    pub async fn registration_options(&self, token: &str, origin: &str) -> Value {
        let call = self.post("/auth/v1/passkeys/register/options", &json!({"app_origin": origin})).bearer(token);
        call.send().await.is(200)
    }

    pub async fn try_register(&self, token: &str, challenge: &Value, response: &Value) -> Answer {
        let body = json!({"challenge_id": challenge["challenge_id"], "response": response, "label": "Phone"});
        self.post("/auth/v1/passkeys/register/verify", &body).bearer(token).send().await
    }

    pub async fn login_options(&self, origin: &str) -> Value {
        self.post("/auth/v1/passkeys/login/options", &json!({"app_origin": origin})).send().await.is(200)
    }

    pub async fn try_passkey(&self, challenge: &Value, response: &Value) -> Answer {
        let body = json!({"challenge_id": challenge["challenge_id"], "response": response});
        self.post("/auth/v1/passkeys/login/verify", &body).send().await
    }

    /// A user with a passkey for [`ORIGIN`].
    pub async fn with_passkey(&self, email: &str) -> (Authenticator, Tokens, Value) {
        self.sign_up(email).await;
        let tokens = self.log_in(email).await;
        let authenticator = Authenticator::new();
        let challenge = self.registration_options(&tokens.access, ORIGIN).await;
        let response = authenticator.register(&challenge["options"], ORIGIN);
        let record = self.try_register(&tokens.access, &challenge, &response).await.is(200);
        (authenticator, tokens, record)
    }
}

#[tokio::test]
async fn a_passkey_is_registered_listed_used_and_removed() {
    let pool = Pool::new().await;
    let (mut authenticator, tokens, record) = pool.with_passkey("ann@example.com").await;
    let mut keys: Vec<&String> = record.as_object().expect("an object").keys().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "created_at",
            "created_origin",
            "credential_backed_up",
            "credential_device_type",
            "id",
            "label",
            "last_used_at",
            "last_used_origin",
            "rp_id",
            "transports",
        ]
    );
    assert_eq!((&record["rp_id"], &record["created_origin"]), (&json!("localhost"), &json!(ORIGIN)));
    assert_eq!((&record["label"], &record["transports"]), (&json!("Phone"), &json!(["hybrid", "internal"])));
    assert_eq!(record["credential_device_type"], "singleDevice");
    let list = || async {
        let call = pool.api.get("/auth/v1/passkeys").api_key(&pool.project.anon_key).bearer(&tokens.access);
        call.send().await.is(200)["passkeys"].clone()
    };
    assert_eq!(list().await, json!([record]));

    let challenge = pool.login_options(ORIGIN).await;
    let options = &challenge["options"];
    assert_eq!((&options["rpId"], &options["userVerification"]), (&json!("localhost"), &json!("required")));
    assert_eq!(options["allowCredentials"], json!([]));
    let response = authenticator.log_in(options, ORIGIN);
    let session = Tokens::of(&pool.try_passkey(&challenge, &response).await.is(200));
    assert_eq!((&session.claims()["amr"], &session.claims()["aal"]), (&json!(["passkey"]), &json!("aal2")));
    assert_eq!(session.body["user"]["email"], "ann@example.com");
    // The same answer again, and the same answer to a new challenge.
    pool.try_passkey(&challenge, &response).await.refused(400, "R402_AUTH_PASSKEY_CHALLENGE_INVALID");
    let fresh = pool.login_options(ORIGIN).await;
    pool.try_passkey(&fresh, &response).await.refused(400, "R402_AUTH_PASSKEY_CHALLENGE_INVALID");
    assert!(list().await[0]["last_used_at"].is_string());

    let account = |query: &str| {
        let path = format!("/auth/v1/user{query}");
        pool.api.get(&path).api_key(&pool.project.anon_key).bearer(&tokens.access).send()
    };
    let told = account("?app_origin=http://localhost:1").await.is(200);
    assert_eq!((&told["passkey_count"], &told["has_passkey_for_current_rp"]), (&json!(1), &json!(true)));
    let told = account("?app_origin=https://other.example").await.is(200);
    assert_eq!((&told["has_passkey_for_current_rp"], &told["current_rp_id"]), (&json!(false), &json!("other.example")));
    account("?app_origin=nonsense").await.refused(400, "BAD_REQUEST");

    let id = record["id"].as_str().expect("an id");
    let delete = |id: &str| {
        let call = pool.api.delete(&format!("/auth/v1/passkeys/{id}")).api_key(&pool.project.anon_key);
        call.bearer(&tokens.access).send()
    };
    assert_eq!(delete(id).await.is(200), json!({"status": "deleted", "id": id}));
    delete(id).await.refused(404, "NOT_FOUND");
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&challenge, &response).await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn registration_options_are_what_browsers_take() {
    let pool = Pool::new().await;
    let made = pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let options = pool.registration_options(&tokens.access, ORIGIN).await["options"].clone();
    assert_eq!(options["rp"]["id"], "localhost");
    assert_eq!(options["user"]["name"], "ann@example.com");
    let id = uuid::Uuid::parse_str(made["id"].as_str().expect("an id")).expect("a uuid");
    assert_eq!(
        options["user"]["id"],
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, id.as_bytes())
    );
    let algorithms: Vec<i64> = options["pubKeyCredParams"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["alg"].as_i64().expect("a number"))
        .collect();
    assert!(algorithms.contains(&-7) && algorithms.contains(&-257), "{algorithms:?}");
    assert_eq!((&options["timeout"], &options["attestation"]), (&json!(60_000), &json!("none")));
    let selection = &options["authenticatorSelection"];
    assert_eq!((&selection["residentKey"], &selection["userVerification"]), (&json!("required"), &json!("required")));
    assert_eq!(selection["requireResidentKey"], true);
    assert_eq!(options["excludeCredentials"], json!([]));
}

#[tokio::test]
async fn an_admin_with_a_passkey_is_not_downgraded() {
    let pool = Pool::new().await;
    let (mut authenticator, _, _) = pool.with_passkey("ann@example.com").await;
    let enrol = json!({"email": "ann@example.com", "is_admin": true});
    pool.service(pool.api.post("/auth/v1/admin/users")).json(&enrol).send().await.is(200);
    pool.settings(json!({"require_passkey_for_project_admin": true})).await;
    assert_eq!(pool.log_in("ann@example.com").await.claims()["role"], "authenticated");
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    let body = pool.try_passkey(&challenge, &response).await.is(200);
    assert!(body.get("elevation_required").is_none(), "{body}");
    assert_eq!(Tokens::of(&body).claims()["role"], "project_admin");
}

#[tokio::test]
async fn only_hosts_of_the_project_are_relying_parties() {
    let pool = Pool::new().await;
    for origin in [
        "http://10.0.0.5:4321",
        "http://127.0.0.1:4321",
        "https://evil.example",
        "http://app.example.com",
        "https://localhost/path",
        "null",
        "",
        "localhost",
    ] {
        let body = json!({"app_origin": origin});
        pool.post("/auth/v1/passkeys/login/options", &body).send().await.refused(400, "BAD_REQUEST");
    }
    pool.post("/auth/v1/passkeys/login/options", &json!({})).send().await.refused(400, "BAD_REQUEST");
    let other = pool.post("/auth/v1/passkeys/login/options", &json!({"app_origin": ORIGIN}));
    other.clone().header("origin", "http://localhost:9").send().await.refused(400, "BAD_REQUEST");
    other.header("origin", ORIGIN).send().await.is(200);
}

#[tokio::test]
async fn a_spoilt_response_is_refused_and_uses_the_challenge_up() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    let (mut authenticator, tokens, _) = pool.with_passkey("ann@example.com").await;
    let invalid = "R402_AUTH_PASSKEY_CHALLENGE_INVALID";
    // Another origin, another relying party, no user verification, an older counter, a changed signature.
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], "https://evil.example");
    pool.try_passkey(&challenge, &response).await.refused(400, invalid);
    let right = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&challenge, &right).await.refused(400, invalid);
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in_at(&challenge["options"], ORIGIN, "evil.example");
    pool.try_passkey(&challenge, &response).await.refused(400, invalid);
    let challenge = pool.login_options(ORIGIN).await;
    authenticator.flags = 0x01;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&challenge, &response).await.refused(400, invalid);
    authenticator.flags = 0x05;
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&challenge, &response).await.is(200);
    authenticator.counter = 0;
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&challenge, &response).await.refused(400, invalid);
    authenticator.counter = 100;
    let challenge = pool.login_options(ORIGIN).await;
    let mut response = authenticator.log_in(&challenge["options"], ORIGIN);
    response["response"]["signature"] = json!("MEUCIQ");
    let answer = pool.try_passkey(&challenge, &response).await;
    assert_eq!(answer.status, 400, "{answer}");
    // A challenge of another kind, of another project, of nobody, and one that has expired.
    let registration = pool.registration_options(&tokens.access, ORIGIN).await;
    let challenge = pool.login_options(ORIGIN).await;
    let response = authenticator.log_in(&challenge["options"], ORIGIN);
    pool.try_passkey(&registration, &response).await.refused(400, invalid);
    let other = Pool::on(appliance).await;
    other.try_passkey(&challenge, &response).await.refused(400, invalid);
    pool.try_passkey(&json!({"challenge_id": uuid::Uuid::new_v4()}), &response).await.refused(400, invalid);
    pool.try_passkey(&json!({"challenge_id": "x"}), &response).await.refused(400, invalid);
    control::move_time(
        appliance,
        "update app_webauthn_challenges set expires_at = now() where project_id = $1",
        &[&pool.project.id],
    )
    .await;
    pool.try_passkey(&challenge, &response).await.refused(400, invalid);
    for response in [json!({}), json!({"id": "x"}), json!({"rawId": 7}), json!([]), json!(null)] {
        let challenge = pool.login_options(ORIGIN).await;
        pool.try_passkey(&challenge, &response).await.refused(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn a_registration_belongs_to_who_began_it() {
    let pool = Pool::new().await;
    let (authenticator, ann, _) = pool.with_passkey("ann@example.com").await;
    pool.sign_up("bob@example.com").await;
    let bob = pool.log_in("bob@example.com").await;
    let stranger = Authenticator::new();
    let challenge = pool.registration_options(&ann.access, ORIGIN).await;
    let response = stranger.register(&challenge["options"], ORIGIN);
    pool.try_register(&bob.access, &challenge, &response).await.refused(400, "R402_AUTH_PASSKEY_CHALLENGE_INVALID");
    // A credential is stored once.
    let challenge = pool.registration_options(&bob.access, ORIGIN).await;
    let response = authenticator.register(&challenge["options"], ORIGIN);
    pool.try_register(&bob.access, &challenge, &response).await.refused(409, "PASSKEY_ALREADY_REGISTERED");
    let challenge = pool.registration_options(&bob.access, ORIGIN).await;
    let response = stranger.register(&challenge["options"], "https://evil.example");
    pool.try_register(&bob.access, &challenge, &response).await.refused(400, "R402_AUTH_PASSKEY_CHALLENGE_INVALID");
    pool.post("/auth/v1/passkeys/register/options", &json!({"app_origin": ORIGIN}))
        .send()
        .await
        .refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn login_options_do_not_tell_whether_an_address_has_an_account() {
    let pool = Pool::new().await;
    let (authenticator, _, _) = pool.with_passkey("ann@example.com").await;
    pool.sign_up("bob@example.com").await;
    let options = |email: &str| {
        let body = json!({"app_origin": ORIGIN, "email": email});
        let call = pool.post("/auth/v1/passkeys/login/options", &body);
        async move { call.send().await.is(200)["options"]["allowCredentials"].clone() }
    };
    assert_eq!(options("nobody@example.com").await, json!([]));
    assert_eq!(options("bob@example.com").await, json!([]));
    let known = options("ANN@example.com").await;
    let id = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &authenticator.credential_id);
    assert_eq!(known[0]["id"], id);
}

//! Sign-up and passwords (06 §4, §6.1, §6.10; checks 1-3, 11, 28).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PASSWORD, Pool, Tokens};
use crate::support::{Appliance, control};

#[tokio::test]
async fn a_sign_up_answers_with_exactly_three_members_and_conflicts_the_second_time() {
    let pool = Pool::new().await;
    let made = pool.sign_up("Ann@Example.COM ").await;
    let keys: Vec<&String> = made.as_object().expect("an object").keys().collect();
    assert_eq!(keys, ["created_at", "email", "id"]);
    assert_eq!(made["email"], "ann@example.com");
    let again = json!({"email": "ANN@example.com", "password": PASSWORD});
    pool.post("/auth/v1/signup", &again).send().await.refused(409, "USER_ALREADY_EXISTS");
    // The same address is free in another project.
    Pool::new().await.sign_up("ann@example.com").await;
}

#[tokio::test]
async fn bad_sign_ups_are_refused() {
    let pool = Pool::new().await;
    for body in [
        json!({}),
        json!({"email": "a@b.co"}),
        json!({"password": PASSWORD}),
        json!({"email": "a@b.co", "password": "12345"}),
        json!({"email": "a@b.co", "password": "x".repeat(1025)}),
        json!({"email": "a@b.co", "password": 1234567}),
        json!({"email": "no", "password": PASSWORD}),
        json!({"email": ["a@b.co"], "password": PASSWORD}),
        json!({"email": "a@b.co\r\nBcc: x@y.zz", "password": PASSWORD}),
        json!({"email": "a\u{0}@b.co", "password": PASSWORD}),
    ] {
        pool.post("/auth/v1/signup", &body).send().await.refused(400, "BAD_REQUEST");
    }
    let body = json!({"email": "a@b.co", "password": PASSWORD});
    pool.api.post("/auth/v1/signup").json(&body).send().await.refused(401, "UNAUTHORIZED");
    pool.api.post("/auth/v1/signup").api_key("garbage").json(&body).send().await.refused(401, "UNAUTHORIZED");
    let text = pool.api.post("/auth/v1/signup").api_key(&pool.project.anon_key).body("application/json", b"{".to_vec());
    assert_eq!(text.send().await.status, 400);
    let list = pool.post("/auth/v1/signup", &json!([1])).send().await;
    assert_eq!(list.status, 400, "{list}");
    let big = json!({"email": "a@b.co", "password": PASSWORD, "data": "x".repeat(70_000)});
    pool.post("/auth/v1/signup", &big).send().await.refused(413, "PAYLOAD_TOO_LARGE");
}

#[tokio::test]
async fn only_the_service_key_makes_an_admin_by_sign_up() {
    let pool = Pool::new().await;
    let body = |email: &str| json!({"email": email, "password": PASSWORD, "is_admin": true});
    pool.post("/auth/v1/signup", &body("a@example.com")).send().await.is(201);
    assert_eq!(pool.log_in("a@example.com").await.claims()["role"], "authenticated");
    pool.service(pool.api.post("/auth/v1/signup")).json(&body("b@example.com")).send().await.is(201);
    assert_eq!(pool.log_in("b@example.com").await.claims()["role"], "project_admin");
}

#[tokio::test]
async fn a_password_is_any_unicode_text_and_is_compared_exactly() {
    let pool = Pool::new().await;
    for (index, password) in
        ["пароль", "🐎🔋📎✨🧷🪢", "e\u{301}e\u{301}e\u{301}", " spaces ", &"x".repeat(1024)].into_iter().enumerate()
    {
        let email = format!("u{index}@example.com");
        let body = json!({"email": email, "password": password});
        pool.post("/auth/v1/signup", &body).send().await.is(201);
        pool.try_log_in(&email, password).await.is(200);
        let trimmed = password.trim();
        if trimmed != password {
            pool.try_log_in(&email, trimmed).await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
        }
    }
    // The same letters in another composition are another password: nothing is normalised.
    pool.try_log_in("u2@example.com", "ééé").await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
}

#[tokio::test]
async fn a_login_answers_with_a_session() {
    let pool = Pool::new().await;
    let made = pool.sign_up("ann@example.com").await;
    let answer = pool.try_log_in("ann@example.com", PASSWORD).await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(answer.header("pragma"), Some("no-cache"));
    let body = answer.is(200);
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("bearer"), &json!(3600)));
    assert_eq!(
        body["user"],
        json!({
            "id": made["id"], "email": "ann@example.com", "email_verified_at": null, "display_name": null,
            "avatar_url": null, "is_admin": false, "created_at": made["created_at"],
        })
    );
    assert!(body.get("elevation_required").is_none() && body.get("provider").is_none(), "{body}");
    // Without a grant type, with it in the body, and as a form.
    let login = json!({"email": "ann@example.com", "password": PASSWORD});
    pool.post("/auth/v1/token", &login).send().await.is(200);
    let typed = json!({"grant_type": "password", "email": "ann@example.com", "password": PASSWORD});
    pool.post("/auth/v1/token", &typed).send().await.is(200);
    let form = format!("grant_type=password&email=ann%40example.com&password={}", PASSWORD.replace(' ', "+"));
    let form = pool.post("/auth/v1/token", &json!({})).body("application/x-www-form-urlencoded", form.into_bytes());
    form.send().await.is(200);
    for grant in ["google", "passkey", "email_code", "x"] {
        let path = format!("/auth/v1/token?grant_type={grant}");
        pool.post(&path, &login).send().await.refused(400, "UNSUPPORTED_GRANT_TYPE");
    }
}

#[tokio::test]
async fn a_wrong_password_and_an_unknown_address_get_the_same_answer_in_the_same_time() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let wrong = pool.try_log_in("ann@example.com", "wrong password").await;
    let unknown = pool.try_log_in("bob@example.com", "wrong password").await;
    wrong.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
    unknown.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
    assert_eq!(wrong.body_without_trace(), unknown.body_without_trace());
    // Interleaved and by the median, because other tests share the processor.
    let (mut known_times, mut unknown_times) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        for (email, times) in [("ann@example.com", &mut known_times), ("bob@example.com", &mut unknown_times)] {
            let started = Instant::now();
            pool.try_log_in(email, "wrong password").await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
            times.push(started.elapsed());
        }
    }
    let median = |times: &mut Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64()
    };
    let (known, unknown) = (median(&mut known_times), median(&mut unknown_times));
    let ratio = known.max(unknown) / known.min(unknown);
    assert!(ratio < 1.5, "known {known} s, unknown {unknown} s");
}

#[tokio::test]
async fn a_user_without_a_password_is_told_of_other_ways() {
    let pool = Pool::new().await;
    let made = pool.service(pool.api.post("/auth/v1/admin/users")).json(&json!({"email": "ann@example.com"}));
    made.send().await.is(200);
    let body = pool.try_log_in("ann@example.com", PASSWORD).await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("magic link")), "{body}");
}

async fn change(pool: &Pool, token: &str, body: Value) -> crate::support::Answer {
    let call = pool.api.call(reqwest::Method::PUT, "/auth/v1/user/password").api_key(&pool.project.anon_key);
    call.bearer(token).json(&body).send().await
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions_only() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let (mine, other) = (pool.log_in("ann@example.com").await, pool.log_in("ann@example.com").await);
    let wrong = json!({"new_password": "another password", "current_password": "nope nope"});
    change(&pool, &mine.access, wrong).await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
    let short = json!({"new_password": "12345", "current_password": PASSWORD});
    change(&pool, &mine.access, short).await.refused(400, "BAD_REQUEST");
    let silent = json!({"new_password": "another password"});
    change(&pool, &mine.access, silent).await.refused(401, "R402_AUTH_FRESHNESS_REQUIRED");
    let right = json!({"new_password": "another password", "current_password": PASSWORD});
    assert_eq!(change(&pool, &mine.access, right).await.is(200), json!({"status": "ok", "ok": true}));
    pool.try_refresh(&other.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.user(&other.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.user(&mine.access).await.is(200);
    pool.try_refresh(&mine.refresh).await.is(200);
    pool.try_log_in("ann@example.com", PASSWORD).await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
    pool.try_log_in("ann@example.com", "another password").await.is(200);
}

#[tokio::test]
async fn a_user_without_a_password_sets_one_only_where_that_is_allowed() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.ask_link("ann@example.com").await.is(200);
    let token = pool.mailed_token(appliance, "ann@example.com").await;
    let tokens = Tokens::of(&pool.try_link(&token).await.is(200));
    let body = json!({"new_password": "a new password"});
    change(&pool, &tokens.access, body.clone()).await.refused(403, "PASSWORD_SET_DISABLED");
    pool.settings(json!({"allow_password_set": true})).await;
    change(&pool, &tokens.access, body).await.is(200);
    pool.try_log_in("ann@example.com", "a new password").await.is(200);
    // The session that a magic link proved a moment ago may also reset it.
    change(&pool, &tokens.access, json!({"new_password": "a third one"})).await.is(200);
    control::control(appliance)
        .await
        .execute(
            "update app_sessions set auth_time = auth_time - interval '16 minutes' where user_id = $1::text::uuid",
            &[&tokens.body["user"]["id"].as_str().expect("an id")],
        )
        .await
        .expect("the session can be aged");
    change(&pool, &tokens.access, json!({"new_password": "a fourth one"}))
        .await
        .refused(401, "R402_AUTH_FRESHNESS_REQUIRED");
}

#[tokio::test]
async fn no_secret_is_stored_in_clear() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    pool.ask_link("ann@example.com").await.is(200);
    let link = pool.mailed_token(appliance, "ann@example.com").await;
    let database = control::control(appliance).await;
    let hash: String = database
        .query_one("select password_hash from app_users where project_id = $1", &[&pool.project.id])
        .await
        .expect("the row")
        .get(0);
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    // Every table of this feature but the captured mail, which holds the link because it is the mail.
    for table in
        ["app_users", "app_identities", "app_sessions", "app_refresh_tokens", "app_magic_links", "app_auth_audit"]
    {
        let text: String = database
            .query_one(&format!("select coalesce(string_agg(t::text, ''), '') from {table} t"), &[])
            .await
            .expect("the table")
            .get(0);
        for secret in [tokens.refresh.as_str(), link.as_str(), PASSWORD] {
            assert!(!text.contains(secret), "{table} holds a secret");
        }
    }
}

#[tokio::test]
async fn deleting_a_project_deletes_its_pool() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    pool.ask_link("ann@example.com").await.is(200);
    pool.api.delete(&format!("/projects/v1/{}", pool.project.id)).bearer(&pool.project.service_key).send().await;
    let database = control::control(appliance).await;
    for table in ["app_users", "app_sessions", "app_magic_links", "captured_mail"] {
        let statement = format!("select count(*) from {table} where project_id = $1");
        let rows: i64 = database.query_one(&statement, &[&pool.project.id]).await.expect("a count").get(0);
        assert_eq!(rows, 0, "{table}");
    }
    pool.user(&tokens.access).await.refused(401, "UNAUTHORIZED");
}

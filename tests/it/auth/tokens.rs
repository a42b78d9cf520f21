//! Access and refresh tokens (06 §3, §6.3, §6.4; checks 2, 4, 27).

use serde_json::{Value, json};

use super::{Pool, part};
use crate::support::{Appliance, control};

#[tokio::test]
async fn access_tokens_are_es256_under_a_published_key() {
    let pool = Pool::new().await;
    let made = pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let header = part(&tokens.access, 0);
    assert_eq!(header["alg"], "ES256");
    let keys = pool.api.get("/internal/v1/project-jwt-keys").bearer(&pool.project.service_key).send().await.is(200);
    let published = keys["keys"].as_array().expect("a list");
    let key = published.iter().find(|key| key["kid"] == header["kid"]).expect("the kid is published");
    assert_eq!(
        (&key["kty"], &key["crv"], &key["alg"], &key["use"]),
        (&json!("EC"), &json!("P-256"), &json!("ES256"), &json!("sig"))
    );
    assert!(published.iter().all(|key| key.get("d").is_none()), "{keys}");
    let claims = tokens.claims();
    assert_eq!(claims["sub"], made["id"]);
    for (claim, value) in [
        ("role", json!("authenticated")),
        ("project_id", json!(pool.project.id)),
        ("email", json!("ann@example.com")),
        ("iss", json!("agentdb")),
        ("amr", json!(["password"])),
        ("aal", json!("aal1")),
        ("authz_version", json!(1)),
    ] {
        assert_eq!(claims[claim], value, "{claim} of {claims}");
    }
    assert_eq!(claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat"), 3600);
    assert!(claims["session_id"].as_str().is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()), "{claims}");
    assert!(claims.get("is_test").is_none());
}

#[tokio::test]
async fn the_keys_are_for_the_service_key_and_the_set_is_public() {
    let pool = Pool::new().await;
    let path = "/internal/v1/project-jwt-keys";
    pool.api.get(path).bearer(&pool.project.anon_key).send().await.refused(401, "UNAUTHORIZED");
    assert_eq!(pool.api.get(path).send().await.status, 401);
    let keys = pool.api.get(path).bearer(&pool.project.service_key).send().await.is(200);
    assert!(!keys["keys"].as_array().expect("a list").is_empty(), "never empty");
    let all = pool.api.get("/auth/v1/.well-known/jwks.json").send().await.is(200);
    let known = |kid: &Value| all["keys"].as_array().expect("a list").iter().any(|key| key["kid"] == *kid);
    assert!(known(&keys["keys"][0]["kid"]), "{all}");
}

#[tokio::test]
async fn a_signed_in_user_reads_rows_as_himself() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let made = pool.project.sql("create table notes(id int primary key, owner uuid default auth.uid());").await;
    assert_eq!(made.status, 200, "{made}");
    let manifest = json!({"version": "1", "tables": [{"name": "notes", "expose": true, "policy": "user_owns_rows",
        "owner_column": "owner", "force_owner_on_insert": true}]});
    pool.api.post(&pool.project.path("expose")).bearer(&pool.project.service_key).json(&manifest).send().await.is(200);
    let row =
        pool.post("/rest/v1/notes", &json!({"id": 1})).bearer(&tokens.access).header("prefer", "return=representation");
    assert_eq!(row.send().await.is(201)[0]["owner"], tokens.body["user"]["id"]);
}

#[tokio::test]
async fn the_user_route_tells_about_the_account() {
    let pool = Pool::new().await;
    let made = pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let account = pool.user(&tokens.access).await.is(200);
    assert_eq!(
        account,
        json!({
            "id": made["id"], "email": "ann@example.com", "created_at": made["created_at"], "display_name": null,
            "avatar_url": null, "email_verified_at": null, "is_admin": false, "identities": [],
            "has_password": true, "has_passkeys": false, "passkey_count": 0,
            "has_passkey_for_current_rp": null, "current_rp_id": null,
        })
    );
    // The token may also stand in the apikey header, and needs no apikey beside it.
    pool.api.get("/auth/v1/user").api_key(&tokens.access).send().await.is(200);
    pool.api.get("/auth/v1/user").bearer(&tokens.access).send().await.is(200);
    pool.api.get("/auth/v1/user").api_key("").bearer(&tokens.access).send().await.is(200);
}

#[tokio::test]
async fn refreshing_rotates_and_keeps_the_moment_of_authentication() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let first = pool.log_in("ann@example.com").await;
    let second = super::Tokens::of(&pool.try_refresh(&first.refresh).await.is(200));
    assert_ne!(first.refresh, second.refresh);
    for claim in ["auth_time", "session_id", "amr", "sub"] {
        assert_eq!(first.claims()[claim], second.claims()[claim], "{claim}");
    }
    pool.user(&second.access).await.is(200);
}

#[tokio::test]
async fn a_stolen_refresh_token_ends_its_family() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let first = pool.log_in("ann@example.com").await;
    let bystander = pool.log_in("ann@example.com").await;
    let second = super::Tokens::of(&pool.try_refresh(&first.refresh).await.is(200));
    // A double submit of the same client within ten seconds is forgiven.
    pool.try_refresh(&first.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    let third = super::Tokens::of(&pool.try_refresh(&second.refresh).await.is(200));
    // From another client it is theft.
    let thief = pool
        .post("/auth/v1/token?grant_type=refresh_token", &json!({"refresh_token": second.refresh}))
        .header("user-agent", "thief/1.0")
        .send()
        .await;
    thief.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.try_refresh(&third.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.user(&third.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.try_refresh(&bystander.refresh).await.is(200);
    let events: i64 = control::control(appliance)
        .await
        .query_one(
            "select count(*) from app_auth_audit where project_id = $1 and event = 'refresh_token_reused'",
            &[&pool.project.id],
        )
        .await
        .expect("a count")
        .get(0);
    assert_eq!(events, 1);
}

#[tokio::test]
async fn reuse_after_the_grace_period_ends_the_family_too() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let first = pool.log_in("ann@example.com").await;
    let second = super::Tokens::of(&pool.try_refresh(&first.refresh).await.is(200));
    control::move_time(
        appliance,
        "update app_refresh_tokens set consumed_at = consumed_at - interval '15 seconds'
             where session_id = $1::text::uuid and consumed_at is not null",
        &[&first.claims()["session_id"].as_str().expect("an id")],
    )
    .await;
    pool.try_refresh(&first.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.try_refresh(&second.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
}

#[tokio::test]
async fn of_many_refreshes_at_once_one_wins() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let first = pool.log_in("ann@example.com").await;
    let attempts: Vec<_> = (0..8).map(|_| pool.try_refresh(&first.refresh)).collect();
    let answers = futures_util::future::join_all(attempts).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1);
    assert!(answers.iter().all(|answer| answer.status == 200 || answer.status == 401));
    // Double submits of the same client: the family lives.
    let winner = answers.iter().find(|answer| answer.status == 200).expect("one won");
    pool.try_refresh(&super::Tokens::of(&winner.json()).refresh).await.is(200);
}

#[tokio::test]
async fn an_expired_refresh_token_says_so() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    control::move_time(
        appliance,
        "update app_refresh_tokens set expires_at = now() - interval '1 second' where session_id = $1::text::uuid",
        &[&tokens.claims()["session_id"].as_str().expect("an id")],
    )
    .await;
    pool.try_refresh(&tokens.refresh).await.refused(401, "R402_AUTH_SESSION_EXPIRED");
}

#[tokio::test]
async fn a_family_lasts_ninety_days_at_most() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let database = control::control(appliance).await;
    let session = tokens.claims()["session_id"].as_str().expect("an id").to_owned();
    database
        .execute(
            "update app_sessions set auth_time = auth_time - interval '85 days' where id = $1::text::uuid",
            &[&session],
        )
        .await
        .expect("time can be moved");
    pool.try_refresh(&tokens.refresh).await.is(200);
    let days: f64 = database
        .query_one(
            "select extract(epoch from max(expires_at) - now())::float8 / 86400 from app_refresh_tokens
             where session_id = $1::text::uuid and consumed_at is null",
            &[&session],
        )
        .await
        .expect("the token")
        .get(0);
    assert!((4.9..5.1).contains(&days), "{days}");
}

#[tokio::test]
async fn logging_out_ends_the_family_and_tells_nothing() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    for token in [tokens.refresh.as_str(), tokens.refresh.as_str(), "unknown", ""] {
        let body = pool.post("/auth/v1/logout", &json!({"refresh_token": token})).send().await.is(200);
        assert_eq!(body, json!({"status": "ok"}));
    }
    pool.post("/auth/v1/logout", &json!({})).send().await.refused(400, "BAD_REQUEST");
    pool.try_refresh(&tokens.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    pool.user(&tokens.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
}

#[tokio::test]
async fn sessions_survive_a_killed_box() {
    let mut appliance = Appliance::plan().boot();
    let pool = Pool::on(&appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    appliance.kill();
    appliance.start_again();
    let api = appliance.api();
    let pool = Pool { project: pool.project.through(&api), api };
    pool.user(&tokens.access).await.is(200);
    pool.try_refresh(&tokens.refresh).await.is(200);
}

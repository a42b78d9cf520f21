//! What ends or changes a session shows with the next request: in functions on routes, and at gates for Bearers
//! (06 §10.1, §10.2; 05 §9).

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Pool,
    hosted::{Site, session_cookie},
    part,
};
use crate::{
    functions::function,
    support::{Answer, Appliance, control},
};

const OPEN: &str = "import { auth } from '@run402/functions';
export default async (request) => request.url.endsWith('/end') ? auth.sessions.endResponse() : Response.json({
  user: await auth.user(), token: request.headers.get('x-run402-actor-token') });";
const GATED: &str = "export default (request) => Response.json(request.headers.get('x-run402-user-id'));";

const ANN: &str = "ann@example.com";

/// A site with an open function at `/open` and a gated one at `/gated`, and a user.
async fn app() -> Site {
    let site = Site::new().await;
    publish(&site.pool).await;
    site.pool.sign_up(ANN).await;
    site
}

async fn publish(pool: &Pool) {
    let route = |path: &str, name: &str| json!({"pattern": path, "target": {"type": "function", "name": name}});
    let spec = json!({
        "functions": {"replace": {
            "open": function(OPEN, &json!({})), "gated": function(GATED, &json!({"require_auth": true})),
        }},
        "routes": {"replace": [route("/open/*", "open"), route("/gated", "gated")]},
    });
    pool.project.deploy(&spec, &[OPEN.as_bytes(), GATED.as_bytes()]).await;
}

fn ask(site: &Site) -> crate::support::Call {
    site.call(Method::GET, "/open/who").header("accept", "application/json")
}

/// The user a function sees.
async fn user(site: &Site) -> Value {
    ask(site).send().await.is(200)["user"].clone()
}

/// A browser whose session was asked for more than once, so that anything kept of it would show.
async fn known(site: &Site, email: &str) -> Site {
    let browser = site.enter(email).await;
    for _ in 0..3 {
        assert_eq!(user(&browser).await["email"], email);
    }
    browser
}

/// The very next request is nobody's, and its cookie is taken away.
async fn gone(browser: &Site, why: &str) {
    let answer = ask(browser).send().await;
    assert_eq!(answer.is(200)["user"], Value::Null, "{why}");
    assert!(session_cookie(&answer).is_some_and(|cookie| cookie.contains("Max-Age=0")), "{why}: {answer}");
    let gate = browser.call(Method::GET, "/gated").header("accept", "application/json").send().await;
    refused(&gate);
}

/// By a gate.
fn refused(answer: &Answer) {
    let code = answer.json()["code"].clone();
    assert_eq!((answer.status.as_u16(), code), (401, json!("R402_AUTH_REQUIRED")), "{answer}");
}

fn id_of(browser: &Site) -> String {
    browser.cookie.as_deref().and_then(|cookie| cookie.split('.').nth(1)).expect("a session").to_owned()
}

async fn administer(pool: &Pool, what: &str, email: &str) {
    let call = pool.api.post(&pool.project.path(what)).bearer(&pool.project.service_key);
    call.json(&json!({"email": email})).send().await.is(200);
}

async fn change_password(pool: &Pool, access: &str, body: &Value) {
    let call = pool.api.call(Method::PUT, "/auth/v1/user/password").api_key(&pool.project.anon_key).bearer(access);
    let answer = call.json(body).send().await;
    assert!(answer.status.is_success(), "{answer}");
}

#[tokio::test]
async fn a_signed_out_browser_is_nobody_with_the_next_request() {
    let site = app().await;
    let browser = known(&site, ANN).await;
    let csrf = browser.csrf().await;
    assert_eq!(browser.post("/auth/sign-out", &[("_csrf", &csrf)]).await.status, 303);
    gone(&browser, "signed out").await;

    let browser = known(&site, ANN).await;
    browser.call(Method::POST, "/auth/v1/sessions/end").header("origin", &site.origin()).send().await.is(200);
    gone(&browser, "its session was ended").await;

    let browser = known(&site, ANN).await;
    browser.call(Method::GET, "/open/end").send().await.is(200);
    gone(&browser, "a function ended it").await;
}

#[tokio::test]
async fn sessions_ended_from_elsewhere_are_gone_with_the_next_request() {
    let site = app().await;
    let (here, there) = (known(&site, ANN).await, known(&site, ANN).await);
    let fields = [("_csrf", there.csrf().await), ("session_id", id_of(&here))];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(there.post("/auth/account/sessions/revoke", &fields).await.status, 303);
    gone(&here, "revoked").await;
    assert_eq!(user(&there).await["email"], ANN, "the other one stays");

    let here = known(&site, ANN).await;
    there.post("/auth/account/sign-out-everywhere", &[("_csrf", &there.csrf().await)]).await;
    gone(&here, "signed out everywhere").await;
    gone(&there, "signed out everywhere").await;
}

#[tokio::test]
async fn a_changed_or_reset_password_ends_the_other_sessions_at_once() {
    let site = app().await;
    let browser = known(&site, ANN).await;
    let tokens = site.pool.log_in(ANN).await;
    let change = json!({"current_password": PASSWORD, "new_password": "another battery"});
    change_password(&site.pool, &tokens.access, &change).await;
    gone(&browser, "the password was changed").await;

    // Back again, by a link for who has forgotten it.
    assert_eq!(site.pool.ask_link(ANN).await.status, 200);
    let link = site.pool.mailed_token(Appliance::shared(), ANN).await;
    let fields = [("email", ANN), ("password", "another battery"), ("returnTo", "/in")];
    let browser = site.after(&site.post("/auth/sign-in", &fields).await);
    assert_eq!(user(&browser).await["emailVerified"], false);
    let by_link = super::Tokens::of(&site.pool.try_link(&link).await.is(200));
    assert_eq!(user(&browser).await["emailVerified"], true, "the link proved the address");
    change_password(&site.pool, &by_link.access, &json!({"new_password": PASSWORD})).await;
    gone(&browser, "the password was reset").await;
}

#[tokio::test]
async fn what_an_administrator_does_shows_at_once() {
    let site = app().await;
    let pool = &site.pool;
    let browser = known(&site, ANN).await;
    administer(pool, "promote-user", ANN).await;
    gone(&browser, "a promotion makes older sessions stale").await;

    let admin = known(&site, ANN).await;
    let role = async || part(ask(&admin).send().await.is(200)["token"].as_str().expect("a token"), 1)["role"].clone();
    assert_eq!(role().await, "project_admin");
    pool.settings(json!({"require_passkey_for_project_admin": true})).await;
    assert_eq!(role().await, "authenticated", "no passkey, no admin");
    pool.settings(json!({"require_passkey_for_project_admin": false})).await;
    assert_eq!(role().await, "project_admin");
    administer(pool, "demote-user", ANN).await;
    gone(&admin, "demoted").await;

    let browser = known(&site, ANN).await;
    let id = user(&browser).await["id"].as_str().expect("an id").to_owned();
    pool.api.post("/auth/v1/admin/keys/rotate").bearer(&pool.project.service_key).send().await.is(200);
    let told = ask(&browser).send().await.is(200);
    let published =
        pool.api.get("/internal/v1/project-jwt-keys").bearer(&pool.project.service_key).send().await.is(200);
    let kid = part(told["token"].as_str().expect("a token"), 0)["kid"].clone();
    assert_eq!(kid, published["keys"][0]["kid"], "signed with the new key");
    pool.service(pool.api.delete(&format!("/auth/v1/admin/users/{id}"))).send().await.is(200);
    gone(&browser, "deleted").await;
}

#[tokio::test]
async fn a_deleted_project_has_no_visitors() {
    let site = app().await;
    let browser = known(&site, ANN).await;
    let project = &site.pool.project;
    site.pool.api.delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.is(200);
    let answer: Answer = ask(&browser).send().await;
    assert!(answer.status.is_client_error(), "{answer}");
}

#[tokio::test]
async fn a_cookie_seen_before_still_wants_its_secret_and_its_host() {
    let site = Site::claimed().await;
    site.pool.sign_up(ANN).await;
    publish(&site.pool).await;
    let browser = known(&site, ANN).await;
    let cookie = browser.cookie.clone().expect("a cookie");
    let (rest, last) = cookie.split_at(cookie.len() - 1);
    let forged = Site { cookie: Some(format!("{rest}{}", if last == "A" { "B" } else { "A" })), ..browser.clone() };
    gone(&forged, "another secret").await;
    let other = known(&app().await, ANN).await;
    let elsewhere = Site { cookie: browser.cookie.clone(), ..other.clone() };
    gone(&elsewhere, "another project").await;
    let own = Site { host: site.pool.project.host().await, ..browser.clone() };
    gone(&own, "another host of the project").await;
    assert_eq!(user(&browser).await["email"], ANN, "nobody else's trouble");

    let renewed = browser
        .post("/auth/re-auth", &[("_csrf", &browser.csrf().await), ("password", PASSWORD), ("returnTo", "/")])
        .await;
    gone(&browser, "the secret of before").await;
    assert_eq!(user(&browser.after(&renewed)).await["email"], ANN);
}

/// The box is told of no such change.
#[tokio::test]
async fn rows_changed_behind_the_boxs_back_show_with_the_next_request() {
    let site = app().await;
    let browser = known(&site, ANN).await;
    let tokens = site.pool.log_in(ANN).await;
    let direct = async || site.pool.project.invoke("gated").bearer(&tokens.access).send().await;
    direct().await.is(200);
    let session = tokens.claims()["session_id"].as_str().expect("a session").to_owned();
    for id in [id_of(&browser), session] {
        let revoke = "update app_sessions set revoked_at = now() where id = $1::text::uuid";
        control::move_time(Appliance::shared(), revoke, &[&id]).await;
    }
    gone(&browser, "revoked in the database").await;
    refused(&direct().await);
}

#[tokio::test]
async fn a_bearer_passes_no_gate_after_its_session() {
    let site = app().await;
    let pool = &site.pool;
    let direct = async |access: &str| pool.project.invoke("gated").bearer(access).send().await;
    let routed = async |access: &str| {
        site.call(Method::GET, "/gated").header("accept", "application/json").bearer(access).send().await
    };
    let passes = async |tokens: &super::Tokens| {
        for _ in 0..3 {
            let id = tokens.claims()["sub"].clone();
            assert_eq!(direct(&tokens.access).await.is(200), id);
            assert_eq!(routed(&tokens.access).await.is(200), id);
        }
    };
    let stopped = async |tokens: &super::Tokens| {
        refused(&direct(&tokens.access).await);
        refused(&routed(&tokens.access).await);
    };
    let (one, other) = (pool.log_in(ANN).await, pool.log_in(ANN).await);
    passes(&one).await;
    passes(&other).await;
    let refreshed = super::Tokens::of(&pool.try_refresh(&one.refresh).await.is(200));
    passes(&one).await;
    passes(&refreshed).await;
    pool.post("/auth/v1/logout", &json!({"refresh_token": refreshed.refresh})).send().await.is(200);
    stopped(&one).await;
    stopped(&refreshed).await;
    passes(&other).await;

    let third = pool.log_in(ANN).await;
    passes(&third).await;
    let change = json!({"current_password": PASSWORD, "new_password": "another battery"});
    change_password(pool, &third.access, &change).await;
    stopped(&other).await;
    passes(&third).await;

    // A promotion alone ends no session.
    administer(pool, "promote-user", ANN).await;
    passes(&third).await;
    administer(pool, "demote-user", ANN).await;
    stopped(&third).await;

    let bob = pool.sign_up("bob@example.com").await;
    let tokens = pool.log_in("bob@example.com").await;
    passes(&tokens).await;
    pool.api.post("/auth/v1/admin/keys/rotate").bearer(&pool.project.service_key).send().await.is(200);
    passes(&tokens).await;
    let path = format!("/auth/v1/admin/users/{}", bob["id"].as_str().expect("an id"));
    pool.service(pool.api.delete(&path)).send().await.is(200);
    stopped(&tokens).await;
}

//! The signed-in user's account: its page, its forms, and the API that functions call (06 §11).

use reqwest::Method;
use serde_json::{Value, json};

use super::{
    PASSWORD, Pool, google,
    hosted::{Site, page, session_cookie},
};
use crate::support::{Answer, Appliance, control};

fn leads_to(answer: &Answer, place: &str) {
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some(place)), "{answer}");
}

/// A form sent from the account page itself.
async fn send(site: &Site, form: &str, fields: &[(&str, &str)]) -> Answer {
    let here = format!("{}/auth/account", site.origin());
    site.form(&format!("/auth/account/{form}"), fields).header("referer", &here).send().await
}

#[tokio::test]
async fn the_account_page_shows_what_secures_the_account() {
    let site = Site::new().await;
    leads_to(&site.get("/auth/account").await, "/auth/sign-in?returnTo=%2Fauth%2Faccount");
    site.pool.sign_up("ann@example.com").await;
    let browser = site.enter("ann@example.com").await;
    let html = page(&browser.get("/auth/account").await);
    for part in ["ann@example.com", "Not confirmed yet", "Change your password", "This device", "Sign out everywhere"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    // No relying party on this host, no Google on this box: nothing of them.
    for part in ["Add a passkey", "Link Google", "Linked accounts"] {
        assert!(!html.contains(part), "{part}: {html}");
    }
    let other = site.enter("ann@example.com").await;
    let html = page(&browser.get("/auth/account?done=password").await);
    assert!(html.contains("Your password is changed") && html.contains("Last used"), "{html}");
    let html = page(&browser.get("/auth/account?done=%3Cscript%3E").await);
    assert!(!html.contains("<script>") && !html.contains("role=\"status\""), "{html}");
    drop(other);
}

#[tokio::test]
async fn forms_of_the_account_page_say_what_was_done() {
    let site = Site::signed_in("ann@example.com").await;
    let other = site.pool.log_in("ann@example.com").await;
    let csrf = site.csrf().await;
    let id = other.claims()["session_id"].as_str().expect("an id").to_owned();
    let revoked = send(&site, "sessions/revoke", &[("_csrf", &csrf), ("session_id", &id)]).await;
    leads_to(&revoked, "/auth/account?done=session");
    site.pool.user(&other.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    let fields = [("_csrf", csrf.as_str()), ("current_password", PASSWORD), ("new_password", "another good one")];
    leads_to(&send(&site, "password", &fields).await, "/auth/account?done=password");
    // A page of the app gets its visitor back as he left it.
    let fields = [("_csrf", csrf.as_str()), ("current_password", "another good one"), ("new_password", PASSWORD)];
    let from_app = site.form("/auth/account/password", &fields);
    let from_app = from_app.header("referer", &format!("{}/settings?tab=2", site.origin())).send().await;
    leads_to(&from_app, "/settings?tab=2");
    let from_elsewhere = site.form("/auth/account/password", &[("_csrf", csrf.as_str()), ("new_password", PASSWORD)]);
    leads_to(&from_elsewhere.header("referer", "https://evil.example/x").send().await, "/");
}

#[tokio::test]
async fn forms_of_strangers_and_of_old_sign_ins_lead_to_the_page_that_helps() {
    let site = Site::signed_in("ann@example.com").await;
    let csrf = site.csrf().await;
    let stranger = Site { cookie: None, ..site.clone() };
    let fields = [("_csrf", csrf.as_str()), ("new_password", "another good one")];
    leads_to(&send(&stranger, "password", &fields).await, "/auth/sign-in?returnTo=%2Fauth%2Faccount");
    site.age(6).await;
    let csrf = site.csrf().await;
    let fields = [("_csrf", csrf.as_str()), ("new_password", "another good one")];
    leads_to(&send(&site, "password", &fields).await, "/auth/re-auth?returnTo=%2Fauth%2Faccount");
    let json = site.form("/auth/account/password", &fields).header("accept", "application/json").send().await;
    assert_eq!(json.json()["code"], "R402_AUTH_FRESHNESS_REQUIRED");
    assert_eq!(json.json()["details"]["max_age"], "5m");
    // Leaving needs no fresh proof.
    let left = send(&site, "sign-out-everywhere", &[("_csrf", &csrf)]).await;
    leads_to(&left, "/auth/account");
    assert_eq!(site.session().await["authenticated"], false);
}

#[tokio::test]
async fn a_password_is_set_on_the_page_only_where_that_is_allowed() {
    let site = Site::new().await;
    site.post("/auth/magic-link/send", &[("email", "ann@example.com")]).await;
    let token = site.pool.mailed_token(Appliance::shared(), "ann@example.com").await;
    let browser = site.after(&site.post("/auth/magic-link/confirm", &[("token", &token)]).await);
    let html = page(&browser.get("/auth/account").await);
    assert!(html.contains("Confirmed") && !html.contains("Set a password"), "{html}");
    let csrf = browser.csrf().await;
    let fields = [("_csrf", csrf.as_str()), ("new_password", PASSWORD)];
    let refused = browser.form("/auth/account/password", &fields).header("accept", "application/json").send().await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (403, Some("PASSWORD_SET_DISABLED")));
    browser.pool.settings(json!({"allow_password_set": true})).await;
    assert!(page(&browser.get("/auth/account").await).contains("Set a password"));
    leads_to(&send(&browser, "password", &fields).await, "/auth/account?done=password");
    site.enter("ann@example.com").await;
}

#[tokio::test]
async fn a_page_that_wants_one_way_of_signing_in_offers_that_one() {
    let site = Site::signed_in("ann@example.com").await;
    let all = page(&site.get("/auth/re-auth?returnTo=/x").await);
    assert!(all.contains("type=\"password\"") && all.contains("Send me a link"), "{all}");
    let narrow = page(&site.get("/auth/re-auth?returnTo=/x&amr=magic_link&max_age=300").await);
    assert!(!narrow.contains("type=\"password\"") && narrow.contains("Send me a link"), "{narrow}");
    let none = page(&site.get("/auth/re-auth?returnTo=/x&amr=tenant_sso").await);
    assert!(none.contains("type=\"password\""), "{none}");
    let answer = site.call(Method::GET, "/auth/re-auth?returnTo=//evil.example").send().await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn account_forms_want_a_token_and_a_fresh_sign_in() {
    let site = Site::signed_in("ann@example.com").await;
    let other = site.pool.log_in("ann@example.com").await;
    let csrf = site.csrf().await;
    let change = |token: &str, current: &str, new: &str| {
        site.form("/auth/account/password", &[("_csrf", token), ("current_password", current), ("new_password", new)])
            .header("referer", &format!("{}/settings?tab=2", site.origin()))
            .send()
    };
    assert_eq!(change("", PASSWORD, "a new password").await.status, 403);
    assert_eq!(change(&csrf, "wrong password", "a new password").await.status, 401);
    assert_eq!(change(&csrf, PASSWORD, "1234567").await.status, 400);
    let answer = change(&csrf, PASSWORD, "a new password").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/settings?tab=2")), "{answer}");
    site.pool.user(&other.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    assert_eq!(site.session().await["authenticated"], true, "the own session stays");
    site.age(6).await;
    let csrf = site.csrf().await;
    let stale = site.form("/auth/account/password", &[("_csrf", &csrf), ("new_password", "a third password")]);
    let page = stale.clone().send().await;
    assert_eq!(page.status, 303);
    assert!(page.header("location").is_some_and(|to| to.starts_with("/auth/re-auth?returnTo=")), "{page}");
    let json = stale.header("accept", "application/json").send().await;
    assert_eq!((json.status.as_u16(), json.json()["code"].as_str()), (401, Some("R402_AUTH_FRESHNESS_REQUIRED")));
    assert_eq!(json.json()["details"]["max_age"], "5m");
    // Proving the password again makes the session fresh, under a new secret.
    let wrong = site.post("/auth/re-auth", &[("_csrf", &csrf), ("password", "wrong password")]).await;
    assert_eq!(wrong.status, 401);
    let renewed = site
        .post("/auth/re-auth", &[("_csrf", &csrf), ("password", "a new password"), ("returnTo", "/settings")])
        .await;
    assert_eq!((renewed.status.as_u16(), renewed.header("location")), (303, Some("/settings")), "{renewed}");
    let browser = site.after(&renewed);
    assert_eq!(site.session().await["authenticated"], false, "the old secret is dead");
    let csrf = browser.csrf().await;
    let answer =
        browser.post("/auth/account/password", &[("_csrf", &csrf), ("new_password", "a third password")]).await;
    assert_eq!(answer.status, 303, "{answer}");
}

#[tokio::test]
async fn a_user_ends_his_sessions_one_by_one_and_all_at_once() {
    let site = Site::signed_in("ann@example.com").await;
    let tokens = site.pool.log_in("ann@example.com").await;
    let csrf = site.csrf().await;
    let id = tokens.claims()["session_id"].as_str().expect("an id").to_owned();
    let answer = site.post("/auth/account/sessions/revoke", &[("_csrf", &csrf), ("session_id", &id)]).await;
    assert_eq!(answer.status, 303, "{answer}");
    site.pool.user(&tokens.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    for foreign in [id.as_str(), "nonsense", &uuid::Uuid::new_v4().to_string()] {
        assert_eq!(
            site.post("/auth/account/sessions/revoke", &[("_csrf", &csrf), ("session_id", foreign)]).await.status,
            404
        );
    }
    let tokens = site.pool.log_in("ann@example.com").await;
    let answer = site.post("/auth/account/sign-out-everywhere", &[("_csrf", &csrf)]).await;
    assert_eq!(answer.status, 303, "{answer}");
    assert_eq!(site.session().await["authenticated"], false);
    site.pool.user(&tokens.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
}

#[tokio::test]
async fn ending_a_session_needs_no_cookie_and_no_origin_without_one() {
    let site = Site::signed_in("ann@example.com").await;
    let anonymous = Site { cookie: None, ..site.clone() };
    let answer = anonymous.call(Method::POST, "/auth/v1/sessions/end").send().await;
    assert_eq!(answer.is(200), json!({"ok": true}));
    assert!(session_cookie(&answer).is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(site.call(Method::POST, "/auth/v1/sessions/end").send().await.status, 403, "a cookie wants an origin");
    assert_eq!(site.json("/auth/v1/sessions/end", &json!({})).send().await.is(200), json!({"ok": true}));
    assert_eq!(site.session().await["authenticated"], false);
}

#[tokio::test]
async fn the_account_api_serves_functions_with_the_visitors_token() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let other = pool.log_in("ann@example.com").await;
    let get = |path: &str| {
        pool.api.get(&format!("/auth/v1/account/{path}")).api_key(&pool.project.anon_key).bearer(&tokens.access).send()
    };
    let post =
        |path: &str, body: Value| pool.post(&format!("/auth/v1/account/{path}"), &body).bearer(&tokens.access).send();
    let security = get("security?app_origin=https://shop.example.com").await.is(200);
    assert_eq!(
        security,
        json!({
            "user": {"id": tokens.body["user"]["id"], "email": "ann@example.com"}, "has_run402_password": true,
            "run402_passkey_count": 0, "has_run402_passkey_for_current_rp": false, "run402_identities": [],
            "current_rp_id": "shop.example.com", "passkey_rp_scope": "host", "tenant_assertions": [],
        })
    );
    assert_eq!(get("passkeys").await.is(200), json!({"passkeys": []}));
    assert_eq!(get("identities").await.is(200), json!({"identities": []}));
    let sessions = get("sessions").await.is(200)["sessions"].clone();
    assert_eq!(sessions.as_array().expect("a list").len(), 2);
    assert_eq!(sessions.as_array().expect("a list").iter().filter(|one| one["current"] == true).count(), 1);
    post("passkeys/remove", json!({"passkey_id": "x"})).await.refused(404, "NOT_FOUND");
    post("identities/unlink", json!({"provider": "google", "subject": "x"})).await.refused(404, "NOT_FOUND");
    post("sessions/revoke", json!({"session_id": "x"})).await.refused(404, "NOT_FOUND");
    post("password", json!({"new_password": "short"})).await.refused(400, "BAD_REQUEST");
    assert_eq!(post("password", json!({"new_password": "long enough"})).await.is(200), json!({"ok": true}));
    pool.user(&other.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    assert_eq!(post("sign-out-everywhere", json!({})).await.is(200), json!({"revoked_count": 1}));
    get("security").await.refused(401, "R402_AUTH_SESSION_INVALID");
    let anonymous = pool.api.get("/auth/v1/account/security").api_key(&pool.project.anon_key).send().await;
    anonymous.refused(401, "UNAUTHORIZED");
}

#[tokio::test]
async fn a_stale_session_cannot_change_the_account() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    control::move_time(
        appliance,
        "update app_sessions set auth_time = auth_time - interval '6 minutes' where id = $1::text::uuid",
        &[&tokens.claims()["session_id"].as_str().expect("an id")],
    )
    .await;
    let body = json!({"new_password": "long enough"});
    pool.post("/auth/v1/account/password", &body)
        .bearer(&tokens.access)
        .send()
        .await
        .refused(401, "R402_AUTH_FRESHNESS_REQUIRED");
}

#[tokio::test]
async fn the_last_way_in_cannot_be_unlinked() {
    let (appliance, issuer) = google::with_issuer();
    let site = Site::on(appliance).await;
    let started = site.get("/auth/sign-in/oauth/google/start").await;
    let tie = started.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let claims = json!({"sub": "last", "email": "l@example.com", "email_verified": false});
    let (code, state) = issuer.signs_in(started.header("location").expect("a location"), &claims);
    let callback = site.pool.api.get(&format!("/auth/v1/oauth/google/callback?code={code}&state={state}")).send().await;
    let path =
        callback.header("location").expect("a location").strip_prefix(&site.origin()).expect("its host").to_owned();
    let browser = site.after(&Site { cookie: Some(tie), ..site.clone() }.get(&path).await);
    let csrf = browser.csrf().await;
    let unlink = |subject: &str| {
        let fields = [("_csrf", csrf.as_str()), ("provider", "google"), ("subject", subject)];
        browser.form("/auth/account/identities/unlink", &fields).header("accept", "application/json").send()
    };
    assert_eq!(unlink("foreign").await.status, 404);
    let refused = unlink("last").await;
    assert_eq!((refused.status.as_u16(), refused.json()["code"].as_str()), (409, Some("LAST_SIGN_IN_METHOD")));
}

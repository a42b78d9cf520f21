//! The hosted account page and where its forms lead (06 §11).

use reqwest::Method;
use serde_json::json;

use super::{
    PASSWORD,
    hosted::{Site, page},
};
use crate::support::{Answer, Appliance};

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

//! Magic links and their mail (06 §6.5, §13, §15; checks 7-10).

use serde_json::json;

use super::{Pool, Tokens};
use crate::support::{Appliance, control};

#[tokio::test]
async fn a_link_signs_in_once() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.sign_up("ann@example.com").await;
    let known = pool.ask_link("Ann@example.com").await;
    let unknown = pool.ask_link("bob@example.com").await;
    assert_eq!(known.is(200), unknown.is(200));
    let mail = pool.mail(appliance, "ann@example.com").await;
    assert_eq!(mail.len(), 1);
    assert_eq!(mail[0]["template"], "magic_link");
    let text = mail[0]["text"].as_str().expect("text");
    assert!(text.contains("http://localhost:5173/cb?x=1&token="), "{text}");
    assert!(text.contains("#frag"), "the fragment stays: {text}");
    let token = pool.mailed_token(appliance, "ann@example.com").await;
    let body = pool.try_link(&token).await.is(200);
    let tokens = Tokens::of(&body);
    assert_eq!(tokens.claims()["amr"], json!(["magic_link"]));
    assert!(body["user"]["email_verified_at"].is_string(), "{body}");
    assert_eq!(
        body["magic_link"],
        json!({"intent": "signin", "client_state": null, "state_source": "anonymous", "state_trusted": false})
    );
    let again = pool.try_link(&token).await;
    again.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
    let guessed = pool.try_link("never-sent").await;
    assert_eq!(again.body_without_trace(), guessed.body_without_trace());
    // The unknown address gets an account when it proves itself.
    let token = pool.mailed_token(appliance, "bob@example.com").await;
    assert_eq!(pool.try_link(&token).await.is(200)["user"]["email"], "bob@example.com");
}

#[tokio::test]
async fn a_newer_link_replaces_the_older_one() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.ask_link("ann@example.com").await.is(200);
    let first = pool.mailed_token(appliance, "ann@example.com").await;
    pool.ask_link("ann@example.com").await.is(200);
    let second = pool.mailed_token(appliance, "ann@example.com").await;
    pool.try_link(&first).await.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
    pool.try_link(&second).await.is(200);
}

#[tokio::test]
async fn a_link_expires_after_fifteen_minutes_and_belongs_to_its_project() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.ask_link("ann@example.com").await.is(200);
    let token = pool.mailed_token(appliance, "ann@example.com").await;
    let other = Pool::on(appliance).await;
    other.try_link(&token).await.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
    control::move_time(
        appliance,
        "update app_magic_links set expires_at = now() where project_id = $1",
        &[&pool.project.id],
    )
    .await;
    pool.try_link(&token).await.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
}

#[tokio::test]
async fn of_many_uses_at_once_one_wins() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.ask_link("ann@example.com").await.is(200);
    let token = pool.mailed_token(appliance, "ann@example.com").await;
    let answers = futures_util::future::join_all((0..8).map(|_| pool.try_link(&token))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
}

#[tokio::test]
async fn an_invitation_needs_the_service_key_and_is_trusted() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    pool.settings(json!({"public_signup": "invite_only"})).await;
    let body = json!({"email": "ann@example.com", "redirect_url": "http://localhost:1/", "intent": "invite"});
    let anonymous = pool.post("/auth/v1/magic-link", &body).bearer(&pool.project.anon_key).send().await;
    anonymous.refused(403, "FORBIDDEN");
    let invite = json!({"email": "ann@example.com", "send_invite": true, "redirect_url": "http://localhost:1/cb",
                        "client_state": {"team": 7}});
    let made = pool.service(pool.api.post("/auth/v1/admin/users")).json(&invite).send().await.is(200);
    assert_eq!((&made["created"], &made["invite_sent"]), (&json!(true), &json!(true)));
    let mail = pool.mail(appliance, "ann@example.com").await;
    assert_eq!(mail[0]["template"], "project_invite");
    let token = pool.mailed_token(appliance, "ann@example.com").await;
    let body = pool.try_link(&token).await.is(200);
    assert_eq!(
        body["magic_link"],
        json!({"intent": "invite", "client_state": "{\"team\":7}", "state_source": "service_key", "state_trusted": true})
    );
}

#[tokio::test]
async fn a_closed_pool_answers_alike_and_mails_only_whom_it_knows() {
    let appliance = Appliance::shared();
    for policy in ["known_email", "invite_only"] {
        let pool = Pool::on(appliance).await;
        pool.sign_up("ann@example.com").await;
        pool.settings(json!({"public_signup": policy})).await;
        assert_eq!(pool.ask_link("ann@example.com").await.is(200), pool.ask_link("bob@example.com").await.is(200));
        assert_eq!(pool.mail(appliance, "ann@example.com").await.len(), 1);
        assert!(pool.mail(appliance, "bob@example.com").await.is_empty());
        let body = json!({"email": "carl@example.com", "password": "long enough"});
        pool.post("/auth/v1/signup", &body).send().await.refused(403, "SIGNUP_DISABLED");
        let taken = json!({"email": "ann@example.com", "password": "long enough"});
        pool.post("/auth/v1/signup", &taken).send().await.refused(403, "SIGNUP_DISABLED");
    }
}

#[tokio::test]
async fn a_link_leads_only_where_the_project_lives() {
    let pool = Pool::new().await;
    let other = Pool::new().await;
    let ask = |url: String| {
        let pool = pool.clone();
        async move { pool.post("/auth/v1/magic-link", &json!({"email": "a@example.com", "redirect_url": url})).send().await }
    };
    for url in [
        "http://localhost:5173/cb",
        "https://localhost/",
        "http://127.0.0.1:3000/x",
        "http://[::1]:3000/",
        "http://dev.localhost:8080/",
    ] {
        ask(url.to_owned()).await.is(200);
    }
    let long = format!("http://localhost/{}", "a".repeat(2048));
    for url in [
        "https://evil.example/x",
        "http://localhost.evil.example/",
        "http://localhost@evil.example/",
        "http://user:pw@localhost/",
        "http://127.0.0.2/",
        "http://10.0.0.5/",
        "javascript:alert(1)",
        "ftp://localhost/",
        "//localhost/",
        "http:/localhost",
        "http:\\\\localhost",
        "http://localhost\\@evil.example/",
        "http://localhost\n/",
        "localhost",
        "",
        &long,
    ] {
        ask(url.to_owned()).await.refused(400, "REDIRECT_NOT_ALLOWED");
    }
    let _ = other;
    for body in [
        json!({"email": "a@example.com"}),
        json!({"redirect_url": "http://localhost/"}),
        json!({"email": "no", "redirect_url": "http://localhost/"}),
        json!({"email": "a@example.com\r\nBcc: b@example.com", "redirect_url": "http://localhost/"}),
        json!({"email": "a@example.com", "redirect_url": "http://localhost/", "intent": "x"}),
        json!({"email": "a@example.com", "redirect_url": "http://localhost/", "client_state": "x".repeat(2049)}),
    ] {
        pool.post("/auth/v1/magic-link", &body).send().await.refused(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn mail_speaks_the_language_asked_for() {
    let appliance = Appliance::shared();
    let pool = Pool::on(appliance).await;
    let link = |email: &str, locale: Option<&str>| {
        let mut body = json!({"email": email, "redirect_url": "http://localhost/"});
        if let Some(locale) = locale {
            body["locale"] = json!(locale);
        }
        pool.post("/auth/v1/magic-link", &body)
    };
    link("de@example.com", Some("de-AT")).send().await.is(200);
    link("sk@example.com", None).header("accept-language", "sk,en;q=0.8").send().await.is(200);
    link("en@example.com", Some("tlh")).send().await.is(200);
    for (email, locale, word) in [
        ("de@example.com", "de", "Anmelden"),
        ("sk@example.com", "sk", "Prihlásenie"),
        ("en@example.com", "en", "Sign in"),
    ] {
        let mail = pool.mail(appliance, email).await;
        assert_eq!(mail[0]["locale"], locale);
        assert!(mail[0]["subject"].as_str().is_some_and(|subject| subject.starts_with(word)), "{}", mail[0]);
        assert!(mail[0]["html"].as_str().is_some_and(|html| html.contains("<html lang=")), "{}", mail[0]);
    }
}

#[tokio::test]
async fn captured_mail_is_for_the_owner_of_the_box() {
    let pool = Pool::new().await;
    pool.ask_link("ann@example.com").await.is(200);
    let path = "/admin/v1/mail/captured";
    assert_eq!(pool.api.get(path).send().await.status, 401);
    pool.service(pool.api.get(path)).send().await.refused(403, "ADMIN_REQUIRED");
}

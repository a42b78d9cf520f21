//! Rate limits (06 §14; check 8).

use serde_json::json;

use super::{PASSWORD, Pool};
use crate::support::{Answer, Appliance};

fn is_limited(answer: &Answer, subject: &str) {
    let body = answer.refused(429, "RATE_LIMITED");
    assert_eq!(body["category"], "rate_limit");
    assert_eq!((&body["retryable"], &body["safe_to_retry"]), (&json!(true), &json!(true)));
    assert_eq!(body["mutation_state"], "not_started");
    assert_eq!(body["details"]["limited_subject"], subject);
    let wait = body["details"]["retry_after_seconds"].as_u64().expect("a wait");
    assert_eq!(answer.header("retry-after"), Some(wait.to_string().as_str()));
    assert!(wait > 0);
}

#[tokio::test]
async fn ten_wrong_passwords_close_the_door_for_the_right_one_too() {
    let pool = Pool::on(Appliance::limited()).await;
    pool.sign_up("ann@example.com").await;
    for email in ["ann@example.com", "nobody@example.com"] {
        for _ in 0..10 {
            pool.try_log_in(email, "wrong password").await.refused(401, "R402_AUTH_INVALID_CREDENTIALS");
        }
        is_limited(&pool.try_log_in(email, PASSWORD).await, "email");
    }
}

#[tokio::test]
async fn right_passwords_are_not_counted() {
    let pool = Pool::on(Appliance::limited()).await;
    pool.sign_up("bob@example.com").await;
    for _ in 0..12 {
        pool.log_in("bob@example.com").await;
    }
}

#[tokio::test]
async fn the_sixth_link_within_an_hour_is_refused_for_known_and_unknown_alike() {
    let pool = Pool::on(Appliance::limited()).await;
    pool.sign_up("ann@example.com").await;
    pool.settings(json!({"public_signup": "invite_only"})).await;
    for email in ["ann@example.com", "nobody@example.com"] {
        for _ in 0..5 {
            pool.ask_link(email).await.is(200);
        }
        is_limited(&pool.ask_link(email).await, "email");
    }
}

//! Balances and their history (contract 01 §8; checks 9, 22, 23).

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{Appliance, Wallet};

#[tokio::test]
async fn a_wallet_finds_its_organisation_once_it_has_one() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let lookup = || api.get(&format!("/orgs/v1/lookup?wallet={}", wallet.lower())).wallet(&wallet);
    lookup().send().await.refused(404, "ORGANIZATION_NOT_FOUND");
    api.subscribe(&wallet, "prototype").await.ok();
    let body = lookup().send().await.is(200);
    assert!(body["org_id"].as_str().is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()), "{body}");
    assert_eq!(body["available_usd_micros"], 0);
    assert_eq!(body["held_usd_micros"], 0);
    assert_eq!(body["email_credits_remaining"], 0);
    assert_eq!(body["tier"], "prototype");
    assert!(body["lease_expires_at"].is_string());
    assert_eq!(body["auto_recharge_enabled"], false);
    assert!(body["auto_recharge_threshold"].is_u64());
    // Any letter case, and the same answer by id.
    let upper = api.get(&format!("/orgs/v1/lookup?wallet={}", wallet.checksummed())).wallet(&wallet).send().await;
    assert_eq!(upper.is(200), body);
    let path = format!("/orgs/v1/{}/billing", body["org_id"].as_str().expect("an id"));
    assert_eq!(api.get(&path).wallet(&wallet).send().await.is(200), body);
}

#[tokio::test]
async fn looking_up_somebody_else_is_refused() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.subscriber().await, api.subscriber().await);
    let ask = |query: &str| api.get(&format!("/orgs/v1/lookup?{query}")).wallet(&mine).send();
    ask(&format!("wallet={}", other.lower())).await.refused(403, "NOT_AUTHORIZED");
    ask(&format!("wallet={}", Wallet::random().lower())).await.refused(403, "NOT_AUTHORIZED");
    ask("email=a%40example.com").await.refused(403, "ADMIN_REQUIRED");
    ask(&format!("wallet={}&email=a%40example.com", mine.lower())).await.refused(400, "INVALID_REQUEST");
    ask("").await.refused(400, "INVALID_REQUEST");
    ask("wallet=0x12").await.refused(400, "INVALID_ADDRESS");
    api.get(&format!("/orgs/v1/lookup?wallet={}", mine.lower())).send().await.refused(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn a_foreign_organisation_and_one_that_does_not_exist_look_the_same() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.subscriber().await, api.subscriber().await);
    let foreign = api.organisation_of(&other).await;
    let absent = uuid::Uuid::new_v4().to_string();
    for rest in ["billing", "billing/history"] {
        let ask = |organisation: &str| api.get(&format!("/orgs/v1/{organisation}/{rest}")).wallet(&mine).send();
        let (first, second) = (ask(&foreign).await, ask(&absent).await);
        first.refused(403, "NOT_AUTHORIZED");
        second.refused(403, "NOT_AUTHORIZED");
        assert_eq!(first.body_without_trace(), second.body_without_trace());
        ask("not-a-uuid").await.refused(400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_paid_tier_is_a_credit_and_a_debit_of_the_same_amount() {
    let api = Appliance::shared().api();
    let wallet = api.subscriber().await;
    let organisation = api.organisation_of(&wallet).await;
    let body = api.get(&format!("/orgs/v1/{organisation}/billing/history")).wallet(&wallet).send().await.is(200);
    assert_eq!(body["org_id"], organisation);
    assert_eq!(body["has_more"], false);
    assert!(body.get("next_cursor").is_some_and(Value::is_null));
    let entries = body["entries"].as_array().expect("entries");
    let [debit, credit] = entries.as_slice() else { panic!("two entries, newest first: {body}") };
    assert_eq!(credit["direction"], "credit");
    assert_eq!(credit["kind"], "x402_payment");
    assert_eq!(credit["reference_type"], "payment");
    assert_eq!(credit["amount_usd_micros"], 100_000);
    assert_eq!(credit["balance_after_available"], 100_000);
    assert_eq!(debit["direction"], "debit");
    assert_eq!(debit["kind"], "tier_subscribe");
    assert_eq!(debit["amount_usd_micros"], 100_000);
    assert_eq!(debit["balance_after_available"], 0);
    for entry in entries {
        assert!(uuid::Uuid::parse_str(entry["id"].as_str().expect("an id")).is_ok());
        assert_eq!(entry["balance_after_held"], 0);
        assert!(entry["metadata"].is_object() && entry["created_at"].is_string(), "{entry}");
        assert!(entry.get("reference_id").is_some());
    }
}

#[tokio::test]
async fn history_is_paged_without_gaps_or_repeats_and_adds_up() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.subscriber().await;
    let organisation = api.organisation_of(&wallet).await;
    // Two entries came with the tier.
    for amount in 1..=118 {
        api.credit(appliance, &organisation, if amount % 3 == 0 { -1 } else { amount }).await;
    }
    let (mut pages, mut seen, mut sum) = (Vec::new(), HashSet::new(), 0);
    let mut cursor: Option<String> = None;
    for _ in 0..4 {
        let after = cursor.as_deref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        let path = format!("/orgs/v1/{organisation}/billing/history?limit=50{after}");
        let body = api.get(&path).wallet(&wallet).send().await.is(200);
        let entries = body["entries"].as_array().expect("entries");
        pages.push(entries.len());
        for entry in entries {
            assert!(seen.insert(entry["id"].clone()), "twice: {entry}");
            let amount = entry["amount_usd_micros"].as_i64().expect("an amount");
            sum += if entry["direction"] == "credit" { amount } else { -amount };
        }
        cursor = body["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(body["has_more"], cursor.is_some());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(pages, [50, 50, 20]);
    let balance = api.get(&format!("/orgs/v1/{organisation}/billing")).wallet(&wallet).send().await.is(200);
    assert_eq!(balance["available_usd_micros"], sum);
}

#[tokio::test]
async fn bad_page_parameters_are_refused_and_large_limits_are_clamped() {
    let api = Appliance::shared().api();
    let wallet = api.subscriber().await;
    let organisation = api.organisation_of(&wallet).await;
    let ask = |query: &str| api.get(&format!("/orgs/v1/{organisation}/billing/history?{query}")).wallet(&wallet).send();
    for limit in ["0", "-1", "NaN", "1.5", "", "99999999999999999999"] {
        let answer = ask(&format!("limit={limit}")).await;
        // A number too large for any integer may also be read as "large".
        if limit.len() > 10 && answer.status == 200 {
            continue;
        }
        answer.refused(400, "INVALID_LIMIT");
    }
    ask("limit=1000").await.is(200);
    for cursor in ["garbage", "%00", "eyJhIjoxfQ", "AAAA"] {
        ask(&format!("after={cursor}")).await.refused(400, "INVALID_CURSOR");
    }
}

#[tokio::test]
async fn only_the_admin_moves_balances() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.subscriber().await;
    let organisation = api.organisation_of(&wallet).await;
    let path = format!("/admin/v1/orgs/{organisation}/credit");
    let ask = |body: Value| api.post(&path).json(&body);
    ask(json!({"amount_usd_micros": 5})).wallet(&wallet).send().await.refused(403, "ADMIN_REQUIRED");
    ask(json!({"amount_usd_micros": 5})).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    let key = appliance.admin_key();
    let body = ask(json!({"amount_usd_micros": 5})).admin_key(&key).send().await.ok();
    assert_eq!(body["available_usd_micros"], 5);
    assert_eq!(body["org_id"], organisation);
    for amount in [json!(0), json!(1.5), json!("5"), json!(null)] {
        let answer = ask(json!({"amount_usd_micros": amount})).admin_key(&key).send().await;
        assert_eq!(answer.status, 400, "{answer}");
    }
}

//! Leases: the catalogue, buying, renewing, changing, lapsing (contract 01 §7; checks 1, 4, 9, 10, 16-19).

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::support::{Api, Appliance, Project, Wallet, control, eventually};

const WEEK: SignedDuration = SignedDuration::from_hours(7 * 24);

fn time(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("not a time: {value}"));
    assert!(text.ends_with('Z') && text.len() == 24, "ISO-8601 with milliseconds: {text}");
    text.parse().expect("a time")
}

async fn status(api: &Api, wallet: &Wallet) -> Value {
    api.get("/tiers/v1/status").wallet(wallet).send().await.is(200)
}

#[tokio::test]
async fn the_catalogue_is_open_and_has_three_tiers() {
    let answer = Appliance::shared().api().get("/tiers/v1").send().await;
    let body = answer.is(200);
    for (tier, price, days, storage, calls, functions) in [
        ("prototype", "$0.10", 7, 250, 500_000, 15),
        ("hobby", "$5.00", 30, 1024, 5_000_000, 25),
        ("team", "$20.00", 30, 10_240, 50_000_000, 100),
    ] {
        let terms = &body["tiers"][tier];
        assert_eq!(terms["price"], price);
        assert_eq!(terms["lease_days"], days);
        assert_eq!(terms["storage_mb"], storage);
        assert_eq!(terms["api_calls"], calls);
        assert_eq!(terms["max_functions"], functions);
        assert!(terms["description"].is_string());
    }
    assert_eq!(body["auth"]["header"], "SIGN-IN-WITH-X");
}

#[tokio::test]
async fn a_wallet_without_an_organisation_gets_nulls_and_zeros() {
    let api = Appliance::shared().api();
    let wallet = Wallet::random();
    let body = status(&api, &wallet).await;
    assert_eq!(body["wallet"], wallet.lower());
    for key in ["tier", "lease_started_at", "lease_expires_at", "organization_lifecycle_state", "lease_perpetual"] {
        assert!(body.get(key).is_some_and(Value::is_null), "{key} in {body}");
    }
    assert_eq!(body["active"], false);
    let usage = &body["pool_usage"];
    for key in ["projects", "total_api_calls", "total_storage_bytes", "api_calls_limit", "storage_bytes_limit"] {
        assert_eq!(usage[key], 0, "{key} in {body}");
    }
    assert_eq!(body["projects"], json!([]));
    assert_eq!(body["incoming_transfers"], json!([]));
    assert!(body.get("status").is_none(), "{body}");
}

#[tokio::test]
async fn subscribing_starts_a_lease_of_a_week() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let answer = api.subscribe(&wallet, "prototype").await;
    let body = answer.is(201);
    assert_eq!(body["wallet"], wallet.lower());
    assert_eq!(body["action"], "subscribe");
    assert_eq!(body["tier"], "prototype");
    assert!(body.get("previous_tier").is_some_and(Value::is_null), "{body}");
    let (from, to) = (time(&body["lease_started_at"]), time(&body["lease_expires_at"]));
    assert_eq!(to.duration_since(from), WEEK);
    assert!(Timestamp::now().duration_since(from).abs() < SignedDuration::from_secs(30));
    assert_eq!(body["allowance_remaining_usd_micros"], 0);

    let status = status(&api, &wallet).await;
    assert_eq!(status["tier"], "prototype");
    assert_eq!(status["active"], true);
    assert_eq!(status["organization_lifecycle_state"], "active");
    assert_eq!(status["pool_usage"]["api_calls_limit"], 500_000);
    assert_eq!(status["pool_usage"]["storage_bytes_limit"], 262_144_000);
    // More generous than the catalogue: clients refuse locally what these numbers forbid (03 §2).
    let limits = &status["function_limits"];
    let at_least = |key: &str, floor: u64| assert!(limits[key].as_u64() >= Some(floor), "{key} in {limits}");
    at_least("max_function_timeout_seconds", 45);
    at_least("max_function_memory_mb", 512);
    at_least("max_scheduled_functions", 1);
    assert_eq!(limits["min_cron_interval_minutes"], 15);
    assert_eq!(limits["current_scheduled_functions"], 0);
}

#[tokio::test]
async fn paying_again_renews_from_the_current_expiry() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let first = api.subscribe(&wallet, "prototype").await.ok();
    let answer = api.subscribe(&wallet, "prototype").await;
    let second = answer.is(200);
    assert_eq!(second["action"], "renew");
    assert_eq!(second["previous_tier"], "prototype");
    assert_eq!(second["lease_started_at"], first["lease_started_at"]);
    assert_eq!(time(&second["lease_expires_at"]).duration_since(time(&first["lease_expires_at"])), WEEK);
}

#[tokio::test]
async fn two_renewals_at_once_both_extend() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.funded_wallet().await;
    let first = api.subscribe(&wallet, "prototype").await.ok();
    api.mint(appliance, &wallet, 200_000).await;
    let (one, other) = tokio::join!(api.subscribe(&wallet, "prototype"), api.subscribe(&wallet, "prototype"));
    one.ok();
    other.ok();
    let expires = time(&status(&api, &wallet).await["lease_expires_at"]);
    assert_eq!(expires.duration_since(time(&first["lease_expires_at"])), WEEK * 2);
}

#[tokio::test]
async fn a_prepaid_balance_pays_without_a_402() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.subscriber().await;
    let organisation = api.organisation_of(&wallet).await;
    api.credit(appliance, &organisation, 5_000_000).await;
    let body = api.post("/tiers/v1/hobby").wallet(&wallet).json(&json!({})).send().await.ok();
    assert_eq!(body["action"], "upgrade");
    assert_eq!(body["tier"], "hobby");
    assert_eq!(body["previous_tier"], "prototype");
    // The unused part of the old lease comes back: nearly all of ten cents.
    let left = body["allowance_remaining_usd_micros"].as_u64().expect("an amount");
    assert!((99_000..=100_000).contains(&left), "{body}");
}

#[tokio::test]
async fn a_downgrade_that_fits_refunds_the_rest_of_the_lease() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.funded_wallet().await;
    api.mint(appliance, &wallet, 5_000_000).await;
    api.subscribe(&wallet, "hobby").await.ok();
    let body = api.subscribe(&wallet, "prototype").await.ok();
    assert_eq!(body["action"], "downgrade");
    assert_eq!(body["tier"], "prototype");
    let left = body["allowance_remaining_usd_micros"].as_u64().expect("an amount");
    assert!((4_990_000..=5_000_000).contains(&left), "{body}");
    let organisation = api.organisation_of(&wallet).await;
    let history = api.get(&format!("/orgs/v1/{organisation}/billing/history")).wallet(&wallet).send().await.is(200);
    let kinds: Vec<&str> =
        history["entries"].as_array().expect("entries").iter().filter_map(|entry| entry["kind"].as_str()).collect();
    assert!(kinds.contains(&"tier_refund") && kinds.contains(&"tier_downgrade"), "{kinds:?}");
}

#[tokio::test]
async fn a_downgrade_below_what_is_stored_is_refused_before_any_charge() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let wallet = api.funded_wallet().await;
    api.mint(appliance, &wallet, 5_000_000).await;
    api.subscribe(&wallet, "hobby").await.ok();
    let project = api.provision_for(&wallet, "big").await;
    let before = api.token_balance(&wallet.lower()).await;
    control::control(appliance)
        .await
        .execute("update projects set blob_bytes = 300 * 1048576 where id = $1", &[&project.id])
        .await
        .expect("the counter can be set");
    let answer = api.post("/tiers/v1/prototype").wallet(&wallet).json(&json!({})).send().await;
    let body = answer.refused(400, "TIER_DOWNGRADE_NOT_ALLOWED");
    let message = body["message"].as_str().expect("a message");
    assert!(message.contains("Cannot downgrade") && message.contains("exceeds new tier limits"), "{message}");
    assert!(body["details"]["current"].is_object() && body["details"]["limits"].is_object(), "{body}");
    assert_eq!(api.token_balance(&wallet.lower()).await, before);
    assert_eq!(status(&api, &wallet).await["tier"], "hobby");
}

#[tokio::test]
async fn provisioning_without_a_tier_asks_for_its_price_and_then_does_both() {
    let api = Appliance::shared().api();
    let wallet = api.funded_wallet().await;
    let call = api.post("/projects/v1").wallet(&wallet).json(&json!({"tier": "prototype"}));
    call.clone().send().await.refused(402, "PAYMENT_REQUIRED");
    let made = call.paid_by(&wallet).await;
    Project::of(&api, &wallet, &made.ok());
    let status = status(&api, &wallet).await;
    assert_eq!(status["tier"], "prototype");
    assert_eq!(status["projects"].as_array().map(Vec::len), Some(1));
}

/// A paid-up project on the box that enforces leases, whose lease then ended so many days ago.
async fn lapsed(api: &Api, days: i32) -> Project {
    let project = api.provision().await;
    let organisation = api.organisation_of(&project.owner).await;
    control::expire_lease(Appliance::enforcing(), &organisation, days).await;
    project
}

#[tokio::test]
async fn a_day_after_its_end_a_lease_is_past_due_and_only_new_projects_are_refused() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 1).await;
    let body = status(&api, &project.owner).await;
    assert_eq!(body["organization_lifecycle_state"], "past_due");
    assert_eq!(body["active"], false);
    assert_eq!(body["projects"][0]["effective_status"], "past_due");
    project.sql("create table still_works(id int)").await.is(200);
    let path = format!("/projects/v1/{}", project.id);
    api.patch(&path).wallet(&project.owner).json(&json!({"name": "renamed"})).send().await.is(200);
}

#[tokio::test]
async fn a_frozen_organisation_keeps_serving_data_but_changes_nothing() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 15).await;
    assert_eq!(status(&api, &project.owner).await["organization_lifecycle_state"], "frozen");
    let path = format!("/projects/v1/{}", project.id);
    let answer = api.patch(&path).wallet(&project.owner).json(&json!({"name": "renamed"})).send().await;
    let body = answer.refused(403, "PROJECT_FROZEN");
    assert_eq!(body["category"], "lifecycle");
    assert_eq!(body["mutation_state"], "none");
    assert_eq!(body["lifecycle_state"], "frozen");
    for key in ["entered_state_at", "next_transition_at", "scheduled_purge_at"] {
        time(&body[key]);
    }
    assert!(body["renew_url"].is_string(), "{body}");
    let actions: Vec<&str> =
        body["next_actions"].as_array().expect("actions").iter().filter_map(|each| each["action"].as_str()).collect();
    assert_eq!(actions, ["renew_tier", "check_usage"]);
    // Data, reading and usage stay open.
    project.sql("create table still_works(id int)").await.is(200);
    api.get(&path).wallet(&project.owner).send().await.is(200);
    assert_eq!(project.usage().await["effective_status"], "frozen");
}

#[tokio::test]
async fn renewing_a_frozen_organisation_subscribes_it_anew() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 15).await;
    let body = api.subscribe(&project.owner, "prototype").await.ok();
    assert_eq!(body["action"], "subscribe");
    let body = status(&api, &project.owner).await;
    assert_eq!(body["organization_lifecycle_state"], "active");
    assert_eq!(body["active"], true);
    let path = format!("/projects/v1/{}", project.id);
    api.patch(&path).wallet(&project.owner).json(&json!({"name": "renamed"})).send().await.is(200);
}

#[tokio::test]
async fn forty_five_days_after_its_end_a_lease_is_dormant() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 45).await;
    assert_eq!(status(&api, &project.owner).await["organization_lifecycle_state"], "dormant");
    let path = format!("/projects/v1/{}", project.id);
    let answer = api.patch(&path).wallet(&project.owner).json(&json!({"name": "renamed"})).send().await;
    answer.refused(403, "PROJECT_DORMANT");
}

#[tokio::test]
async fn a_dormant_state_that_was_announced_long_enough_ends_in_a_purge() {
    let mut appliance = Appliance::plan().set("lease.enforce", "true").boot();
    let api = appliance.api();
    let project = api.provision().await;
    let organisation = api.organisation_of(&project.owner).await;
    control::expire_lease(&appliance, &organisation, 105).await;
    control::control(&appliance)
        .await
        .execute(
            "update organisations
                set lifecycle_state = 'dormant', lifecycle_entered_at = now() - interval '61 days',
                    dormant_running_seconds = 2 * 86400
              where id = $1::text::uuid",
            &[&organisation],
        )
        .await
        .expect("the announcement can be backdated");
    // The sweeper runs at start.
    assert!(appliance.stop().is_some_and(|status| status.success()));
    appliance.start_again();
    let api = appliance.api();
    let project = project.through(&api);
    eventually("the purge", std::time::Duration::from_secs(30), || async {
        (project.sql("select 1").await.status == 401).then_some(())
    })
    .await;
    let list = api.get("/projects/v1").wallet(&project.owner).send().await.is(200);
    assert_eq!(list["projects"], json!([]));
}

#[tokio::test]
async fn a_lease_that_ended_long_ago_denies_nothing_unless_enforcement_is_on() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let project = api.provision().await;
    let organisation = api.organisation_of(&project.owner).await;
    control::expire_lease(appliance, &organisation, 200).await;
    project.sql("create table still_works(id int)").await.is(200);
    let path = format!("/projects/v1/{}", project.id);
    api.patch(&path).wallet(&project.owner).json(&json!({"name": "renamed"})).send().await.is(200);
    assert_eq!(status(&api, &project.owner).await["organization_lifecycle_state"], "active");
}

#[tokio::test]
async fn only_an_admin_in_admin_mode_makes_a_lease_perpetual() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 15).await;
    let organisation = api.organisation_of(&project.owner).await;
    let path = format!("/orgs/v1/admin/{organisation}/lease-perpetual");
    let ask = || api.post(&path).json(&json!({"lease_perpetual": true}));
    ask().send().await.refused(401, "AUTHENTICATION_REQUIRED");
    let body = ask().wallet(&project.owner).send().await.refused(403, "ADMIN_REQUIRED");
    assert_eq!(body["admin_required"], true);
    ask().wallet(&project.owner).header("x-admin-mode", "1").send().await.refused(403, "ADMIN_REQUIRED");
    ask().wallet(&Wallet::admin()).send().await.refused(403, "ADMIN_REQUIRED");

    let as_admin = || ask().wallet(&Wallet::admin()).header("x-admin-mode", "1");
    let body = as_admin().send().await.is(200);
    assert_eq!(body, json!({"status": "ok", "org_id": organisation, "lease_perpetual": true, "reactivated": true}));
    let body = as_admin().send().await.is(200);
    assert_eq!(body["reactivated"], false, "a second time changes nothing");
    let body = status(&api, &project.owner).await;
    assert_eq!(body["active"], true);
    assert_eq!(body["lease_perpetual"], true);
    assert_eq!(body["organization_lifecycle_state"], "active");
}

#[tokio::test]
async fn taking_perpetuity_back_does_not_purge_at_once() {
    let api = Appliance::enforcing().api();
    let project = lapsed(&api, 60).await;
    let organisation = api.organisation_of(&project.owner).await;
    let key = Appliance::enforcing().admin_key();
    let set = |perpetual: bool| {
        api.post(&format!("/orgs/v1/admin/{organisation}/lease-perpetual"))
            .admin_key(&key)
            .json(&json!({"lease_perpetual": perpetual}))
            .send()
    };
    set(true).await.is(200);
    set(false).await.is(200);
    let state = status(&api, &project.owner).await["organization_lifecycle_state"].clone();
    assert!(state == "active" || state == "past_due", "{state}");
}

#[tokio::test]
async fn lease_perpetual_refuses_what_it_does_not_understand() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let organisation = api.organisation_of(&api.subscriber().await).await;
    let key = appliance.admin_key();
    let ask = |organisation: &str, body: Value| {
        api.post(&format!("/orgs/v1/admin/{organisation}/lease-perpetual")).admin_key(&key).json(&body).send()
    };
    for body in [json!({}), json!({"lease_perpetual": "yes"}), json!({"lease_perpetual": 1})] {
        let answer = ask(&organisation, body).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    let answer = ask("nonsense", json!({"lease_perpetual": true})).await;
    assert_eq!(answer.status, 400, "{answer}");
    let unknown = uuid::Uuid::new_v4().to_string();
    ask(&unknown, json!({"lease_perpetual": true})).await.refused(404, "ORGANIZATION_NOT_FOUND");
}

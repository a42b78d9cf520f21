use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::{change::*, *};
use crate::{
    common::{OrganisationId, Timestamp, UsdMicros, WalletAddress},
    features::orgs::{Lease, Lifecycle, LifecycleState, Organisation, Tier},
};

const NOW: i64 = 1_781_863_200_000;
const DAY: i64 = 86_400_000;

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn catalogue(settings: &str) -> Result<Catalogue, CatalogueError> {
    Catalogue::new(&serde_json::from_str(settings).unwrap(), false)
}

fn lease(tier: Tier, started_at: i64, expires_at: i64, paid: i64) -> Lease {
    Lease { tier, started_at: ms(started_at), expires_at: ms(expires_at), paid: UsdMicros(paid) }
}

fn wallet() -> WalletAddress {
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266".parse().unwrap()
}

#[test]
fn the_default_catalogue_is_the_contracts() {
    let quote = serde_json::to_value(Quote::of_defaults()).unwrap();
    assert_eq!(
        quote["tiers"]["prototype"],
        json!({
            "price": "$0.10", "lease_days": 7, "storage_mb": 250, "api_calls": 500_000, "max_functions": 15,
            "description": "Prototype (FREE: paid in testnet tokens): 7 days, 250 MB of storage, 500000 API calls, 15 functions a project",
        })
    );
    assert_eq!(quote["tiers"]["hobby"]["price"], "$5.00");
    assert_eq!(quote["tiers"]["team"]["price"], "$20.00");
    assert_eq!(quote["tiers"]["team"]["storage_mb"], 10_240);
    assert_eq!(quote["auth"]["header"], "SIGN-IN-WITH-X");
    assert_eq!(quote["tiers"].as_object().unwrap().len(), 3);
}

impl Quote {
    fn of_defaults() -> Self {
        Self::of(&catalogue("{}").unwrap())
    }
}

#[test]
fn every_number_of_a_tier_can_be_overridden_and_the_price_follows_everywhere() {
    let catalogue = catalogue(
        r#"{"hobby": {"price_usd_micros": 1500000, "lease_days": 1, "storage_mb": 2, "api_calls": 3, "max_functions": 4,
            "function_timeout_seconds": 500, "function_memory_mb": 600, "scheduled_functions": 7,
            "min_cron_interval_minutes": 8, "secrets": 9}}"#,
    )
    .unwrap();
    assert_eq!(
        *catalogue.terms(Tier::Hobby),
        TierTerms {
            price: UsdMicros(1_500_000),
            lease_days: 1,
            storage_mb: 2,
            api_calls: 3,
            max_functions: 4,
            function_timeout_seconds: 500,
            function_memory_mb: 600,
            scheduled_functions: 7,
            min_cron_interval_minutes: 8,
            secrets: 9,
        }
    );
    assert_eq!(catalogue.terms(Tier::Team).price, UsdMicros(20_000_000));
    assert_eq!(serde_json::to_value(Quote::of(&catalogue)).unwrap()["tiers"]["hobby"]["price"], "$1.50");
    let single = serde_json::to_value(SingleTier::of(&catalogue, Tier::Hobby)).unwrap();
    assert_eq!((&single["price"], &single["price_usd_micros"]), (&json!("$1.50"), &json!(1_500_000)));
    assert_eq!(single["network"], "eip155:84532");
}

#[test]
fn settings_out_of_range_or_unknown_stop_the_box_with_a_sentence() {
    for (settings, message) in [
        (
            r#"{"team": {"price_usd_micros": 0}}"#,
            "tiers.team.price_usd_micros must be between 1 and 1000000000000, not 0",
        ),
        (r#"{"hobby": {"lease_days": 0}}"#, "tiers.hobby.lease_days must be between 1 and 36500, not 0"),
        (
            r#"{"prototype": {"api_calls": -1}}"#,
            "tiers.prototype.api_calls must be between 1 and 1000000000000, not -1",
        ),
        (
            r#"{"function_floor": {"memory_mb": -1}}"#,
            "tiers.function_floor.memory_mb must be between 0 and 1000000000000, not -1",
        ),
    ] {
        assert_eq!(catalogue(settings).unwrap_err().to_string(), message);
    }
    assert!(serde_json::from_str::<TierSettings>(r#"{"hobby": {"price": 1}}"#).is_err());
    assert!(serde_json::from_str::<TierSettings>(r#"{"platinum": {}}"#).is_err());
}

#[test]
fn functions_get_the_larger_of_tier_and_floor() {
    let limits = |settings, tier| catalogue(settings).unwrap().function_limits(tier);
    let prototype = limits("{}", Tier::Prototype);
    assert!(prototype.timeout_seconds >= 45 && prototype.memory_mb >= 512 && prototype.scheduled_functions >= 1);
    let none = r#"{"function_floor": {"timeout_seconds": 0, "memory_mb": 0, "scheduled_functions": 0}}"#;
    let bare = limits(none, Tier::Prototype);
    assert_eq!((bare.timeout_seconds, bare.memory_mb, bare.scheduled_functions), (10, 128, 1));
    assert_eq!(limits("{}", Tier::Team).scheduled_functions, 10);
}

#[test]
fn a_free_box_shows_prices_and_charges_nothing() {
    let free = Catalogue::new(&TierSettings::default(), true).unwrap();
    assert_eq!(free.terms(Tier::Hobby).price, UsdMicros(5_000_000));
    assert_eq!(free.charged(Tier::Hobby), UsdMicros(0));
}

#[test]
fn the_action_follows_from_lease_and_tier() {
    use TierAction::{Downgrade, Renew, Subscribe, Upgrade};
    let running = |tier| Some(lease(tier, NOW - DAY, NOW + 1, 1));
    let expired = |tier| Some(lease(tier, NOW - DAY, NOW, 1));
    for (current, tier, action, kind) in [
        (None, Tier::Prototype, Subscribe, "tier_subscribe"),
        (running(Tier::Hobby), Tier::Hobby, Renew, "tier_renew"),
        (running(Tier::Prototype), Tier::Hobby, Upgrade, "tier_upgrade"),
        (running(Tier::Prototype), Tier::Team, Upgrade, "tier_upgrade"),
        (running(Tier::Team), Tier::Hobby, Downgrade, "tier_downgrade"),
        (running(Tier::Hobby), Tier::Prototype, Downgrade, "tier_downgrade"),
        (expired(Tier::Hobby), Tier::Hobby, Subscribe, "tier_subscribe"),
        (expired(Tier::Hobby), Tier::Team, Subscribe, "tier_subscribe"),
        (expired(Tier::Hobby), Tier::Prototype, Subscribe, "tier_subscribe"),
    ] {
        assert_eq!(decide(current.as_ref(), tier, ms(NOW)), action, "{current:?} {tier:?}");
        assert_eq!(action.ledger_kind(), kind);
    }
}

#[test]
fn a_renewal_extends_from_the_expiry_and_keeps_the_start() {
    let current = lease(Tier::Prototype, NOW - DAY, NOW + 6 * DAY, 100_000);
    let renewed = next_lease(Some(&current), TierAction::Renew, Tier::Prototype, 7, UsdMicros(100_000), ms(NOW));
    assert_eq!(renewed, lease(Tier::Prototype, NOW - DAY, NOW + 13 * DAY, 200_000));
    for action in [TierAction::Subscribe, TierAction::Upgrade, TierAction::Downgrade] {
        let next = next_lease(Some(&current), action, Tier::Hobby, 30, UsdMicros(5), ms(NOW));
        assert_eq!(next, lease(Tier::Hobby, NOW, NOW + 30 * DAY, 5), "{action:?}");
    }
}

#[test]
fn refunds_are_the_unused_share_of_what_was_paid() {
    let hobby = lease(Tier::Hobby, NOW - 10 * DAY, NOW + 20 * DAY, 5_000_000);
    for (current, action, perpetual, expected) in [
        (Some(&hobby), TierAction::Upgrade, false, 3_333_333),
        (Some(&hobby), TierAction::Downgrade, false, 3_333_333),
        (Some(&hobby), TierAction::Upgrade, true, 0),
        (Some(&hobby), TierAction::Renew, false, 0),
        (Some(&hobby), TierAction::Subscribe, false, 0),
        (None, TierAction::Upgrade, false, 0),
        (Some(&lease(Tier::Hobby, NOW, NOW + DAY, 7)), TierAction::Upgrade, false, 7),
        (Some(&lease(Tier::Hobby, NOW - DAY, NOW, 7)), TierAction::Upgrade, false, 0),
        (Some(&lease(Tier::Hobby, NOW, NOW, 7)), TierAction::Upgrade, false, 0),
        (Some(&lease(Tier::Hobby, NOW - DAY, NOW + DAY, 0)), TierAction::Upgrade, false, 0),
        // Renewed once: fourteen days for twice the price, eleven of them left.
        (Some(&lease(Tier::Prototype, NOW - 3 * DAY, NOW + 11 * DAY, 200_000)), TierAction::Upgrade, false, 157_142),
    ] {
        assert_eq!(refund(current, action, perpetual, ms(NOW)), UsdMicros(expected), "{current:?} {action:?}");
    }
}

proptest! {
    #[test]
    fn refunds_are_never_negative_and_never_more_than_was_paid(
        start in -10_000 * DAY..10_000 * DAY,
        length in 0..10_000 * DAY,
        now in -20_000 * DAY..20_000 * DAY,
        paid in 0..=i64::MAX,
    ) {
        let current = lease(Tier::Hobby, start, start + length, paid);
        for action in [TierAction::Upgrade, TierAction::Downgrade] {
            let refund = refund(Some(&current), action, false, ms(now));
            prop_assert!(refund >= UsdMicros(0) && refund <= UsdMicros(paid));
        }
    }

    #[test]
    fn later_changes_never_refund_more(length in 1..400 * DAY, at in 0..400 * DAY, step in 0..DAY, paid in 0..1_000_000_000_i64) {
        let current = lease(Tier::Team, 0, length, paid);
        let earlier = refund(Some(&current), TierAction::Downgrade, false, ms(at));
        let later = refund(Some(&current), TierAction::Downgrade, false, ms(at + step));
        prop_assert!(later <= earlier);
    }
}

#[test]
fn a_downgrade_below_what_is_used_is_refused_with_both_numbers() {
    let catalogue = catalogue("{}").unwrap();
    let terms = catalogue.terms(Tier::Prototype);
    let usage = |api_calls, storage_bytes| PoolUsage { projects: 1, api_calls, storage_bytes };
    for fits in [usage(0, 0), usage(500_000, 262_144_000)] {
        assert!(check_downgrade(Tier::Prototype, terms, &fits).is_ok(), "{fits:?}");
    }
    for exceeds in [usage(0, 262_144_001), usage(500_001, 0), usage(500_001, 314_572_800)] {
        let error = check_downgrade(Tier::Prototype, terms, &exceeds).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (400, "TIER_DOWNGRADE_NOT_ALLOWED"));
        assert!(error.message().contains("Cannot downgrade"), "{error}");
        assert!(error.message().contains("exceeds new tier limits"), "{error}");
        let body = error.body("t", false);
        assert_eq!(body["details"]["limits"], json!({"api_calls": 500_000, "storage_bytes": 262_144_000}));
        assert_eq!(body["details"]["current"]["storage_bytes"], exceeds.storage_bytes);
    }
}

#[test]
fn an_unknown_tier_is_400_and_names_the_choices() {
    for text in ["platinum", "Hobby", "", "prototype "] {
        let error = parse_tier(text).unwrap_err();
        assert_eq!((error.status().as_u16(), error.code()), (400, "INVALID_TIER"));
        assert_eq!(error.body("t", false)["details"]["allowed"], json!(["prototype", "hobby", "team"]));
        assert!(error.headers().is_empty(), "no payment offer");
    }
    assert_eq!(parse_tier("team").unwrap(), Tier::Team);
}

#[test]
fn the_status_of_an_unknown_wallet_is_nulls_and_zeros() {
    assert_eq!(
        serde_json::to_value(TierStatus::orphan(wallet())).unwrap(),
        json!({
            "wallet": "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "tier": null, "lease_started_at": null,
            "lease_expires_at": null, "active": false, "organization_lifecycle_state": null, "lease_perpetual": null,
            "pool_usage": {"projects": 0, "total_api_calls": 0, "total_storage_bytes": 0, "api_calls_limit": 0, "storage_bytes_limit": 0},
            "projects": [], "incoming_transfers": [], "function_limits": null,
        })
    );
}

#[test]
fn the_status_shows_lease_pool_limits_and_projects() {
    let organisation = Organisation {
        id: OrganisationId::generate(),
        display_name: None,
        lease: Some(lease(Tier::Prototype, NOW - 8 * DAY, NOW - DAY, 100_000)),
        lease_perpetual: true,
        lifecycle: Lifecycle {
            state: LifecycleState::Active,
            entered_at: None,
            next_transition_at: None,
            purge_at: None,
        },
        api_calls: 0,
        usage_period_start: ms(0),
        available: UsdMicros(0),
        held: UsdMicros(0),
        email_credits: 0,
        created_at: ms(0),
    };
    let project = |id: &str, status: &str, archived| ProjectEntry {
        id: id.parse().unwrap(),
        name: "shop".into(),
        status: status.into(),
        archived,
        created_at: ms(NOW),
    };
    let inventory = Inventory {
        usage: PoolUsage { projects: 3, api_calls: 4, storage_bytes: 5 },
        projects: vec![
            project("prj_1", "active", false),
            project("prj_2", "active", true),
            project("prj_3", "purging", true),
        ],
        scheduled_functions: 2,
    };
    let status = TierStatus::of(wallet(), &organisation, true, inventory, &catalogue("{}").unwrap());
    let status = serde_json::to_value(status).unwrap();
    assert!(status.get("status").is_none());
    assert_eq!((&status["tier"], &status["active"]), (&json!("prototype"), &json!(true)));
    assert_eq!(status["lease_expires_at"], json!(ms(NOW - DAY)));
    assert_eq!(
        status["pool_usage"],
        json!({"projects": 3, "total_api_calls": 4, "total_storage_bytes": 5, "api_calls_limit": 500_000, "storage_bytes_limit": 262_144_000})
    );
    assert_eq!(
        status["projects"][0],
        json!({
            "id": "prj_1", "name": "shop", "tier": "prototype", "status": "active", "pinned": true,
            "created_at": ms(NOW), "effective_status": "active", "organization_lifecycle_state": "active",
            "lease_perpetual": true,
        })
    );
    assert_eq!(status["projects"][1]["effective_status"], "archived");
    assert_eq!(status["projects"][2]["effective_status"], "deleted");
    assert_eq!(
        status["function_limits"],
        json!({
            "max_function_timeout_seconds": 60, "max_function_memory_mb": 512, "max_scheduled_functions": 1,
            "min_cron_interval_minutes": 15, "current_scheduled_functions": 2,
        })
    );
}

#[test]
fn the_answer_of_a_change_has_the_contracts_keys_on_one_level() {
    let change = TierChange {
        action: TierAction::Subscribe,
        tier: Tier::Hobby,
        previous_tier: None,
        lease_started_at: ms(NOW),
        lease_expires_at: ms(NOW).plus(SignedDuration::from_hours(30 * 24)),
        allowance_remaining_usd_micros: UsdMicros(7),
    };
    assert_eq!(
        serde_json::to_value(TierSet { wallet: wallet(), change }).unwrap(),
        json!({
            "wallet": wallet(), "action": "subscribe", "tier": "hobby", "previous_tier": null,
            "lease_started_at": ms(NOW), "lease_expires_at": ms(NOW + 30 * DAY), "allowance_remaining_usd_micros": 7,
        })
    );
}

#[test]
fn the_routes_of_organisations_billing_and_tiers_fit_together() {
    use std::sync::Arc;

    use axum::extract::FromRef;

    use crate::features::{
        billing::{self, Billing},
        identity::Identity,
        orgs::{self, Orgs},
    };

    #[derive(Clone, FromRef)]
    struct Services {
        orgs: Arc<Orgs>,
        billing: Arc<Billing>,
        tiers: Arc<Tiers>,
        identity: Arc<Identity>,
        projects: Arc<dyn ProjectInventory>,
    }

    let merged = orgs::router::<Services>().merge(billing::router()).merge(router());
    let paths: Vec<&String> = merged.get_openapi().paths.paths.keys().collect();
    assert_eq!(
        paths,
        [
            "/admin/v1/orgs/{org_id}/credit",
            "/orgs/v1/admin/{org_id}/lease-perpetual",
            "/orgs/v1/lookup",
            "/orgs/v1/{org_id}/billing",
            "/orgs/v1/{org_id}/billing/history",
            "/tiers/v1",
            "/tiers/v1/status",
            "/tiers/v1/{tier}",
        ]
    );
}

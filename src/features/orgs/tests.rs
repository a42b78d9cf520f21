use std::time::Duration;

use jiff::SignedDuration;
use serde_json::json;

use super::{lifecycle::*, roles, *};
use crate::common::{OrganisationId, Timestamp, UsdMicros};

const ENFORCED: LeaseSettings = LeaseSettings { enforce: true, default_perpetual: false, purge_enabled: true };
const EXPIRY: i64 = 1_781_863_200_000;
const DAY: i64 = 86_400_000;

fn ms(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis).unwrap()
}

fn lease() -> Lease {
    Lease { tier: Tier::Hobby, started_at: ms(EXPIRY - 30 * DAY), expires_at: ms(EXPIRY), paid: UsdMicros(5_000_000) }
}

fn organisation(settings: &LeaseSettings, now: Timestamp) -> Organisation {
    Organisation {
        id: OrganisationId::generate(),
        display_name: None,
        lease: Some(lease()),
        lease_perpetual: false,
        lifecycle: at(Some(&lease()), false, now, settings),
        api_calls: 0,
        usage_period_start: ms(0),
        available: UsdMicros(0),
        held: UsdMicros(0),
        email_credits: 0,
        created_at: ms(0),
    }
}

#[test]
fn lifecycle_changes_to_the_millisecond() {
    use LifecycleState::{Active, Dormant, Frozen, PastDue, Purged};
    for (after_expiry, state, entered, next) in [
        (-30 * DAY, Active, -30 * DAY, Some(0)),
        (-1, Active, -30 * DAY, Some(0)),
        (0, PastDue, 0, Some(14 * DAY)),
        (14 * DAY - 1, PastDue, 0, Some(14 * DAY)),
        (14 * DAY, Frozen, 14 * DAY, Some(44 * DAY)),
        (44 * DAY - 1, Frozen, 14 * DAY, Some(44 * DAY)),
        (44 * DAY, Dormant, 44 * DAY, Some(104 * DAY)),
        (104 * DAY - 1, Dormant, 44 * DAY, Some(104 * DAY)),
        (104 * DAY, Purged, 104 * DAY, None),
        (4_000 * DAY, Purged, 104 * DAY, None),
    ] {
        let expected = Lifecycle {
            state,
            entered_at: Some(ms(EXPIRY + entered)),
            next_transition_at: next.map(|next| ms(EXPIRY + next)),
            purge_at: Some(ms(EXPIRY + 104 * DAY)),
        };
        assert_eq!(at(Some(&lease()), false, ms(EXPIRY + after_expiry), &ENFORCED), expected, "{after_expiry}");
    }
}

#[test]
fn the_clock_stands_still_without_enforcement_or_lease_or_when_perpetual() {
    let long_after = ms(EXPIRY + 1_000 * DAY);
    for (lease, perpetual, settings) in [
        (Some(lease()), false, LeaseSettings::default()),
        (Some(lease()), true, ENFORCED),
        (None, false, ENFORCED),
        (None, true, LeaseSettings::default()),
    ] {
        let lifecycle = at(lease.as_ref(), perpetual, long_after, &settings);
        assert_eq!(lifecycle.state, LifecycleState::Active);
        assert_eq!((lifecycle.next_transition_at, lifecycle.purge_at), (None, None));
        assert_eq!(lifecycle.entered_at, lease.map(|lease| lease.started_at));
    }
}

#[test]
fn without_purging_an_organisation_stays_dormant() {
    let settings = LeaseSettings { purge_enabled: false, ..ENFORCED };
    let lifecycle = at(Some(&lease()), false, ms(EXPIRY + 1_000 * DAY), &settings);
    assert_eq!(lifecycle.state, LifecycleState::Dormant);
    assert_eq!((lifecycle.next_transition_at, lifecycle.purge_at), (None, None));
}

#[test]
fn a_purge_is_announced_only_after_a_day_of_running_dormant() {
    use LifecycleState::{Active, Dormant, Frozen, PastDue, Purged};
    let day = DORMANT_NOTICE;
    for (by_clock, announced, dormant_for, expected) in [
        (Active, Purged, Duration::ZERO, Active),
        (PastDue, Active, Duration::ZERO, PastDue),
        (Frozen, Active, Duration::ZERO, Frozen),
        (Dormant, Active, Duration::ZERO, Dormant),
        (Purged, Active, day, Dormant),
        (Purged, Frozen, day * 9, Dormant),
        (Purged, Dormant, Duration::ZERO, Dormant),
        (Purged, Dormant, day - Duration::from_secs(1), Dormant),
        (Purged, Dormant, day, Purged),
        (Purged, Purged, Duration::ZERO, Purged),
        (Dormant, Purged, Duration::ZERO, Dormant),
    ] {
        assert_eq!(announce(by_clock, announced, dormant_for), expected, "{by_clock:?} after {announced:?}");
    }
}

#[test]
fn gates_close_by_state() {
    for (days_after, provision, control_plane) in [
        (-1, None, None),
        (1, Some("PROJECT_PAST_DUE"), None),
        (15, Some("PROJECT_FROZEN"), Some("PROJECT_FROZEN")),
        (45, Some("PROJECT_DORMANT"), Some("PROJECT_DORMANT")),
        (105, Some("PROJECT_DORMANT"), Some("PROJECT_DORMANT")),
    ] {
        let organisation = organisation(&ENFORCED, ms(EXPIRY + days_after * DAY));
        let code = |gate| refusal(&organisation, gate).map(|error| error.code().to_owned());
        assert_eq!(code(Gate::Provision).as_deref(), provision, "{days_after}");
        assert_eq!(code(Gate::ControlPlane).as_deref(), control_plane, "{days_after}");
        let relaxed = super::tests::organisation(&LeaseSettings::default(), ms(EXPIRY + days_after * DAY));
        assert!(refusal(&relaxed, Gate::Provision).is_none());
    }
}

#[test]
fn a_gate_says_when_what_happens_and_how_to_renew() {
    let error = refusal(&organisation(&ENFORCED, ms(EXPIRY + 15 * DAY)), Gate::ControlPlane).unwrap();
    assert_eq!(error.status(), 403);
    let body = error.body("trc_1", false);
    assert_eq!(body["category"], "lifecycle");
    assert_eq!(body["mutation_state"], "none");
    assert_eq!(body["retryable"], false);
    assert_eq!(body["lifecycle_state"], "frozen");
    assert_eq!(body["entered_state_at"], json!(ms(EXPIRY + 14 * DAY)));
    assert_eq!(body["next_transition_at"], json!(ms(EXPIRY + 44 * DAY)));
    assert_eq!(body["scheduled_purge_at"], json!(ms(EXPIRY + 104 * DAY)));
    assert_eq!(body["renew_url"], "/tiers/v1/hobby");
    assert_eq!(body["next_actions"][0]["type"], "renew_tier");
    assert_eq!(body["next_actions"][1]["action"], "check_usage");
}

#[test]
fn roles_are_a_total_order_and_actions_name_the_weakest_that_suffices() {
    for (action, required) in [
        (Action::Read, Role::Viewer),
        (Action::ProjectRead, Role::Viewer),
        (Action::BillingRead, Role::Billing),
        (Action::BillingWrite, Role::Billing),
        (Action::ProjectCreate, Role::Developer),
        (Action::ProjectWrite, Role::Admin),
        (Action::Rename, Role::Owner),
        (Action::ProjectDelete, Role::Owner),
    ] {
        for role in Role::ALL {
            let decision = roles::decide(Some(role), action);
            assert_eq!(decision.is_ok(), role >= required, "{role:?} {action:?}");
            if let Err(error) = decision {
                assert_eq!(error.body("t", false)["details"]["reason"], "forbidden");
            }
        }
    }
}

#[test]
fn unknown_and_foreign_organisations_are_refused_with_the_same_body() {
    // Neither has an active membership of the caller, and that is all the decision sees.
    let body = |error: crate::common::ApiError| error.body("trc_1", false);
    let foreign = body(roles::decide(None, Action::BillingRead).unwrap_err());
    let unknown = body(roles::decide(None, Action::BillingRead).unwrap_err());
    assert_eq!(foreign, unknown);
    assert_eq!(foreign["code"], "NOT_AUTHORIZED");
    assert_eq!(
        foreign["details"],
        json!({"action": "billing.read", "required_role": "billing", "required_capability": null, "reason": "member"})
    );
    assert!(!foreign.to_string().contains('-'), "no id in the body: {foreign}");
    let project = body(not_authorized(Action::ProjectRead, Denial::ProjectNotFound));
    assert_eq!(project["details"]["reason"], "project_not_found");
}

#[test]
fn stored_words_read_back() {
    for tier in Tier::ALL {
        assert_eq!(tier.as_str().parse::<Tier>().unwrap(), tier);
    }
    for state in LifecycleState::ALL {
        assert_eq!(LifecycleState::from_stored(state.as_str()), Some(state));
        assert_eq!(json!(state), state.as_str());
    }
    for role in Role::ALL {
        assert_eq!(Role::from_stored(role.as_str()), Some(role));
    }
    for text in ["", "Hobby", "platinum", "hobby "] {
        assert!(text.parse::<Tier>().is_err(), "{text}");
    }
}

#[test]
fn grace_periods_are_the_contracts() {
    let days = |days: i64| SignedDuration::from_hours(days * 24);
    assert_eq!((FROZEN_AFTER, DORMANT_AFTER, PURGED_AFTER), (days(14), days(44), days(104)));
}

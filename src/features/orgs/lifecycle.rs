//! The clock of a lease (01 §7.5), without a database: states come from timestamps alone, so downtime cannot
//! skip one, and reads are right between two sweeps.
//!
//! The clock runs only where leases are enforced and the organisation is not perpetual. What it *says* and what
//! the sweeper has *announced* differ on purpose at one point: projects are removed only after the box announced
//! `dormant` and then ran for a day ([`announce`]), so that a machine switched off for three months does not wake
//! up and delete everything.

use std::time::Duration;

use axum::http::StatusCode;
use jiff::SignedDuration;
use serde_json::Value;

use super::types::{Gate, Lease, LeaseSettings, Lifecycle, LifecycleState, Organisation};
use crate::common::{ApiError, Category, MutationState, NextAction, Timestamp};

const fn days(count: i64) -> SignedDuration {
    SignedDuration::from_secs(count * 86_400)
}

/// After the lease's expiry.
pub const FROZEN_AFTER: SignedDuration = days(14);
/// After the lease's expiry.
pub const DORMANT_AFTER: SignedDuration = days(44);
/// After the lease's expiry.
pub const PURGED_AFTER: SignedDuration = days(104);
/// Running time between announcing `dormant` and removing projects.
pub const DORMANT_NOTICE: Duration = Duration::from_secs(86_400);

/// Where a lease stands at `now`.
pub fn at(lease: Option<&Lease>, perpetual: bool, now: Timestamp, settings: &LeaseSettings) -> Lifecycle {
    let started_at = lease.map(|lease| lease.started_at);
    let expires_at = lease.filter(|_| settings.enforce && !perpetual).map(|lease| lease.expires_at);
    let Some(expires_at) = expires_at else {
        return Lifecycle {
            state: LifecycleState::Active,
            entered_at: started_at,
            next_transition_at: None,
            purge_at: None,
        };
    };
    let frozen_at = expires_at.plus(FROZEN_AFTER);
    let dormant_at = expires_at.plus(DORMANT_AFTER);
    let purge_at = settings.purge_enabled.then(|| expires_at.plus(PURGED_AFTER));
    let (state, entered_at, next_transition_at) = if now < expires_at {
        (LifecycleState::Active, started_at, Some(expires_at))
    } else if now < frozen_at {
        (LifecycleState::PastDue, Some(expires_at), Some(frozen_at))
    } else if now < dormant_at {
        (LifecycleState::Frozen, Some(frozen_at), Some(dormant_at))
    } else {
        match purge_at {
            Some(purge_at) if now >= purge_at => (LifecycleState::Purged, Some(purge_at), None),
            _ => (LifecycleState::Dormant, Some(dormant_at), purge_at),
        }
    };
    Lifecycle { state, entered_at, next_transition_at, purge_at }
}

/// What the sweeper announces next: the state by the clock, except that `purged` needs `dormant` to have been
/// announced and [`DORMANT_NOTICE`] of running time since.
pub fn announce(by_clock: LifecycleState, announced: LifecycleState, dormant_for: Duration) -> LifecycleState {
    let noticed = match announced {
        LifecycleState::Purged => true,
        LifecycleState::Dormant => dormant_for >= DORMANT_NOTICE,
        _ => false,
    };
    if by_clock == LifecycleState::Purged && !noticed { LifecycleState::Dormant } else { by_clock }
}

/// The refusal of a gate in this state, if it is closed (01 §7.5).
pub fn refusal(organisation: &Organisation, gate: Gate) -> Option<ApiError> {
    let (code, message) = match (organisation.lifecycle.state, gate) {
        (LifecycleState::Active, _) | (LifecycleState::PastDue, Gate::ControlPlane) => return None,
        (LifecycleState::PastDue, Gate::Provision) => {
            ("PROJECT_PAST_DUE", "The organisation's lease has expired. Renew its tier to create projects.")
        }
        (LifecycleState::Frozen, _) => {
            ("PROJECT_FROZEN", "The organisation is frozen because its lease expired. Renew its tier to make changes.")
        }
        (LifecycleState::Dormant, _) => (
            "PROJECT_DORMANT",
            "The organisation is dormant because its lease expired long ago. Renew its tier to make changes.",
        ),
        // The contract names no code of its own: everything `dormant` refuses stays refused.
        (LifecycleState::Purged, _) => (
            "PROJECT_DORMANT",
            "The organisation's lease expired so long ago that its projects are being removed. Set a tier to start again.",
        ),
    };
    let renew_path = organisation.tier().map_or_else(|| "/tiers/v1".to_owned(), |tier| format!("/tiers/v1/{tier}"));
    let lifecycle = &organisation.lifecycle;
    Some(
        ApiError::new(StatusCode::FORBIDDEN, code, message)
            .category(Category::Lifecycle)
            .mutation_state(MutationState::None)
            .extra("lifecycle_state", lifecycle.state.as_str())
            .extra("entered_state_at", moment(lifecycle.entered_at))
            .extra("next_transition_at", moment(lifecycle.next_transition_at))
            .extra("scheduled_purge_at", moment(lifecycle.purge_at))
            .extra("renew_url", renew_path.clone())
            .next_action(
                NextAction::new("renew_tier", "A new lease makes the organisation active at once.")
                    .at("POST", renew_path),
            )
            .next_action(
                NextAction::new("check_usage", "Shows the lease and what the organisation uses.")
                    .at("GET", "/tiers/v1/status"),
            ),
    )
}

fn moment(at: Option<Timestamp>) -> Value {
    at.map_or(Value::Null, |at| Value::String(at.to_string()))
}

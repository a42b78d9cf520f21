//! Usage counters and the quota decision (contract 02 §2.3). Memory only.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use serde_json::json;

use super::settings::LimitSettings;
use crate::{
    common::{ApiError, Category, MutationState, NextAction, OrganisationId},
    features::{orgs::Tier, tiers::TierTerms},
};

const BYTES_PER_MB: i64 = 1_048_576;

/// What an organisation may use in a period. Both are at least 1, because clients divide by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub api_calls: i64,
    pub storage_bytes: i64,
}

impl Limits {
    pub fn new(terms: &TierTerms, overrides: &LimitSettings) -> Self {
        let storage_mb = overrides.storage_mb.unwrap_or(terms.storage_mb);
        Self {
            api_calls: overrides.api_calls.unwrap_or(terms.api_calls).max(1),
            storage_bytes: storage_mb.saturating_mul(BYTES_PER_MB).max(1),
        }
    }
}

/// What an organisation has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub api_calls: i64,
    pub storage_bytes: i64,
}

/// The quota that refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    ApiCalls,
    StorageBytes,
}

/// Calls are refused at the limit; calls that could store more, at the limit of storage. Reading and deleting stay
/// possible, so that a full project can be cleaned up.
pub(super) fn decide(usage: Usage, limits: Limits, grows: bool) -> Result<(), Exceeded> {
    if usage.api_calls >= limits.api_calls {
        return Err(Exceeded::ApiCalls);
    }
    if grows && usage.storage_bytes >= limits.storage_bytes {
        return Err(Exceeded::StorageBytes);
    }
    Ok(())
}

/// Shared counters of one organisation's projects.
#[derive(Debug)]
pub(super) struct Pool {
    pub organisation: OrganisationId,
    tier: std::sync::Mutex<Option<Tier>>,
    /// Calls of the period that the control database knows.
    recorded_calls: AtomicI64,
    /// Calls not written yet.
    pending_calls: AtomicI64,
    storage_bytes: AtomicI64,
    calls_limit: AtomicI64,
    storage_limit: AtomicI64,
    /// Metered since the background last looked.
    touched: AtomicBool,
}

impl Pool {
    pub fn new(organisation: OrganisationId, tier: Option<Tier>, usage: Usage, limits: Limits) -> Self {
        Self {
            organisation,
            tier: std::sync::Mutex::new(tier),
            recorded_calls: AtomicI64::new(usage.api_calls),
            pending_calls: AtomicI64::new(0),
            storage_bytes: AtomicI64::new(usage.storage_bytes),
            calls_limit: AtomicI64::new(limits.api_calls),
            storage_limit: AtomicI64::new(limits.storage_bytes),
            touched: AtomicBool::new(false),
        }
    }

    pub fn usage(&self) -> Usage {
        Usage {
            api_calls: self.recorded_calls.load(Ordering::Relaxed) + self.pending_calls.load(Ordering::Relaxed),
            storage_bytes: self.storage_bytes.load(Ordering::Relaxed),
        }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            api_calls: self.calls_limit.load(Ordering::Relaxed),
            storage_bytes: self.storage_limit.load(Ordering::Relaxed),
        }
    }

    pub fn tier(&self) -> Option<Tier> {
        *self.tier.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Counts one call if the quota allows it.
    pub fn admit(&self, grows: bool) -> Result<(), ApiError> {
        self.touched.store(true, Ordering::Relaxed);
        let (usage, limits) = (self.usage(), self.limits());
        decide(usage, limits, grows)
            .map_err(|exceeded| quota_exceeded(exceeded, usage, limits, self.tier().unwrap_or(Tier::Prototype)))?;
        self.pending_calls.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Whether this many bytes more may be stored. Nothing more is always allowed.
    pub fn room_for(&self, bytes: u64) -> Result<(), ApiError> {
        let (usage, limits) = (self.usage(), self.limits());
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if bytes == 0 || usage.storage_bytes.saturating_add(bytes) <= limits.storage_bytes {
            return Ok(());
        }
        let tier = self.tier().unwrap_or(Tier::Prototype);
        Err(quota_exceeded(Exceeded::StorageBytes, usage, limits, tier).detail("requested", bytes))
    }

    pub fn take_touched(&self) -> bool {
        self.touched.swap(false, Ordering::Relaxed)
    }

    /// `calls` pending ones were written; the database now counts `total`.
    pub fn written(&self, calls: i64, total: i64) {
        self.recorded_calls.store(total, Ordering::Relaxed);
        self.pending_calls.fetch_sub(calls, Ordering::Relaxed);
    }

    pub fn set(&self, tier: Option<Tier>, recorded: Usage, limits: Limits) {
        *self.tier.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = tier;
        self.recorded_calls.store(recorded.api_calls, Ordering::Relaxed);
        self.storage_bytes.store(recorded.storage_bytes, Ordering::Relaxed);
        self.calls_limit.store(limits.api_calls, Ordering::Relaxed);
        self.storage_limit.store(limits.storage_bytes, Ordering::Relaxed);
    }
}

/// 403 `QUOTA_EXCEEDED` of a pooled resource (02 §2.3). Sources call the counter `used` and `current`: both are sent.
pub(super) fn quota_exceeded(exceeded: Exceeded, usage: Usage, limits: Limits, tier: Tier) -> ApiError {
    let (resource, current, limit, message) = match exceeded {
        Exceeded::ApiCalls => (
            "api_calls",
            usage.api_calls,
            limits.api_calls,
            "The organisation has used all API calls of its period. Renew the tier or take a higher one.",
        ),
        Exceeded::StorageBytes => (
            "storage_bytes",
            usage.storage_bytes,
            limits.storage_bytes,
            "The organisation has used all its storage. Delete data or take a higher tier; reading and deleting still \
             work.",
        ),
    };
    let renew_path = format!("/tiers/v1/{tier}");
    ApiError::forbidden("QUOTA_EXCEEDED", message)
        .category(Category::Quota)
        .retryable(false)
        .mutation_state(MutationState::NotStarted)
        .detail("scope", "organization")
        .detail("resource", resource)
        .detail("used", current)
        .detail("current", current)
        .detail("limit", limit)
        .extra(
            "usage",
            json!({
                "api_calls": usage.api_calls,
                "limit": limits.api_calls,
                "storage_bytes": usage.storage_bytes,
                "storage_limit": limits.storage_bytes,
            }),
        )
        .extra("renew_url", renew_path.clone())
        .next_action(NextAction::new("check_usage", "Shows what the organisation uses and may use."))
        .next_action(
            NextAction::new("renew_tier", "A new lease starts a new period; a higher tier raises the limits.")
                .at("POST", renew_path),
        )
}

/// 403 `QUOTA_EXCEEDED` for one project too many (02 §2.1).
pub(super) fn too_many_projects(current: i64, limit: u32) -> ApiError {
    ApiError::forbidden(
        "QUOTA_EXCEEDED",
        "The organisation has as many projects as this box allows it. Delete one first.",
    )
    .category(Category::Quota)
    .retryable(false)
    .mutation_state(MutationState::NotStarted)
    .detail("scope", "organization")
    .detail("resource", "projects")
    .detail("used", current)
    .detail("current", current)
    .detail("limit", limit)
    .next_action(NextAction::new("check_usage", "Shows the projects of the organisation."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::UsdMicros;

    const LIMITS: Limits = Limits { api_calls: 10, storage_bytes: 100 };

    fn terms() -> TierTerms {
        TierTerms {
            price: UsdMicros(0),
            lease_days: 7,
            storage_mb: 250,
            api_calls: 500_000,
            max_functions: 15,
            function_timeout_seconds: 10,
            function_memory_mb: 128,
            scheduled_functions: 1,
            min_cron_interval_minutes: 15,
            secrets: 10,
        }
    }

    #[test]
    fn the_decision_table() {
        let cases = [
            (0, 0, true, Ok(())),
            (9, 99, true, Ok(())),
            (10, 0, false, Err(Exceeded::ApiCalls)),
            (11, 0, true, Err(Exceeded::ApiCalls)),
            (0, 100, true, Err(Exceeded::StorageBytes)),
            (0, 100, false, Ok(())),
            (0, 1_000, false, Ok(())),
            (10, 100, true, Err(Exceeded::ApiCalls)),
        ];
        for (api_calls, storage_bytes, grows, expected) in cases {
            let usage = Usage { api_calls, storage_bytes };
            assert_eq!(decide(usage, LIMITS, grows), expected, "{usage:?} grows={grows}");
        }
    }

    #[test]
    fn limits_come_from_the_tier_unless_overridden_and_are_never_zero() {
        assert_eq!(
            Limits::new(&terms(), &LimitSettings::default()),
            Limits { api_calls: 500_000, storage_bytes: 262_144_000 }
        );
        let overridden = LimitSettings { api_calls: Some(0), storage_mb: Some(-5) };
        assert_eq!(Limits::new(&terms(), &overridden), Limits { api_calls: 1, storage_bytes: 1 });
    }

    #[test]
    fn a_pool_counts_pending_calls_and_keeps_counting_while_they_are_written() {
        let pool = Pool::new(OrganisationId::generate(), Some(Tier::Hobby), Usage::default(), LIMITS);
        for _ in 0..4 {
            pool.admit(false).unwrap();
        }
        assert_eq!(pool.usage().api_calls, 4);
        pool.admit(false).unwrap();
        pool.written(4, 4);
        assert_eq!(pool.usage().api_calls, 5);
        assert!(pool.take_touched());
        assert!(!pool.take_touched());
    }

    #[test]
    fn a_refused_call_is_not_counted() {
        let pool = Pool::new(OrganisationId::generate(), None, Usage { api_calls: 10, storage_bytes: 0 }, LIMITS);
        assert!(pool.admit(false).is_err());
        assert_eq!(pool.usage().api_calls, 10);
        pool.set(None, Usage { api_calls: 0, storage_bytes: 0 }, LIMITS);
        assert!(pool.admit(false).is_ok());
    }

    #[test]
    fn storage_is_refused_when_it_would_go_beyond_the_limit() {
        let pool = Pool::new(OrganisationId::generate(), None, Usage { api_calls: 10, storage_bytes: 90 }, LIMITS);
        assert!(pool.room_for(10).is_ok());
        for bytes in [11, u64::MAX] {
            assert_eq!(pool.room_for(bytes).unwrap_err().code(), "QUOTA_EXCEEDED", "{bytes}");
        }
        pool.set(None, Usage { api_calls: 0, storage_bytes: 101 }, LIMITS);
        assert!(pool.room_for(0).is_ok());
        assert!(pool.room_for(1).is_err());
    }

    #[test]
    fn the_refusal_carries_both_counters_and_names() {
        let usage = Usage { api_calls: 10, storage_bytes: 7 };
        let error = quota_exceeded(Exceeded::ApiCalls, usage, LIMITS, Tier::Hobby);
        assert_eq!((error.status().as_u16(), error.code()), (403, "QUOTA_EXCEEDED"));
        let body = error.body("trc_1", false);
        assert_eq!(body["category"], "quota");
        assert_eq!(body["mutation_state"], "not_started");
        assert_eq!(body["details"]["resource"], "api_calls");
        assert_eq!(body["details"]["scope"], "organization");
        assert_eq!(body["details"]["used"], 10);
        assert_eq!(body["details"]["current"], 10);
        assert_eq!(body["usage"], json!({"api_calls": 10, "limit": 10, "storage_bytes": 7, "storage_limit": 100}));
        assert_eq!(body["renew_url"], "/tiers/v1/hobby");
        let verbs: Vec<_> = body["next_actions"].as_array().unwrap().iter().map(|action| &action["action"]).collect();
        assert_eq!(verbs, ["check_usage", "renew_tier"]);
    }
}

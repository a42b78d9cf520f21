//! Rate limits of this feature (contract 06 §14): fixed windows in memory, keyed by digests.
//!
//! Keys never differ by whether an account exists. Memory is bounded: when the table is full, windows that block
//! nobody are forgotten first.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use jiff::SignedDuration;
use sha2::{Digest, Sha256};

use crate::common::{ApiError, Category, Clock, MutationState, Timestamp};

/// Windows kept at most; about 100 bytes each.
const MAX_WINDOWS: usize = 100_000;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rule {
    /// Wrong passwords of one address in one project.
    PasswordFailures,
    PasswordsPerIp,
    Signup,
    Refresh,
    PasskeyOptions,
    OauthStart,
    HostedForms,
    AccountMutations,
    MagicLinksPerIp,
    /// Notices to the owner of an address that somebody signs up with.
    SignupNotices,
    /// New signing keys of one project.
    KeyRotations,
}

impl Rule {
    /// How many, in how many seconds, and the word for `limited_subject`.
    fn terms(self) -> (u32, i64, &'static str) {
        match self {
            Self::PasswordFailures => (10, 900, "email"),
            Self::PasswordsPerIp => (100, 900, "ip"),
            Self::Signup => (20, 3600, "ip"),
            Self::Refresh => (60, 60, "session"),
            Self::PasskeyOptions | Self::OauthStart | Self::HostedForms | Self::MagicLinksPerIp => (60, 60, "ip"),
            Self::AccountMutations => (30, 60, "user"),
            Self::SignupNotices => (2, 3600, "email"),
            Self::KeyRotations => (6, 3600, "project"),
        }
    }
}

struct Window {
    ends: Timestamp,
    taken: u32,
    limit: u32,
}

/// The counters.
pub(super) struct Limits {
    enabled: bool,
    factor: u32,
    clock: Clock,
    windows: Mutex<HashMap<[u8; 32], Window>>,
}

impl Limits {
    pub fn new(enabled: bool, factor: u32, clock: Clock) -> Self {
        Self { enabled, factor: factor.max(1), clock, windows: Mutex::default() }
    }

    /// Whether limits that count rows apply as well.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// `limit` as this box multiplies it.
    pub fn scaled(&self, limit: u32) -> u32 {
        limit.saturating_mul(self.factor)
    }

    /// Takes one of the allowance of `parts`.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED` until the window ends.
    pub fn take(&self, rule: Rule, parts: &[&str]) -> Result<(), ApiError> {
        if !self.enabled {
            return Ok(());
        }
        let (limit, seconds, subject) = rule.terms();
        let limit = self.scaled(limit);
        let now = self.clock.now();
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(rule, parts);
        if windows.len() >= MAX_WINDOWS && !windows.contains_key(&key) {
            windows.retain(|_, window| window.ends > now);
            if windows.len() >= MAX_WINDOWS {
                windows.retain(|_, window| window.taken >= window.limit);
            }
            if windows.len() >= MAX_WINDOWS {
                return Err(limited(seconds, subject));
            }
        }
        let fresh = || Window { ends: now.plus(SignedDuration::from_secs(seconds)), taken: 0, limit };
        let window = windows.entry(key).or_insert_with(fresh);
        if window.ends <= now {
            *window = fresh();
        }
        if window.taken >= limit {
            return Err(limited(window.ends.since(now).as_secs() + 1, subject));
        }
        window.taken += 1;
        Ok(())
    }

    /// Gives one back: what was taken in advance turned out well.
    pub fn give_back(&self, rule: Rule, parts: &[&str]) {
        if let Some(window) = self.windows.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&key(rule, parts)) {
            window.taken = window.taken.saturating_sub(1);
        }
    }
}

fn key(rule: Rule, parts: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([rule as u8]);
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

/// 429 `RATE_LIMITED` as 06 §14 spells it.
pub(super) fn limited(seconds: i64, subject: &'static str) -> ApiError {
    let seconds = u64::try_from(seconds).unwrap_or(1).max(1);
    ApiError::rate_limited("Too many attempts. Wait, then try again.", seconds)
        .category(Category::RateLimit)
        .safe_to_retry(true)
        .mutation_state(MutationState::NotStarted)
        .detail("retry_after_seconds", seconds)
        .detail("limited_subject", subject)
}

/// Who counts as one client: an IPv4 address, or the /64 network of an IPv6 one, because a single customer owns it.
pub(super) fn network(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(ip) => ip.to_string(),
            None => hex::encode(&ip.octets()[..8]),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_blocks_until_it_ends_and_counts_keys_apart() {
        let clock = Clock::fixed(Timestamp::from_millis(0).unwrap());
        let limits = Limits::new(true, 1, clock.clone());
        for _ in 0..10 {
            limits.take(Rule::PasswordFailures, &["p", "a@b.c"]).unwrap();
        }
        let refused = limits.take(Rule::PasswordFailures, &["p", "a@b.c"]).unwrap_err();
        assert_eq!(refused.body("t", false)["details"]["limited_subject"], "email");
        assert!(limits.take(Rule::PasswordFailures, &["pa", "@b.c"]).is_ok(), "parts do not run together");
        limits.give_back(Rule::PasswordFailures, &["p", "a@b.c"]);
        assert!(limits.take(Rule::PasswordFailures, &["p", "a@b.c"]).is_ok());
        clock.advance(SignedDuration::from_secs(901));
        assert!(limits.take(Rule::PasswordFailures, &["p", "a@b.c"]).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_is_blocked() {
        let limits = Limits::new(true, 1, Clock::fixed(Timestamp::from_millis(0).unwrap()));
        for _ in 0..10 {
            limits.take(Rule::PasswordFailures, &["victim"]).unwrap();
        }
        for stranger in 0..MAX_WINDOWS + 10 {
            limits.take(Rule::PasswordFailures, &[&stranger.to_string()]).unwrap();
        }
        assert!(limits.windows.lock().unwrap().len() <= MAX_WINDOWS);
        assert!(limits.take(Rule::PasswordFailures, &["victim"]).is_err());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}

//! Keyed rate limits.

use std::{hash::Hash, num::NonZeroU32, time::Duration};

use governor::{
    DefaultKeyedRateLimiter, Quota,
    clock::{Clock as _, DefaultClock},
};

use super::ApiError;

/// How many requests one key may make in a period; the whole allowance may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub requests: NonZeroU32,
    pub per: Duration,
}

impl Rate {
    /// `requests` of 0 counts as 1: switching a limit off is done by not building the limiter.
    pub fn new(requests: u32, per: Duration) -> Self {
        Self { requests: NonZeroU32::new(requests).unwrap_or(NonZeroU32::MIN), per }
    }
}

/// A token bucket for each key, or no limit at all when switched off.
pub struct RateLimiter<K: Hash + Eq + Clone>(Option<DefaultKeyedRateLimiter<K>>);

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    pub fn new(rate: Rate) -> Self {
        let refill = rate.per / rate.requests.get();
        let quota =
            Quota::with_period(refill.max(Duration::from_nanos(1))).map(|quota| quota.allow_burst(rate.requests));
        Self(quota.map(governor::RateLimiter::keyed))
    }

    pub fn unlimited() -> Self {
        Self(None)
    }

    /// Takes one token of `key`.
    ///
    /// # Errors
    /// 429 `RATE_LIMITED` with `message` and the wait in seconds.
    pub fn check(&self, key: &K, message: &'static str) -> Result<(), ApiError> {
        let Some(limiter) = &self.0 else { return Ok(()) };
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            ApiError::rate_limited(message, wait.as_secs_f64().ceil() as u64)
        })
    }

    /// Forgets keys whose bucket is full again. Called now and then so that strangers cannot fill memory.
    pub fn shrink(&self) {
        if let Some(limiter) = &self.0 {
            limiter.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_after_the_allowance_and_counts_keys_apart() {
        let limiter = RateLimiter::new(Rate::new(2, Duration::from_secs(60)));
        assert!(limiter.check(&"a", "slow down").is_ok());
        assert!(limiter.check(&"a", "slow down").is_ok());
        let refused = limiter.check(&"a", "slow down").unwrap_err();
        assert_eq!(refused.code(), "RATE_LIMITED");
        assert!(limiter.check(&"b", "slow down").is_ok());
    }

    #[test]
    fn unlimited_never_refuses() {
        let limiter = RateLimiter::unlimited();
        for _ in 0..1000 {
            assert!(limiter.check(&1, "slow down").is_ok());
        }
    }
}

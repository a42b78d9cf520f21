//! Password hashes: argon2id off the reactor, with bounded memory (contract 06 §4).
//!
//! Each hash needs 19 MiB and about 20 ms of a core. A semaphore bounds how many run at once; those that find the
//! queue full as well are told to come back, so that a flood of logins cannot take the memory of the box.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::common::{ApiError, ApiResult};

/// Longest password, in bytes.
pub(super) const MAX_BYTES: usize = 1024;
const SALT_BYTES: usize = 16;

/// `auth.passwords.*`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct PasswordSettings {
    /// Memory of one hash, in KiB; at least 19,456.
    pub memory_kib: u32,
    /// Passes over that memory; at least 2.
    pub iterations: u32,
    /// Hashes computed at the same time.
    pub concurrent: usize,
    /// Logins that may wait for their turn; the next gets 503.
    pub queue: usize,
}

impl Default for PasswordSettings {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, concurrent: 4, queue: 256 }
    }
}

/// Hashes and verifies.
pub(super) struct Passwords {
    argon2: Argon2<'static>,
    parameters: String,
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
}

/// The outcome of a verification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub matches: bool,
    /// It matches a hash made with other parameters than today's.
    pub outdated: bool,
}

impl Passwords {
    /// Settings below the contract's minimum are raised to it.
    ///
    /// # Errors
    /// A sentence for the operator when argon2 does not take the parameters.
    pub fn new(settings: &PasswordSettings) -> Result<Self, String> {
        let params = Params::new(settings.memory_kib.max(19_456), settings.iterations.max(2), 1, None)
            .map_err(|error| format!("auth.passwords: {error}"))?;
        Ok(Self {
            parameters: format!("m={},t={},p={}", params.m_cost(), params.t_cost(), params.p_cost()),
            argon2: Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            permits: Arc::new(Semaphore::new(settings.concurrent.max(1))),
            waiting: AtomicUsize::new(0),
            queue: settings.queue,
        })
    }

    /// # Errors
    /// 503 when too many are waiting.
    pub async fn hash(&self, password: Zeroizing<String>) -> ApiResult<String> {
        let argon2 = self.argon2.clone();
        self.in_turn(move || {
            let salt: [u8; SALT_BYTES] = rand::random();
            argon2.hash_password_with_salt(password.as_bytes(), &salt).map(|hash| hash.to_string())
        })
        .await?
        .map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Takes the same time whether there is a stored hash or not.
    ///
    /// # Errors
    /// 503 when too many are waiting.
    pub async fn verify(&self, password: Zeroizing<String>, stored: Option<String>) -> ApiResult<Verdict> {
        let argon2 = self.argon2.clone();
        let parameters = self.parameters.clone();
        self.in_turn(move || {
            let Some(stored) = stored else {
                // The work of a verification, for an answer that is known.
                let _ = argon2.hash_password_with_salt(password.as_bytes(), &[0; SALT_BYTES]);
                return Verdict { matches: false, outdated: false };
            };
            let Ok(hash) = PasswordHash::new(&stored) else {
                return Verdict { matches: false, outdated: false };
            };
            let matches = argon2.verify_password(password.as_bytes(), &hash).is_ok();
            Verdict { matches, outdated: matches && !stored.contains(&parameters) }
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let _place = Place::take(&self.waiting, self.queue)?;
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(ApiError::internal)?;
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work itself: a caller who hangs up does not free the memory.
            let _permit = permit;
            work()
        });
        task.await.map_err(ApiError::internal)
    }
}

/// A place in the queue.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, queue: usize) -> ApiResult<Self> {
        if waiting.fetch_add(1, Ordering::Relaxed) >= queue {
            waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(ApiError::unavailable("Too many sign-ins are being checked right now. Try again shortly."));
        }
        Ok(Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether a new password may be used.
///
/// # Errors
/// 400 `BAD_REQUEST` when it is shorter than `minimum` characters or longer than 1024 bytes.
pub(super) fn check_new(field: &'static str, password: &str, minimum: usize) -> ApiResult<()> {
    if password.chars().count() < minimum {
        let message = format!("{field} must have at least {minimum} characters.");
        return Err(ApiError::bad_request("BAD_REQUEST", message).detail("field", field));
    }
    check_length(field, password)
}

/// # Errors
/// 400 `BAD_REQUEST` when it is longer than any password of ours.
pub(super) fn check_length(field: &'static str, password: &str) -> ApiResult<()> {
    if password.len() > MAX_BYTES {
        let message = format!("{field} must have at most {MAX_BYTES} bytes.");
        return Err(ApiError::bad_request("BAD_REQUEST", message).detail("field", field));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    #[tokio::test]
    async fn hashes_are_argon2id_and_verify() {
        let passwords = Passwords::new(&PasswordSettings::default()).unwrap();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        let right = passwords.verify(secret("correct horse"), Some(hash.clone())).await.unwrap();
        assert_eq!(right, Verdict { matches: true, outdated: false });
        let wrong = passwords.verify(secret("correct hors"), Some(hash.clone())).await.unwrap();
        assert!(!wrong.matches);
        assert!(!passwords.verify(secret("x"), None).await.unwrap().matches);
        assert!(!passwords.verify(secret("x"), Some("garbage".into())).await.unwrap().matches);
        let stronger = PasswordSettings { iterations: 3, ..PasswordSettings::default() };
        let stronger = Passwords::new(&stronger).unwrap();
        let verdict = stronger.verify(secret("correct horse"), Some(hash)).await.unwrap();
        assert_eq!(verdict, Verdict { matches: true, outdated: true });
    }

    #[tokio::test]
    async fn a_full_queue_refuses_instead_of_growing() {
        let settings = PasswordSettings { queue: 0, ..PasswordSettings::default() };
        let passwords = Passwords::new(&settings).unwrap();
        assert_eq!(passwords.hash(secret("x")).await.unwrap_err().status(), 503);
    }

    #[test]
    fn lengths_count_characters_at_the_bottom_and_bytes_at_the_top() {
        assert!(check_new("password", "12345", 6).is_err());
        assert!(check_new("password", "ééééé", 6).is_err());
        assert!(check_new("password", "éééééé", 6).is_ok());
        assert!(check_new("password", &"x".repeat(1024), 6).is_ok());
        assert!(check_new("password", &"x".repeat(1025), 6).is_err());
        assert!(check_new("password", &"é".repeat(513), 6).is_err());
    }
}

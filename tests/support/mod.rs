//! The harness: boots the real binary and talks to it as its clients do.
//!
//! Nothing here knows the code under test; it knows the contract. Boxes are shared between tests of one
//! process (a boot costs a second), so tests isolate themselves by using wallets and projects of their own.

pub mod appliance;
pub mod content;
pub mod control;
pub mod deploy;
pub mod http;
pub mod payment;
pub mod process;
pub mod tenant;
pub mod users;
pub mod wallet;

pub use appliance::Appliance;
pub use http::{Answer, Api, Call};
pub use tenant::Project;
pub use users::Users;
pub use wallet::Wallet;

use std::{future::Future, time::Duration};

/// Runs `probe` until it yields a value; fails the test with `what` after `within`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = tokio::time::Instant::now() + within;
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen within {within:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

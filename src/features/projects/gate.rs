//! The migrate gate of one project (contract 03 §8): while a deploy changes its schema, new requests of the data
//! plane are turned away and those under way are waited for. Memory only, so no crash leaves a project gated.

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::common::{ApiError, ApiResult, Category, MutationState};

/// Who is inside, and whether more may come in.
#[derive(Debug, Default)]
pub(super) struct Gate {
    closed: AtomicBool,
    inside: AtomicUsize,
    left: Notify,
}

/// A request of the data plane under way; dropped at its end.
#[derive(Debug)]
pub struct Passage(Arc<Gate>);

/// The gate is closed for as long as this lives.
#[derive(Debug)]
pub struct ClosedGate(Arc<Gate>);

impl Gate {
    /// # Errors
    /// 503 `MIGRATE_GATE_ACTIVE`.
    pub fn enter(self: &Arc<Self>) -> ApiResult<Passage> {
        // Counted before looking: who closes the gate either sees us inside, or we see it closed.
        self.inside.fetch_add(1, Ordering::SeqCst);
        let passage = Passage(Arc::clone(self));
        if self.closed.load(Ordering::SeqCst) { Err(gated()) } else { Ok(passage) }
    }

    /// Closes the gate and waits for those inside.
    ///
    /// # Errors
    /// 503 `MIGRATE_GATE_ACTIVE` when it is closed already or somebody is still inside after `patience`; it is open
    /// again then.
    pub async fn close(self: &Arc<Self>, patience: Duration) -> ApiResult<ClosedGate> {
        if self.closed.swap(true, Ordering::SeqCst) {
            return Err(gated());
        }
        let closed = ClosedGate(Arc::clone(self));
        let empty = async {
            loop {
                let mut left = pin!(self.left.notified());
                left.as_mut().enable();
                if self.inside.load(Ordering::SeqCst) == 0 {
                    return;
                }
                left.await;
            }
        };
        tokio::time::timeout(patience, empty).await.map_err(|_| gated())?;
        Ok(closed)
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.0.inside.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Drop for ClosedGate {
    fn drop(&mut self) {
        self.0.closed.store(false, Ordering::SeqCst);
    }
}

/// 503 `MIGRATE_GATE_ACTIVE`.
fn gated() -> ApiError {
    ApiError::unavailable("A deploy of this project is changing its database right now. Try again in a moment.")
        .with_code("MIGRATE_GATE_ACTIVE")
        .category(Category::Deploy)
        .retryable(true)
        .safe_to_retry(true)
        .mutation_state(MutationState::NotStarted)
        .extra("phase", "migrate-gate")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(50);

    #[tokio::test]
    async fn a_closed_gate_turns_requests_away_until_it_is_dropped() {
        let gate = Arc::new(Gate::default());
        let closed = gate.close(PATIENCE).await.unwrap();
        let refusal = gate.enter().unwrap_err();
        assert_eq!((refusal.status().as_u16(), refusal.code()), (503, "MIGRATE_GATE_ACTIVE"));
        assert_eq!(refusal.body("trc_1", false)["mutation_state"], "not_started");
        assert_eq!(gate.close(PATIENCE).await.unwrap_err().code(), "MIGRATE_GATE_ACTIVE");
        drop(closed);
        gate.enter().unwrap();
    }

    #[tokio::test]
    async fn closing_waits_for_those_inside_and_gives_up_after_a_while() {
        let gate = Arc::new(Gate::default());
        let passage = gate.enter().unwrap();
        assert!(gate.close(PATIENCE).await.is_err());
        gate.enter().expect("it is open again");
        let closing = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.close(Duration::from_secs(10)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(passage);
        assert!(closing.await.unwrap());
    }
}

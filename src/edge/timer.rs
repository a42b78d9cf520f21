//! The timer of one connection.
//!
//! hyper sets a deadline before every request of a connection and drops it when the request arrives. With a timer of
//! the runtime each of those is an entry in its shared wheel, made and removed under a lock: about a microsecond of a
//! request that takes fifteen. Deadlines of one connection only ever move into the future, so one entry is enough: it
//! stays where it was, and when it goes off early it is moved to the deadline that counts by then.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper::rt::{Sleep, Timer};

/// One for each connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionTimer(Arc<Mutex<Option<Pin<Box<tokio::time::Sleep>>>>>);

impl ConnectionTimer {
    pub fn new() -> Self {
        Self(Arc::default())
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Deadline { timer: self.clone(), deadline: deadline.into() })
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

struct Deadline {
    timer: ConnectionTimer,
    deadline: tokio::time::Instant,
}

impl Future for Deadline {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self.deadline;
        let mut entry = self.timer.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entry.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if entry.deadline() > deadline {
            entry.as_mut().reset(deadline);
        }
        while entry.as_mut().poll(context).is_ready() {
            if tokio::time::Instant::now() >= deadline {
                return Poll::Ready(());
            }
            entry.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

impl Sleep for Deadline {}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(40);

    #[tokio::test]
    async fn a_deadline_holds_although_earlier_ones_were_dropped() {
        let timer = ConnectionTimer::new();
        let started = Instant::now();
        for _ in 0..3 {
            tokio::select! {
                () = timer.sleep(100 * STEP) => panic!("too early"),
                () = tokio::time::sleep(STEP) => {}
            }
        }
        timer.sleep(5 * STEP).await;
        assert!(started.elapsed() >= 8 * STEP);
    }

    #[tokio::test]
    async fn an_entry_that_goes_off_early_is_moved() {
        let timer = ConnectionTimer::new();
        tokio::select! {
            () = timer.sleep(2 * STEP) => panic!("too early"),
            () = tokio::time::sleep(STEP) => {}
        }
        let started = Instant::now();
        timer.sleep(4 * STEP).await;
        assert!(started.elapsed() >= 4 * STEP);
    }
}

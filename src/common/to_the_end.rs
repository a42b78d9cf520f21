//! Work that must not stop half-way.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// Runs `work` where it is awaited; when that future is dropped before its end, the work goes on as a task of its
/// own. For what holds something that an interruption would spoil, without the cost of a task for each.
///
/// Dropped outside a runtime, as when the process ends, it ends as well.
pub fn to_the_end<F>(work: F) -> impl Future<Output = F::Output> + Send
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    ToTheEnd(Some(Box::pin(work)))
}

struct ToTheEnd<F: Future + Send + 'static>(Option<Pin<Box<F>>>)
where
    F::Output: Send;

impl<F: Future + Send + 'static> Future for ToTheEnd<F>
where
    F::Output: Send,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out, so that work that panics is gone.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<F: Future + Send + 'static> Drop for ToTheEnd<F>
where
    F::Output: Send,
{
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async move { drop(work.await) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{
        sync::oneshot,
        time::{sleep, timeout},
    };

    use super::*;

    #[tokio::test]
    async fn work_that_nobody_waits_for_any_more_still_ends() {
        let (sender, receiver) = oneshot::channel();
        let work = to_the_end(async move {
            sleep(Duration::from_millis(20)).await;
            sender.send("done")
        });
        assert!(timeout(Duration::from_millis(1), work).await.is_err());
        assert_eq!(receiver.await, Ok("done"));
    }

    #[tokio::test]
    async fn work_that_is_awaited_answers_where_it_is_awaited() {
        assert_eq!(to_the_end(async { 7 }).await, 7);
    }

    #[tokio::test]
    async fn work_that_panicked_is_not_taken_up_again() {
        let spoilt = tokio::spawn(to_the_end(async { panic!("spoilt") }));
        assert!(spoilt.await.is_err_and(|error| error.is_panic()));
    }
}

//! Watches a running call: its deadline and whether anyone still waits for it (contract 02 §3.3).

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{CancelToken, Client, NoTls};
use tokio_util::sync::CancellationToken;

use super::{
    error::Failure,
    execute::{Call, Outcome},
};

/// Between the cancellation of a query and the end of its session.
pub const GRACE: Duration = Duration::from_secs(5);

/// A cancellation that arrives between two statements is lost, so it is repeated.
const CANCEL_INTERVAL: Duration = Duration::from_millis(250);

/// Why a call was stopped before its statements ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The wall clock ran out.
    Deadline,
    /// The client went away.
    Abandoned,
}

/// Runs a call to its end. At the deadline, or when `abandoned` is cancelled, the query is cancelled; if it has not
/// ended after [`GRACE`], `end_session` is to end its session from outside. A call that was interrupted may still
/// have ended well: then its commit was faster.
pub async fn supervise(
    client: &Client,
    call: &Call<'_>,
    abandoned: &CancellationToken,
    end_session: impl Future<Output = ()>,
) -> (Result<Outcome, Failure>, Option<Interruption>) {
    let mut run = pin!(call.run(client));
    let interruption = tokio::select! {
        result = &mut run => return (result, None),
        () = sleep(call.settings.timeout()) => Interruption::Deadline,
        () = abandoned.cancelled() => Interruption::Abandoned,
    };
    call.stop.cancel();
    let result = tokio::select! {
        result = &mut run => result,
        () = cancel_for(client.cancel_token(), GRACE) => {
            end_session.await;
            // The session is gone or will be with its socket; the transaction goes with it.
            timeout(GRACE, &mut run).await.unwrap_or(Err(Failure::Stopped))
        }
    };
    (result, Some(interruption))
}

/// Cancels whatever the session runs, again and again, for so long.
async fn cancel_for(token: CancelToken, duration: Duration) {
    let until = Instant::now() + duration;
    while Instant::now() < until {
        // One that does not get through is followed by the next.
        let _ = timeout(CANCEL_INTERVAL, token.cancel_query(NoTls)).await;
        sleep(CANCEL_INTERVAL).await;
    }
}

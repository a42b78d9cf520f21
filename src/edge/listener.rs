//! Accepting connections and ending them in order.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use futures_util::FutureExt;
use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time,
};
use tokio_util::sync::CancellationToken;

use super::{Front, HttpSettings, timer::ConnectionTimer};

/// How long running requests may take to finish once the process is asked to stop.
const DRAIN: Duration = Duration::from_millis(1500);
/// Pause after a failed accept (usually: out of file descriptors) before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `front` on `listener` until `stop` is cancelled, then lets running requests finish.
pub async fn serve(listener: TcpListener, front: Arc<Front>, limits: &HttpSettings, stop: CancellationToken) {
    let connections = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accept(&listener, &connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let front = Arc::clone(&front);
        let service = service_fn(move |request| front.answer(request, peer).map(Ok::<_, Infallible>));
        let builder = connection_builder(limits);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = watched.await {
                tracing::debug!(%peer, %error, "connection ended early");
            }
            drop(permit);
        });
    }
    drop(listener);
    if time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still running after {DRAIN:?} were cut off");
    }
}

fn connection_builder(limits: &HttpSettings) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(ConnectionTimer::new())
        .header_read_timeout(Duration::from_secs(limits.header_seconds))
        .keep_alive(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(256).keep_alive_interval(Duration::from_secs(30));
    builder
}

/// The next connection, once there is room for it; `None` when accepting failed.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(tokio::net::TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => {
            // Small answers must not wait for a full segment.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "cannot set TCP_NODELAY");
            }
            Some((stream, peer, permit))
        }
        Err(error) => {
            tracing::warn!(%error, "cannot accept a connection");
            None
        }
    }
}

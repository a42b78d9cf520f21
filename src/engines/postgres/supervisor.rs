//! Keeps one server running until told to stop, and tells everyone how it is doing.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    ClusterSettings, Login, StartError,
    bundle::Places,
    launch::{self, Running},
    leftovers, pools,
    socket_dir::SocketDir,
};

/// Pause between two attempts to connect to a starting server. Shorter pauses fill its log with refusals
/// during crash recovery.
const PROBE_PAUSE: Duration = Duration::from_millis(25);
/// Pause while the socket does not even exist, which costs the server nothing.
const SOCKET_PAUSE: Duration = Duration::from_millis(5);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A fast shutdown writes a checkpoint; the appliance has 5 s for its whole exit.
const CLEAN_STOP: Duration = Duration::from_millis(2500);
/// After SIGQUIT, which leaves recovery to the next start.
const FORCED_STOP: Duration = Duration::from_secs(1);
/// A server that dies younger than this is in a crash loop, and the pauses between restarts go on growing.
const STABLE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Restarts in a row after which the state says `Failed`. They go on: a full disk may be freed.
const PATIENCE: u32 = 5;

/// How the server is doing. There is no state before `Ready`: a cluster exists once it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// Accepts connections.
    Ready,
    /// It died and is being started again.
    Restarting,
    /// It cannot be kept running at the moment; attempts go on every few seconds.
    Failed,
    /// Stopped on request, for good.
    Stopped,
}

/// What is needed to start a server, again and again.
#[derive(Debug)]
struct Launcher {
    settings: ClusterSettings,
    places: Places,
    socket_dir: SocketDir,
}

/// A handle on the supervised server. Dropping it stops the server without waiting.
#[derive(Debug)]
pub(super) struct Supervisor {
    state: watch::Receiver<ServerState>,
    pid: Arc<AtomicI32>,
    stop: CancellationToken,
}

impl Supervisor {
    /// Starts the server, waits until it accepts connections, and from then on keeps it so.
    /// Also returns the directory of the server's socket.
    pub(super) async fn start(settings: ClusterSettings, places: Places) -> Result<(Self, PathBuf), StartError> {
        let (cluster, data_dir) = (places.cluster.clone(), places.data_dir.clone());
        let socket_dir = blocking(move || {
            leftovers::clear(&cluster)?;
            SocketDir::prepare(&data_dir)
        })
        .await?;
        let launcher = Launcher { settings, places, socket_dir };
        let server = match launcher.launch().await {
            Ok(server) => server,
            Err(error) => {
                launcher.socket_dir.remove();
                return Err(error);
            }
        };
        let (publish, state) = watch::channel(ServerState::Ready);
        let pid = Arc::new(AtomicI32::new(server.pid()));
        let stop = CancellationToken::new();
        let socket_path = launcher.socket_dir.path().to_owned();
        let keeper = Keeper { launcher, publish, pid: Arc::clone(&pid), stop: stop.clone() };
        tokio::spawn(keeper.keep(server));
        Ok((Self { state, pid, stop }, socket_path))
    }

    pub(super) fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// The postmaster's process number; 0 while there is none.
    pub(super) fn pid(&self) -> i32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// Returns when the server is gone.
    pub(super) async fn stop(&self) {
        self.stop.cancel();
        // An error means that the keeper is gone, and the server with it.
        let _ = self.state.clone().wait_for(|state| *state == ServerState::Stopped).await;
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Launcher {
    /// One attempt: start, then wait until it accepts connections.
    async fn launch(&self) -> Result<Running, StartError> {
        let command = launch::command(&self.settings, &self.places, self.socket_dir.path());
        let mut server = Running::start(command, self.settings.address_space()).await?;
        let waited = self.settings.start_timeout();
        let outcome = tokio::select! {
            how = server.exited() => Err(Some(how)),
            ready = timeout(waited, ready(&self.socket_dir)) => ready.map_err(|_| None),
        };
        match outcome {
            Ok(()) => Ok(server),
            Err(Some(reason)) => Err(StartError::Exited { reason, log: server.last_words().await }),
            Err(None) => Err(StartError::Timeout { waited, log: server.last_words().await }),
        }
    }

    /// Clears what the dead server left behind, then launches.
    async fn relaunch(&self) -> Result<Running, StartError> {
        let cluster = self.places.cluster.clone();
        blocking(move || leftovers::clear(&cluster)).await?;
        self.socket_dir.clear()?;
        self.launch().await
    }

    /// After a launch was broken off: waits for what it started, which has been told to shut down.
    async fn abandon(&self) {
        let cluster = self.places.cluster.clone();
        let cleared = timeout(CLEAN_STOP, blocking(move || leftovers::clear(&cluster))).await;
        if !matches!(cleared, Ok(Ok(()))) {
            tracing::error!("the database server was still starting and did not stop");
        }
    }
}

/// Returns once the server accepts a login.
async fn ready(socket_dir: &SocketDir) {
    let socket = socket_dir.socket();
    loop {
        if !tokio::fs::try_exists(&socket).await.unwrap_or(false) {
            tokio::time::sleep(SOCKET_PAUSE).await;
        } else if accepts(socket_dir.path()).await {
            return;
        } else {
            tokio::time::sleep(PROBE_PAUSE).await;
        }
    }
}

async fn accepts(socket_dir: &Path) -> bool {
    let attempt = pools::configuration(socket_dir, &Login::maintenance());
    let connected = timeout(PROBE_TIMEOUT, attempt.connect(tokio_postgres::NoTls)).await;
    // The connection is closed by dropping both halves.
    matches!(connected, Ok(Ok(_)))
}

/// The task that owns the running server.
struct Keeper {
    launcher: Launcher,
    publish: watch::Sender<ServerState>,
    pid: Arc<AtomicI32>,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, first: Running) {
        let stop = self.stop.clone();
        let mut server = Some(first);
        let mut failures = 0;
        while let Some(mut running) = server.take() {
            let since = Instant::now();
            let how = tokio::select! {
                how = running.exited() => how,
                () = stop.cancelled() => {
                    shut_down(running).await;
                    break;
                }
            };
            self.pid.store(0, Ordering::Relaxed);
            self.publish.send_replace(ServerState::Restarting);
            tracing::error!(log = ?running.last_words_now(), "the database server died ({how}); starting it again");
            if since.elapsed() >= STABLE {
                failures = 0;
            }
            server = tokio::select! {
                server = self.restart(&mut failures) => Some(server),
                () = stop.cancelled() => {
                    self.launcher.abandon().await;
                    None
                }
            };
        }
        self.launcher.socket_dir.remove();
        self.pid.store(0, Ordering::Relaxed);
        self.publish.send_replace(ServerState::Stopped);
    }

    /// Tries until it works. `failures` counts on from earlier short-lived servers; the first restart of a
    /// stable one happens at once.
    async fn restart(&self, failures: &mut u32) -> Running {
        loop {
            tokio::time::sleep(pause(*failures)).await;
            *failures = failures.saturating_add(1);
            match self.launcher.relaunch().await {
                Ok(server) => {
                    self.pid.store(server.pid(), Ordering::Relaxed);
                    self.publish.send_replace(ServerState::Ready);
                    tracing::info!(pid = server.pid(), "the database server is back");
                    return server;
                }
                Err(error) => {
                    tracing::error!(%error, "the database server could not be restarted");
                    if *failures >= PATIENCE {
                        self.publish.send_replace(ServerState::Failed);
                    }
                }
            }
        }
    }
}

/// 0, 100 ms, 200 ms, 400 ms … 5 s.
fn pause(failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_millis(100).saturating_mul(1 << doublings.min(10)).min(LONGEST_PAUSE),
    }
}

/// Fast shutdown (sessions are ended, a checkpoint is written), and force if that takes too long.
async fn shut_down(mut server: Running) {
    server.signal(Signal::SIGINT);
    if timeout(CLEAN_STOP, server.exited()).await.is_ok() {
        return;
    }
    tracing::warn!("the database server is slow to stop; forcing it, the next start will recover");
    server.signal(Signal::SIGQUIT);
    if timeout(FORCED_STOP, server.exited()).await.is_err() {
        tracing::error!(pid = server.pid(), "the database server did not stop");
    }
}

/// Runs file and process work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(StartError::Interrupted("a preparation step crashed")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_are_immediate_first_and_never_further_apart_than_the_cap() {
        let millis: Vec<_> = [0, 1, 2, 3, 7, u32::MAX].map(|failures| pause(failures).as_millis()).into();
        assert_eq!(millis, [0, 100, 200, 400, 5000, 5000]);
    }
}

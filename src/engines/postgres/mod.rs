//! The embedded Postgres server: its programs, its process, and the connections to it.
//!
//! # What runs
//! A Postgres of our own, unpacked from this binary ([`bundle`], [`unpack`]), as a child process that lives and dies with
//! us ([`launch`], [`supervisor`]). It listens on one Unix socket and on nothing else ([`socket_dir`]).
//!
//! # Why it may trust its clients
//! The server asks nobody for a password (`local all all trust`). The socket's directory can be entered by our
//! user only, there is no TCP listener, and the extensions with which SQL could open a connection of its own
//! (dblink, postgres_fdw) are not in the bundle. So whoever reaches the socket is this process, or someone who
//! could read its files anyway. In exchange any role of any database is one `connect` away, with no secrets to
//! keep.
//!
//! # Why not the crate `postgresql_embedded`
//! It starts the server with `pg_ctl`, which daemonises: there is no child to wait for and no signal when we
//! die, so killing us would leave a server behind. It always passes `-F` (no fsync), takes an existing
//! `postmaster.pid` for a running server, and needs sqlx and reqwest. Its sibling `postgresql_commands` builds
//! the command line; the process is ours.
//!
//! # Invariants
//! - A commit that was answered survives a crash of the server, of us, and of the machine.
//! - No server outlives us: a clean stop waits for it, and if we are killed the kernel tells it to shut down.
//!   What survives even that is stopped at the next start ([`leftovers`]).
//! - A dead server is started again. Until it is back, requests get
//!   [`DatabaseError::Unavailable`] at once and do not hang.
//! - At most `pool_budget` connections are open, whatever the number of databases ([`pools`]).
//! - All installs begin as one template cluster and thus share Postgres' "system identifier". Nothing here
//!   relies on it; physical replication between two boxes would have to.
//!
//! One process per data directory: the appliance holds a lock on it before it comes here. It must also have
//! dropped root, which Postgres refuses.

mod bundle;
mod databases;
mod error;
mod launch;
mod leftovers;
mod migrate;
mod pipeline;
mod pools;
mod quote;
mod settings;
mod socket_dir;
mod supervisor;
#[cfg(test)]
pub(crate) mod test_support;
#[cfg(test)]
mod tests;
mod unpack;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;

use self::{bundle::Places, pools::Pools, supervisor::Supervisor};
pub use self::{
    error::{DatabaseError, StartError},
    migrate::{MigrateError, migrate},
    pipeline::{Canceller, Pipeline, PipelineError, Row, Rows, ServerReport},
    pools::Connection,
    quote::quote_identifier,
    settings::ClusterSettings,
    supervisor::ServerState,
    unpack::{Unpacking, unpack_bundle},
};

/// How long [`Cluster::ping`] waits for an answer.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// Which database to log into, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Login {
    pub database: String,
    pub role: String,
}

impl Login {
    pub fn new(database: impl Into<String>, role: impl Into<String>) -> Self {
        Self { database: database.into(), role: role.into() }
    }

    /// The superuser in the database `postgres`, for statements about databases and roles.
    pub fn maintenance() -> Self {
        Self::new("postgres", "postgres")
    }
}

/// A running server and its connection pools. Cheap to clone. The server stops when the last clone is
/// dropped; [`stop`](Self::stop) also waits for it.
#[derive(Clone)]
pub struct Cluster {
    supervisor: Arc<Supervisor>,
    pools: Arc<Pools>,
    places: Arc<Places>,
}

/// One login of one database; hands out pooled connections. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    cluster: Cluster,
    login: Login,
}

impl Cluster {
    /// Starts the server on the data directory, which is created on first use, and waits until it accepts
    /// connections. Takes about 60 ms, a second on first use, longer after a crash.
    pub async fn start(settings: ClusterSettings, data_dir: &Path, unpacking: Unpacking) -> Result<Self, StartError> {
        let started = Instant::now();
        settings.check()?;
        if nix::unistd::geteuid().is_root() {
            return Err(StartError::Root);
        }
        let (unpack_settings, data_dir) = (settings.clone(), data_dir.to_owned());
        let places = supervisor::blocking(move || bundle::prepare(&unpack_settings, &data_dir, &unpacking)).await?;
        let (supervisor, socket_dir) = Supervisor::start(settings.clone(), places.clone()).await?;
        let pools = Pools::new(&socket_dir, &settings, supervisor.state());
        tokio::spawn(Pools::settle(Arc::downgrade(&pools)));
        tokio::spawn(Pools::sweep(Arc::downgrade(&pools), settings.idle_timeout()));
        let cluster = Self { supervisor: Arc::new(supervisor), pools, places: Arc::new(places.clone()) };
        let millis = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(pid = cluster.pid(), version = bundle::VERSION, millis, "the database server is ready");
        tokio::task::spawn_blocking(move || bundle::forget_older_installs(&settings, &places));
        Ok(cluster)
    }

    /// Stops the server: sessions are ended, a checkpoint is written. Forced after 4 s, gone after 5. Later
    /// requests get [`DatabaseError::Unavailable`].
    pub async fn stop(&self) {
        self.supervisor.stop().await;
        self.pools.close_all();
    }

    /// How the server is doing, now and from now on.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.supervisor.state()
    }

    /// Asks the server for a sign of life, within 2 s.
    pub async fn ping(&self) -> Result<(), DatabaseError> {
        let answer = tokio::time::timeout(PING_TIMEOUT, async {
            let connection = self.database(Login::maintenance()).get().await?;
            connection.batch_execute("").await?;
            Ok(())
        });
        answer.await.unwrap_or_else(|_| Err(DatabaseError::Unavailable("the server does not answer".into())))
    }

    /// Process number of the server, if one is running.
    pub fn pid(&self) -> Option<i32> {
        Some(self.supervisor.pid()).filter(|pid| *pid > 0)
    }

    pub fn database(&self, login: Login) -> Database {
        Database { cluster: self.clone(), login }
    }

    /// Where the server's socket is (`.s.PGSQL.5432`).
    pub fn socket_dir(&self) -> &Path {
        self.pools.socket_dir()
    }

    /// The server's version, such as `18.4`.
    pub fn version(&self) -> &'static str {
        bundle::VERSION
    }

    /// The path of a program of the bundle: `pg_dump`, `pg_restore`, `psql`.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        launch::program(&self.places, name)
    }

    /// The server's own data directory.
    pub fn cluster_dir(&self) -> &Path {
        &self.places.cluster
    }

    /// Connections open at the moment, in use or idle; at most `pool_budget`.
    pub fn open_connections(&self) -> usize {
        self.pools.open_connections()
    }

    /// Closes every pooled connection to a database, before it is dropped. Connections in use close when they
    /// are returned.
    pub async fn forget(&self, database: &str) {
        self.pools.forget(database);
    }

    /// A connection outside every pool but inside the global cap, for sessions that must not be reused.
    pub async fn connect(&self, login: &Login) -> Result<Connection, DatabaseError> {
        self.pools.connect(login).await
    }
}

impl Database {
    /// A connection from the pool, which is made on first use. Microseconds if one is idle, about 5 ms if one
    /// has to be opened; [`DatabaseError::Unavailable`] after `acquire_timeout_seconds`.
    pub async fn get(&self) -> Result<Connection, DatabaseError> {
        self.cluster.pools.get(&self.login).await
    }

    /// As [`Database::get`], for short transactions in one round trip.
    pub async fn pipeline(&self) -> Result<Connection<Pipeline>, DatabaseError> {
        self.cluster.pools.get(&self.login).await
    }

    pub fn login(&self) -> &Login {
        &self.login
    }
}

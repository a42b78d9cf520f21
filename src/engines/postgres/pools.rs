//! Connections: one small lazy pool per login under one budget for all.
//!
//! With one database per project a pool cannot be shared, so there are many pools, most of them empty. What
//! they share is the budget: every open connection holds one permit for as long as its socket lives. Who
//! finds the budget spent takes over the permit of the connection that has been idle longest anywhere, and
//! waits if every connection is at work.
//!
//! The hot path (an idle connection is there) takes a read lock on the map of pools and the pool's own short
//! lock, and awaits nothing.

use std::{
    collections::HashMap,
    future::poll_fn,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool::{
    Runtime,
    managed::{
        Manager, Metrics, Object, Pool, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts,
    },
};
use deadpool_postgres::ClientWrapper;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::timeout,
};
use tokio_postgres::{NoTls, error::SqlState};

use super::{ClusterSettings, DatabaseError, Login, ServerState};

/// Pause before a second attempt when the server has not yet noticed that some of its clients are gone.
const FULL_SERVER_PAUSE: Duration = Duration::from_millis(20);

/// How to log in through the socket in `socket_dir`.
pub(super) fn configuration(socket_dir: &Path, login: &Login) -> tokio_postgres::Config {
    let mut configuration = tokio_postgres::Config::new();
    configuration.host_path(socket_dir).user(&login.role).dbname(&login.database).application_name("run402");
    configuration
}

/// All pools of one server.
pub(super) struct Pools {
    socket_dir: PathBuf,
    settings: ClusterSettings,
    state: watch::Receiver<ServerState>,
    budget: Arc<Semaphore>,
    queue: BudgetQueue,
    pools: RwLock<HashMap<Login, Arc<LoginPool>>>,
    epoch: Instant,
}

struct LoginPool {
    connections: Pool<LoginManager>,
    /// When a connection was last asked for, in milliseconds since `Pools::epoch`.
    last_used: AtomicU64,
}

/// Opens the connections of one pool.
struct LoginManager {
    login: Login,
    /// The pools own us.
    pools: Weak<Pools>,
}

/// A connection to the database. Derefs to deadpool's client wrapper, so `prepare_cached`, `transaction`,
/// `query` … work. Dropping it returns it to its pool.
///
/// Whoever writes `BEGIN` by hand instead of calling `transaction()` must [`discard`](Self::discard) the
/// connection unless the matching `COMMIT` or `ROLLBACK` was sent, because the pool does not look.
pub struct Connection {
    // Declared, and therefore dropped, before `relief`, which looks at the pool the connection returned to.
    held: Held,
    relief: Relief,
}

enum Held {
    Pooled(Object<LoginManager>),
    Single(ClientWrapper),
}

/// On drop, gives an idle connection's permit to a waiting request.
struct Relief(Arc<Pools>);

impl Pools {
    pub(super) fn new(socket_dir: &Path, settings: &ClusterSettings, state: watch::Receiver<ServerState>) -> Arc<Self> {
        Arc::new(Self {
            socket_dir: socket_dir.into(),
            settings: settings.clone(),
            state,
            budget: Arc::new(Semaphore::new(settings.pool_budget)),
            queue: BudgetQueue::default(),
            pools: RwLock::default(),
            epoch: Instant::now(),
        })
    }

    pub(super) fn socket_dir(&self) -> &Path {
        &self.socket_dir
    }

    /// Open connections, in use or idle.
    pub(super) fn open_connections(&self) -> usize {
        self.settings.pool_budget.saturating_sub(self.budget.available_permits())
    }

    /// A pooled connection.
    pub(super) async fn get(self: &Arc<Self>, login: &Login) -> Result<Connection, DatabaseError> {
        // Twice, because `forget` may close the pool between finding and using it.
        for _ in 0..2 {
            self.check_ready()?;
            let pool = self.pool(login)?;
            pool.last_used.store(self.now(), Ordering::Relaxed);
            match pool.connections.get().await {
                Ok(object) => {
                    return Ok(Connection { held: Held::Pooled(object), relief: Relief(Arc::clone(self)) });
                }
                Err(PoolError::Closed) => {}
                Err(PoolError::Backend(error)) => return Err(error),
                Err(PoolError::Timeout(_)) => return Err(exhausted()),
                Err(error @ (PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_))) => {
                    return Err(DatabaseError::Unavailable(error.to_string()));
                }
            }
        }
        Err(DatabaseError::Unavailable("the database is being removed".into()))
    }

    /// A connection outside every pool.
    pub(super) async fn connect(self: &Arc<Self>, login: &Login) -> Result<Connection, DatabaseError> {
        let client = self.open(login).await?;
        Ok(Connection { held: Held::Single(client), relief: Relief(Arc::clone(self)) })
    }

    /// Closes the idle connections to a database; those in use close when they are returned.
    pub(super) fn forget(&self, database: &str) {
        let mut forgotten = Vec::new();
        self.pools.write().unwrap_or_else(PoisonError::into_inner).retain(|login, pool| {
            let keep = login.database != database;
            if !keep {
                forgotten.push(Arc::clone(pool));
            }
            keep
        });
        for pool in forgotten {
            pool.connections.close();
        }
    }

    /// Closes what has been idle too long and drops pools that have become empty. Runs until the server is
    /// stopped or the pools are gone.
    pub(super) async fn sweep(pools: Weak<Self>, idle_timeout: Duration) {
        let mut rounds = tokio::time::interval((idle_timeout / 4).max(Duration::from_millis(100)));
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            let Some(pools) = pools.upgrade() else { return };
            if *pools.state.borrow() == ServerState::Stopped {
                pools.close_all();
                return;
            }
            pools.close_idle(idle_timeout);
        }
    }

    fn close_idle(&self, idle_timeout: Duration) {
        for pool in self.all() {
            pool.connections.retain(|client, metrics| !client.is_closed() && metrics.last_used() < idle_timeout);
        }
        let now = self.now();
        let limit = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
        self.pools.write().unwrap_or_else(PoisonError::into_inner).retain(|_, pool| {
            // Someone who is just about to use the pool holds a second reference to it.
            let in_use = Arc::strong_count(pool) > 1 || pool.connections.status().size > 0;
            in_use || now.saturating_sub(pool.last_used.load(Ordering::Relaxed)) < limit
        });
    }

    pub(super) fn close_all(&self) {
        for (_, pool) in self.pools.write().unwrap_or_else(PoisonError::into_inner).drain() {
            pool.connections.close();
        }
    }

    fn all(&self) -> Vec<Arc<LoginPool>> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn check_ready(&self) -> Result<(), DatabaseError> {
        let reason = match *self.state.borrow() {
            ServerState::Ready => return Ok(()),
            ServerState::Restarting => "the server is restarting",
            ServerState::Failed => "the server cannot be started",
            ServerState::Stopped => "the server is stopped",
        };
        Err(DatabaseError::Unavailable(reason.into()))
    }

    fn pool(self: &Arc<Self>, login: &Login) -> Result<Arc<LoginPool>, DatabaseError> {
        if let Some(pool) = self.pools.read().unwrap_or_else(PoisonError::into_inner).get(login) {
            return Ok(Arc::clone(pool));
        }
        let pool = Arc::new(self.new_pool(login)?);
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(pools.entry(login.clone()).or_insert(pool)))
    }

    fn new_pool(self: &Arc<Self>, login: &Login) -> Result<LoginPool, DatabaseError> {
        let manager = LoginManager { login: login.clone(), pools: Arc::downgrade(self) };
        let connections = Pool::builder(manager)
            .config(PoolConfig {
                max_size: self.settings.pool_max_per_login,
                // Creating has its own limit in `open`.
                timeouts: Timeouts { wait: Some(self.settings.acquire_timeout()), create: None, recycle: None },
                // The most recently used first, so that what a peak left over grows old.
                queue_mode: QueueMode::Lifo,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DatabaseError::Unavailable(error.to_string()))?;
        Ok(LoginPool { connections, last_used: AtomicU64::new(self.now()) })
    }

    /// Opens a connection within the budget.
    async fn open(&self, login: &Login) -> Result<ClientWrapper, DatabaseError> {
        self.check_ready()?;
        timeout(self.settings.acquire_timeout(), async {
            let mut permit = self.permit().await?;
            loop {
                match log_in(&self.socket_dir, login, permit).await {
                    Err((error, returned)) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => {
                        permit = returned;
                        tokio::time::sleep(FULL_SERVER_PAUSE).await;
                    }
                    Err((error, _)) => {
                        let error = DatabaseError::from(error);
                        // Nothing was sent yet, so a lost server is nothing worse than an absent one.
                        let lost = error.is_transient();
                        return Err(if lost { DatabaseError::Unavailable(error.to_string()) } else { error });
                    }
                    Ok(client) => return Ok(client),
                }
            }
        })
        .await
        .unwrap_or_else(|_| Err(exhausted()))
    }

    /// One of the budget's permits, from the longest idle connection if need be.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, DatabaseError> {
        if let Ok(permit) = Arc::clone(&self.budget).try_acquire_owned() {
            return Ok(permit);
        }
        // Announce first, then look for an idle connection: a connection returned before the announcement
        // is found here, one returned later is given up by its `Relief`.
        let _waiting = self.queue.join();
        self.relieve();
        Arc::clone(&self.budget).acquire_owned().await.map_err(|_| exhausted())
    }

    /// Closes one idle connection if a request waits for the budget and none has been closed for it yet.
    fn relieve(&self) {
        if self.queue.promise() && !self.evict_one() {
            self.queue.break_promise();
        }
    }

    /// Closes the longest idle connection of the least recently used pool that has one.
    fn evict_one(&self) -> bool {
        // The budget bounds the number of pools that have connections.
        let mut pools = self.all();
        pools.retain(|pool| pool.connections.status().size > 0);
        pools.sort_by_key(|pool| pool.last_used.load(Ordering::Relaxed));
        pools.into_iter().any(|pool| {
            let mut found = false;
            // The front of the queue comes first and has been idle longest. Dead connections go as well, but
            // hold no permit any more.
            pool.connections.retain(|client, _| {
                let close = client.is_closed() || !found;
                found |= !client.is_closed();
                !close
            });
            found
        })
    }
}

fn exhausted() -> DatabaseError {
    DatabaseError::Unavailable("no connection became free in time".into())
}

/// Logs in and lets a task drive the connection. The permit lives in that task, so it is free exactly when
/// the socket is closed; a failed login returns it.
async fn log_in(
    socket_dir: &Path,
    login: &Login,
    permit: OwnedSemaphorePermit,
) -> Result<ClientWrapper, (tokio_postgres::Error, OwnedSemaphorePermit)> {
    let (client, mut connection) = match configuration(socket_dir, login).connect(NoTls).await {
        Ok(halves) => halves,
        Err(error) => return Err((error, permit)),
    };
    let driver = tokio::spawn(async move {
        // Notices are for whoever wrote the statement, and may quote data: they do not go to our log.
        // A broken connection is reported to the requests that wait on it.
        while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
        drop(permit);
    });
    Ok(ClientWrapper::new(client, driver))
}

/// The requests that wait for the budget. A closed connection frees its permit a little later, so what has
/// been closed for them is counted: otherwise every connection returned meanwhile would be closed too.
#[derive(Default)]
struct BudgetQueue {
    /// Read without the lock whenever a connection is returned.
    waiting: AtomicUsize,
    /// At most one connection per waiting request.
    promised: Mutex<usize>,
}

/// A place in the queue.
struct Waiting<'a>(&'a BudgetQueue);

impl BudgetQueue {
    fn join(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(self)
    }

    /// Whether one more connection should be closed; if so, that is now expected to happen.
    fn promise(&self) -> bool {
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return false;
        }
        let mut promised = self.promised();
        let needed = *promised < self.waiting.load(Ordering::SeqCst);
        *promised += usize::from(needed);
        needed
    }

    fn break_promise(&self) {
        let mut promised = self.promised();
        *promised = promised.saturating_sub(1);
    }

    fn promised(&self) -> MutexGuard<'_, usize> {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.break_promise();
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Manager for LoginManager {
    type Type = ClientWrapper;
    type Error = DatabaseError;

    async fn create(&self) -> Result<ClientWrapper, DatabaseError> {
        match self.pools.upgrade() {
            Some(pools) => pools.open(&self.login).await,
            None => Err(DatabaseError::Unavailable("the server is stopped".into())),
        }
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<DatabaseError> {
        if client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        self.0.relieve();
    }
}

impl Connection {
    /// Closes the connection instead of returning it to its pool.
    pub fn discard(self) {
        let Self { held, relief } = self;
        match held {
            Held::Pooled(object) => drop(Object::take(object)),
            Held::Single(client) => drop(client),
        }
        drop(relief);
    }
}

impl Deref for Connection {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        match &self.held {
            Held::Pooled(object) => object,
            Held::Single(client) => client,
        }
    }
}

impl DerefMut for Connection {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        match &mut self.held {
            Held::Pooled(object) => object,
            Held::Single(client) => client,
        }
    }
}

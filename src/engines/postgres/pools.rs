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
    marker::PhantomData,
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

use super::{ClusterSettings, DatabaseError, Login, ServerState, pipeline::Pipeline};

/// Pause before a second attempt when the server has not yet noticed that some of its clients are gone.
const FULL_SERVER_PAUSE: Duration = Duration::from_millis(20);

/// How long after the start of the server what the boot opened is given back, and how long it has to be idle then.
const SETTLED_AFTER: Duration = Duration::from_secs(3);
const SETTLED_IDLE: Duration = Duration::from_secs(1);

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

pub(super) struct LoginPool {
    clients: Pool<LoginManager<ClientWrapper>>,
    pipelines: Pool<LoginManager<Pipeline>>,
    /// When a connection was last asked for, in milliseconds since `Pools::epoch`.
    last_used: AtomicU64,
}

impl LoginPool {
    fn size(&self) -> usize {
        self.clients.status().size + self.pipelines.status().size
    }

    fn close(&self) {
        self.clients.close();
        self.pipelines.close();
    }
}

/// Opens the connections of one pool.
pub(super) struct LoginManager<L> {
    login: Login,
    /// The pools own us.
    pools: Weak<Pools>,
    link: PhantomData<fn() -> L>,
}

/// Why a login did not succeed.
pub(super) enum Refusal {
    /// The server has no room, perhaps because it has not noticed that some of its clients are gone.
    Full,
    Other(DatabaseError),
}

/// A kind of connection that pools can hold.
pub(super) trait Link: Sized + Send + 'static {
    /// Whether the next request can use it.
    fn is_usable(&self) -> bool;

    /// Logs in. The connection keeps the permit for as long as its socket lives; a failed login returns it.
    fn log_in(
        socket_dir: &Path,
        login: &Login,
        permit: OwnedSemaphorePermit,
    ) -> impl Future<Output = Result<Self, (Refusal, OwnedSemaphorePermit)>> + Send;

    /// The pool of this kind.
    fn pool(of: &LoginPool) -> &Pool<LoginManager<Self>>;
}

/// A connection to the database. Derefs to deadpool's client wrapper, so `prepare_cached`, `transaction`,
/// `query` … work. Dropping it returns it to its pool.
///
/// Whoever writes `BEGIN` by hand instead of calling `transaction()` must [`discard`](Self::discard) the
/// connection unless the matching `COMMIT` or `ROLLBACK` was sent, because the pool does not look.
#[expect(private_bounds, reason = "the two kinds are ours")]
pub struct Connection<L: Link = ClientWrapper> {
    // Declared, and therefore dropped, before `relief`, which looks at the pool the connection returned to.
    held: Held<L>,
    relief: Relief,
}

enum Held<L: Link> {
    Pooled(Object<LoginManager<L>>),
    Single(L),
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
    pub(super) async fn get<L: Link>(self: &Arc<Self>, login: &Login) -> Result<Connection<L>, DatabaseError> {
        // Twice, because `forget` may close the pool between finding and using it.
        for _ in 0..2 {
            self.check_ready()?;
            let pool = self.pool(login)?;
            pool.last_used.store(self.now(), Ordering::Relaxed);
            match L::pool(&pool).get().await {
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
            pool.close();
        }
    }

    /// Closes the connections of the boot, early and once: every part of the box asks for its own at the same moment,
    /// and an idle server process takes some three megabytes.
    pub(super) async fn settle(pools: Weak<Self>) {
        tokio::time::sleep(SETTLED_AFTER).await;
        if let Some(pools) = pools.upgrade() {
            pools.close_idle(SETTLED_IDLE);
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
            pool.clients.retain(|link, metrics| link.is_usable() && metrics.last_used() < idle_timeout);
            pool.pipelines.retain(|link, metrics| link.is_usable() && metrics.last_used() < idle_timeout);
        }
        let now = self.now();
        let limit = u64::try_from(idle_timeout.as_millis()).unwrap_or(u64::MAX);
        self.pools.write().unwrap_or_else(PoisonError::into_inner).retain(|_, pool| {
            // Someone who is just about to use the pool holds a second reference to it.
            let in_use = Arc::strong_count(pool) > 1 || pool.size() > 0;
            in_use || now.saturating_sub(pool.last_used.load(Ordering::Relaxed)) < limit
        });
    }

    pub(super) fn close_all(&self) {
        for (_, pool) in self.pools.write().unwrap_or_else(PoisonError::into_inner).drain() {
            pool.close();
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
        let last_used = AtomicU64::new(self.now());
        Ok(LoginPool { clients: self.new_links(login)?, pipelines: self.new_links(login)?, last_used })
    }

    fn new_links<L: Link>(self: &Arc<Self>, login: &Login) -> Result<Pool<LoginManager<L>>, DatabaseError> {
        Pool::builder(LoginManager { login: login.clone(), pools: Arc::downgrade(self), link: PhantomData })
            .config(PoolConfig {
                max_size: self.settings.pool_max_per_login,
                // Creating has its own limit in `open`.
                timeouts: Timeouts { wait: Some(self.settings.acquire_timeout()), create: None, recycle: None },
                // The most recently used first, so that what a peak left over grows old.
                queue_mode: QueueMode::Lifo,
            })
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| DatabaseError::Unavailable(error.to_string()))
    }

    /// Opens a connection within the budget.
    async fn open<L: Link>(&self, login: &Login) -> Result<L, DatabaseError> {
        self.check_ready()?;
        timeout(self.settings.acquire_timeout(), async {
            let mut permit = self.permit().await?;
            loop {
                match L::log_in(&self.socket_dir, login, permit).await {
                    Ok(link) => return Ok(link),
                    Err((Refusal::Full, returned)) => {
                        permit = returned;
                        tokio::time::sleep(FULL_SERVER_PAUSE).await;
                    }
                    // Nothing was sent yet, so a lost server is nothing worse than an absent one.
                    Err((Refusal::Other(error), _)) if error.is_transient() => {
                        return Err(DatabaseError::Unavailable(error.to_string()));
                    }
                    Err((Refusal::Other(error), _)) => return Err(error),
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
        pools.retain(|pool| pool.size() > 0);
        pools.sort_by_key(|pool| pool.last_used.load(Ordering::Relaxed));
        pools.into_iter().any(|pool| evict_from(&pool.clients) || evict_from(&pool.pipelines))
    }
}

/// Closes the longest idle connection of one pool, if there is one. It is at the front of the queue. Dead ones go as
/// well, but hold no permit any more.
fn evict_from<L: Link>(pool: &Pool<LoginManager<L>>) -> bool {
    let mut found = false;
    pool.retain(|link, _| {
        let close = !link.is_usable() || !found;
        found |= link.is_usable();
        !close
    });
    found
}

fn exhausted() -> DatabaseError {
    DatabaseError::Exhausted
}

impl Link for ClientWrapper {
    fn is_usable(&self) -> bool {
        !self.is_closed()
    }

    /// Lets a task drive the connection. The permit lives in that task, so it is free exactly when the socket is
    /// closed.
    async fn log_in(
        socket_dir: &Path,
        login: &Login,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, (Refusal, OwnedSemaphorePermit)> {
        let (client, mut connection) = match configuration(socket_dir, login).connect(NoTls).await {
            Ok(halves) => halves,
            Err(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS) => return Err((Refusal::Full, permit)),
            Err(error) => return Err((Refusal::Other(error.into()), permit)),
        };
        let driver = tokio::spawn(async move {
            // Notices are for whoever wrote the statement, and may quote data: they do not go to our log.
            // A broken connection is reported to the requests that wait on it.
            while let Some(Ok(_)) = poll_fn(|context| connection.poll_message(context)).await {}
            drop(permit);
        });
        Ok(Self::new(client, driver))
    }

    fn pool(of: &LoginPool) -> &Pool<LoginManager<Self>> {
        &of.clients
    }
}

impl Link for Pipeline {
    fn is_usable(&self) -> bool {
        Self::is_usable(self)
    }

    async fn log_in(
        socket_dir: &Path,
        login: &Login,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, (Refusal, OwnedSemaphorePermit)> {
        Self::open(socket_dir, login, permit).await.map_err(|(error, permit)| {
            let is_full = error.report().is_some_and(|report| report.sqlstate == SqlState::TOO_MANY_CONNECTIONS.code());
            (if is_full { Refusal::Full } else { Refusal::Other(error.into()) }, permit)
        })
    }

    fn pool(of: &LoginPool) -> &Pool<LoginManager<Self>> {
        &of.pipelines
    }
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

impl<L: Link> Manager for LoginManager<L> {
    type Type = L;
    type Error = DatabaseError;

    async fn create(&self) -> Result<L, DatabaseError> {
        match self.pools.upgrade() {
            Some(pools) => pools.open(&self.login).await,
            None => Err(DatabaseError::Unavailable("the server is stopped".into())),
        }
    }

    async fn recycle(&self, link: &mut L, _: &Metrics) -> RecycleResult<DatabaseError> {
        if link.is_usable() { Ok(()) } else { Err(RecycleError::message("closed, or left in the middle of its work")) }
    }
}

impl Drop for Relief {
    fn drop(&mut self) {
        self.0.relieve();
    }
}

#[expect(private_bounds, reason = "the two kinds are ours")]
impl<L: Link> Connection<L> {
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

impl<L: Link> Deref for Connection<L> {
    type Target = L;

    fn deref(&self) -> &L {
        match &self.held {
            Held::Pooled(object) => object,
            Held::Single(client) => client,
        }
    }
}

impl<L: Link> DerefMut for Connection<L> {
    fn deref_mut(&mut self) -> &mut L {
        match &mut self.held {
            Held::Pooled(object) => object,
            Held::Single(client) => client,
        }
    }
}

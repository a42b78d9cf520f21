//! What the host holds for one instance.

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use futures_util::{
    future::{AbortHandle, Abortable, BoxFuture},
    stream::FuturesUnordered,
};
use tokio::sync::{Mutex, mpsc};
use wasmtime::{Memory as LinearMemory, ResourceLimiter, Result};

use super::{
    codecs::Codec,
    egress::{Body, Egress, Upload},
    memory::{Held, Memory},
    services::{HostServices, LogLevel, LogLine, ServiceError},
    settings::Limits,
};

/// A completed operation: the promise it settles and how.
pub(super) struct Event {
    pub(super) id: i32,
    pub(super) result: Result<Vec<u8>, ServiceError>,
}

type Operation = BoxFuture<'static, Option<Event>>;

/// The data of a store.
pub(super) struct State {
    /// Set once the instance exists.
    pub(super) memory: Option<LinearMemory>,
    /// What waits for the guest's `read`.
    pub(super) outbox: Vec<u8>,
    /// What the export that ran last gave back: status and bytes.
    pub(super) result: Option<(i32, Vec<u8>)>,
    pub(super) pending: FuturesUnordered<Operation>,
    /// How to end an operation, and the bytes it holds.
    aborts: HashMap<i32, (AbortHandle, usize)>,
    /// Bytes that operations under way hold outside the guest's memory.
    in_flight: usize,
    pub(super) bodies: Table<Arc<Mutex<Body>>>,
    pub(super) uploads: HashMap<i64, mpsc::Sender<Upload>>,
    pub(super) codecs: Table<Codec>,
    pub(super) meter: Meter,
    pub(super) limits: Limits,
    /// None between calls.
    pub(super) services: Option<Arc<dyn HostServices>>,
    pub(super) egress: Arc<Egress>,
    budget: Budget,
}

/// What is left of the limits of one call.
#[derive(Default)]
struct Budget {
    host_calls: u64,
    log_bytes: usize,
    dropped_logs: usize,
}

/// Memory of the instance, measured where it grows.
pub(super) struct Meter {
    limit: usize,
    held: Held,
    pub(super) refused: bool,
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        if desired > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.held.grow(current, desired)?;
        Ok(true)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= 20_000)
    }
}

/// Things the guest names by number.
pub(super) struct Table<T> {
    items: HashMap<i32, T>,
    next: i32,
}

/// Handles of one kind that may be open at a time.
const MAX_HANDLES: usize = 1024;

impl<T> Table<T> {
    fn new() -> Self {
        Self { items: HashMap::new(), next: 1 }
    }

    pub(super) fn insert(&mut self, item: T) -> Result<i32, ServiceError> {
        if self.items.len() >= MAX_HANDLES {
            return Err(ServiceError::new("too many open streams"));
        }
        let handle = self.next;
        self.next = self.next.wrapping_add(1);
        self.items.insert(handle, item);
        Ok(handle)
    }

    pub(super) fn get(&self, handle: i32) -> Option<&T> {
        self.items.get(&handle)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.items.values()
    }

    pub(super) fn remove(&mut self, handle: i32) -> Option<T> {
        self.items.remove(&handle)
    }

    pub(super) fn put_back(&mut self, handle: i32, item: T) {
        self.items.insert(handle, item);
    }

    /// Makes room, when there is none, by dropping what `is_over`.
    pub(super) fn prune(&mut self, is_over: impl Fn(&T) -> bool) {
        if self.items.len() >= MAX_HANDLES {
            self.items.retain(|_, item| !is_over(item));
        }
    }

    fn clear(&mut self) {
        self.items.clear();
    }
}

impl State {
    pub(super) fn new(limits: Limits, egress: Arc<Egress>, memory: Arc<Memory>) -> Self {
        Self {
            memory: None,
            outbox: Vec::new(),
            result: None,
            pending: FuturesUnordered::new(),
            aborts: HashMap::new(),
            in_flight: 0,
            bodies: Table::new(),
            uploads: HashMap::new(),
            codecs: Table::new(),
            meter: Meter { limit: limits.memory_bytes, held: Held::new(memory), refused: false },
            budget: Budget::default(),
            limits,
            services: None,
            egress,
        }
    }

    /// A call begins: fresh budgets, this platform.
    pub(super) fn begin(&mut self, services: Arc<dyn HostServices>) {
        self.services = Some(services);
        self.budget = Budget { host_calls: self.limits.host_calls, log_bytes: self.limits.log_bytes, dropped_logs: 0 };
        self.meter.refused = false;
    }

    /// A call ends.
    pub(super) fn end(&mut self) {
        if self.budget.dropped_logs > 0 {
            let text =
                format!("{} more log entries were dropped: the limit of this call was met", self.budget.dropped_logs);
            self.emit(LogLevel::Warn, text);
        }
        // Connections of this call are not the next one's.
        self.bodies.clear();
        self.uploads.clear();
        self.codecs.clear();
        self.services = None;
    }

    /// Counts a host operation; false when the call has used its share.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.budget.host_calls > 0;
        self.budget.host_calls = self.budget.host_calls.saturating_sub(1);
        left
    }

    pub(super) fn log(&mut self, level: LogLevel, text: &[u8]) {
        if text.len() > self.budget.log_bytes {
            self.budget.dropped_logs += 1;
            return;
        }
        self.budget.log_bytes -= text.len();
        self.emit(level, String::from_utf8_lossy(text).into_owned());
    }

    fn emit(&self, level: LogLevel, text: String) {
        if let Some(services) = &self.services {
            services.log(LogLine { at: SystemTime::now(), level, text });
        }
    }

    /// Starts an operation that settles promise `id` and holds this many bytes meanwhile.
    pub(super) fn begin_operation(
        &mut self,
        id: i32,
        bytes: usize,
        work: impl Future<Output = Result<Vec<u8>, ServiceError>> + Send + 'static,
    ) -> Result<(), ServiceError> {
        if self.pending.len() >= self.limits.concurrent_operations {
            return Err(ServiceError::new(format!(
                "more than {} operations at a time: await some before starting others",
                self.limits.concurrent_operations
            )));
        }
        // A guest could otherwise have the host keep the same memory of its own hundreds of times.
        if self.in_flight.saturating_add(bytes) > self.limits.memory_bytes {
            return Err(ServiceError::named("RangeError", "operations under way hold as much memory as they may"));
        }
        self.in_flight += bytes;
        let (handle, registration) = AbortHandle::new_pair();
        self.aborts.insert(id, (handle, bytes));
        let work = Abortable::new(work, registration);
        self.pending.push(Box::pin(async move { work.await.ok().map(|result| Event { id, result }) }));
        Ok(())
    }

    pub(super) fn cancel(&mut self, id: i32) {
        if let Some((handle, bytes)) = self.aborts.remove(&id) {
            self.in_flight -= bytes;
            handle.abort();
        }
    }

    pub(super) fn completed(&mut self, id: i32) {
        if let Some((_, bytes)) = self.aborts.remove(&id) {
            self.in_flight -= bytes;
        }
    }
}

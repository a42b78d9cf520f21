//! The door of the engine: programs and calls.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    task::AbortHandle,
    time::{Instant, timeout_at},
};
use wasmtime::InstancePre;

use super::{
    abi,
    clock::Clock,
    egress::Egress,
    failure::Failure,
    frame::{pack, unpack},
    guest,
    idle::IdlePool,
    image::{Image, Modules},
    instance::Instance,
    memory::{self, Memory},
    services::HostServices,
    settings::{Limits, SandboxSettings},
    state::State,
};

/// How often idle instances are looked through.
const SWEEP: Duration = Duration::from_secs(10);

/// Headers of one response, and bytes of their names and values.
const MAX_HEADERS: usize = 256;
const MAX_HEADER_BYTES: usize = 64 << 10;

/// A request as the guest's handler sees it. Names of headers are as given.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    pub url: String,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// The request context of `@run402/functions` (contract 05 §8.4, without `request`): an object with `requestId,
    /// projectId, releaseId, locale, defaultLocale, host, invocationKind, idempotencyKey, actor`. Null: the handler
    /// runs without one.
    pub context: serde_json::Value,
}

/// What the handler answered; the body is whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    /// Whether the instance was made for this request.
    pub cold: bool,
    /// Whether the handler read something personal, so that no cache may keep the answer.
    pub tainted: bool,
}

/// An image with an environment and limits: what is called. Instances belong to one program; a change of anything
/// is a new program.
#[derive(Debug)]
pub struct Program {
    id: u64,
    image: Arc<Image>,
    limits: Limits,
    /// The setup of an instance, as the prelude reads it.
    setup: Vec<u8>,
}

/// The sandbox of a process. Cheap to clone; the last one dropped ends its threads.
#[derive(Clone)]
pub struct Sandbox(Arc<Shared>);

struct Shared {
    settings: SandboxSettings,
    cache: PathBuf,
    key: [u8; 32],
    runtime: Option<Runtime>,
    machine: OnceCell<Machine>,
    inner: Arc<Inner>,
    next_program: AtomicU64,
}

/// What calls share; tasks keep it alive, not the runtime they run on.
struct Inner {
    egress: Arc<Egress>,
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<IdlePool>>,
    memory: Arc<Memory>,
    idle_age: Duration,
}

/// The compiled guest.
#[derive(Clone)]
struct Machine {
    pre: InstancePre<State>,
    clock: Arc<Clock>,
}

#[derive(Serialize)]
struct Setup<'a> {
    env: &'a BTreeMap<String, String>,
}

#[derive(Serialize)]
struct RequestHead<'a> {
    method: &'a str,
    url: &'a str,
    headers: &'a [(String, String)],
    context: &'a serde_json::Value,
}

#[derive(Deserialize)]
struct ResponseHead {
    status: f64,
    headers: Vec<(String, String)>,
    #[serde(default)]
    tainted: bool,
}

/// Where the instance of a call comes from.
enum Start {
    Idle(Box<Instance>),
    Fresh(OwnedSemaphorePermit),
}

/// Ends the task of a call whose caller went away.
struct Aborting(AbortHandle);

impl Drop for Aborting {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sandbox {
    /// Starts the threads. The guest is compiled for whoever first needs it, or by [`Sandbox::warm`]: a second or two
    /// on the first boot, later read from `cache`, a directory of this process alone, under a seal of `key`. A box
    /// whose functions are not called keeps no machine code in memory.
    pub fn start(settings: SandboxSettings, cache: PathBuf, key: [u8; 32]) -> std::io::Result<Self> {
        let threads = match settings.threads {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            threads => threads,
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("sandbox")
            .on_thread_start(give_way)
            .enable_all()
            .build()?;
        let idle = Arc::new(Mutex::new(IdlePool::default()));
        let memory = Arc::new(Memory::new(match settings.total_memory_mb {
            0 => memory::half_of_the_machine(),
            megabytes => megabytes as usize * (1 << 20),
        }));
        memory.spare(Arc::downgrade(&idle));
        let inner = Arc::new(Inner {
            egress: Arc::new(Egress::new(&settings.egress).map_err(std::io::Error::other)?),
            slots: Arc::new(Semaphore::new(settings.max_instances as usize)),
            idle,
            memory,
            idle_age: Duration::from_secs(settings.idle_seconds.into()),
        });
        runtime.spawn(sweep(Arc::downgrade(&inner)));
        let shared = Arc::new(Shared {
            settings,
            cache,
            key,
            runtime: Some(runtime),
            machine: OnceCell::new(),
            inner,
            next_program: AtomicU64::new(1),
        });
        Ok(Self(shared))
    }

    /// Has the guest compiled in the background.
    pub fn warm(&self) {
        let warming = Arc::downgrade(&self.0);
        let Ok(handle) = self.handle() else { return };
        handle.spawn(async move {
            if let Some(shared) = warming.upgrade()
                && let Err(failure) = Self(shared).machine().await
            {
                tracing::error!(%failure, "the guest of the function sandbox does not compile");
            }
        });
    }

    /// Names the guest: another one compiles and runs code in another way.
    pub fn fingerprint(&self) -> String {
        guest::digest()
    }

    /// Waits until the guest is compiled.
    pub async fn ready(&self) -> Result<(), Failure> {
        self.machine().await.map(drop)
    }

    /// Parses and links the modules. Nothing of them runs; every error in them that can be known without running
    /// shows here.
    pub async fn compile(&self, modules: Modules) -> Result<Arc<Image>, Failure> {
        modules.check()?;
        let machine = self.machine().await?;
        let limits = Limits { memory_bytes: self.0.settings.max_memory_mb as usize * (1 << 20), ..Limits::default() };
        let deadline = Instant::now() + limits.timeout;
        let (egress, memory) = (self.0.inner.egress.clone(), self.0.inner.memory.clone());
        let (first, second) = (self.0.inner.slot(deadline).await?, self.0.inner.slot(deadline).await?);
        self.spawn(async move {
            let _ticking = machine.clock.tick();
            let work = async {
                let bare = Instance::new(&machine.pre, limits.clone(), egress.clone(), memory.clone(), first);
                let bare = bare.await.map_err(broken)?;
                let linked = Instance::new(&machine.pre, limits, egress, memory, second);
                let mut linked = linked.await.map_err(broken)?;
                let exports = linked.compile(&modules).await?;
                Ok(Arc::new(Image::between(bare.bytes(), linked.bytes(), exports)))
            };
            timeout_at(deadline, work).await.unwrap_or(Err(Failure::Timeout))
        })
        .await
    }

    /// A program of an image. `env` is what `process.env` holds.
    pub fn program(&self, image: Arc<Image>, env: &BTreeMap<String, String>, limits: Limits) -> Program {
        let memory_bytes = limits.memory_bytes.min(self.0.settings.max_memory_mb as usize * (1 << 20));
        Program {
            id: self.0.next_program.fetch_add(1, Ordering::Relaxed),
            image,
            limits: Limits { memory_bytes, ..limits },
            setup: serde_json::to_vec(&Setup { env }).unwrap_or_else(|_| b"{\"env\":{}}".to_vec()),
        }
    }

    /// Calls the program's handler. The deadline of its limits covers all: waiting for an instance, the start of a
    /// fresh one, the handler, and what it waits for.
    pub async fn call(
        &self,
        program: &Arc<Program>,
        request: Request,
        services: Arc<dyn HostServices>,
    ) -> Result<Response, Failure> {
        let deadline = Instant::now() + program.limits.timeout;
        let machine = match timeout_at(deadline, self.machine()).await {
            Ok(machine) => machine?,
            Err(_) => return Err(Failure::Busy),
        };
        let (inner, program) = (self.0.inner.clone(), program.clone());
        self.spawn(async move {
            // By the thread that runs it, when it does: under load a few instances serve all calls and stay in its
            // caches, the others grow old.
            let idle = inner.idle().take(program.id);
            let start = match idle {
                Some(instance) => Start::Idle(instance),
                None => Start::Fresh(inner.slot(deadline).await?),
            };
            let _ticking = machine.clock.tick();
            let run = inner.run(&machine, &program, request, services, start);
            let (outcome, instance) = timeout_at(deadline, run).await.unwrap_or((Err(Failure::Timeout), None));
            if let Some(instance) = instance {
                inner.idle().put(program.id, instance);
            }
            outcome
        })
        .await
    }

    /// Drops the idle instances of a program that will not be called again.
    pub fn forget(&self, program: &Program) {
        let dropped = self.0.inner.idle().forget(program.id);
        drop(dropped);
    }

    /// Instances between requests.
    pub fn idle_instances(&self) -> usize {
        self.0.inner.idle().len()
    }

    fn handle(&self) -> std::io::Result<&Handle> {
        self.0.runtime.as_ref().map(Runtime::handle).ok_or_else(|| std::io::Error::other("the sandbox has ended"))
    }

    async fn machine(&self) -> Result<Machine, Failure> {
        let shared = &self.0;
        let load = || async {
            let (settings, cache, key) = (shared.settings.clone(), shared.cache.clone(), shared.key);
            let load = move || -> wasmtime::Result<Machine> {
                let engine = guest::engine(&settings)?;
                let module = guest::load(&engine, &cache, &key)?;
                let pre = abi::linker(&engine)?.instantiate_pre(&module)?;
                Ok(Machine { pre, clock: Arc::new(Clock::start(&engine)?) })
            };
            let handle = self.handle().map_err(|error| Failure::Broken(error.to_string()))?;
            handle.spawn_blocking(load).await.map_err(|error| Failure::Broken(error.to_string()))?.map_err(broken)
        };
        shared.machine.get_or_try_init(load).await.cloned()
    }

    /// Runs on the sandbox's own threads; ends with the caller.
    async fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let task = self.handle().map_err(|error| Failure::Broken(error.to_string()))?.spawn(work);
        let _aborting = Aborting(task.abort_handle());
        task.await.map_err(|error| Failure::Broken(error.to_string()))?
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Inner {
    fn idle(&self) -> MutexGuard<'_, IdlePool> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The right to make one more instance. When all are taken, the instance that was idle longest makes room.
    async fn slot(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Failure> {
        if let Ok(permit) = self.slots.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let evicted = self.idle().evict();
        drop(evicted);
        match timeout_at(deadline, self.slots.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Failure::Busy),
        }
    }

    /// One call on an idle or fresh instance, which comes back when it may serve again.
    async fn run(
        &self,
        machine: &Machine,
        program: &Program,
        request: Request,
        services: Arc<dyn HostServices>,
        start: Start,
    ) -> (Result<Response, Failure>, Option<Box<Instance>>) {
        let cold = matches!(start, Start::Fresh(_));
        let mut instance = match start {
            Start::Idle(mut instance) => {
                instance.begin(services);
                instance
            }
            Start::Fresh(slot) => match self.fresh(machine, program, services, slot).await {
                Ok(instance) => Box::new(instance),
                Err(failure) => return (Err(failure), None),
            },
        };
        let head = RequestHead {
            method: &request.method,
            url: &request.url,
            headers: &request.headers,
            context: &request.context,
        };
        let outcome = instance.handle(&pack(&head, &[&request.body])).await;
        let quiet = instance.end();
        match outcome.and_then(|frame| response(frame, &program.limits, cold)) {
            Ok(response) => (Ok(response), quiet.then_some(instance)),
            // What threw has its state whole, as a server that caught an error; what broke has not.
            Err(failure @ (Failure::Threw(_) | Failure::InvalidResponse(_) | Failure::ResponseTooLarge(_))) => {
                (Err(failure), quiet.then_some(instance))
            }
            Err(failure) => (Err(failure), None),
        }
    }

    async fn fresh(
        &self,
        machine: &Machine,
        program: &Program,
        services: Arc<dyn HostServices>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Instance, Failure> {
        let limits = program.limits.clone();
        if program.image.memory_bytes > limits.memory_bytes {
            return Err(Failure::Memory);
        }
        let instance = Instance::new(&machine.pre, limits, self.egress.clone(), self.memory.clone(), slot);
        let mut instance = instance.await.map_err(broken)?;
        instance.lay_over(&program.image).map_err(broken)?;
        instance.begin(services);
        match instance.start(&program.setup).await {
            Ok(()) => Ok(instance),
            Err(failure) => {
                instance.end();
                Err(failure)
            }
        }
    }
}

/// Whoever serves requests, and Postgres, goes first on this thread's processor: a nice value of 10 (setpriority(2)).
/// Functions keep a tenth of it when others never rest.
fn give_way() {
    /// Of 0 to 99, where niceness goes from 19 to -20.
    const PRIORITY: u8 = 22;
    let set = ThreadPriorityValue::try_from(PRIORITY)
        .map(|priority| set_current_thread_priority(ThreadPriority::Crossplatform(priority)));
    if !matches!(set, Ok(Ok(()))) {
        tracing::debug!(?set, "the threads of functions run at the priority of all others");
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is called as what `map_err` takes")]
fn broken(error: wasmtime::Error) -> Failure {
    Failure::from_host(&error)
}

fn response(frame: Vec<u8>, limits: &Limits, cold: bool) -> Result<Response, Failure> {
    let unreadable = || Failure::InvalidResponse("the handler's response is unreadable".to_owned());
    let (head, parts) = unpack::<ResponseHead>(frame).map_err(|_| unreadable())?;
    let body = parts.into_iter().next().unwrap_or_default();
    if body.len() > limits.response_bytes {
        return Err(Failure::ResponseTooLarge(limits.response_bytes));
    }
    let header_bytes: usize = head.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
    if header_bytes > MAX_HEADER_BYTES || head.headers.len() > MAX_HEADERS {
        let message = format!("the response has more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them");
        return Err(Failure::InvalidResponse(message));
    }
    let status = (200..=599).find(|status| f64::from(*status) == head.status);
    let status = status.ok_or_else(|| Failure::InvalidResponse(format!("{} is not a status", head.status)))?;
    Ok(Response { status, headers: head.headers, body, cold, tainted: head.tainted })
}

/// Drops instances that were idle too long.
async fn sweep(inner: std::sync::Weak<Inner>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(inner) = inner.upgrade() else { return };
        let expired = inner.idle().expire(inner.idle_age);
        drop(expired);
    }
}

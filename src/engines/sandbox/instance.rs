//! One instance of the guest and the calls into it.

use std::sync::Arc;

use rand::RngExt;
use tokio::sync::OwnedSemaphorePermit;
use wasmtime::{Error, InstancePre, Memory as LinearMemory, Result, Store, Trap, TypedFunc};

use super::{
    abi,
    egress::Egress,
    failure::Failure,
    image::{Image, Modules},
    memory::Memory,
    services::HostServices,
    settings::Limits,
    state::State,
};

/// Bytes of a WebAssembly page.
const WASM_PAGE: usize = 65536;
/// Bytes of the guest's inbox (`INBOX` in glue.c).
const INBOX: usize = 16384;

type Bytes = TypedFunc<(u32, u32), i32>;

/// The exports of web/guest/quickjs/glue.c.
struct Exports {
    alloc: TypedFunc<u32, u32>,
    add_module: Bytes,
    link: Bytes,
    seed: TypedFunc<(u64, u32, u32), i32>,
    start: TypedFunc<(), i32>,
    inbox: TypedFunc<(), u32>,
    handle: Bytes,
}

pub(super) struct Instance {
    store: Store<State>,
    memory: LinearMemory,
    exports: Exports,
    /// Where the inbox is, once it was asked for.
    inbox: Option<u32>,
    /// The right to exist; given back last, when the store is gone.
    _slot: OwnedSemaphorePermit,
}

impl Instance {
    /// A bare guest.
    pub(super) async fn new(
        pre: &InstancePre<State>,
        limits: Limits,
        egress: Arc<Egress>,
        shared: Arc<Memory>,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self> {
        let mut store = Store::new(pre.module().engine(), State::new(limits, egress, shared));
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = pre.instantiate_async(&mut store).await?;
        let memory =
            instance.get_memory(&mut store, "memory").ok_or_else(|| Error::msg("the guest exports no memory"))?;
        store.data_mut().memory = Some(memory);
        let exports = Exports {
            alloc: instance.get_typed_func(&mut store, "alloc")?,
            add_module: instance.get_typed_func(&mut store, "add_module")?,
            link: instance.get_typed_func(&mut store, "link")?,
            seed: instance.get_typed_func(&mut store, "seed")?,
            start: instance.get_typed_func(&mut store, "start")?,
            inbox: instance.get_typed_func(&mut store, "inbox")?,
            handle: instance.get_typed_func(&mut store, "handle")?,
        };
        Ok(Self { store, memory, exports, inbox: None, _slot: slot })
    }

    /// Compiles and links; nothing of the modules runs. Answers the names the entry exports.
    pub(super) async fn compile(&mut self, modules: &Modules) -> Result<Vec<String>, Failure> {
        for (path, text) in &modules.files {
            let mut bytes = Vec::with_capacity(path.len() + 1 + text.len());
            bytes.extend_from_slice(path.as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(text.as_bytes());
            let status = self.give(&self.exports.add_module.clone(), &bytes).await;
            self.check(status)?;
        }
        let status = self.give(&self.exports.link.clone(), modules.entry.as_bytes()).await;
        let names = self.check(status).map_err(|failure| match failure {
            Failure::Threw(thrown) => Failure::from_compilation(thrown),
            other => other,
        })?;
        Ok(String::from_utf8_lossy(&names).lines().map(str::to_owned).collect())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.data(&self.store)
    }

    pub(super) fn lay_over(&mut self, image: &Image) -> Result<()> {
        let size = self.memory.data_size(&self.store);
        if image.memory_bytes > size {
            self.memory.grow(&mut self.store, ((image.memory_bytes - size) / WASM_PAGE) as u64)?;
        }
        image.lay_over(self.memory.data_mut(&mut self.store));
        Ok(())
    }

    /// Gives the instance its environment and runs the top level of the modules.
    pub(super) async fn start(&mut self, setup: &[u8]) -> Result<(), Failure> {
        let seed = rand::rng().random::<u64>();
        let status = match self.put(setup).await {
            Ok((at, length)) => self.exports.seed.clone().call_async(&mut self.store, (seed, at, length)).await,
            Err(error) => Err(error),
        };
        self.check(status)?;
        let status = self.exports.start.clone().call_async(&mut self.store, ()).await;
        self.check(status).map(drop)
    }

    pub(super) async fn handle(&mut self, frame: &[u8]) -> Result<Vec<u8>, Failure> {
        let place = if frame.len() > INBOX { self.put(frame).await } else { self.post(frame).await };
        let status = match place {
            Ok(place) => self.exports.handle.call_async(&mut self.store, place).await,
            Err(error) => Err(error),
        };
        self.check(status)
    }

    async fn post(&mut self, bytes: &[u8]) -> Result<(u32, u32)> {
        let at = match self.inbox {
            Some(at) => at,
            None => self.exports.inbox.call_async(&mut self.store, ()).await?,
        };
        self.inbox = Some(at);
        self.memory.write(&mut self.store, at as usize, bytes)?;
        Ok((at, u32::try_from(bytes.len())?))
    }

    pub(super) fn begin(&mut self, services: Arc<dyn HostServices>) {
        self.store.data_mut().begin(services);
    }

    /// Ends a call. False when operations are still under way: such an instance is not used again.
    pub(super) fn end(&mut self) -> bool {
        let state = self.store.data_mut();
        state.end();
        state.pending.is_empty()
    }

    async fn put(&mut self, bytes: &[u8]) -> Result<(u32, u32)> {
        let length = u32::try_from(bytes.len())?;
        let at = self.exports.alloc.clone().call_async(&mut self.store, length).await?;
        if at == 0 {
            self.store.data_mut().meter.refused = true;
            return Err(Error::msg("out of memory"));
        }
        self.memory.write(&mut self.store, at as usize, bytes)?;
        Ok((at, length))
    }

    async fn give(&mut self, function: &Bytes, bytes: &[u8]) -> Result<i32> {
        let place = self.put(bytes).await?;
        function.call_async(&mut self.store, place).await
    }

    /// What the export that ran gave back, or why it failed.
    fn check(&mut self, status: Result<i32>) -> Result<Vec<u8>, Failure> {
        let state = self.store.data_mut();
        let (refused, result) = (state.meter.refused, state.result.take());
        if matches!(result, Some((abi::TOO_LONG, _))) {
            return Err(Failure::ResponseTooLarge(state.limits.response_bytes));
        }
        match status {
            Ok(0) => Ok(result.map(|(_, bytes)| bytes).unwrap_or_default()),
            Ok(_) => Err(Failure::from_report(&result.map(|(_, bytes)| bytes).unwrap_or_default(), refused)),
            Err(_) if refused => Err(Failure::Memory),
            Err(error) if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) => Err(Failure::overflow()),
            Err(error) => Err(Failure::from_host(&error)),
        }
    }
}

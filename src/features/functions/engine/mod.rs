//! The engine of functions: [`Executor`] on the sandbox.
//!
//! | room | what is there |
//! |---|---|
//! | [`code`] | from stored bytes to what the builder takes |
//! | [`programs`] | what was compiled, kept for the next call |
//! | [`call`] | the platform's side of one call: logs, requests of the function to this box |
//! | [`own`] | which hosts are this box's, and how a request reaches them without a socket |
//! | [`answer`] | requests and answers in the sandbox's words |
//! | [`failure`] | what goes wrong in the sandbox, in the words of functions |
//!
//! Invariants:
//! - A program belongs to one project and one function, with its environment; instances are never shared.
//! - A request of a function to this box passes the same front door as any other, and carries how deep it is.

mod answer;
mod call;
mod code;
mod failure;
mod own;
mod programs;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use futures_util::future::BoxFuture;
use tokio::{runtime::Handle, sync::Semaphore};

pub use own::{FrontDoor, OwnHosts};

use self::{
    call::CallServices,
    failure::{of_build, of_call},
    programs::{Compiled, Images, Programs, Ready},
};
use super::{
    build::{Builder, Built},
    executor::{CheckFailure, Executor, FunctionFailure, FunctionResponse, FunctionVersion, Invocation},
    logs::{Level, Stream},
    service::MAX_BODY,
};
use crate::{
    common::{ProjectId, sealing::sha256_hex},
    engines::sandbox::{Failure, Limits, Sandbox},
    features::{
        content::Content,
        releases::{FunctionCode, FunctionState},
    },
};

/// Compilations at a time: they are long, and everything else needs the cores as well.
const COMPILATIONS: usize = 2;
/// Names wrapper and runtime: what was built under another name is stale. The guest's digest is part of it.
const WRAPPER: &str = "w1";

/// What the engine is built from.
pub struct Parts {
    pub sandbox: Sandbox,
    pub content: Arc<Content>,
    /// Turns source into modules.
    pub builder: Builder,
    pub own: OwnHosts,
    /// Memory for compiled code, in bytes.
    pub kept_bytes: usize,
    /// Requests of functions to this box are answered on this runtime.
    pub runtime: Handle,
}

/// How often instances had to be made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub cold: u64,
    pub warm: u64,
    /// Instances between calls.
    pub idle: u64,
}

/// Runs functions in the sandbox.
pub struct SandboxExecutor {
    sandbox: Sandbox,
    content: Arc<Content>,
    builder: Arc<Builder>,
    own: Arc<OwnHosts>,
    images: Images,
    programs: Programs,
    compiling: Semaphore,
    runtime: Handle,
    fingerprint: String,
    cold: AtomicU64,
    warm: AtomicU64,
}

impl SandboxExecutor {
    pub fn new(parts: Parts) -> Self {
        Self {
            fingerprint: format!("{WRAPPER}-{}", parts.sandbox.fingerprint()),
            images: Images::new(parts.kept_bytes),
            programs: Programs::new(parts.kept_bytes),
            sandbox: parts.sandbox,
            content: parts.content,
            builder: Arc::new(parts.builder),
            own: Arc::new(parts.own),
            compiling: Semaphore::new(COMPILATIONS),
            runtime: parts.runtime,
            cold: AtomicU64::new(0),
            warm: AtomicU64::new(0),
        }
    }

    /// From now on requests of functions to this box are answered by this door.
    pub fn open(&self, door: Weak<dyn FrontDoor>) {
        self.own.open(door);
    }

    pub fn figures(&self) -> Figures {
        Figures {
            cold: self.cold.load(Ordering::Relaxed),
            warm: self.warm.load(Ordering::Relaxed),
            idle: self.sandbox.idle_instances() as u64,
        }
    }

    /// Builds and compiles, whatever is kept.
    async fn compile(
        &self,
        project: &ProjectId,
        code: &FunctionCode,
        deps: &[String],
    ) -> Result<Arc<Compiled>, CheckFailure> {
        let source = code::read(&self.content, project, code, deps).await?;
        let _turn = self.compiling.acquire().await.map_err(|error| CheckFailure::Platform(error.to_string()))?;
        let builder = Arc::clone(&self.builder);
        let built = self.runtime.spawn_blocking(move || builder.build(&source)).await;
        let Built { modules, maps, .. } = built.map_err(|error| CheckFailure::Platform(error.to_string()))??;
        let image = self.sandbox.compile(modules).await.map_err(|failure| of_build(&failure, &maps))?;
        if !image.has_handler() {
            return Err(of_build(&Failure::NoHandler, &maps));
        }
        Ok(Arc::new(Compiled { image, maps }))
    }

    /// The program of a version, made if need be.
    async fn program(&self, version: &FunctionVersion, invocation: &Invocation) -> Result<Arc<Ready>, FunctionFailure> {
        if let Some(ready) = self.programs.find(version) {
            return Ok(ready);
        }
        let compiling = self.compile(&version.project, &version.code, &version.deps);
        let key = code_key(&version.project, &version.code, &version.deps);
        let compiled = self.images.find_or(&key, compiling).await.map_err(failure::of_late_build)?;
        let env: BTreeMap<String, String> = invocation.environment.0.iter().cloned().collect();
        let limits = Limits {
            memory_bytes: usize::try_from(version.memory_mb).unwrap_or(usize::MAX).saturating_mul(1 << 20),
            timeout: version.timeout,
            response_bytes: MAX_BODY,
            ..Limits::default()
        };
        let program = Arc::new(self.sandbox.program(Arc::clone(&compiled.image), &env, limits));
        let size = compiled.image.size();
        let (ready, gone) = self.programs.keep(version, Arc::new(Ready { program, compiled }), size);
        for ready in gone {
            self.sandbox.forget(&ready.program);
        }
        Ok(ready)
    }

    async fn call(
        &self,
        version: &FunctionVersion,
        invocation: Invocation,
    ) -> Result<FunctionResponse, FunctionFailure> {
        let ready = self.program(version, &invocation).await?;
        let logs = invocation.logs.clone();
        let services = Arc::new(CallServices {
            logs: logs.clone(),
            project: version.project.clone(),
            depth: invocation.depth,
            compiled: Arc::clone(&ready.compiled),
            own: Arc::clone(&self.own),
            runtime: self.runtime.clone(),
        });
        let request = answer::request(version, invocation);
        let answered = self.sandbox.call(&ready.program, request, services).await;
        let answered = answered.map_err(|failure| of_call(failure, &ready.compiled.maps)).and_then(answer::response);
        match &answered {
            Ok(response) if response.cold => &self.cold,
            _ => &self.warm,
        }
        .fetch_add(1, Ordering::Relaxed);
        if let Err(FunctionFailure::InvalidResponse(why)) = &answered {
            logs.write(Stream::Stderr, Level::Error, why);
        }
        answered
    }
}

impl std::fmt::Debug for SandboxExecutor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SandboxExecutor({})", self.fingerprint)
    }
}

impl Executor for SandboxExecutor {
    fn run<'a>(
        &'a self,
        version: &'a FunctionVersion,
        invocation: Invocation,
    ) -> BoxFuture<'a, Result<FunctionResponse, FunctionFailure>> {
        Box::pin(self.call(version, invocation))
    }

    fn check<'a>(
        &'a self,
        project: &'a ProjectId,
        function: &'a FunctionState,
    ) -> BoxFuture<'a, Result<(), CheckFailure>> {
        Box::pin(async move {
            let compiled = self.compile(project, &function.code, &function.deps).await?;
            // The first call after the deploy finds it here.
            self.images.put(&code_key(project, &function.code, &function.deps), compiled);
            Ok(())
        })
    }

    fn warm(&self) {
        self.sandbox.warm();
    }

    fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

/// Names what is compiled: the same code of the same project.
fn code_key(project: &ProjectId, code: &FunctionCode, deps: &[String]) -> String {
    sha256_hex(serde_json::json!([project.as_str(), code, deps]).to_string().as_bytes())
}

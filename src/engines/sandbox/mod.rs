//! The function sandbox: JavaScript modules in WebAssembly, with limits and host operations.
//!
//! QuickJS-NG and a TypeScript prelude (web/guest) are one pre-initialised WebAssembly module. An instance of it is a
//! copy-on-write mapping: made in microseconds, thrown away as cheaply. What is the user's is laid over it:
//! [`Sandbox::compile`] parses and links the modules once and keeps the changed pages of memory as an [`Image`];
//! a call takes an idle instance of its [`Program`] or makes one from the image, runs the top level, then the handler.
//!
//! Invariants: nothing of the guest touches the host except through the imports in `abi`; every import checks the
//! guest's pointers; an instance serves one request at a time and one program for ever; whatever ends abnormally
//! (trap, deadline, memory) is thrown away with all it held; a busy guest yields every tick, so that no function can
//! starve another or the server, which runs on threads of its own; the network is reached only through `egress`,
//! which connects to addresses it has checked.
//!
//! The engine knows nothing of Run402. What only the platform can do it asks of [`HostServices`].

mod abi;
mod clock;
mod codecs;
mod crypto;
mod egress;
mod failure;
mod frame;
mod guest;
mod idle;
mod image;
mod instance;
mod memory;
mod ops;
mod run;
mod services;
mod settings;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod zone;

pub use failure::{Failure, Thrown};
pub use image::{Image, Modules};
pub use run::{Program, Request, Response, Sandbox};
pub use services::{
    HostServices, LogLevel, LogLine, OutboundBody, OutboundRequest, OutboundResponse, ServiceError, whole_body,
};
pub use settings::{EgressSettings, Limits, SandboxSettings};

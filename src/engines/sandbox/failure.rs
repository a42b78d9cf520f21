//! Why a program did not compile, or a call did not answer.

use serde::Deserialize;
use thiserror::Error;

use super::memory::Crowded;

/// A value the user's code threw, as the guest describes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Thrown {
    /// `error.name`, or `Error` for values that are no errors.
    pub name: String,
    pub message: String,
    /// Frames of the user's code, one a line: `    at handler (index.mjs:3:9)`.
    pub stack: String,
    /// `error.code` when it is text.
    pub code: Option<String>,
    /// `error.status` when it is a number.
    pub status: Option<f64>,
    /// `error.details` when it is small JSON.
    pub details: Option<serde_json::Value>,
    /// `error.suggestedFix` and `error.docs` when they are text.
    pub suggested_fix: Option<String>,
    pub docs: Option<String>,
    /// The error as `console.error` would show it: causes and own properties included.
    pub inspected: Option<String>,
    specifier: Option<String>,
    importer: Option<String>,
    exit_code: Option<i32>,
}

/// Every way a compilation or a call can end without an answer. The sentences are for logs: they may hold text of
/// the user's code.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum Failure {
    /// The deadline passed; the instance is gone.
    #[error("the function did not answer within its time limit")]
    Timeout,
    /// The memory limit was met; the instance is gone.
    #[error("the function ran out of memory")]
    Memory,
    /// The user's code threw at top level or in the handler.
    #[error("{}: {}", .0.name, .0.message)]
    Threw(Box<Thrown>),
    /// A module does not parse.
    #[error("{file}:{line}:{column}: {message}")]
    SyntaxError { file: String, line: u32, column: u32, message: String },
    /// An import names a module that is neither a file nor built in.
    #[error("cannot find '{specifier}' imported from {importer}")]
    UnresolvedImport {
        specifier: String,
        importer: String,
        /// It is one of Node's own modules, and not offered here.
        builtin: bool,
    },
    /// A module has no export of the name that is imported from it.
    #[error("module '{module}' has no export '{export}'")]
    MissingExport { module: String, export: String },
    /// The module exports neither `default` nor `handler`, or something that cannot be called.
    #[error("the module exports no handler")]
    NoHandler,
    /// The handler returned what is no response.
    #[error("{0}")]
    InvalidResponse(String),
    /// The response body is longer than the limit, which is given in bytes.
    #[error("the response is longer than {0} bytes")]
    ResponseTooLarge(usize),
    /// The handler waits for a promise that nothing can settle.
    #[error("the function waits for a promise that nothing can settle")]
    Deadlock,
    /// `process.exit()` was called, with this code.
    #[error("the function called process.exit({0})")]
    Exited(i32),
    /// All functions together have used up the box's memory for them; the instance is gone.
    #[error("{}", Crowded)]
    Crowded,
    /// No instance was free before the deadline.
    #[error("no instance is free")]
    Busy,
    /// The guest broke (a trap that is none of the above), or the host could not run it.
    #[error("the sandbox failed: {0}")]
    Broken(String),
}

impl Failure {
    /// What ended the guest from outside its code.
    pub(super) fn from_host(error: &wasmtime::Error) -> Self {
        if error.is::<Crowded>() { Self::Crowded } else { Self::Broken(format!("{error:#}")) }
    }

    /// What a status of 1 from the guest means. `out_of_memory` tells whether memory was refused meanwhile.
    pub(super) fn from_report(report: &[u8], out_of_memory: bool) -> Self {
        let Ok(mut thrown) = serde_json::from_slice::<Thrown>(report) else {
            return Self::Broken("the guest reported something unreadable".to_owned());
        };
        // QuickJS names neither type nor position of these in properties: they are in the texts.
        match thrown.name.as_str() {
            "InternalError" if thrown.message.contains("out of memory") => return Self::Memory,
            // Without memory for an error object the engine throws null, or fails to describe what it threw.
            "Indescribable" if out_of_memory => return Self::Memory,
            _ if out_of_memory && thrown.message == "null" => return Self::Memory,
            "Deadlock" => return Self::Deadlock,
            "ProcessExit" => return Self::Exited(thrown.exit_code.unwrap_or(0)),
            "NoHandler" => return Self::NoHandler,
            "InvalidResponse" => return Self::InvalidResponse(thrown.message),
            "UnresolvedImport" => {
                return Self::UnresolvedImport {
                    specifier: thrown.specifier.take().unwrap_or_default(),
                    importer: thrown.importer.take().unwrap_or_default(),
                    builtin: thrown.code.as_deref() == Some("ERR_R402_UNSUPPORTED_API"),
                };
            }
            _ => {}
        }
        Self::Threw(Box::new(thrown))
    }

    /// What was thrown while compiling: a `SyntaxError` is the file's own.
    pub(super) fn from_compilation(thrown: Box<Thrown>) -> Self {
        if thrown.name == "SyntaxError" { syntax_error(&thrown) } else { Self::Threw(thrown) }
    }

    /// Recursion so deep that the engine's own limit did not come first.
    pub(super) fn overflow() -> Self {
        Self::Threw(Box::new(Thrown {
            name: "RangeError".to_owned(),
            message: "Maximum call stack size exceeded".to_owned(),
            ..Thrown::default()
        }))
    }
}

fn syntax_error(thrown: &Thrown) -> Failure {
    if let Some(rest) = thrown.message.strip_prefix("Could not find export '")
        && let Some((export, module)) = rest.split_once("' in module '")
    {
        let module = module.trim_end_matches('\'').to_owned();
        return Failure::MissingExport { module, export: export.to_owned() };
    }
    let place = thrown.stack.lines().next().unwrap_or("").trim().trim_start_matches("at ");
    let place = place.rsplit_once('(').map_or(place, |(_, inner)| inner.trim_end_matches(')'));
    let mut parts = place.rsplitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.parse().ok()).unwrap_or(0);
    let (column, line) = (number(), number());
    let file = parts.next().unwrap_or("").to_owned();
    Failure::SyntaxError { file, line, column, message: thrown.message.clone() }
}

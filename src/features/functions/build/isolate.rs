//! The build in a process of its own. Hostile source can fill a parser's stack with a kilobyte of brackets, or its
//! time with nested types it tries twice: neither can be stopped from within, and either would take the server along.
//!
//! The child is this very program. It reads one request from its input, sets limits on itself, builds, and writes one
//! answer. It inherits no environment, so nothing the server knows.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    sync::{Condvar, Mutex, PoisonError},
};

use bytes::Bytes;
use nix::sys::resource::{Resource, setrlimit};
use serde::{Deserialize, Serialize};

use super::{Built, Code, Notice, Options, Problem, Source, SourceMaps, build, graph::LARGEST};
use crate::{engines::sandbox::Modules, features::functions::executor::CheckFailure};

/// The argument that makes the program a builder, for [`serve`].
const ARGUMENT: &str = "build-function";
/// Seconds of processor a build may use. Code of a usual size takes milliseconds; the rest is for large bundles and
/// slow machines.
const CPU_SECONDS: u64 = 10;
/// Bytes of stack, which bound how deep source may nest.
const STACK: usize = 256 << 20;
/// Bytes of data: the stack, a little of the program's own, and the one GiB that the allocator maps as it starts and
/// that a build may fill. A tree takes some fifteen times its source.
const DATA: u64 = 1536 << 20;
/// Bytes of an answer: the code, escaped, and its maps.
const LARGEST_ANSWER: u64 = LARGEST * 4;
/// Builds at a time.
const AT_A_TIME: usize = 2;

/// Runs builds.
#[derive(Debug)]
pub struct Builder {
    /// None: in this process.
    program: Option<PathBuf>,
    options: Options,
    running: Mutex<usize>,
    ended: Condvar,
}

/// What the child is asked, before the bytes of the files in the order of `files`.
#[derive(Serialize, Deserialize)]
struct Request {
    options: Options,
    deps: Vec<String>,
    /// None: one file.
    entrypoint: Option<String>,
    /// Path and length.
    files: Vec<(String, u64)>,
}

/// What it answers.
#[derive(Serialize, Deserialize)]
enum Answer {
    Built { entry: String, files: BTreeMap<String, String>, maps: SourceMaps, warnings: Vec<Notice> },
    Problem(Problem),
}

impl Builder {
    /// Builds each program in a process of `program`, which calls [`serve`] when its argument is `build-function`;
    /// `/proc/self/exe` for the server.
    pub fn isolated(program: impl Into<PathBuf>, options: Options) -> Self {
        Self { program: Some(program.into()), ..Self::in_process(options) }
    }

    /// Builds in this process: for source that is trusted not to be hostile.
    pub fn in_process(options: Options) -> Self {
        Self { program: None, options, running: Mutex::new(0), ended: Condvar::new() }
    }

    /// Builds. Blocks for as long as a build takes, and for others before it.
    pub fn build(&self, code: &Code) -> Result<Built, CheckFailure> {
        let result = match &self.program {
            None => build(code, &self.options),
            Some(_) if code.source.size() > LARGEST => {
                Err(Problem::TooLarge { size: code.source.size(), limit: LARGEST })
            }
            Some(program) => {
                let _turn = self.turn();
                ask(program, code, &self.options)
                    .map_err(|error| CheckFailure::Platform(format!("the builder of functions failed: {error}")))?
            }
        };
        result.map_err(|problem| CheckFailure::Build(problem.into_failure()))
    }

    fn turn(&self) -> Turn<'_> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        while *running >= AT_A_TIME {
            running = self.ended.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
        *running += 1;
        Turn(self)
    }
}

/// The right to run one build.
struct Turn<'b>(&'b Builder);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.ended.notify_one();
    }
}

fn ask(program: &PathBuf, code: &Code, options: &Options) -> io::Result<Result<Built, Problem>> {
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let told = tell(&mut child, code, options);
    let mut answer = Vec::new();
    let heard = match child.stdout.take() {
        Some(output) => output.take(LARGEST_ANSWER).read_to_end(&mut answer).map(drop),
        None => Ok(()),
    };
    if heard.is_err() {
        child.kill()?;
    }
    let status = child.wait()?;
    if is_spent(status) {
        return Ok(Err(Problem::TooComplex));
    }
    told.and(heard)?;
    Ok(match serde_json::from_slice(&answer)? {
        Answer::Problem(problem) => Err(problem),
        Answer::Built { entry, files, maps, warnings } => {
            Ok(Built { modules: Modules { files, entry }, maps, warnings })
        }
    })
}

/// Whether a limit ended it: a full stack is a fault or an abort, like memory; time is a signal of its own.
fn is_spent(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal().is_some()
}

fn tell(child: &mut Child, code: &Code, options: &Options) -> io::Result<()> {
    let Some(mut input) = child.stdin.take() else { return Ok(()) };
    let single = String::new();
    let (entrypoint, files): (Option<&String>, Vec<(&String, &Bytes)>) = match &code.source {
        Source::Single(bytes) => (None, vec![(&single, bytes)]),
        Source::Files { entrypoint, files } => (Some(entrypoint), files.iter().collect()),
    };
    let request = Request {
        options: options.clone(),
        deps: code.deps.clone(),
        entrypoint: entrypoint.cloned(),
        files: files.iter().map(|(path, bytes)| ((*path).clone(), bytes.len() as u64)).collect(),
    };
    let head = serde_json::to_vec(&request)?;
    input.write_all(&(head.len() as u64).to_le_bytes())?;
    input.write_all(&head)?;
    for (_, bytes) in files {
        input.write_all(bytes)?;
    }
    Ok(())
}

/// Serves one build from standard input to standard output.
pub fn serve() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn answer() -> io::Result<()> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(LARGEST * 2).read_to_end(&mut bytes)?;
    let (options, code) = parse(&Bytes::from(bytes)).ok_or_else(|| io::Error::other("not a request"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_DATA, DATA, DATA)?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS)?;
    let builder = std::thread::Builder::new().stack_size(STACK).spawn(move || build(&code, &options))?;
    // A parser that panics met something it cannot read.
    let answer = match builder.join().unwrap_or(Err(Problem::TooComplex)) {
        Ok(built) => Answer::Built {
            entry: built.modules.entry,
            files: built.modules.files,
            maps: built.maps,
            warnings: built.warnings,
        },
        Err(problem) => Answer::Problem(problem),
    };
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, &answer)?;
    output.flush()
}

fn parse(bytes: &Bytes) -> Option<(Options, Code)> {
    let length = usize::try_from(u64::from_le_bytes(bytes.get(..8)?.try_into().ok()?)).ok()?;
    let request: Request = serde_json::from_slice(bytes.get(8..8_usize.checked_add(length)?)?).ok()?;
    let mut at = 8 + length;
    let mut files = BTreeMap::new();
    for (path, length) in request.files {
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        if end > bytes.len() {
            return None;
        }
        files.insert(path, bytes.slice(at..end));
        at = end;
    }
    let source = match request.entrypoint {
        Some(entrypoint) => Source::Files { entrypoint, files },
        None => Source::Single(files.pop_first()?.1),
    };
    Some((request.options, Code { source, deps: request.deps }))
}

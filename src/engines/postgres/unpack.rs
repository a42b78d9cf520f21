//! Unpacking in a process of its own. The archives are a fifth of this program and are read once in the life of a
//! box: read by the server, they and what decompressing them takes would stay in its memory for as long as it runs.
//!
//! The child is this very program. It inherits the server's user and directory and no environment, sets limits on
//! itself, unpacks, and says on its standard error what went wrong.

use std::{
    io::{self, Read as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, ExitStatus, Stdio},
};

use nix::sys::{
    prctl,
    resource::{Resource, setrlimit},
    signal::Signal,
};

use super::{
    StartError,
    bundle::{self, Places},
};

/// The argument that makes the program an unpacker, before the two directories: for [`unpack_bundle`].
const ARGUMENT: &str = "unpack-postgres";
/// Seconds of processor it may use; it takes one.
const CPU_SECONDS: u64 = 300;
/// Bytes of data: a few megabytes, and the one GiB of address space that the allocator takes as it starts.
const DATA: u64 = 1536 << 20;
/// Bytes of its complaint that are repeated.
const LONGEST_COMPLAINT: u64 = 4096;

/// Where the bundle is unpacked, if it has to be.
#[derive(Clone, Debug)]
pub enum Unpacking {
    /// In this process: for programs that do not know `unpack-postgres`, such as tests.
    InProcess,
    /// In a process of this program, which calls [`unpack_bundle`] when its first argument is `unpack-postgres`;
    /// `/proc/self/exe` for the server.
    Isolated(PathBuf),
}

impl Unpacking {
    /// Unpacks what is missing. Blocks until that is done.
    pub(super) fn run(&self, places: &Places) -> Result<(), StartError> {
        match self {
            _ if bundle::is_unpacked(places) => Ok(()),
            Self::InProcess => bundle::write_out(&places.install, &places.cluster),
            Self::Isolated(program) => {
                let outcome = ask(program, places).map_err(StartError::file("starting the unpacker", program))?;
                outcome.map_err(StartError::Unpacking)
            }
        }
    }
}

/// What the child complains about, if it does.
fn ask(program: &Path, places: &Places) -> io::Result<Result<(), String>> {
    let mut child = Command::new(program)
        .arg(ARGUMENT)
        .args([&places.install, &places.cluster])
        .env_clear()
        // A Ctrl-C on our terminal is for us: we stop once we have started.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut said = Vec::new();
    let heard = match child.stderr.take() {
        Some(stderr) => stderr.take(LONGEST_COMPLAINT).read_to_end(&mut said).map(drop),
        None => Ok(()),
    };
    let status = child.wait()?;
    heard?;
    Ok(if status.success() { Ok(()) } else { Err(complaint(&said, status)) })
}

fn complaint(said: &[u8], status: ExitStatus) -> String {
    let said = String::from_utf8_lossy(said);
    match said.trim() {
        "" => format!("unpacking the database server ended with {status}: start again"),
        said => said.to_owned(),
    }
}

/// The work of the child: unpacks what is missing of the programs and of the first data directory.
pub fn unpack_bundle(install: &Path, cluster: &Path) -> ExitCode {
    match limit().map_err(StartError::file("limiting", ARGUMENT)).and_then(|()| bundle::write_out(install, cluster)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// It ends with whoever waits for it, and never takes a machine down. Should that one be gone already, the work is
/// done to its end, which is harmless: the next server waits for it.
fn limit() -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    setrlimit(Resource::RLIMIT_DATA, DATA, DATA)?;
    setrlimit(Resource::RLIMIT_CPU, CPU_SECONDS, CPU_SECONDS)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_complaint_is_repeated_and_a_silent_end_is_described() {
        let failed = ExitStatus::from_raw(1 << 8);
        assert_eq!(complaint(b"the disk is full\n", failed), "the disk is full");
        assert!(complaint(b" \n", ExitStatus::from_raw(9)).contains("signal: 9"));
    }

    #[test]
    fn a_program_that_cannot_be_started_or_fails_is_an_error_of_one_sentence() {
        let nowhere = PathBuf::from("/nowhere/at/all");
        let places =
            Places { data_dir: nowhere.clone(), install: nowhere.join("install"), cluster: nowhere.join("cluster-18") };
        for (program, expected) in [("/nowhere/run402", "/nowhere/run402"), ("/bin/false", "exit status: 1")] {
            let error = Unpacking::Isolated(program.into()).run(&places).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{error}");
        }
    }
}

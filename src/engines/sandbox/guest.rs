//! The compiled guest: out of the binary, through Cranelift once, then from a sealed cache.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use wasmtime::{Config, Engine, Error, InstanceAllocationStrategy, Module, OptLevel, PoolingAllocationConfig, Result};

use super::settings::{GUEST_STACK_BYTES, HOST_STACK_BYTES, SandboxSettings};

/// The snapshot, built by web/guest; guest.lock says from which sources.
const SNAPSHOT: &[u8] = include_bytes!("guest.wasm.zst");
const SEAL_BYTES: usize = 32;

/// Names the guest.
pub(super) fn digest() -> String {
    hex::encode(&Sha256::digest(SNAPSHOT)[..8])
}

pub(super) fn engine(settings: &SandboxSettings) -> Result<Engine> {
    let mut pool = PoolingAllocationConfig::default();
    pool.total_memories(settings.max_instances)
        .total_core_instances(settings.max_instances)
        .total_stacks(settings.max_instances)
        .total_tables(settings.max_instances)
        .max_memory_size(settings.max_memory_mb as usize * (1 << 20))
        .table_elements(20_000)
        .max_unused_warm_slots(64);
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .memory_init_cow(true)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(GUEST_STACK_BYTES + HOST_STACK_BYTES)
        .cranelift_opt_level(OptLevel::Speed)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    Engine::new(&config)
}

/// The guest as machine code, from `cache` when it is there and whole.
pub(super) fn load(engine: &Engine, cache: &Path, key: &[u8; 32]) -> Result<Module> {
    let path = cache.join(format!("guest-{}.cwasm", fingerprint(engine)));
    if let Some(code) = unseal(&path, key) {
        match deserialize(engine, &code) {
            Ok(module) => return Ok(module),
            Err(error) => tracing::warn!(%error, "the compiled guest in the cache is of no use; compiling again"),
        }
    }
    let wasm = zstd::decode_all(SNAPSHOT)?;
    let code = engine.precompile_module(&wasm)?;
    if let Err(error) = seal(&path, &code, key) {
        tracing::warn!(%error, path = %path.display(), "the compiled guest could not be kept; the next boot compiles again");
    }
    deserialize(engine, &code)
}

/// Names the machine code: the guest, and all of wasmtime that shapes code (version, settings, processor features).
fn fingerprint(engine: &Engine) -> String {
    struct Into256(Sha256);
    impl std::hash::Hasher for Into256 {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    let mut hasher = Into256(Sha256::new());
    hasher.0.update(SNAPSHOT);
    std::hash::Hash::hash(&engine.precompile_compatibility_hash(), &mut hasher);
    hex::encode(&hasher.0.finalize()[..16])
}

/// Machine code is trusted like the binary itself, so it is read back only under a seal that this box made.
fn unseal(path: &Path, key: &[u8; 32]) -> Option<Vec<u8>> {
    let mut sealed = fs::read(path).ok()?;
    let at = sealed.len().checked_sub(SEAL_BYTES)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    mac.update(&sealed[..at]);
    if mac.verify_slice(&sealed[at..]).is_err() {
        tracing::warn!(path = %path.display(), "the compiled guest in the cache was changed; compiling again");
        return None;
    }
    sealed.truncate(at);
    Some(sealed)
}

fn seal(path: &Path, code: &[u8], key: &[u8; 32]) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    for stale in fs::read_dir(directory)?.flatten().filter(|entry| entry.path() != path) {
        let name = stale.file_name();
        if name.to_string_lossy().starts_with("guest-") {
            let _ = fs::remove_file(stale.path());
        }
    }
    let mac = Hmac::<Sha256>::new_from_slice(key).map_err(std::io::Error::other)?.chain_update(code).finalize();
    let temporary: PathBuf = path.with_extension(format!("tmp-{}", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    file.write_all(code)?;
    file.write_all(&mac.into_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

fn deserialize(engine: &Engine, code: &[u8]) -> Result<Module, Error> {
    // SAFETY: `Module::deserialize` runs what it is given as machine code, so the bytes must be what
    // `precompile_module` made. They are: either it made them a moment ago in `load`, or `unseal` checked the HMAC
    // of this box's own key over these very bytes, in memory, after they were read.
    #[expect(unsafe_code, reason = "machine code of our own making, see above")]
    unsafe {
        Module::deserialize(engine, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_was_changed_is_not_run() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("guest-x.cwasm");
        let key = [7; 32];
        seal(&path, b"machine code", &key).unwrap();
        assert_eq!(unseal(&path, &key).as_deref(), Some(&b"machine code"[..]));
        assert_eq!(unseal(&path, &[8; 32]), None);
        let mut bytes = fs::read(&path).unwrap();
        bytes[3] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert_eq!(unseal(&path, &key), None);
        fs::write(&path, b"short").unwrap();
        assert_eq!(unseal(&path, &key), None);
    }

    /// A directory somebody else can write to gives them nothing: what does not carry the seal is made again.
    #[test]
    fn a_tampered_cache_is_compiled_again_and_replaced() {
        let engine = engine(&SandboxSettings { max_instances: 1, ..SandboxSettings::default() }).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(format!("guest-{}.cwasm", fingerprint(&engine)));
        let key = [9; 32];
        // Machine code that would run, under the seal of another box.
        seal(&path, b"\x7fELF not ours", &[8; 32]).unwrap();
        let foreign = fs::read(&path).unwrap();
        load(&engine, directory.path(), &key).unwrap();
        let own = fs::read(&path).unwrap();
        assert_ne!(own, foreign);
        assert!(unseal(&path, &key).is_some());
        // Sealed by this box, but no machine code of this engine: refused by wasmtime, and made again.
        seal(&path, b"not machine code", &key).unwrap();
        load(&engine, directory.path(), &key).unwrap();
        assert_eq!(fs::read(&path).unwrap().len(), own.len());
    }

    #[test]
    fn the_snapshot_is_what_the_sources_build() {
        let lock = fs::read_to_string("src/engines/sandbox/guest.lock").unwrap();
        let mut stale = Vec::new();
        for line in lock.lines() {
            let (digest, name) = line.split_once("  ").unwrap();
            let bytes = if name == "guest.wasm" {
                zstd::decode_all(SNAPSHOT).unwrap()
            } else {
                fs::read(Path::new("web/guest").join(name)).unwrap_or_default()
            };
            if hex::encode(Sha256::digest(&bytes)) != digest {
                stale.push(name.to_owned());
            }
        }
        let listed = |file: &Path| lock.contains(&format!("  {}\n", file.strip_prefix("web/guest").unwrap().display()));
        let mut open = vec![PathBuf::from("web/guest/src")];
        while let Some(path) = open.pop() {
            if path.is_dir() {
                open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else if !listed(&path) {
                stale.push(path.display().to_string());
            }
        }
        assert!(stale.is_empty(), "run `npm ci && npm run build` in web/guest; changed since: {stale:?}");
    }
}

//! Memory of all instances together, so that many programs within their own limits do not take the machine's.

use std::sync::{
    Mutex, OnceLock, PoisonError, Weak,
    atomic::{AtomicUsize, Ordering},
};

use super::idle::IdlePool;

/// What an instance takes before it grows: the pages of the snapshot it writes to, in bytes.
const FRESH: usize = 1 << 20;

pub(super) struct Memory {
    limit: usize,
    used: AtomicUsize,
    /// Who can spare some. Its instances hold us.
    idle: OnceLock<Weak<Mutex<IdlePool>>>,
}

impl Memory {
    /// `limit`: bytes.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), idle: OnceLock::new() }
    }

    pub(super) fn spare(&self, idle: Weak<Mutex<IdlePool>>) {
        let _ = self.idle.set(idle);
    }

    /// Takes so many bytes, for which idle instances are given up if need be.
    fn take(&self, bytes: usize) -> bool {
        loop {
            let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.limit);
            if self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).is_ok() {
                return true;
            }
            let Some(idle) = self.idle.get().and_then(Weak::upgrade) else { return false };
            let evicted = idle.lock().unwrap_or_else(PoisonError::into_inner).evict();
            // Dropped outside the lock: it gives back what it held here.
            if evicted.is_none() {
                return false;
            }
        }
    }
}

/// All instances together have no memory left for one of them. It ends the instance: memory that is refused for its
/// program's own limit is the program's to deal with, this is not.
#[derive(Debug, thiserror::Error)]
#[error("the functions of this box have no memory left")]
pub(super) struct Crowded;

/// What one instance holds; given back with it.
pub(super) struct Held {
    memory: std::sync::Arc<Memory>,
    bytes: usize,
}

impl Held {
    pub(super) fn new(memory: std::sync::Arc<Memory>) -> Self {
        Self { memory, bytes: 0 }
    }

    /// The memory of the instance is to grow.
    pub(super) fn grow(&mut self, current: usize, desired: usize) -> Result<(), Crowded> {
        let bytes = if current == 0 { FRESH } else { desired.saturating_sub(current) };
        if !self.memory.take(bytes) {
            return Err(Crowded);
        }
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.memory.used.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// Half of what the machine, or the group of processes we are in, may use.
pub(super) fn half_of_the_machine() -> usize {
    let machine = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.split_whitespace().next()?.parse::<usize>().ok()?.checked_mul(1024)
    });
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    let whole = [machine, group].into_iter().flatten().min();
    whole.unwrap_or(1 << 30) / 2
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_is_held_counts_until_it_is_dropped() {
        let memory = Arc::new(Memory::new(4 * FRESH));
        let (mut one, mut two) = (Held::new(Arc::clone(&memory)), Held::new(Arc::clone(&memory)));
        assert!(one.grow(0, 64 * FRESH).is_ok(), "the snapshot is shared");
        assert!(one.grow(64 * FRESH, 66 * FRESH).is_ok());
        assert!(two.grow(0, 64 * FRESH).is_ok());
        assert!(two.grow(64 * FRESH, 65 * FRESH).is_err());
        drop(one);
        assert!(two.grow(64 * FRESH, 67 * FRESH).is_ok());
        drop(two);
        assert_eq!(memory.used.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_machine_has_some_memory() {
        assert!(half_of_the_machine() > 64 << 20);
    }
}

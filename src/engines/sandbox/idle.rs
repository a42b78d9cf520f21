//! Instances between requests.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::instance::Instance;

/// An instance that waits, or is given up.
pub(super) struct Idle {
    instance: Box<Instance>,
    since: Instant,
}

/// Idle instances by program; the one used last is taken first, so that the others grow old.
#[derive(Default)]
pub(super) struct IdlePool {
    programs: HashMap<u64, VecDeque<Idle>>,
    count: usize,
}

impl IdlePool {
    pub(super) fn take(&mut self, program: u64) -> Option<Box<Instance>> {
        let queue = self.programs.get_mut(&program)?;
        let idle = queue.pop_back()?;
        if queue.is_empty() {
            self.programs.remove(&program);
        }
        self.count -= 1;
        Some(idle.instance)
    }

    pub(super) fn put(&mut self, program: u64, instance: Box<Instance>) {
        self.programs.entry(program).or_default().push_back(Idle { instance, since: Instant::now() });
        self.count += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Takes out the instance that was idle longest.
    pub(super) fn evict(&mut self) -> Option<Idle> {
        let oldest = self
            .programs
            .iter()
            .filter_map(|(id, queue)| Some((*id, queue.front()?.since)))
            .min_by_key(|(_, since)| *since)?;
        self.remove_front(oldest.0)
    }

    /// Takes out what was idle for longer than `age`.
    pub(super) fn expire(&mut self, age: Duration) -> Vec<Idle> {
        let mut expired = Vec::new();
        let old: Vec<u64> = self.programs.keys().copied().collect();
        for id in old {
            while self.programs.get(&id).and_then(VecDeque::front).is_some_and(|idle| idle.since.elapsed() >= age) {
                expired.extend(self.remove_front(id));
            }
        }
        expired
    }

    pub(super) fn forget(&mut self, program: u64) -> VecDeque<Idle> {
        let removed = self.programs.remove(&program).unwrap_or_default();
        self.count -= removed.len();
        removed
    }

    fn remove_front(&mut self, id: u64) -> Option<Idle> {
        let queue = self.programs.get_mut(&id)?;
        let idle = queue.pop_front()?;
        if queue.is_empty() {
            self.programs.remove(&id);
        }
        self.count -= 1;
        Some(idle)
    }
}

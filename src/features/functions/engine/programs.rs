//! What was compiled, kept for the next call, within a bound of memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use quick_cache::{
    DefaultHashBuilder, OptionsBuilder, Weighter,
    sync::{Cache, DefaultLifecycle},
};

use crate::{
    common::ProjectId,
    engines::sandbox::{Image, Program},
    features::functions::{build::SourceMaps, executor::FunctionVersion},
};

/// What an entry costs besides its image, in bytes.
const OVERHEAD: usize = 4096;
/// Programs of one function that are kept: the live one, and one more for a deployment that is looked at meanwhile.
const OF_ONE_FUNCTION: usize = 2;

/// Compiled code, and the way back from places in it to the author's own source.
pub(super) struct Compiled {
    pub image: Arc<Image>,
    pub maps: SourceMaps,
}

/// What a version is called with.
pub(super) struct Ready {
    pub program: Arc<Program>,
    pub compiled: Arc<Compiled>,
}

#[derive(Clone)]
struct Weigh;

impl Weighter<String, Arc<Compiled>> for Weigh {
    fn weight(&self, _: &String, compiled: &Arc<Compiled>) -> u64 {
        (OVERHEAD + compiled.image.size()) as u64
    }
}

/// Compiled code by what it was compiled of; what many ask for at once is compiled once.
pub(super) struct Images(Cache<String, Arc<Compiled>, Weigh>);

impl Images {
    /// `capacity`: bytes.
    pub fn new(capacity: usize) -> Self {
        let mut options = OptionsBuilder::new();
        // One shard: a large bundle may take a good part of the whole.
        options.shards(1).weight_capacity(capacity as u64).estimated_items_capacity(256);
        Self(match options.build() {
            Ok(options) => {
                Cache::with_options(options, Weigh, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            // Every option it demands is set just above; were one missing, these are the same bounds.
            Err(_) => Cache::with_weighter(256, capacity as u64, Weigh),
        })
    }

    pub async fn find_or<E>(
        &self,
        key: &str,
        compile: impl Future<Output = Result<Arc<Compiled>, E>>,
    ) -> Result<Arc<Compiled>, E> {
        self.0.get_or_insert_async(key, compile).await
    }

    pub fn put(&self, key: &str, compiled: Arc<Compiled>) {
        self.0.insert(key.to_owned(), compiled);
    }
}

struct Entry<P> {
    project: ProjectId,
    function: String,
    program: Arc<P>,
    bytes: usize,
    /// When it was last asked for, in the order of questions.
    used: u64,
}

/// Programs by the instance that their version names.
pub(super) struct Programs<P = Ready> {
    capacity: usize,
    state: Mutex<State<P>>,
}

struct State<P> {
    entries: HashMap<String, Entry<P>>,
    bytes: usize,
    questions: u64,
}

impl<P> Programs<P> {
    /// `capacity`: bytes.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, state: Mutex::new(State { entries: HashMap::new(), bytes: 0, questions: 0 }) }
    }

    pub fn find(&self, version: &FunctionVersion) -> Option<Arc<P>> {
        let mut state = self.lock();
        state.questions += 1;
        let now = state.questions;
        let entry = state.entries.get_mut(&version.instance)?;
        if entry.project != version.project || entry.function != version.name {
            return None;
        }
        entry.used = now;
        Some(Arc::clone(&entry.program))
    }

    /// Keeps a program, unless somebody else was faster, and answers the one that is kept. Also answers those that
    /// had to go for it.
    pub fn keep(&self, version: &FunctionVersion, program: Arc<P>, bytes: usize) -> (Arc<P>, Vec<Arc<P>>) {
        if let Some(kept) = self.find(version) {
            return (kept, Vec::new());
        }
        let mut state = self.lock();
        state.questions += 1;
        let mut gone = Vec::new();
        while state.of(version).count() >= OF_ONE_FUNCTION {
            let Some(oldest) = oldest(state.of(version)) else { break };
            gone.extend(state.remove(&oldest));
        }
        let bytes = bytes + OVERHEAD;
        while state.bytes + bytes > self.capacity {
            let Some(oldest) = oldest(state.entries.iter()) else { break };
            gone.extend(state.remove(&oldest));
        }
        state.bytes += bytes;
        let entry = Entry {
            project: version.project.clone(),
            function: version.name.clone(),
            program: Arc::clone(&program),
            bytes,
            used: state.questions,
        };
        // What has the same name without being the same program makes room as well.
        if let Some(other) = state.entries.insert(version.instance.clone(), entry) {
            state.bytes -= other.bytes;
            gone.push(other.program);
        }
        (program, gone)
    }

    fn lock(&self) -> MutexGuard<'_, State<P>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P> State<P> {
    fn of(&self, version: &FunctionVersion) -> impl Iterator<Item = (&String, &Entry<P>)> {
        self.entries.iter().filter(|(_, entry)| entry.project == version.project && entry.function == version.name)
    }

    fn remove(&mut self, instance: &str) -> Option<Arc<P>> {
        let entry = self.entries.remove(instance)?;
        self.bytes -= entry.bytes;
        Some(entry.program)
    }
}

fn oldest<'a, P: 'a>(entries: impl Iterator<Item = (&'a String, &'a Entry<P>)>) -> Option<String> {
    entries.min_by_key(|(_, entry)| entry.used).map(|(instance, _)| instance.clone())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        engines::blobs::Sha256Digest,
        features::releases::{FileRef, FunctionClass, FunctionCode},
    };

    fn version(function: &str, instance: &str) -> FunctionVersion {
        let file = FileRef { sha256: Sha256Digest::of(b"code"), size: 4, content_type: None };
        FunctionVersion {
            project: "prj_a".parse().unwrap(),
            release: "rel_1".parse().unwrap(),
            name: function.into(),
            code: FunctionCode::Source(file),
            code_hash: String::new(),
            deps: Vec::new(),
            timeout: Duration::from_secs(1),
            memory_mb: 128,
            class: FunctionClass::Standard,
            instance: instance.into(),
        }
    }

    #[test]
    fn a_program_is_found_under_its_own_version_only() {
        let programs = Programs::<u32>::new(1 << 20);
        let (kept, gone) = programs.keep(&version("f", "1"), Arc::new(1), 10);
        assert_eq!((*kept, gone.len()), (1, 0));
        assert_eq!(programs.find(&version("f", "1")).as_deref(), Some(&1));
        assert_eq!(programs.find(&version("f", "2")), None);
        assert_eq!(programs.find(&version("g", "1")), None);
        let (kept, _) = programs.keep(&version("f", "1"), Arc::new(2), 10);
        assert_eq!(*kept, 1, "who came first is kept");
    }

    #[test]
    fn old_versions_of_a_function_go() {
        let programs = Programs::<u32>::new(1 << 20);
        for number in 1..=3 {
            programs.keep(&version("f", &number.to_string()), Arc::new(number), 10);
            programs.keep(&version("g", &format!("g{number}")), Arc::new(number), 10);
        }
        let kept = |instance: &str| programs.find(&version("f", instance)).is_some();
        assert_eq!([kept("1"), kept("2"), kept("3")], [false, true, true]);
    }

    #[test]
    fn memory_is_bounded_and_the_least_used_goes_first() {
        let programs = Programs::<u32>::new(3 * (OVERHEAD + 10));
        for (number, name) in ["a", "b", "c"].iter().enumerate() {
            programs.keep(&version(name, name), Arc::new(u32::try_from(number).unwrap()), 10);
        }
        programs.find(&version("a", "a"));
        let (_, gone) = programs.keep(&version("d", "d"), Arc::new(9), 10);
        assert_eq!(gone.iter().map(|program| **program).collect::<Vec<_>>(), [1], "b was asked for least lately");
        let (_, gone) = programs.keep(&version("e", "e"), Arc::new(8), 1 << 30);
        assert_eq!(gone.len(), 3, "a program that is larger than all of it is still run");
    }
}

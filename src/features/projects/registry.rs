//! The live projects, in memory: an immutable map that is replaced on change, with counters behind shared pointers.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU64, Ordering},
    },
};

use arc_swap::{ArcSwap, Guard};

use super::{Project, gate::Gate, metering::Pool};
use crate::common::{OrganisationId, ProjectId};

/// What changes about a project while it lives, without replacing the map.
#[derive(Debug)]
pub(super) struct Runtime {
    schema_version: AtomicU64,
    /// Newest bootstrap file its database has; behind ours until its first session.
    bootstrap_version: AtomicI32,
    /// Held by the one session that brings the database up to date.
    pub migrating: tokio::sync::Mutex<()>,
    pub gate: Arc<Gate>,
    pending_calls: AtomicI64,
    /// Used since its storage was last measured.
    used: AtomicBool,
}

impl Runtime {
    pub fn new(bootstrap_version: i32) -> Self {
        Self {
            schema_version: AtomicU64::new(1),
            bootstrap_version: AtomicI32::new(bootstrap_version),
            migrating: tokio::sync::Mutex::new(()),
            gate: Arc::default(),
            pending_calls: AtomicI64::new(0),
            // What happened before a restart may not have been measured.
            used: AtomicBool::new(true),
        }
    }

    pub fn schema_version(&self) -> u64 {
        self.schema_version.load(Ordering::Acquire)
    }

    pub fn bump_schema_version(&self) {
        self.schema_version.fetch_add(1, Ordering::AcqRel);
    }

    pub fn bootstrap_version(&self) -> i32 {
        self.bootstrap_version.load(Ordering::Acquire)
    }

    pub fn set_bootstrap_version(&self, version: i32) {
        self.bootstrap_version.store(version, Ordering::Release);
    }

    pub fn count_call(&self) {
        self.pending_calls.fetch_add(1, Ordering::Relaxed);
        self.mark_used();
    }

    pub fn pending_calls(&self) -> i64 {
        self.pending_calls.load(Ordering::Relaxed)
    }

    pub fn calls_written(&self, calls: i64) {
        self.pending_calls.fetch_sub(calls, Ordering::Relaxed);
    }

    pub fn mark_used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }

    pub fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Live {
    pub project: Arc<Project>,
    pub runtime: Arc<Runtime>,
    pub pool: Arc<Pool>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub projects: HashMap<ProjectId, Live>,
    /// Pools of organisations that have or had live projects since the start.
    pub pools: HashMap<OrganisationId, Arc<Pool>>,
}

#[derive(Default)]
pub(super) struct Registry {
    snapshot: ArcSwap<Snapshot>,
    /// One change at a time; readers never wait.
    changing: Mutex<()>,
}

impl Registry {
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    pub fn find(&self, id: &ProjectId) -> Option<Live> {
        self.snapshot.load().projects.get(id).cloned()
    }

    pub fn pool(&self, organisation: OrganisationId) -> Option<Arc<Pool>> {
        self.snapshot.load().pools.get(&organisation).cloned()
    }

    pub fn replace(&self, snapshot: Snapshot) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.snapshot.store(Arc::new(snapshot));
    }

    /// Makes a new project live. `pool` is used unless its organisation has one already.
    pub fn insert(&self, project: Project, runtime: Runtime, pool: Pool) {
        self.change(|snapshot| {
            let pool = snapshot.pools.entry(project.organisation).or_insert_with(|| Arc::new(pool)).clone();
            let live = Live { project: Arc::new(project), runtime: Arc::new(runtime), pool };
            snapshot.projects.insert(live.project.id.clone(), live);
        });
    }

    /// Ends a project's life; answers what it was.
    pub fn remove(&self, id: &ProjectId) -> Option<Live> {
        let mut removed = None;
        self.change(|snapshot| removed = snapshot.projects.remove(id));
        removed
    }

    pub fn set_archived(&self, id: &ProjectId, archived: bool) {
        self.change(|snapshot| {
            if let Some(live) = snapshot.projects.get_mut(id) {
                live.project = Arc::new(Project { archived, ..(*live.project).clone() });
            }
        });
    }

    fn change(&self, edit: impl FnOnce(&mut Snapshot)) {
        let _turn = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut snapshot = (**self.snapshot.load()).clone();
        edit(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        common::Slot,
        features::projects::metering::{Limits, Usage},
    };

    fn project(id: &str, organisation: OrganisationId, slot: i64) -> Project {
        Project { id: id.parse().unwrap(), organisation, slot: Slot::from_sequence(slot), archived: false }
    }

    fn pool(organisation: OrganisationId) -> Pool {
        Pool::new(organisation, None, Usage::default(), Limits { api_calls: 5, storage_bytes: 5 })
    }

    #[test]
    fn projects_of_one_organisation_share_a_pool() {
        let (registry, organisation) = (Registry::default(), OrganisationId::generate());
        registry.insert(project("prj_a", organisation, 1), Runtime::new(1), pool(organisation));
        registry.insert(project("prj_b", organisation, 2), Runtime::new(1), pool(organisation));
        let (a, b) = (registry.find(&"prj_a".parse().unwrap()), registry.find(&"prj_b".parse().unwrap()));
        a.unwrap().pool.admit(false).unwrap();
        assert_eq!(b.unwrap().pool.usage().api_calls, 1);
    }

    #[test]
    fn a_removed_project_is_gone_for_new_readers_and_stays_whole_for_old_ones() {
        let (registry, organisation) = (Registry::default(), OrganisationId::generate());
        let id: ProjectId = "prj_a".parse().unwrap();
        registry.insert(project("prj_a", organisation, 1), Runtime::new(1), pool(organisation));
        let held = registry.find(&id).unwrap();
        assert!(registry.remove(&id).is_some());
        assert!(registry.remove(&id).is_none());
        assert!(registry.find(&id).is_none());
        assert_eq!(held.project.database(), "r402_p0001");
        assert!(registry.pool(organisation).is_some(), "the pool outlives the project, its calls still count");
    }

    #[test]
    fn archiving_replaces_the_snapshot_and_keeps_the_counters() {
        let (registry, organisation) = (Registry::default(), OrganisationId::generate());
        let id: ProjectId = "prj_a".parse().unwrap();
        registry.insert(project("prj_a", organisation, 1), Runtime::new(1), pool(organisation));
        let before = registry.find(&id).unwrap();
        before.runtime.bump_schema_version();
        registry.set_archived(&id, true);
        let after = registry.find(&id).unwrap();
        assert!(!before.project.archived && after.project.archived);
        assert_eq!(after.runtime.schema_version(), 2);
        registry.set_archived(&"prj_unknown".parse().unwrap(), true);
    }
}

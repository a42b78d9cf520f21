//! Sessions of calls to functions, kept in memory between requests: those of browsers' cookies, and those that the
//! Bearers at gates belong to.
//!
//! What is kept is good as long as nothing changed in its project: every project has a generation, which grows after
//! the commit of each change and before the change is answered ([`change`](super::change)). Whoever reads a session
//! notes the generation first, so that a change meanwhile makes what he keeps look old, never new.
//!
//! What no generation tells is forgotten by age: a change whose request was cut off while its commit was under way,
//! which nobody was told of, and rows changed behind the box's back. Ends of sessions by time, the cookie's secret and
//! the host are for the caller to look at, each time. Absent and ended sessions are not kept: strangers cannot fill the
//! memory.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::SignedDuration;
use uuid::Uuid;

use super::store::sessions::BrowserSession;
use crate::common::{ProjectId, Timestamp};

/// How long a session is taken from memory without a look at its row.
const MAX_AGE: SignedDuration = SignedDuration::from_secs(10);
/// Sessions of a kind kept at most: about 6 MB of the larger.
const MAX_KEPT: usize = 4096;
/// Projects share generations: one too many that look changed costs a query, and nothing has to be forgotten.
const GENERATIONS: usize = 1024;

/// The state of a project's users, sessions and settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Generation {
    slot: usize,
    number: u64,
}

struct Kept<T> {
    project: ProjectId,
    found: T,
    generation: Generation,
    read_at: Timestamp,
}

impl<T> Kept<T> {
    fn is_young(&self, now: Timestamp) -> bool {
        // A clock that was set back makes nothing young again.
        let age = now.since(self.read_at);
        age >= SignedDuration::ZERO && age < MAX_AGE
    }
}

/// What stands behind a Bearer: a session that was not revoked.
#[derive(Clone, Copy, Debug)]
pub(super) struct SignIn {
    pub user: Uuid,
    pub expires_at: Timestamp,
}

/// What is kept of all projects.
pub(super) struct KnownSessions {
    generations: Vec<AtomicU64>,
    pub browsers: Shelf<Arc<BrowserSession>>,
    pub bearers: Shelf<SignIn>,
}

impl Default for KnownSessions {
    fn default() -> Self {
        let generations = (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect();
        Self { generations, browsers: Shelf::default(), bearers: Shelf::default() }
    }
}

impl KnownSessions {
    /// To be noted before anything is looked for or read.
    pub fn generation(&self, project: &ProjectId) -> Generation {
        let slot = slot_of(project);
        Generation { slot, number: self.generations[slot].load(Ordering::SeqCst) }
    }

    /// Something in the project changed.
    pub fn outdate(&self, project: &ProjectId) {
        self.generations[slot_of(project)].fetch_add(1, Ordering::SeqCst);
    }
}

/// Sessions of one kind, by their ids.
pub(super) struct Shelf<T>(Mutex<HashMap<Uuid, Kept<T>>>);

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Shelf<T> {
    /// What is kept of a session, if it was read in this generation and lately.
    pub fn find(&self, project: &ProjectId, session: Uuid, generation: Generation, now: Timestamp) -> Option<T> {
        let kept = self.lock();
        let kept = kept.get(&session)?;
        let is_good = kept.project == *project && kept.generation == generation && kept.is_young(now);
        is_good.then(|| kept.found.clone())
    }

    /// Keeps what was read at `now`, after `generation` was noted.
    pub fn keep(&self, project: &ProjectId, session: Uuid, found: T, generation: Generation, now: Timestamp) {
        let mut kept = self.lock();
        if kept.len() >= MAX_KEPT && !kept.contains_key(&session) {
            kept.retain(|_, one| one.is_young(now));
            if kept.len() >= MAX_KEPT {
                kept.clear();
            }
        }
        kept.insert(session, Kept { project: project.clone(), found, generation, read_at: now });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Kept<T>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn slot_of(project: &ProjectId) -> usize {
    let mut hasher = DefaultHasher::new();
    project.as_str().hash(&mut hasher);
    usize::try_from(hasher.finish() % GENERATIONS as u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000).unwrap()
    }

    fn project(id: &str) -> ProjectId {
        id.parse().unwrap()
    }

    fn sign_in() -> SignIn {
        SignIn { user: Uuid::new_v4(), expires_at: at(1_000_000) }
    }

    #[test]
    fn a_session_is_known_until_its_project_changes_or_it_is_too_old() {
        let (known, project, id) = (KnownSessions::default(), project("prj_1_a"), Uuid::new_v4());
        let keep = |now| known.bearers.keep(&project, id, sign_in(), known.generation(&project), now);
        let is_known = |now| known.bearers.find(&project, id, known.generation(&project), now).is_some();
        assert!(!is_known(at(100)));
        keep(at(100));
        assert!(is_known(at(100)) && is_known(at(109)));
        assert!(!is_known(at(110)), "too old");
        assert!(!is_known(at(99)), "from the future");
        known.outdate(&project);
        assert!(!is_known(at(100)), "changed");
        keep(at(100));
        assert!(is_known(at(100)));
    }

    #[test]
    fn what_was_read_before_a_change_is_not_known_after_it() {
        let (known, project, id) = (KnownSessions::default(), project("prj_1_a"), Uuid::new_v4());
        let noted = known.generation(&project);
        known.outdate(&project);
        known.bearers.keep(&project, id, sign_in(), noted, at(100));
        assert!(known.bearers.find(&project, id, known.generation(&project), at(100)).is_none());
    }

    #[test]
    fn a_session_is_known_in_its_own_project_alone() {
        let (known, own, id) = (KnownSessions::default(), project("prj_1_a"), Uuid::new_v4());
        known.bearers.keep(&own, id, sign_in(), known.generation(&own), at(100));
        // Some of them share its generation.
        for number in 2..3000 {
            let other = project(&format!("prj_{number}_b"));
            assert!(known.bearers.find(&other, id, known.generation(&other), at(100)).is_none(), "{other}");
        }
        assert!(known.bearers.find(&own, id, known.generation(&own), at(100)).is_some());
    }

    #[test]
    fn many_sessions_do_not_fill_memory() {
        let (known, project) = (KnownSessions::default(), project("prj_1_a"));
        for _ in 0..MAX_KEPT + 10 {
            known.bearers.keep(&project, Uuid::new_v4(), sign_in(), known.generation(&project), at(100));
        }
        assert!(known.bearers.lock().len() <= MAX_KEPT);
    }

    /// Statements that change what is kept go through the door.
    #[test]
    fn every_write_to_users_sessions_and_settings_takes_a_change() {
        // What begins is not known yet; these change nothing that is kept, or end what has long ended.
        const HARMLESS: [&str; 4] = ["seen", "upgrade_hash", "sweep", "insert"];
        let tables = ["app_sessions", "app_users", "app_auth_settings"];
        let mut found = 0;
        for file in ["links", "mail", "oauth", "passkeys", "proofs", "sessions", "settings", "users"] {
            let path = format!("{}/src/features/auth/store/{file}.rs", env!("CARGO_MANIFEST_DIR"));
            let source = fs::read_to_string(path).unwrap();
            for function in source.split("pub async fn ").skip(1) {
                let (name, body) = function.split_once('(').unwrap();
                let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
                let writes = |verb: &str| tables.iter().any(|table| words.contains(&format!("{verb} {table}")));
                if (writes("update") || writes("delete from") || writes("insert into")) && !HARMLESS.contains(&name) {
                    assert!(words.contains("&ChangeTx<'_>"), "{file}::{name} writes past the door");
                    found += 1;
                }
            }
        }
        assert!(found >= 12, "{found}");
    }
}

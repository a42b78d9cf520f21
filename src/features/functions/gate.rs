//! Gates of functions: signed-in users only, or users of certain roles only (contract 05 §9).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::SignedDuration;

use super::{error::FunctionError, service::Functions, store};
use crate::{
    common::{ApiError, ProjectId, Timestamp},
    engines::postgres::PipelineError,
    features::{
        projects::Project,
        releases::{FunctionState, RoleGate, ServedRelease},
    },
};

/// Roles remembered, over all projects.
const REMEMBERED: usize = 10_000;
/// Longest time the project's database may take over a role.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who passed: sent on to the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    pub user: String,
    /// With a role gate.
    pub role: Option<String>,
}

/// Roles read lately.
#[derive(Default)]
pub(super) struct Roles(Mutex<HashMap<Key, (Option<String>, Timestamp)>>);

/// The generation is in it, so that an activation forgets all roles of its project.
type Key = (ProjectId, i64, String);

impl Roles {
    fn find(&self, key: &Key, now: Timestamp) -> Option<Option<String>> {
        self.lock().get(key).filter(|(_, until)| *until > now).map(|(role, _)| role.clone())
    }

    fn remember(&self, key: Key, role: Option<String>, until: Timestamp, now: Timestamp) {
        let mut roles = self.lock();
        if roles.len() >= REMEMBERED {
            roles.retain(|_, (_, until)| *until > now);
            if roles.len() >= REMEMBERED {
                roles.clear();
            }
        }
        roles.insert(key, (role, until));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Option<String>, Timestamp)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether not everybody may call the function.
pub(super) fn is_gated(function: &FunctionState) -> bool {
    function.require_auth || function.require_role.is_some()
}

impl Functions {
    /// Whether this user may call the function. `user` is the id out of a verified token or session of this project.
    ///
    /// # Errors
    /// [`FunctionError::SignInRequired`], [`FunctionError::RoleForbidden`]; 503 when the role cannot be read.
    pub(super) async fn pass_gate(
        &self,
        project: &Project,
        release: &ServedRelease,
        function: &FunctionState,
        user: Option<String>,
    ) -> Result<Option<Passed>, FunctionError> {
        if !is_gated(function) {
            return Ok(None);
        }
        let user = user.ok_or(FunctionError::SignInRequired)?;
        let Some(gate) = &function.require_role else { return Ok(Some(Passed { user, role: None })) };
        let role = self.role_of(project, release, gate, &user).await?;
        match role {
            Some(role) if gate.allowed.contains(&role) => Ok(Some(Passed { user, role: Some(role) })),
            _ => Err(FunctionError::RoleForbidden { allowed: gate.allowed.clone() }),
        }
    }

    async fn role_of(
        &self,
        project: &Project,
        release: &ServedRelease,
        gate: &RoleGate,
        user: &str,
    ) -> Result<Option<String>, FunctionError> {
        let now = self.clock.now();
        let key = (project.id.clone(), release.generation, user.to_owned());
        if gate.cache_ttl > 0
            && let Some(role) = self.roles.find(&key, now)
        {
            return Ok(role);
        }
        let read = async {
            let mut session = self.projects.rest_session(project).await?;
            let role = store::gate::role(&mut session, gate, user).await;
            role.map_err(|error| match error {
                // A table or column that is gone: nobody passes.
                PipelineError::Server(_) => ApiError::internal(error),
                PipelineError::Broken(_) => {
                    ApiError::unavailable("The project's database went away while your role was read.").caused_by(error)
                }
            })
        };
        let role = tokio::time::timeout(PATIENCE, read)
            .await
            .map_err(|_| ApiError::unavailable("The project's database took too long to tell your role."))??;
        if gate.cache_ttl > 0 {
            let until = now.plus(SignedDuration::from_secs(i64::from(gate.cache_ttl)));
            self.roles.remember(key, role.clone(), until, now);
        }
        Ok(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_remembered_for_their_time_and_generation() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let key = |generation| ("prj_a".parse().unwrap(), generation, "u".to_owned());
        let roles = Roles::default();
        roles.remember(key(1), Some("admin".into()), at(60), at(0));
        assert_eq!(roles.find(&key(1), at(59)), Some(Some("admin".into())));
        assert_eq!(roles.find(&key(1), at(60)), None);
        assert_eq!(roles.find(&key(2), at(1)), None);
    }

    #[test]
    fn strangers_cannot_fill_memory() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000).unwrap();
        let roles = Roles::default();
        for user in 0..REMEMBERED + 10 {
            roles.remember(("prj_a".parse().unwrap(), 1, user.to_string()), None, at(60), at(0));
        }
        assert!(roles.lock().len() <= REMEMBERED);
    }
}

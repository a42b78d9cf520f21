//! Tokens for development (contract 06 §9.6): never on a box that others can reach.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    error::{AuthError, bad_field},
    service::Auth,
    store,
};
use crate::{
    common::{ApiResult, ProjectId},
    features::identity::KeyRole,
};

const MAX_SUBJECT: usize = 200;

/// In `amr` of these tokens, which belong to no session.
pub(super) const METHOD: &str = "dev";

impl Auth {
    /// A token for `role` in a project. The roles of project keys get the project's own keys.
    ///
    /// # Errors
    /// 400 for a bad field, 404 for an unknown project.
    pub(super) async fn dev_token(&self, project: &str, role: Option<&str>, sub: Option<&str>) -> ApiResult<Value> {
        let id: ProjectId =
            project.parse().map_err(|_| bad_field("project_id", "project_id must be the id of a project."))?;
        let project = self.projects.live(&id).ok_or(AuthError::NotFound)?;
        if sub.is_some_and(|sub| sub.is_empty() || sub.len() > MAX_SUBJECT || sub.contains('\0')) {
            return Err(bad_field("sub", "sub must have 1 to 200 bytes."));
        }
        let role = role.unwrap_or("authenticated");
        let (token, sub) = match role {
            "anon" => (self.identity.mint_project_key(&project.id, KeyRole::Anon), None),
            "service_role" => {
                (self.identity.mint_project_key(&project.id, KeyRole::Service), Some(sub.unwrap_or("service")))
            }
            "authenticated" => {
                let sub = sub.unwrap_or("user");
                let now = self.clock.now().as_seconds();
                let claims = Map::from_iter([
                    ("sub".to_owned(), json!(sub)),
                    ("role".to_owned(), json!(role)),
                    ("email".to_owned(), json!("")),
                    ("auth_time".to_owned(), json!(now)),
                    ("amr".to_owned(), json!([METHOD])),
                    ("aal".to_owned(), json!("aal1")),
                    ("session_id".to_owned(), json!(Uuid::new_v4())),
                    ("authz_version".to_owned(), json!(1)),
                    ("is_test".to_owned(), json!(true)),
                ]);
                (self.keys.mint(&project.id, claims).await?, Some(sub))
            }
            _ => return Err(bad_field("role", "role must be anon, authenticated or service_role.")),
        };
        let details = json!({"role": role, "sub": sub});
        let connection = self.connection().await?;
        store::users::audit(&**connection, &project.id, None, "dev_token", &details, self.clock.now()).await?;
        Ok(json!({"authorization": format!("Bearer {token}"), "token": token, "role": role, "sub": sub}))
    }
}

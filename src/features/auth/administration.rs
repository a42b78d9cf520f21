//! What the project's service key does with its users: create, invite, promote, list, delete, settings (contract 06
//! §6.6, §6.8, §6.9, §18).

use serde::Serialize;
use serde_json::{Map, Value, json};
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    email::{EmailAddress, normalised_domain},
    error::{AuthError, bad_field},
    limits::Rule,
    magic_links::LinkRequest,
    mail::Locale,
    service::Auth,
    store::{self, users::NewUser},
    types::{PoolSettings, PublicSignup, User},
};
use crate::{
    common::{ApiResult, Timestamp},
    features::projects::Project,
};

/// Entries of `allowed_email_domains` at most.
const MAX_DOMAINS: usize = 100;
const SIGN_IN_METHODS: [&str; 4] = ["password", "magic_link", "oauth_google", "passkey"];

/// `POST /auth/v1/admin/users`
pub(super) struct Enrolment<'a> {
    pub email: &'a EmailAddress,
    pub is_admin: Option<bool>,
    /// Where the invitation leads; `None`: no invitation.
    pub invite: Option<&'a Url>,
    pub client_state: Option<String>,
    pub locale: Locale,
}

/// Its answer (06 §6.8).
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Enrolled {
    id: Uuid,
    email: String,
    is_admin: bool,
    #[schema(value_type = Option<String>)]
    email_verified_at: Option<Timestamp>,
    created: bool,
    invite_sent: bool,
}

impl Auth {
    /// Signs with a new key from now on.
    ///
    /// # Errors
    /// 429: retired keys stay published for hours, and every function starts anew.
    pub(super) async fn rotate_keys(&self, project: &Project) -> ApiResult<Value> {
        self.limits.take(Rule::KeyRotations, &[project.id.as_str()])?;
        self.keys.rotate(&project.id).await?;
        let kid = self.keys.signing_kid(&project.id);
        let connection = self.connection().await?;
        let details = json!({"kid": kid});
        store::users::audit(&**connection, &project.id, None, "keys_rotated", &details, self.clock.now()).await?;
        Ok(json!({"status": "rotated", "kid": kid}))
    }

    /// Creates or updates a user by address, and invites him.
    ///
    /// # Errors
    /// 429 when the address was invited too often.
    pub(super) async fn enrol(&self, project: &Project, enrolment: &Enrolment<'_>) -> ApiResult<Enrolled> {
        let now = self.clock.now();
        let settings = self.pool_settings(&project.id).await?;
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let new = NewUser {
            project: &project.id,
            email: Some(enrolment.email.as_str()),
            password_hash: None,
            verified: false,
            is_admin: enrolment.is_admin.unwrap_or(false),
            display_name: None,
            avatar_url: None,
        };
        let (user, created) = match store::users::insert(&*tx, &new, now).await? {
            Some(user) => (user, true),
            None => {
                let found = store::users::by_email(&*tx, &project.id, enrolment.email.as_str()).await?;
                let user = found.ok_or(AuthError::UserNotFound)?;
                match enrolment.is_admin {
                    Some(is_admin) => (store::users::set_admin(&*tx, user.id, is_admin, now).await?, false),
                    None => (user, false),
                }
            }
        };
        if let Some(redirect_url) = enrolment.invite {
            let request = LinkRequest {
                email: enrolment.email,
                redirect_url,
                intent: "invite",
                client_state: enrolment.client_state.clone(),
                trusted: true,
                host: None,
                locale: enrolment.locale,
            };
            self.send_link(&tx, project, &request, &settings).await?;
        }
        let details = json!({"created": created, "is_admin": user.is_admin, "invited": enrolment.invite.is_some()});
        store::users::audit(&*tx, &project.id, Some(user.id), "enrolled", &details, now).await?;
        tx.commit().await?;
        Ok(Enrolled {
            id: user.id,
            email: user.email_text(),
            is_admin: user.is_admin,
            email_verified_at: user.email_verified_at,
            created,
            invite_sent: enrolment.invite.is_some(),
        })
    }

    /// Makes a user `project_admin`, or an ordinary user again; a demotion ends all his sessions.
    ///
    /// # Errors
    /// 404 for an unknown address.
    pub(super) async fn set_admin(&self, project: &Project, email: &EmailAddress, is_admin: bool) -> ApiResult<User> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        let found = store::users::by_email(&*tx, &project.id, email.as_str()).await?;
        let user = found.ok_or(AuthError::UserNotFound)?;
        let changed = store::users::set_admin(&*tx, user.id, is_admin, now).await?;
        if !is_admin {
            store::sessions::revoke_others(&*tx, user.id, None, now).await?;
        }
        let event = if is_admin { "promoted" } else { "demoted" };
        store::users::audit(&*tx, &project.id, Some(user.id), event, &json!({}), now).await?;
        tx.commit().await?;
        Ok(changed)
    }

    /// Newest first, up to `limit + 1`.
    pub(super) async fn list_users(
        &self,
        project: &Project,
        after: Option<(Timestamp, Uuid)>,
        limit: i64,
    ) -> ApiResult<Vec<User>> {
        Ok(store::users::list(&**self.connection().await?, &project.id, after, limit).await?)
    }

    /// # Errors
    /// 404 for an unknown id.
    pub(super) async fn delete_user(&self, project: &Project, id: Uuid) -> ApiResult<()> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        if !store::users::delete(&*tx, &project.id, id).await? {
            return Err(AuthError::UserNotFound.into());
        }
        store::users::audit(&*tx, &project.id, Some(id), "deleted", &json!({}), now).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Applies a partial change of the settings (06 §6.6).
    ///
    /// # Errors
    /// 400 `BAD_REQUEST` for an unknown field or a value it cannot have.
    pub(super) async fn change_settings(
        &self,
        project: &Project,
        changes: &Map<String, Value>,
    ) -> ApiResult<PoolSettings> {
        let now = self.clock.now();
        let mut connection = self.connection().await?;
        let tx = connection.transaction().await?;
        store::settings::lock(&*tx, &project.id).await?;
        let before = store::settings::read(&*tx, &project.id).await?;
        let after = changed(before.clone(), changes)?;
        if after != before {
            store::settings::write(&*tx, &project.id, &after).await?;
            let details = json!({"fields": changes.keys().collect::<Vec<_>>()});
            store::users::audit(&*tx, &project.id, None, "settings_changed", &details, now).await?;
        }
        tx.commit().await?;
        Ok(after)
    }
}

fn changed(mut settings: PoolSettings, changes: &Map<String, Value>) -> ApiResult<PoolSettings> {
    for (field, value) in changes {
        match field.as_str() {
            "allow_password_set" => settings.allow_password_set = boolean(field, value)?,
            "require_passkey_for_project_admin" => settings.require_passkey_for_project_admin = boolean(field, value)?,
            "preferred_sign_in_method" => settings.preferred_sign_in_method = sign_in_method(value)?,
            "public_signup" => {
                settings.public_signup = value
                    .as_str()
                    .and_then(PublicSignup::parse)
                    .ok_or_else(|| bad_field(field, "public_signup must be open, known_email or invite_only."))?;
            }
            "allowed_email_domains" => settings.allowed_email_domains = domains(value)?,
            _ => return Err(bad_field(field, format!("{field} is not a setting of app-user auth."))),
        }
    }
    Ok(settings)
}

fn boolean(field: &str, value: &Value) -> ApiResult<bool> {
    value.as_bool().ok_or_else(|| bad_field(field, format!("{field} must be true or false.")))
}

fn sign_in_method(value: &Value) -> ApiResult<Option<String>> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if SIGN_IN_METHODS.contains(&text.as_str()) => Ok(Some(text.clone())),
        _ => Err(bad_field(
            "preferred_sign_in_method",
            "preferred_sign_in_method must be password, magic_link, oauth_google, passkey or null.",
        )),
    }
}

fn domains(value: &Value) -> ApiResult<Vec<String>> {
    let refused = || bad_field("allowed_email_domains", "allowed_email_domains must be a list of domain names.");
    let list = value.as_array().ok_or_else(refused)?;
    if list.len() > MAX_DOMAINS {
        return Err(bad_field("allowed_email_domains", "allowed_email_domains takes at most 100 domains."));
    }
    let mut domains = Vec::new();
    for entry in list {
        let domain = entry.as_str().and_then(normalised_domain).ok_or_else(refused)?;
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(changes: Value) -> Result<PoolSettings, String> {
        let changes = changes.as_object().unwrap().clone();
        changed(PoolSettings::default(), &changes).map_err(|error| error.code().to_owned())
    }

    #[test]
    fn settings_change_one_by_one() {
        assert_eq!(apply(json!({})).unwrap(), PoolSettings::default());
        let settings = apply(json!({
            "allow_password_set": true, "preferred_sign_in_method": "passkey", "public_signup": "invite_only",
            "require_passkey_for_project_admin": true, "allowed_email_domains": ["@Example.COM", "example.com"],
        }))
        .unwrap();
        assert_eq!(settings.allowed_email_domains, ["example.com"]);
        assert_eq!(settings.public_signup, PublicSignup::InviteOnly);
        assert!(settings.allow_password_set && settings.require_passkey_for_project_admin);
    }

    #[test]
    fn impossible_settings_are_refused() {
        for changes in [
            json!({"foo": 1}),
            json!({"allow_password_set": "yes"}),
            json!({"public_signup": "closed"}),
            json!({"public_signup": null}),
            json!({"preferred_sign_in_method": "sms"}),
            json!({"allowed_email_domains": "example.com"}),
            json!({"allowed_email_domains": ["nodot"]}),
            json!({"allowed_email_domains": [1]}),
            json!({"allowed_email_domains": vec!["a.example"; 101]}),
        ] {
            assert_eq!(apply(changes.clone()), Err("BAD_REQUEST".to_owned()), "{changes}");
        }
    }
}

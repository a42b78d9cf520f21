//! Settings of the user pools.

use tokio_postgres::GenericClient;

use crate::{
    common::ProjectId,
    engines::postgres::DatabaseError,
    features::auth::types::{PoolSettings, PublicSignup},
};

pub async fn read(client: &impl GenericClient, project: &ProjectId) -> Result<PoolSettings, DatabaseError> {
    let row = client
        .query_opt(
            "select allow_password_set, preferred_sign_in_method, public_signup, require_passkey_for_project_admin,
                    allowed_email_domains
             from app_auth_settings where project_id = $1",
            &[&project.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(PoolSettings::default()) };
    Ok(PoolSettings {
        allow_password_set: row.try_get(0)?,
        preferred_sign_in_method: row.try_get(1)?,
        // The table admits no other word.
        public_signup: PublicSignup::parse(row.try_get(2)?).unwrap_or(PublicSignup::InviteOnly),
        require_passkey_for_project_admin: row.try_get(3)?,
        allowed_email_domains: row.try_get(4)?,
    })
}

/// Takes the turn of changing the settings: two partial changes at once would lose one.
pub async fn lock(client: &impl GenericClient, project: &ProjectId) -> Result<(), DatabaseError> {
    client
        .execute("insert into app_auth_settings (project_id) values ($1) on conflict do nothing", &[&project.as_str()])
        .await?;
    client.execute("select from app_auth_settings where project_id = $1 for update", &[&project.as_str()]).await?;
    Ok(())
}

pub async fn write(
    client: &impl GenericClient,
    project: &ProjectId,
    settings: &PoolSettings,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_auth_settings
             set allow_password_set = $2, preferred_sign_in_method = $3, public_signup = $4,
                 require_passkey_for_project_admin = $5, allowed_email_domains = $6
             where project_id = $1",
            &[
                &project.as_str(),
                &settings.allow_password_set,
                &settings.preferred_sign_in_method,
                &settings.public_signup.as_str(),
                &settings.require_passkey_for_project_admin,
                &settings.allowed_email_domains,
            ],
        )
        .await?;
    Ok(())
}

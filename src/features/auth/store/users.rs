//! Accounts, identities and the audit trail.

use serde_json::Value;
use tokio_postgres::{GenericClient, Row};
use uuid::Uuid;

use super::stored_project;
use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::DatabaseError,
    features::auth::types::{IdentityView, User},
};

/// The columns [`user_row`] reads, of `u`.
macro_rules! user_columns {
    () => {
        "u.id, u.project_id, u.email, u.password_hash, u.email_verified_at, u.display_name, u.avatar_url, u.is_admin, \
         u.is_test, u.authz_version, u.created_at"
    };
}
pub(super) use user_columns;

pub(super) fn user_row(row: &Row) -> Result<User, DatabaseError> {
    Ok(User {
        id: row.try_get("id")?,
        project: stored_project(row.try_get("project_id")?)?,
        email: row.try_get("email")?,
        password_hash: row.try_get("password_hash")?,
        email_verified_at: row.try_get("email_verified_at")?,
        display_name: row.try_get("display_name")?,
        avatar_url: row.try_get("avatar_url")?,
        is_admin: row.try_get("is_admin")?,
        is_test: row.try_get("is_test")?,
        authz_version: row.try_get("authz_version")?,
        created_at: row.try_get("created_at")?,
    })
}

/// A new account.
pub struct NewUser<'a> {
    pub project: &'a ProjectId,
    pub email: Option<&'a str>,
    pub password_hash: Option<&'a str>,
    pub verified: bool,
    pub is_admin: bool,
    pub display_name: Option<&'a str>,
    pub avatar_url: Option<&'a str>,
}

/// `None` when the address is taken.
pub async fn insert(
    client: &impl GenericClient,
    user: &NewUser<'_>,
    now: Timestamp,
) -> Result<Option<User>, DatabaseError> {
    let verified_at = user.verified.then_some(now);
    let row = client
        .query_opt(
            concat!(
                "insert into app_users as u (id, project_id, email, password_hash, email_verified_at, is_admin,
                     display_name, avatar_url, created_at, updated_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
                 on conflict (project_id, email) do nothing
                 returning ",
                user_columns!()
            ),
            &[
                &Uuid::new_v4(),
                &user.project.as_str(),
                &user.email,
                &user.password_hash,
                &verified_at,
                &user.is_admin,
                &user.display_name,
                &user.avatar_url,
                &now,
            ],
        )
        .await?;
    row.as_ref().map(user_row).transpose()
}

pub async fn by_email(
    client: &impl GenericClient,
    project: &ProjectId,
    email: &str,
) -> Result<Option<User>, DatabaseError> {
    let row = client
        .query_opt(
            concat!("select ", user_columns!(), " from app_users u where u.project_id = $1 and u.email = $2"),
            &[&project.as_str(), &email],
        )
        .await?;
    row.as_ref().map(user_row).transpose()
}

pub async fn by_id(client: &impl GenericClient, project: &ProjectId, id: Uuid) -> Result<Option<User>, DatabaseError> {
    let row = client
        .query_opt(
            concat!("select ", user_columns!(), " from app_users u where u.project_id = $1 and u.id = $2"),
            &[&project.as_str(), &id],
        )
        .await?;
    row.as_ref().map(user_row).transpose()
}

/// As [`by_id`], held against changes until the transaction ends.
pub async fn for_session(
    client: &impl GenericClient,
    project: &ProjectId,
    id: Uuid,
) -> Result<Option<User>, DatabaseError> {
    let row = client
        .query_opt(
            concat!("select ", user_columns!(), " from app_users u where u.project_id = $1 and u.id = $2 for share"),
            &[&project.as_str(), &id],
        )
        .await?;
    row.as_ref().map(user_row).transpose()
}

/// As [`by_id`], held alone until the transaction ends.
pub async fn held(client: &impl GenericClient, id: Uuid) -> Result<Option<User>, DatabaseError> {
    let row = client
        .query_opt(concat!("select ", user_columns!(), " from app_users u where u.id = $1 for update"), &[&id])
        .await?;
    row.as_ref().map(user_row).transpose()
}

/// What this feature asks of the project itself.
#[derive(Default)]
pub struct ProjectFacts {
    /// For pages and mail.
    pub name: String,
    /// The tier of its organisation.
    pub tier: Option<String>,
}

pub async fn project_facts(client: &impl GenericClient, project: &ProjectId) -> Result<ProjectFacts, DatabaseError> {
    let row = client
        .query_opt(
            "select p.name, o.tier from projects p join organisations o on o.id = p.organisation_id where p.id = $1",
            &[&project.as_str()],
        )
        .await?;
    let Some(row) = row else { return Ok(ProjectFacts::default()) };
    Ok(ProjectFacts { name: row.try_get(0)?, tier: row.try_get(1)? })
}

pub async fn set_password(
    client: &impl GenericClient,
    user: Uuid,
    hash: &str,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute("update app_users set password_hash = $2, updated_at = $3 where id = $1", &[&user, &hash, &now])
        .await?;
    Ok(())
}

/// Replaces a hash made with older parameters, unless the password changed meanwhile.
pub async fn upgrade_hash(client: &impl GenericClient, user: Uuid, old: &str, new: &str) -> Result<(), DatabaseError> {
    client
        .execute("update app_users set password_hash = $3 where id = $1 and password_hash = $2", &[&user, &old, &new])
        .await?;
    Ok(())
}

/// The address was proved.
pub async fn verify_email(client: &impl GenericClient, user: Uuid, now: Timestamp) -> Result<User, DatabaseError> {
    let row = client
        .query_one(
            concat!(
                "update app_users u
                 set email_verified_at = coalesce(u.email_verified_at, $2), updated_at = $2
                 where u.id = $1 returning ",
                user_columns!()
            ),
            &[&user, &now],
        )
        .await?;
    user_row(&row)
}

/// What a provider tells of a user fills what the account lacks.
pub async fn fill_in(
    client: &impl GenericClient,
    user: Uuid,
    verified: bool,
    name: Option<&str>,
    avatar: Option<&str>,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "update app_users
             set email_verified_at = coalesce(email_verified_at, case when $2 then $5::timestamptz end),
                 display_name = coalesce(display_name, $3), avatar_url = coalesce(avatar_url, $4), updated_at = $5
             where id = $1",
            &[&user, &verified, &name, &avatar, &now],
        )
        .await?;
    Ok(())
}

/// Grants or takes the admin role; a change makes older tokens stale.
pub async fn set_admin(
    client: &impl GenericClient,
    user: Uuid,
    is_admin: bool,
    now: Timestamp,
) -> Result<User, DatabaseError> {
    let row = client
        .query_one(
            concat!(
                "update app_users u
                 set authz_version = u.authz_version + case when u.is_admin = $2 then 0 else 1 end,
                     is_admin = $2, updated_at = $3
                 where u.id = $1 returning ",
                user_columns!()
            ),
            &[&user, &is_admin, &now],
        )
        .await?;
    user_row(&row)
}

pub async fn delete(client: &impl GenericClient, project: &ProjectId, id: Uuid) -> Result<bool, DatabaseError> {
    let deleted =
        client.execute("delete from app_users where project_id = $1 and id = $2", &[&project.as_str(), &id]).await?;
    Ok(deleted == 1)
}

/// Newest first, up to `limit + 1` rows older than `after`.
pub async fn list(
    client: &impl GenericClient,
    project: &ProjectId,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<User>, DatabaseError> {
    let (at, id) = after.unzip();
    let rows = client
        .query(
            concat!(
                "select ",
                user_columns!(),
                " from app_users u
                  where u.project_id = $1
                    and ($2::timestamptz is null or (u.created_at, u.id) < ($2, $3::uuid))
                  order by u.created_at desc, u.id desc limit $4"
            ),
            &[&project.as_str(), &at, &id, &(limit + 1)],
        )
        .await?;
    rows.iter().map(user_row).collect()
}

pub async fn identities(client: &impl GenericClient, user: Uuid) -> Result<Vec<IdentityView>, DatabaseError> {
    let rows = client
        .query(
            "select provider, subject, provider_email, created_at from app_identities
             where user_id = $1 order by created_at, provider, subject",
            &[&user],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(IdentityView {
                provider: row.try_get(0)?,
                provider_sub: row.try_get(1)?,
                provider_email: row.try_get(2)?,
                created_at: row.try_get(3)?,
            })
        })
        .collect()
}

pub async fn audit(
    client: &impl GenericClient,
    project: &ProjectId,
    user: Option<Uuid>,
    event: &str,
    details: &Value,
    now: Timestamp,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into app_auth_audit (project_id, user_id, event, details, created_at) values ($1, $2, $3, $4, $5)",
            &[&project.as_str(), &user, &event, details, &now],
        )
        .await?;
    Ok(())
}

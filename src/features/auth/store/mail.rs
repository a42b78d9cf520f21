//! Captured mail.

use serde::Serialize;
use tokio_postgres::GenericClient;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    common::{ProjectId, Timestamp},
    engines::postgres::DatabaseError,
};

/// A message that stayed on the box.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CapturedMail {
    pub id: Uuid,
    pub project_id: Option<String>,
    pub from: String,
    pub to: String,
    pub template: String,
    pub locale: String,
    pub subject: String,
    pub text: String,
    pub html: String,
    #[schema(value_type = String)]
    pub created_at: Timestamp,
}

/// Keeps a message; a suppressed one costs the same round trip and leaves nothing.
pub async fn insert(
    client: &impl GenericClient,
    project: &ProjectId,
    mail: &CapturedMail,
    suppressed: bool,
) -> Result<(), DatabaseError> {
    client
        .execute(
            "insert into captured_mail (id, project_id, sender, recipient, template, locale, subject, text_body,
                 html_body, created_at)
             select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 where not $11::boolean",
            &[
                &mail.id,
                &project.as_str(),
                &mail.from,
                &mail.to,
                &mail.template,
                &mail.locale,
                &mail.subject,
                &mail.text,
                &mail.html,
                &mail.created_at,
                &suppressed,
            ],
        )
        .await?;
    Ok(())
}

/// Newest first, up to `limit + 1` rows older than `after`.
pub async fn list(
    client: &impl GenericClient,
    recipient: Option<&str>,
    project: Option<&str>,
    after: Option<(Timestamp, Uuid)>,
    limit: i64,
) -> Result<Vec<CapturedMail>, DatabaseError> {
    let (at, id) = after.unzip();
    let rows = client
        .query(
            "select id, project_id, sender, recipient, template, locale, subject, text_body, html_body, created_at
             from captured_mail
             where ($1::text is null or recipient = $1) and ($2::text is null or project_id = $2)
               and ($3::timestamptz is null or (created_at, id) < ($3, $4::uuid))
             order by created_at desc, id desc limit $5",
            &[&recipient, &project, &at, &id, &(limit + 1)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(CapturedMail {
                id: row.try_get(0)?,
                project_id: row.try_get(1)?,
                from: row.try_get(2)?,
                to: row.try_get(3)?,
                template: row.try_get(4)?,
                locale: row.try_get(5)?,
                subject: row.try_get(6)?,
                text: row.try_get(7)?,
                html: row.try_get(8)?,
                created_at: row.try_get(9)?,
            })
        })
        .collect()
}

pub async fn sweep(client: &impl GenericClient, before: Timestamp) -> Result<u64, DatabaseError> {
    Ok(client.execute("delete from captured_mail where created_at < $1", &[&before]).await?)
}

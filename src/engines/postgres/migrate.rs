//! Brings a database to the schema this binary knows.
//!
//! The migrations are a refinery set (`refinery::embed_migrations!`), embedded by whoever owns them. They run
//! in one transaction: an upgrade that fails leaves the database as the older run402 knows it.

use refinery::{Migration, Runner, error::Kind};

use super::{Cluster, DatabaseError, Login};

/// Refinery's own name for its table.
const HISTORY: &str = "refinery_schema_history";
/// Any number, as long as nobody else locks it in that database: "run402" in ASCII.
const LOCK: i64 = 0x7275_6e34_3032;

/// Why the schema could not be brought up to date. Read by the operator at start, not by API clients.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(
        "this data directory was written by a newer run402 (its schema is at version {found}, this one knows up to \
         {known}): use that version, or restore a backup"
    )]
    Newer { found: i32, known: i32 },
    #[error(
        "migration {0} was applied to this data directory in another form: use the run402 that wrote it, or restore a backup"
    )]
    Changed(String),
    #[error("the database could not be upgraded and is unchanged: {0}")]
    Failed(#[source] Box<refinery::Error>),
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl From<tokio_postgres::Error> for MigrateError {
    fn from(error: tokio_postgres::Error) -> Self {
        DatabaseError::from(error).into()
    }
}

/// Applies what is missing, in order. Callers that race wait for each other.
///
/// Uses a connection of its own: the lock ends with it, however this function ends.
pub async fn migrate(cluster: &Cluster, login: &Login, runner: Runner) -> Result<(), MigrateError> {
    let mut connection = cluster.connect(login).await?;
    connection.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
    let history = connection.query_one("select to_regclass($1) is not null", &[&HISTORY]).await?;
    if history.get(0) {
        let applied = runner.get_applied_migrations_async(&mut **connection).await.map_err(explain)?;
        refuse_newer(&applied, runner.get_migrations())?;
    }
    let report = runner.set_grouped(true).run_async(&mut **connection).await.map_err(explain)?;
    for migration in report.applied_migrations() {
        tracing::info!(database = login.database, %migration, "migration applied");
    }
    Ok(())
}

fn refuse_newer(applied: &[Migration], known: &[Migration]) -> Result<(), MigrateError> {
    let newest = |migrations: &[Migration]| migrations.iter().map(Migration::version).max().unwrap_or(0);
    let (found, known) = (newest(applied), newest(known));
    if found > known { Err(MigrateError::Newer { found, known }) } else { Ok(()) }
}

fn explain(error: refinery::Error) -> MigrateError {
    match error.kind() {
        Kind::DivergentVersion(applied, _) => MigrateError::Changed(applied.to_string()),
        Kind::MissingVersion(applied) => MigrateError::Changed(applied.to_string()),
        _ => MigrateError::Failed(Box::new(error)),
    }
}

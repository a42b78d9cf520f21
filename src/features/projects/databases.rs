//! The databases of projects: the cluster's shared roles, the template, and copies of it (contract 02 §3.1-3.2).
//!
//! All SQL that concerns databases and roles is here; what runs inside a project database is in `migrations/project`.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};
use tokio_postgres::types::Type;

use super::settings::ProjectSettings;
use crate::{
    common::{Slot, ids, sealing::sha256_hex},
    engines::postgres::{Cluster, Connection, DatabaseError, Login, Pipeline, quote_identifier},
};

/// Superuser of the cluster. Never runs user text.
pub(super) const PLATFORM_ROLE: &str = "postgres";
const MAINTENANCE_DATABASE: &str = "postgres";
const TEMPLATE: &str = "r402_template";

const CLUSTER_ROLES: &str = include_str!("../../../migrations/project/cluster_roles.sql");

/// What makes an empty database a project database, in order. Forward only: a change is a new file.
const BOOTSTRAP: [(i32, &str); 3] = [
    (1, include_str!("../../../migrations/project/V1__schemas_and_extensions.sql")),
    (2, include_str!("../../../migrations/project/V2__request_claims.sql")),
    (3, include_str!("../../../migrations/project/V3__platform.sql")),
];

/// Settings of every session in a project database. Only a superuser can change those that matter: a tenant may
/// lower its own timeouts, never its temporary files or what is logged.
///
/// Nothing of a tenant's statements goes to the log: they hold data, and an error in a loop would fill the disk.
const DATABASE_SETTINGS: [(&str, &str); 6] = [
    ("search_path", "public, extensions, auth"),
    ("idle_in_transaction_session_timeout", "'60s'"),
    ("log_min_messages", "fatal"),
    ("log_min_error_statement", "panic"),
    ("log_statement", "none"),
    ("log_min_duration_statement", "-1"),
];

pub(super) fn newest_bootstrap() -> i32 {
    BOOTSTRAP.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

pub(super) fn database_name(slot: &Slot) -> String {
    format!("r402_{slot}")
}

pub(super) fn owner_role(slot: &Slot) -> String {
    format!("r402_{slot}_owner")
}

pub(super) fn rest_role(slot: &Slot) -> String {
    format!("r402_{slot}_rest")
}

/// A complete database nobody owns yet.
pub(super) struct Made {
    pub slot: Slot,
    /// Opens `internal.platform_step` in it.
    pub secret: String,
}

/// Makes, upgrades, measures and removes project databases.
pub(super) struct Databases {
    cluster: Cluster,
    temp_file_limit_mb: u32,
    max_connections_per_login: u32,
}

impl Databases {
    pub fn new(cluster: Cluster, settings: &ProjectSettings) -> Self {
        Self {
            cluster,
            temp_file_limit_mb: settings.temp_file_limit_mb,
            max_connections_per_login: settings.max_connections_per_login,
        }
    }

    pub async fn session(&self, database: String, role: String) -> Result<Connection, DatabaseError> {
        self.cluster.database(Login { database, role }).get().await
    }

    pub async fn pipeline(&self, database: String, role: String) -> Result<Connection<Pipeline>, DatabaseError> {
        self.cluster.database(Login { database, role }).pipeline().await
    }

    async fn maintenance(&self) -> Result<Connection, DatabaseError> {
        self.session(MAINTENANCE_DATABASE.into(), PLATFORM_ROLE.into()).await
    }

    /// A session of its own, closed when dropped: making databases leaves no pools behind, and no server process that
    /// has touched all of the page cache.
    async fn platform(&self, database: &str) -> Result<Connection, DatabaseError> {
        self.cluster.connect(&Login { database: database.into(), role: PLATFORM_ROLE.into() }).await
    }

    /// The roles all projects share, and nobody but the platform in the platform's databases. Repeatable.
    pub async fn ensure_cluster(&self) -> Result<(), DatabaseError> {
        Ok(self.maintenance().await?.batch_execute(CLUSTER_ROLES).await?)
    }

    /// The template holds exactly our bootstrap files, or is built anew: one a crash left half built, or one of
    /// another version of run402. Answers whether it was built.
    pub async fn ensure_template(&self) -> Result<bool, DatabaseError> {
        let wanted = template_label();
        let template = quote_identifier(TEMPLATE);
        let connection = self.platform(MAINTENANCE_DATABASE).await?;
        let existing = connection
            .query_opt(
                "select shobj_description(oid, 'pg_database'), datistemplate from pg_database where datname = $1",
                &[&TEMPLATE],
            )
            .await?;
        if let Some(row) = existing {
            let (label, complete): (Option<String>, bool) = (row.try_get(0)?, row.try_get(1)?);
            if complete && label.as_deref() == Some(wanted.as_str()) {
                return Ok(false);
            }
            connection.batch_execute(&format!("alter database {template} is_template false")).await?;
            self.cluster.forget(TEMPLATE).await;
            connection.batch_execute(&format!("drop database {template} with (force)")).await?;
        }
        connection.batch_execute(&format!("create database {template} template template0")).await?;
        {
            let mut session = self.platform(TEMPLATE).await?;
            bootstrap(&mut session, 0).await?;
        }
        // Marked complete only now; without connections a copy can always be made. The label is ours: no quoting.
        connection.batch_execute(&format!("revoke all on database {template} from public")).await?;
        connection
            .batch_execute(&format!(
                "comment on database {template} is '{wanted}'; alter database {template} allow_connections false; \
                 alter database {template} is_template true"
            ))
            .await?;
        Ok(true)
    }

    /// Makes the database of a slot with its roles, limits, grants and secret (02 §3.1-3.2). Whatever an earlier
    /// attempt left is removed first, so it can be repeated.
    pub async fn make(&self, slot: Slot) -> Result<Made, DatabaseError> {
        self.remove(&slot).await?;
        let name = database_name(&slot);
        let (database, owner, rest) =
            (quote_identifier(&name), quote_identifier(&owner_role(&slot)), quote_identifier(&rest_role(&slot)));
        let connections = self.max_connections_per_login;
        let connection = self.platform(MAINTENANCE_DATABASE).await?;
        connection
            .batch_execute(&format!(
                "create role {owner} login nosuperuser nocreatedb nocreaterole noreplication bypassrls \
                 connection limit {connections}; \
                 create role {rest} login noinherit nosuperuser nocreatedb nocreaterole noreplication nobypassrls \
                 connection limit {connections}; \
                 grant anon, authenticated, project_admin, service_role to {rest} with inherit false, set true"
            ))
            .await?;
        connection
            .batch_execute(&format!("create database {database} template {}", quote_identifier(TEMPLATE)))
            .await?;
        let mut limits = format!(
            "revoke all on database {database} from public; \
             grant connect on database {database} to {owner}, {rest}; \
             grant temporary on database {database} to {owner}; \
             alter database {database} set temp_file_limit = '{}MB';",
            self.temp_file_limit_mb
        );
        for (setting, value) in DATABASE_SETTINGS {
            limits.push_str(&format!("alter database {database} set {setting} = {value};"));
        }
        // The platform must never pick up an object of the tenant by its bare name.
        limits.push_str(&format!(
            "alter role {} in database {database} set search_path = pg_catalog, pg_temp",
            quote_identifier(PLATFORM_ROLE)
        ));
        connection.batch_execute(&limits).await?;

        let secret = ids::random_word(48);
        let secret_hash: &[u8] = &Sha256::digest(secret.as_bytes());
        let session = self.platform(&name).await?;
        session
            .execute(
                "select internal.adopt($1::text::name, $2::text::name, $3)",
                &[&owner_role(&slot), &rest_role(&slot), &secret_hash],
            )
            .await?;
        Ok(Made { slot, secret })
    }

    /// Removes the database and roles of a slot, with every session in it. Nothing there is fine.
    pub async fn remove(&self, slot: &Slot) -> Result<(), DatabaseError> {
        let name = database_name(slot);
        self.cluster.forget(&name).await;
        let connection = self.maintenance().await?;
        connection.batch_execute(&format!("drop database if exists {} with (force)", quote_identifier(&name))).await?;
        // Requests that were under way may have opened a session in between.
        self.cluster.forget(&name).await;
        let roles = [owner_role(slot), rest_role(slot)].map(|role| quote_identifier(&role)).join(", ");
        connection.batch_execute(&format!("drop role if exists {roles}")).await?;
        Ok(())
    }

    /// Brings a database to our newest bootstrap file.
    pub async fn upgrade(&self, slot: &Slot) -> Result<(), DatabaseError> {
        let mut session = self.platform(&database_name(slot)).await?;
        let row = session.query_one("select coalesce(max(version), 0) from internal.bootstrap", &[]).await?;
        bootstrap(&mut session, row.try_get(0)?).await
    }

    /// Bytes of the databases that exist, by slot, beyond what an empty one has: the platform's own part is not
    /// the tenant's storage.
    pub async fn sizes(&self, slots: &[Slot]) -> Result<HashMap<Slot, i64>, DatabaseError> {
        let names: Vec<String> = slots.iter().map(database_name).collect();
        let connection = self.maintenance().await?;
        let statement = connection
            .prepare_cached(
                "select datname::text, greatest(pg_database_size(oid) - pg_database_size($2), 0)
                 from pg_database where datname = any($1)",
            )
            .await?;
        let rows = connection.query(&statement, &[&names, &TEMPLATE]).await?;
        rows.iter()
            .map(|row| Ok((row.try_get::<_, &str>(0)?, row.try_get(1)?)))
            .filter_map(|row: Result<(&str, i64), tokio_postgres::Error>| match row {
                Ok((name, bytes)) => slot_of(name).map(|slot| Ok((slot, bytes))),
                Err(error) => Some(Err(error.into())),
            })
            .collect()
    }

    /// Slots that have a database or a role.
    pub async fn existing(&self) -> Result<HashSet<Slot>, DatabaseError> {
        let rows = self
            .maintenance()
            .await?
            .query("select datname::text from pg_database union select rolname::text from pg_roles", &[])
            .await?;
        let mut slots = HashSet::new();
        for row in &rows {
            slots.extend(slot_of(row.try_get(0)?));
        }
        Ok(slots)
    }
}

/// Calls the platform's function at the end of a transaction that ran user text (02 §3.2).
///
/// The statement has no name, so a prepared statement of the tenant's making cannot take its place and learn the
/// secret; and parameters are kept out of error messages, which the tenant may have asked for.
pub(super) async fn platform_step(
    tx: &tokio_postgres::Transaction<'_>,
    secret: &str,
    step: &str,
    payload: &serde_json::Value,
) -> Result<(), tokio_postgres::Error> {
    tx.batch_execute("set local log_parameter_max_length_on_error = 0").await?;
    tx.query_typed(
        "select internal.platform_step($1, $2, $3)",
        &[(&secret, Type::TEXT), (&step, Type::TEXT), (payload, Type::JSONB)],
    )
    .await?;
    Ok(())
}

/// Applies the bootstrap files newer than `from`, all or none.
async fn bootstrap(session: &mut Connection, from: i32) -> Result<(), DatabaseError> {
    let tx = session.transaction().await?;
    tx.batch_execute("set local search_path = pg_catalog, pg_temp").await?;
    for (version, sql) in BOOTSTRAP.iter().filter(|(version, _)| *version > from) {
        tx.batch_execute(sql).await?;
        tracing::debug!(version, "project bootstrap applied");
    }
    // The ledger is made by one of the files, so all rows are written at the end.
    for (version, _) in BOOTSTRAP.iter().filter(|(version, _)| *version > from) {
        tx.execute("insert into internal.bootstrap (version) values ($1)", &[version]).await?;
    }
    Ok(tx.commit().await?)
}

/// Changes whenever any bootstrap file does. Holds no quote character.
fn template_label() -> String {
    let all: String = BOOTSTRAP.iter().map(|(_, sql)| *sql).collect();
    format!("run402 bootstrap {} {}", newest_bootstrap(), sha256_hex(all.as_bytes()))
}

/// The slot whose database or role this is.
fn slot_of(name: &str) -> Option<Slot> {
    let name = name.strip_prefix("r402_")?;
    let slot = name.strip_suffix("_owner").or_else(|| name.strip_suffix("_rest")).unwrap_or(name);
    slot.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_files_are_numbered_without_gaps() {
        let versions: Vec<i32> = BOOTSTRAP.iter().map(|(version, _)| *version).collect();
        assert_eq!(versions, (1..=newest_bootstrap()).collect::<Vec<_>>());
    }

    #[test]
    fn names_lead_back_to_their_slot_and_foreign_names_to_none() {
        let slot = Slot::from_sequence(42);
        for name in [database_name(&slot), owner_role(&slot), rest_role(&slot)] {
            assert_eq!(slot_of(&name), Some(slot.clone()), "{name}");
        }
        for name in ["postgres", "control", TEMPLATE, "r402_", "r402_p1", "r402_px001", "anon", "r402_p0001_owner_rest"]
        {
            assert_eq!(slot_of(name), None, "{name}");
        }
    }

    #[test]
    fn the_template_label_needs_no_quoting() {
        assert!(template_label().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b' '));
    }
}

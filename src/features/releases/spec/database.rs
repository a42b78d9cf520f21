//! The `database` and `secrets` slices.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    SpecLimits, Violation,
    content::Contents,
    error::Violations,
    reader::{Fields, check_names},
};
use crate::{
    engines::blobs::Sha256Digest,
    features::releases::types::{DatabaseSlice, Migration, MigrationSql, SecretsSlice},
};

const MAX_MIGRATION_ID: usize = 256;
const MAX_SECRET_KEY: usize = 128;

pub(super) fn read(
    mut fields: Fields,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> DatabaseSlice {
    let expose = fields.take("expose");
    if expose.as_ref().is_some_and(|expose| !expose.is_object()) {
        problems.invalid(fields.at("expose"), "`database.expose` is a manifest object.");
    }
    let zero_downtime = fields.boolean("zero_downtime", problems).unwrap_or(false);
    let path = fields.at("migrations");
    let items = fields.list("migrations", problems).unwrap_or_default();
    if items.len() > limits.max_migrations {
        problems.invalid(path.clone(), format!("A spec has at most {} migrations.", limits.max_migrations));
    }
    let mut ids = HashSet::new();
    let mut migrations = Vec::new();
    for (index, item) in items.into_iter().enumerate() {
        let path = format!("{path}.{index}");
        let Some(migration) = migration(item, &path, limits, contents, problems) else { continue };
        if !ids.insert(migration.id.clone()) {
            problems.invalid(format!("{path}.id"), format!("The migration {:?} is listed twice.", migration.id));
        }
        migrations.push(migration);
    }
    fields.finish(problems);
    DatabaseSlice { migrations, expose, zero_downtime }
}

fn migration(
    value: Value,
    path: &str,
    limits: &SpecLimits,
    contents: &mut Contents<'_>,
    problems: &mut Violations,
) -> Option<Migration> {
    let mut fields = Fields::of(value, path, problems)?;
    let id = fields.required_string("id", problems);
    if let Some(id) = &id
        && (!(1..=MAX_MIGRATION_ID).contains(&id.chars().count()) || id.chars().any(char::is_control))
    {
        problems.invalid(fields.at("id"), "A migration id has 1 to 256 characters and no control characters.");
    }
    let checksum = fields.digest("checksum", problems);
    let transactional = match fields.string("transaction", problems).as_deref() {
        None | Some("required") => true,
        Some("none") => false,
        Some(_) => {
            problems.invalid(fields.at("transaction"), "`transaction` is `required` or `none`.");
            true
        }
    };
    let inline = fields.string("sql", problems);
    let reference_path = fields.at("sql_ref");
    let reference = fields.take("sql_ref").map(|value| contents.file(value, &reference_path, problems));
    let sql = match (inline, reference) {
        (Some(text), None) => Some(MigrationSql::Inline(text)),
        (None, Some(file)) => file.map(MigrationSql::Ref),
        (Some(_), Some(_)) => {
            problems.invalid(reference_path, "`sql` and `sql_ref` exclude each other: send one.");
            None
        }
        (None, None) => {
            problems.invalid(reference_path, format!("{path} needs `sql_ref` or `sql`."));
            None
        }
    };
    if let Some(sql) = &sql {
        check_sql(sql, checksum, path, limits, problems);
    }
    fields.finish(problems);
    Some(Migration { id: id?, checksum: checksum?, sql: sql?, transactional })
}

fn check_sql(
    sql: &MigrationSql,
    checksum: Option<Sha256Digest>,
    path: &str,
    limits: &SpecLimits,
    problems: &mut Violations,
) {
    let (digest, size, blank, field) = match sql {
        MigrationSql::Inline(text) => {
            (Sha256Digest::of(text.as_bytes()), text.len() as u64, text.trim().is_empty(), "sql")
        }
        MigrationSql::Ref(file) => (file.sha256, file.size, file.size == 0, "sql_ref"),
    };
    if blank {
        problems.invalid(format!("{path}.{field}"), "The SQL of a migration must not be blank.");
    }
    if size > limits.max_migration_bytes {
        let most = limits.max_migration_bytes;
        problems.invalid(format!("{path}.{field}"), format!("The SQL of a migration has at most {most} bytes."));
    }
    if checksum.is_some_and(|checksum| checksum != digest) {
        problems.push(
            Violation::invalid(format!("{path}.checksum"), "`checksum` must be the SHA-256 of the migration's SQL.")
                .detail("expected", digest.to_string()),
        );
    }
}

pub(super) fn read_secrets(mut fields: Fields, limits: &SpecLimits, problems: &mut Violations) -> SecretsSlice {
    for key in ["set", "replace_all", "values", "put"] {
        if fields.take(key).is_some() {
            let path = fields.at(key);
            problems.push(
                Violation::invalid(
                    path.clone(),
                    "Secret values never travel in a spec: set them with the secrets routes and name them in `require`.",
                )
                .fix(serde_json::json!({ "action": "remove_field", "path": path })),
            );
        }
    }
    let require = fields.strings("require", problems).unwrap_or_default();
    let delete = fields.strings("delete", problems).unwrap_or_default();
    for (list, keys) in [("require", &require), ("delete", &delete)] {
        let path = fields.at(list);
        if keys.len() > limits.max_secrets {
            problems.invalid(path.clone(), format!("{path} has at most {} keys.", limits.max_secrets));
        }
        for (index, key) in keys.iter().enumerate() {
            if !is_secret_key(key) {
                problems.invalid(
                    format!("{path}.{index}"),
                    "A secret key has 1 to 128 upper-case letters, digits or `_`, and does not start with a digit.",
                );
            }
        }
        let other = (list == "require").then_some((delete.as_slice(), "secrets.delete"));
        check_names(keys, &path, other, problems);
    }
    fields.finish(problems);
    SecretsSlice { require, delete }
}

/// `^[A-Z_][A-Z0-9_]{0,127}$`
fn is_secret_key(key: &str) -> bool {
    (1..=MAX_SECRET_KEY).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        && !key.starts_with(|c: char| c.is_ascii_digit())
}

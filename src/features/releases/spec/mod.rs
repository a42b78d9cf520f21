//! Reading a ReleaseSpec: every field rule of contract 03 §4.3, every violation at once.

mod assets;
mod content;
mod database;
mod error;
mod functions;
mod i18n;
mod limits;
mod reader;
mod schedule;
mod site;
#[cfg(test)]
mod tests;
mod wire;

use std::collections::BTreeMap;

use axum::http::StatusCode;
pub(in crate::features::releases) use error::Violations;
pub use error::{SpecError, Violation};
pub use functions::{LEAST_MEMORY_MB, NATIVE_PACKAGES};
pub use limits::{ImmutableChange, SpecLimits};
use reader::{Fields, join};
pub use schedule::{Schedule, ScheduleError};
use serde_json::Value;
pub(super) use site::too_many;

use super::{
    canonical,
    types::{Base, FileRef, FunctionCode, FunctionPatch, FunctionsSlice, MigrationSql, SiteFiles, Spec},
};
use crate::{common::ProjectId, engines::blobs::Sha256Digest, features::content::Reference};

impl Spec {
    /// Reads the `spec` of a plan request, in its wire form or an older spelling of it.
    ///
    /// # Errors
    /// Everything that is wrong with it, all at once.
    pub fn parse(spec: Value, limits: &SpecLimits) -> Result<Self, SpecError> {
        if let Some(path) = directory_marker(&spec, "") {
            return Err(Violation::new(
                "INVALID_WIRE_SCHEMA",
                path,
                "A local directory marker is still in the spec: the client must list and upload the files.",
            )
            .into());
        }
        let mut problems = Violations::default();
        let read = Self::read(spec, limits, &mut problems);
        if let (true, Some(spec)) = (problems.is_empty(), &read)
            && !spec.is_deployable()
        {
            problems.push(Violation::new(
                "MANIFEST_EMPTY",
                "spec",
                "The spec has nothing to deploy: give it a site, functions, migrations or another slice.",
            ));
        }
        problems.into_result()?;
        let mut spec = read.ok_or_else(|| Violation::invalid("", "The spec must be an object."))?;
        spec.normalised = wire::write(&spec);
        Ok(spec)
    }

    fn read(spec: Value, limits: &SpecLimits, problems: &mut Violations) -> Option<Self> {
        let mut fields = Fields::of(spec, "", problems)?;
        let mut contents = content::Contents::new(limits);
        fields.take("$schema");
        let project = project(&mut fields, problems);
        let base = fields.object("base", problems).map_or(Base::Current, |fields| read_base(fields, problems));
        let database = fields
            .object("database", problems)
            .map(|fields| database::read(fields, limits, &mut contents, problems))
            .unwrap_or_default();
        let secrets = fields
            .object("secrets", problems)
            .map(|fields| database::read_secrets(fields, limits, problems))
            .unwrap_or_default();
        let functions = fields
            .object("functions", problems)
            .and_then(|fields| functions::read(fields, limits, &mut contents, problems));
        let site = fields.object("site", problems).map(|fields| site::read(fields, limits, &mut contents, problems));
        let subdomains = fields.object("subdomains", problems).map(|fields| site::read_subdomains(fields, problems));
        let routes = match fields.take("routes") {
            None | Some(Value::Null) => None,
            Some(value) => {
                Fields::of(value, "routes", problems).map(|fields| site::read_routes(fields, limits, problems))
            }
        };
        match fields.take("checks") {
            None | Some(Value::Null) => {}
            Some(Value::Array(checks)) if checks.is_empty() => {}
            Some(_) => problems.invalid("checks", "`checks` is reserved: leave it out or send an empty list."),
        }
        let assets =
            fields.object("assets", problems).map(|fields| assets::read(fields, limits, &mut contents, problems));
        let i18n = match fields.take("i18n") {
            None => None,
            Some(Value::Null) => Some(None),
            Some(value) => {
                Fields::of(value, "i18n", problems).and_then(|fields| i18n::read(fields, problems)).map(Some)
            }
        };
        fields.finish(problems);
        Some(Self {
            project: project?,
            base,
            database,
            secrets,
            functions,
            site,
            subdomains,
            routes,
            assets,
            i18n,
            normalised: Value::Null,
        })
    }

    /// Whether there is anything to deploy (contract 03 §4.2).
    fn is_deployable(&self) -> bool {
        let database = !self.database.migrations.is_empty()
            || self.database.expose.as_ref().and_then(Value::as_object).is_some_and(|expose| !expose.is_empty());
        let site = self.site.as_ref().is_some_and(|site| {
            site.public_paths.is_some()
                || match &site.files {
                    None => false,
                    Some(SiteFiles::Replace(files)) => !files.is_empty(),
                    Some(SiteFiles::Patch { put, delete }) => !put.is_empty() || !delete.is_empty(),
                }
        });
        let functions = self.functions.as_ref().is_some_and(|functions| match functions {
            FunctionsSlice::Replace(functions) => !functions.is_empty(),
            FunctionsSlice::Patch { set, delete } => !set.is_empty() || !delete.is_empty(),
        });
        let secrets = !self.secrets.require.is_empty() || !self.secrets.delete.is_empty();
        let subdomains = self.subdomains.as_ref().is_some_and(|names| {
            names.set.as_ref().is_some_and(|set| !set.is_empty()) || !names.add.is_empty() || !names.remove.is_empty()
        });
        let assets = self
            .assets
            .as_ref()
            .is_some_and(|assets| !assets.put.is_empty() || !assets.delete.is_empty() || assets.sync.is_some());
        database || site || functions || secrets || subdomains || assets || self.routes.is_some() || self.i18n.is_some()
    }

    /// SHA-256 of the canonical JSON of the normalised spec, in hexadecimal (contract 03 §1.2). The order of keys and
    /// the spelling of fields do not change it.
    pub fn manifest_digest(&self) -> String {
        canonical::digest(&self.normalised)
    }

    /// Every distinct content the spec names, of all slices, sorted by digest.
    pub fn references(&self) -> Vec<Reference> {
        let mut found: BTreeMap<Sha256Digest, u64> = BTreeMap::new();
        let mut note = |file: &FileRef| {
            found.insert(file.sha256, file.size);
        };
        for migration in &self.database.migrations {
            if let MigrationSql::Ref(file) = &migration.sql {
                note(file);
            }
        }
        for function in self.functions.iter().flat_map(FunctionsSlice::given) {
            match &function.code {
                None => {}
                Some(FunctionCode::Source(file)) => note(file),
                Some(FunctionCode::Files { files, .. }) => files.values().for_each(&mut note),
            }
        }
        match self.site.as_ref().and_then(|site| site.files.as_ref()) {
            None => {}
            Some(SiteFiles::Replace(files) | SiteFiles::Patch { put: files, .. }) => files.values().for_each(&mut note),
        }
        for put in self.assets.iter().flat_map(|assets| &assets.put) {
            found.insert(put.sha256, put.size);
        }
        found.into_iter().map(|(sha256, size)| Reference { sha256, size }).collect()
    }
}

impl FunctionsSlice {
    /// The functions the slice describes.
    fn given(&self) -> impl Iterator<Item = &FunctionPatch> {
        match self {
            Self::Replace(functions) | Self::Patch { set: functions, .. } => functions.values(),
        }
    }
}

fn project(fields: &mut Fields, problems: &mut Violations) -> Option<ProjectId> {
    if !fields.has("project_id") && !fields.has("project") {
        problems.invalid("project_id", "`project_id` is missing: name the project to deploy to.");
    }
    let text = fields.string_either("project_id", "project", problems)?;
    let project = text.parse();
    if project.is_err() {
        problems.push(
            Violation::new("PROJECT_NOT_FOUND", "project_id", "There is no project of this id.")
                .status(StatusCode::NOT_FOUND),
        );
    }
    project.ok()
}

fn read_base(mut fields: Fields, problems: &mut Violations) -> Base {
    let release = fields.string("release", problems);
    let release_id = fields.string("release_id", problems);
    let path = fields.at("release");
    let id_path = fields.at("release_id");
    fields.finish(problems);
    match (release.as_deref(), release_id) {
        (Some("current"), None) => return Base::Current,
        (Some("empty"), None) => return Base::Empty,
        (Some(_), None) => problems.invalid(path, "`base.release` is `current` or `empty`."),
        (None, Some(id)) => match id.parse() {
            Ok(release) => return Base::Release(release),
            Err(_) => problems.push(
                Violation::new("RELEASE_NOT_FOUND", id_path, "The project has no release of this id.")
                    .status(StatusCode::NOT_FOUND),
            ),
        },
        _ => problems.invalid("base", "`base` has exactly one of `release` and `release_id`."),
    }
    Base::Current
}

/// Where a client-only `__source: "local-dir"` marker leaked into the JSON.
fn directory_marker(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Object(map) if map.get("__source").and_then(Value::as_str) == Some("local-dir") => Some(path.to_owned()),
        Value::Object(map) => map.iter().find_map(|(key, value)| directory_marker(value, &join(path, key))),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| directory_marker(value, &join(path, &index.to_string())))
        }
        _ => None,
    }
}

//! What a spec says, what a release is, what the edge serves of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    common::{ApiResult, DeploymentId, ProjectId, ReleaseId, Timestamp},
    engines::blobs::Sha256Digest,
    features::assets::AssetSlice,
};

// ---- the spec, parsed and valid in itself --------------------------------------------------------------------

/// `base` of a spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// Omitted or `{release:"current"}`.
    Current,
    Empty,
    Release(ReleaseId),
}

/// Bytes named by a spec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRef {
    pub sha256: Sha256Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Migration {
    pub id: String,
    pub checksum: Sha256Digest,
    pub sql: MigrationSql,
    /// False for `transaction: "none"`.
    pub transactional: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum MigrationSql {
    Inline(String),
    Ref(FileRef),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DatabaseSlice {
    pub migrations: Vec<Migration>,
    /// As sent; the expose feature validates it.
    pub expose: Option<Value>,
    pub zero_downtime: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SiteFiles {
    Replace(BTreeMap<String, FileRef>),
    Patch { put: BTreeMap<String, FileRef>, delete: Vec<String> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheClass {
    Html,
    ImmutableVersioned,
    RevalidatingAsset,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicPath {
    pub asset: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_class: Option<CacheClass>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", content = "table", rename_all = "snake_case")]
pub enum PublicPaths {
    Implicit,
    Explicit(BTreeMap<String, PublicPath>),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteSlice {
    pub files: Option<SiteFiles>,
    pub public_paths: Option<PublicPaths>,
}

/// `require_role` of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGate {
    pub table: String,
    pub id_column: String,
    pub role_column: String,
    pub allowed: Vec<String>,
    pub cache_ttl: u32,
    /// `envelope` or `redirect`
    pub on_deny: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sign_in_path: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FunctionClass {
    Standard,
    Ssr,
}

/// Code of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionCode {
    Source(FileRef),
    Files { entrypoint: String, files: BTreeMap<String, FileRef> },
}

/// To have sessions made for users it vouches for (contract 05 §10.7).
pub const SESSION_MINT: &str = "auth.sessionMint";

/// A function as a spec gives it: in a patch an omitted field inherits, in a replace it takes its default. The outer
/// option of a nullable field says whether it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionPatch {
    pub code: Option<FunctionCode>,
    pub timeout_seconds: Option<u32>,
    pub memory_mb: Option<u32>,
    pub deps: Option<Vec<String>>,
    pub schedule: Option<Option<String>>,
    pub require_auth: Option<bool>,
    pub require_role: Option<Option<RoleGate>>,
    pub class: Option<FunctionClass>,
    pub capabilities: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FunctionsSlice {
    Replace(BTreeMap<String, FunctionPatch>),
    Patch { set: BTreeMap<String, FunctionPatch>, delete: Vec<String> },
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretsSlice {
    pub require: Vec<String>,
    pub delete: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SubdomainsSlice {
    pub set: Option<Vec<String>>,
    pub add: Vec<String>,
    pub remove: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    pub pattern: String,
    pub methods: Option<BTreeSet<RouteMethod>>,
    pub target: RouteTarget,
    pub acknowledge_readonly: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct I18n {
    pub default_locale: String,
    pub locales: Vec<String>,
    pub detect: Vec<String>,
    /// `default` or `reject`
    pub unknown_locale_policy: String,
}

/// A ReleaseSpec whose parts are valid in themselves (contract 03 §4.3).
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    pub project: ProjectId,
    pub base: Base,
    pub database: DatabaseSlice,
    pub secrets: SecretsSlice,
    pub functions: Option<FunctionsSlice>,
    pub site: Option<SiteSlice>,
    pub subdomains: Option<SubdomainsSlice>,
    /// None: carry forward.
    pub routes: Option<Vec<RouteSpec>>,
    pub assets: Option<AssetSlice>,
    /// Some(None): clear.
    pub i18n: Option<Option<I18n>>,
    /// The normalised wire form, for the digest and for storing the plan: parsing it again gives the same spec.
    pub normalised: Value,
}

// ---- the materialised release ----------------------------------------------------------------------------------

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteFile {
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FunctionState {
    /// `node22`
    pub runtime: String,
    pub code: FunctionCode,
    /// Source digest; for several files the digest of `{entrypoint, files:{path: sha}}`.
    pub code_hash: String,
    pub timeout_seconds: u32,
    pub memory_mb: u32,
    pub deps: Vec<String>,
    pub schedule: Option<String>,
    pub require_auth: bool,
    pub require_role: Option<RoleGate>,
    pub class: FunctionClass,
    /// What it may do besides answering: [`SESSION_MINT`] is all there is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RouteMethod {
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RouteTarget {
    Function { name: String },
    Static { file: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouteKind {
    Exact,
    Prefix,
}

/// A route as materialised (contract 03 §4.5); the field order is that of its digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteEntry {
    pub pattern: String,
    pub kind: RouteKind,
    pub prefix: Option<String>,
    /// None: all seven.
    pub methods: Option<Vec<RouteMethod>>,
    pub target: RouteTarget,
}

/// The full state of a release: what is stored, compared and served. Assets and secret values are not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReleaseState {
    pub site: BTreeMap<String, SiteFile>,
    /// None: implicit, never declared.
    pub public_paths: Option<PublicPaths>,
    pub functions: BTreeMap<String, FunctionState>,
    pub required_secrets: BTreeSet<String>,
    pub subdomains: Vec<String>,
    /// Sorted (contract 03 §4.5).
    pub routes: Vec<RouteEntry>,
    pub i18n: Option<I18n>,
    /// Ids and checksums in the registry as of this release, sorted by id.
    pub migrations: BTreeMap<String, Sha256Digest>,
    pub expose: Option<Value>,
    /// Classes of the public paths in force: what `downgraded` and `STATIC_IMMUTABLE_PATH_CHANGED` look back at.
    pub manifest: Option<StaticManifest>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheClassSource {
    Declared,
    InferredHtml,
    InferredShaFilename,
    Downgraded,
    Legacy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    ImplicitFilePath,
    ExplicitPublicPath,
    RouteStaticAlias,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PublicPathMode {
    Implicit,
    Explicit,
}

/// One public path (contract 04 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticFile {
    pub sha256: Sha256Digest,
    pub size: u64,
    pub content_type: String,
    pub cache_class: CacheClass,
    pub cache_class_source: CacheClassSource,
    pub asset_path: String,
    pub direct: bool,
    pub authority: Authority,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<RouteMethod>>,
}

/// `run402.static_manifest.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StaticManifest {
    pub public_path_mode: PublicPathMode,
    /// By public path.
    pub files: BTreeMap<String, StaticFile>,
    pub spa_fallback: Option<String>,
}

/// `static_manifest_metadata`
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StaticManifestMetadata {
    pub file_count: u64,
    pub total_bytes: u64,
    pub cache_classes: BTreeMap<String, u64>,
    pub cache_class_sources: BTreeMap<String, u64>,
    pub spa_fallback: Option<String>,
}

// ---- what the edge serves --------------------------------------------------------------------------------------

/// One activated release, immutable; a request takes one and keeps it to its end.
#[derive(Debug)]
pub struct ServedRelease {
    pub project: ProjectId,
    pub release: ReleaseId,
    pub deployment: DeploymentId,
    pub generation: i64,
    pub activated_at: Timestamp,
    pub state: Arc<ReleaseState>,
    pub static_manifest_sha256: Option<String>,
    pub route_manifest_sha256: Option<String>,
}

/// Where served releases come from; apply implements it.
pub trait ReleaseSource: Send + Sync {
    /// The live release of a project, when it is in memory.
    fn cached(&self, project: &ProjectId) -> Option<Arc<ServedRelease>>;

    /// The release of a deployment host, when it is in memory.
    fn cached_deployment(&self, deployment: &DeploymentId) -> Option<Arc<ServedRelease>> {
        let _ = deployment;
        None
    }

    /// The live release, read if need be. None: nothing was deployed.
    fn live<'a>(&'a self, project: &'a ProjectId) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>>;

    /// The release of a deployment host, live or retained.
    fn of_deployment<'a>(
        &'a self,
        deployment: &'a DeploymentId,
    ) -> BoxFuture<'a, ApiResult<Option<Arc<ServedRelease>>>>;
}

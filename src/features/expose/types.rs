//! The document, what is found wrong with it, and the catalog it is held against.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// What is wrong (contract 02 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum IssueKind {
    SchemaShape,
    MissingTable,
    MissingColumn,
    MissingViewBase,
    MissingRpc,
    AmbiguousRpc,
    UnrestrictedAckRequired,
    ForceOwnerWithoutOwnerColumn,
    GrantToRoleUnknown,
    SensitiveColumnPublicWrite,
    ValidationInconclusive,
}

/// Errors refuse an apply, warnings do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    Error,
    Warning,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Issue {
    #[serde(rename = "type")]
    pub kind: IssueKind,
    pub severity: Severity,
    pub detail: String,
    /// Where in the manifest: `tables[0].owner_column`. Empty for the whole document.
    pub path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Issue {
    pub fn error(kind: IssueKind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, severity: Severity::Error, detail: detail.into(), path: path.into(), fix: None }
    }

    pub fn warning(kind: IssueKind, path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(kind, path, detail) }
    }

    #[must_use]
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// Answer of the validate routes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Findings {
    pub has_errors: bool,
    pub errors: Vec<Issue>,
    pub warnings: Vec<Issue>,
}

impl Findings {
    pub fn of(issues: Vec<Issue>) -> Self {
        let (errors, warnings): (Vec<_>, Vec<_>) =
            issues.into_iter().partition(|issue| issue.severity == Severity::Error);
        Self { has_errors: !errors.is_empty(), errors, warnings }
    }
}

/// Names of entries by section.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Names {
    pub tables: Vec<String>,
    pub views: Vec<String>,
    pub rpcs: Vec<String>,
}

/// Answer of an apply.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Applied {
    /// Always `ok`.
    pub status: &'static str,
    pub project_id: String,
    /// Exposed entries in force, changed or not.
    pub applied: Names,
    /// Entries the manifest before exposed and this one does not.
    pub dropped: Names,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Issue>,
}

/// Answer of the read route.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct StoredManifest {
    /// Always `ok`.
    pub status: &'static str,
    pub project_id: String,
    /// `applied`: the document as it was sent. `introspected`: none was, so this is rebuilt from live grants.
    pub source: &'static str,
    pub manifest: Value,
}

/// A manifest as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub tables: Vec<TableEntry>,
    pub views: Vec<ViewEntry>,
    pub rpcs: Vec<RpcEntry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Place in the document: `tables[0]`.
    pub path: String,
    pub name: String,
    pub exposed: bool,
    /// `None` where the document does not say, or says it wrongly.
    pub policy: Option<Policy>,
    pub owner_column: Option<String>,
    pub force_owner: bool,
}

/// Who may do what with the rows (contract 02 §6.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Policy {
    UserOwnsRows,
    PublicRead,
    Unrestricted,
    Custom(Vec<CustomPolicy>),
}

/// One `CREATE POLICY` of a `custom_sql`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomPolicy {
    pub name: String,
    pub sql: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewEntry {
    pub path: String,
    pub name: String,
    pub base: String,
    pub select: Vec<String>,
    pub filter: Option<String>,
    pub exposed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcEntry {
    pub path: String,
    pub name: String,
    pub signature: String,
    /// For each input argument the types its text can mean.
    pub arguments: Vec<Vec<String>>,
    pub grant_to: Vec<Role>,
}

/// The API roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Anon,
    Authenticated,
    Service,
    ProjectAdmin,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Anon, Self::Authenticated, Self::Service, Self::ProjectAdmin];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::Service => "service_role",
            Self::ProjectAdmin => "project_admin",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What the project's schema `public` holds, as far as a manifest can touch it. Object ids are 0 for what only a
/// migration text makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Catalog {
    pub tables: Vec<LiveTable>,
    pub views: Vec<LiveView>,
    pub functions: Vec<LiveFunction>,
    /// Names of every relation, indexes and sequences too.
    pub taken: Vec<String>,
}

/// `[role, privilege]`, of the roles that are dark by default.
pub type Grant = (String, String);

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LiveTable {
    pub oid: u32,
    pub name: String,
    pub rls: bool,
    pub forced: bool,
    pub columns: Vec<LiveColumn>,
    pub policies: Vec<LivePolicy>,
    pub triggers: Vec<LiveTrigger>,
    /// First columns of the B-tree indexes that cover the whole table.
    pub leading: Vec<String>,
    pub sequences: Vec<LiveSequence>,
    pub grants: Vec<Grant>,
    /// A migration text leaves its columns unknown.
    #[serde(skip)]
    pub open: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LiveColumn {
    pub name: String,
    /// Spelled out, without length. Empty when unknown.
    #[serde(rename = "type")]
    pub kind: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LivePolicy {
    #[serde(skip_serializing)]
    pub oid: u32,
    pub name: String,
    /// `ALL`, `SELECT`, `INSERT`, `UPDATE`, `DELETE`.
    pub command: String,
    pub permissive: bool,
    /// Sorted; `public` means every role.
    pub roles: Vec<String>,
    pub using: Option<String>,
    pub check: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveTrigger {
    #[serde(skip_serializing)]
    pub oid: u32,
    pub name: String,
    pub definition: String,
    /// `pg_trigger.tgenabled`
    pub enabled: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LiveSequence {
    pub oid: u32,
    pub grants: Vec<Grant>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LiveView {
    pub oid: u32,
    pub name: String,
    pub columns: Vec<LiveColumn>,
    pub definition: String,
    /// Sorted storage options, such as `security_invoker=true`.
    pub options: Vec<String>,
    pub grants: Vec<Grant>,
    #[serde(skip)]
    pub open: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct LiveFunction {
    pub oid: u32,
    pub name: String,
    /// Types of the input arguments, spelled out.
    pub arguments: Vec<String>,
    /// Names and types, as `pg_get_function_identity_arguments` prints them.
    pub signature: String,
    /// Digest of the whole definition.
    pub digest: String,
    pub grants: Vec<Grant>,
}

/// Objects made for the manifest in force, as stored beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Recorded {
    pub policies: Vec<Made>,
    pub triggers: Vec<Made>,
    pub functions: Vec<Made>,
    /// In the order they were made.
    pub views: Vec<MadeView>,
}

/// One object: what it was made from, and how the catalog showed it afterwards. A difference in either means that it
/// has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    pub oid: u32,
    pub table: String,
    pub name: String,
    pub spec: String,
    pub live: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeView {
    pub oid: u32,
    pub name: String,
    pub base: String,
    pub select: Vec<String>,
    pub spec: String,
    pub live: String,
}

impl Catalog {
    pub fn table(&self, name: &str) -> Option<&LiveTable> {
        self.tables.iter().find(|table| table.name == name)
    }

    pub fn view(&self, name: &str) -> Option<&LiveView> {
        self.views.iter().find(|view| view.name == name)
    }

    /// Every function of that name for which each argument fits one of the given types.
    pub fn fitting<'a>(&'a self, rpc: &'a RpcEntry) -> impl Iterator<Item = &'a LiveFunction> {
        self.functions.iter().filter(|function| {
            function.name == rpc.name
                && function.arguments.len() == rpc.arguments.len()
                && function.arguments.iter().zip(&rpc.arguments).all(|(argument, types)| types.contains(argument))
        })
    }
}

impl LiveTable {
    pub fn column(&self, name: &str) -> Option<&LiveColumn> {
        self.columns.iter().find(|column| column.name == name)
    }
}

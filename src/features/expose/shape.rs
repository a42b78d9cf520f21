//! Reads the document: its keys and types, and nothing that depends on the database (contract 02 §6.1).

use serde_json::{Map, Value};

use crate::features::sql::{Verdict, judge, split};

use super::{
    types::{CustomPolicy, Issue, IssueKind, Manifest, Policy, Role, RpcEntry, TableEntry, ViewEntry},
    words::{Cursor, argument_types, is_enclosable},
};

/// Longest name Postgres keeps, in bytes.
pub const MAX_NAME: usize = 63;
/// Names of generated policies begin with this.
pub const PREFIX: &str = "r402_";

/// Reads as much as can be read; the issues say what could not.
pub fn read(document: &Value) -> (Manifest, Vec<Issue>) {
    let mut reader = Reader { issues: Vec::new() };
    let manifest = reader.document(document);
    (manifest, reader.issues)
}

struct Reader {
    issues: Vec<Issue>,
}

impl Reader {
    fn wrong(&mut self, path: impl Into<String>, detail: impl Into<String>) {
        self.issues.push(Issue::error(IssueKind::SchemaShape, path, detail));
    }

    fn document(&mut self, document: &Value) -> Manifest {
        let Some(object) = document.as_object() else {
            self.wrong("", "The manifest must be a JSON object.");
            return Manifest::default();
        };
        self.known_keys("", object, &["$schema", "version", "tables", "views", "rpcs"]);
        if object.get("version").and_then(Value::as_str) != Some("1") {
            self.issues.push(
                Issue::error(IssueKind::SchemaShape, "version", "`version` must be the string \"1\".")
                    .fix("Set \"version\": \"1\"."),
            );
        }
        let manifest = Manifest {
            tables: self.section(object, "tables", Self::table),
            views: self.section(object, "views", Self::view),
            rpcs: self.section(object, "rpcs", Self::rpc),
        };
        self.no_duplicates(manifest.tables.iter().map(|entry| (&entry.path, entry.name.clone())));
        self.no_duplicates(manifest.views.iter().map(|entry| (&entry.path, entry.name.clone())));
        self.no_duplicates(
            manifest.rpcs.iter().map(|entry| (&entry.path, format!("{} {:?}", entry.name, entry.arguments))),
        );
        manifest
    }

    fn no_duplicates<'a>(&mut self, entries: impl Iterator<Item = (&'a String, String)>) {
        let mut seen = std::collections::HashSet::new();
        for (path, name) in entries {
            if !seen.insert(name) {
                self.wrong(format!("{path}.name"), "This name is listed twice.");
            }
        }
    }

    fn known_keys(&mut self, path: &str, object: &Map<String, Value>, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let at = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            self.wrong(at, format!("Unknown key; known are {}.", known.join(", ")));
        }
    }

    fn section<T>(
        &mut self,
        object: &Map<String, Value>,
        name: &str,
        entry: impl Fn(&mut Self, String, &Map<String, Value>) -> Option<T>,
    ) -> Vec<T> {
        let list = match object.get(name) {
            None => return Vec::new(),
            Some(Value::Array(list)) => list,
            Some(_) => {
                self.wrong(name, format!("`{name}` must be a list."));
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let path = format!("{name}[{index}]");
            match value.as_object() {
                Some(object) => entries.extend(entry(self, path, object)),
                None => self.wrong(path, "An entry must be an object."),
            }
        }
        entries
    }

    fn table(&mut self, path: String, object: &Map<String, Value>) -> Option<TableEntry> {
        let known = [
            "name",
            "expose",
            "policy",
            "owner_column",
            "force_owner_on_insert",
            "i_understand_this_is_unrestricted",
            "custom_sql",
        ];
        self.known_keys(&path, object, &known);
        let name = self.required_name(&path, object, "name");
        let exposed = self.flag(&path, object, "expose");
        if exposed.is_none() && !object.contains_key("expose") {
            self.wrong(format!("{path}.expose"), "`expose` is required: true or false.");
        }
        let exposed = exposed.unwrap_or(false);
        let owner_column = match object.contains_key("owner_column") {
            true => self.required_name(&path, object, "owner_column"),
            false => None,
        };
        let force_owner = self.flag(&path, object, "force_owner_on_insert").unwrap_or(false);
        if force_owner && !object.contains_key("owner_column") {
            self.issues.push(
                Issue::error(
                    IssueKind::ForceOwnerWithoutOwnerColumn,
                    format!("{path}.force_owner_on_insert"),
                    "`force_owner_on_insert` needs `owner_column`.",
                )
                .fix("Name the column that holds the owner's user id in `owner_column`."),
            );
        }
        let policy = self.policy(&path, object, name.as_deref(), exposed);
        Some(TableEntry { path, name: name?, exposed, policy, owner_column, force_owner })
    }

    fn policy(
        &mut self,
        path: &str,
        object: &Map<String, Value>,
        table: Option<&str>,
        exposed: bool,
    ) -> Option<Policy> {
        let acknowledged = match object.get("i_understand_this_is_unrestricted") {
            None => false,
            Some(Value::Bool(true)) => true,
            Some(_) => {
                self.wrong(format!("{path}.i_understand_this_is_unrestricted"), "Only the literal true is possible.");
                false
            }
        };
        let custom_sql = match object.contains_key("custom_sql") {
            true => self.text(path, object, "custom_sql"),
            false => None,
        };
        let given = match object.get("policy") {
            None if exposed => {
                self.wrong(format!("{path}.policy"), "An exposed table needs a `policy`.");
                return None;
            }
            None => return None,
            Some(given) => given.as_str().unwrap_or_default(),
        };
        match given {
            "user_owns_rows" => {
                if exposed && !object.contains_key("owner_column") {
                    self.wrong(format!("{path}.owner_column"), "`user_owns_rows` needs `owner_column`.");
                }
                Some(Policy::UserOwnsRows)
            }
            "public_read_authenticated_write" => Some(Policy::PublicRead),
            "public_read_write_UNRESTRICTED" => {
                if exposed && !acknowledged {
                    self.issues.push(
                        Issue::error(
                            IssueKind::UnrestrictedAckRequired,
                            format!("{path}.i_understand_this_is_unrestricted"),
                            "Anybody could read and write every row of this table.",
                        )
                        .fix("Set \"i_understand_this_is_unrestricted\": true, or choose another policy."),
                    );
                }
                Some(Policy::Unrestricted)
            }
            "custom" => {
                let path = format!("{path}.custom_sql");
                let Some(sql) = custom_sql else {
                    if exposed && !object.contains_key("custom_sql") {
                        self.wrong(path, "`custom` needs `custom_sql` with CREATE POLICY statements.");
                    }
                    return None;
                };
                self.custom(&path, sql, table?).map(Policy::Custom)
            }
            _ => {
                self.wrong(
                    format!("{path}.policy"),
                    "`policy` must be one of user_owns_rows, public_read_authenticated_write, \
                     public_read_write_UNRESTRICTED, custom.",
                );
                None
            }
        }
    }

    fn custom(&mut self, path: &str, sql: &str, table: &str) -> Option<Vec<CustomPolicy>> {
        let before = self.issues.len();
        let mut policies: Vec<CustomPolicy> = Vec::new();
        let mut names = std::collections::HashSet::new();
        for statement in split(sql) {
            let text = sql.get(statement.range).unwrap_or_default();
            let number = policies.len() + 1;
            if judge(text) != Verdict::Pass {
                self.wrong(path, format!("Statement {number} uses what a project may not run."));
                return None;
            }
            match created_policy(text) {
                Some((name, on)) if on == table && !name.starts_with(PREFIX) => {
                    if !is_name(&name) {
                        self.wrong(path, format!("A policy's name has at most {MAX_NAME} bytes."));
                    }
                    if !names.insert(name.clone()) {
                        self.wrong(path, format!("Policy {name} is created twice."));
                    }
                    policies.push(CustomPolicy { name, sql: text.to_owned() });
                }
                Some((name, on)) if on == table => {
                    self.wrong(path, format!("Policy {name}: names that begin with {PREFIX} are the platform's."));
                }
                Some((name, on)) => {
                    self.wrong(path, format!("Policy {name} is on table {on}, not on this entry's table."));
                }
                None => {
                    self.wrong(path, format!("Statement {number} is not CREATE POLICY on this table."));
                    return None;
                }
            }
        }
        if policies.is_empty() && self.issues.len() == before {
            self.wrong(path, "There is no CREATE POLICY statement in it.");
        }
        (self.issues.len() == before).then_some(policies)
    }

    fn view(&mut self, path: String, object: &Map<String, Value>) -> Option<ViewEntry> {
        self.known_keys(&path, object, &["name", "base", "select", "filter", "security_invoker", "expose"]);
        let name = self.required_name(&path, object, "name");
        let base = self.required_name(&path, object, "base");
        if name.is_some() && name == base {
            self.wrong(format!("{path}.base"), "A view cannot be its own base.");
        }
        let select = self.names(&path, object, "select");
        let filter = match object.contains_key("filter") {
            true => self.text(&path, object, "filter").map(str::to_owned),
            false => None,
        };
        if filter.as_deref().is_some_and(|filter| !is_enclosable(filter)) {
            self.wrong(format!("{path}.filter"), "`filter` must be one SQL boolean expression.");
        }
        self.flag(&path, object, "security_invoker");
        let exposed = self.flag(&path, object, "expose").unwrap_or(true);
        Some(ViewEntry { path, name: name?, base: base?, select: select.unwrap_or_default(), filter, exposed })
    }

    fn rpc(&mut self, path: String, object: &Map<String, Value>) -> Option<RpcEntry> {
        self.known_keys(&path, object, &["name", "signature", "grant_to"]);
        let name = self.required_name(&path, object, "name");
        let signature = match object.contains_key("signature") {
            true => self.text(&path, object, "signature"),
            false => {
                self.wrong(format!("{path}.signature"), "`signature` is required, such as \"()\" or \"(p_id uuid)\".");
                None
            }
        };
        let arguments = signature.and_then(|signature| {
            let arguments = argument_types(signature).filter(|_| !signature.contains(';'));
            if arguments.is_none() {
                self.wrong(
                    format!("{path}.signature"),
                    "`signature` must be the argument list in parentheses, such as \"()\" or \"(p_id uuid, p_n int)\".",
                );
            }
            arguments
        });
        let grant_to = self.roles(&path, object);
        Some(RpcEntry { path, name: name?, signature: signature?.to_owned(), arguments: arguments?, grant_to })
    }

    fn roles(&mut self, path: &str, object: &Map<String, Value>) -> Vec<Role> {
        let path = format!("{path}.grant_to");
        let Some(list) = object.get("grant_to").and_then(Value::as_array).filter(|list| !list.is_empty()) else {
            self.wrong(path, "`grant_to` must be a non-empty list of roles.");
            return Vec::new();
        };
        let mut roles = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = format!("{path}[{index}]");
            match value.as_str() {
                None => self.wrong(at, "A role is a string."),
                Some(text) => match Role::parse(text) {
                    Some(role) if roles.contains(&role) => self.wrong(at, "This role is listed twice."),
                    Some(role) => roles.push(role),
                    None => self.issues.push(
                        Issue::error(IssueKind::GrantToRoleUnknown, at, format!("There is no API role {text:?}."))
                            .fix("Use anon, authenticated, project_admin or service_role."),
                    ),
                },
            }
        }
        roles
    }

    fn text<'a>(&mut self, path: &str, object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
        match object.get(key).and_then(Value::as_str) {
            Some(text) if text.contains('\0') => {
                self.wrong(format!("{path}.{key}"), "A NUL character is not possible here.");
                None
            }
            Some(text) => Some(text),
            None => {
                self.wrong(format!("{path}.{key}"), format!("`{key}` must be a string."));
                None
            }
        }
    }

    fn required_name(&mut self, path: &str, object: &Map<String, Value>, key: &str) -> Option<String> {
        let at = format!("{path}.{key}");
        match object.get(key) {
            None => {
                self.wrong(at, format!("`{key}` is required."));
                None
            }
            Some(value) => self.name(at, value),
        }
    }

    fn name(&mut self, path: String, value: &Value) -> Option<String> {
        match value.as_str() {
            Some(name) if is_name(name) => Some(name.to_owned()),
            _ => {
                self.wrong(path, format!("A name is a string of 1 to {MAX_NAME} bytes without NUL."));
                None
            }
        }
    }

    fn names(&mut self, path: &str, object: &Map<String, Value>, key: &str) -> Option<Vec<String>> {
        let path = format!("{path}.{key}");
        let Some(list) = object.get(key).and_then(Value::as_array).filter(|list| !list.is_empty()) else {
            self.wrong(path, format!("`{key}` must be a non-empty list of column names."));
            return None;
        };
        let mut names: Vec<String> = Vec::new();
        for (index, value) in list.iter().enumerate() {
            let at = format!("{path}[{index}]");
            let Some(name) = self.name(at.clone(), value) else { continue };
            if names.contains(&name) {
                self.wrong(at, "This column is listed twice.");
            }
            names.push(name);
        }
        Some(names)
    }

    fn flag(&mut self, path: &str, object: &Map<String, Value>, key: &str) -> Option<bool> {
        let value = object.get(key)?;
        if value.as_bool().is_none() {
            self.wrong(format!("{path}.{key}"), format!("`{key}` must be true or false."));
        }
        value.as_bool()
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_NAME && !text.contains('\0')
}

/// Name and table of a `CREATE POLICY` statement.
fn created_policy(statement: &str) -> Option<(String, String)> {
    let mut cursor = Cursor::new(statement);
    if !cursor.take_all(&["create", "policy"]) {
        return None;
    }
    let name = cursor.take_name()?;
    if !cursor.take("on") {
        return None;
    }
    Some((name, cursor.take_public_name()?))
}

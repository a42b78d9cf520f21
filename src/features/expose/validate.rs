//! Holds a manifest against a schema: every violation at once, each with its place (contract 02 §6.3).

use std::collections::HashSet;

use super::{
    plan::{self, Ours},
    types::{
        Catalog, Issue, IssueKind, LiveColumn, Manifest, Policy, Recorded, RpcEntry, Severity, TableEntry, ViewEntry,
    },
};

/// The schema a manifest is held against.
pub struct Ground<'a> {
    pub catalog: &'a Catalog,
    /// What the manifest in force has made.
    pub recorded: &'a Recorded,
    /// A migration text was not wholly understood, so that what seems to be missing may exist.
    pub open: bool,
}

/// Column names that look secret wherever they occur in a name without underscores.
const SECRET_PARTS: [&str; 8] =
    ["password", "passwd", "secret", "token", "apikey", "privatekey", "creditcard", "cardnumber"];
/// Those that only count as the whole name.
const SECRET_NAMES: [&str; 4] = ["pwd", "ssn", "cvv", "iban"];

/// Finds what the document's own shape does not tell.
pub fn validate(manifest: &Manifest, ground: &Ground<'_>) -> Vec<Issue> {
    let ours = Ours::of(ground.catalog, ground.recorded);
    let made = Made {
        policies: ours.policy_names(),
        triggers: ours.trigger_names(),
        functions: ours.function_names(),
        views: ours.view_names(),
    };
    let mut found = Found { ground, made, issues: Vec::new() };
    for entry in manifest.tables.iter().filter(|entry| entry.exposed) {
        found.table(entry);
    }
    for (index, entry) in manifest.views.iter().enumerate() {
        found.view(entry, manifest.views.get(..index).unwrap_or_default(), manifest);
    }
    for entry in &manifest.rpcs {
        found.rpc(entry);
    }
    found.issues
}

/// The only finding beyond the shape when there is no schema at all to hold a manifest against.
pub fn without_schema() -> Issue {
    Issue::warning(
        IssueKind::ValidationInconclusive,
        "",
        "Only the form of the manifest was checked: there is no project and no migration_sql.",
    )
}

/// Names of what the manifest in force has made.
struct Made<'a> {
    policies: HashSet<(&'a str, &'a str)>,
    triggers: HashSet<(&'a str, &'a str)>,
    functions: HashSet<&'a str>,
    views: HashSet<&'a str>,
}

struct Found<'a> {
    ground: &'a Ground<'a>,
    made: Made<'a>,
    issues: Vec<Issue>,
}

impl Found<'_> {
    /// Something that is not there, unless what was not understood makes it.
    fn missing(&mut self, kind: IssueKind, open: bool, path: String, detail: String, fix: &str) {
        let mut issue = Issue::error(kind, path, detail).fix(fix);
        if open || self.ground.open {
            issue.severity = Severity::Warning;
        }
        self.issues.push(issue);
    }

    fn taken(&mut self, path: String, detail: String) {
        self.issues.push(
            Issue::error(IssueKind::SchemaShape, path, detail)
                .fix("Rename or drop the existing object, or choose another name."),
        );
    }

    fn table(&mut self, entry: &TableEntry) {
        let catalog = self.ground.catalog;
        let Some(table) = catalog.table(&entry.name) else {
            let what = if catalog.view(&entry.name).is_some() { "is a view, not a table" } else { "does not exist" };
            return self.missing(
                IssueKind::MissingTable,
                false,
                format!("{}.name", entry.path),
                format!("Table {} {what}.", entry.name),
                "Create the table first, correct the name, or set \"expose\": false.",
            );
        };
        if let Some(column) = &entry.owner_column {
            self.owner_column(entry, column);
        }
        if let Some(Policy::Custom(policies)) = &entry.policy {
            for policy in policies {
                let there = table.policies.iter().any(|live| live.name == policy.name);
                if there && !self.made.policies.contains(&(entry.name.as_str(), policy.name.as_str())) {
                    self.taken(
                        format!("{}.custom_sql", entry.path),
                        format!("Policy {} exists on {} and was not made by the manifest.", policy.name, entry.name),
                    );
                }
            }
        }
        if entry.force_owner && entry.owner_column.is_some() {
            self.force_owner(entry);
        }
        if matches!(entry.policy, Some(Policy::Unrestricted | Policy::Custom(_))) {
            for column in table.columns.iter().filter(|column| looks_secret(&column.name)) {
                self.issues.push(
                    Issue::warning(
                        IssueKind::SensitiveColumnPublicWrite,
                        entry.path.clone(),
                        format!(
                            "Column {} looks secret, and anon has the right to write table {}.",
                            column.name, entry.name
                        ),
                    )
                    .fix("Choose a stricter policy or move the column to another table."),
                );
            }
        }
    }

    fn owner_column(&mut self, entry: &TableEntry, column: &str) {
        let path = format!("{}.owner_column", entry.path);
        let Some(table) = self.ground.catalog.table(&entry.name) else { return };
        match table.column(column) {
            None => self.missing(
                IssueKind::MissingColumn,
                table.open,
                path,
                format!("Table {} has no column {column}.", entry.name),
                "Add the column, or name the one that holds the owner's user id.",
            ),
            Some(live) if entry.policy == Some(Policy::UserOwnsRows) && live.kind != "uuid" => {
                let kind = if live.kind.is_empty() { "of a type that is not known here" } else { &live.kind };
                self.issues.push(
                    Issue::warning(
                        IssueKind::ValidationInconclusive,
                        path,
                        format!("Column {column} is {kind}, not uuid: owners are compared as text."),
                    )
                    .fix("Make the column uuid."),
                );
            }
            Some(_) => {}
        }
    }

    fn force_owner(&mut self, entry: &TableEntry) {
        let catalog = self.ground.catalog;
        let path = format!("{}.force_owner_on_insert", entry.path);
        let function = plan::trigger_function_name(&entry.name);
        let there = catalog.functions.iter().any(|live| live.name == function && live.arguments.is_empty());
        if there && !self.made.functions.contains(function.as_str()) {
            self.taken(path.clone(), format!("Function {function}() exists and was not made by the manifest."));
        }
        let trigger = plan::trigger_name(&entry.name);
        let there = catalog.table(&entry.name).is_some_and(|t| t.triggers.iter().any(|live| live.name == trigger));
        if there && !self.made.triggers.contains(&(entry.name.as_str(), trigger.as_str())) {
            self.taken(path, format!("Trigger {trigger} exists and was not made by the manifest."));
        }
    }

    fn view(&mut self, entry: &ViewEntry, earlier: &[ViewEntry], manifest: &Manifest) {
        let catalog = self.ground.catalog;
        if catalog.taken.contains(&entry.name) && !self.made.views.contains(entry.name.as_str()) {
            self.taken(
                format!("{}.name", entry.path),
                format!("A relation {} exists and was not made by the manifest.", entry.name),
            );
        }
        let (columns, open): (Vec<LiveColumn>, bool) =
            if let Some(base) = earlier.iter().find(|view| view.name == entry.base) {
                let column = |name: &String| LiveColumn { name: name.clone(), kind: String::new() };
                (base.select.iter().map(column).collect(), false)
            } else if let Some(table) = catalog.table(&entry.base) {
                (table.columns.clone(), table.open)
            } else if let Some(view) =
                catalog.view(&entry.base).filter(|view| !self.made.views.contains(view.name.as_str()))
            {
                (view.columns.clone(), view.open)
            } else {
                let later = manifest.views.iter().any(|view| view.name == entry.base);
                let what = if later { "is a view that is listed later" } else { "does not exist" };
                return self.missing(
                    IssueKind::MissingViewBase,
                    false,
                    format!("{}.base", entry.path),
                    format!("Base {} {what}.", entry.base),
                    "Name an existing table or view, or list the base view earlier.",
                );
            };
        for (index, column) in entry.select.iter().enumerate() {
            if !columns.iter().any(|live| live.name == *column) {
                self.missing(
                    IssueKind::MissingColumn,
                    open,
                    format!("{}.select[{index}]", entry.path),
                    format!("{} has no column {column}.", entry.base),
                    "Correct the name or leave the column out.",
                );
            }
        }
    }

    fn rpc(&mut self, entry: &RpcEntry) {
        let fitting: Vec<&str> = self.ground.catalog.fitting(entry).map(|live| live.signature.as_str()).collect();
        let path = format!("{}.signature", entry.path);
        match fitting.as_slice() {
            [_] => {}
            [] => {
                let others: Vec<String> = self
                    .ground
                    .catalog
                    .functions
                    .iter()
                    .filter(|live| live.name == entry.name)
                    .map(|live| format!("({})", live.signature))
                    .collect();
                let detail = format!("There is no function {}{}.", entry.name, entry.signature);
                let fix = if others.is_empty() {
                    "Create the function first, or correct the name.".to_owned()
                } else {
                    format!("Existing signatures: {}.", others.join(", "))
                };
                self.missing(IssueKind::MissingRpc, false, path, detail, &fix);
            }
            several => self.issues.push(
                Issue::error(
                    IssueKind::AmbiguousRpc,
                    path,
                    format!("{}{} fits several functions: ({}).", entry.name, entry.signature, several.join("), (")),
                )
                .fix("Write only the argument types, or quote the argument names."),
            ),
        }
    }
}

fn looks_secret(column: &str) -> bool {
    let lower = column.to_lowercase();
    let bare = lower.replace('_', "");
    lower.ends_with("_hash")
        || SECRET_PARTS.iter().any(|part| bare.contains(part))
        || SECRET_NAMES.contains(&bare.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_looking_names_are_recognised() {
        for (name, secret) in [
            ("password", true),
            ("User_Password", true),
            ("pwd", true),
            ("pass_hash", true),
            ("refresh_tokens", true),
            ("apiKey", true),
            ("credit_card_no", true),
            ("iban", true),
            ("urban", false),
            ("libanon", false),
            ("title", false),
            ("rehash", false),
        ] {
            assert_eq!(looks_secret(name), secret, "{name}");
        }
    }
}

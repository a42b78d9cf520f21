//! From a manifest and what is there to the statements and grants that make it so (contract 02 §6.2).
//!
//! Pure. Statements run as the owner role, one per message, in the order given. Grants are computed from a snapshot
//! taken after them, because they name objects by id. What is already as wanted yields nothing.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::engines::postgres::quote_identifier as quote;

use super::{
    shape::{MAX_NAME, PREFIX},
    types::{
        Catalog, Grant, LiveFunction, LivePolicy, LiveTable, LiveTrigger, LiveView, Made, MadeView, Manifest, Policy,
        Recorded, Role, TableEntry, ViewEntry,
    },
};

const ALL_ROWS: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
/// Types without an order, which a B-tree cannot index.
const UNORDERED: [&str; 10] = ["json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle", "aclitem"];

/// One statement and the place of the manifest it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub path: String,
    pub sql: String,
}

/// One change of the platform step `grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub kind: &'static str,
    pub oid: u32,
    pub privileges: Vec<String>,
    pub roles: Vec<String>,
}

/// Payload of the platform step `grants`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Grants {
    pub revoke: Vec<Change>,
    pub grant: Vec<Change>,
}

impl Grants {
    pub fn is_empty(&self) -> bool {
        self.revoke.is_empty() && self.grant.is_empty()
    }
}

/// An object the manifest wants, beside its table.
struct Wanted {
    path: String,
    table: String,
    name: String,
    sql: String,
}

struct WantedView<'a> {
    entry: &'a ViewEntry,
    sql: String,
}

struct Desired<'a> {
    policies: Vec<Wanted>,
    functions: Vec<Wanted>,
    triggers: Vec<Wanted>,
    views: Vec<WantedView<'a>>,
}

/// `<table>_set_owner`
pub fn trigger_name(table: &str) -> String {
    derived(format!("{table}_set_owner"))
}

/// `<table>_set_owner_fn`
pub fn trigger_function_name(table: &str) -> String {
    derived(format!("{table}_set_owner_fn"))
}

fn index_name(table: &str, column: &str) -> String {
    derived(format!("{table}_{column}_r402_idx"))
}

/// A name made of others can be longer than Postgres keeps; then its end is a digest of the whole.
fn derived(name: String) -> String {
    if name.len() <= MAX_NAME { name } else { hashed(&name) }
}

fn hashed(name: &str) -> String {
    let digest: String = digest(name).chars().take(8).collect();
    let mut end = name.len().min(MAX_NAME - 1 - digest.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}_{digest}", name.get(..end).unwrap_or_default())
}

pub fn digest(text: &str) -> String {
    hex::encode(Sha256::digest(text.as_bytes()))
}

/// How the catalog shows an object, so that a later change of it is noticed.
fn fingerprint(shown: &impl Serialize) -> String {
    digest(&serde_json::to_string(shown).unwrap_or_default())
}

fn of_view(view: &LiveView) -> String {
    let columns: Vec<_> = view.columns.iter().map(|column| (&column.name, &column.kind)).collect();
    fingerprint(&(&view.definition, &view.options, columns))
}

/// A string literal; the session has `standard_conforming_strings` on.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn public(name: &str) -> String {
    format!("public.{}", quote(name))
}

fn exposed<'a>(manifest: &'a Manifest, catalog: &'a Catalog) -> impl Iterator<Item = (&'a TableEntry, &'a LiveTable)> {
    manifest
        .tables
        .iter()
        .filter(|entry| entry.exposed)
        .filter_map(|entry| catalog.table(&entry.name).map(|table| (entry, table)))
}

fn desired<'a>(manifest: &'a Manifest, catalog: &Catalog) -> Desired<'a> {
    let mut desired = Desired {
        policies: Vec::new(),
        functions: Vec::new(),
        triggers: Vec::new(),
        views: manifest.views.iter().map(|entry| WantedView { entry, sql: view_query(entry) }).collect(),
    };
    for (entry, table) in exposed(manifest, catalog) {
        for (name, sql) in policies(entry, table) {
            desired.policies.push(Wanted { path: entry.path.clone(), table: entry.name.clone(), name, sql });
        }
        if let (true, Some(column)) = (entry.force_owner, &entry.owner_column) {
            let wanted = |name: String, sql| Wanted { path: entry.path.clone(), table: entry.name.clone(), name, sql };
            let function = trigger_function_name(&entry.name);
            desired.triggers.push(wanted(
                trigger_name(&entry.name),
                format!(
                    "CREATE TRIGGER {} BEFORE INSERT ON {} FOR EACH ROW EXECUTE FUNCTION {}()",
                    quote(&trigger_name(&entry.name)),
                    public(&entry.name),
                    public(&function),
                ),
            ));
            let column = quote(column);
            let body = format!(
                "begin\n    if new.{column} is null then\n        new.{column} := auth.uid();\n    end if;\n    return new;\nend"
            );
            let sql = format!(
                "CREATE OR REPLACE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}",
                public(&function),
                literal(&body)
            );
            desired.functions.push(wanted(function, sql));
        }
    }
    desired
}

/// Name and statement of each policy of a table.
fn policies(entry: &TableEntry, table: &LiveTable) -> Vec<(String, String)> {
    let create = |name: &str, rest: &str| {
        let name = format!("{PREFIX}{name}");
        let sql = format!("CREATE POLICY {} ON {} {rest}", quote(&name), public(&entry.name));
        (name, sql)
    };
    match &entry.policy {
        None => Vec::new(),
        Some(Policy::Custom(policies)) => {
            policies.iter().map(|policy| (policy.name.clone(), policy.sql.clone())).collect()
        }
        Some(Policy::UserOwnsRows) => {
            let Some(column) = &entry.owner_column else { return Vec::new() };
            let cast = if owner_is_uuid(table, column) { "" } else { "::text" };
            let own = format!("{}{cast} = (select auth.uid()){cast}", quote(column));
            vec![create("owner_all", &format!("FOR ALL TO authenticated USING ({own}) WITH CHECK ({own})"))]
        }
        Some(Policy::PublicRead) => vec![
            create("public_read", "FOR SELECT TO anon, authenticated USING (true)"),
            create("auth_write", "FOR ALL TO authenticated USING (true) WITH CHECK (true)"),
        ],
        Some(Policy::Unrestricted) => {
            vec![create("unrestricted_all", "FOR ALL TO anon, authenticated USING (true) WITH CHECK (true)")]
        }
    }
}

fn owner_is_uuid(table: &LiveTable, column: &str) -> bool {
    table.column(column).is_some_and(|column| column.kind == "uuid")
}

fn view_query(entry: &ViewEntry) -> String {
    let columns: Vec<String> = entry.select.iter().map(|column| quote(column)).collect();
    let mut query = format!("SELECT {} FROM {}", columns.join(", "), public(&entry.base));
    if let Some(filter) = &entry.filter {
        // The line break ends a comment at the end of the filter.
        query.push_str(&format!(" WHERE ({filter}\n)"));
    }
    query
}

/// What of a catalog the manifest in force has made: each recorded object with its live form. Found by id, or by
/// name where the catalog shows it exactly as it was made.
pub struct Ours<'a> {
    policies: Vec<(&'a Made, &'a LiveTable, &'a LivePolicy)>,
    triggers: Vec<(&'a Made, &'a LiveTable, &'a LiveTrigger)>,
    functions: Vec<(&'a Made, &'a LiveFunction)>,
    views: Vec<(&'a MadeView, &'a LiveView)>,
}

impl<'a> Ours<'a> {
    pub fn of(catalog: &'a Catalog, recorded: &'a Recorded) -> Self {
        let tables = &catalog.tables;
        let policies = tables.iter().flat_map(|table| table.policies.iter().map(move |policy| (table, policy)));
        let triggers = tables.iter().flat_map(|table| table.triggers.iter().map(move |trigger| (table, trigger)));
        Self {
            policies: beside(&recorded.policies, policies, |policy| (policy.oid, &policy.name, fingerprint(policy))),
            triggers: beside(&recorded.triggers, triggers, |trigger| {
                (trigger.oid, &trigger.name, fingerprint(trigger))
            }),
            functions: Self::functions(catalog, recorded),
            views: Self::views(catalog, recorded),
        }
    }

    fn functions(catalog: &'a Catalog, recorded: &'a Recorded) -> Vec<(&'a Made, &'a LiveFunction)> {
        let simple = || catalog.functions.iter().filter(|function| function.arguments.is_empty());
        let by_id: HashMap<u32, &LiveFunction> = simple().map(|function| (function.oid, function)).collect();
        let by_name: HashMap<&str, &LiveFunction> =
            simple().map(|function| (function.name.as_str(), function)).collect();
        let live = |made: &Made| {
            let named = || by_name.get(made.name.as_str()).filter(|function| function.digest == made.live);
            by_id.get(&made.oid).or_else(named).copied()
        };
        recorded.functions.iter().filter_map(|made| live(made).map(|live| (made, live))).collect()
    }

    fn views(catalog: &'a Catalog, recorded: &'a Recorded) -> Vec<(&'a MadeView, &'a LiveView)> {
        let by_id: HashMap<u32, &LiveView> = catalog.views.iter().map(|view| (view.oid, view)).collect();
        let by_name: HashMap<&str, &LiveView> = catalog.views.iter().map(|view| (view.name.as_str(), view)).collect();
        let live = |made: &MadeView| {
            let named = || by_name.get(made.name.as_str()).filter(|view| of_view(view) == made.live);
            by_id.get(&made.oid).or_else(named).copied()
        };
        recorded.views.iter().filter_map(|made| live(made).map(|live| (made, live))).collect()
    }

    /// Table and name of each policy.
    pub fn policy_names(&self) -> HashSet<(&'a str, &'a str)> {
        self.policies.iter().map(|(_, table, policy)| (table.name.as_str(), policy.name.as_str())).collect()
    }

    /// Table and name of each trigger.
    pub fn trigger_names(&self) -> HashSet<(&'a str, &'a str)> {
        self.triggers.iter().map(|(_, table, trigger)| (table.name.as_str(), trigger.name.as_str())).collect()
    }

    pub fn function_names(&self) -> HashSet<&'a str> {
        self.functions.iter().map(|(_, function)| function.name.as_str()).collect()
    }

    pub fn view_names(&self) -> HashSet<&'a str> {
        self.views.iter().map(|(_, view)| view.name.as_str()).collect()
    }
}

/// Each recorded object of a table beside its live form. `identity`: id, name and fingerprint of a live one.
fn beside<'a, T>(
    recorded: &'a [Made],
    live: impl Iterator<Item = (&'a LiveTable, &'a T)>,
    identity: impl Fn(&'a T) -> (u32, &'a String, String),
) -> Vec<(&'a Made, &'a LiveTable, &'a T)> {
    let mut by_id = HashMap::new();
    let mut by_name = HashMap::new();
    if !recorded.is_empty() {
        for (table, object) in live {
            let (oid, name, shown) = identity(object);
            by_id.insert(oid, (table, object));
            by_name.insert((table.name.as_str(), name.as_str()), (table, object, shown));
        }
    }
    let find = |made: &Made| {
        by_id.get(&made.oid).copied().or_else(|| {
            let (table, object, shown) = by_name.get(&(made.table.as_str(), made.name.as_str()))?;
            (*shown == made.live).then_some((*table, *object))
        })
    };
    recorded.iter().filter_map(|made| find(made).map(|(table, object)| (made, table, object))).collect()
}

/// What is wanted, by table and name.
type Texts<'a> = HashMap<(&'a str, &'a str), &'a str>;

fn texts(wanted: &[Wanted]) -> Texts<'_> {
    wanted.iter().map(|wanted| ((wanted.table.as_str(), wanted.name.as_str()), wanted.sql.as_str())).collect()
}

/// The owner's statements. The manifest must be valid for this catalog.
pub fn statements(manifest: &Manifest, catalog: &Catalog, recorded: &Recorded) -> Vec<Step> {
    let desired = desired(manifest, catalog);
    let ours = Ours::of(catalog, recorded);
    let mut steps = Steps::default();
    let views = ViewPlan::of(&desired.views, &ours);
    for name in &views.drop {
        steps.push("views", format!("DROP VIEW {}", public(name)));
    }

    let wanted = texts(&desired.triggers);
    let mut kept_triggers = BTreeSet::new();
    for (made, table, live) in &ours.triggers {
        if unchanged(&wanted, made, &table.name, &live.name, &fingerprint(live)) {
            kept_triggers.insert((table.name.as_str(), live.name.as_str()));
        } else {
            steps.push("tables", format!("DROP TRIGGER {} ON {}", quote(&live.name), public(&table.name)));
        }
    }
    let wanted = texts(&desired.functions);
    let names: BTreeSet<&str> = desired.functions.iter().map(|wanted| wanted.name.as_str()).collect();
    let mut kept_functions = BTreeSet::new();
    for (made, live) in &ours.functions {
        if unchanged(&wanted, made, &made.table, &live.name, &live.digest) {
            kept_functions.insert(live.name.as_str());
        } else if !names.contains(live.name.as_str()) {
            steps.push("tables", format!("DROP FUNCTION {}()", public(&live.name)));
        }
    }
    let kept_policies = keep_policies(&mut steps, &desired.policies, manifest, catalog, &ours);

    for (entry, table) in exposed(manifest, catalog) {
        if !table.rls {
            steps.push(&entry.path, format!("ALTER TABLE {} ENABLE ROW LEVEL SECURITY", public(&entry.name)));
        }
        if !table.forced {
            steps.push(&entry.path, format!("ALTER TABLE {} FORCE ROW LEVEL SECURITY", public(&entry.name)));
        }
        steps.0.extend(owner_index(entry, table, catalog));
    }
    for wanted in &desired.functions {
        if !kept_functions.contains(wanted.name.as_str()) {
            steps.push(&format!("{}.force_owner_on_insert", wanted.path), wanted.sql.clone());
        }
    }
    for wanted in &desired.triggers {
        if !kept_triggers.contains(&(wanted.table.as_str(), wanted.name.as_str())) {
            steps.push(&format!("{}.force_owner_on_insert", wanted.path), wanted.sql.clone());
        }
    }
    for wanted in &desired.policies {
        if !kept_policies.contains(&(wanted.table.as_str(), wanted.name.as_str())) {
            let generated = wanted.name.starts_with(PREFIX);
            let key = if generated { "policy" } else { "custom_sql" };
            steps.push(&format!("{}.{key}", wanted.path), wanted.sql.clone());
        }
    }
    steps.0.extend(views.create);
    steps.0
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(&mut self, path: &str, sql: String) {
        self.0.push(Step { path: path.into(), sql });
    }
}

/// Is this live object what the manifest wants, made from the same text and not changed since?
fn unchanged(wanted: &Texts<'_>, made: &Made, table: &str, name: &str, shown: &str) -> bool {
    made.live == shown && wanted.get(&(table, name)).is_some_and(|text| *text == made.spec)
}

/// Drops the policies that are not wanted (any more), and tells which stay.
fn keep_policies<'a>(
    steps: &mut Steps,
    wanted: &[Wanted],
    manifest: &Manifest,
    catalog: &'a Catalog,
    ours: &Ours<'a>,
) -> BTreeSet<(&'a str, &'a str)> {
    let wanted = texts(wanted);
    let mut kept = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for (made, table, live) in &ours.policies {
        if unchanged(&wanted, made, &table.name, &live.name, &fingerprint(live)) {
            kept.insert((table.name.as_str(), live.name.as_str()));
        } else {
            gone.insert((table.name.as_str(), live.name.as_str()));
        }
    }
    // The prefix is the platform's: what else carries it on an exposed table would only widen the template.
    for (_, table) in exposed(manifest, catalog) {
        for policy in table.policies.iter().filter(|policy| policy.name.starts_with(PREFIX)) {
            gone.insert((table.name.as_str(), policy.name.as_str()));
        }
    }
    for (table, name) in gone.difference(&kept) {
        steps.push("tables", format!("DROP POLICY {} ON {}", quote(name), public(table)));
    }
    kept
}

fn owner_index(entry: &TableEntry, table: &LiveTable, catalog: &Catalog) -> Option<Step> {
    let column = entry.owner_column.as_ref().filter(|_| entry.policy == Some(Policy::UserOwnsRows))?;
    let kind = &table.column(column)?.kind;
    if table.leading.contains(column) || UNORDERED.contains(&kind.as_str()) {
        return None;
    }
    let mut name = index_name(&entry.name, column);
    if catalog.taken.contains(&name) {
        name = hashed(&format!("{name} on {}", table.oid));
    }
    let sql = format!("CREATE INDEX {} ON {} ({})", quote(&name), public(&entry.name), quote(column));
    Some(Step { path: format!("{}.owner_column", entry.path), sql })
}

struct ViewPlan {
    drop: Vec<String>,
    create: Vec<Step>,
}

impl ViewPlan {
    fn of(wanted: &[WantedView<'_>], ours: &Ours<'_>) -> Self {
        let live: HashMap<&str, (&MadeView, &LiveView)> =
            ours.views.iter().map(|(made, view)| (view.name.as_str(), (*made, *view))).collect();
        let mut rebuilt = BTreeSet::new();
        let mut create = Vec::new();
        for WantedView { entry, sql } in wanted {
            let mut verb = "CREATE VIEW";
            if let Some((made, live)) = live.get(entry.name.as_str()) {
                let intact = made.live == of_view(live) && made.name == entry.name && !rebuilt.contains(&entry.base);
                if intact && made.spec == *sql {
                    continue;
                }
                // Postgres replaces a view only by one that begins with the same columns.
                if intact && made.base == entry.base && entry.select.starts_with(&made.select) {
                    verb = "CREATE OR REPLACE VIEW";
                } else {
                    rebuilt.insert(entry.name.clone());
                }
            }
            let sql = format!("{verb} {} WITH (security_invoker = true) AS {sql}", public(&entry.name));
            create.push(Step { path: entry.path.clone(), sql });
        }
        let names: HashSet<&str> = wanted.iter().map(|wanted| wanted.entry.name.as_str()).collect();
        let goes = |name: &String| rebuilt.contains(name) || !names.contains(name.as_str());
        // A view can stand on one made before it, so the last one goes first.
        let drop = ours.views.iter().rev().map(|(_, view)| view.name.clone()).filter(goes).collect();
        Self { drop, create }
    }
}

/// What the manifest has made, read from a snapshot taken after the statements.
pub fn record(manifest: &Manifest, catalog: &Catalog) -> Recorded {
    let desired = desired(manifest, catalog);
    let made = |wanted: &Wanted, oid, live| Made {
        oid,
        table: wanted.table.clone(),
        name: wanted.name.clone(),
        spec: wanted.sql.clone(),
        live,
    };
    let table = |wanted: &Wanted| catalog.table(&wanted.table);
    let policies = desired.policies.iter().filter_map(|wanted| {
        let live = table(wanted)?.policies.iter().find(|policy| policy.name == wanted.name)?;
        Some(made(wanted, live.oid, fingerprint(live)))
    });
    let triggers = desired.triggers.iter().filter_map(|wanted| {
        let live = table(wanted)?.triggers.iter().find(|trigger| trigger.name == wanted.name)?;
        Some(made(wanted, live.oid, fingerprint(live)))
    });
    let functions = desired.functions.iter().filter_map(|wanted| {
        let mut all = catalog.functions.iter();
        let live = all.find(|function| function.name == wanted.name && function.arguments.is_empty())?;
        Some(made(wanted, live.oid, live.digest.clone()))
    });
    let views = desired.views.iter().filter_map(|WantedView { entry, sql }| {
        let live = catalog.view(&entry.name)?;
        Some(MadeView {
            oid: live.oid,
            name: entry.name.clone(),
            base: entry.base.clone(),
            select: entry.select.clone(),
            spec: sql.clone(),
            live: of_view(live),
        })
    });
    Recorded {
        policies: policies.collect(),
        triggers: triggers.collect(),
        functions: functions.collect(),
        views: views.collect(),
    }
}

/// The difference between the grants that are there and those the manifest means. Everything it does not name
/// becomes dark again.
pub fn grants(manifest: &Manifest, catalog: &Catalog) -> Grants {
    let mut grants = Grants::default();
    let entries: BTreeMap<&str, &TableEntry> =
        manifest.tables.iter().filter(|entry| entry.exposed).map(|entry| (entry.name.as_str(), entry)).collect();
    for table in &catalog.tables {
        let wanted = entries.get(table.name.as_str()).map(|entry| on_table(entry)).unwrap_or_default();
        difference(&mut grants, "table", table.oid, &table.grants, &wanted);
        let inserters: BTreeSet<Grant> = wanted
            .iter()
            .filter(|(_, privilege)| privilege == "INSERT")
            .map(|(role, _)| (role.clone(), "USAGE".to_owned()))
            .collect();
        for sequence in &table.sequences {
            difference(&mut grants, "sequence", sequence.oid, &sequence.grants, &inserters);
        }
    }
    for view in &catalog.views {
        let shown = manifest.views.iter().any(|entry| entry.name == view.name && entry.exposed);
        let roles: &[Role] = if shown { &[Role::Anon, Role::Authenticated] } else { &[] };
        difference(&mut grants, "table", view.oid, &view.grants, &each(roles, &["SELECT"]));
    }
    let mut callers: HashMap<u32, Vec<Role>> = HashMap::new();
    for rpc in &manifest.rpcs {
        for function in catalog.fitting(rpc) {
            let roles = rpc.grant_to.iter().copied().filter(|role| *role != Role::Service);
            callers.entry(function.oid).or_default().extend(roles);
        }
    }
    for function in &catalog.functions {
        let roles = callers.remove(&function.oid).unwrap_or_default();
        difference(&mut grants, "function", function.oid, &function.grants, &each(&roles, &["EXECUTE"]));
    }
    grants
}

/// `project_admin` inherits from `authenticated`, `service_role` has everything by default.
fn on_table(entry: &TableEntry) -> BTreeSet<Grant> {
    let (anon, authenticated): (&[&str], &[&str]) = match &entry.policy {
        None => (&[], &[]),
        Some(Policy::UserOwnsRows) => (&[], &ALL_ROWS),
        Some(Policy::PublicRead) => (&["SELECT"], &ALL_ROWS),
        Some(Policy::Unrestricted | Policy::Custom(_)) => (&ALL_ROWS, &ALL_ROWS),
    };
    let mut wanted = each(&[Role::Anon], anon);
    wanted.extend(each(&[Role::Authenticated], authenticated));
    wanted
}

fn each(roles: &[Role], privileges: &[&str]) -> BTreeSet<Grant> {
    let of_role = |role: &Role| {
        let role = role.as_str();
        privileges.iter().map(move |privilege| (role.to_owned(), (*privilege).to_owned()))
    };
    roles.iter().flat_map(of_role).collect()
}

fn difference(grants: &mut Grants, kind: &'static str, oid: u32, live: &[Grant], wanted: &BTreeSet<Grant>) {
    let live: BTreeSet<Grant> = live.iter().cloned().collect();
    let changes = |pairs: Vec<&Grant>| {
        let mut by_role: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (role, privilege) in pairs {
            by_role.entry(role).or_default().push(privilege.clone());
        }
        by_role
            .into_iter()
            .map(move |(role, privileges)| Change { kind, oid, privileges, roles: vec![role.to_owned()] })
            .collect::<Vec<_>>()
    };
    grants.revoke.extend(changes(live.difference(wanted).collect()));
    grants.grant.extend(changes(wanted.difference(&live).collect()));
}

//! From a manifest and what is there to the statements and grants that make it so (contract 02 §6.2).
//!
//! Pure. Statements run as the owner role, one per message, in the order given. Grants are computed from a snapshot
//! taken after them, because they name objects by id. What is already as wanted yields nothing.

use std::collections::{BTreeMap, BTreeSet};

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

/// A live policy that the manifest in force made, wherever its table is called now.
fn our_policy<'a>(catalog: &'a Catalog, made: &Made) -> Option<(&'a LiveTable, &'a LivePolicy)> {
    let all = || catalog.tables.iter().flat_map(|table| table.policies.iter().map(move |policy| (table, policy)));
    all().find(|(_, policy)| policy.oid == made.oid).or_else(|| {
        all().find(|(table, policy)| {
            table.name == made.table && policy.name == made.name && fingerprint(policy) == made.live
        })
    })
}

fn our_trigger<'a>(catalog: &'a Catalog, made: &Made) -> Option<(&'a LiveTable, &'a LiveTrigger)> {
    let all = || catalog.tables.iter().flat_map(|table| table.triggers.iter().map(move |trigger| (table, trigger)));
    all().find(|(_, trigger)| trigger.oid == made.oid).or_else(|| {
        all().find(|(table, trigger)| {
            table.name == made.table && trigger.name == made.name && fingerprint(trigger) == made.live
        })
    })
}

fn our_function<'a>(catalog: &'a Catalog, made: &Made) -> Option<&'a LiveFunction> {
    let of_name = |function: &&LiveFunction| function.name == made.name && function.arguments.is_empty();
    catalog
        .functions
        .iter()
        .find(|function| function.oid == made.oid)
        .or_else(|| catalog.functions.iter().filter(of_name).find(|function| function.digest == made.live))
}

fn our_view<'a>(catalog: &'a Catalog, made: &MadeView) -> Option<&'a LiveView> {
    catalog
        .views
        .iter()
        .find(|view| view.oid == made.oid)
        .or_else(|| catalog.view(&made.name).filter(|view| of_view(view) == made.live))
}

/// Is this policy of the table one that the manifest made?
pub fn made_policy(catalog: &Catalog, recorded: &Recorded, table: &str, name: &str) -> bool {
    recorded
        .policies
        .iter()
        .filter_map(|made| our_policy(catalog, made))
        .any(|(of, p)| of.name == table && p.name == name)
}

/// Is this trigger of the table one that the manifest made?
pub fn made_trigger(catalog: &Catalog, recorded: &Recorded, table: &str, name: &str) -> bool {
    recorded
        .triggers
        .iter()
        .filter_map(|made| our_trigger(catalog, made))
        .any(|(of, t)| of.name == table && t.name == name)
}

/// Is the function of this name without arguments one that the manifest made?
pub fn made_function(catalog: &Catalog, recorded: &Recorded, name: &str) -> bool {
    recorded
        .functions
        .iter()
        .filter_map(|made| our_function(catalog, made))
        .any(|function| function.name == name && function.arguments.is_empty())
}

/// Is this view one that the manifest made?
pub fn made_view(catalog: &Catalog, recorded: &Recorded, name: &str) -> bool {
    recorded.views.iter().filter_map(|made| our_view(catalog, made)).any(|view| view.name == name)
}

/// The owner's statements. The manifest must be valid for this catalog.
pub fn statements(manifest: &Manifest, catalog: &Catalog, recorded: &Recorded) -> Vec<Step> {
    let desired = desired(manifest, catalog);
    let mut steps = Steps::default();
    let views = ViewPlan::of(&desired.views, catalog, recorded);
    for name in &views.drop {
        steps.push("views", format!("DROP VIEW {}", public(name)));
    }

    let mut kept_triggers = BTreeSet::new();
    for made in &recorded.triggers {
        let Some((table, live)) = our_trigger(catalog, made) else { continue };
        if unchanged(&desired.triggers, made, &table.name, &live.name, &fingerprint(live)) {
            kept_triggers.insert((table.name.as_str(), live.name.as_str()));
        } else {
            steps.push("tables", format!("DROP TRIGGER {} ON {}", quote(&live.name), public(&table.name)));
        }
    }
    let mut kept_functions = BTreeSet::new();
    for made in &recorded.functions {
        let Some(live) = our_function(catalog, made) else { continue };
        if unchanged(&desired.functions, made, &made.table, &live.name, &live.digest) {
            kept_functions.insert(live.name.as_str());
        } else if !desired.functions.iter().any(|wanted| wanted.name == live.name) {
            steps.push("tables", format!("DROP FUNCTION {}()", public(&live.name)));
        }
    }
    let kept_policies = keep_policies(&mut steps, &desired.policies, manifest, catalog, recorded);

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
fn unchanged(wanted: &[Wanted], made: &Made, table: &str, name: &str, shown: &str) -> bool {
    made.live == shown
        && wanted.iter().any(|wanted| wanted.table == table && wanted.name == name && wanted.sql == made.spec)
}

/// Drops the policies that are not wanted (any more), and tells which stay.
fn keep_policies<'a>(
    steps: &mut Steps,
    wanted: &[Wanted],
    manifest: &Manifest,
    catalog: &'a Catalog,
    recorded: &Recorded,
) -> BTreeSet<(&'a str, &'a str)> {
    let mut kept = BTreeSet::new();
    let mut gone = BTreeSet::new();
    for made in &recorded.policies {
        let Some((table, live)) = our_policy(catalog, made) else { continue };
        if unchanged(wanted, made, &table.name, &live.name, &fingerprint(live)) {
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
    fn of(wanted: &[WantedView<'_>], catalog: &Catalog, recorded: &Recorded) -> Self {
        let ours: BTreeMap<&str, (&MadeView, &LiveView)> = recorded
            .views
            .iter()
            .filter_map(|made| our_view(catalog, made).map(|live| (live.name.as_str(), (made, live))))
            .collect();
        let mut rebuilt = BTreeSet::new();
        let mut create = Vec::new();
        for WantedView { entry, sql } in wanted {
            let mut verb = "CREATE VIEW";
            if let Some((made, live)) = ours.get(entry.name.as_str()) {
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
        let goes = |name: &str| rebuilt.contains(name) || !wanted.iter().any(|wanted| wanted.entry.name == name);
        // A view can stand on one made before it, so the last one goes first.
        let made_order = recorded.views.iter().rev().filter_map(|made| our_view(catalog, made));
        let drop = made_order.map(|view| view.name.clone()).filter(|name| goes(name)).collect();
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
    for function in &catalog.functions {
        let named = manifest.rpcs.iter().filter(|rpc| catalog.fitting(rpc).any(|fits| fits.oid == function.oid));
        let roles: Vec<Role> =
            named.flat_map(|rpc| rpc.grant_to.iter().copied()).filter(|role| *role != Role::Service).collect();
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

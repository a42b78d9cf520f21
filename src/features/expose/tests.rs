//! The pure parts: shape, validation, overlay and plan. Against a real database they are tested in `tests/it`.

use serde_json::{Value, json};

use super::{
    introspect::introspect,
    plan, service, shape,
    types::{
        Catalog, Findings, LiveColumn, LiveFunction, LivePolicy, LiveSequence, LiveTable, LiveTrigger, LiveView,
        Manifest, Recorded,
    },
};

fn table(oid: u32, name: &str, columns: &[(&str, &str)]) -> LiveTable {
    let column = |(name, kind): &(&str, &str)| LiveColumn { name: (*name).into(), kind: (*kind).into() };
    LiveTable { oid, name: name.into(), columns: columns.iter().map(column).collect(), ..LiveTable::default() }
}

fn function(oid: u32, name: &str, arguments: &[&str]) -> LiveFunction {
    let arguments: Vec<String> = arguments.iter().map(|kind| (*kind).to_owned()).collect();
    LiveFunction { oid, name: name.into(), signature: arguments.join(", "), arguments, ..LiveFunction::default() }
}

fn catalog() -> Catalog {
    let mut notes = table(1, "notes", &[("id", "bigint"), ("title", "text"), ("owner", "uuid"), ("author", "text")]);
    notes.sequences = vec![LiveSequence { oid: 9, grants: Vec::new() }];
    Catalog {
        tables: vec![notes, table(2, "people", &[("id", "bigint"), ("password_hash", "text")])],
        views: vec![LiveView {
            oid: 3,
            name: "old_view".into(),
            columns: vec![LiveColumn { name: "id".into(), kind: "bigint".into() }],
            ..LiveView::default()
        }],
        functions: vec![
            function(4, "f", &[]),
            function(5, "g", &["integer", "text"]),
            function(6, "h", &["uuid"]),
            function(7, "h", &["p uuid"]),
        ],
        taken: ["notes", "people", "old_view"].map(String::from).into(),
    }
}

fn found(document: &Value, migration: Option<&str>) -> Findings {
    service::findings(document, Some(catalog()), &Recorded::default(), migration)
}

/// `type path`, errors first.
fn summary(findings: &Findings) -> Vec<String> {
    let line = |issue: &super::Issue| {
        let kind = serde_json::to_value(issue.kind).unwrap();
        format!("{} {}", kind.as_str().unwrap(), issue.path)
    };
    let warnings = findings.warnings.iter().map(|issue| format!("warning {}", line(issue)));
    findings.errors.iter().map(line).chain(warnings).collect()
}

fn tables(entries: Value) -> Value {
    json!({"version": "1", "tables": entries})
}

#[test]
fn each_rule_of_the_document_has_its_issue_and_place() {
    let owns =
        |column: &str| json!({"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": column});
    let custom = |sql: &str| tables(json!([{"name": "notes", "expose": true, "policy": "custom", "custom_sql": sql}]));
    let view =
        |base: &str, select: Value| json!({"version": "1", "views": [{"name": "v", "base": base, "select": select}]});
    let filtered = |filter: &str| json!({"version": "1", "views": [{"name": "v", "base": "notes", "select": ["id"], "filter": filter}]});
    let rpc = |name: &str, signature: &str, roles: Value| json!({"version": "1", "rpcs": [{"name": name, "signature": signature, "grant_to": roles}]});
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({"version": "1"}), &[]),
        (json!({"version": "1", "$schema": "x", "tables": [], "views": [], "rpcs": []}), &[]),
        (json!([]), &["schema-shape "]),
        (json!({}), &["schema-shape version"]),
        (json!({"version": 1}), &["schema-shape version"]),
        (json!({"version": "1", "more": 1}), &["schema-shape more"]),
        (json!({"version": "1", "tables": {}}), &["schema-shape tables"]),
        (tables(json!([7])), &["schema-shape tables[0]"]),
        (tables(json!([{"expose": false}])), &["schema-shape tables[0].name"]),
        (tables(json!([{"name": "gone", "expose": false}])), &[]),
        (tables(json!([{"name": "notes"}])), &["schema-shape tables[0].expose"]),
        (tables(json!([{"name": "notes", "expose": true}])), &["schema-shape tables[0].policy"]),
        (tables(json!([{"name": "notes", "expose": true, "policy": "x"}])), &["schema-shape tables[0].policy"]),
        (tables(json!([{"name": "notes", "expose": false, "x": 1}])), &["schema-shape tables[0].x"]),
        (
            tables(json!([{"name": "notes", "expose": false}, {"name": "notes", "expose": false}])),
            &["schema-shape tables[1].name"],
        ),
        (tables(json!([{"name": "a\u{0}", "expose": false}])), &["schema-shape tables[0].name"]),
        (tables(json!([owns("owner")])), &[]),
        (tables(json!([owns("author")])), &["warning validation-inconclusive tables[0].owner_column"]),
        (tables(json!([owns("nope")])), &["missing-column tables[0].owner_column"]),
        (
            tables(json!([{"name": "notes", "expose": true, "policy": "user_owns_rows"}])),
            &["schema-shape tables[0].owner_column"],
        ),
        (
            tables(json!([{"name": "notes", "expose": true, "policy": "public_read_authenticated_write",
                           "force_owner_on_insert": true}])),
            &["force-owner-without-owner-column tables[0].force_owner_on_insert"],
        ),
        (
            tables(json!([{"name": "people", "expose": true, "policy": "public_read_write_UNRESTRICTED",
                           "i_understand_this_is_unrestricted": true}])),
            &["warning sensitive-column-public-write tables[0]"],
        ),
        (
            tables(json!([{"name": "notes", "expose": true, "policy": "public_read_write_UNRESTRICTED",
                           "i_understand_this_is_unrestricted": "yes"}])),
            &[
                "schema-shape tables[0].i_understand_this_is_unrestricted",
                "unrestricted-ack-required tables[0].i_understand_this_is_unrestricted",
            ],
        ),
        (
            tables(json!([{"name": "old_view", "expose": true, "policy": "public_read_authenticated_write"}])),
            &["missing-table tables[0].name"],
        ),
        (
            custom(
                "create policy p on notes using (true); create policy \"Q;\" on public.notes for select using (';' = '')",
            ),
            &[],
        ),
        (custom(""), &["schema-shape tables[0].custom_sql"]),
        (custom("create policy p on people using (true)"), &["schema-shape tables[0].custom_sql"]),
        (custom("create policy p on other.notes using (true)"), &["schema-shape tables[0].custom_sql"]),
        (custom("create policy r402_x on notes using (true)"), &["schema-shape tables[0].custom_sql"]),
        (custom("drop table notes"), &["schema-shape tables[0].custom_sql"]),
        (custom("create policy p on notes using (true); drop table notes"), &["schema-shape tables[0].custom_sql"]),
        (custom("grant select on notes to anon"), &["schema-shape tables[0].custom_sql"]),
        (view("notes", json!(["id", "title"])), &[]),
        (view("old_view", json!(["id"])), &[]),
        (view("notes", json!(["id", "nope"])), &["missing-column views[0].select[1]"]),
        (view("nope", json!(["id"])), &["missing-view-base views[0].base"]),
        (view("notes", json!([])), &["schema-shape views[0].select"]),
        (view("notes", json!(["id", "id"])), &["schema-shape views[0].select[1]"]),
        (filtered("title = ')'"), &[]),
        (filtered("true) union select (1"), &["schema-shape views[0].filter"]),
        (filtered("true; drop table notes"), &["schema-shape views[0].filter"]),
        (
            json!({"version": "1", "views": [{"name": "people", "base": "notes", "select": ["id"]}]}),
            &["schema-shape views[0].name"],
        ),
        (
            json!({"version": "1", "views": [{"name": "a", "base": "b", "select": ["id"]},
                                             {"name": "b", "base": "notes", "select": ["id"]}]}),
            &["missing-view-base views[0].base"],
        ),
        (rpc("f", "()", json!(["anon"])), &[]),
        (rpc("g", "(a int4, b text default 'x')", json!(["anon", "service_role"])), &[]),
        (rpc("g", "(int, text)", json!(["anon"])), &[]),
        (rpc("f", "(int)", json!(["anon"])), &["missing-rpc rpcs[0].signature"]),
        (rpc("f", "()", json!(["root", "anon"])), &["grant-to-role-unknown rpcs[0].grant_to[0]"]),
        (rpc("f", "()", json!([])), &["schema-shape rpcs[0].grant_to"]),
        (rpc("f", "(); drop table notes", json!(["anon"])), &["schema-shape rpcs[0].signature"]),
        (rpc("h", "(p uuid)", json!(["anon"])), &["ambiguous-rpc rpcs[0].signature"]),
    ];
    for (document, expected) in cases {
        assert_eq!(summary(&found(&document, None)), expected, "{document}");
    }
}

#[test]
fn every_violation_is_listed_at_once_and_a_migration_can_mend_some() {
    let document = json!({
        "version": "1",
        "tables": [
            {"name": "nope", "expose": true, "policy": "public_read_authenticated_write"},
            {"name": "notes", "expose": true, "policy": "public_read_write_UNRESTRICTED"},
        ],
        "rpcs": [{"name": "f", "signature": "()", "grant_to": ["root"]}],
    });
    let rest = [
        "unrestricted-ack-required tables[1].i_understand_this_is_unrestricted",
        "grant-to-role-unknown rpcs[0].grant_to[0]",
    ];
    let all = found(&document, None);
    assert!(all.has_errors);
    assert_eq!(summary(&all), [rest[0], rest[1], "missing-table tables[0].name"]);
    assert_eq!(summary(&found(&document, Some("create table nope(id int)"))), rest);
}

#[test]
fn without_a_schema_only_the_form_counts() {
    let document = tables(json!([{"name": "t", "expose": true, "policy": "public_read_authenticated_write"}]));
    let findings = service::findings(&document, None, &Recorded::default(), None);
    assert_eq!(summary(&findings), ["warning validation-inconclusive "]);
    let findings = service::findings(&document, None, &Recorded::default(), Some("create table u(id int)"));
    assert_eq!(summary(&findings), ["missing-table tables[0].name"]);
}

#[test]
fn a_migration_text_is_laid_over_the_schema() {
    let owns = |name: &str, column: &str| {
        tables(json!([{"name": name, "expose": true, "policy": "user_owns_rows", "owner_column": column}]))
    };
    let view = |base: &str| json!({"version": "1", "views": [{"name": "v", "base": base, "select": ["id"]}]});
    let rpc = |signature: &str| json!({"version": "1", "rpcs": [{"name": "n", "signature": signature, "grant_to": ["anon"]}]});
    let missing_table: &[&str] = &["missing-table tables[0].name"];
    let missing_column: &[&str] = &["missing-column tables[0].owner_column"];
    let cases: Vec<(&str, Value, &[&str])> = vec![
        ("create table t (id int primary key, \"Own er\" uuid not null, check (id > 0))", owns("t", "Own er"), &[]),
        (
            "create table if not exists public.t (id numeric(3,1) default f(1,2), o uuid references x(y))",
            owns("t", "o"),
            &[],
        ),
        ("create temp table t (o uuid)", owns("t", "o"), missing_table),
        (
            "create table other.t (o uuid)",
            owns("t", "o"),
            &["warning missing-table tables[0].name", "warning validation-inconclusive migration_sql"],
        ),
        ("create table t (like notes)", owns("t", "o"), &["warning missing-column tables[0].owner_column"]),
        ("alter table notes add column o uuid, drop constraint x", owns("notes", "o"), &[]),
        ("alter table notes rename owner to o; alter table notes rename to n", owns("n", "o"), &[]),
        ("alter table notes alter column author type uuid using author::uuid", owns("notes", "author"), &[]),
        ("alter table notes drop column owner", owns("notes", "owner"), missing_column),
        ("drop table if exists notes cascade", owns("notes", "owner"), missing_table),
        (
            "insert into notes values (1); create index on notes (id); comment on table notes is 'x'",
            owns("nope", "o"),
            missing_table,
        ),
        (
            "do $$ begin execute 'create table nope (o uuid)'; end $$",
            owns("nope", "o"),
            &["warning missing-table tables[0].name", "warning validation-inconclusive migration_sql"],
        ),
        ("create view w as select 1 as id", view("w"), &["warning missing-column views[0].select[0]"]),
        ("create view w (id) as select 1", view("w"), &[]),
        ("drop view old_view", view("old_view"), &["missing-view-base views[0].base"]),
        (
            "create function n(a int, b double precision) returns int language sql as 'select 1; select 2'",
            rpc("(int, double precision)"),
            &[],
        ),
        ("create or replace function public.n() returns int return 1", rpc("()"), &[]),
        ("create function n() returns int return 1; drop function n", rpc("()"), &["missing-rpc rpcs[0].signature"]),
        ("create function n(int) returns int return 1; drop function n()", rpc("(int)"), &[]),
    ];
    for (migration, document, expected) in cases {
        assert_eq!(summary(&found(&document, Some(migration))), expected, "{migration}");
    }
}

fn manifest(document: &Value) -> Manifest {
    let (manifest, issues) = shape::read(document);
    assert_eq!(issues, [], "{document}");
    manifest
}

fn sql(document: &Value, catalog: &Catalog, recorded: &Recorded) -> Vec<String> {
    plan::statements(&manifest(document), catalog, recorded).into_iter().map(|step| step.sql).collect()
}

fn live_policy(oid: u32, name: &str, expression: &str) -> LivePolicy {
    LivePolicy {
        oid,
        name: name.into(),
        command: "ALL".into(),
        permissive: true,
        roles: vec!["authenticated".into()],
        using: Some(expression.into()),
        check: Some(expression.into()),
    }
}

fn owned() -> Value {
    tables(json!([{"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
                   "force_owner_on_insert": true}]))
}

/// The catalog as it is after [`owned`] was applied.
fn owned_catalog() -> Catalog {
    let mut after = catalog();
    let notes = &mut after.tables[0];
    (notes.rls, notes.forced) = (true, true);
    notes.leading = vec!["owner".into()];
    notes.policies = vec![live_policy(20, "r402_owner_all", "(owner = ( SELECT auth.uid() AS uid))")];
    let trigger = LiveTrigger {
        oid: 21,
        name: "notes_set_owner".into(),
        definition: "CREATE TRIGGER …".into(),
        enabled: "O".into(),
    };
    notes.triggers = vec![trigger];
    after.functions.push(function(22, "notes_set_owner_fn", &[]));
    after
}

#[test]
fn a_first_apply_makes_everything_and_a_repeat_nothing() {
    let first = sql(&owned(), &catalog(), &Recorded::default());
    assert_eq!(
        first,
        [
            r#"ALTER TABLE public."notes" ENABLE ROW LEVEL SECURITY"#,
            r#"ALTER TABLE public."notes" FORCE ROW LEVEL SECURITY"#,
            r#"CREATE INDEX "notes_owner_r402_idx" ON public."notes" ("owner")"#,
            "CREATE OR REPLACE FUNCTION public.\"notes_set_owner_fn\"() RETURNS trigger LANGUAGE plpgsql AS 'begin\n    \
             if new.\"owner\" is null then\n        new.\"owner\" := auth.uid();\n    end if;\n    return new;\nend'",
            r#"CREATE TRIGGER "notes_set_owner" BEFORE INSERT ON public."notes" FOR EACH ROW EXECUTE FUNCTION public."notes_set_owner_fn"()"#,
            r#"CREATE POLICY "r402_owner_all" ON public."notes" FOR ALL TO authenticated USING ("owner" = (select auth.uid())) WITH CHECK ("owner" = (select auth.uid()))"#,
        ]
    );
    let after = owned_catalog();
    let recorded = plan::record(&manifest(&owned()), &after);
    assert_eq!(sql(&owned(), &after, &recorded), Vec::<String>::new());
}

#[test]
fn what_changes_is_made_anew_and_what_goes_is_dropped() {
    let after = owned_catalog();
    let recorded = plan::record(&manifest(&owned()), &after);
    let dropped = sql(&json!({"version": "1"}), &after, &recorded);
    let drops = [
        r#"DROP TRIGGER "notes_set_owner" ON public."notes""#,
        r#"DROP FUNCTION public."notes_set_owner_fn"()"#,
        r#"DROP POLICY "r402_owner_all" ON public."notes""#,
    ];
    assert_eq!(dropped, drops);

    let public = tables(json!([{"name": "notes", "expose": true, "policy": "public_read_authenticated_write"}]));
    let changed = sql(&public, &after, &recorded);
    assert_eq!(changed[..3], drops);
    assert!(changed[3].starts_with(r#"CREATE POLICY "r402_public_read" ON public."notes" FOR SELECT TO anon"#));
    assert_eq!(changed.len(), 5);

    // Somebody loosened the policy by hand.
    let mut loosened = after.clone();
    loosened.tables[0].policies[0].using = Some("true".into());
    let mended = sql(&owned(), &loosened, &recorded);
    assert_eq!(mended.len(), 2, "{mended:?}");
    assert_eq!(mended[0], drops[2]);

    // A table made again under the same name has nothing; a policy of the user's own stays.
    let mut recreated = after;
    recreated.tables[0].policies = vec![live_policy(90, "mine", "true")];
    recreated.tables[0].triggers.clear();
    let again = sql(&owned(), &recreated, &recorded);
    assert!(again.iter().all(|step| !step.starts_with("DROP")), "{again:?}");
}

#[test]
fn owners_that_are_not_uuid_are_compared_as_text() {
    let document =
        tables(json!([{"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "author"}]));
    let steps = sql(&document, &catalog(), &Recorded::default());
    assert!(
        steps.iter().any(|step| step.contains(r#"USING ("author"::text = (select auth.uid())::text)"#)),
        "{steps:?}"
    );
}

#[test]
fn views_are_replaced_where_postgres_can_and_rebuilt_with_what_stands_on_them() {
    let document = |select: Value, filter: &str| {
        json!({"version": "1", "views": [
            {"name": "a", "base": "notes", "select": select, "filter": filter},
            {"name": "b", "base": "a", "select": ["id"]},
        ]})
    };
    let before = document(json!(["id", "title"]), "true");
    let mut live = catalog();
    for (oid, name) in [(30, "a"), (31, "b")] {
        live.views.push(LiveView { oid, name: name.into(), definition: name.into(), ..LiveView::default() });
        live.taken.push(name.into());
    }
    let recorded = plan::record(&manifest(&before), &live);
    assert_eq!(sql(&before, &live, &recorded), Vec::<String>::new());
    assert_eq!(
        sql(&document(json!(["id", "title", "owner"]), "false"), &live, &recorded),
        ["CREATE OR REPLACE VIEW public.\"a\" WITH (security_invoker = true) AS \
          SELECT \"id\", \"title\", \"owner\" FROM public.\"notes\" WHERE (false\n)"]
    );
    let rebuilt = sql(&document(json!(["title", "id"]), "true"), &live, &recorded);
    assert_eq!(rebuilt[..2], [r#"DROP VIEW public."b""#, r#"DROP VIEW public."a""#]);
    assert!(rebuilt[2].starts_with("CREATE VIEW public.\"a\" ") && rebuilt[3].starts_with("CREATE VIEW public.\"b\" "));
    assert_eq!(sql(&json!({"version": "1"}), &live, &recorded), [r#"DROP VIEW public."b""#, r#"DROP VIEW public."a""#]);
}

#[test]
fn grants_are_the_difference_and_everything_else_is_dark() {
    let mut live = catalog();
    let pair = |role: &str, privilege: &str| (role.to_owned(), privilege.to_owned());
    live.tables[1].grants = vec![pair("anon", "SELECT")];
    live.functions[0].grants = vec![pair("authenticated", "EXECUTE")];
    let document = json!({
        "version": "1",
        "tables": [{"name": "notes", "expose": true, "policy": "public_read_authenticated_write"},
                   {"name": "people", "expose": false}],
        "rpcs": [{"name": "g", "signature": "(int, text)", "grant_to": ["service_role", "project_admin"]}],
    });
    let change = |kind: &str, oid: u32, privileges: Value, role: &str| json!({"kind": kind, "oid": oid, "privileges": privileges, "roles": [role]});
    assert_eq!(
        serde_json::to_value(plan::grants(&manifest(&document), &live)).unwrap(),
        json!({
            "revoke": [
                change("table", 2, json!(["SELECT"]), "anon"),
                change("function", 4, json!(["EXECUTE"]), "authenticated"),
            ],
            "grant": [
                change("table", 1, json!(["SELECT"]), "anon"),
                change("table", 1, json!(["DELETE", "INSERT", "SELECT", "UPDATE"]), "authenticated"),
                change("sequence", 9, json!(["USAGE"]), "authenticated"),
                change("function", 5, json!(["EXECUTE"]), "project_admin"),
            ],
        })
    );
}

#[test]
fn names_are_quoted_wherever_they_go() {
    let evil = "a\"; drop table notes; --'$$é";
    let mut live = catalog();
    live.tables.push(table(40, evil, &[(evil, "uuid")]));
    let document = json!({
        "version": "1",
        "tables": [{"name": evil, "expose": true, "policy": "user_owns_rows", "owner_column": evil,
                    "force_owner_on_insert": true}],
        "views": [{"name": "v", "base": evil, "select": [evil]}],
    });
    for step in sql(&document, &live, &Recorded::default()) {
        assert_eq!(crate::features::sql::split(&step).count(), 1, "{step}");
    }
}

#[test]
fn derived_names_fit_and_stay_distinct() {
    let long = "é".repeat(31);
    let (trigger, function) = (plan::trigger_name(&long), plan::trigger_function_name(&long));
    assert!(trigger.len() <= shape::MAX_NAME && function.len() <= shape::MAX_NAME);
    assert_ne!(trigger, function);
    assert_eq!(plan::trigger_name("t"), "t_set_owner");
}

#[test]
fn templates_are_recognised_in_live_policies() {
    let mut live = owned_catalog();
    assert_eq!(introspect(&Catalog::default()), json!({"version": "1", "tables": [], "views": [], "rpcs": []}));
    live.tables[0].grants =
        ["DELETE", "INSERT", "SELECT", "UPDATE"].map(|p| ("authenticated".to_owned(), p.to_owned())).into();
    live.views.clear();
    assert_eq!(
        introspect(&live)["tables"],
        json!([
            {"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner",
             "force_owner_on_insert": true},
            {"name": "people", "expose": false},
        ])
    );
    live.tables[0].policies[0].using = Some("(title = 'x'::text)".into());
    let custom = introspect(&live)["tables"][0].clone();
    assert_eq!(custom["policy"], "custom");
    assert_eq!(
        custom["custom_sql"],
        "CREATE POLICY \"r402_owner_all\" ON public.\"notes\" AS PERMISSIVE FOR ALL TO \"authenticated\" \
         USING ((title = 'x'::text)) WITH CHECK ((owner = ( SELECT auth.uid() AS uid)))"
    );
}

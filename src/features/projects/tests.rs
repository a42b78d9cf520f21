//! Against a real server: what the bootstrap allows and refuses, and the control-database rows of a project's life.
//! Over HTTP the same rules are tested in `tests/it`.

use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use super::{
    databases::{self, Databases, database_name, owner_role, rest_role},
    settings::ProjectSettings,
    store::{self, Spare},
};
use crate::{
    common::{OrganisationId, ProjectId, Slot, Timestamp},
    engines::postgres::{
        Cluster, Connection, Login, migrate,
        test_support::{TestBox, as_ordinary_user},
    },
};

mod control_migrations {
    refinery::embed_migrations!("migrations/control");
}

/// A cluster with the template built, on a box of its own.
async fn with_databases(test: impl for<'a> FnOnce(&'a Cluster, &'a Databases) -> BoxFuture<'a, ()>) {
    let test_box = TestBox::new();
    let cluster = test_box.start().await;
    let databases = Databases::new(cluster.clone(), &ProjectSettings::default());
    databases.ensure_cluster().await.unwrap();
    assert!(databases.ensure_template().await.unwrap(), "a fresh box has no template");
    test(&cluster, &databases).await;
    cluster.stop().await;
}

async fn connect(cluster: &Cluster, slot: &Slot, role: String) -> Connection {
    cluster.connect(&Login { database: database_name(slot), role }).await.unwrap()
}

/// The SQLSTATE a statement fails with; empty when it succeeds.
async fn sqlstate(session: &Connection, statement: &str) -> String {
    match session.batch_execute(statement).await {
        Ok(()) => String::new(),
        Err(error) => error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned()),
    }
}

async fn value(session: &Connection, expression: &str) -> Option<String> {
    session.query_one(&format!("select ({expression})::text"), &[]).await.unwrap().get(0)
}

#[test]
fn the_owner_role_cannot_leave_its_database_or_open_it() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let (mine, other) = (Slot::from_sequence(1), Slot::from_sequence(2));
                databases.make(mine.clone()).await.unwrap();
                databases.make(other.clone()).await.unwrap();
                let owner = connect(cluster, &mine, owner_role(&mine)).await;
                let create = "create table t (id serial primary key); create function f() returns int return 1";
                assert_eq!(sqlstate(&owner, create).await, "");
                for statement in [
                    "grant select on t to anon",
                    "revoke all on t from service_role",
                    "alter default privileges grant select on tables to anon",
                    "drop owned by current_user",
                    "set role service_role",
                    "set role postgres",
                    "set session authorization postgres",
                    "create schema x",
                    "create extension lo",
                    "create extension pg_stat_statements",
                    "create role x",
                    "create database x",
                    "create publication p",
                    "create event trigger e on ddl_command_end execute function internal.guard_privileges()",
                    "alter event trigger r402_guard_privileges disable",
                    "drop event trigger r402_guard_privileges",
                    "set event_triggers = off",
                    "set session_replication_role = replica",
                    "set temp_file_limit = -1",
                    "set log_min_error_statement = error",
                    "alter role anon set search_path = x",
                    "grant r402_p0001_owner to anon",
                    "alter table t owner to anon",
                    "copy t to program 'true'",
                    "copy t to '/tmp/x'",
                    "select * from internal.ownership",
                    "select * from internal.migrations",
                    "select internal.adopt('a', 'b', '')",
                    "select internal.change_grants('grant', '[]')",
                    "create table internal.x ()",
                    "create or replace function auth.uid() returns uuid return null",
                    "drop schema public",
                    "select * from pg_stat_database",
                    "select pg_logical_emit_message(false, 'a', 'b')",
                ] {
                    assert_eq!(sqlstate(&owner, statement).await, "42501", "{statement}");
                    let hidden = format!("do $$ begin execute $x${statement}$x$; end $$");
                    let state = sqlstate(&owner, &hidden).await;
                    // 25001: what cannot run inside a transaction is not even tried.
                    assert!(state == "42501" || state == "25001", "{state}: {hidden}");
                }
                assert_eq!(value(&owner, "current_user").await, Some(owner_role(&mine)));
                for (database, role) in [
                    (database_name(&other), owner_role(&mine)),
                    ("postgres".into(), owner_role(&mine)),
                    ("template1".into(), owner_role(&mine)),
                    (database_name(&mine), "anon".into()),
                    (database_name(&mine), "authenticator".into()),
                ] {
                    let login = Login { database, role };
                    assert!(cluster.connect(&login).await.is_err(), "{login:?}");
                }
            })
        })
    });
}

#[test]
fn new_objects_are_dark_for_everyone_but_service_role() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(1);
                databases.make(slot.clone()).await.unwrap();
                let owner = connect(cluster, &slot, owner_role(&slot)).await;
                let create = "create table t (id serial primary key, n int); insert into t (n) values (1);
                              alter table t enable row level security; alter table t force row level security;
                              create function f() returns int return 1";
                assert_eq!(sqlstate(&owner, create).await, "");
                let rest = connect(cluster, &slot, rest_role(&slot)).await;
                for statement in ["select * from t", "select f()", "create table x ()", "create temp table x ()"] {
                    for role in ["none", "anon", "authenticated", "project_admin"] {
                        let state = sqlstate(&rest, &format!("set role {role}; {statement}")).await;
                        assert_eq!(state, "42501", "{role}: {statement}");
                    }
                }
                let service = "set role service_role; insert into t (n) values (f()); select * from t";
                assert_eq!(sqlstate(&rest, service).await, "");
                assert_eq!(
                    value(&rest, "select count(*) from t").await.as_deref(),
                    Some("2"),
                    "row security is bypassed"
                );
                for role in [owner_role(&slot), "postgres".into(), "authenticator".into()] {
                    assert_eq!(sqlstate(&rest, &format!("set role {role}")).await, "42501", "{role}");
                }
            })
        })
    });
}

#[test]
fn a_rest_login_reaches_no_session_and_no_login_of_another_project() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let (mine, other) = (Slot::from_sequence(1), Slot::from_sequence(2));
                databases.make(mine.clone()).await.unwrap();
                databases.make(other.clone()).await.unwrap();
                let victim = connect(cluster, &other, rest_role(&other)).await;
                assert_eq!(sqlstate(&victim, "set role anon; select 'xyzzy'").await, "");
                let pid: i32 = victim.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);

                let rest = connect(cluster, &mine, rest_role(&mine)).await;
                for role in ["none", "anon", "service_role"] {
                    assert_eq!(sqlstate(&rest, &format!("set role {role}")).await, "");
                    let seen =
                        format!("select count(*) from pg_stat_activity where pid = {pid} and query like '%xyzzy%'");
                    assert_eq!(value(&rest, &seen).await.as_deref(), Some("0"), "{role}");
                    assert_eq!(
                        sqlstate(&rest, &format!("select pg_terminate_backend({pid})")).await,
                        "42501",
                        "{role}"
                    );
                    let alter = format!("alter role {} set statement_timeout = 1", rest_role(&other));
                    assert_eq!(sqlstate(&rest, &alter).await, "42501", "{role}");
                }
                assert_eq!(value(&victim, "1").await.as_deref(), Some("1"));

                // What a shared role leaves on itself has no effect and is gone after the next boot.
                sqlstate(&rest, "set role anon; alter role anon set search_path = pg_temp").await;
                databases.ensure_cluster().await.unwrap();
                let left = "select count(*) from pg_db_role_setting where setrole = 'anon'::regrole";
                assert_eq!(value(&rest, left).await.as_deref(), Some("0"));
            })
        })
    });
}

async fn step(session: &mut Connection, secret: &str, name: &str, payload: Value) -> String {
    let client: &mut tokio_postgres::Client = session;
    let tx = client.transaction().await.unwrap();
    match databases::platform_step(&tx, secret, name, &payload).await {
        Ok(()) => {
            tx.commit().await.unwrap();
            String::new()
        }
        Err(error) => error.code().unwrap().code().to_owned(),
    }
}

#[test]
fn the_platform_step_demands_the_secret_and_grants_only_the_projects_own_objects() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(1);
                let secret = databases.make(slot.clone()).await.unwrap().secret;
                let mut owner = connect(cluster, &slot, owner_role(&slot)).await;
                assert_eq!(
                    sqlstate(&owner, "create table t (id serial); create function f(int) returns int return 1").await,
                    ""
                );
                assert_eq!(step(&mut owner, "wrong", "verify", json!({})).await, "42501");
                assert_eq!(step(&mut owner, &secret, "verify", json!({})).await, "");
                assert_eq!(step(&mut owner, &secret, "nonsense", json!({})).await, "22023");

                let (table, function, system): (i64, i64, i64) = {
                    let row = owner
                        .query_one(
                            "select 't'::regclass::oid::int8, 'f(int)'::regprocedure::oid::int8,
                                    'pg_catalog.pg_authid'::regclass::oid::int8",
                            &[],
                        )
                        .await
                        .unwrap();
                    (row.get(0), row.get(1), row.get(2))
                };
                let grant = |kind: &str, oid: i64, privilege: &str, role: &str| json!({"grant": [{"kind": kind, "oid": oid, "privileges": [privilege], "roles": [role]}]});
                assert_eq!(step(&mut owner, &secret, "grants", grant("table", table, "select", "anon")).await, "");
                assert_eq!(
                    step(&mut owner, &secret, "grants", grant("function", function, "EXECUTE", "anon")).await,
                    ""
                );
                for (payload, state) in [
                    (grant("table", system, "select", "anon"), "42501"),
                    (grant("table", 0, "select", "anon"), "42501"),
                    (grant("table", table, "trigger", "anon"), "22023"),
                    (grant("table", table, "select", "postgres"), "22023"),
                    (grant("schema", table, "usage", "anon"), "22023"),
                ] {
                    assert_eq!(step(&mut owner, &secret, "grants", payload.clone()).await, state, "{payload}");
                }
                let rest = connect(cluster, &slot, rest_role(&slot)).await;
                assert_eq!(sqlstate(&rest, "set role anon; select * from t; select f(1)").await, "");
                let revoke = json!({"revoke": grant("table", table, "SELECT", "anon")["grant"]});
                assert_eq!(step(&mut owner, &secret, "grants", revoke).await, "");
                assert_eq!(sqlstate(&rest, "select * from t").await, "42501");

                let checksum = "a".repeat(64);
                let migration = json!({"project_id": "prj_1", "migration_id": "001", "checksum_hex": checksum});
                assert_eq!(step(&mut owner, &secret, "record_migration", migration.clone()).await, "");
                assert_eq!(step(&mut owner, &secret, "record_migration", migration).await, "23505");
                let operation = json!({"operation_id": "op_1", "release_id": "rel_1", "generation": 1});
                assert_eq!(step(&mut owner, &secret, "record_operation", operation).await, "");
                for version in ["1", "2"] {
                    let manifest = json!({"manifest": {"version": version}, "sha256_hex": checksum, "objects": {}});
                    assert_eq!(step(&mut owner, &secret, "record_manifest", manifest).await, "");
                }
                let platform = connect(cluster, &slot, "postgres".into()).await;
                let stored = value(&platform, "select manifest ->> 'version' from internal.project_manifest").await;
                assert_eq!(stored.as_deref(), Some("2"));
                // The API roles cannot even reach the door.
                assert_eq!(sqlstate(&rest, "select internal.platform_step('x', 'verify', '{}')").await, "42501");
            })
        })
    });
}

#[test]
fn a_stolen_statement_name_or_logged_parameter_does_not_betray_the_secret() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(1);
                let secret = databases.make(slot.clone()).await.unwrap().secret;
                let mut owner = connect(cluster, &slot, owner_role(&slot)).await;
                let trap = "create table loot (a text);
                            prepare s0(text, text, jsonb) as insert into loot values ($1);
                            prepare s1(text, text, jsonb) as insert into loot values ($1);
                            set log_parameter_max_length_on_error = -1";
                assert_eq!(sqlstate(&owner, trap).await, "");
                let client: &mut tokio_postgres::Client = &mut owner;
                let tx = client.transaction().await.unwrap();
                let error = databases::platform_step(&tx, &secret, "nonsense", &json!({})).await.unwrap_err();
                assert!(!format!("{error:?}").contains(&secret), "{error:?}");
                drop(tx);
                assert_eq!(value(&owner, "select count(*) from loot").await.as_deref(), Some("0"));
            })
        })
    });
}

#[test]
fn request_helpers_answer_null_to_every_kind_of_nonsense() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(1);
                databases.make(slot.clone()).await.unwrap();
                let rest = connect(cluster, &slot, rest_role(&slot)).await;
                let all = "concat_ws('|', auth.role(), auth.uid(), auth.project_id(), auth.jwt_claim('o'),
                                     run402.current_user_id(), run402.current_project_id(),
                                     run402.current_session_id(), run402.current_authz_version())";
                assert_eq!(sqlstate(&rest, "set role anon").await, "");
                assert_eq!(value(&rest, all).await.as_deref(), Some(""), "nothing is set");
                assert_eq!(value(&rest, "auth.jwt()").await.as_deref(), Some("{}"));
                let user = "6b0d2f6a-6a4e-4d5e-9f6b-0123456789ab";
                for (claims, expected) in [
                    ("", ""),
                    ("{", ""),
                    ("[1]", ""),
                    ("\"x\"", ""),
                    ("null", ""),
                    (r#"{"n":1e99999999}"#, ""),
                    (r#"{"sub":"\u0000"}"#, ""),
                    (r#"{"role":"\ud800"}"#, ""),
                    (r#"{"sub":"not-a-uuid","role":null}"#, ""),
                    (r#"{"sub":"zb0d2f6a-6a4e-4d5e-9f6b-0123456789ab"}"#, ""),
                    (r#"{"sub":7,"o":{"a":1}}"#, r#"{"a":1}"#),
                    (r#"{"role":"\u0061non"}"#, "anon"),
                    (
                        r#"{"sub":"6b0d2f6a-6a4e-4d5e-9f6b-0123456789ab","role":"authenticated","project_id":"prj_1"}"#,
                        "authenticated|6b0d2f6a-6a4e-4d5e-9f6b-0123456789ab|prj_1",
                    ),
                ] {
                    rest.query_one("select set_config('request.jwt.claims', $1, false)", &[&claims]).await.unwrap();
                    assert_eq!(value(&rest, all).await.as_deref(), Some(expected), "{claims}");
                    value(&rest, "auth.jwt()").await.expect("an object");
                }
                // The claims rule, the gateway's copy only saves parsing them.
                for (copy, uid) in
                    [(user, Some(user)), ("6b0d2f6a-6a4e-4d5e-9f6b-ffffffffffff", Some(user)), ("x", Some(user))]
                {
                    rest.query_one("select set_config('run402.user_id', $1, false)", &[&copy]).await.unwrap();
                    assert_eq!(value(&rest, "auth.uid()").await.as_deref(), uid, "{copy}");
                }
                let bad =
                    "select set_config('run402.user_id', 'x', false), set_config('run402.authz_version', '1.5', false)";
                rest.query_one(bad, &[]).await.unwrap();
                let nothing = "concat(run402.current_user_id(), run402.current_authz_version())";
                assert_eq!(value(&rest, nothing).await.as_deref(), Some(""));
                for name in ["''", "null", "'a b;$'", "repeat('x', 500)"] {
                    assert_eq!(value(&rest, &format!("auth.jwt_claim({name})")).await, None, "{name}");
                }
                let legacy = format!("set request.jwt.claims = ''; set request.jwt.claim.sub = '{user}'");
                assert_eq!(sqlstate(&rest, &legacy).await, "");
                assert_eq!(value(&rest, "auth.uid()").await.as_deref(), Some(user));
            })
        })
    });
}

#[test]
fn policies_compare_the_user_with_columns_of_any_text_type() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(1);
                databases.make(slot.clone()).await.unwrap();
                let owner = connect(cluster, &slot, owner_role(&slot)).await;
                // The database's own search path has to find the operators.
                let create = "create table t (u uuid, x text, v varchar(40));
                              alter table t enable row level security;
                              create policy p on t to authenticated
                                  using (u = auth.uid() and x = auth.uid() and auth.uid() = v and u <> x is not null)";
                assert_eq!(sqlstate(&owner, create).await, "");
                let types =
                    owner.prepare("select from t where u = $1 and x = $2 and v = $3 and u = any($4)").await.unwrap();
                let names: Vec<&str> = types.params().iter().map(|each| each.name()).collect();
                assert_eq!(names, ["uuid", "text", "text", "_uuid"], "untyped parameters take the column's type");
                assert_eq!(sqlstate(&owner, "select from t where u = 'x'").await, "22P02", "and so do literals");
                let version = value(&owner, "select count(*) from pg_extension where extname in ('pgcrypto', 'uuid-ossp', \
                    'citext', 'pg_trgm', 'unaccent', 'hstore', 'btree_gin', 'btree_gist', 'fuzzystrmatch', 'ltree', 'intarray', 'vector') \
                    and extnamespace = 'extensions'::regnamespace").await;
                assert_eq!(version.as_deref(), Some("12"));
            })
        })
    });
}

#[test]
fn making_and_removing_a_database_can_be_repeated() {
    as_ordinary_user(|| {
        with_databases(|cluster, databases| {
            Box::pin(async move {
                let slot = Slot::from_sequence(7);
                let first = databases.make(slot.clone()).await.unwrap();
                assert!(first.bytes > 1_000_000);
                let held = connect(cluster, &slot, owner_role(&slot)).await;
                let second = databases.make(slot.clone()).await.unwrap();
                assert_ne!(first.secret, second.secret);
                assert!(held.batch_execute("select 1").await.is_err(), "sessions of the removed database are gone");
                assert!(databases.sizes(std::slice::from_ref(&slot)).await.unwrap()[&slot] > 1_000_000);
                assert!(databases.existing().await.unwrap().contains(&slot));

                assert!(!databases.ensure_template().await.unwrap(), "the template is current");
                let maintenance = cluster.database(Login::maintenance()).get().await.unwrap();
                maintenance.batch_execute("comment on database r402_template is 'older'").await.unwrap();
                assert!(databases.ensure_template().await.unwrap(), "another version's template is rebuilt");

                // An older database gets what it lacks.
                let platform = connect(cluster, &slot, "postgres".into()).await;
                assert_eq!(
                    value(&platform, "current_setting('search_path')").await.as_deref(),
                    Some("pg_catalog, pg_temp")
                );
                let newest = value(&platform, "select max(version) from internal.bootstrap").await;
                assert_eq!(newest, Some(databases::newest_bootstrap().to_string()));
                databases.upgrade(&slot).await.unwrap();

                databases.remove(&slot).await.unwrap();
                databases.remove(&slot).await.unwrap();
                assert!(databases.existing().await.unwrap().is_empty());
            })
        })
    });
}

/// A control database with one organisation.
async fn control(cluster: &Cluster) -> (Connection, OrganisationId) {
    let maintenance = cluster.database(Login::maintenance()).get().await.unwrap();
    maintenance.batch_execute("create database control").await.unwrap();
    let login = Login::new("control", "postgres");
    migrate(cluster, &login, control_migrations::migrations::runner()).await.unwrap();
    let connection = cluster.connect(&login).await.unwrap();
    let organisation = OrganisationId::generate();
    connection
        .batch_execute("insert into principals (id, type) values ('prn_0123456789abcdef', 'agent')")
        .await
        .unwrap();
    connection
        .execute(
            "insert into organisations (id, usage_period_start) values ($1, $2)",
            &[&organisation.0, &at("2026-05-20T00:00:00Z")],
        )
        .await
        .unwrap();
    (connection, organisation)
}

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse().unwrap())
}

fn spare(number: i64) -> Spare {
    Spare { slot: Slot::from_sequence(number), sealed_secret: vec![1], bootstrap_version: 1, database_bytes: 100 }
}

async fn insert(connection: &mut Connection, organisation: OrganisationId, id: &str, number: i64) -> ProjectId {
    let id: ProjectId = id.parse().unwrap();
    let client: &mut tokio_postgres::Client = connection;
    let tx = client.transaction().await.unwrap();
    let project = store::InsertProject {
        id: &id,
        public_id: &super::names::public_id(),
        organisation,
        name: "test",
        spare: &spare(number),
        created_by: &"prn_0123456789abcdef".parse().unwrap(),
        created_at: at("2026-05-21T00:00:00Z"),
        usage_period_start: at("2026-05-20T00:00:00Z"),
    };
    store::insert_project(&tx, &project).await.unwrap();
    tx.commit().await.unwrap();
    id
}

#[test]
fn two_transactions_never_take_the_same_spare_and_a_rollback_puts_it_back() {
    as_ordinary_user(|| async {
        let test_box = TestBox::new();
        let cluster = test_box.start().await;
        let (mut first, _) = control(&cluster).await;
        store::add_spare(&first, &spare(1)).await.unwrap();
        store::add_spare(&first, &spare(2)).await.unwrap();
        let mut second = cluster.connect(&Login::new("control", "postgres")).await.unwrap();
        {
            let (one, two): (&mut tokio_postgres::Client, &mut tokio_postgres::Client) = (&mut first, &mut second);
            let (one, two) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
            let taken = store::take_spare(&one).await.unwrap().unwrap().slot;
            assert_ne!(store::take_spare(&two).await.unwrap().unwrap().slot, taken);
            assert!(store::take_spare(&two).await.unwrap().is_none(), "the third waits for nobody");
            one.commit().await.unwrap();
            two.rollback().await.unwrap();
        }
        assert_eq!(store::count_spares(&first).await.unwrap(), 1);
        cluster.stop().await;
    });
}

#[test]
fn calls_count_in_their_period_and_pages_chain_without_gaps() {
    as_ordinary_user(|| async {
        let test_box = TestBox::new();
        let cluster = test_box.start().await;
        let (mut connection, organisation) = control(&cluster).await;
        let ids = [
            insert(&mut connection, organisation, "prj_a", 1).await,
            insert(&mut connection, organisation, "prj_b", 2).await,
            insert(&mut connection, organisation, "prj_c", 3).await,
        ];
        // Counting.
        for round in 1..=2 {
            let client: &mut tokio_postgres::Client = &mut connection;
            let tx = client.transaction().await.unwrap();
            let counted = [("prj_a".to_owned(), 2), ("prj_b".to_owned(), 1)];
            let totals = store::add_calls(&tx, &counted, &[(organisation.0, 3)]).await.unwrap();
            tx.commit().await.unwrap();
            assert_eq!(totals, [(organisation, 3 * round)]);
        }
        assert_eq!(store::find(&connection, &ids[0]).await.unwrap().unwrap().api_calls, 4);
        let (june, now) = (at("2026-06-01T00:00:00Z"), at("2026-06-03T00:00:00Z"));
        store::start_monthly_period(&connection, &[organisation.0], june, now).await.unwrap();
        store::start_monthly_period(&connection, &[organisation.0], june, now).await.unwrap();
        assert_eq!(store::find(&connection, &ids[0]).await.unwrap().unwrap().api_calls, 0, "a new month");
        let facts = store::organisation_facts(&connection, &[organisation.0]).await.unwrap();
        assert_eq!((facts[0].api_calls, facts[0].storage_bytes), (0, 300));

        // Paging through rows of one moment.
        let organisations = [organisation.0];
        let page = store::list(&connection, &organisations, None, Some(2)).await.unwrap();
        assert_eq!(page.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["prj_c", "prj_b"]);
        let rest = store::list(&connection, &organisations, Some(&store::list_key(&page[1])), Some(2)).await.unwrap();
        assert_eq!(rest.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ["prj_a"]);

        // Archive and purge.
        let mark = Some((now, Some("spam")));
        assert_eq!(store::set_archived(&connection, &ids[0], mark).await.unwrap(), Some(true));
        assert_eq!(store::set_archived(&connection, &ids[0], mark).await.unwrap(), Some(false));
        assert_eq!(store::set_archived(&connection, &ids[0], None).await.unwrap(), Some(true));
        assert_eq!(store::set_archived(&connection, &ids[0], None).await.unwrap(), Some(false));
        assert!(store::begin_purge(&connection, &ids[0], now).await.unwrap());
        assert!(!store::begin_purge(&connection, &ids[0], now).await.unwrap());
        assert_eq!(store::set_archived(&connection, &ids[0], None).await.unwrap(), None);
        assert_eq!(store::purging(&connection).await.unwrap(), [(ids[0].clone(), Slot::from_sequence(1))]);
        assert_eq!(store::kept_slots(&connection).await.unwrap().len(), 3, "its database is still known");
        store::finish_purge(&connection, &ids[0]).await.unwrap();
        assert_eq!(store::kept_slots(&connection).await.unwrap().len(), 2);
        assert_eq!(store::live_projects(&connection).await.unwrap().len(), 2);
        assert!(store::find(&connection, &ids[0]).await.unwrap().is_none());
        cluster.stop().await;
    });
}

//! SQL that tries to leave its role, its database or the machine (contract 02 §4.4; check 6; the bad-input
//! list of the purpose). Every attempt is an answer within a bounded time, and nothing has changed after it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Appliance, Project, control};

/// (statement, can it be written inside EXECUTE, the SQLSTATE it then fails with if only one is possible)
const BLOCKED: [(&str, Option<&str>); 46] = [
    ("grant select on t to anon", Some("42501")),
    ("revoke all on t from service_role", Some("42501")),
    ("alter default privileges grant select on tables to anon", Some("42501")),
    ("create extension dblink", None),
    ("create extension file_fdw", None),
    ("drop extension pgcrypto", Some("42501")),
    ("alter extension pgcrypto set schema public", Some("42501")),
    ("set role service_role", Some("42501")),
    ("set role postgres", Some("42501")),
    ("set local role authenticator", Some("42501")),
    ("reset role", None),
    ("set session authorization postgres", Some("42501")),
    ("reset session authorization", None),
    ("set search_path = internal", None),
    ("reset search_path", None),
    ("discard all", None),
    ("reset all", None),
    ("create schema x", Some("42501")),
    ("drop schema public cascade", Some("42501")),
    ("alter schema public rename to gone", Some("42501")),
    ("copy t to program 'id'", Some("42501")),
    ("copy t from program 'id'", Some("42501")),
    ("copy t to '/tmp/stolen'", Some("42501")),
    ("copy t from '/etc/passwd'", Some("42501")),
    ("copy t to stdout", None),
    ("copy t from stdin", None),
    ("alter system set fsync = off", None),
    ("load 'auto_explain'", None),
    ("create database x", None),
    ("drop database run402", None),
    ("create tablespace x location '/tmp'", None),
    ("create subscription x connection 'host=/' publication y", None),
    ("create publication x for all tables", Some("42501")),
    ("create server x foreign data wrapper y", None),
    ("create foreign data wrapper x", Some("42501")),
    (
        "create event trigger x on ddl_command_start execute function pg_catalog.suppress_redundant_updates_trigger()",
        None,
    ),
    ("create language plperlu", None),
    ("create role x superuser", Some("42501")),
    ("create user x password 'y'", Some("42501")),
    ("alter role postgres password 'y'", Some("42501")),
    ("drop role anon", Some("42501")),
    ("reassign owned by current_user to anon", None),
    ("drop owned by current_user", None),
    ("select * from internal.project_manifest", None),
    ("drop event trigger run402_guard", None),
    ("alter user current_user superuser", Some("42501")),
];

async fn project() -> Project {
    let project = Appliance::shared().api().provision().await;
    project.sql("create table t(n int); insert into t values (1)").await.is(200);
    project
}

/// Still itself: the owner role, one table with one row, the extensions, nobody else with rights.
async fn assert_untouched(project: &Project, after: &str) {
    let body = project
        .sql(
            "select current_user::text as me,
                    session_user::text as session,
                    (select count(*)::int from t) as rows,
                    has_table_privilege('anon', 't', 'select') as anon_reads,
                    (select rolsuper or rolcreaterole or rolcreatedb from pg_roles where rolname = current_user) as powers,
                    (select count(*)::int from pg_roles where rolname = 'x') as roles,
                    (select count(*)::int from pg_namespace where nspname = 'x') as schemas,
                    (select count(*)::int from pg_extension where extname in ('dblink', 'file_fdw', 'postgres_fdw')) as doors,
                    (select count(*)::int from pg_extension where extname = 'pgcrypto') as crypto",
        )
        .await
        .is(200);
    let owner = format!("r402_{}_owner", project.slot);
    let expected = json!([{"me": owner, "session": owner, "rows": 1, "anon_reads": false, "powers": false,
                           "roles": 0, "schemas": 0, "doors": 0, "crypto": 1}]);
    assert_eq!(body["rows"], expected, "after {after}");
}

#[tokio::test]
async fn blocked_statements_are_refused_before_they_run() {
    let project = project().await;
    for (statement, _) in BLOCKED {
        for spelling in [
            statement.to_owned(),
            statement.to_uppercase().replace("POSTGRES PASSWORD", "postgres PASSWORD"),
            format!("/* harmless */ select 1; -- really\n{statement};"),
            statement.replacen(' ', "/**/\n\t ", 1),
        ] {
            let answer = project.sql(&spelling).await;
            let body = answer.refused(403, "FORBIDDEN");
            assert!(
                body["message"].as_str().is_some_and(|text| text.starts_with("Blocked SQL pattern")),
                "{spelling}: {body}"
            );
            assert_eq!(body["error"], body["message"]);
            assert_eq!(body["category"], "auth");
            assert_eq!(body["mutation_state"], "not_started");
            assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{spelling}: {body}");
        }
    }
    assert_untouched(&project, "all blocked statements").await;
}

#[tokio::test]
async fn the_roles_refuse_the_same_when_it_is_hidden_in_dynamic_sql() {
    let project = project().await;
    for (statement, sqlstate) in BLOCKED {
        // Dropping everything it owns is its right, and destroys nothing of anybody else.
        if statement == "drop owned by current_user" {
            continue;
        }
        let hidden = format!("do $outer$ begin execute '{}'; end $outer$", statement.replace('\'', "''"));
        let answer = project.sql(&hidden).await;
        let harmless = [
            "reset role",
            "reset session authorization",
            "set search_path = internal",
            "reset search_path",
            "reset all",
            "discard all",
        ];
        if harmless.contains(&statement) {
            // Allowed to succeed, because it leads nowhere.
            assert!(answer.status == 200 || answer.status.is_client_error(), "{answer}");
        } else {
            assert!(answer.status == 400 || answer.status == 403, "{statement}: {answer}");
            if let Some(sqlstate) = sqlstate
                && answer.status == 400
            {
                assert_eq!(answer.refused(400, "SQL_ERROR")["details"]["sqlstate"], sqlstate, "{statement}");
            }
        }
        assert_untouched(&project, statement).await;
    }
}

#[tokio::test]
async fn words_in_strings_comments_and_names_are_not_statements() {
    let project = project().await;
    for statement in [
        "update t set n = 1 where 'GRANT' = 'GRANT'",
        "select 'set role postgres'",
        "select $$ drop database run402 $$",
        "select $tag$ copy t to program 'id' $tag$",
        "-- grant everything\nselect 1",
        "/* create /* nested */ extension */ select 1",
        "select 1 as \"grant select on t to anon\"",
        "create table roles(role text); update roles set role = 'x'; drop table roles",
        "select e'it\\'s; set role postgres'",
        "create function f() returns int language sql set search_path = public as 'select 1'",
        "alter function f() set search_path = public, extensions",
        "comment on table t is 'grant'",
    ] {
        project.sql(statement).await.is(200);
    }
}

#[tokio::test]
async fn what_people_need_is_allowed() {
    let project = project().await;
    for statement in [
        "alter table t enable row level security; alter table t force row level security",
        "create policy p on t for select to anon, authenticated using (true)",
        "create view v as select * from t",
        "create materialized view mv as select * from t; refresh materialized view mv",
        "create function g() returns trigger language plpgsql as $$ begin return new; end $$",
        "create trigger tr before insert on t for each row execute function g()",
        "create domain positive as int check (value > 0); create type pair as (a int, b int)",
        "create index on t(n); comment on column t.n is 'a number'",
        "explain analyze select * from t",
        "listen here; notify here, 'x'; unlisten *",
        "create sequence s; select nextval('s')",
        "lock table t in exclusive mode",
        "truncate t; insert into t values (1)",
        "set local statement_timeout = '5s'; set timezone = 'UTC'",
        "declare c cursor for select * from t; fetch all from c; close c",
    ] {
        project.sql(statement).await.is(200);
    }
}

#[tokio::test]
async fn no_function_reads_files_or_runs_programs() {
    let project = project().await;
    for expression in [
        "pg_read_file('/etc/passwd')",
        "pg_read_file('postgresql.conf')",
        "pg_read_binary_file('/etc/passwd')",
        "pg_ls_dir('/')",
        "pg_ls_dir('.')",
        "pg_stat_file('/etc/passwd')",
        "pg_ls_logdir()",
        "pg_ls_waldir()",
        "lo_import('/etc/passwd')",
        "lo_export(1, '/tmp/stolen')",
        "pg_reload_conf()",
        "pg_rotate_logfile()",
        "pg_switch_wal()",
        "pg_create_restore_point('x')",
        "pg_backup_start('x')",
        "pg_promote()",
        "pg_create_physical_replication_slot('x')",
        "pg_create_logical_replication_slot('x', 'test_decoding')",
        "dblink('dbname=run402', 'select 1')",
        "query_to_xml('select * from pg_authid', true, true, '')",
        "pg_file_write('x', 'y', false)",
        "current_setting('data_directory')",
        "current_setting('hba_file')",
        "set_config('session_authorization', 'postgres', false)",
        "set_config('role', 'postgres', false)",
    ] {
        let answer = project.sql(&format!("select {expression}")).await;
        assert!(answer.status == 400 || answer.status == 403, "{expression}: {answer}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains("root:"), "{expression} read a file: {text}");
    }
    assert_untouched(&project, "functions").await;
}

#[tokio::test]
async fn secrets_of_the_cluster_stay_hidden() {
    let project = project().await;
    for statement in [
        "select rolpassword from pg_authid",
        "select * from pg_shadow",
        "select * from pg_hba_file_rules",
        "select * from pg_file_settings",
        "select * from pg_config",
        "select subconninfo from pg_subscription",
        "select * from pg_user_mapping",
        "select * from pg_statistic",
        "select * from pg_largeobject",
    ] {
        let body = project.sql(statement).await.refused(400, "SQL_ERROR");
        assert_eq!(body["details"]["sqlstate"], "42501", "{statement}: {body}");
    }
    // The box may hide the activity view altogether; otherwise it shows no statement of others.
    let answer = project.sql("select query from pg_stat_activity where usename is distinct from current_user").await;
    if answer.status == 400 {
        assert_eq!(answer.refused(400, "SQL_ERROR")["details"]["sqlstate"], "42501");
    } else {
        for row in answer.is(200)["rows"].as_array().expect("rows") {
            let query = row["query"].as_str().unwrap_or_default();
            assert!(query.is_empty() || query.contains("insufficient privilege"), "somebody's statement: {query}");
        }
    }
}

#[tokio::test]
async fn sessions_of_others_cannot_be_killed() {
    let appliance = Appliance::shared();
    let (project, neighbour) = (project().await, project().await);
    neighbour.sql("select 1").await.is(200);
    let owner = format!("r402_{}_owner", project.slot);
    let victims = control::control(appliance)
        .await
        .query("select pid, coalesce(usename::text, backend_type) from pg_stat_activity where usename is distinct from $1::text::name", &[&owner])
        .await
        .expect("the control database answers");
    assert!(victims.len() >= 5, "there are other sessions and workers");
    for victim in victims {
        let (pid, name): (i32, String) = (victim.get(0), victim.get(1));
        for function in ["pg_terminate_backend", "pg_cancel_backend", "pg_log_backend_memory_contexts"] {
            let answer = project.sql(&format!("select {function}({pid}) as reached")).await;
            // Refused, or the session had ended by itself.
            let missed = answer.status == 400 || answer.json()["rows"][0]["reached"] == false;
            assert!(missed, "{function} reached a session of {name}: {answer}");
        }
    }
    appliance.api().get("/health").send().await.is(200);
}

#[tokio::test]
async fn functions_with_definers_rights_of_the_platform_demand_its_secret() {
    let project = project().await;
    let functions = project
        .sql(
            "select p.oid::regprocedure::text as f from pg_proc p join pg_namespace n on n.oid = p.pronamespace
              where p.prosecdef and pg_get_userbyid(p.proowner) <> current_user
                and has_schema_privilege(n.oid, 'usage') and has_function_privilege(p.oid, 'execute')",
        )
        .await
        .is(200);
    // Whatever they are, the owner cannot use them to grant.
    for row in functions["rows"].as_array().expect("rows") {
        let signature = row["f"].as_str().expect("a name");
        let (name, rest) = signature.split_once('(').expect("a signature");
        let count = if rest.starts_with(')') { 0 } else { rest.matches(',').count() + 1 };
        let arguments = vec!["null"; count].join(", ");
        project.sql(&format!("do $$ begin perform {name}({arguments}); end $$")).await;
        assert_untouched(&project, signature).await;
    }
}

#[tokio::test]
async fn injections_through_identifiers_stay_identifiers() {
    let project = project().await;
    project
        .sql(
            "create table \"x\"\"; drop table t; --\"(\"a'; drop table t; --\" int);
             create table \"select\"(\"from\" int);
             create table \"Ünïcödé 字\"(id int);
             create policy \"p'; drop table t; --\" on \"select\" using (true)",
        )
        .await
        .is(200);
    let names: Vec<Value> = project.schema().await["tables"]
        .as_array()
        .expect("tables")
        .iter()
        .map(|table| table["name"].clone())
        .collect();
    assert!(names.contains(&json!("x\"; drop table t; --")) && names.contains(&json!("t")), "{names:?}");
    assert_untouched(&project, "hostile names").await;
}

#[tokio::test]
async fn resource_bombs_end_in_an_answer() {
    let project = project().await;
    for statement in [
        "select repeat('x', 2000000000)",
        "select array_fill(0, array[100000000, 10])",
        "with recursive r as (select 1 as n union all select n from r) select count(*) from (select * from r limit 3000000) x",
        "select '(((((((((((((((((((' || repeat('(', 100000)",
        &format!("select {}1{}", "(".repeat(20_000), ")".repeat(20_000)),
        &format!("select {}", vec!["1"; 5_000].join(", ")),
        "select regexp_replace(repeat('a', 30), '(a*)*b', '')",
        "select set_config('work_mem', '100GB', false)",
    ] {
        let started = Instant::now();
        let answer = project.sql(statement).await;
        assert!(started.elapsed() < Duration::from_secs(80), "{:?}", started.elapsed());
        let start: String = statement.chars().take(60).collect();
        assert!(answer.status.as_u16() < 600 && answer.status != 500, "{start}: {}", answer.status);
        Appliance::shared().api().get("/health").send().await.is(200);
    }
    assert_untouched(&project, "resource bombs").await;
}

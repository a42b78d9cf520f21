//! Raw SQL and schema introspection (contract 02 §4-5; checks 3-6, 26).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Appliance, Project};

async fn project() -> Project {
    Appliance::shared().api().provision().await
}

#[tokio::test]
async fn ddl_has_no_rows_and_no_count() {
    let project = project().await;
    let answer = project.sql("create table t(id serial primary key, n int, owner uuid)").await;
    let body = answer.is(200);
    assert_eq!(body, json!({"status": "ok", "schema": project.slot, "rows": [], "row_count": null, "fields": []}));
}

#[tokio::test]
async fn rows_counts_and_fields_follow_the_statement() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    for (sql, rows, count) in [
        ("insert into t values (1), (2)", json!([]), json!(2)),
        ("insert into t values (3) returning n", json!([{"n": 3}]), json!(1)),
        ("select n from t order by n", json!([{"n": 1}, {"n": 2}, {"n": 3}]), json!(3)),
        ("update t set n = n + 1", json!([]), json!(3)),
        ("delete from t where n > 100", json!([]), json!(0)),
        ("values (1), (2)", json!([{"column1": 1}, {"column1": 2}]), json!(2)),
        ("do $$ begin end $$", json!([]), json!(null)),
        ("-- only a comment\nselect 1 where false", json!([]), json!(0)),
        ("insert into t values (9); select count(*)::int as c from t", json!([{"c": 4}]), json!(2)),
        ("select 1 as a, 2 as a", json!([{"a": 2}]), json!(1)),
    ] {
        let body = project.sql(sql).await.is(200);
        assert_eq!(body["status"], "ok", "{sql}");
        assert_eq!(body["rows"], rows, "{sql}");
        assert_eq!(body["row_count"], count, "{sql}");
    }
    let body = project.sql("select 1 as a, 'x'::text as a").await.is(200);
    assert_eq!(body["fields"], json!([{"name": "a", "type": "int4"}, {"name": "a", "type": "text"}]));
    let body = project.sql("show fsync").await.is(200);
    assert_eq!(body["rows"], json!([{"fsync": "on"}]));
    let body = project.sql("explain select 1").await.is(200);
    assert!(body["rows"][0]["QUERY PLAN"].is_string(), "{body}");
}

#[tokio::test]
async fn parameters_are_bound_and_typed_by_the_server() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    let body = project
        .sql_with("select $1::int8 as a, $2::jsonb as b, count(*)::int as c from t", json!([7, {"k": 1}]))
        .await
        .is(200);
    assert_eq!(body["rows"], json!([{"a": "7", "b": {"k": 1}, "c": 0}]));
    assert_eq!(body["row_count"], 1);
    let types: Vec<&Value> = body["fields"].as_array().expect("fields").iter().map(|field| &field["type"]).collect();
    assert_eq!(types, ["int8", "jsonb", "int4"]);

    for (sql, param, value) in [
        ("select $1::text as v", json!("Robert'); drop table t; --"), json!("Robert'); drop table t; --")),
        ("select $1::text as v", json!(null), json!(null)),
        ("select $1::bool as v", json!(true), json!(true)),
        ("select $1::int4 as v", json!(-5), json!(-5)),
        ("select $1::int4 as v", json!("12"), json!(12)),
        ("select $1::numeric as v", json!(1.5), json!("1.5")),
        ("select $1::text[] as v", json!(["a,b", "c\"d", null]), json!(["a,b", "c\"d", null])),
        ("select $1::int4[] as v", json!([1, [2]]), Value::Null),
        (
            "select $1::uuid as v",
            json!("00000000-0000-0000-0000-000000000001"),
            json!("00000000-0000-0000-0000-000000000001"),
        ),
        ("select $1::timestamptz as v", json!("2026-01-02T03:04:05Z"), json!("2026-01-02T03:04:05.000Z")),
    ] {
        let answer = project.sql_with(sql, json!([param])).await;
        if value.is_null() && !param.is_null() {
            assert_eq!(answer.status, 400, "a ragged array has no text form: {answer}");
            continue;
        }
        assert_eq!(answer.is(200)["rows"][0]["v"], value, "{sql} {param}");
    }
    assert_eq!(project.value("select count(*)::int from t").await, 0);
}

#[tokio::test]
async fn values_travel_as_the_node_driver_would_print_them() {
    let project = project().await;
    for (expression, kind, value) in [
        ("1::int2", "int2", json!(1)),
        ("2147483647::int4", "int4", json!(2_147_483_647)),
        ("9007199254740993::int8", "int8", json!("9007199254740993")),
        ("1.10::numeric", "numeric", json!("1.10")),
        ("1.5::float4", "float4", json!(1.5)),
        ("0.1::float8", "float8", json!(0.1)),
        ("'NaN'::float8", "float8", json!(null)),
        ("'-Infinity'::float8", "float8", json!(null)),
        ("true", "bool", json!(true)),
        ("'{\"a\": [1]}'::json", "json", json!({"a": [1]})),
        ("'{\"a\": null}'::jsonb", "jsonb", json!({"a": null})),
        ("array['a', null]::text[]", "_text", json!(["a", null])),
        ("array[[1,2],[3,4]]::int4[]", "_int4", json!([[1, 2], [3, 4]])),
        ("array[1::int8]", "_int8", json!(["1"])),
        ("timestamptz '2026-01-02 03:04:05.678+02'", "timestamptz", json!("2026-01-02T01:04:05.678Z")),
        ("timestamp '2026-01-02 03:04:05'", "timestamp", json!("2026-01-02T03:04:05.000Z")),
        ("date '2026-01-02'", "date", json!("2026-01-02T00:00:00.000Z")),
        ("'\\xdead'::bytea", "bytea", json!({"type": "Buffer", "data": [222, 173]})),
        ("'x'::varchar", "varchar", json!("x")),
        ("interval '1 day'", "interval", json!("1 day")),
        ("'10.0.0.1'::inet", "inet", json!("10.0.0.1")),
        ("null::text", "text", json!(null)),
    ] {
        let body = project.sql(&format!("select {expression} as v")).await.is(200);
        assert_eq!(body["rows"][0]["v"], value, "{expression}");
        assert_eq!(body["fields"][0]["type"], kind, "{expression}");
    }
}

#[tokio::test]
async fn one_statement_only_with_parameters() {
    let project = project().await;
    let body = project.sql_with("select $1::int; select 2", json!([1])).await.refused(400, "SQL_ERROR");
    assert_eq!(body["details"]["sqlstate"], "42601");
    let body = project.sql_with("select $1::int", json!([1, 2])).await.refused(400, "SQL_ERROR");
    assert_eq!(body["details"]["sqlstate"], "08P01");
}

#[tokio::test]
async fn an_error_undoes_the_whole_call() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    let body = project.sql("insert into t(n) values(1); select boom").await.refused(400, "SQL_ERROR");
    assert_eq!(body["category"], "database");
    assert_eq!(body["mutation_state"], "rolled_back");
    assert_eq!(body["error"], "sql_error");
    assert!(body["message"].as_str().is_some_and(|text| text.starts_with("SQL error: ")), "{body}");
    assert_eq!(body["details"]["sqlstate"], "42703");
    assert_eq!(body["details"]["position"], 36, "counted from 1 in the submitted text: {body}");
    assert_eq!(project.value("select count(*)::int from t").await, 0);
}

#[tokio::test]
async fn an_error_names_what_the_database_knows_about_it() {
    let project = project().await;
    project.sql("create table t(id int primary key)").await.is(200);
    let body = project.sql("insert into t values (1), (1)").await.refused(400, "SQL_ERROR");
    let details = &body["details"];
    assert_eq!(details["sqlstate"], "23505");
    assert_eq!(details["constraint"], "t_pkey");
    assert_eq!(details["table"], "t");
    assert_eq!(details["severity"], "ERROR");
    assert!(details["detail"].as_str().is_some_and(|text| text.contains("(id)=(1)")), "{body}");
    for key in ["hint", "context", "column", "data_type"] {
        assert!(details.get(key).is_some(), "{key} in {body}");
    }
    // A position counts characters, not bytes.
    let body = project.sql("select 'äöü', boom").await.refused(400, "SQL_ERROR");
    assert_eq!(body["details"]["position"], 15);
}

#[tokio::test]
async fn what_is_not_sql_is_refused_before_it_runs() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    for text in ["", "   \n", "select 1\u{0}"] {
        project.sql(text).await.refused(400, "VALIDATION_ERROR");
    }
    let send = |body: Value| api.post(&project.path("sql")).bearer(&project.service_key).json(&body).send();
    for body in [
        json!({}),
        json!({"sql": ""}),
        json!({"sql": 7}),
        json!({"sql": "select 1", "params": "x"}),
        json!({"sql": "select 1", "params": {"a": 1}}),
        json!({"sql": "select \u{0}"}),
    ] {
        let answer = send(body).await;
        answer.refused(400, "VALIDATION_ERROR");
    }
    assert_eq!(send(json!({"query": "select 1 as a"})).await.is(200)["rows"], json!([{"a": 1}]));
    let not_utf8 = api.post(&project.path("sql")).bearer(&project.service_key).body("text/plain", vec![0xff, 0xfe]);
    let answer = not_utf8.send().await;
    assert_eq!(answer.status, 400, "{answer}");
    let untyped =
        api.post(&project.path("sql")).bearer(&project.service_key).body("text/csv", b"select 1 as a".to_vec());
    assert_eq!(untyped.send().await.is(200)["rows"], json!([{"a": 1}]));
}

#[tokio::test]
async fn a_statement_of_eleven_megabytes_is_413() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let text = format!("select '{}'", "x".repeat(11 * 1024 * 1024));
    // The box may stop reading and answer early; then the client sees the answer or a closed connection.
    if let Ok(answer) = project.try_sql(&text).await {
        answer.refused(413, "PAYLOAD_TOO_LARGE");
    }
    project.sql("select 1").await.is(200);
}

#[tokio::test]
async fn a_call_is_one_transaction_whatever_its_text_says() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    // Migration files come wrapped: the outer pair is dropped.
    project.sql("BEGIN;\ninsert into t values (1);\nCOMMIT;").await.is(200);
    assert_eq!(project.value("select count(*)::int from t").await, 1);
    for text in [
        "insert into t values (2); commit; select boom",
        "insert into t values (2); rollback",
        "begin; insert into t values (2)",
        "commit",
        "insert into t values (2); prepare transaction 'x'",
    ] {
        let answer = project.sql(text).await;
        assert_eq!(answer.status, 400, "{answer}");
    }
    assert_eq!(project.value("select count(*)::int from t").await, 1);
    project.sql("savepoint a; insert into t values (3); rollback to savepoint a; release savepoint a").await.is(200);
    assert_eq!(project.value("select count(*)::int from t").await, 1);
}

#[tokio::test]
async fn what_cannot_run_in_a_transaction_runs_alone() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    project.sql("vacuum t").await.is(200);
    project.sql("create index concurrently t_n on t(n)").await.is(200);
    let body = project.sql("select 1; vacuum t").await.refused(400, "SQL_ERROR");
    assert_eq!(body["details"]["sqlstate"], "25001");
}

#[tokio::test]
async fn claims_and_search_path_are_those_of_the_service_role() {
    let project = project().await;
    let body = project
        .sql("select auth.role() as role, auth.uid() as uid, auth.project_id() as project, run402.current_user_id() as user")
        .await
        .is(200);
    assert_eq!(body["rows"], json!([{"role": "service_role", "uid": null, "project": project.id, "user": null}]));
    assert_eq!(project.value("select current_user::text").await, format!("r402_{}_owner", project.slot));
    assert_eq!(project.value("select current_database()::text").await, format!("r402_{}", project.slot));
}

#[tokio::test]
async fn nothing_of_one_call_is_left_for_the_next() {
    let project = project().await;
    project.sql("set statement_timeout = '7s'; create temp table leftover(n int); select set_config('app.x', '1', false); listen gossip; prepare p as select 1").await.is(200);
    for _ in 0..6 {
        assert_ne!(project.value("show statement_timeout").await, "7s");
        assert_eq!(project.value("select to_regclass('leftover')::text").await, Value::Null);
        let leaked = project.value("select coalesce(current_setting('app.x', true), '')").await;
        assert_eq!(leaked, "");
    }
}

#[tokio::test]
async fn bundled_extensions_are_there() {
    let project = project().await;
    project
        .sql("create table docs(id uuid primary key default gen_random_uuid(), slug citext unique, body text)")
        .await
        .is(200);
    assert_eq!(project.value("select encode(digest('x', 'sha256'), 'hex') = encode(sha256('x'), 'hex')").await, true);
    assert_eq!(project.value("select similarity('word', 'words') > 0.5").await, true);
    assert_eq!(project.value("select ('[1,2]'::vector <-> '[1,3]'::vector)::float8").await, 1.0);
    assert!(project.value("select uuid_generate_v4()").await.is_string());
    project.sql("create extension if not exists pgcrypto").await.is(200);
}

#[tokio::test]
async fn text_operators_make_owner_columns_of_any_type_comparable() {
    let project = project().await;
    project
        .sql(
            "create table notes(owner_uuid uuid, owner_text text);
             alter table notes enable row level security;
             create policy a on notes using (owner_uuid = auth.uid());
             create policy b on notes using (owner_text = auth.uid())",
        )
        .await
        .is(200);
}

#[tokio::test]
async fn an_endless_query_is_stopped_and_the_next_one_is_served() {
    let appliance = Appliance::plan().set("sql.timeout_seconds", "2").boot();
    let project = appliance.api().provision().await;
    for text in [
        "select pg_sleep(600)",
        "select count(*) from generate_series(1, 100000000000)",
        "do $$ begin loop end loop; end $$",
        // Owning the session, it may lift its own timeout; the box has a clock too.
        "set statement_timeout = 0; select pg_sleep(600)",
        "do $$ begin loop begin perform pg_sleep(600); exception when query_canceled then null; end; end loop; end $$",
    ] {
        let started = Instant::now();
        let answer = project.sql(text).await;
        assert!(started.elapsed() < Duration::from_secs(20), "{text} took {:?}", started.elapsed());
        let body = answer.refused(408, "SQL_TIMEOUT");
        assert_eq!(body["retryable"], false);
        project.sql("select 1").await.is(200);
    }
}

/// Peak memory of the gateway since it started, in MiB.
fn peak_memory(appliance: &Appliance) -> u64 {
    let text = crate::support::process::status_field(appliance.pid(), "VmHWM").expect("the box is alive");
    let kibibytes: u64 = text.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number");
    kibibytes / 1024
}

#[tokio::test]
async fn a_result_of_gigabytes_is_refused_in_bounded_memory() {
    let appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    assert_eq!(project.sql("select n from generate_series(1, 10000) n").await.is(200)["row_count"], 10_000);
    for (text, code) in [
        ("select n from generate_series(1, 10001) n", "RESULT_TOO_LARGE"),
        ("select repeat('x', 1024 * 1024) from generate_series(1, 4096)", "RESULT_TOO_LARGE"),
        ("select n, repeat('y', 1000) from generate_series(1, 10000000) n", "RESULT_TOO_LARGE"),
        ("select repeat('z', 50000000)", "RESULT_TOO_LARGE"),
        // Beyond the memory of a session: the server itself refuses.
        ("select repeat('z', 1000000000)", "SQL_ERROR"),
        ("select repeat('z', 1000000000), repeat('z', 1000000000) from generate_series(1, 3)", "SQL_ERROR"),
    ] {
        let before = peak_memory(&appliance);
        let body = project.sql(text).await.refused(400, code);
        assert_eq!(body["mutation_state"], "rolled_back", "{text}");
        // The kernel counts in batches: a reading may be below the one before.
        let grown = peak_memory(&appliance).saturating_sub(before);
        assert!(grown < 200, "{text} took {grown} MiB of the gateway");
    }
    let body = project.sql_with("select repeat('z', $1)", json!([1_000_000_000])).await.refused(400, "SQL_ERROR");
    assert_eq!(body["details"]["sqlstate"], "53200");
}

#[tokio::test]
async fn the_effects_of_a_too_large_result_are_undone() {
    let project = project().await;
    project.sql("create table t(n int)").await.is(200);
    let text = "insert into t select generate_series(1, 20000) returning n";
    project.sql(text).await.refused(400, "RESULT_TOO_LARGE");
    assert_eq!(project.value("select count(*)::int from t").await, 0);
}

#[tokio::test]
async fn a_deadlock_is_a_conflict_that_may_be_retried() {
    let project = project().await;
    project.sql("create table t(id int primary key, n int); insert into t values (1, 0), (2, 0)").await.is(200);
    let cross = |first: i32, second: i32| {
        let project = project.clone();
        async move {
            project
                .sql(&format!(
                    "update t set n = 1 where id = {first}; select pg_sleep(0.7); update t set n = 1 where id = {second}"
                ))
                .await
        }
    };
    let (one, other) = tokio::join!(cross(1, 2), cross(2, 1));
    let loser = if one.status == 200 { other } else { one };
    let body = loser.refused(409, "SQL_CONFLICT");
    assert_eq!(body["retryable"], true);
    assert_eq!(body["details"]["sqlstate"], "40P01");
}

#[tokio::test]
async fn notices_and_warnings_do_no_harm() {
    let project = project().await;
    project.sql("do $$ begin for i in 1..20000 loop raise notice 'n %', i; end loop; end $$").await.is(200);
    project.sql("drop table if exists nothing_here").await.is(200);
    project.sql("notify pgrst, 'reload schema'").await.is(200);
}

#[tokio::test]
async fn the_schema_of_a_fresh_project_is_empty() {
    let project = project().await;
    assert_eq!(project.schema().await, json!({"schema": project.slot, "tables": []}));
}

#[tokio::test]
async fn the_schema_lists_tables_as_their_author_wrote_them() {
    let project = project().await;
    project
        .sql(
            "create type mood as enum ('good', 'bad');
             create table b(id serial primary key, n int not null default 7, owner uuid, tags text[], m mood,
                            label varchar(40), twice int generated always as (n * 2) stored, check (n > 0));
             create table a(id bigint generated by default as identity primary key, b_id int references b(id), unique (b_id));
             alter table b enable row level security;
             create policy mine on b for select using (owner = auth.uid());
             create view v as select 1 as one",
        )
        .await
        .is(200);
    let body = project.schema().await;
    let names: Vec<&Value> = body["tables"].as_array().expect("tables").iter().map(|table| &table["name"]).collect();
    assert_eq!(names, ["a", "b"], "sorted, without the view");
    let (a, b) = (&body["tables"][0], &body["tables"][1]);
    let column = |name: &str| {
        b["columns"].as_array().expect("columns").iter().find(|column| column["name"] == name).expect("the column")
    };
    assert_eq!(column("n"), &json!({"name": "n", "type": "integer", "nullable": false, "default_value": "7"}));
    assert_eq!(column("owner")["type"], "uuid");
    assert_eq!(column("tags")["type"], "text[]");
    assert_eq!(column("m")["type"], "mood");
    assert_eq!(column("label")["type"], "character varying(40)");
    assert_eq!(column("label")["nullable"], true);
    assert!(column("id")["default_value"].as_str().is_some_and(|text| text.contains("nextval")), "{b}");
    assert_eq!(a["columns"][0]["default_value"], "generated by default as identity");
    let kinds = |table: &Value| -> Vec<String> {
        let constraints = table["constraints"].as_array().expect("constraints");
        constraints.iter().map(|each| each["type"].as_str().expect("a type").to_owned()).collect()
    };
    assert!(kinds(b).contains(&"PRIMARY KEY".to_owned()) && kinds(b).contains(&"CHECK".to_owned()), "{b}");
    assert!(kinds(a).contains(&"FOREIGN KEY".to_owned()) && kinds(a).contains(&"UNIQUE".to_owned()), "{a}");
    assert_eq!(b["rls_enabled"], true);
    assert_eq!(a["rls_enabled"], false);
    assert_eq!(b["policies"][0]["name"], "mine");
    assert_eq!(b["policies"][0]["command"], "SELECT");
    assert_eq!(b["policies"][0]["using_expression"], "(owner = auth.uid())");
    assert_eq!(b["policies"][0]["check_expression"], Value::Null);
    assert!(b["row_estimate"].is_null() || b["row_estimate"].is_i64(), "{b}");
}

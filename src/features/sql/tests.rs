//! Calls against a real server. Each test boots one, with a project's database as contract 02 §3.2 describes it as
//! far as raw SQL depends on it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    common::ProjectId,
    engines::postgres::{
        Cluster, Connection, Login,
        test_support::{TestBox, as_ordinary_user},
    },
};

use super::{
    error::{Circumstances, Failure},
    execute::{Call, Outcome},
    introspect::introspect,
    script::read,
    store,
    supervise::{Interruption, supervise},
    types::SqlSettings,
};

const ROLES: &str = "
    create role r402_p0001_owner login bypassrls;
    create role anon; create role authenticated; create role service_role bypassrls;
    create database r402_p0001;
";

const BOOTSTRAP: &str = "
    revoke all on database r402_p0001 from public;
    grant connect, temp on database r402_p0001 to r402_p0001_owner;
    revoke create on schema public from public;
    grant usage, create on schema public to r402_p0001_owner;
    create schema extensions; grant usage on schema extensions to public;
    create extension citext schema extensions;
    create schema auth; grant usage on schema auth to public;
    create function auth.uid() returns uuid language sql stable as
        $$ select case when current_setting('request.jwt.claims', true)::json->>'sub' ~ '^[0-9a-f-]{36}$'
           then (current_setting('request.jwt.claims', true)::json->>'sub')::uuid end $$;
    create schema internal; create table internal.secret (x int);
    create function internal.refuse_grants() returns event_trigger language plpgsql as
        $$ begin
            if not (select rolsuper from pg_roles where rolname = current_user) then
                raise exception 'grants are automatic' using errcode = '42501';
            end if;
        end $$;
    create event trigger refuse_grants on ddl_command_end
        when tag in ('GRANT', 'REVOKE', 'ALTER DEFAULT PRIVILEGES') execute function internal.refuse_grants();
";

struct Fixture {
    cluster: Cluster,
    project: ProjectId,
    settings: SqlSettings,
    _home: TestBox,
}

impl Fixture {
    async fn new() -> Self {
        let home = TestBox::new();
        let cluster = home.start().await;
        let maintenance = cluster.database(Login::maintenance()).get().await.unwrap();
        for statement in ROLES.split_inclusive(';').filter(|statement| !statement.trim().is_empty()) {
            maintenance.batch_execute(statement).await.unwrap();
        }
        let fixture = Self {
            cluster,
            project: "prj_1_test".parse().unwrap(),
            settings: SqlSettings { timeout_seconds: 20, ..SqlSettings::default() },
            _home: home,
        };
        fixture.platform().await.batch_execute(BOOTSTRAP).await.unwrap();
        fixture
    }

    async fn platform(&self) -> Connection {
        self.cluster.connect(&Login::new("r402_p0001", "postgres")).await.unwrap()
    }

    async fn owner(&self) -> Connection {
        self.cluster.connect(&Login::new("r402_p0001", "r402_p0001_owner")).await.unwrap()
    }

    async fn run_on(&self, owner: &Connection, text: &str, params: &[Value]) -> Result<Outcome, Value> {
        let stop = CancellationToken::new();
        let script = match read(text, !params.is_empty()).script {
            Ok(script) => script,
            Err(refusal) => return Err(refusal.into_api_error(text).body("trc_1", false)),
        };
        let call =
            Call { text, script: &script, params, project: &self.project, settings: &self.settings, stop: &stop };
        call.run(owner).await.map_err(|failure| {
            let circumstances = Circumstances { timed_out: None, outside_transaction: false };
            failure.into_api_error(text, circumstances).body("trc_1", false)
        })
    }

    async fn run(&self, text: &str, params: &[Value]) -> Result<Outcome, Value> {
        self.run_on(&self.owner().await, text, params).await
    }

    /// Rows, row count and field types of a call that must succeed.
    async fn answer(&self, text: &str, params: &[Value]) -> (Value, Option<u64>, Vec<String>) {
        let outcome = self.run(text, params).await.unwrap_or_else(|error| panic!("{text}: {error}"));
        let kinds = outcome.fields.into_iter().map(|field| field.kind).collect();
        (serde_json::from_str(&outcome.rows).unwrap(), outcome.row_count, kinds)
    }

    async fn rows(&self, text: &str) -> Value {
        self.answer(text, &[]).await.0
    }

    /// SQLSTATE and position of a call that must fail.
    async fn refusal(&self, text: &str, params: &[Value]) -> (String, Value) {
        let body = self.run(text, params).await.expect_err(text);
        (body["details"]["sqlstate"].as_str().unwrap_or_default().into(), body["details"]["position"].clone())
    }
}

#[test]
fn statements_answer_rows_counts_and_fields() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let none: Vec<String> = Vec::new();
        let create = "create table t(id serial primary key, n int, owner uuid)";
        assert_eq!(box_.answer(create, &[]).await, (json!([]), None, none.clone()));
        let cases = [
            ("insert into t(n) values (1), (2)", json!([]), Some(2), vec![]),
            ("update t set n = 3 where n = 2 returning n", json!([{"n": 3}]), Some(1), vec!["int4"]),
            ("with x as (select 1) delete from t where n = 3", json!([]), Some(1), vec![]),
            ("values (1, 'a')", json!([{"column1": 1, "column2": "a"}]), Some(1), vec!["int4", "text"]),
            ("show timezone", json!([{"TimeZone": "UTC"}]), Some(1), vec!["text"]),
            ("select 1 as a, 2 as a", json!([{"a": 2}]), Some(1), vec!["int4", "int4"]),
            ("select from generate_series(1, 2)", json!([{}, {}]), Some(2), vec![]),
            ("select 1 where false", json!([]), Some(0), vec!["int4"]),
            ("do $$ begin end $$", json!([]), None, vec![]),
            ("set work_mem = '1MB'", json!([]), None, vec![]),
            ("-- nothing", json!([]), None, vec![]),
            ("create table c as select 1 as a", json!([]), None, vec![]),
            ("select 5 into d", json!([]), None, vec![]),
            ("insert into t(n) values (5); insert into t(n) values (6); set x.y = 'z'", json!([]), Some(2), vec![]),
            ("insert into t(n) values (7); select count(*)::int as c from t", json!([{"c": 4}]), Some(2), vec!["int4"]),
            ("begin; select 1 as a; select 2 as b; commit", json!([{"b": 2}]), Some(2), vec!["int4"]),
            ("select t from t where n = 1", json!([{"t": "(1,1,)"}]), Some(1), vec!["t"]),
            (
                "create type mood as enum ('ok'); select array['ok']::mood[] as m",
                json!([{"m": ["ok"]}]),
                Some(1),
                vec!["_mood"],
            ),
            (
                "create domain d1 as int; select 1::d1 as x, array[1]::d1[] as y",
                json!([{"x": 1, "y": [1]}]),
                Some(1),
                vec!["int4", "_d1"],
            ),
            (
                "select relacl is null as n, relacl from pg_class where relname = 't'",
                json!([{"n": false, "relacl": null}]),
                Some(1),
                vec!["bool", "_aclitem"],
            ),
            (
                "create function f(out a int, out b text) language sql as $$ select 1, 'x' $$; select * from f()",
                json!([{"a": 1, "b": "x"}]),
                Some(1),
                vec!["int4", "text"],
            ),
            (
                "create procedure p(inout a int) language plpgsql as $$ begin a := a + 1; end $$; call p(1)",
                json!([{"a": 2}]),
                Some(1),
                vec!["int4"],
            ),
            ("prepare x as insert into t(n) values (9); execute x; deallocate x", json!([]), Some(1), vec![]),
            (
                "create function g() returns int begin atomic select 1; select 2; end; select g() as g",
                json!([{"g": 2}]),
                Some(1),
                vec!["int4"],
            ),
            (
                "create extension if not exists citext; select 'A'::citext as c",
                json!([{"c": "A"}]),
                Some(1),
                vec!["citext"],
            ),
        ];
        for (text, mut rows, count, kinds) in cases {
            let answer = box_.answer(text, &[]).await;
            if text.contains("relacl") {
                rows = answer.0.clone();
            }
            let kinds: Vec<String> = kinds.into_iter().map(String::from).collect();
            assert_eq!(answer, (rows, count, kinds), "{text}");
        }
        let explain = box_.answer("explain select 1", &[]).await;
        assert!(explain.1.unwrap() >= 1 && explain.2 == ["text"]);
    });
}

#[test]
fn values_arrive_as_the_node_driver_gives_them() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let text = "select 7::int8 i8, 1.50::numeric n, 1.5::float4 f4, 'NaN'::float8 nan, true b, null::int z,
            '{\"a\":[1]}'::jsonb j, '2024-01-31 10:00:00.123456+02'::timestamptz tz, '2024-01-31 10:00'::timestamp ts,
            '0044-03-15 BC'::date d, 'infinity'::timestamptz inf, '\\xdead'::bytea by, '{1,NULL}'::int[] ia,
            array['a\"b', 'NULL', null] ta, array['\\x01'::bytea] ba, interval '1 day 02:00' iv,
            '1 2'::int2vector v, array['{\"k\":1}'::jsonb] ja, 'x'::\"char\" ch, int4range(1,3) r, '00:30'::time t";
        let expected = json!([{
            "i8": "7", "n": "1.50", "f4": 1.5, "nan": null, "b": true, "z": null, "j": {"a": [1]},
            "tz": "2024-01-31T08:00:00.123Z", "ts": "2024-01-31T10:00:00.000Z", "d": "-000043-03-15T00:00:00.000Z",
            "inf": null, "by": {"type": "Buffer", "data": [222, 173]}, "ia": [1, null],
            "ta": ["a\"b", "NULL", null], "ba": [{"type": "Buffer", "data": [1]}], "iv": "1 day 02:00:00",
            "v": "1 2", "ja": [{"k": 1}], "ch": "x", "r": "[1,3)", "t": "00:30:00"
        }]);
        assert_eq!(box_.rows(text).await, expected);
        let zone = "set local timezone = 'Asia/Kolkata'; select '2024-01-01 00:00:00+00'::timestamptz as t";
        assert_eq!(box_.rows(zone).await, json!([{"t": "2024-01-01T00:00:00.000Z"}]));
        let style = "set datestyle = 'SQL, DMY'; select '2024-01-31'::date as d";
        assert_eq!(box_.rows(style).await, json!([{"d": "31/01/2024"}]));
    });
}

#[test]
fn parameters_take_their_types_from_the_statement() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows("create table t(id serial primary key, n int, j jsonb, tags text[])").await;
        let text = "select $1::int8 as a, $2::jsonb as b, count(*)::int as c from t";
        let answer = box_.answer(text, &[json!(7), json!({"k": 1})]).await;
        let kinds = ["int8", "jsonb", "int4"].map(String::from).to_vec();
        assert_eq!(answer, (json!([{"a": "7", "b": {"k": 1}, "c": 0}]), Some(1), kinds));

        let insert = "insert into t(n, j, tags) values ($1, $2, $3)";
        let params = [json!(1), json!([1, "a"]), json!(["x'y\\", null])];
        assert_eq!(box_.answer(insert, &params).await.1, Some(1));
        let hostile = json!("'); drop table t; --\\");
        let returning = "insert into t(n, tags) values ($1, array[$2]) returning n, tags";
        assert_eq!(
            box_.answer(returning, &[json!("2"), hostile.clone()]).await.0,
            json!([{"n": 2, "tags": [hostile]}])
        );
        let any = "select n from t where n = any($1) order by n";
        assert_eq!(box_.answer(any, &[json!([1, 2])]).await.0, json!([{"n": 1}, {"n": 2}]));
        assert_eq!(box_.answer("select $1 as a", &[json!(null)]).await.0, json!([{"a": null}]));
        assert_eq!(box_.answer("select $1 as a", &[json!(true)]).await.0, json!([{"a": "true"}]));
        let explain = box_.answer("explain (costs off) select n from t where n = $1", &[json!(1)]).await;
        assert_eq!(explain.2, ["text"]);
        let stored = json!([{"j": [1, "a"], "tags": ["x'y\\", null]}]);
        assert_eq!(box_.rows("select j, tags from t where n = 1").await, stored);

        let refusals = [
            ("select 1; select $1", vec![json!(1)], "42601", json!(11)),
            ("select $1::int", vec![json!(1), json!(2)], "08P01", json!(1)),
            ("select 1", vec![json!(1)], "08P01", json!(1)),
            ("create table x (a int default $1)", vec![json!(1)], "08P01", json!(1)),
            ("-- nothing", vec![json!(1)], "08P01", json!(null)),
            ("select $1", vec![], "42P02", json!(8)),
            ("select $1::int as é, boom", vec![json!(1)], "42703", json!(22)),
            ("select $1::int", vec![json!("x")], "22P02", json!(null)),
            ("update t set n = $1", vec![json!("x")], "22P02", json!(null)),
        ];
        for (text, params, sqlstate, position) in refusals {
            assert_eq!(box_.refusal(text, &params).await, (sqlstate.into(), position), "{text}");
        }
        let nul = box_.run("select $1", &[json!("a\0")]).await.unwrap_err();
        assert_eq!((&nul["code"], &nul["details"]["field"]), (&json!("VALIDATION_ERROR"), &json!("params")));
    });
}

#[test]
fn a_failure_rolls_everything_back_and_says_where() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows("create table t(n int primary key, m int not null default 0 check (m >= 0))").await;
        let text = "insert into t values (1);\n /* é */ select boom";
        let body = box_.run(text, &[]).await.unwrap_err();
        assert_eq!(body["error"], "sql_error");
        assert_eq!(body["code"], "SQL_ERROR");
        assert_eq!(body["category"], "database");
        assert_eq!(body["mutation_state"], "rolled_back");
        assert_eq!(body["message"], "SQL error: column \"boom\" does not exist");
        let details = &body["details"];
        assert_eq!(
            (&details["sqlstate"], &details["position"], &details["line"], &details["statement_index"]),
            (&json!("42703"), &json!(43), &json!(2), &json!(1))
        );
        assert_eq!(box_.rows("select count(*)::int c from t").await, json!([{"c": 0}]));

        let body = box_.run("insert into t(n, m) values (1, -1)", &[]).await.unwrap_err();
        let details = &body["details"];
        assert_eq!((&details["sqlstate"], &details["table"]), (&json!("23514"), &json!("t")));
        assert_eq!(details["constraint"], "t_m_check");
        assert_eq!(details["schema"], "public");
        assert!(details["detail"].is_string());

        let deferred = "create table u(n int references t deferrable initially deferred); insert into u values (9)";
        let body = box_.run(deferred, &[]).await.unwrap_err();
        assert_eq!(body["details"]["sqlstate"], "23503");
        assert_eq!(body["details"]["statement_index"], Value::Null);
        assert_eq!(box_.refusal("select * from u", &[]).await.0, "42P01");

        for (text, sqlstate) in [
            ("selec 1", "42601"),
            ("select 'a", "42601"),
            ("create procedure c() language plpgsql as $$ begin commit; end $$; call c()", "2D000"),
            ("do $$ begin commit; end $$", "2D000"),
            ("set statement_timeout = '20ms'; select pg_sleep(5)", "57014"),
            ("create function v() returns void language plpgsql as $$ begin perform 1/0; end $$; select v()", "22012"),
        ] {
            assert_eq!(box_.refusal(text, &[]).await.0, sqlstate, "{text}");
        }
        let body = box_.run("do $$ begin raise exception 'x' using errcode = '40001'; end $$", &[]).await.unwrap_err();
        assert_eq!((&body["code"], &body["retryable"]), (&json!("SQL_CONFLICT"), &json!(true)));
    });
}

#[test]
fn the_owner_role_refuses_what_the_list_does_not_see() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows("create table t(n int)").await;
        for text in ["grant select on t to anon", "create extension dblink", "set role service_role", "create schema x"]
        {
            let body = box_.run(text, &[]).await.unwrap_err();
            assert_eq!(body["code"], "FORBIDDEN", "{text}");
            assert!(body["message"].as_str().unwrap().starts_with("Blocked SQL pattern"));
            let dynamic = format!("do $$ begin execute '{text}'; end $$");
            let (sqlstate, _) = box_.refusal(&dynamic, &[]).await;
            assert!(sqlstate == "42501" || text.contains("dblink"), "{dynamic}: {sqlstate}");
        }
        for (text, sqlstate) in [
            ("do $$ begin execute 'copy t to program ''id'''; end $$", "42501"),
            ("select pg_read_file('/etc/passwd')", "42501"),
            ("select lo_import('/etc/passwd')", "42501"),
            ("select dblink('x', 'y')", "42883"),
            ("select x from \"internal\" \"a\"", "42P01"),
            ("do $$ begin execute 'select * from internal.secret'; end $$", "42501"),
            ("alter table t owner to postgres", "42501"),
            ("select set_config('role', 'service_role', false)", "42501"),
        ] {
            assert_eq!(box_.refusal(text, &[]).await.0, sqlstate, "{text}");
        }
        assert_eq!(box_.rows("update t set n = 1 where 'GRANT' = 'GRANT'").await, json!([]));
        let who = "select current_user::text u, auth.uid() uid, current_setting('request.jwt.claims')::json->>'role' r";
        assert_eq!(box_.rows(who).await, json!([{"u": "r402_p0001_owner", "uid": null, "r": "service_role"}]));
    });
}

#[test]
fn results_over_a_limit_are_refused_and_rolled_back() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        (box_.settings.max_rows, box_.settings.max_result_bytes) = (10, 1000);
        box_.rows("create table t(n int)").await;
        let endless = "insert into t values (1) ; select generate_series(1, 1000000000)";
        for (text, key) in [
            (endless, "max_rows"),
            ("select repeat('x', 995) as v", "max_result_bytes"),
            ("select repeat('x', 100000000)", "max_result_bytes"),
        ] {
            let started = Instant::now();
            let body = box_.run(text, &[]).await.unwrap_err();
            assert_eq!(body["code"], "RESULT_TOO_LARGE", "{text}");
            assert!(body["details"][key].is_number());
            assert!(started.elapsed() < Duration::from_secs(5));
        }
        assert_eq!(box_.rows("select count(*)::int c from t").await, json!([{"c": 0}]));
        // Only the last result is the answer.
        assert_eq!(box_.rows("select * from generate_series(1, 1000); select 1 as a").await, json!([{"a": 1}]));
        assert_eq!(box_.answer("select * from generate_series(1, 10)", &[]).await.1, Some(10));
    });
}

#[test]
fn statements_outside_transactions_run_alone() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let owner = box_.owner().await;
        for text in [
            "create table t(n int)",
            "vacuum (analyze) t",
            "create index concurrently i on t (n);",
            "reindex index concurrently i",
            "drop index concurrently i",
        ] {
            let outcome = box_.run_on(&owner, text, &[]).await.unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((outcome.rows.as_str(), outcome.row_count), ("[]", None), "{text}");
            store::clean_session(&owner).await.unwrap();
        }
        assert_eq!(box_.refusal("select 1; vacuum t", &[]).await, ("25001".into(), json!(11)));
        let serializable = "begin isolation level serializable; show transaction_isolation; commit";
        assert_eq!(box_.rows(serializable).await, json!([{"transaction_isolation": "serializable"}]));
        let first = "set transaction isolation level repeatable read; show transaction_isolation";
        assert_eq!(box_.rows(first).await, json!([{"transaction_isolation": "repeatable read"}]));
    });
}

#[test]
fn a_cleaned_session_keeps_nothing_of_the_last_call() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let owner = box_.owner().await;
        let text = "set work_mem = '1MB'; select set_config('x.y', 'z', false); listen c; create temp table tt (n int);
            select pg_advisory_lock(7); create sequence s; select nextval('s');
            declare k cursor with hold for select 1";
        box_.run_on(&owner, text, &[]).await.unwrap();
        store::clean_session(&owner).await.unwrap();
        let left = "select (select count(*) from pg_locks where locktype = 'advisory')::int l,
            to_regclass('pg_temp.tt') is null t, (select count(*) from pg_cursors where is_holdable)::int c,
            (select count(*) from pg_listening_channels())::int n, current_setting('work_mem') <> '1MB' w,
            coalesce(current_setting('x.y', true), '') y, coalesce(current_setting('request.jwt.claims', true), '') j,
            (select count(*) from pg_prepared_statements where name = 'r402_stmt')::int p";
        let row = owner.query_one(&format!("select row_to_json(q) from ({left}) q"), &[]).await.unwrap();
        let expected = json!({"l": 0, "t": true, "c": 0, "n": 0, "w": true, "y": "", "j": "", "p": 0});
        assert_eq!(row.get::<_, Value>(0), expected);
        for _ in 0..2 {
            box_.run_on(&owner, "select $1::int as a", &[json!(1)]).await.unwrap();
            store::clean_session(&owner).await.unwrap();
        }
    });
}

#[test]
fn schema_changes_are_noticed() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let function = "create function make() returns void language plpgsql as $$ begin create table made(); end $$";
        for (text, changed) in [
            ("create table t(n int)", true),
            ("insert into t values (1)", false),
            ("select * from t", false),
            (function, true),
            ("select make()", true),
            ("do $$ begin drop table made; end $$", true),
            ("notify pgrst, 'reload schema'", true),
            ("set work_mem = '1MB'", false),
        ] {
            assert_eq!(box_.run(text, &[]).await.unwrap().schema_changed, changed, "{text}");
        }
    });
}

/// Supervises one call; what must still be there afterwards is checked by the test.
async fn supervised(
    box_: &Fixture,
    text: &str,
    abandoned: &CancellationToken,
) -> (Result<Outcome, Failure>, Option<Interruption>) {
    let owner = box_.owner().await;
    let process = store::backend_process(&owner).await.unwrap();
    let script = read(text, false).script.unwrap();
    let stop = CancellationToken::new();
    let call =
        Call { text, script: &script, params: &[], project: &box_.project, settings: &box_.settings, stop: &stop };
    let end_session = async {
        let platform = box_.platform().await;
        store::terminate(&platform, process).await.unwrap();
    };
    supervise(&owner, &call, abandoned, end_session).await
}

#[test]
fn the_wall_clock_stops_a_call_whatever_its_own_timeout_says() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        box_.rows("create table t(n int)").await;
        box_.settings.timeout_seconds = 1;
        let never = CancellationToken::new();
        let stubborn = "do $$ begin loop begin perform pg_sleep(60); exception when query_canceled then null; end;
            end loop; end $$";
        for (text, at_most) in [
            ("insert into t values (1); set statement_timeout = 0; select pg_sleep(60)", 3),
            ("insert into t values (1); select pg_sleep(60)", 3),
            (&format!("set statement_timeout = 0; insert into t values (1); {stubborn}"), 9),
        ] {
            let started = Instant::now();
            let (result, _) = supervised(&box_, text, &never).await;
            assert!(started.elapsed() < Duration::from_secs(at_most), "{text}: {:?}", started.elapsed());
            let failure = result.unwrap_err();
            assert!(failure.is_interruption(), "{failure:?}");
            let error = failure.into_api_error(text, Circumstances { timed_out: Some(1), outside_transaction: false });
            assert_eq!((error.status().as_u16(), error.code()), (408, "SQL_TIMEOUT"));
        }
        assert_eq!(box_.rows("select count(*)::int c from t").await, json!([{"c": 0}]));
        let running = "select count(*)::int c from pg_stat_activity where query like '%pg_sleep(60)%' and pid <> pg_backend_pid()";
        assert_eq!(box_.rows(running).await, json!([{"c": 0}]));
    });
}

#[test]
fn a_call_nobody_waits_for_is_stopped_and_rolled_back() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows("create table t(n int)").await;
        let abandoned = CancellationToken::new();
        let leave = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            abandoned.cancel();
        };
        let started = Instant::now();
        let text = "insert into t values (1); select pg_sleep(15)";
        let ((result, interruption), ()) = tokio::join!(supervised(&box_, text, &abandoned), leave);
        assert!(started.elapsed() < Duration::from_secs(3));
        assert_eq!(interruption, Some(Interruption::Abandoned));
        assert!(result.unwrap_err().is_interruption());
        assert_eq!(box_.rows("select count(*)::int c from t").await, json!([{"c": 0}]));
    });
}

#[test]
fn the_schema_document_describes_tables_as_users_wrote_them() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut owner = box_.owner().await;
        let empty = introspect(&mut owner, "p0001").await.unwrap();
        assert_eq!(json!(empty), json!({"schema": "p0001", "tables": []}));
        box_.rows(
            "create type mood as enum ('ok');
             create table items (
                 id int generated by default as identity primary key, name varchar(40) not null default 'x',
                 tags text[], mood mood, at timestamptz default now(), c extensions.citext,
                 twice int generated always as (id * 2) stored, owner_id uuid default auth.uid(),
                 gone int, unique (name), check (id > 0));
             alter table items drop column gone;
             alter table items enable row level security;
             create policy own on items for select to authenticated using (owner_id = auth.uid());
             create policy ins on items for insert with check (true);
             create table \"Part\" (id int, item int references items) partition by list (id);
             create view v as select 1;",
        )
        .await;
        let document = json!(introspect(&mut owner, "p0001").await.unwrap());
        assert_eq!(document["tables"][0]["name"], "Part");
        let part = &document["tables"][0]["constraints"][0];
        assert_eq!(part["type"], "FOREIGN KEY");
        assert_eq!(part["definition"], "FOREIGN KEY (item) REFERENCES items(id)");
        let items = &document["tables"][1];
        assert_eq!(document["tables"].as_array().unwrap().len(), 2);
        let columns: Vec<_> = items["columns"].as_array().unwrap().iter().map(Value::to_string).collect();
        let column = |name: &str, kind: &str, nullable: bool, default: Option<&str>| {
            json!({"name": name, "type": kind, "nullable": nullable, "default_value": default}).to_string()
        };
        let expected = [
            column("id", "integer", false, Some("generated by default as identity")),
            column("name", "character varying(40)", false, Some("'x'::character varying")),
            column("tags", "text[]", true, None),
            column("mood", "mood", true, None),
            column("at", "timestamp with time zone", true, Some("now()")),
            column("c", "citext", true, None),
            column("twice", "integer", true, Some("(id * 2)")),
            column("owner_id", "uuid", true, Some("auth.uid()")),
        ];
        assert_eq!(columns, expected);
        let kinds: Vec<_> = items["constraints"].as_array().unwrap().iter().map(|c| c["type"].clone()).collect();
        assert_eq!(kinds, ["PRIMARY KEY", "CHECK", "UNIQUE"]);
        assert_eq!(items["rls_enabled"], true);
        assert_eq!(items["row_estimate"], Value::Null);
        assert_eq!(
            items["policies"],
            json!([
                {"name": "ins", "command": "INSERT", "using_expression": null, "check_expression": "true",
                 "roles": ["public"], "permissive": true},
                {"name": "own", "command": "SELECT", "using_expression": "(owner_id = auth.uid())",
                 "check_expression": null, "roles": ["authenticated"], "permissive": true},
            ])
        );
        box_.rows("analyze items").await;
        let document = json!(introspect(&mut owner, "p0001").await.unwrap());
        assert_eq!(document["tables"][1]["row_estimate"], 0);
    });
}

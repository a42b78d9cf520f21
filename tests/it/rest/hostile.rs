//! Hostile text in every position, and requests without measure (contract 02 §7.17, issue 3 "Robustness").

use std::time::{Duration, Instant};

use super::*;

const BITES: [&str; 14] = [
    "'",
    "\"",
    "''; drop table labels; --",
    "x'); delete from labels; --",
    "\\",
    "\\'; select 1; --",
    "/* */",
    "/*",
    "--",
    "$$",
    "$1",
    "\u{202e}\u{feff}",
    "%00",
    "%00'; drop table labels; --",
];

fn escaped(text: &str) -> String {
    if let Some(rest) = text.strip_prefix("%00") {
        return format!("%00{}", escaped(rest).replace("%25", "%"));
    }
    text.bytes().fold(String::new(), |mut out, byte| {
        use std::fmt::Write;
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[tokio::test]
async fn no_position_of_a_request_reaches_sql_unquoted() {
    let fixture = Fixture::new().await;
    let labels = "select string_agg(id || coalesce(label, ''), ',' order by id) from labels";
    let before = fixture.project.value(labels).await;
    for bite in BITES {
        let b = escaped(bite);
        for path in [
            format!("/labels?label=eq.{b}"),
            format!("/labels?label=like.{b}"),
            format!("/labels?label=match.{b}"),
            format!("/labels?label=in.({b})"),
            format!("/labels?label=in.(\"{b}\")"),
            format!("/labels?label=eq(any).{{{b}}}"),
            format!("/labels?label=isdistinct.{b}"),
            format!("/labels?label=fts({b}).x"),
            format!("/labels?label=plfts.{b}"),
            format!("/labels?{b}=eq.1"),
            format!("/labels?\"{b}\"=eq.1"),
            format!("/labels?label->>{b}=eq.1"),
            format!("/labels?label=is.{b}"),
            format!("/labels?label={b}.1"),
            format!("/labels?or=(label.eq.{b})"),
            format!("/labels?or=({b}.eq.1)"),
            format!("/labels?or=(label.eq.\"{b}\")"),
            format!("/labels?select={b}"),
            format!("/labels?select=\"{b}\""),
            format!("/labels?select={b}:id"),
            format!("/labels?select=\"{b}\":id"),
            format!("/labels?select=id::{b}"),
            format!("/labels?select=label->>{b}"),
            format!("/labels?select=label->>\"{b}\""),
            format!("/labels?select={b}(id)"),
            format!("/labels?select=books!{b}(id)"),
            format!("/labels?select=\"{b}\":books(id)"),
            format!("/labels?select=...{b}(id)"),
            format!("/labels?select=id.{b}()"),
            format!("/labels?order={b}"),
            format!("/labels?order=\"{b}\".desc"),
            format!("/labels?order=id.{b}"),
            format!("/labels?order={b}(id)"),
            format!("/labels?select=id,books(id)&books.{b}=eq.1"),
            format!("/labels?select=id,books(id)&books.order={b}"),
            format!("/labels?limit={b}"),
            format!("/labels?offset={b}"),
            format!("/{b}"),
            format!("/rpc/{b}"),
            format!("/rpc/echo?{b}=1"),
            format!("/rpc/add?a={b}"),
            format!("/rpc/tbl?n=1&select={b}"),
        ] {
            let answer = fixture.send(Door::Admin, &admin(&format!("GET {path}"))).await;
            let sqlstate = answer.status != 200;
            assert!(answer.status.as_u16() < 500, "{answer}");
            if sqlstate {
                let code = answer.json()["code"].as_str().unwrap_or_default().to_owned();
                // 42601 would be a syntax error: text that reached SQL as SQL.
                assert!(code != "42601" && code != "42P02", "{answer}");
            }
        }
        for (line, body) in [
            (format!("POST /labels?columns={b}"), json!({"id": 1})),
            (format!("POST /labels?columns=\"{b}\""), json!({"id": 1})),
            (format!("POST /labels?on_conflict={b}"), json!({"id": 1})),
            (format!("POST /labels?on_conflict=\"{b}\""), json!({"id": 1})),
            ("POST /labels".to_owned(), json!({bite: 1})),
            ("POST /rpc/echo".to_owned(), json!({bite: 1})),
            ("PATCH /labels?id=eq.1".to_owned(), json!({bite: 1})),
            (format!("PATCH /labels?label=eq.{b}"), json!({"label": bite})),
            (format!("DELETE /labels?label=eq.{b}"), json!({})),
            (format!("DELETE /labels?{b}=eq.1"), json!({})),
        ] {
            let answer =
                fixture.send(Door::Admin, &admin(&line).prefer("resolution=merge-duplicates").json(&body)).await;
            assert!(
                answer.status.as_u16() < 500 && !String::from_utf8_lossy(&answer.body).contains("42601"),
                "{answer}"
            );
        }
        assert_eq!(fixture.project.value(labels).await, before, "{bite}");
        if !bite.contains('%') {
            let kept = fixture.send(Door::Admin, &admin("POST /rpc/echo").json(&json!({"t": bite}))).await;
            assert_eq!(kept.is(200), json!(bite));
            let kept = fixture.send(Door::Admin, &admin(&format!("GET /rpc/echo?t={b}"))).await;
            assert_eq!(kept.is(200), json!(bite));
        }
    }
}

#[tokio::test]
async fn headers_are_no_way_in() {
    let fixture = Fixture::new().await;
    for bite in ["'; drop table labels; --", "\\'; drop table labels; --", "\"", "$$", "x\ty"] {
        for name in
            ["prefer", "accept", "range", "accept-profile", "content-profile", "x-anything", "cookie", "content-type"]
        {
            let value = if name == "prefer" { format!("timezone={bite}, count={bite}") } else { bite.to_owned() };
            let answer = fixture.send(Door::Public, &anon("GET /labels").header(name, &value)).await;
            assert!(answer.status.as_u16() < 500, "{name}: {answer}");
        }
    }
    assert_eq!(fixture.project.value("select count(*)::int from labels").await, 3);
}

#[tokio::test]
async fn requests_without_measure_are_refused_or_served_soon() {
    let fixture = Fixture::new().await;
    let nested = |open: &str, core: &str, close: &str, depth: usize| {
        format!("{}{core}{}", open.repeat(depth), close.repeat(depth))
    };
    let numbers = (0..3000).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
    for path in [
        format!("/labels?and={}", nested("(and", "(id.eq.1)", ")", 20)),
        format!("/labels?or={}", nested("(or", "(id.eq.1,id.eq.2)", ")", 2000)),
        format!("/labels?and={}", nested("(not.and", "(id.eq.1,id.eq.2)", ")", 2000)),
        format!("/labels?and={}", "(".repeat(5000)),
        format!("/people?select={}", nested("people(", "id", ")", 1500)),
        format!("/people?select={}", nested("boss(", "id", ")", 60)),
        format!("/labels?select={}", "id,".repeat(3000)),
        format!("/labels?select=id{}", ",id".repeat(3000)),
        format!("/labels?select=id{}", "->a".repeat(3000)),
        format!("/labels?id=in.({numbers})"),
        format!("/labels?id=eq.1{}", "&id=eq.1".repeat(3000)),
        format!("/labels?order=id{}", ",id".repeat(3000)),
        format!("/labels?or=(id.eq.1{})", ",id.eq.1".repeat(2000)),
        format!("/labels?label=eq.{}", "x".repeat(30_000)),
        format!("/{}", "x".repeat(10_000)),
        format!("/labels?{}=eq.1", "x".repeat(10_000)),
        format!("/labels?label=match.{}", nested("(", "a", ")*", 300)),
    ] {
        let started = Instant::now();
        let call = fixture.api.get(&format!("/admin/v1/rest{path}")).bearer(&fixture.project.service_key);
        let short: String = path.chars().take(60).collect();
        let answer = call.try_send().await.unwrap_or_else(|error| panic!("{short}: {error}"));
        assert!(answer.status.as_u16() < 500, "{short}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        assert!(started.elapsed() < Duration::from_secs(15), "{short} took {:?}", started.elapsed());
    }
    let deep = nested("[", "1", "]", 100_000);
    for (line, kind, body) in [
        ("POST /labels", "application/json", deep.clone()),
        ("POST /labels", "application/json", format!("{{\"id\":1000,\"label\":{deep}}}")),
        ("POST /rpc/doc", "application/json", format!("{{\"j\":{deep}}}")),
        ("POST /labels", "application/json", format!("[{}]", vec!["{}"; 100_000].join(","))),
        ("POST /labels", "text/csv", format!("id{}\n1{}", ",a".repeat(5000), ",1".repeat(5000))),
        ("POST /labels", "application/x-www-form-urlencoded", vec!["a=1"; 50_000].join("&")),
    ] {
        let started = Instant::now();
        let answer = fixture.send(Door::Admin, &admin(line).body(kind, &body)).await;
        assert!(answer.status.is_client_error(), "{line} {}…: {answer}", &body[..40]);
        assert!(started.elapsed() < Duration::from_secs(15), "{line} {}… took {:?}", &body[..40], started.elapsed());
    }
    fixture.check(vec![both("GET /labels?select=id&id=eq.1").gives(json!([{"id": 1}]))]).await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_413() {
    let fixture = Fixture::new().await;
    let body = format!("{{\"id\":1000,\"label\":\"{}\"}}", "x".repeat(10 * 1024 * 1024));
    let answer = fixture.send(Door::Admin, &admin("POST /labels").body("application/json", &body)).await;
    answer.refused(413, "PAYLOAD_TOO_LARGE");
    let fits = format!("{{\"id\":1000,\"label\":\"{}\"}}", "x".repeat(9 * 1024 * 1024));
    let answer = fixture.send(Door::Admin, &admin("POST /labels").body("application/json", &fits)).await;
    assert_eq!(answer.status, 201, "{answer}");
}

#[tokio::test]
async fn a_result_beyond_measure_ends_in_an_error_and_not_the_box() {
    let fixture = Fixture::new().await;
    let started = Instant::now();
    let answer = fixture.api.get("/admin/v1/rest/rpc/big?n=3000").bearer(&fixture.project.service_key).try_send().await;
    if let Ok(answer) = answer {
        assert!(!answer.status.is_success(), "3 GB were sent: {}", answer.status);
        assert!(answer.body.len() < 100_000);
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    fixture.check(vec![both("GET /labels?select=id&id=eq.1").gives(json!([{"id": 1}]))]).await;
    let megabytes = fixture.api.get("/admin/v1/rest/rpc/big?n=5").bearer(&fixture.project.service_key).send().await;
    assert_eq!((megabytes.status.as_u16(), megabytes.body.len() > 5_000_000), (200, true));
}

#[tokio::test]
async fn what_a_function_leaves_in_its_session_meets_no_other_request() {
    let fixture = Fixture::bare().await;
    fixture
        .project
        .sql(
            "create table noted(id serial primary key);
             create function leave() returns int language plpgsql as $$ begin
               perform set_config('app.tenant', '7', false), set_config('datestyle', 'german', false),
                       set_config('role', 'service_role', false), pg_advisory_lock(42);
               execute 'listen somewhere';
               return 1; end $$;
             create function leave_on_insert() returns trigger language plpgsql as $$ begin
               perform leave(); return new; end $$;
             create trigger leaving before insert on noted for each row execute function leave_on_insert();
             create function found() returns json language sql stable as $$
               select json_build_array(nullif(current_setting('app.tenant', true), ''), current_setting('datestyle'),
                 current_user, (select count(*) from pg_listening_channels()),
                 (select count(*) from pg_locks l join pg_database d on d.oid = l.database
                   where l.locktype = 'advisory' and d.datname = current_database())) $$",
        )
        .await
        .is(200);
    let clean = json!([null, "ISO, MDY", "service_role", 0, 0]);
    for _ in 0..3 {
        for line in ["POST /rpc/leave", "POST /noted"] {
            let left = fixture.send(Door::Admin, &admin(line).json(&json!({}))).await;
            assert!(left.status.is_success(), "{line}: {left}");
            let found = fixture.send(Door::Admin, &admin("GET /rpc/found")).await;
            assert_eq!(found.is(200), clean, "after {line}");
        }
    }
    // Statements it removed are prepared anew.
    fixture
        .project
        .sql("create function forget() returns int language plpgsql as $$ begin execute 'deallocate all'; return 1; end $$")
        .await
        .is(200);
    for _ in 0..3 {
        fixture.send(Door::Admin, &admin("POST /rpc/forget").json(&json!({}))).await.is(200);
        fixture.send(Door::Admin, &admin("GET /rpc/found")).await.is(200);
    }
}

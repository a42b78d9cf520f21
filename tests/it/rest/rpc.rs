//! Function calls (contract 02 §7.10, check 24).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn arguments_come_in_the_query() {
    fixture()
        .await
        .check(reads(vec![
            ("/rpc/add?a=1&b=2", json!(3)),
            ("/rpc/add?a=1", json!(11)),
            ("/rpc/add/?a=1", json!(11)),
            ("/rpc%2Fadd?a=1", json!(11)),
            ("/rpc/add?a=1&a=5&b=1", json!(6)),
            ("/rpc/vari?v=1&v=2&v=3", json!(6)),
            ("/rpc/vari?v=4", json!(4)),
            ("/rpc/arr?v={a,b}", json!(2)),
            ("/rpc/echo?t=it's \"x\"", json!("it's \"x\"")),
            ("/rpc/echo?t=", json!("")),
            ("/rpc/doc?j={\"a\":[1]}", json!({"a": [1]})),
            ("/rpc/answer", json!(42)),
            ("/rpc/nums", json!([1, 2, 3])),
            ("/rpc/inout_one?a=4", json!({"a": 8})),
            ("/rpc/rec", json!([{"a": 1, "b": 2}, {"a": 3, "b": 4}])),
            ("/rpc/tbl?n=2", json!([{"x": 1, "y": "v1"}, {"x": 2, "y": "v2"}])),
            ("/rpc/tbl?n=5&x=gt.2&order=x.desc&limit=2", json!([{"x": 5, "y": "v5"}, {"x": 4, "y": "v4"}])),
            ("/rpc/tbl?n=5&or=(x.eq.1,x.eq.5)", json!([{"x": 1, "y": "v1"}, {"x": 5, "y": "v5"}])),
            ("/rpc/tbl?n=1&select=z:y", json!([{"z": "v1"}])),
            ("/rpc/tbl?n=4&select=x.sum()", json!([{"sum": 10}])),
            ("/rpc/tbl?n=4&offset=3", json!([{"x": 4, "y": "v4"}])),
            ("/rpc/get_books?mn=3&select=id,authors(name)&order=id", json!([{"id": 3, "authors": {"name": "Bob"}}, {"id": 4, "authors": null}])),
            ("/rpc/get_books?mn=1&id=gt.1&order=id.desc&limit=1&select=id", json!([{"id": 4}])),
            ("/rpc/get_books?mn=1&id=lt.3&select=id,writer(name)&order=id", json!([{"id": 1, "writer": {"name": "Ann"}}, {"id": 2, "writer": {"name": "Ann"}}])),
            ("/rpc/get_books?mn=1&select=id,authors!inner(name)&authors.name=eq.Bob", json!([{"id": 3, "authors": {"name": "Bob"}}])),
            ("/rpc/one_book?i=1&select=id,title", json!({"id": 1, "title": "Alpha"})),
            ("/rpc/one_book?i=3&select=id,authors(name)", json!({"id": 3, "authors": {"name": "Bob"}})),
        ]))
        .await;
}

#[tokio::test]
async fn arguments_come_in_the_body() {
    let mut cases = Vec::new();
    for (path, body, expected) in [
        ("/rpc/add", r#"{"a":1,"b":2}"#, json!(3)),
        ("/rpc/add", r#"{"a":"4"}"#, json!(14)),
        ("/rpc%2fadd", r#"{"a":"4"}"#, json!(14)),
        ("/rpc/vari", r#"{"v":[1,2]}"#, json!(3)),
        ("/rpc/arr", r#"{"v":["a","b,c","{d}"]}"#, json!(3)),
        ("/rpc/echo", r#"{"t":"eq.x"}"#, json!("eq.x")),
        ("/rpc/echo", r#"{"t":null}"#, Value::Null),
        ("/rpc/doc", r#"{"j":{"a":[1,null]}}"#, json!({"a": [1, null]})),
        ("/rpc/outs", r#"{"a":5}"#, json!({"p": 5, "q": "z"})),
        ("/rpc/nullish", "", Value::Null),
        ("/rpc/nullish", "{}", Value::Null),
        ("/rpc/answer", "", json!(42)),
        ("/rpc/raw_json", r#"[1,{"x":null}]"#, json!([1, {"x": null}])),
        ("/rpc/raw_json", r#"{"any":"thing"}"#, json!({"any": "thing"})),
        ("/rpc/over", r#"{"a":1,"b":2}"#, json!("two")),
        ("/rpc/tbl?x=eq.2", r#"{"n":3}"#, json!([{"x": 2, "y": "v2"}])),
        ("/rpc/tbl?select=x&order=x.desc&limit=1", r#"{"n":3}"#, json!([{"x": 3}])),
    ] {
        cases.push(both(&format!("POST {path}")).body("application/json", body).gives(expected));
    }
    cases.push(both("POST /rpc/raw_text").body("text/plain", "it's \"raw\"").gives(json!("it's \"raw\"")));
    cases.push(both("POST /rpc/raw_bytes").body("application/octet-stream", "12345").gives(json!(5)));
    cases.push(both("POST /rpc/add").body("application/x-www-form-urlencoded", "a=1&b=5").gives(json!(6)));
    cases.push(both("POST /rpc/vari").body("application/x-www-form-urlencoded", "v=1&v=5").gives(json!(6)));
    cases.push(both("POST /rpc/add").body("text/csv", "a,b\n2,3\n").gives(json!(5)));
    cases.push(both("POST /rpc/nothing").status(204).text("").without("content-type"));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn results_are_counted_and_ranged() {
    fixture()
        .await
        .check(vec![
            both("HEAD /rpc/tbl?n=3").prefer("count=exact").text("").with("content-range", "0-2/3"),
            both("GET /rpc/tbl?n=9&limit=2&offset=1").prefer("count=exact").status(206).with("content-range", "1-2/9"),
            both("GET /rpc/tbl?n=3&offset=9").prefer("count=exact").native(416, "PGRST103"),
            both("GET /rpc/tbl?n=3").with("content-range", "0-2/*"),
            both("GET /rpc/tbl?n=9").header("range", "2-3").gives(json!([{"x": 3, "y": "v3"}, {"x": 4, "y": "v4"}])),
            both("POST /rpc/tbl?limit=1").prefer("count=exact").json(&json!({"n": 3})).status(206).with("content-range", "0-0/3"),
            both("GET /rpc/one_book?i=1").accept(OBJECT).member("id", 1),
            both("GET /rpc/tbl?n=1").accept(OBJECT).gives(json!({"x": 1, "y": "v1"})),
            both("GET /rpc/tbl?n=2").accept(OBJECT).native(406, "PGRST116"),
            both("GET /rpc/tbl?n=2").accept("text/csv").text("x,y\n1,v1\n2,v2"),
        ])
        .await;
}

#[tokio::test]
async fn calls_that_fit_nothing_are_refused() {
    let mut cases = refusals(&[
        ("GET /rpc/g", 404, "PGRST202"),
        ("GET /rpc/add", 404, "PGRST202"),
        ("GET /rpc/add?a=1&z=2", 404, "PGRST202"),
        ("GET /rpc/answer?a=1", 404, "PGRST202"),
        ("GET /rpc/over?a=1", 300, "PGRST203"),
        ("GET /rpc/add?a=x", 400, "22P02"),
        ("GET /rpc/tbl?n=1&nope=eq.1", 400, "42703"),
        ("GET /rpc/tbl?n=1&select=nope(id)", 400, "PGRST200"),
        ("GET /rpc/tbl?n=1&select=nope", 400, "42703"),
        ("PUT /rpc/add", 405, "PGRST101"),
        ("PATCH /rpc/add", 405, "PGRST101"),
        ("DELETE /rpc/add", 405, "PGRST101"),
        ("GET /rpc/writes", 405, "25006"),
        ("HEAD /rpc", 404, "PGRST205"),
        ("GET /rpc/a/b", 404, "PGRST125"),
        ("GET /rpc/full_title", 404, "PGRST202"),
    ]);
    cases.retain(|case| !case.line.starts_with("HEAD"));
    let call = |name: &str, body: &str| both(&format!("POST /rpc/{name}")).body("application/json", body);
    cases.push(both("PUT /rpc/add").native(405, "PGRST101").saying("Cannot use the PUT method on RPC"));
    cases.push(
        call("add", r#"{"c":1,"b":2}"#)
            .native(404, "PGRST202")
            .saying("Could not find the function public.add(b, c) in the schema cache")
            .member("hint", "Perhaps you meant to call the function public.add(a, b)"),
    );
    cases.push(
        call("get_book", "{}")
            .native(404, "PGRST202")
            .saying("Could not find the function public.get_book without parameters in the schema cache")
            .member("hint", "Perhaps you meant to call the function public.get_books"),
    );
    cases.push(call("over", r#"{"a":1}"#).native(300, "PGRST203"));
    cases.push(call("add", "{").native(400, "PGRST102"));
    cases.push(call("add", "[1,2]").native(404, "PGRST202"));
    cases.push(call("add", r#"{"a":[]}"#).native(400, "22P02"));
    cases.push(both("POST /rpc/add").body("application/xml", "<a/>").native(400, "PGRST102"));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn volatile_functions_write_and_others_may_not() {
    let fixture = Fixture::new().await;
    let labels = "select count(*)::int from labels";
    fixture
        .check(vec![
            admin("GET /rpc/writes").native(405, "25006").stored(labels, 3),
            admin("HEAD /rpc/writes").status(405).text("").stored(labels, 3),
            admin("POST /rpc/writes").status(204).text("").stored(labels, 4),
            admin("POST /rpc/writes").native(409, "23505").stored(labels, 4),
            admin("POST /rpc/touch_labels?select=id&order=id").json(&json!({"n": 2})).gives(json!([{"id": 1}, {"id": 2}])),
            admin("POST /rpc/touch_labels")
                .prefer("handling=strict,max-affected=1")
                .json(&json!({"n": 3}))
                .native(400, "PGRST124")
                .member("details", "The query affects 3 rows"),
            admin("POST /rpc/add").prefer("handling=strict,max-affected=1").json(&json!({"a": 1})).native(400, "PGRST128"),
        ])
        .await;
    // What a call may do is known from the moment the function is: no stale overload, no stale result.
    fixture.project.sql("create function add(a int, b int, c int) returns int language sql as 'select 3'").await.is(200);
    fixture.check(vec![admin("POST /rpc/add").json(&json!({"a": 1, "b": 1, "c": 1})).gives(json!(3))]).await;
    fixture.project.sql("drop function answer(); create function answer() returns text language sql as $$ select 'x' $$").await.is(200);
    fixture.check(vec![admin("GET /rpc/answer").gives(json!("x"))]).await;
}

#[tokio::test]
async fn the_request_is_visible_to_sql() {
    let fixture = fixture().await;
    let call = anon("GET /rpc/whoami?")
        .header("x-test", "a'b\\")
        .header("cookie", "a=1; b=two")
        .prefer("timezone=Europe/Paris");
    let seen = fixture.send(Door::Public, &call).await;
    assert_eq!(seen.header("preference-applied"), Some("timezone=Europe/Paris"), "{seen}");
    let seen = seen.is(200);
    let (id, anon_role) = (json!(fixture.project.id), json!("anon"));
    assert_eq!((&seen["role"], &seen["auth_role"]), (&anon_role, &anon_role));
    assert_eq!((&seen["uid"], &seen["user"]), (&Value::Null, &Value::Null));
    assert_eq!(seen["project"], id);
    assert_eq!(seen["claims"], json!({"role": "anon", "project_id": id}));
    assert_eq!((&seen["method"], &seen["path"]), (&json!("GET"), &json!("/rpc/whoami")));
    assert_eq!(seen["cookies"], json!({"a": "1", "b": "two"}));
    assert_eq!(seen["headers"]["x-test"], "a'b\\");
    for hidden in ["apikey", "authorization", "cookie"] {
        assert!(seen["headers"].get(hidden).is_none(), "{hidden} is visible to SQL: {seen}");
    }
    assert_eq!(seen["tz"], "Europe/Paris");
    let path: String = seen["search_path"].as_str().unwrap_or_default().replace([' ', '"'], "");
    assert_eq!(path, "public,extensions,auth");
    let service = fixture.send(Door::Admin, &admin("POST /rpc/whoami")).await.is(200);
    assert_eq!((&service["role"], &service["auth_role"]), (&json!("service_role"), &json!("service_role")));
    assert_eq!((&service["method"], &service["uid"]), (&json!("POST"), &Value::Null));
    assert_ne!(service["tz"], "Europe/Paris", "settings end with their request");
}

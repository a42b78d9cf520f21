//! Native errors and what functions say about the response (contract 02 §7.13, §7.14).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

#[tokio::test]
async fn sqlstates_become_statuses() {
    let mut cases = Vec::new();
    for (state, status) in [
        ("23503", 409),
        ("23505", 409),
        ("23502", 400),
        ("23514", 400),
        ("25006", 405),
        ("42P01", 404),
        ("42883", 404),
        ("42P17", 500),
        ("42703", 400),
        ("42804", 400),
        ("22P02", 400),
        ("22012", 400),
        ("22023", 400),
        ("21000", 500),
        ("P0001", 400),
        ("P0002", 500),
        ("PT402", 402),
        ("PT418", 418),
        ("PT200", 200),
        ("53400", 500),
        ("53100", 503),
        ("53300", 503),
        ("57014", 500),
        ("57P01", 503),
        ("08006", 503),
        ("0L000", 403),
        ("0P000", 403),
        ("28000", 403),
        ("09000", 500),
        ("25001", 500),
        ("2D000", 500),
        ("38000", 500),
        ("39000", 500),
        ("3B000", 500),
        ("40001", 500),
        ("40P01", 500),
        ("54000", 500),
        ("55000", 500),
        ("58000", 500),
        ("F0000", 500),
        ("HV000", 500),
        ("XX000", 500),
        ("ZZ999", 400),
    ] {
        let mut case = both("POST /rpc/raise_as").json(&json!({"state": state}));
        case = if state == "PT200" { case.status(200) } else { case.native(status, state) };
        cases.push(
            case.saying(&format!("m {state}")).member("details", "d").member("hint", "h").member("code", state),
        );
    }
    cases.push(admin("POST /rpc/raise_as").json(&json!({"state": "42501"})).native(403, "42501"));
    Fixture::shared(&PROJECT).await.check(cases).await;
}

#[tokio::test]
async fn functions_shape_their_refusals() {
    let raise = |message: &str, detail: Value| {
        both("POST /rpc/raise_custom").json(&json!({"message": message, "detail": detail.as_str().map_or(detail.to_string(), str::to_owned)}))
    };
    Fixture::shared(&PROJECT)
        .await
        .check(vec![
            raise(r#"{"code":"C1","message":"m"}"#, json!({"status": 409, "headers": {"X-Why": "because"}}))
                .native(409, "C1")
                .saying("m")
                .member("details", Value::Null)
                .with("x-why", "because"),
            raise(r#"{"code":"C2","message":"m","details":"dd","hint":"hh"}"#, json!({"status": 332, "status_text": "My Text", "headers": {}}))
                .native(332, "C2")
                .member("details", "dd")
                .member("hint", "hh"),
            raise("not json", json!({"status": 409, "headers": {}})).native(500, "PGRST121"),
            raise(r#"{"message":"no code"}"#, json!({"status": 409, "headers": {}})).native(500, "PGRST121"),
            raise(r#"{"code":"C1","message":"m"}"#, json!("nope")).native(500, "PGRST121"),
            raise(r#"{"code":"C1","message":"m"}"#, json!({"headers": {}})).native(500, "PGRST121"),
        ])
        .await;
}

#[tokio::test]
async fn functions_set_status_and_headers() {
    let says = |status: &str, headers: &str| both("POST /rpc/says").json(&json!({"status": status, "headers": headers}));
    Fixture::shared(&PROJECT)
        .await
        .check(vec![
            says("202", "").status(202).gives(json!(1)),
            says("", r#"[{"X-A":"1"},{"Cache-Control":"public"}]"#).status(200).with("x-a", "1").with("cache-control", "public"),
            says("203", r#"[{"Content-Type":"text/x-mine"}]"#).status(203).with("content-type", "text/x-mine"),
            says("", r#"[{"Set-Cookie":"a=1; HttpOnly"}]"#).status(200).with("set-cookie", "a=1; HttpOnly"),
            says("abc", "").native(500, "PGRST112"),
            says("99999", "").native(500, "PGRST112"),
            says("", "{}").native(500, "PGRST111"),
            says("", "nope").native(500, "PGRST111"),
            says("", r#"[{"a b":"x"}]"#).native(500, "PGRST111"),
            says("", r#"[{"X-A":"two\r\nlines: y"}]"#).native(500, "PGRST111"),
            // The next request starts without them.
            both("POST /rpc/answer").status(200).without("x-a"),
        ])
        .await;
}

#[tokio::test]
async fn hints_name_what_was_perhaps_meant() {
    Fixture::shared(&PROJECT)
        .await
        .check(vec![
            both("GET /book").native(404, "PGRST205").saying("Could not find the table 'public.book' in the schema cache")
                .member("hint", "Perhaps you meant the table 'public.books'"),
            both("GET /zzzzqqqq").native(404, "PGRST205").member("hint", Value::Null),
            both("POST /book").json(&json!({})).native(404, "PGRST205"),
            both("GET /books?nocol=eq.1").native(400, "42703").saying("column books.nocol does not exist"),
            both("GET /books?id=eq.abc").native(400, "22P02").saying("invalid input syntax for type integer: \"abc\""),
        ])
        .await;
}

#[tokio::test]
async fn a_slow_statement_ends() {
    let mut box_ = Appliance::plan().set("rest.statement_timeout_seconds", "1").boot();
    let project = box_.api().provision().await;
    project.sql(SCHEMA).await.is(200);
    let started = std::time::Instant::now();
    let answer = box_
        .api()
        .post("/admin/v1/rest/rpc/slow")
        .bearer(&project.service_key)
        .json(&json!({"seconds": 30}))
        .send()
        .await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (500, Some("57014")), "{answer}");
    assert!(started.elapsed() < std::time::Duration::from_secs(10), "{:?}", started.elapsed());
    // A function that lifts the limit for itself is ended by the box.
    project
        .sql("create function stubborn() returns void language plpgsql as $$ begin
                perform set_config('statement_timeout', '0', true); perform pg_sleep(60); end $$")
        .await
        .is(200);
    let started = std::time::Instant::now();
    let answer = box_.api().post("/admin/v1/rest/rpc/stubborn").bearer(&project.service_key).send().await;
    assert!(!answer.status.is_success(), "{answer}");
    assert!(started.elapsed() < std::time::Duration::from_secs(15), "{:?}", started.elapsed());
    let after = box_.api().get("/admin/v1/rest/labels").bearer(&project.service_key).send().await;
    assert_eq!(after.status, 200, "{after}");
    box_.stop();
}

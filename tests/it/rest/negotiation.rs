//! Media types and headers of answers (contract 02 §7.3, §7.12, §7.13, check 21).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

const JSON: &str = "application/json; charset=utf-8";

#[tokio::test]
async fn bodies_come_as_accepted() {
    let mut cases = Vec::new();
    let red = r#"[{"id":1,"label":"red"}]"#;
    for (path, accept, content_type, text) in [
        ("/labels?id=eq.1", "*/*", JSON, red),
        ("/labels?id=eq.1", "application/*", JSON, red),
        ("/labels?id=eq.1", "application/json", JSON, red),
        ("/labels?id=eq.1", "APPLICATION/JSON", JSON, red),
        ("/labels?id=eq.1", "application/json; charset=utf-8", JSON, red),
        ("/labels?id=eq.1", "text/html, application/xhtml+xml, */*;q=0.8", JSON, red),
        ("/labels?id=eq.1", "text/csv;q=0.1, application/json;q=0.9", JSON, red),
        ("/labels?id=eq.1", "text/plain, application/json", JSON, red),
        ("/labels?id=eq.1", "application/json;q=0.1, text/csv", "text/csv; charset=utf-8", "id,label\n1,red"),
        ("/labels?id=eq.1", OBJECT, "application/vnd.pgrst.object+json; charset=utf-8", r#"{"id":1,"label":"red"}"#),
        ("/labels?id=eq.1", "application/vnd.pgrst.object", "application/vnd.pgrst.object+json; charset=utf-8", r#"{"id":1,"label":"red"}"#),
        ("/books?id=eq.4&select=id,data", "application/vnd.pgrst.array+json;nulls=stripped",
         "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8", r#"[{"id":4}]"#),
        ("/books?id=eq.4&select=id,data", "application/vnd.pgrst.object+json;nulls=stripped",
         "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8", r#"{"id":4}"#),
        ("/books?id=in.(2,3)&select=id,title,kind&order=id", "text/csv", "text/csv; charset=utf-8",
         "id,title,kind\n2,\"Beta, two\",p\n3,\"Gamma \"\"g\"\"\",q"),
        ("/books?id=eq.99", "text/csv", "text/csv; charset=utf-8", ""),
        ("/labels?id=lt.3&order=id", "text/x-lines", "text/x-lines; charset=utf-8", "red\nblue\n"),
        ("/rpc/greet?name=you", "text/plain", "text/plain; charset=utf-8", "hello you"),
        ("/rpc/greet?name=you", "*/*", JSON, "\"hello you\""),
        ("/rpc/one_book?i=1&select=id", OBJECT, "application/vnd.pgrst.object+json; charset=utf-8", r#"{"id":1}"#),
        ("/rpc/nums", "*/*", JSON, "[1, 2, 3]"),
    ] {
        let case = both(&format!("GET {path}")).accept(accept).with("content-type", content_type);
        cases.push(if path == "/rpc/nums" { case.gives(json!([1, 2, 3])) } else { case.text(text) });
    }
    let fixture = fixture().await;
    fixture.check(cases).await;
    let picture = fixture.send(Door::Public, &anon("GET /rpc/picture").accept("image/x-test")).await;
    assert_eq!((picture.header("content-type"), &picture.body[..]), (Some("image/x-test"), &[0, 255, 1][..]));
}

#[tokio::test]
async fn what_nobody_can_make_is_406() {
    let mut cases = Vec::new();
    for (line, accept, code) in [
        ("GET /labels", OBJECT, "PGRST116"),
        ("GET /labels?id=eq.99", OBJECT, "PGRST116"),
        ("GET /labels", "image/png", "PGRST107"),
        ("GET /labels", "application/geo+json", "PGRST107"),
        ("GET /labels", "application/octet-stream", "PGRST107"),
        ("GET /labels", "text/plain", "PGRST107"),
        ("GET /labels", "text/xml", "PGRST107"),
        ("GET /labels?select=id", "text/x-lines", "PGRST107"),
        ("GET /books", "text/x-lines", "PGRST107"),
        ("GET /", "text/csv", "PGRST107"),
        ("GET /rpc/answer", "image/png", "PGRST107"),
    ] {
        cases.push(both(line).accept(accept).native(406, code).with("content-type", JSON));
    }
    let two = || both("GET /labels?id=lt.3").accept(OBJECT).native(406, "PGRST116");
    cases.push(two().saying("Cannot coerce the result to a single JSON object").member("details", "The result contains 2 rows"));
    cases.push(
        both("GET /labels?id=eq.99").accept(OBJECT).native(406, "PGRST116").member("details", "The result contains 0 rows"),
    );
    cases.push(both("GET /labels").accept("image/png").native(406, "PGRST107").saying("None of these media types are available: image/png"));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn plans_are_for_the_service_key() {
    let fixture = Fixture::new().await;
    let json = "application/vnd.pgrst.plan+json; for=\"application/json\"; options=verbose|settings;";
    let plan = fixture.send(Door::Admin, &admin("GET /books?id=eq.1&select=id,authors(name)").accept(json)).await;
    assert_eq!(plan.status, 200, "{plan}");
    assert!(plan.header("content-type").is_some_and(|kind| kind.starts_with("application/vnd.pgrst.plan+json")), "{plan}");
    let body: Value = serde_json::from_slice(&plan.body).expect("JSON");
    assert!(body[0]["Plan"]["Total Cost"].is_number(), "{plan}");
    for text in ["application/vnd.pgrst.plan", "application/vnd.pgrst.plan+text", "application/vnd.pgrst.plan+text; options=analyze|buffers"] {
        let plan = fixture.send(Door::Admin, &admin("GET /labels?id=eq.1").accept(text)).await;
        assert!(plan.status == 200 && String::from_utf8_lossy(&plan.body).contains("cost="), "{plan}");
    }
    fixture
        .check(vec![
            admin("DELETE /forty").accept("application/vnd.pgrst.plan").status(200)
                .stored("select count(*)::int from forty", 42),
            anon("GET /labels").accept(json).native(406, "PGRST107"),
            anon("GET /labels").accept("application/vnd.pgrst.plan").native(406, "PGRST107"),
        ])
        .await;
}

#[tokio::test]
async fn headers_describe_the_answer() {
    let fixture = fixture().await;
    let slot = fixture.project.slot.clone();
    fixture
        .check(vec![
            both("GET /books?select=id&id=eq.1&order=id").with("content-location", "/books?id=eq.1&order=id&select=id"),
            both("GET /labels").with("content-location", "/labels"),
            both("GET /rpc/add?b=1&a=2").without("content-location"),
            both("GET /labels").with("cache-control", "private, no-store").without("etag").without("content-profile"),
            both("GET /labels").with("content-type", JSON),
            both("GET /labels").accept("*/*").header("accept-profile", "public").with("content-profile", "public"),
            both("GET /labels").header("accept-profile", &slot).with("content-profile", &slot),
            both("HEAD /labels").header("accept-profile", "public").with("content-profile", "public").text(""),
            both("HEAD /labels?id=eq.1").with("content-type", JSON).without("content-length").with("content-range", "0-0/*").text(""),
            both("GET /labels").header("accept-profile", "private").native(406, "PGRST106").saying("Invalid schema: private"),
            both("GET /labels").header("accept-profile", "pg_catalog").native(406, "PGRST106"),
            both("GET /labels").header("accept-profile", "internal").native(406, "PGRST106"),
            both("GET /labels").header("content-profile", "nope").status(200),
            both("POST /rpc/answer").header("content-profile", "public").with("content-profile", "public"),
            both("POST /rpc/answer").header("content-profile", "nope").native(406, "PGRST106"),
            both("GET /labels").header("origin", "https://example.com").with("access-control-allow-origin", "*"),
        ])
        .await;
    let answer = fixture.send(Door::Public, &anon("GET /labels").header("origin", "https://example.com")).await;
    let exposed = answer.header("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    for name in ["content-encoding", "content-location", "content-range", "content-type", "date", "location", "server", "transfer-encoding", "range-unit"] {
        assert!(exposed == "*" || exposed.split(',').any(|each| each.trim() == name), "{name} is not exposed: {exposed}");
    }
    assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
}

#[tokio::test]
async fn methods_are_those_of_the_target() {
    let mut cases = Vec::new();
    for (line, allow) in [
        ("OPTIONS /", "OPTIONS,GET,HEAD"),
        ("OPTIONS /labels", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
        ("OPTIONS /nokey", "OPTIONS,GET,HEAD,POST,PATCH,DELETE"),
        ("OPTIONS /author_books", "OPTIONS,GET,HEAD"),
        ("OPTIONS /rpc/add", "OPTIONS,GET,HEAD,POST"),
        ("OPTIONS /rpc/writes", "OPTIONS,POST"),
    ] {
        cases.push(both(line).status(200).with("allow", allow).text(""));
    }
    cases.extend(refusals(&[
        ("OPTIONS /none", 404, "PGRST205"),
        ("DELETE /", 405, "PGRST117"),
        ("POST /", 405, "PGRST117"),
        ("TRACE /labels", 405, "PGRST117"),
        ("PROPFIND /labels", 405, "PGRST117"),
        ("GET /a/b/c", 404, "PGRST125"),
    ]));
    cases.push(both("PROPFIND /labels").native(405, "PGRST117").saying("Unsupported HTTP method: PROPFIND"));
    cases.push(both("GET /a/b").native(404, "PGRST125").saying("Invalid path specified in request URL"));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn a_preflight_needs_no_key() {
    let api = Appliance::shared().api();
    for path in ["/rest/v1/labels", "/admin/v1/rest/labels", "/rest/v1/rpc/add", "/rest/v1/"] {
        let answer = api
            .call(Method::OPTIONS, path)
            .header("origin", "https://example.com")
            .header("access-control-request-method", "PATCH")
            .header("access-control-request-headers", "apikey,authorization,content-type,prefer,accept-profile,content-profile,range")
            .send()
            .await;
        assert!(matches!(answer.status.as_u16(), 200 | 204), "{answer}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"), "{answer}");
        assert!(answer.header("access-control-allow-methods").is_some_and(|them| them.contains("PATCH") || them == "*"), "{answer}");
        let allowed = answer.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        for name in ["apikey", "authorization", "content-type", "prefer", "accept-profile", "content-profile", "range"] {
            assert!(allowed.contains(name), "{name} is not allowed: {allowed}");
        }
        assert_eq!(answer.header("access-control-max-age"), Some("86400"), "{answer}");
    }
}

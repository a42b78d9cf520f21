//! Function calls (contract 02 §7.10).

use serde_json::{Value, json};

use super::{Fixture, call};
use crate::engines::postgres::test_support::as_ordinary_user;

#[test]
fn functions_answer_in_their_shape() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows(
            &[
                ("GET /rpc/add?a=1&b=2", json!(3)),
                ("GET /rpc/add?a=1", json!(11)),
                ("GET /rpc/add?a=1&a=5&b=1", json!(6)),
                ("GET /rpc/vari?v=1&v=2&v=3", json!(6)),
                ("GET /rpc/vari?v=4", json!(4)),
                ("GET /rpc/arr?v={a,b}", json!(2)),
                ("GET /rpc/nums", json!([1, 2, 3])),
                ("GET /rpc/tbl?n=2", json!([{"x":1,"y":"v1"},{"x":2,"y":"v2"}])),
                ("GET /rpc/tbl?n=5&x=gt.2&order=x.desc&limit=2", json!([{"x":5,"y":"v5"},{"x":4,"y":"v4"}])),
                ("GET /rpc/tbl?n=1&select=z:y", json!([{"z":"v1"}])),
                (
                    "GET /rpc/get_books?mn=3&select=id,authors(name)&order=id",
                    json!([{"id":3,"authors":{"name":"Bob"}},{"id":4,"authors":null}]),
                ),
                (
                    "GET /rpc/get_books?mn=1&id=lt.3&select=id,writer(name)&order=id",
                    json!([{"id":1,"writer":{"name":"Ann"}},{"id":2,"writer":{"name":"Ann"}}]),
                ),
                ("GET /rpc/one_book?i=1&select=id,title", json!({"id":1,"title":"Alpha"})),
                ("POST /rpc/outs?", json!(null)),
            ][..13],
        )
        .await;
        for (line, body, expected) in [
            ("POST /rpc/add", r#"{"a":1,"b":2}"#, json!(3)),
            ("POST /rpc/add", r#"{"a":"4"}"#, json!(14)),
            ("POST /rpc/vari", r#"{"v":[1,2]}"#, json!(3)),
            ("POST /rpc/outs", r#"{"a":5}"#, json!({"p":5,"q":"z"})),
            ("POST /rpc/nullish", "", Value::Null),
            ("POST /rpc/nullish", "{}", Value::Null),
            ("POST /rpc/raw_json", r#"[1,{"x":null}]"#, json!([1,{"x":null}])),
            ("POST /rpc/raw_json", r#"{"any":"thing"}"#, json!({"any":"thing"})),
            ("POST /rpc/over", r#"{"a":1,"b":2}"#, json!("two")),
            ("POST /rpc/touch_books?select=id&order=id", r#"{"n":2}"#, json!([{"id":1},{"id":2}])),
            ("POST /rpc/tbl?x=eq.2", r#"{"n":3}"#, json!([{"x":2,"y":"v2"}])),
        ] {
            let answer = box_.send(call(line).body(body)).await;
            assert_eq!((answer.status, answer.json()), (200, expected), "{line} {body}: {}", answer.text());
        }
        let text = call("POST /rpc/raw_text").header("content-type", "text/plain").body("it's \"raw\"");
        assert_eq!(box_.send(text).await.json(), json!("it's \"raw\""));
        let bytes = call("POST /rpc/raw_bytes").header("content-type", "application/octet-stream").body("12345");
        assert_eq!(box_.send(bytes).await.json(), json!(5));
        let form = call("POST /rpc/add").header("content-type", "application/x-www-form-urlencoded").body("a=1&b=5");
        assert_eq!(box_.send(form).await.json(), json!(6));
        let csv = call("POST /rpc/add").header("content-type", "text/csv").body("a,b\n2,3\n");
        assert_eq!(box_.send(csv).await.json(), json!(5));
        let void = box_.send(call("POST /rpc/nothing")).await;
        assert_eq!((void.status, void.text(), void.headers.contains_key("content-type")), (204, "", false));
        let head = box_.send(call("HEAD /rpc/tbl?n=3").prefer("count=exact")).await;
        assert_eq!((head.status, head.text(), head.header("content-range")), (200, "", "0-2/3"));
        let part = box_.send(call("GET /rpc/tbl?n=9&limit=2&offset=1").prefer("count=exact")).await;
        assert_eq!((part.status, part.header("content-range")), (206, "1-2/9"));
    });
}

#[test]
fn calls_that_fit_nothing_are_refused() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.refusals(&[
            ("GET /rpc/g", 404, "PGRST202"),
            ("GET /rpc/add", 404, "PGRST202"),
            ("GET /rpc/add?a=1&z=2", 404, "PGRST202"),
            ("GET /rpc/over?a=1", 300, "PGRST203"),
            ("GET /rpc/add?a=x", 400, "22P02"),
            ("PUT /rpc/add", 405, "PGRST101"),
            ("GET /rpc/writes", 405, "25006"),
            ("POST /rpc/sneaky", 400, "0A000"),
            ("POST /rpc/raises", 400, "P0001"),
            ("GET /rpc/tbl?n=1&nope=eq.1", 400, "42703"),
            ("GET /rpc/tbl?n=1&select=nope(id)", 400, "PGRST200"),
        ])
        .await;
        let message = box_.send(call("POST /rpc/add").body(r#"{"c":1,"b":2}"#)).await.json();
        assert_eq!(message["message"], "Could not find the function public.add(b, c) in the schema cache");
        assert_eq!(message["hint"], "Perhaps you meant to call the function public.add(a, b)");
        let near = box_.send(call("POST /rpc/get_book").body("{}")).await.json();
        assert_eq!(
            near["message"],
            "Could not find the function public.get_book without parameters in the schema cache"
        );
        assert_eq!(near["hint"], "Perhaps you meant to call the function public.get_books");
        let several = box_.send(call("GET /rpc/over?a=1")).await.json();
        assert_eq!(
            several["message"],
            "Could not choose the best candidate function between: public.over(a => integer), public.over(a => text)"
        );
        let most = box_.send(call("POST /rpc/add").prefer("handling=strict,max-affected=1").body(r#"{"a":1}"#)).await;
        assert_eq!((most.status, most.code().as_str()), (400, "PGRST128"));
        let touched = call("POST /rpc/touch_books").prefer("handling=strict,max-affected=1").body(r#"{"n":3}"#);
        assert_eq!(box_.send(touched).await.code(), "PGRST124");
    });
}

#[test]
fn functions_speak_about_the_response() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let teapot = box_.send(call("POST /rpc/teapot")).await;
        assert_eq!(teapot.status, 418);
        assert_eq!(teapot.json(), json!({"code":"PT418","message":"short and stout","details":"d","hint":"h"}));
        let custom = box_.send(call("POST /rpc/custom")).await;
        assert_eq!((custom.status, custom.header("x-why"), custom.code().as_str()), (409, "because", "C1"));
        let says = call("POST /rpc/says")
            .body(r#"{"status":"202","headers":"[{\"X-A\":\"1\"},{\"Cache-Control\":\"public\"}]"}"#);
        let says = box_.send(says).await;
        assert_eq!((says.status, says.header("x-a"), says.header("cache-control")), (202, "1", "public"));
        for (body, code) in
            [(r#"{"status":"abc","headers":""}"#, "PGRST112"), (r#"{"status":"","headers":"{}"}"#, "PGRST111")]
        {
            let answer = box_.send(call("POST /rpc/says").body(body)).await;
            assert_eq!((answer.status, answer.code().as_str()), (500, code), "{body}");
        }
    });
}

#[test]
fn the_request_is_visible_to_sql() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let tricky = "it's \\ \"x\"";
        let answer = box_
            .send(call("GET /rpc/whoami").user(tricky).header("x-test", "a'b\\").prefer("timezone=Europe/Paris"))
            .await;
        assert_eq!(
            answer.json(),
            json!({"role":"authenticated","claims":{"role":"authenticated","sub":tricky},"method":"GET","path":"/rpc/whoami",
                   "user":tricky,"header":"a'b\\","tz":"Europe/Paris","timeout":"20s"})
        );
        assert_eq!(answer.header("preference-applied"), "timezone=Europe/Paris");
        assert_eq!(box_.send(call("POST /rpc/whoami").anon()).await.json()["role"], "anon");
    });
}

#[test]
fn unlisted_functions_are_forbidden_not_missing() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let Err(error) = box_.exchange(call("POST /rpc/hidden").anon()).await else { panic!("it was called") };
        assert_eq!((error.status().as_u16(), error.code()), (403, "FORBIDDEN_FUNCTION"));
        let super::RestError::Gateway(error) = error else { panic!("not an envelope") };
        let body = error.body("trc_1", false);
        assert_eq!((body["error"].as_str(), body["retryable"].as_bool()), (Some("forbidden_function"), Some(false)));
        assert_eq!(box_.send(call("POST /rpc/hidden")).await.json(), json!(1));
        assert_eq!(box_.send(call("POST /rpc/nope").anon()).await.code(), "PGRST202");
    });
}

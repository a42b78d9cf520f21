//! Media types, headers, the root document, prepared statements across schema changes (contract 02 §7.12-7.15).

use std::collections::BTreeSet;

use serde_json::json;

use super::{Fixture, call};
use crate::engines::postgres::test_support::as_ordinary_user;

#[test]
fn bodies_come_as_accepted() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let object = "application/vnd.pgrst.object+json";
        for (line, accept, status, content_type, body) in [
            ("GET /labels?id=eq.1", "", 200, "application/json; charset=utf-8", r#"[{"id":1,"label":"red"}]"#),
            ("GET /labels?id=eq.1", "*/*", 200, "application/json; charset=utf-8", r#"[{"id":1,"label":"red"}]"#),
            (
                "GET /labels?id=eq.1",
                object,
                200,
                "application/vnd.pgrst.object+json; charset=utf-8",
                r#"{"id":1,"label":"red"}"#,
            ),
            (
                "GET /books?id=eq.4&select=id,data",
                "application/vnd.pgrst.array+json;nulls=stripped",
                200,
                "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
                r#"[{"id":4}]"#,
            ),
            (
                "GET /books?id=eq.4&select=id,data",
                "application/vnd.pgrst.object+json;nulls=stripped",
                200,
                "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
                r#"{"id":4}"#,
            ),
            (
                "GET /books?id=in.(2,3)&select=id,title,kind&order=id",
                "text/csv",
                200,
                "text/csv; charset=utf-8",
                "id,title,kind\n2,\"Beta, two\",p\n3,\"Gamma \"\"g\"\"\",q",
            ),
            ("GET /books?id=eq.99", "text/csv", 200, "text/csv; charset=utf-8", ""),
            ("GET /labels?id=lt.3&order=id", "text/x-lines", 200, "text/x-lines; charset=utf-8", "red\nblue\n"),
            ("GET /rpc/greet?name=you", "text/plain", 200, "text/plain; charset=utf-8", "hello you"),
            ("GET /rpc/greet?name=you", "", 200, "application/json; charset=utf-8", "\"hello you\""),
            (
                "GET /labels?id=eq.1&select=id",
                "text/plain, application/json",
                200,
                "application/json; charset=utf-8",
                r#"[{"id":1}]"#,
            ),
            (
                "GET /rpc/one_book?i=1&select=id",
                object,
                200,
                "application/vnd.pgrst.object+json; charset=utf-8",
                r#"{"id":1}"#,
            ),
        ] {
            let answer = box_.send(call(line).accept(accept)).await;
            assert_eq!(
                (answer.status, answer.header("content-type"), answer.text()),
                (status, content_type, body),
                "{line} {accept}"
            );
        }
        let picture = box_.send(call("GET /rpc/picture").accept("image/x-test")).await;
        assert_eq!((picture.header("content-type"), &picture.body[..]), ("image/x-test", &[0, 255, 1][..]));
        for (line, accept, code) in [
            ("GET /labels", object, "PGRST116"),
            ("GET /labels?id=eq.99", object, "PGRST116"),
            ("GET /labels", "image/png", "PGRST107"),
            ("GET /labels", "application/geo+json", "PGRST107"),
            ("GET /labels", "application/octet-stream", "PGRST107"),
            ("GET /labels?select=id", "text/x-lines", "PGRST107"),
            ("GET /books", "text/x-lines", "PGRST107"),
            ("GET /", "text/csv", "PGRST107"),
        ] {
            let answer = box_.send(call(line).accept(accept)).await;
            assert_eq!((answer.status, answer.code().as_str()), (406, code), "{line} {accept}");
            assert_eq!(answer.header("content-type"), "application/json; charset=utf-8");
        }
        let message = box_.send(call("GET /labels").accept("image/png")).await.json();
        assert_eq!(message["message"], "None of these media types are available: image/png");
    });
}

#[test]
fn plans_are_for_the_service_key() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let plan = "application/vnd.pgrst.plan+json; for=\"application/json\"; options=verbose;";
        let answer = box_.send(call("GET /books?id=eq.1&select=id,authors(name)").accept(plan)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.json()[0]["Plan"]["Total Cost"].is_number());
        assert!(
            answer
                .header("content-type")
                .starts_with("application/vnd.pgrst.plan+json; for=\"application/json\"; options=verbose")
        );
        let text = box_.send(call("DELETE /labels?id=eq.1").accept("application/vnd.pgrst.plan")).await;
        assert!(text.text().contains("Delete on"), "{}", text.text());
        assert_eq!(box_.sql("select count(*) from labels").await, "3");
        let public = box_.send(call("GET /books").anon().accept(plan)).await;
        assert_eq!((public.status, public.code().as_str()), (406, "PGRST107"));
    });
}

#[test]
fn headers_of_answers() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let read = box_
            .send(
                call("GET /books?select=id&id=eq.1&order=id")
                    .header("accept-profile", "public")
                    .prefer("return=minimal, count=exact"),
            )
            .await;
        assert_eq!(read.header("content-location"), "/books?id=eq.1&order=id&select=id");
        assert_eq!(read.header("content-profile"), "public");
        assert_eq!(read.header("preference-applied"), "count=exact");
        assert_eq!(read.header("cache-control"), "private, no-store");
        for (line, allow) in [
            ("OPTIONS /", "OPTIONS,GET,HEAD"),
            ("OPTIONS /labels", "OPTIONS,GET,HEAD,POST,PUT,PATCH,DELETE"),
            ("OPTIONS /nokey", "OPTIONS,GET,HEAD,POST,PATCH,DELETE"),
            ("OPTIONS /author_books", "OPTIONS,GET,HEAD"),
            ("OPTIONS /rpc/add", "OPTIONS,GET,HEAD,POST"),
            ("OPTIONS /rpc/writes", "OPTIONS,POST"),
        ] {
            let answer = box_.send(call(line)).await;
            assert_eq!((answer.status, answer.header("allow"), answer.text()), (200, allow, ""), "{line}");
        }
        box_.refusals(&[
            ("OPTIONS /none", 404, "PGRST205"),
            ("GET /a/b", 404, "PGRST125"),
            ("DELETE /", 405, "PGRST117"),
        ])
        .await;
    });
}

#[test]
fn the_root_document_shows_what_the_role_may_use() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.sql("comment on table labels is E'Labels of books\nMore about them'").await;
        let answer = box_.send(call("GET /").anon()).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, "application/openapi+json; charset=utf-8"));
        let document = answer.json();
        assert_eq!(document["swagger"], "2.0");
        assert_eq!((document["host"].as_str(), document["basePath"].as_str()), (Some("api.test"), Some("/rest/v1/")));
        let definitions: BTreeSet<&str> =
            document["definitions"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(definitions.contains("books") && !definitions.contains("dark"), "{definitions:?}");
        let book = &document["definitions"]["books"];
        assert_eq!(book["required"], json!(["id", "title"]));
        assert_eq!(book["properties"]["mood"]["enum"], json!(["sad", "happy"]));
        assert!(
            book["properties"]["author_id"]["description"]
                .as_str()
                .unwrap()
                .contains("<fk table='authors' column='id'/>")
        );
        assert!(book["properties"]["id"]["description"].as_str().unwrap().contains("<pk/>"));
        assert_eq!(book["properties"]["tags"]["type"], "array");
        assert_eq!(document["paths"]["/labels"]["get"]["summary"], "Labels of books");
        assert!(document["paths"]["/labels"].get("post").is_none(), "anon may not insert");
        assert!(document["paths"]["/rpc/add"].get("get").is_some());
        assert!(document["paths"].get("/rpc/hidden").is_none());
        let all = box_.send(call("GET /")).await.json();
        assert!(all["definitions"].get("dark").is_some() && all["paths"]["/labels"].get("post").is_some());
        assert!(all["paths"].get("/rpc/hidden").is_some());
        assert_eq!(box_.send(call("HEAD /")).await.text(), "");
    });
}

#[test]
fn a_prepared_statement_survives_a_schema_change() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        for round in 0..8 {
            assert_eq!(box_.send(call("GET /labels?id=eq.1")).await.status, 200);
            box_.sql(&format!(
                "alter table labels add extra_{round} int; alter table labels alter label type varchar({})",
                100 + round
            ))
            .await;
            let answer = box_.send(call("GET /labels?id=eq.1")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.json()[0].get(format!("extra_{round}")).is_some());
        }
    });
}

#[test]
fn a_statement_that_takes_too_long_is_stopped() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        box_.settings.statement_timeout = std::time::Duration::from_millis(300);
        let answer = box_.send(call("POST /rpc/slow")).await;
        assert_eq!((answer.status, answer.code().as_str()), (500, "57014"));
        assert_eq!(box_.send(call("GET /labels?id=eq.1")).await.status, 200, "the connection is clean again");
    });
}

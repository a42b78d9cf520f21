//! Writes (contract 02 §7.9).

use serde_json::{Value, json};

use super::{Fixture, Mismatches, call};
use crate::engines::postgres::test_support::as_ordinary_user;

const ROWS: &str = "return=representation";

#[test]
fn inserts() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        for (line, prefer, body, status, expected) in [
            ("POST /labels", "", r#"{"id":10,"label":"a"}"#, 201, Value::Null),
            ("POST /labels", ROWS, r#"{"id":11,"label":"b"}"#, 201, json!([{"id":11,"label":"b"}])),
            (
                "POST /labels",
                ROWS,
                r#"[{"id":12},{"id":13}]"#,
                201,
                json!([{"id":12,"label":null},{"id":13,"label":null}]),
            ),
            ("POST /labels?select=label", ROWS, r#"{"id":14,"label":"c"}"#, 201, json!([{"label":"c"}])),
            (
                "POST /labels?columns=id",
                ROWS,
                r#"{"id":15,"label":"ignored","zz":1}"#,
                201,
                json!([{"id":15,"label":null}]),
            ),
            (
                "POST /labels?columns=\"id\",\"label\"",
                ROWS,
                r#"[{"id":16},{"id":17,"label":"x"}]"#,
                201,
                json!([{"id":16,"label":null},{"id":17,"label":"x"}]),
            ),
            ("POST /labels", ROWS, "[]", 201, json!([])),
            ("POST /labels", "resolution=merge-duplicates,return=representation", "[]", 200, json!([])),
            ("POST /empty_defaults?select=id,n,g", ROWS, "{}", 201, json!([{"id":1,"n":7,"g":14}])),
            ("POST /empty_defaults?select=id,n", ROWS, "[{},{}]", 201, json!([{"id":2,"n":7},{"id":3,"n":7}])),
            (
                "POST /empty_defaults?columns=id,n&select=id,n",
                "missing=default,return=representation",
                r#"[{"n":1},{"id":50}]"#,
                201,
                json!([{"id":4,"n":1},{"id":50,"n":7}]),
            ),
            ("POST /empty_defaults?columns=n&select=n", ROWS, r#"{"x":1}"#, 201, json!([{"n":null}])),
            (
                "POST /books?select=id,title,authors(name),full_title",
                ROWS,
                r#"{"id":100,"title":"T","author_id":2,"tags":["p","q"],"data":{"a":1}}"#,
                201,
                json!([{"id":100,"title":"T","authors":{"name":"Bob"},"full_title":"T!"}]),
            ),
            (
                "POST /books?select=id,writer(name),others(id)&others.id=eq.1",
                ROWS,
                r#"{"id":101,"title":"T","author_id":1}"#,
                201,
                json!([{"id":101,"writer":{"name":"Ann"},"others":[{"id":1}]}]),
            ),
            (
                "POST /book_view?select=id,t",
                ROWS,
                r#"{"id":102,"t":"via view"}"#,
                201,
                json!([{"id":102,"t":"via view"}]),
            ),
            (
                "POST /labels?order=id.desc&select=id",
                ROWS,
                r#"[{"id":20},{"id":21}]"#,
                201,
                json!([{"id":21},{"id":20}]),
            ),
        ] {
            let answer = box_.send(call(line).prefer(prefer).body(body)).await;
            wrong.compare(
                &format!("{line} {body}: {}", answer.text()),
                &(answer.status, answer.json()),
                &(status, expected),
            );
            wrong.compare(
                &format!("{line} content-type"),
                &answer.headers.contains_key("content-type"),
                &prefer.contains("representation"),
            );
            wrong.compare(&format!("{line} range"), &answer.header("content-range"), &"*/*");
        }
        let csv = call("POST /labels")
            .header("content-type", "text/csv")
            .prefer(ROWS)
            .body("id,label\n30,NULL\n31,\"x,\"\"y\"\n");
        assert_eq!(box_.send(csv).await.json(), json!([{"id":30,"label":null},{"id":31,"label":"x,\"y"}]));
        let form = call("POST /labels")
            .header("content-type", "application/x-www-form-urlencoded")
            .prefer(ROWS)
            .body("id=32&label=a+b");
        assert_eq!(box_.send(form).await.json(), json!([{"id":32,"label":"a b"}]));
        let headers = box_.send(call("POST /labels").prefer("return=headers-only").body(r#"{"id":33}"#)).await;
        assert_eq!((headers.status, headers.header("location"), headers.text()), (201, "/labels?id=eq.33", ""));
        let pair = box_.send(call("POST /pairs").prefer("return=headers-only").body(r#"{"a":7,"b":8}"#)).await;
        assert_eq!(pair.header("location"), "/pairs?a=eq.7&b=eq.8");
        let two = box_.send(call("POST /labels").prefer("return=headers-only").body(r#"[{"id":34},{"id":35}]"#)).await;
        assert_eq!(two.header("location"), "");
        let counted = box_.send(call("POST /labels").prefer("count=exact").body(r#"[{"id":36},{"id":37}]"#)).await;
        assert_eq!(counted.header("content-range"), "*/2");
        for (line, body, status, code) in [
            ("POST /labels", r#"[{"id":1},{"label":"x"}]"#, 400, "PGRST102"),
            ("POST /labels", "{", 400, "PGRST102"),
            ("POST /labels", "", 400, "PGRST102"),
            ("POST /labels", r#"{"id":1,"nope":2}"#, 400, "PGRST204"),
            ("POST /labels?columns=nope", r#"{"id":1}"#, 400, "PGRST204"),
            ("POST /labels", r#"{"id":1}"#, 409, "23505"),
            ("POST /book_labels", r#"{"book_id":1,"label_id":777}"#, 409, "23503"),
            ("POST /books", r#"{"id":200}"#, 400, "23502"),
            ("POST /books", r#"{"id":"abc","title":"x"}"#, 400, "22P02"),
            ("POST /empty_defaults", r#"{"g":1}"#, 400, "428C9"),
            ("POST /none", "{}", 404, "PGRST205"),
            ("POST /labels?select=nope(id)", r#"{"id":300}"#, 400, "PGRST200"),
        ] {
            let answer = box_.send(call(line).body(body)).await;
            wrong.compare(
                &format!("{line} {body}: {}", answer.text()),
                &(answer.status, answer.code().as_str()),
                &(status, code),
            );
        }
        assert_eq!(box_.sql("select count(*) from labels where id = 300").await, "0");
        wrong.none();
    });
}

#[test]
fn upserts_tell_new_rows_from_old() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        let merge = "resolution=merge-duplicates,return=representation";
        let ignore = "resolution=ignore-duplicates,return=representation";
        for (line, prefer, body, status, expected) in [
            ("POST /labels", merge, r#"{"id":1,"label":"RED"}"#, 200, json!([{"id":1,"label":"RED"}])),
            (
                "POST /labels",
                merge,
                r#"[{"id":2,"label":"B"},{"id":9,"label":"new"}]"#,
                201,
                json!([{"id":2,"label":"B"},{"id":9,"label":"new"}]),
            ),
            ("POST /labels", ignore, r#"{"id":1,"label":"x"}"#, 201, json!([])),
            (
                "POST /labels",
                ignore,
                r#"[{"id":1,"label":"x"},{"id":8,"label":"y"}]"#,
                201,
                json!([{"id":8,"label":"y"}]),
            ),
            ("POST /nokey", merge, r#"{"n":1,"v":"a"}"#, 201, json!([{"n":1,"v":"a"}])),
            ("POST /nokey?on_conflict=n", merge, r#"{"n":1,"v":"b"}"#, 200, json!([{"n":1,"v":"b"}])),
            ("POST /pairs", merge, r#"{"a":1,"b":1,"v":"z"}"#, 200, json!([{"a":1,"b":1,"v":"z"}])),
            ("POST /book_view?select=id,t", merge, r#"{"id":1,"t":"changed"}"#, 200, json!([{"id":1,"t":"changed"}])),
        ] {
            let answer = box_.send(call(line).prefer(prefer).body(body)).await;
            wrong.compare(
                &format!("{line} {body}: {}", answer.text()),
                &(answer.status, answer.json()),
                &(status, expected),
            );
        }
        let applied = box_.send(call("POST /labels").prefer(merge).body(r#"{"id":1}"#)).await;
        assert_eq!(applied.header("preference-applied"), "resolution=merge-duplicates, return=representation");
        let minimal = box_.send(call("POST /labels").prefer("resolution=merge-duplicates").body(r#"{"id":1}"#)).await;
        assert_eq!((minimal.status, minimal.text()), (200, ""));
        let bad = box_.send(call("POST /nokey?on_conflict=v").prefer(merge).body(r#"{"n":1}"#)).await;
        assert_eq!((bad.status, bad.code().as_str()), (400, "42P10"));
        wrong.none();
    });
}

#[test]
fn puts_are_one_row() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        for (line, prefer, body, status) in [
            ("PUT /labels?id=eq.1", ROWS, r#"{"id":1,"label":"r"}"#, 200),
            ("PUT /labels?id=eq.50", ROWS, r#"{"id":50,"label":"r"}"#, 201),
            ("PUT /labels?id=eq.51", "", r#"[{"id":51,"label":"r"}]"#, 204),
            ("PUT /pairs?a=eq.1&b=eq.1", "", r#"{"a":1,"b":1,"v":"r"}"#, 204),
        ] {
            let answer = box_.send(call(line).prefer(prefer).body(body)).await;
            wrong.compare(&format!("{line}: {}", answer.text()), &answer.status, &status);
        }
        for (line, body, status, code) in [
            ("PUT /labels?label=eq.x", r#"{"id":1}"#, 405, "PGRST105"),
            ("PUT /labels?id=gt.1", r#"{"id":1}"#, 405, "PGRST105"),
            ("PUT /labels", r#"{"id":1}"#, 405, "PGRST105"),
            ("PUT /pairs?a=eq.1", r#"{"a":1,"b":1}"#, 405, "PGRST105"),
            ("PUT /nokey?n=eq.1", r#"{"n":1}"#, 405, "PGRST105"),
            ("PUT /labels?id=eq.1&limit=1", r#"{"id":1}"#, 400, "PGRST114"),
            ("PUT /labels?id=eq.60", r#"{"id":61}"#, 400, "PGRST115"),
            ("PUT /labels?id=eq.60", r#"{"label":"x"}"#, 400, "PGRST115"),
            ("PUT /labels?id=eq.60", r#"[{"id":60},{"id":60}]"#, 400, "PGRST115"),
        ] {
            let answer = box_.send(call(line).body(body)).await;
            wrong.compare(
                &format!("{line} {body}: {}", answer.text()),
                &(answer.status, answer.code().as_str()),
                &(status, code),
            );
        }
        assert_eq!(box_.sql("select count(*) from labels where id in (60, 61)").await, "0");
        wrong.none();
    });
}

#[test]
fn updates_and_deletes() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        for (line, prefer, body, status, range, expected) in [
            ("PATCH /labels?id=eq.1", "", r#"{"label":"a"}"#, 204, "0-0/*", Value::Null),
            ("PATCH /labels?id=eq.1", ROWS, r#"{"label":"b"}"#, 200, "0-0/*", json!([{"id":1,"label":"b"}])),
            ("PATCH /labels?id=eq.77", ROWS, r#"{"label":"b"}"#, 200, "*/*", json!([])),
            ("PATCH /labels?id=eq.77", "count=exact", r#"{"label":"b"}"#, 204, "*/0", Value::Null),
            ("PATCH /labels?id=lt.3", "count=exact", r#"{"label":"c"}"#, 204, "0-1/2", Value::Null),
            ("PATCH /labels", ROWS, "{}", 200, "*/*", json!([])),
            ("PATCH /labels", "", "{}", 204, "*/*", Value::Null),
            ("PATCH /labels?columns=", ROWS, r#"{"label":"z"}"#, 200, "*/*", json!([])),
            (
                "PATCH /labels?columns=label&id=eq.1&select=id,label",
                ROWS,
                r#"{"label":"z","id":9}"#,
                200,
                "0-0/*",
                json!([{"id":1,"label":"z"}]),
            ),
            (
                "PATCH /books?id=eq.1&select=id,data,authors(name)",
                ROWS,
                r#"{"data":{"z":[1]},"author_id":2}"#,
                200,
                "0-0/*",
                json!([{"id":1,"data":{"z":[1]},"authors":{"name":"Bob"}}]),
            ),
            (
                "PATCH /books?or=(id.eq.1,id.eq.2)&select=id&order=id.desc",
                ROWS,
                r#"{"kind":"w"}"#,
                200,
                "0-1/*",
                json!([{"id":2},{"id":1}]),
            ),
            (
                "PATCH /labels?limit=1&order=id&select=id",
                ROWS,
                r#"{"label":"all"}"#,
                200,
                "0-2/*",
                json!([{"id":1},{"id":2},{"id":3}]),
            ),
            ("PATCH /empty_defaults?columns=n", "missing=default", "{}", 204, "*/*", Value::Null),
            ("DELETE /book_labels?book_id=eq.2", ROWS, "", 200, "*/*", json!([{"book_id":2,"label_id":2}])),
            ("DELETE /labels?id=eq.3", "", "", 204, "*/*", Value::Null),
            ("DELETE /labels?id=eq.3", "count=exact", "", 204, "*/0", Value::Null),
            ("DELETE /labels?id=eq.3", ROWS, "", 200, "*/*", json!([])),
            (
                "DELETE /book_labels?book_id=eq.1&label_id=eq.1&select=books(title)",
                ROWS,
                "",
                200,
                "*/*",
                json!([{"books":{"title":"Alpha"}}]),
            ),
            ("DELETE /nokey", "", "", 204, "*/*", Value::Null),
        ] {
            let answer = box_.send(call(line).prefer(prefer).body(body)).await;
            wrong.compare(
                &format!("{line} {body}: {}", answer.text()),
                &(answer.status, answer.json()),
                &(status, expected),
            );
            wrong.compare(&format!("{line} {body} range"), &answer.header("content-range"), &range);
        }
        box_.refusals(&[
            ("DELETE /books?nocol=eq.1", 400, "42703"),
            ("DELETE /books?authors.name=eq.1", 400, "PGRST108"),
            ("DELETE /none", 404, "PGRST205"),
            ("DELETE /author_books", 500, "55000"),
        ])
        .await;
        let unknown = box_.send(call("PATCH /labels").body(r#"{"nope":1}"#)).await;
        assert_eq!((unknown.status, unknown.code().as_str()), (400, "PGRST204"));
        wrong.none();
    });
}

#[test]
fn checks_after_a_write_undo_it() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        let strict = "handling=strict, max-affected=1";
        let many = box_.send(call("DELETE /book_labels?book_id=eq.1").prefer(strict)).await;
        assert_eq!((many.status, many.code().as_str()), (400, "PGRST124"));
        assert_eq!(many.json()["details"], "The query affects 2 rows");
        assert_eq!(box_.sql("select count(*) from book_labels where book_id = 1").await, "2");
        let few = box_.send(call("DELETE /book_labels?book_id=eq.2").prefer(strict)).await;
        assert_eq!((few.status, few.header("preference-applied")), (204, "handling=strict, max-affected=1"));
        let lenient = box_.send(call("PATCH /labels").prefer("max-affected=1").body(r#"{"label":"x"}"#)).await;
        assert_eq!(lenient.status, 204);
        let unknown = box_.send(call("DELETE /labels").prefer("handling=strict, foo=bar")).await;
        assert_eq!((unknown.status, unknown.code().as_str()), (400, "PGRST122"));

        let object = "application/vnd.pgrst.object+json";
        let two = call("PATCH /labels?id=lt.3").accept(object).prefer(ROWS).body(r#"{"label":"gone"}"#);
        let answer = box_.send(two).await;
        assert_eq!((answer.status, answer.code().as_str()), (406, "PGRST116"));
        assert_eq!(answer.json()["details"], "The result contains 2 rows");
        assert_eq!(box_.sql("select count(*) from labels where label = 'gone'").await, "0");
        let one = call("PATCH /labels?id=eq.1").accept(object).prefer(ROWS).body(r#"{"label":"one"}"#);
        assert_eq!(box_.send(one).await.json(), json!({"id":1,"label":"one"}));

        let undone = call("PATCH /labels?id=eq.1").prefer("tx=rollback").body(r#"{"label":"tx"}"#);
        assert_eq!(box_.send(undone.clone()).await.header("preference-applied"), "");
        assert_eq!(box_.sql("select label from labels where id = 1").await, "tx");
        box_.settings.transaction_end = true;
        let undone = super::Call { body: r#"{"label":"not kept"}"#, ..undone };
        assert_eq!(box_.send(undone).await.header("preference-applied"), "tx=rollback");
        assert_eq!(box_.sql("select label from labels where id = 1").await, "tx");
    });
}

#[test]
fn policies_and_privileges_decide() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let refused = box_.send(call("POST /labels").anon().body(r#"{"id":70}"#)).await;
        assert_eq!((refused.status, refused.code().as_str()), (401, "42501"));
        assert_eq!(refused.header("www-authenticate"), "Bearer");
        assert_eq!(refused.header("proxy-status"), "PostgREST; error=42501");
        let dark = box_.send(call("GET /dark").anon()).await;
        assert_eq!((dark.status, dark.json()["message"].as_str().unwrap()), (401, "permission denied for table dark"));
        assert!(dark.json()["hint"].as_str().unwrap().contains("expose"));
        assert_eq!(box_.send(call("GET /dark").user("u1")).await.status, 403);
        assert_eq!(box_.send(call("GET /owned").anon()).await.json(), json!([]));
        assert_eq!(box_.send(call("GET /owned?select=id").user("u1")).await.json(), json!([{"id":1}]));
        let other = box_.send(call("POST /owned").user("u1").body(r#"{"id":5,"owner":"u2"}"#)).await;
        assert_eq!((other.status, other.code().as_str()), (403, "42501"));
        let mine = box_.send(call("POST /owned").user("u1").prefer(ROWS).body(r#"{"id":5,"owner":"u1"}"#)).await;
        assert_eq!((mine.status, mine.json()), (201, json!([{"id":5,"owner":"u1","v":null}])));
        let blind = box_.send(call("PATCH /owned?id=eq.2").user("u1").prefer(ROWS).body(r#"{"v":"x"}"#)).await;
        assert_eq!((blind.status, blind.json()), (200, json!([])));
    });
}

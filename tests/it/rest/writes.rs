//! Inserts, upserts, updates, deletes, single puts (contract 02 §7.9, check 19).

use super::*;

#[tokio::test]
async fn inserts_answer_as_preferred() {
    let fixture = Fixture::new().await;
    let mut cases = Vec::new();
    for (path, prefer, body, expected) in [
        ("/labels", ROWS, json!({"id": 10, "label": "ten"}), json!([{"id": 10, "label": "ten"}])),
        ("/labels", ROWS, json!([{"id": 11, "label": "a"}, {"id": 12, "label": "b"}]), json!([{"id": 11, "label": "a"}, {"id": 12, "label": "b"}])),
        ("/labels", ROWS, json!([]), json!([])),
        ("/labels?columns=id", ROWS, json!([{"id": 13, "label": "ignored"}]), json!([{"id": 13, "label": null}])),
        ("/labels?columns=\"id\",\"label\"", ROWS, json!([{"id": 14}, {"id": 15, "label": "x"}]), json!([{"id": 14, "label": null}, {"id": 15, "label": "x"}])),
        ("/labels?select=x:label", ROWS, json!({"id": 16, "label": "sel"}), json!([{"x": "sel"}])),
        ("/labels?select=id&order=id.desc", ROWS, json!([{"id": 17}, {"id": 18}]), json!([{"id": 18}, {"id": 17}])),
        ("/defaults", ROWS, json!({}), json!([{"id": 1, "n": 7, "stamp": "2026-01-01T00:00:00+00:00", "g": 14}])),
        ("/defaults?select=id,n", ROWS, json!([{}, {}]), json!([{"id": 2, "n": 7}, {"id": 3, "n": 7}])),
        ("/defaults?columns=id,n&select=id,n", ROWS, json!([{"id": 50}]), json!([{"id": 50, "n": null}])),
        ("/defaults?columns=id,n&select=id,n", "missing=default,return=representation", json!([{"id": 51}, {"id": 52, "n": 1}]), json!([{"id": 51, "n": 7}, {"id": 52, "n": 1}])),
        ("/defaults?columns=id,n&select=id,n", "missing=null,return=representation", json!([{"id": 53}]), json!([{"id": 53, "n": null}])),
        ("/books?select=id,title,authors(name)", ROWS, json!({"id": 100, "title": "New", "author_id": 2}), json!([{"id": 100, "title": "New", "authors": {"name": "Bob"}}])),
        ("/book_view?select=id,t", ROWS, json!({"id": 101, "t": "Through a view"}), json!([{"id": 101, "t": "Through a view"}])),
        ("/notes?select=list,doc,day,done", ROWS, json!({"body": "types", "list": [3, 4], "doc": {"deep": [1, null]}, "day": "2026-02-03", "done": true}),
         json!([{"list": [3, 4], "doc": {"deep": [1, null]}, "day": "2026-02-03", "done": true}])),
        ("/notes?select=doc", ROWS, json!({"body": "json text", "doc": "just text"}), json!([{"doc": "just text"}])),
        ("/notes?select=body,n", ROWS, json!({"body": "it's; -- \"quoted\" \u{1F642}\nnew line", "n": null}), json!([{"body": "it's; -- \"quoted\" \u{1F642}\nnew line", "n": null}])),
        ("/always?select=v", ROWS, json!({"v": "x"}), json!([{"v": "x"}])),
        ("/odd%20name?select=a b", ROWS, json!({"a b": 2, "qu\"ote": "q"}), json!([{"a b": 2}])),
    ] {
        let case = admin(&format!("POST {path}")).prefer(prefer).json(&body).status(201).gives(expected);
        cases.push(case.with("content-type", "application/json; charset=utf-8").with("content-range", "*/*"));
    }
    for (id, prefer) in [(200, ""), (201, "return=minimal"), (202, "return=unknown")] {
        let body = json!({"label": "quiet", "id": id});
        cases.push(admin("POST /labels").prefer(prefer).json(&body).status(201).text("").without("content-type").without("location"));
    }
    let located = || admin("POST /labels").prefer("return=headers-only").status(201).text("");
    cases.push(located().json(&json!({"id": 33})).with("location", "/labels?id=eq.33"));
    cases.push(located().json(&json!([{"id": 34}, {"id": 35}])).without("location"));
    cases.push(admin("POST /pairs").prefer("return=headers-only").json(&json!({"a": 7, "b": 8})).status(201).with("location", "/pairs?a=eq.7&b=eq.8"));
    cases.push(admin("POST /labels").prefer(ROWS).json(&json!({"id": 36})).status(201).without("location"));
    cases.push(admin("POST /labels").prefer("count=exact").json(&json!([{"id": 37}, {"id": 38}])).status(201).with("content-range", "*/2"));
    cases.push(
        admin("POST /labels").prefer(ROWS).accept(OBJECT).json(&json!({"id": 39, "label": "one"})).status(201)
            .gives(json!({"id": 39, "label": "one"})),
    );
    cases.push(
        admin("POST /labels").prefer(ROWS).accept(OBJECT).json(&json!([{"id": 40}, {"id": 41}])).native(406, "PGRST116")
            .stored("select count(*)::int from labels where id in (40, 41)", 0),
    );
    cases.push(
        admin("POST /labels").prefer(ROWS).accept("text/csv").json(&json!({"id": 42, "label": "a,b"})).status(201)
            .text("id,label\n42,\"a,b\""),
    );
    fixture.check(cases).await;
}

#[tokio::test]
async fn bodies_of_every_kind_are_read() {
    let fixture = Fixture::new().await;
    let rows = |kind: &'static str, path: &str, body: &str| admin(&format!("POST {path}")).prefer(ROWS).body(kind, body);
    fixture
        .check(vec![
            rows("text/csv", "/labels", "id,label\n30,NULL\n31,\"x,\"\"y\"\n").status(201)
                .gives(json!([{"id": 30, "label": null}, {"id": 31, "label": "x,\"y"}])),
            rows("text/csv; charset=utf-8", "/labels", "id,label\r\n32,\"NULL\"\r\n").status(201).gives(json!([{"id": 32, "label": "NULL"}])),
            rows("text/csv", "/labels", "id,label\n33,\"two\nlines\"").status(201).gives(json!([{"id": 33, "label": "two\nlines"}])),
            rows("text/csv", "/labels", "id,label\n34,\n").status(201).gives(json!([{"id": 34, "label": ""}])),
            rows("text/csv", "/labels", "id,label\n40\n").native(400, "PGRST102").saying("All lines must have same number of fields"),
            rows("text/csv", "/labels", "id,nope\n40,1\n").native(400, "PGRST204"),
            rows("application/x-www-form-urlencoded", "/labels", "id=35&label=a+b%21").status(201).gives(json!([{"id": 35, "label": "a b!"}])),
            rows("application/json; charset=utf-8", "/labels", r#"{"id":36}"#).status(201).gives(json!([{"id": 36, "label": null}])),
            rows("application/json", "/labels", " \n[{\"id\":37}]\n").status(201).gives(json!([{"id": 37, "label": null}])),
            rows("application/json", "/labels", "{").native(400, "PGRST102").saying("Empty or invalid json"),
            rows("application/json", "/labels", "").native(400, "PGRST102").saying("Empty or invalid json"),
            rows("application/json", "/labels", "\u{feff}nope").native(400, "PGRST102"),
            rows("application/json", "/labels", "7").native(400, "PGRST102"),
            rows("application/json", "/labels", "[1]").native(400, "PGRST102"),
            rows("application/json", "/labels", r#"[{"id":60},{"label":"x"}]"#).native(400, "PGRST102").saying("All object keys must match")
                .stored("select count(*)::int from labels where id = 60", 0),
            rows("application/json", "/labels", r#"{"id":60,"nope":2}"#).native(400, "PGRST204")
                .saying("Could not find the 'nope' column of 'labels' in the schema cache"),
            rows("application/json", "/labels?columns=nope", r#"{"id":60}"#).native(400, "PGRST204"),
            rows("application/json", "/labels?columns=id,,", r#"{"id":60}"#).native(400, "PGRST100"),
            rows("application/xml", "/labels", "<id>1</id>").native(400, "PGRST102").saying("Content-Type not acceptable: application/xml"),
            rows("image/png", "/labels", "x").native(400, "PGRST102"),
            rows("application/json", "/labels", "{\"id\":61,\"label\":\"nul\\u0000\"}").native(400, "22P05"),
        ])
        .await;
    let mut bytes = b"{\"id\":70,\"label\":\"".to_vec();
    bytes.extend([0xff, 0xfe]);
    bytes.extend(b"\"}");
    let answer = fixture
        .api
        .post("/admin/v1/rest/labels")
        .bearer(&fixture.project.service_key)
        .body("application/json", bytes)
        .send()
        .await;
    assert_eq!(answer.status, 400, "{answer}");
}

#[tokio::test]
async fn the_database_refuses_with_its_own_codes() {
    let fixture = Fixture::new().await;
    let mut cases = Vec::new();
    for (path, body, status, code) in [
        ("/labels", json!({"id": 1}), 409, "23505"),
        ("/book_labels", json!({"book_id": 1, "label_id": 777}), 409, "23503"),
        ("/books", json!({"id": 200}), 400, "23502"),
        ("/books", json!({"id": "abc", "title": "x"}), 400, "22P02"),
        ("/books", json!({"title": "x", "mood": "angry"}), 400, "22P02"),
        ("/books", json!({"title": "x", "price": 12_345_678}), 400, "22003"),
        ("/books", json!({"title": "x", "made": "never"}), 400, "22007"),
        ("/defaults", json!({"g": 1}), 400, "428C9"),
        ("/always", json!({"id": 5, "v": "x"}), 400, "428C9"),
        ("/notes", json!({"body": "bad"}), 400, "23514"),
        ("/none", json!({}), 404, "PGRST205"),
        ("/author_books", json!({"id": 1}), 500, "55000"),
        ("/labels?select=nope(id)", json!({"id": 300}), 400, "PGRST200"),
        ("/labels?select=nope", json!({"id": 300}), 400, "42703"),
    ] {
        let case = admin(&format!("POST {path}")).prefer(ROWS).json(&body).native(status, code);
        cases.push(case.stored("select count(*)::int from labels where id = 300", 0));
    }
    fixture.check(cases).await;
}

#[tokio::test]
async fn upserts_tell_new_rows_from_old() {
    let fixture = Fixture::new().await;
    let merge = "resolution=merge-duplicates,return=representation";
    let ignore = "resolution=ignore-duplicates,return=representation";
    let mut cases = Vec::new();
    for (path, prefer, body, status, expected) in [
        ("/labels", merge, json!({"id": 1, "label": "RED"}), 200, json!([{"id": 1, "label": "RED"}])),
        ("/labels", merge, json!([{"id": 2, "label": "B"}, {"id": 9, "label": "new"}]), 201, json!([{"id": 2, "label": "B"}, {"id": 9, "label": "new"}])),
        ("/labels", merge, json!({"id": 10, "label": "all new"}), 201, json!([{"id": 10, "label": "all new"}])),
        ("/labels", merge, json!([]), 200, json!([])),
        ("/labels", ignore, json!([]), 201, json!([])),
        ("/labels", ignore, json!({"id": 1, "label": "x"}), 201, json!([])),
        ("/labels", ignore, json!([{"id": 1, "label": "x"}, {"id": 8, "label": "y"}]), 201, json!([{"id": 8, "label": "y"}])),
        ("/nokey", merge, json!({"n": 1, "v": "a"}), 201, json!([{"n": 1, "v": "a"}])),
        ("/nokey?on_conflict=n", merge, json!({"n": 1, "v": "b"}), 200, json!([{"n": 1, "v": "b"}])),
        ("/nokey?on_conflict=n", ignore, json!({"n": 1, "v": "c"}), 201, json!([])),
        ("/pairs", merge, json!({"a": 1, "b": 1, "v": "z"}), 200, json!([{"a": 1, "b": 1, "v": "z"}])),
        ("/pairs?on_conflict=a,b", merge, json!({"a": 1, "b": 2, "v": "w"}), 200, json!([{"a": 1, "b": 2, "v": "w"}])),
        ("/notes?on_conflict=n&select=n,body", merge, json!({"n": 1, "body": "uno"}), 200, json!([{"n": 1, "body": "uno"}])),
        ("/book_view?select=id,t", merge, json!({"id": 1, "t": "changed"}), 200, json!([{"id": 1, "t": "changed"}])),
    ] {
        cases.push(admin(&format!("POST {path}")).prefer(prefer).json(&body).status(status).gives(expected));
    }
    let merging = || admin("POST /labels").json(&json!({"id": 1, "label": "m"}));
    cases.push(merging().prefer("resolution=merge-duplicates").status(200).text("").with("preference-applied", "resolution=merge-duplicates"));
    cases.push(merging().prefer(merge).status(200).with("preference-applied", "resolution=merge-duplicates, return=representation"));
    cases.push(admin("POST /nokey?on_conflict=v").prefer(merge).json(&json!({"n": 1})).native(400, "42P10"));
    cases.push(admin("POST /labels?on_conflict=nope").prefer(merge).json(&json!({"id": 1})).native(400, "42703"));
    cases.push(admin("POST /labels").prefer(merge).json(&json!([{"id": 1, "label": "a"}, {"id": 1, "label": "b"}])).native(500, "21000"));
    fixture.check(cases).await;
}

#[tokio::test]
async fn updates_touch_what_the_filters_choose() {
    let fixture = Fixture::new().await;
    let mut cases = Vec::new();
    for (path, prefer, body, status, range, expected) in [
        ("/labels?id=eq.1", "", json!({"label": "a"}), 204, "0-0/*", Value::Null),
        ("/labels?id=eq.1", "return=minimal", json!({"label": "a"}), 204, "0-0/*", Value::Null),
        ("/labels?id=eq.1", ROWS, json!({"label": "b"}), 200, "0-0/*", json!([{"id": 1, "label": "b"}])),
        ("/labels?id=eq.1", ROWS, json!([{"label": "c"}]), 200, "0-0/*", json!([{"id": 1, "label": "c"}])),
        ("/labels?id=eq.77", ROWS, json!({"label": "b"}), 200, "*/*", json!([])),
        ("/labels?id=eq.77", "", json!({"label": "b"}), 204, "*/*", Value::Null),
        ("/labels?id=eq.77", "count=exact", json!({"label": "b"}), 204, "*/0", Value::Null),
        ("/labels?id=lt.3", "count=exact", json!({"label": "c"}), 204, "0-1/2", Value::Null),
        ("/labels", ROWS, json!({}), 200, "*/*", json!([])),
        ("/labels", "", json!({}), 204, "*/*", Value::Null),
        ("/labels?columns=", ROWS, json!({"label": "z"}), 200, "*/*", json!([])),
        ("/labels?columns=label&id=eq.1", ROWS, json!({"label": "z", "id": 9}), 200, "0-0/*", json!([{"id": 1, "label": "z"}])),
        ("/books?id=eq.1&select=id,data,authors(name)", ROWS, json!({"data": {"z": [1]}, "author_id": 2}), 200, "0-0/*",
         json!([{"id": 1, "data": {"z": [1]}, "authors": {"name": "Bob"}}])),
        ("/books?or=(id.eq.1,id.eq.2)&select=id&order=id.desc", ROWS, json!({"kind": "w"}), 200, "0-1/*", json!([{"id": 2}, {"id": 1}])),
        ("/labels?limit=1&order=id&select=id", ROWS, json!({"label": "all"}), 200, "0-2/*", json!([{"id": 1}, {"id": 2}, {"id": 3}])),
        ("/labels?id=eq.1&label=eq.all&select=label", ROWS, json!({"label": null}), 200, "0-0/*", json!([{"label": null}])),
        ("/book_view?id=eq.2&select=t", ROWS, json!({"t": "via view"}), 200, "0-0/*", json!([{"t": "via view"}])),
        ("/books?data->>k=eq.w&select=id", ROWS, json!({"kind": "json"}), 200, "0-0/*", json!([{"id": 2}])),
    ] {
        let mut case = admin(&format!("PATCH {path}")).prefer(prefer).json(&body).status(status).with("content-range", range).gives(expected);
        if status == 204 {
            case = case.text("").without("content-type");
        }
        cases.push(case);
    }
    for (path, body, status, code) in [
        ("/labels", json!({"nope": 1}), 400, "PGRST204"),
        ("/labels?nope=eq.1", json!({"label": "x"}), 400, "42703"),
        ("/labels?id=foo.1", json!({"label": "x"}), 400, "PGRST100"),
        ("/labels?id=eq.1", json!({"id": 2}), 409, "23505"),
        ("/books?authors.name=eq.x", json!({"kind": "x"}), 400, "PGRST108"),
        ("/defaults?id=eq.1", json!({"g": 1}), 400, "428C9"),
        ("/none", json!({"a": 1}), 404, "PGRST205"),
    ] {
        cases.push(admin(&format!("PATCH {path}")).json(&body).native(status, code));
    }
    cases.push(admin("PATCH /labels").body("application/json", "").native(400, "PGRST102"));
    cases.push(
        admin("PATCH /labels?id=lt.3").accept(OBJECT).prefer(ROWS).json(&json!({"label": "gone"})).native(406, "PGRST116")
            .member("details", "The result contains 2 rows")
            .stored("select count(*)::int from labels where label = 'gone'", 0),
    );
    cases.push(
        admin("PATCH /labels?id=eq.99").accept(OBJECT).prefer(ROWS).json(&json!({"label": "gone"})).native(406, "PGRST116")
            .member("details", "The result contains 0 rows"),
    );
    fixture.check(cases).await;
}

#[tokio::test]
async fn deletes_remove_what_the_filters_choose() {
    let fixture = Fixture::new().await;
    let mut cases = Vec::new();
    for (path, prefer, status, range, expected) in [
        ("/book_labels?book_id=eq.2", ROWS, 200, "*/*", json!([{"book_id": 2, "label_id": 2}])),
        ("/book_labels?book_id=eq.1&label_id=eq.1&select=books(title)", ROWS, 200, "*/*", json!([{"books": {"title": "Alpha"}}])),
        ("/labels?id=eq.3", "", 204, "*/*", Value::Null),
        ("/labels?id=eq.3", "count=exact", 204, "*/0", Value::Null),
        ("/labels?id=eq.3", ROWS, 200, "*/*", json!([])),
        ("/forty?id=gt.40&select=id&order=id.desc", ROWS, 200, "*/*", json!([{"id": 42}, {"id": 41}])),
        ("/forty?id=gt.38&limit=1", "count=exact", 204, "*/2", Value::Null),
        ("/forty", "count=exact", 204, "*/38", Value::Null),
        ("/nothing_in", "", 204, "*/*", Value::Null),
    ] {
        cases.push(admin(&format!("DELETE {path}")).prefer(prefer).status(status).with("content-range", range).gives(expected));
    }
    // db() sends a content type with every request, and a body is nothing to DELETE.
    cases.push(admin("DELETE /labels?id=eq.555").prefer(ROWS).body("application/json", "").gives(json!([])));
    cases.push(admin("DELETE /labels?id=eq.555").prefer(ROWS).body("application/json", "{nonsense").gives(json!([])));
    cases.push(admin("DELETE /labels?nope=eq.1").native(400, "42703"));
    cases.push(admin("DELETE /labels?authors.name=eq.1").native(400, "PGRST108"));
    cases.push(admin("DELETE /none").native(404, "PGRST205"));
    cases.push(admin("DELETE /author_books").native(500, "55000"));
    cases.push(admin("DELETE /authors?id=eq.1").native(409, "23503").stored("select count(*)::int from authors", 3));
    fixture.check(cases).await;
}

#[tokio::test]
async fn a_put_is_one_row_named_by_its_key() {
    let fixture = Fixture::new().await;
    let mut cases = Vec::new();
    for (path, prefer, body, status) in [
        ("/labels?id=eq.1", ROWS, json!({"id": 1, "label": "r"}), 200),
        ("/labels?id=eq.50", ROWS, json!({"id": 50, "label": "r"}), 201),
        ("/labels?id=eq.51", "", json!([{"id": 51, "label": "r"}]), 204),
        ("/labels?id=eq.51", "", json!({"id": 51, "label": "s"}), 204),
        ("/pairs?a=eq.1&b=eq.1", "", json!({"a": 1, "b": 1, "v": "r"}), 204),
        ("/pairs?and=(a.eq.1,b.eq.1)", "", json!({"a": 1, "b": 1, "v": "r"}), 405),
    ] {
        cases.push(admin(&format!("PUT {path}")).prefer(prefer).json(&body).status(status));
    }
    for (path, body, status, code) in [
        ("/labels?label=eq.x", json!({"id": 1}), 405, "PGRST105"),
        ("/labels?id=eq.1&label=eq.r", json!({"id": 1}), 405, "PGRST105"),
        ("/labels?id=gt.1", json!({"id": 1}), 405, "PGRST105"),
        ("/labels?id=not.eq.1", json!({"id": 1}), 405, "PGRST105"),
        ("/labels", json!({"id": 1}), 405, "PGRST105"),
        ("/pairs?a=eq.1", json!({"a": 1, "b": 1}), 405, "PGRST105"),
        ("/nokey?n=eq.1", json!({"n": 1}), 405, "PGRST105"),
        ("/labels?id=eq.1&limit=1", json!({"id": 1}), 400, "PGRST114"),
        ("/labels?id=eq.1&offset=1", json!({"id": 1}), 400, "PGRST114"),
        ("/labels?id=eq.60", json!({"id": 61}), 400, "PGRST115"),
        ("/labels?id=eq.60", json!({"label": "x"}), 400, "PGRST115"),
        ("/labels?id=eq.60", json!([{"id": 60}, {"id": 60}]), 400, "PGRST115"),
        ("/none?id=eq.1", json!({"id": 1}), 404, "PGRST205"),
    ] {
        let case = admin(&format!("PUT {path}")).json(&body).native(status, code);
        cases.push(case.stored("select count(*)::int from labels where id in (60, 61)", 0));
    }
    fixture.check(cases).await;
}

#[tokio::test]
async fn policies_hold_for_writes_with_the_anon_key() {
    let fixture = Fixture::new().await;
    let checked = "new row violates row-level security policy for table \"guarded\"";
    fixture
        .check(vec![
            anon("GET /guarded?select=id").gives(json!([{"id": 1}])),
            admin("GET /guarded?select=id&order=id").gives(json!([{"id": 1}, {"id": 2}])),
            anon("POST /guarded").prefer(ROWS).json(&json!({"id": 5, "owner": "anon"})).status(201)
                .gives(json!([{"id": 5, "owner": "anon", "v": null}])),
            anon("POST /guarded").json(&json!({"id": 6, "owner": "other"})).native(401, "42501").saying(checked),
            anon("PATCH /guarded?id=eq.1").prefer(ROWS).json(&json!({"v": "x"})).gives(json!([{"id": 1, "owner": "anon", "v": "x"}])),
            anon("PATCH /guarded?id=eq.2").prefer(ROWS).json(&json!({"v": "x"})).gives(json!([])),
            anon("PATCH /guarded?id=eq.1").json(&json!({"owner": "other"})).native(401, "42501").saying(checked),
            anon("DELETE /guarded?id=eq.2").status(204).stored("select count(*)::int from guarded where id = 2", 1),
            anon("DELETE /guarded").prefer(ROWS).status(200).stored("select count(*)::int from guarded", 1),
            anon("POST /nokey").json(&json!({"n": 4, "v": "open"})).status(201),
            anon("POST /labels").json(&json!({"id": 70})).native(401, "42501").saying("permission denied for table labels")
                .with("www-authenticate", "Bearer"),
            anon("PATCH /labels").json(&json!({"label": "x"})).native(401, "42501"),
            anon("DELETE /labels").native(401, "42501").stored("select count(*)::int from labels", 3),
            anon("PUT /labels?id=eq.1").json(&json!({"id": 1})).native(401, "42501"),
            // A representation needs the right to read what it shows.
            anon("POST /half_dark").json(&json!({"id": 7, "open": "x"})).status(201),
            anon("POST /half_dark").prefer(ROWS).json(&json!({"id": 8, "open": "x"})).native(401, "42501"),
            anon("POST /half_dark?select=id,open").prefer(ROWS).json(&json!({"id": 8, "open": "x"})).status(201)
                .gives(json!([{"id": 8, "open": "x"}])),
        ])
        .await;
}

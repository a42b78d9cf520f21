//! Columns, aliases, casts, paths, aggregates (contract 02 §7.6, check 15) and order (§7.8, check 18).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn items_become_keys() {
    let red = json!([{"id": 1, "label": "red"}]);
    fixture()
        .await
        .check(reads(vec![
            ("/labels?id=eq.1", red.clone()),
            ("/labels?select=&id=eq.1", red.clone()),
            ("/labels?select=*&id=eq.1", red.clone()),
            ("/labels?select=id,label&id=eq.1", red.clone()),
            ("/labels?select=id,%20label&id=eq.1", red.clone()),
            ("/labels?select=id&select=label&id=eq.1", json!([{"id": 1}])),
            ("/labels?select=*,again:id&id=eq.1", json!([{"id": 1, "label": "red", "again": 1}])),
            ("/labels/?id=eq.1", red),
            ("/labels?select=\"my key\":label&id=eq.1", json!([{"my key": "red"}])),
            ("/books?select=full_title,id&id=eq.1", json!([{"full_title": "Alpha!", "id": 1}])),
            ("/books?select=t:full_title&id=eq.1", json!([{"t": "Alpha!"}])),
            ("/odd%20name?select=z:a b", json!([{"z": 1}])),
            ("/odd%20name?select=\"a b\",\"qu\\\"ote\"", json!([{"a b": 1, "qu\"ote": "x"}])),
            ("/odd%20name?select=*", json!([{"a b": 1, "qu\"ote": "x", "émoji 🙂": "y"}])),
            ("/book_view?id=eq.1", json!([{"id": 1, "t": "Alpha", "aid": 1}])),
        ]))
        .await;
}

#[tokio::test]
async fn key_order_is_the_order_of_select() {
    fixture()
        .await
        .check(vec![
            both("GET /books?select=a:id,title::text,data->k,b:data->>k&id=eq.1")
                .text(r#"[{"a":1,"title":"Alpha","k":"v","b":"v"}]"#),
            both("GET /labels?select=label,id&id=eq.1").text(r#"[{"label":"red","id":1}]"#),
            both("GET /labels?id=eq.1").text(r#"[{"id":1,"label":"red"}]"#),
        ])
        .await;
}

#[tokio::test]
async fn values_are_json() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=id,price,big&id=eq.1", json!([{"id": 1, "price": 1.50, "big": 9_007_199_254_740_993_i64}])),
            ("/books?select=made&id=eq.1", json!([{"made": "2026-01-02T03:04:05.123456+00:00"}])),
            ("/books?select=tags,span,mood&id=eq.1", json!([{"tags": ["x", "y"], "span": "[1,5)", "mood": "happy"}])),
            ("/books?select=raw&id=eq.1", json!([{"raw": {"k": "v", "n": 1}}])),
            ("/authors?select=born&id=eq.1", json!([{"born": "1970-01-02"}])),
            ("/notes?select=list,doc,done,day&id=eq.1", json!([{"list": [1, 2], "doc": {"a": 1}, "done": false, "day": "2026-01-01"}])),
            ("/books?select=author_id,data&id=eq.4", json!([{"author_id": null, "data": null}])),
        ]))
        .await;
}

#[tokio::test]
async fn casts_and_paths() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=id::text&id=eq.1", json!([{"id": "1"}])),
            ("/books?select=x:id::text&id=eq.1", json!([{"x": "1"}])),
            ("/books?select=price::int&id=eq.1", json!([{"price": 2}])),
            ("/books?select=made::date&id=eq.1", json!([{"made": "2026-01-02"}])),
            ("/books?select=price::double precision&id=eq.1", json!([{"price": 1.5}])),
            ("/books?select=data->k&id=eq.1", json!([{"k": "v"}])),
            ("/books?select=data->o->p&id=eq.1", json!([{"p": "q"}])),
            ("/books?select=data->a->0&id=eq.1", json!([{"a": 1}])),
            ("/books?select=data->a->-1&id=eq.1", json!([{"a": 2}])),
            ("/books?select=data->0&id=eq.1", json!([{"data": null}])),
            ("/books?select=tags->1&id=eq.1", json!([{"tags": "y"}])),
            ("/books?select=n:data->n::int&id=eq.2", json!([{"n": 2}])),
            ("/books?select=data->>n::int&id=eq.2", json!([{"n": 2}])),
            ("/books?select=data->nope->deeper&id=eq.1", json!([{"deeper": null}])),
            ("/books?select=raw->>k&id=eq.1", json!([{"k": "v"}])),
        ]))
        .await;
}

#[tokio::test]
async fn aggregates_group_by_what_else_is_selected() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=count()", json!([{"count": 4}])),
            ("/books?select=n:count()", json!([{"n": 4}])),
            ("/books?select=count()&id=gt.2", json!([{"count": 2}])),
            ("/books?select=kind,count()&order=kind", json!([{"kind": "p", "count": 2}, {"kind": "q", "count": 2}])),
            ("/books?select=kind,id.sum()&order=kind", json!([{"kind": "p", "sum": 3}, {"kind": "q", "sum": 7}])),
            ("/books?select=id.max(),id.min()", json!([{"max": 4, "min": 1}])),
            ("/books?select=author_id.count()", json!([{"count": 3}])),
            ("/books?select=a:id.avg()::float8", json!([{"a": 2.5}])),
            ("/books?select=price::int.sum()::text", json!([{"sum": "8"}])),
            ("/books?select=data->>k,count()&data=not.is.null&order=data->>k", json!([{"k": "v", "count": 1}, {"k": "w", "count": 1}])),
            ("/authors?select=name,books(count())&order=id", json!([
                {"name": "Ann", "books": [{"count": 2}]}, {"name": "Bob", "books": [{"count": 1}]}, {"name": "Cy", "books": [{"count": 0}]}])),
            ("/books?select=...authors(name),count()&author_id=eq.1", json!([{"name": "Ann", "count": 2}])),
        ]))
        .await;
}

#[tokio::test]
async fn what_cannot_be_selected_is_refused() {
    fixture()
        .await
        .check(refusals(&[
            ("GET /books?select=nope", 400, "42703"),
            ("GET /books?select=id::nope", 400, "42704"),
            ("GET /books?select=id::int[]", 400, "PGRST100"),
            ("GET /books?select=id::varchar(3)", 400, "PGRST100"),
            ("GET /books?select=title::int", 400, "22P02"),
            ("GET /books?select=id,", 400, "PGRST100"),
            ("GET /books?select=(id)", 400, "PGRST100"),
            ("GET /books?select=id,authors(", 400, "PGRST100"),
            ("GET /books?select=id,authors(name", 400, "PGRST100"),
            ("GET /books?select=id.median()", 400, "PGRST100"),
            ("GET /books?select=a:b:id", 400, "PGRST100"),
            ("GET /books?select=title.sum()", 404, "42883"),
            ("GET /none", 404, "PGRST205"),
            ("GET /none?select=id", 404, "PGRST205"),
            ("GET /a/b", 404, "PGRST125"),
        ]))
        .await;
}

#[tokio::test]
async fn order_sorts_and_concatenates() {
    let mut cases = lists("books", &[
        ("order=id.desc", &[4, 3, 2, 1]),
        ("order=id.asc", &[1, 2, 3, 4]),
        ("order=id", &[1, 2, 3, 4]),
        ("order=kind.desc,id", &[3, 4, 1, 2]),
        ("order=kind.asc&order=id.desc", &[2, 1, 4, 3]),
        ("order=kind.desc&order=id.asc", &[3, 4, 1, 2]),
        ("order=author_id.nullsfirst,id.desc", &[4, 2, 1, 3]),
        ("order=author_id.nullslast,id", &[1, 2, 3, 4]),
        ("order=author_id.desc.nullslast,id", &[3, 1, 2, 4]),
        ("order=author_id.desc.nullsfirst,id", &[4, 3, 1, 2]),
        ("order=author_id.asc.nullsfirst,id", &[4, 1, 2, 3]),
        ("order=data->>k.desc.nullslast,id", &[2, 1, 3, 4]),
        ("order=raw->n.nullslast,id.desc", &[1, 4, 3, 2]),
        ("order=full_title.desc", &[3, 4, 2, 1]),
        ("order=\"id\".desc", &[4, 3, 2, 1]),
    ]);
    cases.extend(refusals(&[
        ("GET /books?order=id.sideways", 400, "PGRST100"),
        ("GET /books?order=id.desc.nullsmiddle", 400, "PGRST100"),
        ("GET /books?order=,", 400, "PGRST100"),
        ("GET /books?order=nope", 400, "42703"),
        ("GET /books?nope.order=id", 400, "PGRST108"),
        ("GET /books?order=authors(name)", 400, "PGRST108"),
    ]));
    fixture().await.check(cases).await;
}

//! Embedding (contract 02 §7.7).

use serde_json::json;

use super::{Fixture, call, ids};
use crate::engines::postgres::test_support::as_ordinary_user;

#[test]
fn embeds_of_every_cardinality() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows(&[
            ("GET /books?select=id,authors(name)&order=id", json!([
                {"id":1,"authors":{"name":"Ann"}},{"id":2,"authors":{"name":"Ann"}},
                {"id":3,"authors":{"name":"Bob"}},{"id":4,"authors":null}])),
            ("GET /authors?select=name,books(id)&order=id&books.order=id", json!([
                {"name":"Ann","books":[{"id":1},{"id":2}]},{"name":"Bob","books":[{"id":3}]},{"name":"Cy","books":[]}])),
            ("GET /books?select=id,details(pages)&order=id&limit=3", json!([
                {"id":1,"details":{"pages":100}},{"id":2,"details":{"pages":50}},{"id":3,"details":null}])),
            ("GET /details?select=pages,books(title)&book_id=eq.1", json!([{"pages":100,"books":{"title":"Alpha"}}])),
            ("GET /books?select=id,labels(label)&labels.order=label&order=id&limit=3", json!([
                {"id":1,"labels":[{"label":"blue"},{"label":"red"}]},{"id":2,"labels":[{"label":"blue"}]},{"id":3,"labels":[]}])),
            ("GET /labels?select=label,books(id)&books.order=id&order=id", json!([
                {"label":"red","books":[{"id":1}]},{"label":"blue","books":[{"id":1},{"id":2}]},{"label":"unused","books":[]}])),
            ("GET /books?select=id,book_labels(label_id,labels(label))&id=eq.2", json!([
                {"id":2,"book_labels":[{"label_id":2,"labels":{"label":"blue"}}]}])),
            ("GET /books?select=id,author:authors(n:name,books(id))&id=eq.3", json!([
                {"id":3,"author":{"n":"Bob","books":[{"id":3}]}}])),
            ("GET /books?select=id,author_id(name)&id=eq.3", json!([{"id":3,"author_id":{"name":"Bob"}}])),
            ("GET /books?select=id,books_author_fk(name)&id=eq.3", json!([{"id":3,"books_author_fk":{"name":"Bob"}}])),
            ("GET /books?select=id,authors!author_id(name)&id=eq.3", json!([{"id":3,"authors":{"name":"Bob"}}])),
            ("GET /books?select=id,authors!books_author_fk(name)&id=eq.3", json!([{"id":3,"authors":{"name":"Bob"}}])),
            // views stand in for their tables, traced through nested views
            ("GET /book_view?select=t,authors(name)&id=eq.3", json!([{"t":"Gamma \"g\"","authors":{"name":"Bob"}}])),
            ("GET /nested_view?select=vid,authors(name)&vid=eq.3", json!([{"vid":3,"authors":{"name":"Bob"}}])),
            ("GET /authors?select=name,nested_view(vid)&id=eq.2", json!([{"name":"Bob","nested_view":[{"vid":3}]}])),
            ("GET /nested_view?select=vid,labels(label)&vid=eq.2", json!([{"vid":2,"labels":[{"label":"blue"}]}])),
            // the same relation into itself
            ("GET /people?select=name,people(name)&id=eq.1", json!([{"name":"Top","people":[{"name":"Mid"}]}])),
            ("GET /people?select=name,boss(name)&id=eq.2", json!([{"name":"Mid","boss":{"name":"Top"}}])),
            ("GET /people?select=name,b:people!boss(name),s:people!people_boss_fk(name)&id=eq.2",
             json!([{"name":"Mid","b":{"name":"Top"},"s":[{"name":"Low"}]}])),
            ("GET /people?select=name,boss(name,boss(name))&id=eq.3", json!([{"name":"Low","boss":{"name":"Mid","boss":{"name":"Top"}}}])),
            // computed relationships
            ("GET /books?select=id,writer(name)&order=id&limit=1", json!([{"id":1,"writer":{"name":"Ann"}}])),
            ("GET /books?select=id,others(id)&others.order=id&id=eq.4", json!([{"id":4,"others":[{"id":1},{"id":2},{"id":3}]}])),
            // two foreign keys
            ("GET /matches?select=home(name),a:authors!match_away(name)", json!([{"home":{"name":"Ann"},"a":{"name":"Bob"}}])),
            ("GET /books?select=authors(*)&id=eq.3", json!([{"authors":{"id":2,"name":"Bob","born":null}}])),
            ("GET /books?select=authors()&id=eq.3", json!([{}])),
        ])
        .await;
    });
}

#[test]
fn embeds_are_filtered_joined_ordered_and_limited() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows(&[
            ("GET /authors?select=id,books(id)&books.id=eq.1&order=id", json!([
                {"id":1,"books":[{"id":1}]},{"id":2,"books":[]},{"id":3,"books":[]}])),
            ("GET /authors?select=id,books!inner(id)&books.id=eq.1", json!([{"id":1,"books":[{"id":1}]}])),
            ("GET /authors?select=id,books()&books=is.null", json!([{"id":3}])),
            ("GET /authors?select=id,books()&books=not.is.null&order=id", json!([{"id":1},{"id":2}])),
            ("GET /authors?select=id,b:books()&b.title=eq.Alpha&b=not.is.null", json!([{"id":1}])),
            ("GET /books?select=id,authors()&authors=is.null", json!([{"id":4}])),
            ("GET /books?select=id,authors!inner()&authors.name=eq.Bob", json!([{"id":3}])),
            ("GET /books?select=id,authors!inner(name)&authors.name=eq.Bob", json!([{"id":3,"authors":{"name":"Bob"}}])),
            ("GET /books?select=id,authors(name)&or=(authors.is.null,id.eq.1)&order=id", json!([
                {"id":1,"authors":{"name":"Ann"}},{"id":4,"authors":null}])),
            ("GET /authors?select=id,books(id)&books.or=(id.eq.1,id.eq.3)&order=id", json!([
                {"id":1,"books":[{"id":1}]},{"id":2,"books":[{"id":3}]},{"id":3,"books":[]}])),
            ("GET /authors?select=id,books(id)&books.order=id.desc&books.limit=1&order=id&limit=1", json!([{"id":1,"books":[{"id":2}]}])),
            ("GET /authors?select=id,books(id)&books.order=id&books.offset=1&id=eq.1", json!([{"id":1,"books":[{"id":2}]}])),
            ("GET /authors?select=id,books(id,labels(id))&books.labels.id=eq.2&books.labels.order=id&id=eq.1&books.order=id", json!([
                {"id":1,"books":[{"id":1,"labels":[{"id":2}]},{"id":2,"labels":[{"id":2}]}]}])),
            ("GET /authors?select=id,books!inner(id,labels!inner(label))&books.labels.label=eq.red", json!([
                {"id":1,"books":[{"id":1,"labels":[{"label":"red"}]}]}])),
            ("GET /books?select=id,authors(name)&order=authors(name).desc.nullslast,id", json!([
                {"id":3,"authors":{"name":"Bob"}},{"id":1,"authors":{"name":"Ann"}},{"id":2,"authors":{"name":"Ann"}},{"id":4,"authors":null}])),
            ("GET /books?select=id,authors(id)&order=authors(name).desc.nullslast,id&limit=1", json!([{"id":3,"authors":{"id":2}}])),
            ("GET /books?select=id,author_id(name)&author_id=eq.2", json!([{"id":3,"author_id":{"name":"Bob"}}])),
            ("GET /authors?select=name,books(count())&order=id", json!([
                {"name":"Ann","books":[{"count":2}]},{"name":"Bob","books":[{"count":1}]},{"name":"Cy","books":[{"count":0}]}])),
        ])
        .await;
        for (line, total) in [
            ("GET /authors?select=id,books!inner(id)&limit=1", "0-0/2"),
            ("GET /authors?select=id,books()&books=is.null", "0-0/1"),
            ("GET /books?select=id,labels!inner(id)&labels.label=eq.red", "0-0/1"),
            ("GET /books?select=id,writer!inner(name)&order=id", "0-2/3"),
            ("GET /books?select=kind,count()", "0-1/2"),
        ] {
            assert_eq!(box_.send(call(line).prefer("count=exact")).await.header("content-range"), total, "{line}");
        }
    });
}

#[test]
fn spreads_lift_columns() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows(&[
            (
                "GET /books?select=id,...authors(name)&order=id",
                json!([
                {"id":1,"name":"Ann"},{"id":2,"name":"Ann"},{"id":3,"name":"Bob"},{"id":4,"name":null}]),
            ),
            (
                "GET /books?select=id,...authors(writer:name,born)&id=eq.1",
                json!([{"id":1,"writer":"Ann","born":"1970-01-02"}]),
            ),
            (
                "GET /books?select=title,...authors(*)&id=eq.3",
                json!([{"title":"Gamma \"g\"","id":2,"name":"Bob","born":null}]),
            ),
            (
                "GET /authors?select=id,...books(titles:title)&books.order=id&order=id",
                json!([
                {"id":1,"titles":["Alpha","Beta, two"]},{"id":2,"titles":["Gamma \"g\""]},{"id":3,"titles":[]}]),
            ),
            (
                "GET /books?select=id,...labels(label)&labels.order=label&id=eq.1",
                json!([{"id":1,"label":["blue","red"]}]),
            ),
            (
                "GET /details?select=pages,...books(title,...authors(name))&book_id=eq.1",
                json!([{"pages":100,"title":"Alpha","name":"Ann"}]),
            ),
            (
                "GET /details?select=pages,...books(title,authors(name))&book_id=eq.1",
                json!([{"pages":100,"title":"Alpha","authors":{"name":"Ann"}}]),
            ),
            ("GET /books?select=id,...authors!inner(name)&authors.name=eq.Bob", json!([{"id":3,"name":"Bob"}])),
            (
                "GET /books?select=id,...authors(name)&order=authors(name).desc.nullslast,id&limit=1",
                json!([{"id":3,"name":"Bob"}]),
            ),
            ("GET /authors?select=id,...books!inner(title)&books.title=eq.Alpha", json!([{"id":1,"title":["Alpha"]}])),
            ("GET /books?select=id,...authors()&authors=is.null", json!([{"id":4}])),
            // aggregates of a to-one spread belong to the parent
            ("GET /details?select=pages.sum(),...books(kind)", json!([{"sum":150,"kind":"p"}])),
            ("GET /details?select=...books(kind,id.sum())", json!([{"kind":"p","sum":3}])),
            ("GET /details?select=...books(...authors(name,n:id.count()))", json!([{"name":"Ann","n":2}])),
            ("GET /details?select=count(),books(kind)", json!([{"count":2,"books":{"kind":"p"}}])),
        ])
        .await;
        box_.refusals(&[("GET /authors?select=id,...books(id.sum())", 400, "PGRST127")]).await;
    });
}

#[test]
fn what_cannot_be_embedded_is_explained() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        box_.refusals(&[
            ("GET /authors?order=books(id)&select=id,books(id)", 400, "PGRST118"),
            ("GET /books?order=authors(name)", 400, "PGRST108"),
            ("GET /books?select=id,authors(name)&authors=eq.1", 400, "PGRST120"),
            ("GET /books?select=id,authors(name)&or=(authors.gt.1,id.eq.1)", 400, "PGRST120"),
            ("GET /books?select=id,labels!nope(id)", 400, "PGRST200"),
            ("GET /books?authors.order=name", 400, "PGRST108"),
            ("GET /matches?select=id,authors(name)", 300, "PGRST201"),
            ("GET /nested_view?select=vid,writer(name)", 400, "PGRST200"),
        ])
        .await;
        let several = box_.send(call("GET /matches?select=id,authors(name)")).await.json();
        assert_eq!(
            several["message"],
            "Could not embed because more than one relationship was found for 'matches' and 'authors'"
        );
        assert_eq!(
            several["details"][0],
            json!({"cardinality":"many-to-one","embedding":"matches with authors","relationship":"match_away using matches(away) and authors(id)"})
        );
        assert_eq!(several["details"].as_array().unwrap().len(), 2);
        assert!(several["hint"].as_str().unwrap().contains("'authors!match_home'"));
        let none = box_.send(call("GET /books?select=id,author(id)")).await.json();
        assert_eq!(none["message"], "Could not find a relationship between 'books' and 'author' in the schema cache");
        assert_eq!(none["hint"], "Perhaps you meant 'authors' instead of 'author'.");

        // A dark relation, embedded.
        box_.sql("create table secrets(id int primary key, book_id int references books)").await;
        let dark = box_.send(call("GET /books?select=id,secrets(id)").anon()).await;
        assert_eq!(
            (dark.status, dark.json()["message"].as_str().unwrap()),
            (401, "permission denied for table secrets")
        );
        // Rows of an embed pass its policies.
        box_.sql("alter table owned add book_id int references books; update owned set book_id = 1").await;
        let own = box_.send(call("GET /books?select=id,owned(owner)&id=eq.1").user("u1")).await;
        assert_eq!(own.json(), json!([{"id":1,"owned":[{"owner":"u1"}]}]));
        assert_eq!(ids(&box_.send(call("GET /owned?select=id").user("u2")).await), [2]);

        box_.settings.plan.aggregates = false;
        box_.refusals(&[("GET /books?select=count()", 400, "PGRST123")]).await;
    });
}

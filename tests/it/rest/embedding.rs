//! Resource embedding (contract 02 §7.7, check 16).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn every_cardinality_has_its_shape() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=id,authors(name)&order=id", json!([
                {"id": 1, "authors": {"name": "Ann"}}, {"id": 2, "authors": {"name": "Ann"}},
                {"id": 3, "authors": {"name": "Bob"}}, {"id": 4, "authors": null}])),
            ("/authors?select=name,books(id)&order=id&books.order=id", json!([
                {"name": "Ann", "books": [{"id": 1}, {"id": 2}]}, {"name": "Bob", "books": [{"id": 3}]}, {"name": "Cy", "books": []}])),
            ("/books?select=id,details(pages)&order=id&limit=3", json!([
                {"id": 1, "details": {"pages": 100}}, {"id": 2, "details": {"pages": 50}}, {"id": 3, "details": null}])),
            ("/details?select=pages,books(title)&book_id=eq.1", json!([{"pages": 100, "books": {"title": "Alpha"}}])),
            ("/books?select=id,labels(label)&labels.order=label&id=lt.4&order=id", json!([
                {"id": 1, "labels": [{"label": "blue"}, {"label": "red"}]}, {"id": 2, "labels": [{"label": "blue"}]}, {"id": 3, "labels": []}])),
            ("/labels?select=label,books(id)&books.order=id&order=id", json!([
                {"label": "red", "books": [{"id": 1}]}, {"label": "blue", "books": [{"id": 1}, {"id": 2}]}, {"label": "unused", "books": []}])),
            ("/books?select=id,book_labels(label_id,labels(label))&id=eq.2", json!([
                {"id": 2, "book_labels": [{"label_id": 2, "labels": {"label": "blue"}}]}])),
            ("/book_view?select=t,authors(name)&id=eq.3", json!([{"t": "Gamma \"g\"", "authors": {"name": "Bob"}}])),
            ("/authors?select=name,book_view(t)&id=eq.2", json!([{"name": "Bob", "book_view": [{"t": "Gamma \"g\""}]}])),
            ("/books?select=id,writer(name)&order=id&limit=1", json!([{"id": 1, "writer": {"name": "Ann"}}])),
            ("/books?select=id,others(id)&others.order=id&id=eq.4", json!([{"id": 4, "others": [{"id": 1}, {"id": 2}, {"id": 3}]}])),
            ("/people?select=name,people(name)&id=eq.1", json!([{"name": "Top", "people": [{"name": "Mid"}]}])),
            ("/people?select=name,boss(name)&id=eq.2", json!([{"name": "Mid", "boss": {"name": "Top"}}])),
            ("/people?select=name,boss(name,boss(name))&id=eq.3", json!([{"name": "Low", "boss": {"name": "Mid", "boss": {"name": "Top"}}}])),
            ("/books?select=authors(*)&id=eq.3", json!([{"authors": {"id": 2, "name": "Bob", "born": null}}])),
            ("/books?select=authors()&id=eq.3", json!([{}])),
            ("/books?select=id,authors()&id=eq.3", json!([{"id": 3}])),
        ]))
        .await;
}

#[tokio::test]
async fn targets_hints_and_aliases() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=id,author:authors(n:name)&id=eq.3", json!([{"id": 3, "author": {"n": "Bob"}}])),
            ("/books?select=id,author_id(name)&id=eq.3", json!([{"id": 3, "author_id": {"name": "Bob"}}])),
            ("/books?select=id,books_author_fk(name)&id=eq.3", json!([{"id": 3, "books_author_fk": {"name": "Bob"}}])),
            ("/books?select=id,authors!author_id(name)&id=eq.3", json!([{"id": 3, "authors": {"name": "Bob"}}])),
            ("/books?select=id,authors!books_author_fk(name)&id=eq.3", json!([{"id": 3, "authors": {"name": "Bob"}}])),
            ("/books?select=id,authors!books_author_fk!inner(name)&id=eq.3", json!([{"id": 3, "authors": {"name": "Bob"}}])),
            ("/books?select=id,authors!inner!books_author_fk(name)&id=eq.3", json!([{"id": 3, "authors": {"name": "Bob"}}])),
            ("/books?select=id,authors!left(name)&id=eq.4", json!([{"id": 4, "authors": null}])),
            ("/books?select=id,labels!book_labels(label)&id=eq.2", json!([{"id": 2, "labels": [{"label": "blue"}]}])),
            ("/matches?select=home(name),away(name)", json!([{"home": {"name": "Ann"}, "away": {"name": "Bob"}}])),
            ("/matches?select=h:authors!match_home(name),a:authors!match_away(name)", json!([{"h": {"name": "Ann"}, "a": {"name": "Bob"}}])),
            ("/authors?select=name,matches!match_home(id)&id=eq.1", json!([{"name": "Ann", "matches": [{"id": 1}]}])),
            ("/people?select=name,b:people!boss(name),s:people!people_boss_fk(name)&id=eq.2",
             json!([{"name": "Mid", "b": {"name": "Top"}, "s": [{"name": "Low"}]}])),
            ("/authors?select=a:books(id),b:books(id)&id=eq.1&a.id=eq.1&b.id=eq.2", json!([{"a": [{"id": 1}], "b": [{"id": 2}]}])),
        ]))
        .await;
}

#[tokio::test]
async fn embeds_are_filtered_ordered_and_limited() {
    let ann = json!([{"name": "Ann", "books": [{"id": 1}]}]);
    fixture()
        .await
        .check(reads(vec![
            ("/authors?select=name,books(id)&books.id=eq.1&order=id", json!([
                {"name": "Ann", "books": [{"id": 1}]}, {"name": "Bob", "books": []}, {"name": "Cy", "books": []}])),
            ("/books?select=id,authors(name)&authors.name=eq.Bob&id=in.(1,3)&order=id", json!([
                {"id": 1, "authors": null}, {"id": 3, "authors": {"name": "Bob"}}])),
            ("/authors?select=name,books!inner(id)&books.id=eq.1", ann.clone()),
            ("/authors?select=name,books(id)&books.id=eq.1&books=not.is.null", ann.clone()),
            ("/authors?select=name,x:books!inner(id)&x.id=eq.1", json!([{"name": "Ann", "x": [{"id": 1}]}])),
            ("/authors?select=name,books()&books=is.null", json!([{"name": "Cy"}])),
            ("/authors?select=name,books()&books=not.is.null&order=id", json!([{"name": "Ann"}, {"name": "Bob"}])),
            ("/authors?select=name,books!inner()&order=id", json!([{"name": "Ann"}, {"name": "Bob"}])),
            ("/authors?select=name,books()&or=(books.is.null,name.eq.Bob)&order=id", json!([{"name": "Bob"}, {"name": "Cy"}])),
            ("/authors?select=name,books()&or=(books.not.is.null,name.eq.Cy)&order=id", json!([{"name": "Ann"}, {"name": "Bob"}, {"name": "Cy"}])),
            ("/authors?select=name,books(id)&books.or=(id.eq.1,id.eq.3)&order=id&limit=2", json!([
                {"name": "Ann", "books": [{"id": 1}]}, {"name": "Bob", "books": [{"id": 3}]}])),
            ("/authors?select=name,books(id)&books.order=id.desc&id=eq.1", json!([{"name": "Ann", "books": [{"id": 2}, {"id": 1}]}])),
            ("/authors?select=name,books(id)&books.order=id&books.limit=1&id=eq.1", ann),
            ("/authors?select=name,books(id)&books.order=id&books.offset=1&id=eq.1", json!([{"name": "Ann", "books": [{"id": 2}]}])),
            ("/authors?select=name,books(id,labels(id))&books.labels.order=id.desc&books.order=id&id=eq.1", json!([
                {"name": "Ann", "books": [{"id": 1, "labels": [{"id": 2}, {"id": 1}]}, {"id": 2, "labels": [{"id": 2}]}]}])),
            ("/authors?select=name,books(id,labels(id))&books.labels.id=eq.1&books.order=id&id=eq.1", json!([
                {"name": "Ann", "books": [{"id": 1, "labels": [{"id": 1}]}, {"id": 2, "labels": []}]}])),
            ("/authors?select=name,books!inner(id,labels!inner(id))&books.labels.id=eq.1", json!([
                {"name": "Ann", "books": [{"id": 1, "labels": [{"id": 1}]}]}])),
            ("/books?select=id,authors(name)&order=authors(name).desc.nullslast,id", json!([
                {"id": 3, "authors": {"name": "Bob"}}, {"id": 1, "authors": {"name": "Ann"}},
                {"id": 2, "authors": {"name": "Ann"}}, {"id": 4, "authors": null}])),
            ("/books?select=id,w:authors(name)&order=w(name).nullsfirst,id&limit=1", json!([{"id": 4, "w": null}])),
        ]))
        .await;
}

#[tokio::test]
async fn inner_joins_count() {
    fixture()
        .await
        .check(vec![
            both("GET /authors?select=name,books!inner(id)&limit=1&order=id")
                .prefer("count=exact")
                .status(206)
                .with("content-range", "0-0/2"),
            both("GET /authors?select=name,books!inner(id)&books.id=eq.1").prefer("count=exact").with("content-range", "0-0/1"),
            both("GET /authors?select=name,books(id)&books.id=eq.1").prefer("count=exact").with("content-range", "0-2/3"),
            both("HEAD /authors?select=books()&books=is.null").prefer("count=exact").with("content-range", "0-0/1"),
        ])
        .await;
}

#[tokio::test]
async fn spreads_lift_columns() {
    fixture()
        .await
        .check(reads(vec![
            ("/books?select=id,...authors(name)&order=id", json!([
                {"id": 1, "name": "Ann"}, {"id": 2, "name": "Ann"}, {"id": 3, "name": "Bob"}, {"id": 4, "name": null}])),
            ("/books?select=id,...authors(writer_name:name,born)&id=eq.1", json!([{"id": 1, "writer_name": "Ann", "born": "1970-01-02"}])),
            ("/authors?select=name,...books(id)&books.order=id&order=id", json!([
                {"name": "Ann", "id": [1, 2]}, {"name": "Bob", "id": [3]}, {"name": "Cy", "id": []}])),
            ("/authors?select=name,...books(ids:id,title)&books.order=id.desc&id=eq.1", json!([
                {"name": "Ann", "ids": [2, 1], "title": ["Beta, two", "Alpha"]}])),
            ("/books?select=id,...labels(tag:label)&labels.order=label&id=eq.1", json!([{"id": 1, "tag": ["blue", "red"]}])),
            ("/details?select=pages,...books(title,...authors(name))&book_id=eq.1", json!([{"pages": 100, "title": "Alpha", "name": "Ann"}])),
        ]))
        .await;
}

#[tokio::test]
async fn what_cannot_be_embedded_is_refused() {
    let mut cases = refusals(&[
        ("GET /books?select=id,nope(id)", 400, "PGRST200"),
        ("GET /books?select=id,people(id)", 400, "PGRST200"),
        ("GET /books?select=id,authors!nope(id)", 400, "PGRST200"),
        ("GET /books?select=id,authors(id,nope(id))", 400, "PGRST200"),
        ("GET /matches?select=authors(name)", 300, "PGRST201"),
        ("GET /authors?order=books(id)&select=id,books(id)", 400, "PGRST118"),
        ("GET /books?order=authors(name)&select=id", 400, "PGRST108"),
        ("GET /authors?select=name,...books(id.sum())", 400, "PGRST127"),
        ("GET /books?select=id,authors(nope)", 400, "42703"),
        ("GET /books?select=id,authors(name)&authors.nope=eq.1", 400, "42703"),
        ("GET /books?select=id,authors(name)&authors.limit=-1", 416, "PGRST103"),
    ]);
    cases.push(
        both("GET /books?select=id,authorz(id)")
            .native(400, "PGRST200")
            .saying("Could not find a relationship between 'books' and 'authorz' in the schema cache"),
    );
    cases.push(
        both("GET /authors?order=books(id)&select=id,books(id)")
            .native(400, "PGRST118")
            .saying("A related order on 'books' is not possible"),
    );
    cases.push(
        both("GET /matches?select=authors(name)")
            .native(300, "PGRST201")
            .saying("Could not embed because more than one relationship was found for 'matches' and 'authors'")
            .member("details", json!([
                {"cardinality": "many-to-one", "embedding": "matches with authors", "relationship": "match_away using matches(away) and authors(id)"},
                {"cardinality": "many-to-one", "embedding": "matches with authors", "relationship": "match_home using matches(home) and authors(id)"},
            ])),
    );
    let fixture = fixture().await;
    fixture.check(cases).await;
    let hint = fixture.send(Door::Public, &anon("GET /matches?select=authors(name)")).await.json()["hint"].to_string();
    assert!(hint.contains("'authors!match_away'") && hint.contains("'authors!match_home'"), "{hint}");
}

#[tokio::test]
async fn a_second_foreign_key_makes_an_embed_ambiguous_at_once() {
    let fixture = Fixture::new().await;
    let first = || admin("GET /books?select=id,authors(id)&id=eq.1");
    fixture.check(vec![first().gives(json!([{"id": 1, "authors": {"id": 1}}]))]).await;
    fixture
        .project
        .sql("alter table books add column editor_id int constraint books_editor_fk references authors")
        .await
        .is(200);
    fixture
        .check(vec![
            first().native(300, "PGRST201"),
            admin("GET /books?select=id,authors!books_author_fk(id)&id=eq.1").gives(json!([{"id": 1, "authors": {"id": 1}}])),
            admin("GET /books?select=id,authors!editor_id(id)&id=eq.1").gives(json!([{"id": 1, "authors": null}])),
        ])
        .await;
    let details = fixture.send(Door::Admin, &first()).await.json()["details"].clone();
    assert_eq!(details.as_array().map(Vec::len), Some(2), "{details}");
    fixture.project.sql("alter table books drop column editor_id").await.is(200);
    fixture.check(vec![first().gives(json!([{"id": 1, "authors": {"id": 1}}]))]).await;
}

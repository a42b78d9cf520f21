//! Filters and logic trees (contract 02 §7.4, §7.5, check 14).

use super::*;

static PROJECT: OnceCell<Project> = OnceCell::const_new();

async fn fixture() -> Fixture {
    Fixture::shared(&PROJECT).await
}

#[tokio::test]
async fn operators_choose_rows() {
    let cases: [(&str, &[i64]); 66] = [
        ("id=eq.1", &[1]),
        ("id=neq.1", &[2, 3, 4]),
        ("id=gt.2", &[3, 4]),
        ("id=gte.3", &[3, 4]),
        ("id=lt.3", &[1, 2]),
        ("id=lte.2", &[1, 2]),
        ("id=gte.2&id=lt.4", &[2, 3]),
        ("id=eq.1&id=eq.2", &[]),
        ("title=eq.Beta,%20two", &[2]),
        ("title=eq.Beta,+two", &[2]),
        ("title=eq.", &[]),
        ("title=like.*ta*", &[2, 4]),
        ("title=like.Alph_", &[1]),
        ("title=like.%25ta%25", &[2, 4]),
        ("title=ilike.*ALPHA", &[1]),
        ("title=match.^[AB]", &[1, 2]),
        ("title=imatch.^[ab]", &[1, 2]),
        ("id=eq(any).{1,2}", &[1, 2]),
        ("id=eq(any).{}", &[]),
        ("id=gt(all).{1,2}", &[3, 4]),
        ("id=gte(any).{3,4}", &[3, 4]),
        ("id=lt(any).{2,3}", &[1, 2]),
        ("id=lte(all).{2,3}", &[1, 2]),
        ("title=like(any).{Al*,De*}", &[1, 4]),
        ("title=ilike(all).{*a*,*l*}", &[1, 4]),
        ("title=match(any).{^A,^D}", &[1, 4]),
        ("title=imatch(any).{^a,^d}", &[1, 4]),
        ("id=in.(1,3)", &[1, 3]),
        ("id=in.()", &[]),
        ("id=not.in.(1,3)", &[2, 4]),
        ("title=in.(\"Beta, two\",Alpha)", &[1, 2]),
        ("title=in.(\"Gamma \\\"g\\\"\")", &[3]),
        ("author_id=is.null", &[4]),
        ("author_id=is.NULL", &[4]),
        ("author_id=is.not_null", &[1, 2, 3]),
        ("author_id=not.is.null", &[1, 2, 3]),
        ("kind=isdistinct.p", &[3, 4]),
        ("kind=not.isdistinct.p", &[1, 2]),
        ("tags=cs.{x}", &[1]),
        ("tags=cd.{y,z}", &[2, 4]),
        ("tags=ov.{y,z}", &[1, 2]),
        ("tags=eq.{}", &[4]),
        ("span=cs.[4,4]", &[1]),
        ("span=cd.[0,6)", &[1]),
        ("span=ov.[4,6]", &[1, 2]),
        ("span=sl.[5,9)", &[1]),
        ("span=sr.[1,5)", &[2]),
        ("span=nxr.[1,5)", &[1]),
        ("span=nxl.[5,9)", &[2]),
        ("span=adj.[9,12)", &[2]),
        ("data=cs.{\"k\":\"v\"}", &[1]),
        ("words=fts.cat", &[1]),
        ("words=fts(english).cats%20%26%20quick", &[1]),
        ("words=plfts(english).slow%20dog", &[2]),
        ("words=phfts(english).slow%20dog", &[2]),
        ("words=wfts(english).dog%20or%20cat", &[1, 2]),
        ("words=not.fts.cat", &[2]),
        ("title=plfts(english).alpha", &[1]),
        ("data=fts.v", &[1]),
        ("data->>k=plfts.w", &[2]),
        ("id=not.eq.1", &[2, 3, 4]),
        ("title=not.like.*a*", &[]),
        ("mood=eq.happy", &[1]),
        ("mood=gt.sad", &[1]),
        ("made=lt.2026-06-01", &[1, 2, 3, 4]),
        ("big=eq.9007199254740993", &[1]),
    ];
    let ordered: Vec<String> = cases.iter().map(|(query, _)| format!("{query}&order=id")).collect();
    let cases = ordered.iter().zip(cases).map(|(query, (_, ids))| both(&format!("GET /books?{query}")).ids(ids)).collect();
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn booleans_are_tested_with_is() {
    let fixture = Fixture::new().await;
    fixture.project.sql("insert into notes(body, done) values ('three', true), ('four', null)").await.is(200);
    fixture
        .check(lists("notes", &[
            ("done=is.true&order=id", &[3]),
            ("done=is.false&order=id", &[1, 2]),
            ("done=is.unknown&order=id", &[4]),
            ("done=is.True&order=id", &[3]),
            ("done=not.is.true&order=id", &[1, 2, 4]),
            ("done=eq.true&order=id", &[3]),
        ]))
        .await;
}

#[tokio::test]
async fn json_paths_reach_into_documents() {
    fixture()
        .await
        .check(lists("books", &[
            ("data->>k=eq.v&order=id", &[1]),
            ("data->n=eq.1&order=id", &[1]),
            ("data->n=gt.1&order=id", &[2]),
            ("data->a->0=eq.1&order=id", &[1]),
            ("data->a->-1=eq.2&order=id", &[1]),
            ("data->a->>1=eq.2&order=id", &[1]),
            ("data->o->>p=in.(q,r)&order=id", &[1]),
            ("data->o->p=eq.\"q\"&order=id", &[1]),
            ("data->o->>p=is.null&order=id", &[2, 3, 4]),
            ("raw->n=eq.1&order=id", &[1]),
            ("raw->>k=eq.v&order=id", &[1]),
            ("tags->>0=eq.y&order=id", &[2]),
            ("data->nope->>deep=eq.v&order=id", &[]),
            ("data->\"k\"=eq.\"v\"&order=id", &[1]),
        ]))
        .await;
}

#[tokio::test]
async fn logic_trees_nest() {
    fixture()
        .await
        .check(lists("books", &[
            ("or=(id.eq.1,and(id.gt.3,title.like.D*))&order=id", &[1, 4]),
            ("or=(id.eq.1,not.and(id.gt.1,id.lt.4))&order=id", &[1, 4]),
            ("not.or=(id.eq.1,id.eq.2)&order=id", &[3, 4]),
            ("not.and=(id.gt.1,id.lt.4)&order=id", &[1, 4]),
            ("and=(id.gt.1,not.kind.eq.q)&order=id", &[2]),
            ("and=(id.gt.1,kind.not.eq.q)&order=id", &[2]),
            ("or=(title.eq.\"Beta, two\",data->>k.eq.v,tags.cs.{nope,x})&order=id", &[1, 2]),
            ("or=(id.in.(2,3),id.eq(any).{4,9})&order=id", &[2, 3, 4]),
            ("or=(id.eq.1, id.eq.2)&order=id", &[1, 2]),
            ("or=(id.eq.1,id.eq.2)&or=(id.eq.2,id.eq.3)&order=id", &[2]),
            ("or=(words.fts(english).cats,id.eq.4)&order=id", &[1, 4]),
            ("or=(author_id.is.null,title.ilike.*ALPHA*)&order=id", &[1, 4]),
            ("or=(span.ov.\"[4,6]\",id.eq.4)&order=id", &[1, 2, 4]),
            ("or=(and(id.eq.1,or(kind.eq.p,kind.eq.q)),not.or(id.lt.4,kind.eq.z))&order=id", &[1, 4]),
            ("or=(title.in.(\"Beta, two\",Delta),id.eq.1)&order=id", &[1, 2, 4]),
            ("id=gt.1&or=(id.eq.1,id.eq.2)&order=id", &[2]),
        ]))
        .await;
}

#[tokio::test]
async fn computed_fields_and_odd_names_are_columns() {
    let mut cases = lists("books", &[
        ("full_title=eq.Alpha!&order=id", &[1]),
        ("full_title=like.*a!&order=full_title.desc", &[4, 1]),
        ("\"id\"=eq.1", &[1]),
        ("noequals&id=eq.1", &[1]),
    ]);
    cases.extend(reads(vec![
        ("/odd%20name?a b=eq.1&select=a b", json!([{"a b": 1}])),
        ("/odd%20name?\"a b\"=eq.1&select=\"a b\"", json!([{"a b": 1}])),
        ("/odd%20name?\"qu\\\"ote\"=eq.x&select=\"qu\\\"ote\"", json!([{"qu\"ote": "x"}])),
        ("/odd%20name?\"émoji 🙂\"=eq.y&select=\"émoji 🙂\"", json!([{"émoji 🙂": "y"}])),
        ("/odd%20name?or=(\"a b\".eq.1,a b.eq.2)&select=a b", json!([{"a b": 1}])),
    ]));
    fixture().await.check(cases).await;
}

#[tokio::test]
async fn what_is_no_filter_is_refused() {
    let mut cases = refusals(&[
        ("GET /books?id=foo.1", 400, "PGRST100"),
        ("GET /books?id=1", 400, "PGRST100"),
        ("GET /books?id=", 400, "PGRST100"),
        ("GET /books?id=not.foo.1", 400, "PGRST100"),
        ("GET /books?id=neq(any).{1}", 400, "PGRST100"),
        ("GET /books?id=in.1,2", 400, "PGRST100"),
        ("GET /books?id=in.(1,2", 400, "PGRST100"),
        ("GET /books?id=is.5", 400, "PGRST100"),
        ("GET /books?or=()", 400, "PGRST100"),
        ("GET /books?or=(id.eq.1", 400, "PGRST100"),
        ("GET /books?or=id.eq.1", 400, "PGRST100"),
        ("GET /books?or=(id.foo.1)", 400, "PGRST100"),
        ("GET /books?and=(id.eq.1,)", 400, "PGRST100"),
        ("GET /books?or=(span.ov.[4,6],id.eq.4)", 400, "PGRST100"),
        ("GET /books?\"\"=eq.1", 400, "PGRST100"),
        ("GET /books?id=eq.abc", 400, "22P02"),
        ("GET /books?id=eq.99999999999", 400, "22003"),
        ("GET /books?mood=eq.angry", 400, "22P02"),
        ("GET /books?made=eq.yesterdayish", 400, "22007"),
        ("GET /books?tags=cs.{a", 400, "22P02"),
        ("GET /books?data=cs.{", 400, "22P02"),
        ("GET /books?span=cs.[9,1]", 400, "22000"),
        ("GET /books?nocol=eq.1", 400, "42703"),
        ("GET /books?title=match.(", 400, "2201B"),
        ("GET /books?words=fts(klingon).x", 400, "42704"),
        ("GET /books?title=sl.x", 404, "42883"),
        ("GET /books?nope.id=eq.1", 400, "PGRST108"),
        ("GET /books?authors.id=eq.1", 400, "PGRST108"),
        ("GET /books?nope.or=(id.eq.1)", 400, "PGRST108"),
        ("GET /books?select=id,authors(id)&authors=eq.1", 400, "PGRST120"),
        ("GET /books?select=id,authors(id)&or=(authors.eq.1,id.eq.1)", 400, "PGRST120"),
    ]);
    cases.push(
        both("GET /books?nope.id=eq.1")
            .native(400, "PGRST108")
            .saying("'nope' is not an embedded resource in this request")
            .member("hint", "Verify that 'nope' is included in the 'select' query parameter."),
    );
    cases.push(
        both("GET /books?select=id,authors(id)&authors=eq.1")
            .native(400, "PGRST120")
            .saying("Bad operator on the 'authors' embedded resource"),
    );
    let fixture = fixture().await;
    fixture.check(cases).await;
    let answer = fixture.send(Door::Public, &anon("GET /books?id=foo.1")).await.json();
    let message = answer["message"].as_str().unwrap_or_default();
    assert!(message.starts_with("\"failed to parse filter (foo.1)\" (line 1, column "), "{answer}");
    for (line, noun) in [
        ("GET /books?select=id,,", "select parameter"),
        ("GET /books?order=id.sideways", "order"),
        ("GET /books?or=(", "logic tree"),
    ] {
        let answer = fixture.send(Door::Public, &anon(line)).await.json();
        assert!(answer["message"].as_str().is_some_and(|text| text.contains(&format!("failed to parse {noun} ("))), "{answer}");
    }
}

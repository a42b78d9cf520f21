//! Filters, select, order, ranges and counts (contract 02 §7.4-7.6, §7.8).

use serde_json::json;

use super::{Fixture, Mismatches, call, ids};
use crate::engines::postgres::test_support::as_ordinary_user;

#[test]
fn filters_choose_rows() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        for (query, expected) in [
            ("id=eq.1", vec![1]),
            ("id=neq.1", vec![2, 3, 4]),
            ("id=gt.2", vec![3, 4]),
            ("id=gte.2&id=lt.4", vec![2, 3]),
            ("id=lte.1", vec![1]),
            ("id=in.(1,3)", vec![1, 3]),
            ("id=in.()", vec![]),
            ("id=not.in.(1,3)", vec![2, 4]),
            ("id=not.eq.1", vec![2, 3, 4]),
            ("title=eq.Beta,%20two", vec![2]),
            ("title=in.(\"Beta, two\",Alpha)", vec![1, 2]),
            ("title=in.(\"Gamma \\\"g\\\"\")", vec![3]),
            ("title=like.*ta*", vec![2, 4]),
            ("title=ilike.*ALPHA", vec![1]),
            ("title=like(any).{Al*,De*}", vec![1, 4]),
            ("title=ilike(all).{*a*,*l*}", vec![1, 4]),
            ("title=match.^[AB]", vec![1, 2]),
            ("title=imatch.^[ab]", vec![1, 2]),
            ("id=eq(any).{1,2}", vec![1, 2]),
            ("id=gt(all).{1,2}", vec![3, 4]),
            ("author_id=is.null", vec![4]),
            ("author_id=is.NOT_NULL", vec![1, 2, 3]),
            ("author_id=not.is.null", vec![1, 2, 3]),
            ("kind=isdistinct.p", vec![3, 4]),
            ("tags=cs.{x}", vec![1]),
            ("tags=cd.{y,z}", vec![2, 4]),
            ("tags=ov.{y,z}", vec![1, 2]),
            ("tags=eq.{}", vec![4]),
            ("span=cs.[4,4]", vec![1]),
            ("span=ov.[4,6]", vec![1, 2]),
            ("span=sl.[5,9)", vec![1]),
            ("span=sr.[1,5)", vec![2]),
            ("span=nxr.[1,5)", vec![1]),
            ("span=nxl.[5,9)", vec![2]),
            ("span=adj.[9,12)", vec![2]),
            ("data=cs.{\"k\":\"v\"}", vec![1]),
            ("data->>k=eq.v", vec![1]),
            ("data->n=eq.1", vec![1]),
            ("data->n=gt.1", vec![2]),
            ("data->a->0=eq.1", vec![1]),
            ("data->a->-1=eq.2", vec![1]),
            ("data->o->>p=in.(q,r)", vec![1]),
            ("raw->n=eq.1", vec![1]),
            ("raw->>k=eq.v", vec![1]),
            ("tags->>0=eq.y", vec![2]),
            ("words=fts.cat", vec![1]),
            ("words=fts(english).cats%20%26%20quick", vec![1]),
            ("words=plfts(english).slow%20dog", vec![2]),
            ("words=phfts(english).slow%20dog", vec![2]),
            ("words=wfts(english).dog%20or%20cat", vec![1, 2]),
            ("title=plfts(english).alpha", vec![1]),
            ("data=fts.v", vec![1]),
            ("data->>k=plfts.w", vec![2]),
            ("or=(id.eq.1,and(id.gt.3,title.like.D*))", vec![1, 4]),
            ("or=(id.eq.1,not.and(id.gt.1,id.lt.4))", vec![1, 4]),
            ("not.or=(id.eq.1,id.eq.2)", vec![3, 4]),
            ("and=(id.gt.1,not.kind.eq.q)", vec![2]),
            ("or=(title.eq.\"Beta, two\",data->>k.eq.v,tags.cs.{nope,x})", vec![1, 2]),
            ("or=(id.in.(2,3),id.eq(any).{4,9})", vec![2, 3, 4]),
            ("mood=eq.happy", vec![1]),
            ("full_title=eq.Alpha!", vec![1]),
            ("made=lt.2026-06-01", vec![1, 2, 3, 4]),
            ("id=eq.1&select=id&id=eq.2", vec![]),
            ("title=eq.x'%3B%20drop%20table%20books%3B--", vec![]),
            ("title=eq.Alpha%00junk", vec![1]),
        ] {
            let line = format!("GET /books?order=id&{query}");
            let answer = box_.send(call(&line)).await;
            let what = format!("{query}: {}", answer.text());
            wrong.compare(&what, &(answer.status, ids(&answer)), &(200, expected));
        }
        wrong.none();
        box_.refusals(&[
            ("GET /books?id=foo.1", 400, "PGRST100"),
            ("GET /books?id=eq.abc", 400, "22P02"),
            ("GET /books?nocol=eq.1", 400, "42703"),
            ("GET /books?mood=eq.angry", 400, "22P02"),
            ("GET /books?nope.id=eq.1", 400, "PGRST108"),
            ("GET /books?title=sl.x", 404, "42883"),
            ("GET /none", 404, "PGRST205"),
            ("GET /book", 404, "PGRST205"),
            ("GET /books?title=match.(", 400, "2201B"),
        ])
        .await;
        let hint = box_.send(call("GET /book")).await.json();
        assert_eq!(hint["hint"], "Perhaps you meant the table 'public.books'");
    });
}

#[test]
fn select_shapes_rows() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        box_.rows(&[
            ("GET /labels?order=id", json!([{"id":1,"label":"red"},{"id":2,"label":"blue"},{"id":3,"label":"unused"}])),
            ("GET /labels?select=&id=eq.1", json!([{"id":1,"label":"red"}])),
            ("GET /labels?select=*&id=eq.1", json!([{"id":1,"label":"red"}])),
            ("GET /books?select=id::text,price,big,made&id=eq.1",
             json!([{"id":"1","price":1.50,"big":9_007_199_254_740_993_i64,"made":"2026-01-02T03:04:05.123456+00:00"}])),
            ("GET /books?select=data->k,b:data->>k,data->a->0,x:data->o->p&id=eq.1", json!([{"k":"v","b":"v","a":1,"x":"q"}])),
            ("GET /books?select=data->0,tags->1&id=eq.1", json!([{"data":null,"tags":"y"}])),
            ("GET /books?select=full_title,id&id=eq.1", json!([{"full_title":"Alpha!","id":1}])),
            ("GET /books?select=n:data->n::int&id=eq.2", json!([{"n":2}])),
            ("GET /books?select=count()", json!([{"count":4}])),
            ("GET /books?select=kind,n:count(),id.sum()&order=kind", json!([{"kind":"p","n":2,"sum":3},{"kind":"q","n":2,"sum":7}])),
            ("GET /books?select=price::int.sum()::text,id.max(),id.min(),a:id.avg()::float8", json!([{"sum":"8","max":4,"min":1,"a":2.5}])),
            ("GET /books?select=data->>k,count()&data=not.is.null&order=data->>k", json!([{"k":"v","count":1},{"k":"w","count":1}])),
            ("GET /odd%20name?select=\"a b\",\"qu\\\"ote\"", json!([{"a b":1,"qu\"ote":"x"}])),
            ("GET /odd%20name?a%20b=eq.1&select=z:a b", json!([{"z":1}])),
        ])
        .await;
        let keys = box_.send(call("GET /books?select=a:id,title::text,data->k,b:data->>k&id=eq.1")).await;
        assert_eq!(keys.text(), r#"[{"a":1,"title":"Alpha","k":"v","b":"v"}]"#);
        box_.refusals(&[
            ("GET /books?select=nope", 400, "42703"),
            ("GET /books?select=id::nope", 400, "42704"),
            ("GET /books?select=id::int[]", 400, "PGRST100"),
            ("GET /books?select=id,nope(id)", 400, "PGRST200"),
        ])
        .await;
    });
}

#[test]
fn order_sorts_and_concatenates() {
    as_ordinary_user(|| async {
        let box_ = Fixture::new().await;
        let mut wrong = Mismatches::default();
        for (query, expected) in [
            ("order=id.desc", vec![4, 3, 2, 1]),
            ("order=kind.desc,id", vec![3, 4, 1, 2]),
            ("order=kind.asc&order=id.desc", vec![2, 1, 4, 3]),
            ("order=author_id.nullsfirst,id.desc", vec![4, 2, 1, 3]),
            ("order=author_id.desc.nullslast,id", vec![3, 1, 2, 4]),
            ("order=data->>k.desc.nullslast,id", vec![2, 1, 3, 4]),
            ("order=raw->n.nullslast,id.desc", vec![1, 4, 3, 2]),
            ("order=full_title.desc", vec![3, 4, 2, 1]),
        ] {
            let line = format!("GET /books?{query}");
            wrong.compare(query, &ids(&box_.send(call(&line)).await), &expected);
        }
        wrong.none();
    });
}

#[test]
fn ranges_and_counts_follow_the_table() {
    as_ordinary_user(|| async {
        let mut box_ = Fixture::new().await;
        box_.sql("create table forty(id int primary key); insert into forty select generate_series(1,42); create table none(id int); analyze forty").await;
        let mut wrong = Mismatches::default();
        for (query, range, count, status, expected) in [
            ("", "", "", 200, "0-41/*"),
            ("limit=10", "", "", 200, "0-9/*"),
            ("limit=10", "", "exact", 206, "0-9/42"),
            ("", "", "exact", 200, "0-41/42"),
            ("offset=42", "", "exact", 206, "*/42"),
            ("limit=0", "", "exact", 206, "*/42"),
            ("limit=0", "", "", 200, "*/*"),
            ("", "40-49", "exact", 206, "40-41/42"),
            ("", "40-", "", 200, "40-41/*"),
            ("limit=5", "3-20", "", 200, "3-4/*"),
            ("offset=50", "", "exact", 416, "*/42"),
            ("offset=50", "", "", 200, "*/*"),
            ("id=gt.40", "", "exact", 200, "0-1/2"),
            ("limit=10", "", "planned", 206, "0-9/42"),
            ("limit=10", "", "estimated", 206, "0-9/42"),
            ("limit=abc", "bytes=1-2", "", 200, "0-41/*"),
        ] {
            let line = format!("GET /forty?order=id&{query}");
            let count = format!("count={count}");
            let mut request = call(&line);
            if !range.is_empty() {
                request = request.header("range", range);
            }
            if count != "count=" {
                request = request.prefer(&count);
            }
            let answer = box_.send(request.clone()).await;
            wrong.compare(
                &format!("{query} {range} {count}"),
                &(answer.status, answer.header("content-range")),
                &(status, expected),
            );
            if range.is_empty() {
                let head = line.replacen("GET", "HEAD", 1);
                let answer = box_.send(super::Call { line: &head, ..request }).await;
                assert_eq!((answer.status, answer.header("content-range")), (status, expected), "HEAD {query}");
                assert!(status == 416 || answer.body.is_empty());
            }
        }
        wrong.none();
        let empty = box_.send(call("GET /none").prefer("count=exact")).await;
        assert_eq!((empty.status, empty.header("content-range"), empty.text()), (200, "*/0", "[]"));
        let past = box_.send(call("GET /forty?offset=50").prefer("count=exact")).await.json();
        assert_eq!(past["details"], "An offset of 50 was requested, but there are only 42 rows.");
        box_.refusals(&[("GET /forty?limit=-1", 416, "PGRST103"), ("GET /forty?offset=-1", 416, "PGRST103")]).await;
        let backwards = box_.send(call("GET /forty").header("range", "9-0")).await;
        assert_eq!((backwards.status, backwards.code().as_str()), (416, "PGRST103"));

        box_.settings.plan.max_rows = Some(5);
        let capped = box_.send(call("GET /forty").prefer("count=exact")).await;
        assert_eq!((capped.status, capped.header("content-range")), (206, "0-4/42"));
        let planned = box_.send(call("GET /forty").prefer("count=estimated")).await;
        assert_eq!((planned.status, planned.header("content-range")), (206, "0-4/42"));
    });
}

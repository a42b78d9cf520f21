//! What a session keeps from one request to the next, and what a request is told of itself.

use super::{super::schema_cache::Uses, *};
use crate::engines::postgres::test_support::as_ordinary_user;

#[test]
fn what_may_look_at_a_request_is_read_off_policies_defaults_and_checks() {
    as_ordinary_user(|| async {
        let fixture = Fixture::new().await;
        fixture
            .sql(
                "create schema auth; create schema run402; create schema extensions;
             create function auth.uid() returns uuid language sql stable as 'select null::uuid';
             create function run402.current_user_id() returns uuid language sql stable as 'select null::uuid';
             create function public.mine() returns uuid language sql stable as 'select null::uuid';
             create table public.looked_up (id uuid);",
            )
            .await;
        let (caller, request) = (false, true);
        let cases = [
            ("owner uuid", "", caller, caller),
            ("owner uuid", "using (true)", caller, caller),
            ("owner uuid", "using (owner = auth.uid())", caller, caller),
            ("owner uuid", "using (owner = (select run402.current_user_id()))", caller, caller),
            ("owner uuid", "using (owner is not null) with check (owner = auth.uid())", caller, caller),
            ("owner text", "using (owner = current_setting('request.method'))", request, request),
            ("owner uuid", "using (owner = public.mine())", request, request),
            ("owner uuid", "using (owner in (select id from public.looked_up))", request, request),
            ("owner text default current_setting('request.path', true)", "", caller, request),
            ("owner uuid default auth.uid()", "", caller, request),
            ("owner text check (owner <> current_setting('request.method', true))", "", caller, request),
            ("owner uuid default gen_random_uuid()", "", caller, caller),
        ];
        let mut wrong = Mismatches::default();
        for (column, policy, on_read, on_write) in cases {
            fixture.sql(&format!("drop table if exists public.looking; create table public.looking ({column})")).await;
            if !policy.is_empty() {
                fixture.sql(&format!("create policy p on public.looking {policy}")).await;
            }
            let cache = fixture.cache().await;
            let looks = cache.relation("looking").unwrap().looks_beyond_caller;
            wrong.compare(&format!("{column} {policy}"), &looks, &Uses { on_read, on_write });
        }
        wrong.none();
    });
}

#[test]
fn a_session_serves_each_request_in_its_own_role_whoever_used_it_before() {
    as_ordinary_user(|| async {
        let fixture = Fixture::new().await;
        fixture
        .sql(
            "create table public.unlit (id int); insert into public.unlit values (1);
             create table public.seen (who text default current_user, n int); grant all on public.seen to anon, authenticated;",
        )
        .await;
        let cache = fixture.cache().await;
        let mut session = fixture.connection().await;
        let user = "00000000-0000-4000-8000-000000000001";
        let steps = [
            (call("GET /unlit"), 200),
            (call("GET /unlit").anon(), 401),
            (call("GET /unlit").anon(), 401),
            (call("GET /unlit").user(user), 403),
            (call("GET /unlit"), 200),
            // Fails in the middle of its transaction, and with it the settings it made.
            (call("GET /seen?n=eq.x").anon(), 400),
            (call("POST /seen").anon().body("{}"), 201),
            (call("GET /unlit").anon(), 401),
            (call("POST /seen").user(user).body("{}"), 201),
            (call("GET /unlit").anon(), 401),
            (call("GET /unlit"), 200),
        ];
        for (step, (call, expected)) in steps.into_iter().enumerate() {
            let line = call.line;
            let answer = fixture.exchange_on(&mut session, &cache, call).await;
            let status = answer.map_or_else(|error| error.status(), |response| response.status());
            assert_eq!(status.as_u16(), expected, "step {step}: {line}");
        }
        // The catalog is read as the login, whatever role the session was left in.
        assert!(read_catalog(&mut session).await.is_ok());
        assert_eq!(
            fixture.sql("select string_agg(who, ' ' order by who) from public.seen").await,
            "anon authenticated"
        );
    });
}

/// Who a session is told of, in the words of SQL.
async fn told(session: &mut Connection<Pipeline>) -> String {
    let claims = "select current_setting('request.jwt.claims', true)";
    session.add(claims, std::iter::empty());
    session.sync();
    session.send().await.unwrap();
    let rows = session.rows().await.unwrap();
    session.ready().await.unwrap();
    let text = rows.rows[0].text(0).unwrap_or_default().to_owned();
    serde_json::from_str::<Value>(&text)
        .map_or("nobody".to_owned(), |claims| claims["sub"].as_str().unwrap().to_owned())
}

#[test]
fn a_session_tells_of_its_caller_and_of_nobody_else() {
    as_ordinary_user(|| async {
        let fixture = Fixture::new().await;
        fixture
            .sql(
                "create schema auth; create schema run402; create schema extensions;
                 create function auth.uid() returns uuid language sql stable as
                    $$ select nullif(current_setting('request.jwt.claims', true)::json ->> 'sub', '')::uuid $$;
                 grant usage on schema auth to anon, authenticated;
                 grant execute on function auth.uid() to anon, authenticated;
                 create table public.hers (owner uuid default auth.uid(), note text);
                 alter table public.hers enable row level security;
                 create policy own on public.hers using (owner = auth.uid());
                 create table public.lit (id int); insert into public.lit values (7);
                 create function public.whoever() returns text language sql stable as $$ select auth.uid()::text $$;
                 grant execute on function public.whoever() to anon, authenticated;
                 grant all on public.hers, public.lit to anon, authenticated;
                 insert into public.hers values
                    ('00000000-0000-4000-8000-00000000000a', 'of a'), ('00000000-0000-4000-8000-00000000000b', 'of b');",
            )
            .await;
        let cache = fixture.cache().await;
        let mut session = fixture.connection().await;
        let (a, b) = ("00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b");
        let steps = [
            (call("GET /lit").user(a), r#"[{"id":7}]"#, a),
            (call("GET /hers?select=note").user(a), r#"[{"note":"of a"}]"#, a),
            (call("GET /hers?select=note").user(a), r#"[{"note":"of a"}]"#, a),
            (call("GET /hers?select=note").user(b), r#"[{"note":"of b"}]"#, b),
            // Nothing looks, but the session told of somebody else.
            (call("GET /lit").user(a), r#"[{"id":7}]"#, a),
            (call("GET /lit").anon(), r#"[{"id":7}]"#, ""),
            (call("GET /hers?select=note").anon(), "[]", ""),
            (call("GET /hers?select=note").user(b), r#"[{"note":"of b"}]"#, b),
            // A request that failed told nobody.
            (call("GET /hers?owner=eq.x").user(a), "22P02", b),
            (call("GET /hers?select=note").user(a), r#"[{"note":"of a"}]"#, a),
            (call("GET /hers?owner=eq.x").user(b), "22P02", a),
            (call("GET /hers?owner=eq.x").user(b), "22P02", a),
            (call("GET /lit").anon(), r#"[{"id":7}]"#, ""),
            // Told for its transaction only.
            (call("POST /hers?select=note").user(a).body("{\"note\":\"new\"}"), "", ""),
            (call("GET /rpc/whoever").user(b), r#""00000000-0000-4000-8000-00000000000b""#, "nobody"),
            (call("GET /hers?select=note&order=note.desc&limit=1").user(a), r#"[{"note":"of a"}]"#, a),
        ];
        for (step, (call, expected, sub)) in steps.into_iter().enumerate() {
            let line = call.line;
            let answer = match fixture.exchange_on(&mut session, &cache, call).await {
                Ok(response) => {
                    let bytes = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
                    String::from_utf8(bytes.to_vec()).unwrap()
                }
                Err(error) => error.code().to_owned(),
            };
            assert_eq!(answer, expected, "step {step}: {line}");
            assert_eq!(told(&mut session).await, sub, "step {step}: {line}");
        }
    });
}

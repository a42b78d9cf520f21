//! What a session keeps from one request to the next, and what a request is told of itself.

use super::{
    super::schema_cache::{Look, Looks},
    *,
};
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
        let (nothing, caller, request) = (Look::Nothing, Look::Caller, Look::Request);
        let cases = [
            ("owner uuid", "", nothing, nothing),
            ("owner uuid", "using (true)", nothing, nothing),
            ("owner uuid", "using (owner = auth.uid())", caller, caller),
            ("owner uuid", "using (owner = (select run402.current_user_id()))", caller, caller),
            ("owner uuid", "using (owner is not null) with check (owner = auth.uid())", caller, caller),
            ("owner text", "using (owner = current_setting('request.method'))", request, request),
            ("owner uuid", "using (owner = public.mine())", request, request),
            ("owner uuid", "using (owner in (select id from public.looked_up))", request, request),
            ("owner text default current_setting('request.path', true)", "", nothing, request),
            ("owner uuid default auth.uid()", "", nothing, request),
            ("owner text check (owner <> current_setting('request.method', true))", "", nothing, request),
            ("owner uuid default gen_random_uuid()", "", nothing, nothing),
        ];
        let mut wrong = Mismatches::default();
        for (column, policy, on_read, on_write) in cases {
            fixture.sql(&format!("drop table if exists public.looking; create table public.looking ({column})")).await;
            if !policy.is_empty() {
                fixture.sql(&format!("create policy p on public.looking {policy}")).await;
            }
            let cache = fixture.cache().await;
            let looks = cache.relation("looking").unwrap().looks;
            wrong.compare(&format!("{column} {policy}"), &looks, &Looks { on_read, on_write });
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

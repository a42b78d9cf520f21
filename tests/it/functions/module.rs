//! The module `@run402/functions` against the box's own endpoints (contract 05 §10; checks 15, 17-22, 25, 36).

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{api, deploy, function, with};
use crate::{
    auth::{PASSWORD, Pool},
    support::{Appliance, Project, Users, eventually},
};

/// Runs the text in `op` of the body as a case of the function: `cases` maps names to functions of (req, module).
fn cases(cases: &str) -> String {
    format!(
        "import * as r from '@run402/functions';
         const cases = {{ {cases} }};
         export default async (req) => {{
           try {{ return Response.json((await cases[new URL(req.url).searchParams.get('case')](req)) ?? null) }}
           catch (e) {{ if (String(e.code).startsWith('R402_AUTH_')) throw e;
             return Response.json({{ thrown: e.name, code: e.code ?? null, status: e.status ?? null }}) }} }}"
    )
}

async fn case(project: &Project, name: &str) -> Value {
    project.invoke(&format!("f?case={name}")).send().await.is(200)
}

#[tokio::test]
async fn it_has_the_names_of_its_package() {
    let project = with(&[("f", &cases("names: () => Object.keys(r).sort()"))]).await;
    let names = case(&project, "names").await;
    let names = names.as_array().expect("names");
    assert_eq!(names.len(), 71, "{names:?}");
    for name in ["db", "adminDb", "auth", "email", "ai", "assets", "routedHttp", "functions", "cache", "events"] {
        assert!(names.contains(&json!(name)), "{name}");
    }
}

#[tokio::test]
async fn a_direct_call_knows_its_user_by_the_bearer() {
    let (pool, other) = (Pool::new().await, Pool::new().await);
    let code = cases(
        "user: () => r.auth.user(), must: () => r.auth.requireUser(), role: () => r.auth.requireRole('admin'), old: (req) => r.getUser(req)",
    );
    deploy(&pool.project, &[("f", &code, json!({}))]).await;
    for pool in [&pool, &other] {
        pool.sign_up("ann@example.com").await;
    }
    let (mine, theirs) = (pool.log_in("ann@example.com").await, other.log_in("ann@example.com").await);
    assert_eq!(case(&pool.project, "user").await, Value::Null);
    let call = |case: &str, token: &str| pool.project.invoke(&format!("f?case={case}")).bearer(token);
    let user = call("user", &mine.access).send().await.is(200);
    assert_eq!((&user["id"], &user["email"]), (&mine.claims()["sub"], &json!("ann@example.com")));
    assert_eq!((&user["projectId"], &user["emailVerified"]), (&json!(pool.project.id), &json!(false)));
    assert!(user["sessionId"].as_str().is_some_and(|id| !id.is_empty()), "{user}");
    for token in [theirs.access.as_str(), "nonsense", pool.project.service_key.as_str()] {
        assert_eq!(call("user", token).send().await.is(200), Value::Null);
    }
    call("must", "nonsense").send().await.refused(401, "R402_AUTH_REQUIRED");
    call("role", &mine.access).send().await.refused(500, "R402_AUTH_ROLE_GATE_NOT_CONFIGURED");
    let old = call("old", &mine.access).send().await.refused(500, "R402_AUTH_UNKNOWN_EXPORT");
    assert!(old["details"]["canonical_name"].as_str().is_some_and(|name| name.contains("auth.user")), "{old}");
}

#[tokio::test]
async fn a_role_that_the_gate_found_is_the_modules_role() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let user = pool.log_in("ann@example.com").await;
    let id = user.claims()["sub"].as_str().expect("an id").to_owned();
    let create = format!(
        "create table members (user_id uuid primary key, role text not null);
         insert into members values ('{id}', 'admin')"
    );
    pool.project.sql(&create).await.is(200);
    let gate = json!({"require_role": {
        "table": "members", "id_column": "user_id", "role_column": "role", "allowed": ["admin", "staff"],
    }});
    let code = cases(
        "role: async () => { const { user, role } = await r.auth.requireRole('admin'); return [user.id, role] }, staff: () => r.auth.requireRole('staff')",
    );
    deploy(&pool.project, &[("f", &code, gate)]).await;
    let call = |case: &str| pool.project.invoke(&format!("f?case={case}")).bearer(&user.access);
    assert_eq!(call("role").send().await.is(200), json!([id, "admin"]));
    call("staff").send().await.refused(403, "R402_AUTH_INSUFFICIENT_ROLE");
}

#[tokio::test]
async fn a_browser_session_is_the_actor_of_a_routed_call() {
    let pool = Pool::new().await;
    let code = "import { auth, db } from '@run402/functions';
      export default async (req) => {
        if (req.url.endsWith('/must')) return Response.json(await auth.requireUser());
        const user = await auth.user();
        return Response.json({ user, csrf: user ? await auth.csrfToken() : null, token: req.headers.get('x-run402-actor-token') !== null, rows: user ? await db().from('notes').select('text') : null }) }";
    pool.project
        .sql("create table notes (id bigint generated always as identity primary key, owner uuid default auth.uid(), text text not null)")
        .await
        .is(200);
    let spec = json!({
        "functions": {"replace": {"f": function(code, &json!({}))}},
        "routes": {"replace": [{"pattern": "/app/*", "target": {"type": "function", "name": "f"}}]},
        "database": {"expose": {"version": "1", "tables": [{"name": "notes", "expose": true, "policy": "user_owns_rows", "owner_column": "owner", "force_owner_on_insert": true}]}},
    });
    pool.project.deploy(&spec, &[code.as_bytes()]).await;
    let host = pool.project.host().await;
    let get = |path: &str| pool.api.call(Method::GET, path).header("host", &host);
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let nobody = get("/app/x").send().await.is(200);
    assert_eq!((&nobody["user"], &nobody["token"]), (&Value::Null, &json!(false)));
    // A Bearer is not a browser's session.
    let bearer = get("/app/x").bearer(&tokens.access).send().await.is(200);
    assert_eq!(bearer["user"], Value::Null);
    let must = get("/app/must").header("accept", "text/html").send().await;
    assert_eq!((must.status.as_u16(), must.header("location")), (303, Some("/auth/sign-in?returnTo=%2Fapp%2Fmust")));
    let must = get("/app/must").header("accept", "application/json").send().await;
    assert_eq!((must.status.as_u16(), must.json()["code"].as_str()), (401, Some("R402_AUTH_REQUIRED")));

    let form = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs([("email", "ann@example.com"), ("password", PASSWORD), ("returnTo", "/app/x")])
        .finish();
    let signed = pool
        .api
        .post("/auth/sign-in")
        .header("host", &host)
        .header("origin", &format!("http://{host}"))
        .body("application/x-www-form-urlencoded", form.into_bytes())
        .send()
        .await;
    let cookie = signed.header("set-cookie").and_then(|cookie| cookie.split(';').next()).expect("a session").to_owned();
    let insert = pool.api.post("/rest/v1/notes").api_key(&pool.project.anon_key).bearer(&tokens.access);
    insert.header("prefer", "return=representation").json(&json!({"text": "mine"})).send().await.is(201);
    let seen = get("/app/x").header("cookie", &cookie).header("x-run402-actor-context", "evil").send().await.is(200);
    let user = &seen["user"];
    assert_eq!((&user["id"], &user["email"]), (&tokens.claims()["sub"], &json!("ann@example.com")));
    assert!(user["amrTimes"]["password"].is_number() || user["amrTimes"]["pwd"].is_number(), "{user}");
    assert!(user["sessionId"].as_str().is_some_and(|id| !id.is_empty()) && user["authTime"].is_number(), "{user}");
    assert_eq!((&seen["token"], &seen["rows"]), (&json!(true), &json!([{"text": "mine"}])));
    let session = get("/auth/v1/session").header("cookie", &cookie).send().await.is(200);
    assert_eq!(seen["csrf"], session["csrf_token"], "forms made by functions are good");
}

#[tokio::test]
async fn the_data_api_is_there_for_users_and_for_the_admin() {
    let mut appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    let (ann, bob) = ("6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b", "7f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b");
    let create = format!(
        "create table items (id bigint generated always as identity primary key, owner uuid default auth.uid(), name text not null);
         insert into items (owner, name) values ('{ann}', 'ann 1'), ('{bob}', 'bob 1')"
    );
    project.sql(&create).await.is(200);
    let code = cases(
        "mine: () => r.db().from('items').select('name').order('id'),
         all: () => r.adminDb().from('items').select('name').order('id'),
         insert: () => r.db().from('items').insert({ name: 'new' }),
         update: () => r.db().from('items').update({ name: 'newer' }).eq('name', 'new'),
         remove: () => r.db().from('items').delete().eq('name', 'newer'),
         expired: (req) => r.db(new Request('https://x/', { headers: { authorization: req.headers.get('x-expired') } })).from('items').select('name'),
         single: () => r.db().from('items').select('*').eq('name', 'nobody').single(),
         maybe: () => r.db().from('items').select('*').eq('name', 'nobody').maybeSingle(),
         missing: () => r.db().from('nowhere').select('*'),
         sql: async () => { const s = await r.adminDb().sql('select $1::int as n', [7]);
           return [s.rows[0].n, s[0].n, s.row_count, JSON.parse(JSON.stringify(s)).rows.length, Array.isArray(s)] },
         bad: () => r.adminDb().sql('selekt'),",
    );
    let spec = json!({
        "functions": {"replace": {"f": function(&code, &json!({}))}},
        "database": {"expose": {"version": "1", "tables": [{"name": "items", "expose": true, "policy": "user_owns_rows", "owner_column": "owner", "force_owner_on_insert": true}]}},
    });
    project.deploy(&spec, &[code.as_bytes()]).await;
    let users = Users::of(&project.id);
    users.publish(&appliance).await;
    appliance.stop();
    appliance.start_again();
    let project = project.through(&appliance.api());
    let call =
        async |name: &str| project.invoke(&format!("f?case={name}")).bearer(&users.token(ann)).send().await.is(200);
    assert_eq!(call("mine").await, json!([{"name": "ann 1"}]));
    assert_eq!(call("all").await, json!([{"name": "ann 1"}, {"name": "bob 1"}]));
    let inserted = call("insert").await;
    assert_eq!((&inserted[0]["name"], &inserted[0]["owner"]), (&json!("new"), &json!(ann)));
    let (updated, removed) = (call("update").await, call("remove").await);
    assert_eq!((&updated[0]["name"], &updated[0]["owner"]), (&json!("newer"), &json!(ann)));
    assert_eq!((removed.as_array().map(Vec::len), &removed[0]["name"]), (Some(1), &json!("newer")));
    let expired = users.token_with(ann, &json!({"exp": 1}));
    let answer =
        project.invoke("f?case=expired").header("x-expired", &format!("Bearer {expired}")).send().await.is(200);
    assert_eq!((&answer["thrown"], &answer["status"]), (&json!("R402DbError"), &json!(401)));
    assert_eq!(call("single").await, json!({"thrown": "R402DbError", "code": "R402_DB_QUERY_ERROR", "status": 406}));
    assert_eq!(call("maybe").await, Value::Null);
    assert_eq!(call("missing").await["thrown"], "R402DbError");
    assert_eq!(call("sql").await, json!([7, 7, 1, 1, false]));
    assert_eq!(call("bad").await["code"], "R402_DB_SQL_ERROR");
    // Nobody sees nothing.
    assert_ne!(case(&project, "mine").await, json!([{"name": "ann 1"}]));
}

#[tokio::test]
async fn assets_envelopes_and_the_context_work() {
    let code = cases(
        "asset: async () => { const a = await r.assets.put('a/b.txt', 'hi'); return { url: a.cdnUrl ?? a.immutableUrl ?? a.url, contentType: a.contentType, size: a.size } },
         list: async () => (await r.assets.list({ prefix: 'a/' })).blobs.map((b) => b.key),
         json: () => { const e = r.routedHttp.json({ hello: 'world' }); return [e.status, e.body.size, e.headers] },
         bytes: () => r.bytes(new Uint8Array([1, 2, 3])).body.size,
         context: (req) => r.getRun402Context(req),
         current: () => { const c = r.getCurrentContext(); return [c.requestId, c.projectId, c.invocationKind, c.request.headers['x-run402-function-name'], c.request.headers.get('x-run402-function-name')] },
         keys: async () => { const h = { authorization: 'Bearer ' + process.env.RUN402_SERVICE_KEY }; const u = process.env.RUN402_API_BASE + '/internal/v1/project-jwt-keys';
           const { keys } = await (await fetch(u, { headers: h })).json(); return [(await fetch(u)).status, keys.length > 0, keys.every((k) => k.kty === 'EC' && k.crv === 'P-256' && k.d === undefined)] },",
    );
    let project = with(&[("f", &code)]).await;
    let asset = case(&project, "asset").await;
    assert_eq!((&asset["contentType"], &asset["size"]), (&json!("text/plain; charset=utf-8"), &json!(2)), "{asset}");
    let url = asset["url"].as_str().expect("a URL");
    let (host, path) = url.trim_start_matches("http://").split_once('/').expect("a path");
    let served = api().get(&format!("/{path}")).header("host", host).send().await;
    assert_eq!((served.status.as_u16(), &*served.text()), (200, "hi"));
    assert_eq!(case(&project, "list").await, json!(["a/b.txt"]));
    let envelope = case(&project, "json").await;
    assert_eq!((&envelope[0], &envelope[1]), (&json!(200), &json!(17)));
    assert_eq!(case(&project, "bytes").await, 3);
    let context = case(&project, "context").await;
    assert_eq!((&context["projectId"], &context["locale"]), (&json!(project.id), &Value::Null));
    let current = case(&project, "current").await;
    assert_eq!(json!(current.as_array().expect("values")[1..]), json!([project.id, "direct", "f", "f"]));
    assert_eq!(case(&project, "keys").await, json!([401, true, true]));
}

#[tokio::test]
async fn a_routed_envelope_is_an_answer() {
    let code =
        "import { routedHttp } from '@run402/functions'; export default () => routedHttp.json({ hello: 'world' })";
    let project = api().provision().await;
    let spec = json!({
        "functions": {"replace": {"f": function(code, &json!({}))}},
        "routes": {"replace": [{"pattern": "/r", "target": {"type": "function", "name": "f"}}]},
    });
    project.deploy(&spec, &[code.as_bytes()]).await;
    let host = project.host().await;
    let answer = api().get("/r").header("host", &host).send().await;
    assert_eq!(answer.text(), "{\"hello\":\"world\"}");
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn runs_make_runs_and_know_their_parent() {
    let code = "import { functions, defineFunctionRuns, retryableFunctionRunError } from '@run402/functions';
      let outside; try { await functions.runs.create('w', { eventType: 'x', idempotencyKey: 'k' }) } catch (e) { outside = e.code }
      export default defineFunctionRuns({
        parent: async (ctx) => { const child = await ctx.functions.runs.create('w', { eventType: 'child', idempotencyKey: ctx.idempotency.fromParts(ctx.run.id, 'child') });
          console.log(JSON.stringify({ child: child.run_id, outside })) },
        child: async () => {},
        later: async () => { throw retryableFunctionRunError('not yet') },
      })";
    let project = with(&[("w", code)]).await;
    let create = async |event: &str| {
        let wish = json!({"event_type": event, "idempotency_key": event});
        let made = api().post("/functions/v1/w/runs").bearer(&project.service_key).json(&wish).send().await.is(202);
        made["run_id"].as_str().expect("an id").to_owned()
    };
    let ended = async |id: &str| {
        let path = format!("/functions/v1/runs/{id}");
        eventually("the run gets there", Duration::from_secs(20), async || {
            let run = api().get(&path).bearer(&project.service_key).send().await.is(200);
            ["succeeded", "failed", "retrying"].iter().any(|end| run["status"] == *end).then_some(run)
        })
        .await
    };
    let parent = create("parent").await;
    let run = ended(&parent).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let console = project.console("w", &format!("?request_id={parent}"), 1).await;
    let said: Value = serde_json::from_str(console[0]["message"].as_str().expect("text")).expect("JSON");
    assert_eq!(said["outside"], "R402_FUNCTION_RUN_MISSING_CONTEXT");
    let child = ended(said["child"].as_str().expect("a run")).await;
    assert_eq!((&child["status"], &child["source"]["type"]), (&json!("succeeded"), &json!("function")));
    assert_eq!(child["source"]["parent_run_id"], parent);
    let later = ended(&create("later").await).await;
    assert_eq!((&later["status"], &later["attempts"]["current"]), (&json!("retrying"), &json!(1)));
}

#[tokio::test]
async fn no_value_of_the_environment_signs_tokens() {
    let pool = Pool::new().await;
    let code = "import { auth } from '@run402/functions'; import { createHmac } from 'node:crypto';
      export default async (req) => { if (req.method === 'GET') return Response.json(await auth.user());
        const part = (v) => Buffer.from(JSON.stringify(v)).toString('base64url'), now = Math.floor(Date.now() / 1000);
        const tokens = Object.values(process.env).map((key) => { const text = part({ alg: 'HS256', typ: 'JWT' }) + '.' + part({ sub: '6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b', role: 'authenticated', project_id: process.env.RUN402_PROJECT_ID, iss: 'agentdb', iat: now, exp: now + 600 });
          return text + '.' + createHmac('sha256', key).update(text).digest('base64url') });
        return Response.json(tokens) }";
    deploy(&pool.project, &[("f", code, json!({}))]).await;
    let tokens = pool.project.invoke("f").send().await.is(200);
    for token in tokens.as_array().expect("tokens") {
        let token = token.as_str().expect("a token");
        let as_user = api().get("/functions/v1/f").api_key(&pool.project.anon_key).bearer(token).send().await.is(200);
        assert_eq!(as_user, Value::Null);
        assert_eq!(pool.user(token).await.status, 401);
    }
}

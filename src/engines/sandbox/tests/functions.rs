//! The built-in module `@run402/functions` and the context of a request.

use std::{collections::BTreeMap, fs, sync::Arc};

use serde_json::{Value, json};

use super::{Failure, Modules, Platform, Program, Request, Response, get, program, sandbox, text};

/// The cases both the built-in module and the npm package ran; tests/sandbox/functions/npm.mjs made `expected.json`.
#[tokio::test]
async fn the_built_in_module_asks_and_answers_as_the_npm_package_does() {
    const ENTRY: &str = "import * as module from '@run402/functions';
import { transcript } from './cases.mjs';
export default async () => Response.json(await transcript(module));";
    let read = |name: &str| fs::read_to_string(format!("tests/sandbox/functions/{name}")).unwrap();
    let files = BTreeMap::from([
        ("index.mjs".to_owned(), ENTRY.to_owned()),
        ("cases.mjs".to_owned(), read("cases.mjs")),
        ("tokens.mjs".to_owned(), read("tokens.mjs")),
    ]);
    let answer = get(&program(Modules { files, entry: "index.mjs".to_owned() }).await.unwrap()).await.unwrap();
    let found: BTreeMap<String, Value> = serde_json::from_slice(&answer.body).unwrap();
    let expected: BTreeMap<String, Value> = serde_json::from_str(&read("expected.json")).unwrap();
    assert!(expected.len() > 400);
    let differing: Vec<String> = expected
        .iter()
        .filter(|(name, wanted)| found.get(*name) != Some(wanted))
        .map(|(name, wanted)| format!("{name}\n  package {wanted}\n  guest   {:?}", found.get(name)))
        .collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
    assert_eq!(found.len(), expected.len());
}

fn context(kind: &str, actor: Value) -> Value {
    json!({
        "requestId": "req_1", "projectId": "prj_1", "releaseId": "rel_1", "locale": "de", "defaultLocale": "en",
        "host": "site.test", "invocationKind": kind, "idempotencyKey": null, "actor": actor,
    })
}

fn actor() -> Value {
    json!({
        "id": "u1", "email": "e@x.test", "emailVerified": true, "authTime": 1000, "amr": ["password"],
        "amrTimes": { "password": 1000 }, "authzVersion": 1, "sessionId": "s1",
    })
}

async fn call(program: &Arc<Program>, context: Value) -> Result<Response, Failure> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let request = Request {
        method: "GET".to_owned(),
        url: "https://site.test/a?b=1".to_owned(),
        headers: vec![header("X-A", "1"), header("x-a", "2"), header("x-run402-user-role", "admin")],
        context,
        ..Request::default()
    };
    sandbox().call(program, request, Arc::new(Platform::default())).await
}

async fn once(source: &str, context: Value) -> (Value, bool) {
    let program = program(Modules::single(source)).await.unwrap();
    let answer = call(&program, context).await.unwrap();
    (serde_json::from_slice(&answer.body).unwrap(), answer.tainted)
}

#[tokio::test]
async fn the_context_follows_the_request_and_nothing_else() {
    let source = "import { getCurrentContext, requireActiveContext } from '@run402/functions';
const atTop = getCurrentContext() === undefined;
let last;
const id = () => getCurrentContext()?.requestId ?? null;
export default async () => {
  const before = last && [last.active.value, last.requestId];
  last = requireActiveContext('test');
  const now = id();
  await null;
  const awaited = id();
  const timed = await new Promise((done) => setTimeout(() => done(id()), 1));
  const reacted = await Promise.resolve().then(() => id());
  return Response.json({ atTop, before, seen: [now, awaited, timed, reacted], context: last });
};";
    let program = program(Modules::single(source)).await.unwrap();
    let first: Value =
        serde_json::from_slice(&call(&program, context("direct", Value::Null)).await.unwrap().body).unwrap();
    assert_eq!((&first["atTop"], &first["before"]), (&json!(true), &Value::Null));
    assert_eq!(first["seen"], json!(["req_1", "req_1", "req_1", "req_1"]));
    let expected = json!({
        "requestId": "req_1", "projectId": "prj_1", "releaseId": "rel_1", "locale": "de", "defaultLocale": "en",
        "host": "site.test", "invocationKind": "direct", "idempotencyKey": null, "actor": null,
        "request": {
            "method": "GET", "url": "https://site.test/a?b=1",
            "headers": { "x-a": "1, 2", "x-run402-user-role": "admin" },
        },
        "cacheBypassTainted": { "value": false }, "active": { "value": true },
    });
    assert_eq!(first["context"], expected);
    let second = call(&program, context("direct", Value::Null)).await.unwrap();
    let second: Value = serde_json::from_slice(&second.body).unwrap();
    assert_eq!(second["before"], json!([false, "req_1"]));
}

#[tokio::test]
async fn a_request_without_context_has_none() {
    let source = "import { getCurrentContext, auth } from '@run402/functions';
export default async () => Response.json([getCurrentContext() ?? null, await auth.user()])";
    assert_eq!(text(source).await, "[null,null]");
}

#[tokio::test]
async fn reading_who_asks_marks_the_answer_as_personal() {
    let plain = "export default async () => Response.json(1)";
    assert_eq!(once(plain, context("routed_http", actor())).await, (json!(1), false));
    let asking = "import { auth } from '@run402/functions';
export default async () => Response.json((await auth.requireRole('admin')).user.id)";
    assert_eq!(once(asking, context("routed_http", actor())).await, (json!("u1"), true));
    let streaming = "import { auth } from '@run402/functions';
export default () => new Response((async function* () { yield '\"'; yield (await auth.user()).email; yield '\"'; })())";
    assert_eq!(once(streaming, context("routed_http", actor())).await, (json!("e@x.test"), true));
}

#[tokio::test]
async fn a_page_rendered_in_a_context_of_its_own_keeps_its_actor_and_its_mark() {
    let source = "import { auth, getCurrentContext, runWithContext } from '@run402/functions';
export default (req) => {
  const { requestId, projectId, releaseId, locale, defaultLocale, host, invocationKind } = getCurrentContext();
  const own = { requestId, projectId, releaseId, locale, defaultLocale, host, invocationKind, request: { method: req.method, url: req.url, headers: {} } };
  return runWithContext(own, async () => Response.json((await auth.user())?.id ?? null));
}";
    assert_eq!(once(source, context("routed_http", actor())).await, (json!("u1"), true));
    assert_eq!(once(source, context("routed_http", Value::Null)).await, (Value::Null, true));
}

#[tokio::test]
async fn headers_of_the_context_read_both_ways() {
    let source = "import { getCurrentContext } from '@run402/functions';
export default () => { const { headers } = getCurrentContext().request; return Response.json([headers['x-a'], headers.get('X-A'), headers.get('none'), headers.get('get'), Object.keys(headers), headers.get.length]); }";
    let (found, _) = once(source, context("direct", Value::Null)).await;
    assert_eq!(found, json!(["1, 2", "1, 2", null, null, ["x-a", "x-run402-user-role"], 1]));
}

#[tokio::test]
async fn a_result_of_sql_is_an_envelope_and_reads_as_its_rows() {
    let source = "import { adminDb } from '@run402/functions';
process.env.RUN402_SERVICE_KEY = 'SK';
globalThis.fetch = async () => Response.json({ status: 'ok', schema: 's', rows: [{ n: 1 }, { n: 2 }], row_count: 2, fields: [] });
export default async () => {
  const r = await adminDb().sql('select');
  const [first] = r;
  return Response.json([r.rows[1].n, r[0].n, r[2] ?? null, r.length, r.row_count, first.n, [...r].length, r.map((x) => x.n), r.at(-1).n, r.find((x) => x.n === 2).n,
    r.reduce((sum, x) => sum + x.n, 0), Array.isArray(r), Object.keys(r), JSON.parse(JSON.stringify(r)), r.slice(1), r instanceof Object]);
}";
    let found: Value = serde_json::from_str(&text(source).await).unwrap();
    let envelope =
        json!({ "status": "ok", "schema": "s", "rows": [{ "n": 1 }, { "n": 2 }], "row_count": 2, "fields": [] });
    let keys = json!(["status", "schema", "rows", "row_count", "fields"]);
    assert_eq!(found, json!([2, 1, null, 2, 2, 1, 2, [1, 2], 2, 2, 3, false, keys, envelope, [{ "n": 2 }], true]));
}

#[tokio::test]
async fn errors_of_auth_arrive_with_what_a_page_needs() {
    let source = "import { auth } from '@run402/functions'; export default async () => { await auth.requireUser(); }";
    let program = program(Modules::single(source)).await.unwrap();
    let Err(Failure::Threw(thrown)) = call(&program, context("routed_http", Value::Null)).await else { panic!() };
    assert_eq!((thrown.code.as_deref(), thrown.status), (Some("R402_AUTH_REQUIRED"), Some(401.0)));
    assert_eq!(thrown.details, Some(json!({ "returnTo": "https://site.test/a?b=1" })));
    assert!(thrown.suggested_fix.is_some() && thrown.docs.is_some());
}

#[tokio::test]
async fn the_module_is_a_builtin_with_exactly_the_names_of_the_package() {
    let missing = program(Modules::single("import { nope } from '@run402/functions'")).await.unwrap_err();
    let module = "@run402/functions".to_owned();
    assert_eq!(missing, Failure::MissingExport { module, export: "nope".to_owned() });
    let source = "export default async () => { const r = await import('@run402/functions'); const q = require('@run402/functions'); return Response.json([Object.keys(r).length, 'default' in r, q.db === r.db]); }";
    assert_eq!(text(source).await, "[71,false,true]");
    let subpath = program(Modules::single("import '@run402/functions/db'")).await.unwrap_err();
    assert!(matches!(subpath, Failure::UnresolvedImport { builtin: false, .. }), "{subpath:?}");
}

//! The sandbox from outside: small programs, each about one behaviour. What the platform offers the guest is checked
//! by the programs in tests/sandbox, which Node runs as well (`node tests/sandbox/run.mjs`): they assert what Node does.

mod functions;
mod hostile;
mod network;
mod programs;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::BodyExt;
use url::Url;

use super::*;

/// One engine for all tests of the process: compiling the guest is what costs.
fn sandbox() -> &'static Sandbox {
    static SHARED: OnceLock<Sandbox> = OnceLock::new();
    SHARED.get_or_init(|| {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sandbox-cache");
        let settings = SandboxSettings { max_instances: 200, threads: 2, ..SandboxSettings::default() };
        Sandbox::start(settings, cache, [3; 32]).unwrap()
    })
}

/// A platform that remembers what it was told.
#[derive(Default)]
struct Platform {
    logs: Mutex<Vec<LogLine>>,
}

impl Platform {
    fn texts(&self) -> Vec<String> {
        self.logs.lock().unwrap().iter().map(|line| line.text.clone()).collect()
    }
}

#[async_trait]
impl HostServices for Platform {
    fn log(&self, line: LogLine) {
        self.logs.lock().unwrap().push(line);
    }

    fn owns(&self, url: &Url) -> bool {
        url.host_str() == Some("own.test")
    }

    async fn dispatch(&self, request: OutboundRequest) -> Result<OutboundResponse, ServiceError> {
        let sent = request.body.collect().await.map_err(|error| ServiceError::new(error.to_string()))?.to_bytes();
        let body = format!("{} {} {}", request.method, request.url.path(), String::from_utf8_lossy(&sent));
        let headers =
            vec![("content-type".to_owned(), "text/plain".to_owned()), ("x-own".to_owned(), "yes".to_owned())];
        Ok(OutboundResponse { status: 201, headers, body: whole_body(body) })
    }

    async fn call(&self, name: &str, head: serde_json::Value, _: Vec<Bytes>) -> Result<Vec<u8>, ServiceError> {
        Err(ServiceError::new(format!("no operation {name} {head}")).with_code("ENOSYS"))
    }
}

fn limits(milliseconds: u64) -> Limits {
    Limits { timeout: Duration::from_millis(milliseconds), memory_bytes: 64 << 20, ..Limits::default() }
}

async fn program(modules: Modules) -> Result<Arc<Program>, Failure> {
    let env = BTreeMap::from([("API_KEY".to_owned(), "s3cret".to_owned())]);
    let image = sandbox().compile(modules).await?;
    Ok(Arc::new(sandbox().program(image, &env, limits(60_000))))
}

fn request(method: &str, url: &str, body: &str) -> Request {
    let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    let body = Bytes::copy_from_slice(body.as_bytes());
    Request { method: method.to_owned(), url: url.to_owned(), headers, body, ..Request::default() }
}

async fn get(program: &Arc<Program>) -> Result<Response, Failure> {
    let request = Request { headers: vec![], ..request("GET", "http://localhost/fn", "") };
    sandbox().call(program, request, Arc::new(Platform::default())).await
}

/// Compiles a program of one file and calls it once.
async fn run(source: &str) -> Result<Response, Failure> {
    get(&program(Modules::single(source)).await?).await
}

async fn text(source: &str) -> String {
    String::from_utf8(run(source).await.unwrap().body.to_vec()).unwrap()
}

#[tokio::test]
async fn a_handler_sees_the_request_and_answers() {
    let source = "export default async (req) => Response.json({ m: req.method, u: req.url, t: req.headers.get('content-type'), b: await req.json() }, { status: 201, headers: { 'x-a': 'b' } })";
    let program = program(Modules::single(source)).await.unwrap();
    let request = request("PUT", "http://localhost/a?b=1", "{\"x\":1}");
    let answer = sandbox().call(&program, request, Arc::new(Platform::default())).await.unwrap();
    assert_eq!(answer.status, 201);
    assert!(answer.headers.contains(&("x-a".to_owned(), "b".to_owned())));
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let expected =
        serde_json::json!({ "m": "PUT", "u": "http://localhost/a?b=1", "t": "application/json", "b": { "x": 1 } });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn every_documented_form_of_answer_works() {
    for (source, status, body) in [
        ("export default () => 'plain'", 200, "\"plain\""),
        ("export const handler = () => ({ a: [1] })", 200, "{\"a\":[1]}"),
        ("export default () => ({ statusCode: 418, headers: { a: 'b' }, body: 'tea' })", 418, "tea"),
        (
            "export default () => ({ status: 202, headers: [['a', 'b']], body: { encoding: 'base64', data: 'aGk=' } })",
            202,
            "hi",
        ),
        (
            "export default () => new Response(new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode('st')); c.enqueue(new TextEncoder().encode('ream')); c.close(); } }))",
            200,
            "stream",
        ),
        ("export default () => new Response((async function* () { yield 'ite'; yield 'rable'; })())", 200, "iterable"),
        ("export default () => new Response(null, { status: 204 })", 204, ""),
    ] {
        let answer = run(source).await.unwrap();
        assert_eq!((answer.status, answer.body.as_ref()), (status, body.as_bytes()), "{source}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_refused() {
    assert!(matches!(run("export default () => {}").await, Err(Failure::InvalidResponse(_))));
    assert!(matches!(run("export default () => Symbol('x')").await, Err(Failure::InvalidResponse(_))));
    assert_eq!(run("export const other = 1").await, Err(Failure::NoHandler));
    assert_eq!(run("export default () => new Promise(() => {})").await, Err(Failure::Deadlock));
    assert_eq!(run("export default () => process.exit(1)").await, Err(Failure::Exited(1)));
}

#[tokio::test]
async fn a_thrown_error_tells_file_line_and_column() {
    let files = BTreeMap::from([
        (
            "index.mjs".to_owned(),
            "import { fail } from './lib/fail.mjs';\nexport default () => {\n  return fail();\n};\n".to_owned(),
        ),
        ("lib/fail.mjs".to_owned(), "export function fail() {\n  const x = null;\n  return x.y;\n}\n".to_owned()),
    ]);
    let failure = get(&program(Modules { files, entry: "index.mjs".to_owned() }).await.unwrap()).await.unwrap_err();
    let Failure::Threw(thrown) = failure else { panic!("{failure:?}") };
    assert_eq!(thrown.name, "TypeError");
    let lines: Vec<&str> = thrown.stack.lines().map(str::trim).collect();
    assert_eq!(lines[0], "at fail (lib/fail.mjs:3:10)", "{lines:?}");
    assert!(lines[1].contains("index.mjs:3:10"), "{lines:?}");
    assert!(!thrown.stack.contains("prelude"));
}

#[tokio::test]
async fn errors_carry_their_code_status_and_details() {
    let source = "export default () => { throw Object.assign(new Error('no'), { code: 'X_Y', status: 418, details: { a: 1 } }) }";
    let Err(Failure::Threw(thrown)) = run(source).await else { panic!() };
    assert_eq!((thrown.code.as_deref(), thrown.status), (Some("X_Y"), Some(418.0)));
    assert_eq!(thrown.details, Some(serde_json::json!({ "a": 1 })));
    let Err(Failure::Threw(thrown)) = run("export default () => { throw 'text' }").await else { panic!() };
    assert_eq!(thrown.message, "text");
}

#[tokio::test]
async fn compilation_finds_what_can_be_known_without_running() {
    let compile = |source: &'static str| sandbox().compile(Modules::single(source));
    let failure = compile("const a = 1;\nconst b = ;\n").await.unwrap_err();
    let Failure::SyntaxError { file, line, column, .. } = &failure else { panic!("{failure:?}") };
    assert_eq!((file.as_str(), *line, *column), ("index.mjs", 2, 11));
    for (source, specifier, builtin) in [
        ("import 'node:cluster'", "node:cluster", true),
        ("import x from 'left-pad'", "left-pad", false),
        ("import './nothing.mjs'", "./nothing.mjs", false),
        ("import '../../etc/passwd'", "../../etc/passwd", false),
        ("import 'https://example.com/x.mjs'", "https://example.com/x.mjs", false),
    ] {
        let importer = "index.mjs".to_owned();
        let expected = Failure::UnresolvedImport { specifier: specifier.to_owned(), importer, builtin };
        assert_eq!(compile(source).await.err(), Some(expected), "{source}");
    }
    let missing = compile("import { nope } from 'node:path'").await.unwrap_err();
    assert_eq!(missing, Failure::MissingExport { module: "path".to_owned(), export: "nope".to_owned() });
    let image = compile("throw new Error('runs'); export default 1; export const other = 2").await.unwrap();
    assert_eq!((image.exports(), image.has_handler()), (&["default".to_owned(), "other".to_owned()][..], true));
    compile("function f() { require('node:cluster') } export default () => import('nowhere')").await.unwrap();
}

#[tokio::test]
async fn an_instance_is_reused_for_its_program_only() {
    let source = "let n = 0; export default () => new Response(String(++n))";
    let (one, two) = (program(Modules::single(source)).await.unwrap(), program(Modules::single(source)).await.unwrap());
    let mut seen = Vec::new();
    for program in [&one, &one, &two, &one] {
        let answer = get(program).await.unwrap();
        seen.push((String::from_utf8_lossy(&answer.body).into_owned(), answer.cold));
    }
    let expected = [("1", true), ("2", false), ("1", true), ("3", false)];
    assert_eq!(seen, expected.map(|(body, cold)| (body.to_owned(), cold)));
    sandbox().forget(&one);
    assert!(get(&one).await.unwrap().cold);
}

#[tokio::test]
async fn instances_differ_in_their_randomness() {
    let source = "const first = [Math.random(), crypto.randomUUID()]; export default () => Response.json(first)";
    let (one, two) = (program(Modules::single(source)).await.unwrap(), program(Modules::single(source)).await.unwrap());
    assert_ne!(get(&one).await.unwrap().body, get(&two).await.unwrap().body);
}

#[tokio::test]
async fn threads_of_functions_give_way_to_all_others() {
    text("export default () => 'started'").await;
    let mut seen = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let Ok(stat) = std::fs::read_to_string(task.unwrap().path().join("stat")) else { continue };
        let (name, rest) = stat.rsplit_once(')').unwrap();
        // proc_pid_stat(5): niceness is the 19th field, and the state after the name the third.
        let nice = rest.split_whitespace().nth(16).unwrap();
        if name.ends_with("(sandbox") {
            assert_eq!(nice, "10");
            seen += 1;
        }
    }
    assert!(seen >= 2, "{seen} threads of the sandbox");
}

#[tokio::test]
async fn the_environment_is_the_programs() {
    let source = "process.env.N = 5; export default () => Response.json([process.env.API_KEY, process.env.N, process.env.HOME ?? null])";
    assert_eq!(text(source).await, "[\"s3cret\",\"5\",null]");
    let imported = "import { env } from 'node:process'; export default () => env.API_KEY";
    assert_eq!(text(imported).await, "\"s3cret\"");
}

#[tokio::test]
async fn console_entries_arrive_with_level_and_text() {
    let source = "export default () => { console.log('a %s %d', 'b', 3, { x: [1, { y: { z: {} } }] }); console.error(new TypeError('bad').message); Promise.reject(new Error('lost')); return 'ok' }";
    let program = program(Modules::single(source)).await.unwrap();
    let platform = Arc::new(Platform::default());
    sandbox().call(&program, request("GET", "http://localhost/", ""), platform.clone()).await.unwrap();
    let logs = platform.logs.lock().unwrap();
    assert_eq!(logs[0].text, "a b 3 { x: [ 1, { y: [Object] } ] }");
    assert_eq!((logs[1].level, logs[1].text.as_str()), (LogLevel::Error, "bad"));
    assert!(logs[2].text.starts_with("Unhandled promise rejection: Error: lost"), "{}", logs[2].text);
}

#[tokio::test]
async fn an_error_the_caller_hears_of_is_no_unhandled_rejection() {
    for source in [
        "export default () => { throw new Error('thrown') }",
        "export default async () => { throw new Error('rejected') }",
        "export default async () => { await null; throw new Error('later') }",
        "await null; throw new Error('top level'); export default () => 'x'",
        "export default () => new Response(new ReadableStream({ pull() { throw new Error('body') } }))",
    ] {
        let program = program(Modules::single(source)).await.unwrap();
        let platform = Arc::new(Platform::default());
        let outcome = sandbox().call(&program, request("GET", "http://localhost/", ""), platform.clone()).await;
        assert!(matches!(outcome, Err(Failure::Threw(_))), "{source}: {outcome:?}");
        assert_eq!(platform.texts(), Vec::<String>::new(), "{source}");
    }
}

/// Short requests lie in the guest's inbox, longer ones elsewhere.
#[tokio::test]
async fn requests_of_every_length_arrive_whole() {
    let source = "export default async (req) => new Response(`${req.headers.get('x-long').length} ${(await req.text()).length}`)";
    let program = program(Modules::single(source)).await.unwrap();
    for (header, body) in [(0, 0), (1, 1), (100, 16_000), (16_100, 300), (100, 16_384), (60_000, 2_000_000), (3, 4)] {
        let headers = vec![("x-long".to_owned(), "h".repeat(header))];
        let request = Request { headers, ..request("POST", "http://localhost/", &"b".repeat(body)) };
        let answer = sandbox().call(&program, request, Arc::new(Platform::default())).await.unwrap();
        assert_eq!(answer.body, format!("{header} {body}"));
    }
}

#[tokio::test]
async fn an_own_host_is_answered_in_process() {
    let source = "export default async () => { const r = await fetch('https://own.test/p', { method: 'POST', body: 'b' }); return Response.json([r.status, r.headers.get('x-own'), await r.text(), r.url]) }";
    assert_eq!(text(source).await, "[201,\"yes\",\"POST /p b\",\"https://own.test/p\"]");
}

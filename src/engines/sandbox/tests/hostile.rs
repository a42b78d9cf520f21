//! Programs that mean harm, or that are merely broken in the worst way.

use std::{sync::Arc, time::Instant};

use super::{Failure, Limits, Modules, Program, Sandbox, SandboxSettings, get, limits, request, run, sandbox, text};

async fn limited(source: &str, limits: Limits) -> Arc<Program> {
    let image = sandbox().compile(Modules::single(source)).await.unwrap();
    Arc::new(sandbox().program(image, &Default::default(), limits))
}

#[tokio::test]
async fn whatever_runs_for_ever_is_stopped_at_its_deadline() {
    for source in [
        "export default () => { for (;;) {} }",
        "for (;;) {}",
        "await new Promise(() => setInterval(() => {}, 1)); export default () => 1",
        "export default () => /^(a+)+$/.test('a'.repeat(40) + 'b')",
        "export default async () => { for (;;) await null; }",
        "export default () => new Promise(() => { const f = () => queueMicrotask(f); f(); })",
        "export default () => new Promise(() => { const f = () => { setTimeout(f, 0); setTimeout(f, 0); }; f(); })",
        "export default async () => { try { for (;;) {} } finally { for (;;) {} } }",
        "export default () => ({ get toJSON() { for (;;) {} } })",
        "export default () => { throw { get message() { for (;;) {} } } }",
        "export default () => ({ then() { for (;;) {} } })",
        "export default () => ({ status: 200, headers: [], arrayBuffer: async () => { for (;;) await null } })",
        "export default () => new Response(new ReadableStream({ async pull(c) { await null; c.enqueue(new Uint8Array(0)) } }))",
        "export default () => 'x'.repeat(30).replace(/(x+x+)+y/g, '')",
        "export default () => /(?<=(a+)+)$/.test('b' + 'a'.repeat(35) + 'c') || /^(([a-z])+.)+[A-Z]([a-z])+$/.test('a'.repeat(60))",
        "export default () => new RegExp('^' + '(a?)'.repeat(40) + 'a'.repeat(40) + 'b$').test('a'.repeat(60))",
        "export default () => new Promise(() => { const f = async () => { await Promise.all([f(), f()].map(async (p) => { await 0; await p })) }; f(); })",
        "export default () => { let n = 2n; for (;;) n *= n }",
        "export default () => { const a = new Proxy([], { get: (t, k) => (k === 'length' ? 2 ** 53 - 1 : 0) }); return Array.prototype.indexOf.call(a, 1) }",
        "export default () => [].concat.call(...Array(1000).fill('x'), 'y'.padEnd(1e7)).join('z'.repeat(1e5)).length",
        "import zlib from 'node:zlib'; export default () => { const b = Buffer.alloc(4 << 20); for (;;) zlib.brotliCompressSync(b) }",
    ] {
        let program = limited(source, limits(300)).await;
        let began = Instant::now();
        let outcome = get(&program).await;
        // Some run into another limit first: memory, or one of the engine's own.
        let stopped = matches!(outcome, Err(Failure::Timeout | Failure::Memory | Failure::Threw(_)));
        assert!(stopped, "{source}: {outcome:?}");
        assert!(began.elapsed().as_millis() < 2_000, "{source}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn allocation_without_end_meets_the_memory_limit() {
    for source in [
        "export default () => { const a = []; for (;;) a.push(new Uint8Array(1 << 20)); }",
        "export default () => { const a = []; for (;;) a.push({ a }); }",
        "const m = new Map(); let i = 0; for (;;) m.set(i++, 'x'.repeat(1000) + i); export default () => 1",
        "export default () => Array.from({ length: 5e7 }, (_, i) => ({ i }))",
    ] {
        let program = limited(source, limits(20_000)).await;
        let outcome = get(&program).await;
        assert!(matches!(outcome, Err(Failure::Memory)), "{source}: {outcome:?}");
    }
    let caught = "export default () => { try { new ArrayBuffer(1e9) } catch (e) { return e.name } }";
    assert!(text(caught).await.contains("Error"));
}

#[tokio::test]
async fn what_the_box_has_no_memory_for_is_told_from_a_limit_of_the_program() {
    let cache = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sandbox-cache");
    let settings = SandboxSettings { total_memory_mb: 24, threads: 1, ..SandboxSettings::default() };
    let small = Sandbox::start(settings, cache, [3; 32]).unwrap();
    let source =
        "export default (request) => new Uint8Array(Number(new URL(request.url).pathname.slice(1))).fill(1).length";
    let image = small.compile(Modules::single(source)).await.unwrap();
    let program = |memory_mb: usize| {
        let limits = Limits { memory_bytes: memory_mb << 20, ..limits(20_000) };
        Arc::new(small.program(Arc::clone(&image), &Default::default(), limits))
    };
    let (roomy, narrow) = (program(128), program(16));
    let allocate = async |program, megabytes: usize| {
        let asked = request("GET", &format!("https://a.test/{}", megabytes << 20), "");
        small.call(program, asked, Arc::new(super::Platform::default())).await.map(|_| ())
    };
    assert_eq!(allocate(&roomy, 48).await, Err(Failure::Crowded));
    assert!(matches!(allocate(&narrow, 48).await, Err(Failure::Memory | Failure::Threw(_))));
    assert_eq!(allocate(&roomy, 4).await, Ok(()), "what was refused gave back what it held");
}

#[tokio::test]
async fn deep_recursion_is_a_range_error() {
    let source = "let depth = 0; const f = () => { depth++; return f() + 1 }; export default () => { try { f() } catch (e) { return [e.name, depth > 1000] } }";
    assert_eq!(text(source).await, "[\"RangeError\",true]");
    let nested = "export default () => { try { JSON.parse('['.repeat(1e6)) } catch (e) { return e.name } }";
    assert!(text(nested).await.contains("Error"));
    let getters = "const o = {}; Object.defineProperty(o, 'x', { get() { return this.x } }); export default () => { try { o.x } catch (e) { return e.name } }";
    assert_eq!(text(getters).await, "\"RangeError\"");
    let sorted = "const f = (n) => [2, 1].sort(() => f(n + 1)); export default () => { try { f(0) } catch (e) { return e.name } }";
    assert_eq!(text(sorted).await, "\"RangeError\"");
}

#[tokio::test]
async fn the_bridge_is_out_of_reach_of_polluted_prototypes() {
    let source = "
        const seen = [];
        for (const proto of [Object.prototype, Array.prototype, Function.prototype, Map.prototype, Promise.prototype]) {
          for (const key of ['call', 'resolve', 'fail', 'dispatch', 'event', 'status', 'headers', 'body', 'url', 'handle']) {
            if (key in proto && proto !== Object.prototype) continue;
            Object.defineProperty(proto, key, { configurable: true, get() { seen.push(key); return undefined }, set() { seen.push(key) } });
          }
        }
        export default () => new Response(typeof __host + typeof globalThis.__host)";
    assert_eq!(text(source).await, "undefinedundefined");
    let json =
        "JSON.parse = () => { throw new Error('mine') }; JSON.stringify = () => 'mine'; export default () => 'x'";
    // What a function breaks for itself is its own loss, and nobody else's.
    let _ = run(json).await;
    assert_eq!(text("export default () => 'fine'").await, "\"fine\"");
}

#[tokio::test]
async fn a_response_longer_than_the_limit_is_refused() {
    let small = Limits { response_bytes: 1000, ..limits(5_000) };
    let program = limited("export default () => new Response('x'.repeat(1001))", small.clone()).await;
    assert_eq!(get(&program).await, Err(Failure::ResponseTooLarge(1000)));
    let endless =
        "export default () => new Response(new ReadableStream({ pull(c) { c.enqueue(new Uint8Array(1 << 20)) } }))";
    let program = limited(endless, small).await;
    assert!(matches!(get(&program).await, Err(Failure::Memory | Failure::Timeout)));
}

#[tokio::test]
async fn headers_of_a_response_are_limited() {
    for headers in [
        "Array.from({ length: 300 }, (_, n) => ['x-' + n, 'v'])",
        "[['x-long', 'v'.repeat(70000)]]",
        "Array.from({ length: 200 }, (_, n) => ['set-cookie', 'v'.repeat(1000)])",
    ] {
        let outcome = run(&format!("export default () => new Response('x', {{ headers: {headers} }})")).await;
        assert!(matches!(outcome, Err(Failure::InvalidResponse(_))), "{headers}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_response_far_beyond_the_limit_is_not_copied_to_the_host() {
    let small = Limits { response_bytes: 1000, ..limits(10_000) };
    let program = limited("export default () => new Response(new Uint8Array(5 << 20))", small.clone()).await;
    assert_eq!(get(&program).await, Err(Failure::ResponseTooLarge(1000)));
    let program = limited("export default () => { throw new Error('x'.repeat(5 << 20)) }", small).await;
    assert!(get(&program).await.is_err());
}

#[tokio::test]
async fn a_function_cannot_put_its_thread_to_sleep() {
    let source = "export default () => { try { return Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0) } catch (e) { return e.name } }";
    assert!(text(source).await.ends_with("Error\""));
}

#[tokio::test]
async fn what_a_function_breaks_for_itself_stays_its_own() {
    let source = "
        for (const name of ['then', 'catch', 'finally']) Promise.prototype[name] = () => { throw new Error('mine') };
        Array.prototype[Symbol.iterator] = function* () { yield 'mine' };
        Map.prototype.get = () => 'mine'; Map.prototype.set = () => 'mine'; WeakMap.prototype.get = () => undefined;
        Uint8Array.prototype.set = () => {}; Uint8Array.prototype.subarray = () => 'mine'; DataView.prototype.getUint32 = () => 4294967295;
        String.prototype.isWellFormed = () => { throw 1 }; Object.defineProperty = () => 'mine'; Reflect.apply = () => 'mine';
        globalThis.Response = class {}; globalThis.fetch = null; globalThis.console = null; globalThis.process = null; delete globalThis.Buffer;
        Object.prototype.context = { requestId: 'mine' }; Object.prototype.tainted = true; Object.prototype.status = 999;
        export default () => 'x'";
    let program = limited(source, limits(2_000)).await;
    for _ in 0..3 {
        let outcome = get(&program).await;
        assert!(!matches!(outcome, Err(Failure::Broken(_))), "{outcome:?}");
    }
    assert_eq!(
        text("export default () => [typeof Response, typeof fetch, typeof Buffer].join()").await,
        "\"function,function,function\""
    );
}

#[tokio::test]
async fn open_codecs_take_a_bounded_share_of_the_host() {
    let source = "import zlib from 'node:zlib';
export default () => { const open = []; try { for (;;) open.push(zlib.createBrotliCompress()) } catch (e) { return [open.length, e.message.includes('too many')] } }";
    assert_eq!(text(source).await, "[8,true]");
    // What is forgotten is closed when its garbage is collected.
    let forgotten = "import zlib from 'node:zlib';
export default () => { for (let i = 0; i < 500; i++) { zlib.createGzip(); if (i % 50 === 0) for (let k = 0; k < 40; k++) new Uint8Array(1 << 18).fill(k) } return 'fine' }";
    let _ = run(forgotten).await;
    let failing = "import zlib from 'node:zlib';
export default () => { for (let i = 0; i < 500; i++) try { zlib.gunzipSync('nope') } catch {} return zlib.gunzipSync(zlib.gzipSync('fine')).toString() }";
    assert_eq!(text(failing).await, "\"fine\"");
}

#[tokio::test]
async fn host_operations_and_logs_of_a_call_are_limited() {
    let few = Limits { host_calls: 50, ..limits(5_000) };
    let program = limited("export default () => { for (let i = 0; i < 100; i++) crypto.randomUUID() }", few).await;
    let Err(Failure::Threw(thrown)) = get(&program).await else { panic!() };
    assert_eq!(thrown.name, "RangeError");

    let quiet = Limits { log_bytes: 100, ..limits(5_000) };
    let program =
        limited("export default () => { for (let i = 0; i < 100; i++) console.log('0123456789'); return 1 }", quiet)
            .await;
    let platform = Arc::new(super::Platform::default());
    sandbox().call(&program, super::request("GET", "http://localhost/", ""), platform.clone()).await.unwrap();
    let texts = platform.texts();
    assert_eq!(texts.len(), 11);
    assert!(texts[10].starts_with("90 more log entries"), "{}", texts[10]);
}

#[tokio::test]
async fn a_busy_function_does_not_hold_up_others() {
    let busy = limited("export default () => { for (;;) {} }", limits(2_000)).await;
    let burning: Vec<_> = (0..6)
        .map(|_| {
            let busy = busy.clone();
            tokio::spawn(async move { get(&busy).await })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let quick = limited("export default () => 'quick'", limits(5_000)).await;
    let began = Instant::now();
    get(&quick).await.unwrap();
    assert!(began.elapsed().as_millis() < 1_500, "{:?}", began.elapsed());
    for task in burning {
        assert_eq!(task.await.unwrap(), Err(Failure::Timeout));
    }
}

#[tokio::test]
async fn compiling_hostile_source_ends() {
    for source in [
        "(".repeat(200_000),
        "[".repeat(200_000),
        format!("const a = {}1", "-".repeat(500_000)),
        "a=>".repeat(100_000),
        "\0".to_owned(),
    ] {
        assert!(sandbox().compile(Modules::single(source)).await.is_err());
    }
}

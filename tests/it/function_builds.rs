//! Source that means harm to whoever reads it, built as the server builds: in a process of its own
//! (contract 05 §2.4).

use std::time::{Duration, Instant};

use bytes::Bytes;
use run402::features::functions::{
    CheckFailure,
    build::{Builder, Built, Code, Options, Source},
};

use crate::support::appliance::program;

const HANDLER: &str = "\nexport default () => new Response('ok');";

fn builder() -> Builder {
    Builder::isolated(program().get_program(), Options::default())
}

fn build(source: String) -> Result<Built, CheckFailure> {
    builder().build(&Code { source: Source::Single(Bytes::from(source)), deps: vec![] })
}

#[test]
fn a_function_is_built_in_another_process() {
    let built = build(format!("type A = 1; export const a: A = 1;{HANDLER}")).expect("it builds");
    assert_eq!(built.modules.entry, "index.ts");
    assert!(built.modules.files["index.ts"].contains("export const a    = 1;"));
    let Err(CheckFailure::Build(failure)) = build("let a = ;".into()) else { panic!("it builds") };
    assert_eq!((failure.code, failure.line, failure.column), ("FUNCTION_BUILD_FAILED", Some(1), Some(9)));
    let files = [("a.ts", "import { b } from './b'; export default () => b as any"), ("b.ts", "export const b = 1")];
    let files = files.map(|(path, text)| (path.to_owned(), Bytes::from(text))).into();
    let code = Code { source: Source::Files { entrypoint: "a.ts".into(), files }, deps: vec![] };
    assert_eq!(builder().build(&code).expect("it builds").modules.files.len(), 2);
}

#[test]
fn no_source_takes_the_server_along_or_keeps_it_waiting() {
    const MEGABYTE: usize = 1 << 20;
    let filled = |unit: &str, end: &str| format!("{}{end}", unit.repeat(MEGABYTE / unit.len()));
    let nested = |open: &str, inner: &str, close: &str, times: usize| {
        format!("{}{inner}{}", open.repeat(times), close.repeat(times))
    };
    // Tried twice at each level by a parser that looks ahead.
    let twice = format!("type A<T> = {};", nested("T extends [infer U extends ", "1", " ? 1 : 2] ? 1 : 2", 60));
    for (what, source) in [
        ("round brackets", filled("(", "1")),
        ("round brackets, closed", nested("(", "1", ")", MEGABYTE / 2)),
        ("square brackets", filled("[", "")),
        ("blocks", filled("{", "")),
        ("negations", filled("!", "1")),
        ("arrows", filled("a=>", "a")),
        ("conditions", filled("a?", "b")),
        ("assignments", filled("a=", "b")),
        ("sums", filled("a+", "a")),
        ("powers", filled("a**", "a")),
        ("members", format!("a{}", ".b".repeat(MEGABYTE / 2))),
        ("calls", format!("a{}", "()".repeat(MEGABYTE / 2))),
        ("branches", filled("if(a)b;else ", "c")),
        ("loops", filled("for(;;)", ";")),
        ("labels", filled("a:", ";")),
        ("templates", filled("`${", "")),
        ("constructors", filled("new ", "a")),
        ("classes", filled("class extends ", "a{}")),
        ("functions", filled("function a(){", "")),
        ("comparisons that look like types", filled("a<", "a")),
        ("assertions", filled("<a>", "a")),
        ("generic types", format!("let a: {}", filled("a<", "a"))),
        ("array types", format!("let a: b{}", "[]".repeat(MEGABYTE / 2))),
        ("conditional types", format!("type a = {}", filled("b extends c ? d : ", "e"))),
        ("types tried twice", twice),
        ("parameters tried as expressions", nested("(a = ", "1", ")", 20_000)),
        ("patterns in types", format!("let a: {}", nested("([a = ", "1", "]) => b", 30))),
        ("enum of enums", format!("enum A {{ B = {} }}", filled("1+", "1"))),
        ("modules", filled("namespace a {", "")),
        ("comments", filled("/*", "")),
        ("imports", filled("import a from 'node:fs';", "")),
        ("nothing but line breaks", filled("\n", "")),
    ] {
        let began = Instant::now();
        let result = build(format!("{source}{HANDLER}"));
        let took = began.elapsed();
        assert!(!matches!(result, Err(CheckFailure::Platform(_))), "{what}: {result:?}");
        assert!(took < Duration::from_secs(60), "{what} took {took:?}");
    }
}

//! One file: parsed, checked, and turned into JavaScript.

use oxc_allocator::Allocator;
use oxc_diagnostics::OxcDiagnostic;
use oxc_parser::{Parser, ParserReturn};
use oxc_span::SourceType;

use super::{
    maps::SourceMap,
    problem::{Notice, Problem},
    rules::{self, UserFilter},
    strip::{Exports, Import, Strip},
    text::Text,
};

/// What a file may be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// JavaScript, and TypeScript when it is not that (contract 05 §2.4).
    Either,
    TypeScript,
}

/// A file as the sandbox takes it.
#[derive(Debug)]
pub(super) struct Unit {
    pub text: String,
    pub map: SourceMap,
    pub imports: Vec<Asked>,
    pub exports: Exports,
    pub notices: Vec<Notice>,
    pub typescript: bool,
    /// It assigns to `module.exports`.
    pub commonjs: bool,
}

/// An import and its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub specifier: String,
    pub line: u32,
    pub dynamic: bool,
}

/// Compiles one file. `rewrite` gives the specifier that takes the place of another.
pub(super) fn compile(
    file: &str,
    source: &str,
    language: Language,
    user_filter: UserFilter,
    rewrite: &dyn Fn(&str) -> Option<String>,
) -> Result<Unit, Problem> {
    let allocator = Allocator::default();
    let parse = |kind| Parser::new(&allocator, source, kind).parse();
    let typescript = SourceType::ts().with_module(true);
    let (parsed, is_typescript) = match language {
        Language::TypeScript => (parse(typescript), true),
        Language::Either => {
            let first = parse(SourceType::mjs());
            if is_sound(&first) {
                (first, false)
            } else {
                let second = parse(typescript);
                // Neither: the reading that came further knows better what was meant.
                if is_sound(&second) || fault(&second).0 > fault(&first).0 { (second, true) } else { (first, false) }
            }
        }
    };
    let text = Text(source);
    let syntax = |at: u32, message: String| {
        let (line, column) = text.place(at);
        Problem::Syntax { file: file.to_owned(), line, column, message }
    };
    if !is_sound(&parsed) {
        let (at, message) = fault(&parsed);
        return Err(syntax(at, message));
    }
    let program = &parsed.program;
    let mut strip = Strip::new(source, is_typescript);
    strip.run(program);
    if let Some(first) = strip.unsupported.drain(..).min_by_key(|unsupported| unsupported.at) {
        return Err(syntax(first.at, first.message));
    }
    let notices = rules::check(file, text, program, user_filter)?;
    let mut edits = strip.edits;
    let lines = text.lines();
    let mut imports = Vec::with_capacity(strip.imports.len());
    for Import { specifier, span, dynamic } in strip.imports {
        if let Some(other) = rewrite(&specifier) {
            edits.replace(span.start, span.end, serde_json::Value::from(other).to_string());
        }
        imports.push(Asked { line: lines.of(span.start), specifier, dynamic });
    }
    let (text, map) = edits.apply(source);
    let commonjs = source.contains("module.exports");
    Ok(Unit { text, map, imports, exports: strip.exports, notices, typescript: is_typescript, commonjs })
}

fn is_sound(parsed: &ParserReturn<'_>) -> bool {
    !parsed.panicked && !parsed.diagnostics.has_errors()
}

/// Place and sentence of the first error.
fn fault(parsed: &ParserReturn<'_>) -> (u32, String) {
    let place = |error: &OxcDiagnostic| error.labels.first().map_or(0, |label| label.offset());
    let Some(first) = parsed.diagnostics.errors().min_by_key(|error| place(error)) else {
        return (0, "The file cannot be read.".to_owned());
    };
    let message = match &first.help {
        Some(help) => format!("{} ({help})", first.message),
        None => first.message.to_string(),
    };
    (place(first), message)
}

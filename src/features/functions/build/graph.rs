//! The files of a function, from its entry on.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Code, Options, Source,
    maps::SourceMaps,
    modules::{self, Named},
    problem::{Importer, Notice, Problem},
    resolve,
    source::{self, Asked, Language, Unit},
};
use crate::engines::sandbox::Modules;

/// Bytes of source a function may have, and from which on the author is told (contract 05 §2.4).
pub(super) const LARGEST: u64 = 25 << 20;
const LARGE: u64 = 10 << 20;

/// Modules of a function, ready for the sandbox.
#[derive(Clone, Debug)]
pub struct Built {
    pub modules: Modules,
    pub maps: SourceMaps,
    /// For the author.
    pub warnings: Vec<Notice>,
}

/// What a path holds, by its ending.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code(Language),
    Json,
    /// Types only, or no code at all.
    Other,
}

fn kind(path: &str) -> Kind {
    let name = path.rsplit('/').next().unwrap_or(path);
    if name.ends_with(".d.ts") || name.ends_with(".d.mts") || name.ends_with(".d.cts") {
        return Kind::Other;
    }
    match name.rsplit_once('.').map(|(_, ending)| ending) {
        Some("ts" | "mts" | "cts") => Kind::Code(Language::TypeScript),
        Some("js" | "mjs" | "cjs") => Kind::Code(Language::Either),
        Some("json") => Kind::Json,
        _ => Kind::Other,
    }
}

pub(super) fn build(code: &Code, options: &Options) -> Result<Built, Problem> {
    let size = code.source.size();
    if size > LARGEST {
        return Err(Problem::TooLarge { size, limit: LARGEST });
    }
    // Before imports are looked at: those of a dependency would be told to be one.
    if let Some(dep) = code.deps.first() {
        return Err(Problem::DependencyUnavailable { dep: dep.clone() });
    }
    let mut graph = Graph {
        files: BTreeMap::new(),
        single: false,
        options,
        modules: Modules::default(),
        maps: SourceMaps::default(),
        warnings: Vec::new(),
    };
    match &code.source {
        Source::Single(bytes) => graph.single(bytes)?,
        Source::Files { entrypoint, files } => graph.several(entrypoint, files)?,
    }
    if size > LARGE {
        graph.warnings.push(Notice {
            code: "FUNCTION_BUNDLE_LARGE".into(),
            message: format!("The code has {} MiB: it starts faster when it is smaller.", size >> 20),
            file: graph.modules.entry.clone(),
            line: None,
        });
    }
    Ok(Built { modules: graph.modules, maps: graph.maps, warnings: graph.warnings })
}

struct Graph<'f> {
    files: BTreeMap<String, &'f [u8]>,
    single: bool,
    options: &'f Options,
    modules: Modules,
    maps: SourceMaps,
    warnings: Vec<Notice>,
}

impl<'f> Graph<'f> {
    fn single(&mut self, bytes: &'f [u8]) -> Result<(), Problem> {
        // Named by what it turns out to be, so that stacks say what the author wrote.
        let (javascript, typescript) = ("index.mjs", "index.ts");
        self.single = true;
        let unit = self.compile(javascript, bytes, Language::Either)?;
        let name = if unit.typescript { typescript } else { javascript };
        check_handler(&unit)?;
        self.modules.entry = name.to_owned();
        self.take(name, unit)?;
        Ok(())
    }

    fn several(&mut self, entrypoint: &str, files: &'f BTreeMap<String, bytes::Bytes>) -> Result<(), Problem> {
        self.files = files.iter().map(|(path, bytes)| (path.clone(), bytes.as_ref())).collect();
        self.modules.entry = entrypoint.to_owned();
        let mut waiting = vec![entrypoint.to_owned()];
        let mut seen: BTreeSet<String> = waiting.iter().cloned().collect();
        while let Some(path) = waiting.pop() {
            for next in self.add(&path, path == entrypoint)? {
                if seen.insert(next.clone()) {
                    waiting.push(next);
                }
            }
        }
        // A computed `import()` may reach the rest; what of it is no good is no fault of the function.
        let rest: Vec<String> =
            self.files.keys().filter(|path| !seen.contains(*path) && kind(path) != Kind::Other).cloned().collect();
        for path in rest {
            let warnings = self.warnings.len();
            if self.add(&path, false).is_err() {
                self.warnings.truncate(warnings);
            }
        }
        Ok(())
    }

    /// Adds a file to the program, and tells which of the others it asks for.
    fn add(&mut self, path: &str, entry: bool) -> Result<Vec<String>, Problem> {
        let bytes = self.files.get(path).copied().unwrap_or_default();
        let language = match kind(path) {
            Kind::Code(language) => language,
            Kind::Json if !entry => {
                let text = text(path, bytes)?;
                check_json(path, text)?;
                self.modules.files.insert(path.to_owned(), text.to_owned());
                return Ok(Vec::new());
            }
            // An entry may have any name.
            Kind::Json | Kind::Other => Language::Either,
        };
        let unit = self.compile(path, bytes, language)?;
        if entry {
            check_handler(&unit)?;
        }
        self.take(path, unit)
    }

    fn compile(&self, path: &str, bytes: &[u8], language: Language) -> Result<Unit, Problem> {
        let source = text(path, bytes)?;
        if source.trim().is_empty() && (self.single || path == self.modules.entry) {
            return Err(Problem::Empty);
        }
        source::compile(path, source, language, self.options.user_filter, &|specifier| {
            if !resolve::is_relative(specifier) {
                return None;
            }
            let target = resolve::file(&self.files, path, specifier)?;
            let plain = resolve::join(path, specifier).is_some_and(|plain| plain == target);
            (!plain).then(|| resolve::specifier(path, target))
        })
    }

    fn take(&mut self, path: &str, unit: Unit) -> Result<Vec<String>, Problem> {
        let mut next = Vec::new();
        for asked in &unit.imports {
            match self.resolve(path, asked) {
                Ok(Some(target)) => next.push(target),
                Ok(None) => {}
                // Whether it is ever reached is not known: it fails when it is (05 §12.4).
                Err(problem) if asked.dynamic => self.warnings.push(Notice {
                    code: "FUNCTION_UNRESOLVED_DYNAMIC_IMPORT".into(),
                    message: format!("{path}:{}: {problem}. The import fails when it is reached.", asked.line),
                    file: path.to_owned(),
                    line: Some(asked.line),
                }),
                Err(problem) => return Err(problem),
            }
        }
        self.warnings.extend(unit.notices);
        self.modules.files.insert(path.to_owned(), unit.text);
        self.maps.insert(path.to_owned(), unit.map);
        Ok(next)
    }

    /// The file an import names; None for a module of the sandbox.
    fn resolve(&self, path: &str, asked: &Asked) -> Result<Option<String>, Problem> {
        let specifier = &asked.specifier;
        let importer = || Importer { file: path.to_owned(), line: Some(asked.line) };
        if resolve::is_relative(specifier) {
            return match resolve::file(&self.files, path, specifier) {
                Some(target) if kind(target) != Kind::Other => Ok(Some(target.to_owned())),
                _ => Err(Problem::UnresolvedFile {
                    specifier: specifier.clone(),
                    single: self.single,
                    importer: importer(),
                }),
            };
        }
        if resolve::is_url(specifier) {
            return Err(Problem::UnresolvedUrl { specifier: specifier.clone(), importer: importer() });
        }
        match modules::classify(specifier) {
            Named::Offered => Ok(None),
            Named::Absent => Err(Problem::UnsupportedBuiltin { module: specifier.clone(), importer: importer() }),
            Named::Native(package) => Err(Problem::Native { package: package.to_owned(), importer: importer() }),
            Named::Package(package) => Err(Problem::UnresolvedPackage {
                specifier: specifier.clone(),
                package: package.to_owned(),
                importer: importer(),
            }),
        }
    }
}

fn text<'f>(path: &str, bytes: &'f [u8]) -> Result<&'f str, Problem> {
    match std::str::from_utf8(bytes) {
        // The engine takes files with a terminating zero.
        Ok(text) if !text.contains('\0') => Ok(text.strip_prefix('\u{feff}').unwrap_or(text)),
        _ => Err(Problem::NotText { file: path.to_owned() }),
    }
}

fn check_json(path: &str, text: &str) -> Result<(), Problem> {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::Syntax {
            file: path.to_owned(),
            line: u32::try_from(error.line()).unwrap_or(1),
            column: u32::try_from(error.column()).unwrap_or(1).max(1),
            message: error.to_string(),
        }),
    }
}

fn check_handler(unit: &Unit) -> Result<(), Problem> {
    // What another file exports through `export *` is known when the program is linked.
    if unit.exports.handler || unit.exports.star {
        return Ok(());
    }
    Err(Problem::NoHandler { commonjs: unit.commonjs })
}

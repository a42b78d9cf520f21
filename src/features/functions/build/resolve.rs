//! What a specifier names among the files of a function.

use std::collections::BTreeMap;

/// Tried in this order behind a name without ending.
const ENDINGS: [&str; 7] = [".ts", ".mts", ".js", ".mjs", ".json", ".cts", ".cjs"];
/// TypeScript is imported by the name of what it becomes.
const BECOMES: [(&str, &str); 3] = [(".js", ".ts"), (".mjs", ".mts"), (".cjs", ".cts")];

/// Whether a specifier is a path from the importing file.
pub(super) fn is_relative(specifier: &str) -> bool {
    specifier == "." || specifier == ".." || specifier.starts_with("./") || specifier.starts_with("../")
}

/// Whether a specifier is neither a path from the file nor a name: a URL, an absolute path, an alias.
pub(super) fn is_url(specifier: &str) -> bool {
    if specifier.starts_with("node:") {
        return false;
    }
    let scheme = specifier.split_once(':').map(|(scheme, _)| scheme);
    specifier.is_empty()
        || specifier.starts_with(['/', '#'])
        || scheme.is_some_and(|scheme| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        })
}

/// The file a relative specifier names, by the rules of Node and of TypeScript.
pub(super) fn file<'f, V>(files: &'f BTreeMap<String, V>, importer: &str, specifier: &str) -> Option<&'f str> {
    let path = join(importer, specifier)?;
    let known = |path: &str| files.get_key_value(path).map(|(path, _)| path.as_str());
    let directory = path.is_empty() || specifier.ends_with(['/', '.']) && !path.ends_with('.');
    let as_file = || {
        let becomes = BECOMES.iter().find_map(|(from, to)| known(&format!("{}{to}", path.strip_suffix(from)?)));
        known(&path).or(becomes).or_else(|| ENDINGS.iter().find_map(|ending| known(&format!("{path}{ending}"))))
    };
    let index = || {
        let base = if path.is_empty() { String::new() } else { format!("{path}/") };
        ENDINGS.iter().find_map(|ending| known(&format!("{base}index{ending}")))
    };
    if directory { index() } else { as_file().or_else(index) }
}

/// The specifier the sandbox resolves to `target` from `importer`: plain steps, no guessing.
pub(super) fn specifier(importer: &str, target: &str) -> String {
    let from: Vec<&str> = importer.split('/').collect();
    let to: Vec<&str> = target.split('/').collect();
    let directories = &from[..from.len() - 1];
    let shared = directories.iter().zip(&to[..to.len() - 1]).take_while(|(a, b)| a == b).count();
    let up = directories.len() - shared;
    let start = if up == 0 { "./".to_owned() } else { "../".repeat(up) };
    start + &to[shared..].join("/")
}

/// The path of `specifier` seen from `importer`; None when it leaves the function's files.
pub(super) fn join(importer: &str, specifier: &str) -> Option<String> {
    let mut segments: Vec<&str> = importer.split('/').collect();
    segments.pop();
    for segment in specifier.split('/') {
        match segment {
            "" | "." => {}
            ".." => _ = segments.pop()?,
            name => segments.push(name),
        }
    }
    Some(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn files() -> BTreeMap<String, ()> {
        ["index.ts", "a.ts", "b.js", "b.ts", "lib/index.mjs", "lib/c.mts", "lib/d.json", "e.x/index.ts", "f.json"]
            .map(|path| (path.to_owned(), ()))
            .into()
    }

    #[test]
    fn relative_specifiers_find_files() {
        for (importer, specifier, expected) in [
            ("index.ts", "./a", Some("a.ts")),
            ("index.ts", "./a.ts", Some("a.ts")),
            ("index.ts", "./a.js", Some("a.ts")),
            ("index.ts", "./b", Some("b.ts")),
            ("index.ts", "./b.js", Some("b.js")),
            ("index.ts", "./lib", Some("lib/index.mjs")),
            ("index.ts", "./lib/", Some("lib/index.mjs")),
            ("index.ts", "./lib/c.mjs", Some("lib/c.mts")),
            ("index.ts", "./e.x", Some("e.x/index.ts")),
            ("index.ts", "./f", Some("f.json")),
            ("lib/index.mjs", "../a", Some("a.ts")),
            ("lib/index.mjs", "..", Some("index.ts")),
            ("lib/index.mjs", ".", Some("lib/index.mjs")),
            ("lib/index.mjs", "./../lib/./d.json", Some("lib/d.json")),
            ("index.ts", "./nothing", None),
            ("index.ts", "../a", None),
            ("lib/index.mjs", "../../a", None),
        ] {
            assert_eq!(file(&files(), importer, specifier), expected, "{specifier} from {importer}");
        }
    }

    #[test]
    fn urls_and_aliases_are_told_from_names() {
        for specifier in ["https://x.y/z.js", "data:text/javascript,1", "npm:zod", "/abs.js", "#alias", "file:///x", ""]
        {
            assert!(is_url(specifier), "{specifier}");
        }
        for specifier in ["node:fs", "zod", "@a/b", "lodash/fp"] {
            assert!(!is_url(specifier), "{specifier}");
        }
    }

    proptest! {
        #[test]
        fn a_specifier_made_leads_to_its_target(importer in "([a-c]/){0,3}[a-c]", target in "([a-c]/){0,3}[a-c]") {
            prop_assert_eq!(join(&importer, &specifier(&importer, &target)), Some(target));
        }
    }
}

//! Keeps ARCHITECTURE.md true: who may use whom, and that features do not go in circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Layer → the layers it may name. `main.rs` and `lib.rs` are outside.
const MAY_USE: [(&str, &[&str]); 6] = [
    ("common", &["common"]),
    ("engines", &["engines", "common"]),
    ("features", &["features", "engines", "common"]),
    ("edge", &["edge", "features", "engines", "common"]),
    ("appliance", &["appliance", "edge", "features", "engines", "common"]),
    ("surfaces", &["surfaces", "common"]),
];

/// A path inside the crate that a source file names, as segments after `crate`.
type CratePath = Vec<String>;

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every `crate::…` path of a file, groups in braces spread out.
fn crate_paths(source: &str) -> Vec<CratePath> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join(" ");
    let mut paths = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        spread(&code[at + "crate::".len()..], &mut Vec::new(), &mut paths);
    }
    paths
}

/// Reads one path or group and returns how many bytes it took.
fn spread(text: &str, prefix: &mut CratePath, paths: &mut Vec<CratePath>) -> usize {
    let trimmed = text.trim_start();
    let mut at = text.len() - trimmed.len();
    if trimmed.starts_with('{') {
        at += 1;
        loop {
            at += spread(&text[at..], prefix, paths);
            let rest = text[at..].trim_start();
            at = text.len() - rest.len();
            match rest.chars().next() {
                Some(',') => at += 1,
                Some('}') => return at + 1,
                _ => return at,
            }
        }
    }
    let name: String = trimmed.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return at;
    }
    at += name.len();
    prefix.push(name);
    if text[at..].starts_with("::") {
        at += 2 + spread(&text[at + 2..], prefix, paths);
    } else {
        paths.push(prefix.clone());
    }
    prefix.pop();
    at
}

fn layer_and_feature(file: &Path) -> (String, Option<String>) {
    let parts: Vec<String> =
        file.strip_prefix("src").unwrap().iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let feature = (parts[0] == "features" && parts.len() > 2).then(|| parts[1].clone());
    (parts[0].clone(), feature)
}

#[test]
fn paths_are_read_out_of_groups() {
    let source = "use crate::{common::{ids, ApiError}, engines::chain}; fn f() -> crate::edge::X {} // crate::no::no";
    let found: BTreeSet<String> = crate_paths(source).iter().map(|path| path.join("::")).collect();
    let expected = ["common::ids", "common::ApiError", "engines::chain", "edge::X"].map(String::from);
    assert_eq!(found, BTreeSet::from(expected));
}

#[test]
fn layers_use_only_what_is_below_them() {
    let mut breaches = Vec::new();
    for file in sources(Path::new("src")) {
        let (layer, _) = layer_and_feature(&file);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == layer) else { continue };
        for path in crate_paths(&fs::read_to_string(&file).unwrap()) {
            let is_layer = MAY_USE.iter().any(|(name, _)| *name == path[0]);
            if is_layer && !allowed.contains(&path[0].as_str()) {
                breaches.push(format!("{}: {layer} uses {}", file.display(), path.join("::")));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn features_depend_on_each_other_without_cycles() {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources(Path::new("src/features")) {
        let (_, Some(feature)) = layer_and_feature(&file) else { continue };
        for path in crate_paths(&fs::read_to_string(&file).unwrap()) {
            if path[0] == "features" && path.len() > 1 && path[1] != feature {
                uses.entry(feature.clone()).or_default().insert(path[1].clone());
            }
        }
    }
    for start in uses.keys() {
        let mut reached = BTreeSet::new();
        let mut open: Vec<&String> = uses[start].iter().collect();
        while let Some(next) = open.pop() {
            assert_ne!(next, start, "feature {start} depends on itself through {reached:?}");
            if reached.insert(next.clone()) {
                open.extend(uses.get(next).into_iter().flatten());
            }
        }
    }
}

#[test]
fn unsafe_code_stays_in_its_audited_spots() {
    let mut files: Vec<String> = sources(Path::new("src"))
        .into_iter()
        .filter(|file| {
            let code = fs::read_to_string(file).unwrap();
            code.lines().any(|line| line.split("//").next().unwrap_or("").contains("unsafe {"))
        })
        .map(|file| file.display().to_string())
        .collect();
    files.sort();
    assert_eq!(files, ["src/engines/postgres/launch.rs", "src/engines/sandbox/guest.rs"]);
}

/// `R402_AUTH_*` in a text.
fn auth_codes(text: &str) -> BTreeSet<String> {
    let is_code = |c: char| c.is_ascii_uppercase() || c == '_';
    let starts = text.match_indices("R402_AUTH_").map(|(at, start)| (at, at + start.len()));
    let codes = starts.map(|(at, from)| {
        let length = text[from..].find(|c| !is_code(c)).unwrap_or(text.len() - from);
        text[at..from + length].to_owned()
    });
    // A prefix alone, as in a pattern, names no code.
    codes.filter(|code| code.len() > "R402_AUTH_".len() && !code.ends_with('_')).collect()
}

#[test]
fn every_auth_code_is_documented_with_the_test_that_proves_it() {
    // Codes of other programs.
    const WITHOUT_TEST: [&str; 2] = ["R402_AUTH_STATE_CHANGING_GET", "R402_AUTH_SOURCE_SCAN_ERROR"];
    let page = fs::read_to_string("docs/auth-errors.md").unwrap();
    let rows: BTreeMap<String, Vec<String>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>())
        .map(|cells| (cells[1].clone(), cells))
        .collect();
    for (code, cells) in &rows {
        let Some((file, test)) = cells[4].split_once(": ") else {
            assert!(WITHOUT_TEST.contains(&code.as_str()), "{code} has no test");
            continue;
        };
        let source = fs::read_to_string(file).unwrap_or_else(|_| panic!("{code}: there is no file {file}"));
        assert!(source.contains(&format!("fn {test}(")), "{code}: {file} has no test {test}");
    }
    let mut raised = BTreeSet::new();
    for file in sources(Path::new("src")) {
        raised.extend(auth_codes(&fs::read_to_string(file).unwrap()));
    }
    // The guest writes them without their prefix.
    let guest = fs::read_to_string("web/guest/src/run402/auth-errors.ts").unwrap();
    let thrown =
        guest.split("told(").skip(1).filter_map(|rest| rest.trim_start().strip_prefix('\'')?.split('\'').next());
    raised.extend(thrown.map(|name| format!("R402_AUTH_{name}")));
    let undocumented: Vec<&String> = raised.iter().filter(|code| !rows.contains_key(*code)).collect();
    assert!(undocumented.is_empty(), "docs/auth-errors.md lacks {undocumented:?}");
    let unraised: Vec<&String> = rows
        .keys()
        .filter(|code| {
            code.starts_with("R402_AUTH_") && !raised.contains(*code) && !WITHOUT_TEST.contains(&code.as_str())
        })
        .collect();
    assert!(unraised.is_empty(), "docs/auth-errors.md has codes that nothing raises: {unraised:?}");
}

//! The modules that exist without being brought: the sandbox's own, and what to say of those it does not have.

use crate::features::releases::NATIVE_PACKAGES;

/// The platform's own module (contract 05 §10).
pub const PLATFORM: &str = "@run402/functions";

/// Specifiers the sandbox offers, without `node:`: `web/guest/src/node` and the platform's module.
pub const BUILTINS: &[&str] = &[
    PLATFORM,
    "assert",
    "assert/strict",
    "async_hooks",
    "buffer",
    "child_process",
    "console",
    "constants",
    "crypto",
    "diagnostics_channel",
    "dns",
    "dns/promises",
    "events",
    "fs",
    "fs/promises",
    "http",
    "https",
    "module",
    "net",
    "os",
    "path",
    "path/posix",
    "path/win32",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "stream",
    "stream/consumers",
    "stream/promises",
    "stream/web",
    "string_decoder",
    "timers",
    "timers/promises",
    "tls",
    "tty",
    "url",
    "util",
    "util/types",
    "worker_threads",
    "zlib",
];

/// Modules of Node 22 that the sandbox does not have, with what serves instead.
const ABSENT: &[(&str, &str)] = &[
    ("_http_agent", "use fetch"),
    ("_http_client", "use fetch"),
    ("_stream_readable", "use node:stream"),
    ("cluster", "one function call runs at a time in an instance, and instances come and go by themselves"),
    ("dgram", "there are no raw sockets; use fetch"),
    ("domain", "use try and catch, or node:async_hooks"),
    ("http2", "use fetch"),
    ("inspector", "use console.log and the function's logs"),
    ("inspector/promises", "use console.log and the function's logs"),
    ("readline", "a function has no terminal"),
    ("readline/promises", "a function has no terminal"),
    ("repl", "a function has no terminal"),
    ("sea", ""),
    ("sqlite", "use db() or adminDb() of @run402/functions"),
    ("sys", "use node:util"),
    ("test", "run tests before you deploy"),
    ("test/reporters", "run tests before you deploy"),
    ("trace_events", "use node:perf_hooks"),
    ("v8", "use structuredClone to copy values"),
    ("vm", ""),
    ("wasi", ""),
];

/// What a specifier names that is neither relative nor a URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Named<'a> {
    Offered,
    /// Node has it, the sandbox does not.
    Absent,
    /// A package, by its name without the path inside it.
    Package(&'a str),
    /// A package that brings machine code.
    Native(&'a str),
}

pub fn classify(specifier: &str) -> Named<'_> {
    let bare = specifier.strip_prefix("node:").unwrap_or(specifier);
    // The platform's module has no `node:` name.
    if BUILTINS.contains(&bare) && (bare.len() == specifier.len() || bare != PLATFORM) {
        return Named::Offered;
    }
    if bare.len() < specifier.len() || ABSENT.iter().any(|(name, _)| *name == bare) {
        return Named::Absent;
    }
    let package = package(specifier);
    if NATIVE_PACKAGES.contains(&package) || specifier.ends_with(".node") {
        return Named::Native(package);
    }
    Named::Package(package)
}

/// `@scope/name` of `@scope/name/path`, `name` of `name/path`.
fn package(specifier: &str) -> &str {
    let segments = if specifier.starts_with('@') { 2 } else { 1 };
    let end = specifier.match_indices('/').nth(segments - 1).map_or(specifier.len(), |(at, _)| at);
    &specifier[..end]
}

pub(super) fn alternative(module: &str) -> String {
    let bare = module.strip_prefix("node:").unwrap_or(module);
    match ABSENT.iter().find(|(name, _)| *name == bare) {
        Some((_, advice)) if !advice.is_empty() => format!(": {advice}"),
        _ => String::new(),
    }
}

pub(super) fn package_advice(package: &str) -> String {
    if package == "run402-functions" {
        return format!(": the package is called {PLATFORM} now, and is built in");
    }
    ": add it to the function's `deps`, or bundle locally and deploy one file".to_owned()
}

pub(super) fn native_alternative(package: &str) -> &'static str {
    match package {
        "sharp" | "canvas" => ": use assets.put of @run402/functions, which makes the sizes of an image",
        "bcrypt" => ": use bcryptjs, or scrypt of node:crypto",
        "argon2" | "sodium-native" => ": use scrypt of node:crypto",
        "better-sqlite3" | "sqlite3" => ": use db() or adminDb() of @run402/functions",
        "re2" => ": use regular expressions of the language",
        _ => ": use a package that is JavaScript only",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_are_told_apart() {
        for (specifier, expected) in [
            ("node:crypto", Named::Offered),
            ("crypto", Named::Offered),
            ("@run402/functions", Named::Offered),
            ("node:@run402/functions", Named::Absent),
            ("node:cluster", Named::Absent),
            ("cluster", Named::Absent),
            ("node:nonsense", Named::Absent),
            ("left-pad", Named::Package("left-pad")),
            ("lodash/fp", Named::Package("lodash")),
            ("@a/b/c/d", Named::Package("@a/b")),
            ("@a", Named::Package("@a")),
            ("sharp", Named::Native("sharp")),
            ("sharp/lib/x", Named::Native("sharp")),
            ("x/build/y.node", Named::Native("x")),
        ] {
            assert_eq!(classify(specifier), expected, "{specifier}");
        }
    }

    /// The list here and the prelude's own must not drift apart: a deploy would refuse what runs, or the other way.
    #[test]
    fn the_list_of_modules_is_that_of_the_prelude() {
        let index = std::fs::read_to_string("web/guest/src/node/index.ts").unwrap();
        let misc = std::fs::read_to_string("web/guest/src/node/misc.ts").unwrap();
        let mut offered = std::collections::BTreeSet::from([PLATFORM.to_owned()]);
        for (at, _) in index.match_indices("offer('") {
            let name = &index[at + "offer('".len()..];
            offered.insert(name[..name.find('\'').unwrap()].to_owned());
        }
        let table = misc.split_once("export const modules").unwrap().1.split_once("\n};").unwrap().0;
        for line in table.lines().skip(1) {
            let name = line.trim().split([':', ',']).next().unwrap().trim_matches('\'');
            if !name.is_empty() && line.starts_with("  ") && !line.starts_with("   ") {
                offered.insert(name.to_owned());
            }
        }
        let listed: std::collections::BTreeSet<String> = BUILTINS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(listed, offered);
    }
}

//! What a request meets in a release: the one decision procedure of serving and of resolve (contract 04 §2.4, §2.5,
//! §4.2). It borrows from the release; a path that is served under its own name is found without allocating.

use super::{
    routes::{self, MethodSet, RouteMatch},
    types::{FunctionClass, PublicPathMode, ReleaseState, RouteEntry, RouteTarget, StaticFile, StaticManifest},
};

/// The pattern reported for a request that an SSR function catches.
pub const SSR_PATTERN: &str = "/*";

/// How a static file was reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StaticMatch<'a> {
    /// `static_exact`
    Exact,
    /// `static_index`: an `index.html` through its directory.
    Index,
    /// `route_static_alias`
    Alias(&'a RouteEntry),
    /// `spa_fallback`
    SpaFallback,
}

/// Why nothing answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// A file of that name is in the release but not reachable.
    pub not_public: bool,
    /// The release has an SPA fallback, but not for a path like this.
    pub fallback_not_eligible: bool,
}

/// What a request meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// A function runs: a routed one, or (`route` None) the SSR function, whose pattern is [`SSR_PATTERN`].
    Function { route: Option<&'a RouteEntry>, name: &'a str },
    /// A file is served with 200.
    Static { how: StaticMatch<'a>, public_path: &'a str, file: &'a StaticFile },
    /// 405 `ROUTE_METHOD_NOT_ALLOWED`: patterns match, none takes the method. `route` is the most specific.
    RouteMethodMiss { route: &'a RouteEntry, allow: MethodSet },
    /// 405 `METHOD_NOT_ALLOWED`: a file is there, but files are only read.
    StaticMethodMiss { allow: MethodSet },
    /// 404: the file of the SPA fallback is not in the manifest.
    SpaFallbackMissing,
    /// 404: the alias's file is not in the manifest (`STATIC_ROUTE_TARGET_NOT_FOUND`).
    AliasTargetMissing { route: &'a RouteEntry },
    /// 404 `STATIC_NOT_FOUND`.
    Nothing(Absence),
    /// 404: the release has no static manifest, and no route matches.
    ManifestMissing,
}

/// Decides what a canonical path (see [`super::path::canonicalise`]) and an upper-case method meet.
pub fn lookup<'a>(state: &'a ReleaseState, path: &str, method: &str) -> Outcome<'a> {
    let reads = matches!(method, "GET" | "HEAD");
    let missed = match routes::find(&state.routes, path, method) {
        RouteMatch::Hit(route) => return routed(state, route),
        RouteMatch::MethodMiss { first, allow } => Some((first, allow)),
        RouteMatch::Miss => None,
    };
    let manifest = state.manifest.as_ref();
    let file = manifest.and_then(|manifest| static_file(manifest, path));
    if let (true, Some((public_path, file))) = (reads, file) {
        return Outcome::Static { how: static_match(public_path, file), public_path, file };
    }
    if let (false, Some((route, allow))) = (reads, missed) {
        let allow = if file.is_some() { allow.union(MethodSet::READ) } else { allow };
        return Outcome::RouteMethodMiss { route, allow };
    }
    if let Some(name) = ssr_function(state) {
        return Outcome::Function { route: None, name };
    }
    if let Some((route, allow)) = missed {
        return Outcome::RouteMethodMiss { route, allow };
    }
    let Some(manifest) = manifest else { return Outcome::ManifestMissing };
    let fallback = manifest.spa_fallback.as_deref().filter(|_| !looks_like_a_file(path));
    if !reads {
        return if file.is_some() || fallback.is_some() {
            Outcome::StaticMethodMiss { allow: MethodSet::READ }
        } else {
            absent(state, manifest, path)
        };
    }
    match fallback {
        Some(fallback) => match manifest.files.get_key_value(fallback) {
            Some((public_path, file)) => Outcome::Static { how: StaticMatch::SpaFallback, public_path, file },
            None => Outcome::SpaFallbackMissing,
        },
        None => absent(state, manifest, path),
    }
}

fn routed<'a>(state: &'a ReleaseState, route: &'a RouteEntry) -> Outcome<'a> {
    match &route.target {
        RouteTarget::Function { name } => Outcome::Function { route: Some(route), name },
        RouteTarget::Static { .. } => {
            let manifest = state.manifest.as_ref();
            match manifest.and_then(|manifest| manifest.files.get_key_value(&*route.literal())) {
                Some((public_path, file)) => Outcome::Static { how: StaticMatch::Alias(route), public_path, file },
                None => Outcome::AliasTargetMissing { route },
            }
        }
    }
}

fn ssr_function(state: &ReleaseState) -> Option<&str> {
    state.functions.iter().find(|(_, function)| function.class == FunctionClass::Ssr).map(|(name, _)| name.as_str())
}

/// The file a canonical path reaches without a route (contract 04 §2.4).
pub fn static_file<'a>(manifest: &'a StaticManifest, path: &str) -> Option<(&'a str, &'a StaticFile)> {
    let direct = |key: &str| {
        let (public_path, file) = manifest.files.get_key_value(key)?;
        file.direct.then_some((public_path.as_str(), file))
    };
    if let found @ Some(_) = direct(path) {
        return found;
    }
    if path == "/" {
        return None;
    }
    let explicit = manifest.public_path_mode == PublicPathMode::Explicit;
    match path.strip_suffix('/') {
        Some(bare) => direct(bare).or_else(|| if explicit { None } else { direct(&clean_url(bare)?) }),
        None if explicit => direct(&format!("{path}/")),
        None => clean_url(path).and_then(|html| direct(&html)).or_else(|| direct(&format!("{path}/"))),
    }
}

/// `/docs` for `docs.html`, when the last segment has no dot.
fn clean_url(path: &str) -> Option<String> {
    let last = path.rsplit('/').next().unwrap_or(path);
    (!last.contains('.')).then(|| format!("{path}.html"))
}

fn static_match<'a>(public_path: &str, file: &StaticFile) -> StaticMatch<'a> {
    let is_index = file.asset_path == "index.html" || file.asset_path.ends_with("/index.html");
    if public_path.ends_with('/') && is_index { StaticMatch::Index } else { StaticMatch::Exact }
}

/// Whether the last segment ends like a file name, `.` and 1 to 12 letters or digits: such paths get no SPA page.
fn looks_like_a_file(path: &str) -> bool {
    let last = path.rsplit('/').next().unwrap_or(path);
    last.rsplit_once('.').is_some_and(|(_, extension)| {
        (1..=12).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

fn absent<'a>(state: &ReleaseState, manifest: &StaticManifest, path: &str) -> Outcome<'a> {
    Outcome::Nothing(Absence {
        not_public: path.get(1..).is_some_and(|name| state.site.contains_key(name)),
        fallback_not_eligible: manifest.spa_fallback.is_some(),
    })
}

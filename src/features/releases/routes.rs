//! The route table: canonical entries, their order and digest, and which entry a request meets
//! (contract 03 §4.5, 04 §3).

use std::{borrow::Cow, cmp::Reverse, fmt};

use super::{
    path,
    types::{RouteEntry, RouteKind, RouteMethod, RouteSpec, RouteTarget},
};
use crate::common::sealing::sha256_hex;

/// Longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;

const METHODS: [RouteMethod; 7] = [
    RouteMethod::Delete,
    RouteMethod::Get,
    RouteMethod::Head,
    RouteMethod::Options,
    RouteMethod::Patch,
    RouteMethod::Post,
    RouteMethod::Put,
];

impl RouteMethod {
    /// The method of this exact upper-case name.
    pub fn of(name: &str) -> Option<Self> {
        METHODS.into_iter().find(|method| method.as_str() == name)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// A set of route methods. Prints as the value of an `Allow` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodSet(u8);

impl MethodSet {
    pub const ALL: Self = Self(0x7f);
    /// What a static file answers to.
    pub const READ: Self = Self(1 << RouteMethod::Get as u8 | 1 << RouteMethod::Head as u8);

    /// The methods an entry serves: none named means all, and GET brings HEAD along.
    pub fn serving(methods: Option<&[RouteMethod]>) -> Self {
        let Some(methods) = methods else { return Self::ALL };
        let named = methods.iter().fold(0, |bits, method| bits | 1 << *method as u8);
        let get = Self(named).contains(RouteMethod::Get);
        Self(named | if get { Self::READ.0 } else { 0 })
    }

    pub const fn contains(self, method: RouteMethod) -> bool {
        self.0 & (1 << method as u8) != 0
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// In alphabetical order.
    pub fn iter(self) -> impl Iterator<Item = RouteMethod> {
        METHODS.into_iter().filter(move |method| self.contains(*method))
    }
}

impl fmt::Display for MethodSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, method) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            f.write_str(method.as_str())?;
        }
        Ok(())
    }
}

/// Checks a pattern (contract 04 §3.2) and tells its kind.
///
/// # Errors
/// The sentence of the broken rule.
pub fn check_pattern(pattern: &str) -> Result<RouteKind, &'static str> {
    if !pattern.starts_with('/') {
        return Err("A route pattern starts with a slash.");
    }
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err("A route pattern has at most 256 bytes.");
    }
    if pattern.contains(['?', '#']) {
        return Err("A route pattern has no query and no fragment.");
    }
    let (literal, kind) = match pattern.strip_suffix("/*") {
        Some("") => return Err("`/*` would take every path: name at least one segment before the final `/*`."),
        Some(before) => (before, RouteKind::Prefix),
        None => (pattern, RouteKind::Exact),
    };
    if literal.contains('*') {
        return Err("`*` stands only at the end of a route pattern, as `/*`.");
    }
    match path::canonicalise(literal) {
        Ok(canonical) if path::is_reserved(&canonical) => Err("Paths below /_blob belong to the platform."),
        Ok(canonical) if canonical != literal && !literal.contains('%') => {
            Err("A route pattern must be in Unicode normalisation form C.")
        }
        Ok(canonical) if kind == RouteKind::Prefix && canonical.ends_with('/') => {
            Err("A route pattern must not contain two slashes in a row.")
        }
        Ok(_) => Ok(kind),
        Err(error) => Err(match error {
            path::PathError::InvalidPercentEncoding => "A route pattern must have valid percent escapes.",
            path::PathError::InternalNamespace => "Paths below /_cas and /_run402 belong to the platform.",
            _ => "A route pattern must be canonical: no empty or dot segments, backslashes or control characters.",
        }),
    }
}

impl RouteEntry {
    /// The entry of a route that passed [`check_pattern`].
    pub fn of(route: &RouteSpec) -> Self {
        let prefix = route.pattern.strip_suffix('*').filter(|prefix| prefix.ends_with('/'));
        let methods = match route.target {
            RouteTarget::Static { .. } => Some(vec![RouteMethod::Get, RouteMethod::Head]),
            RouteTarget::Function { .. } => route.methods.as_ref().map(|methods| methods.iter().copied().collect()),
        };
        Self {
            pattern: route.pattern.clone(),
            kind: if prefix.is_some() { RouteKind::Prefix } else { RouteKind::Exact },
            prefix: prefix.map(str::to_owned),
            methods,
            target: route.target.clone(),
        }
    }

    pub fn serves(&self) -> MethodSet {
        MethodSet::serving(self.methods.as_deref())
    }

    /// Whether the pattern matches a canonical path, whatever the method.
    pub fn matches(&self, path: &str) -> bool {
        match &self.prefix {
            Some(prefix) => {
                let prefix = decoded(prefix);
                path.len() > prefix.len() && path.starts_with(&*prefix)
            }
            None => folded(&decoded(&self.pattern)) == folded(path),
        }
    }

    /// The exact path or the prefix, decoded: what canonical paths are compared with.
    pub fn literal(&self) -> Cow<'_, str> {
        decoded(self.prefix.as_deref().unwrap_or(&self.pattern))
    }

    /// Two entries of the same identity must not share a method: the exact path without its trailing slash, or the
    /// prefix with it.
    pub(super) fn identity(&self) -> (RouteKind, String) {
        let literal = self.literal();
        (self.kind, if self.kind == RouteKind::Exact { folded(&literal).to_owned() } else { literal.into_owned() })
    }
}

/// Patterns are written as in a URL; requests arrive decoded.
fn decoded(pattern: &str) -> Cow<'_, str> {
    if pattern.contains('%') { path::canonicalise(pattern).unwrap_or(Cow::Borrowed(pattern)) } else { pattern.into() }
}

/// A path without its trailing slash, except `/` itself.
pub(super) fn folded(path: &str) -> &str {
    match path.strip_suffix('/') {
        Some(rest) if !rest.is_empty() => rest,
        _ => path,
    }
}

/// The order in which routes are tried, shown and digested: exact before prefix, longer prefixes first, then
/// pattern, methods and target.
pub fn sort(entries: &mut [RouteEntry]) {
    entries.sort_by_cached_key(|entry| {
        let methods = entry.methods.as_ref().map_or_else(
            || "*".to_owned(),
            |methods| methods.iter().map(|method| method.as_str()).collect::<Vec<_>>().join(","),
        );
        let target = match &entry.target {
            RouteTarget::Function { name } => ("function", name.clone()),
            RouteTarget::Static { file } => ("static", file.clone()),
        };
        let length = entry.prefix.as_ref().map(String::len);
        (length.is_some(), Reverse(length), entry.pattern.clone(), methods, target)
    });
}

/// `manifest_sha256` of sorted entries; None when there are none.
pub fn digest(entries: &[RouteEntry]) -> Option<String> {
    if entries.is_empty() {
        return None;
    }
    // Entries have no maps and no floats, so writing them as JSON cannot fail.
    serde_json::to_vec(entries).ok().map(|json| sha256_hex(&json))
}

/// What the route table says of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RouteMatch<'a> {
    Hit(&'a RouteEntry),
    /// Patterns match, but none takes the method. `first` is the most specific of them.
    MethodMiss {
        first: &'a RouteEntry,
        allow: MethodSet,
    },
    Miss,
}

/// The first entry, in their order, that matches a canonical path and accepts the method.
pub fn find<'a>(entries: &'a [RouteEntry], path: &str, method: &str) -> RouteMatch<'a> {
    let method = RouteMethod::of(method);
    let mut missed: Option<(&RouteEntry, MethodSet)> = None;
    for entry in entries.iter().filter(|entry| entry.matches(path)) {
        let serves = entry.serves();
        if method.is_some_and(|method| serves.contains(method)) {
            return RouteMatch::Hit(entry);
        }
        missed = Some(missed.map_or((entry, serves), |(first, allow)| (first, allow.union(serves))));
    }
    missed.map_or(RouteMatch::Miss, |(first, allow)| RouteMatch::MethodMiss { first, allow })
}

//! Warnings about what is publicly reachable: routes, aliases and files.

use serde_json::json;

use super::{LISTED, Planned, Warning};
use crate::features::releases::{
    lookup::static_file,
    routes::folded,
    types::{
        CacheClass, CacheClassSource, PublicPath, PublicPaths, ReleaseState, RouteEntry, RouteKind, RouteMethod,
        RouteTarget, StaticManifest,
    },
};

/// Size of the route table and of its aliases together (contract 04 §3.2), and from where on to warn.
const TABLE_LIMIT: usize = 100;
const NEAR_LIMIT: usize = 90;

/// The standing warnings of a release.
pub(super) fn warn(state: &ReleaseState, warnings: &mut Vec<Warning>) {
    let functions: Vec<&RouteEntry> =
        state.routes.iter().filter(|route| matches!(route.target, RouteTarget::Function { .. })).collect();
    if !functions.is_empty() {
        warnings.push(
            Warning::info("PUBLIC_ROUTED_FUNCTION", "Routes make functions reachable for everybody, without a key.")
                .affecting(functions.iter().map(|route| route.pattern.as_str())),
        );
    }
    if let Some(manifest) = &state.manifest {
        shadows(&functions, manifest, warnings);
        aliases(state, manifest, warnings);
        reachable_html(state, manifest, warnings);
    }
    let aliases = state.routes.len() - functions.len();
    if state.routes.len() >= NEAR_LIMIT {
        warnings.push(
            Warning::warn("ROUTE_TABLE_NEAR_LIMIT", "The route table is nearly full.")
                .details(json!({ "routes": state.routes.len(), "limit": TABLE_LIMIT })),
        );
    }
    if aliases >= NEAR_LIMIT {
        warnings.push(
            Warning::warn("STATIC_ALIAS_TABLE_NEAR_LIMIT", "The table of static aliases is nearly full.").details(
                json!({ "static_aliases": aliases, "limit": TABLE_LIMIT, "limit_scope": "combined_routes_temporary" }),
            ),
        );
    }
}

/// Function routes over files.
fn shadows(routes: &[&RouteEntry], manifest: &StaticManifest, warnings: &mut Vec<Warning>) {
    let (mut exact, mut wildcard, mut other_methods) = (Vec::new(), Vec::new(), Vec::new());
    let mut hidden = Vec::new();
    for route in routes {
        let covered = covered_files(route, manifest);
        if covered.is_empty() {
            continue;
        }
        if !route.serves().contains(RouteMethod::Get) {
            other_methods.push(route.pattern.as_str());
        } else if route.kind == RouteKind::Exact {
            exact.push(route.pattern.as_str());
        } else {
            wildcard.push(route.pattern.as_str());
            hidden.extend(covered);
        }
    }
    if !exact.is_empty() {
        warnings.push(
            Warning::warn("ROUTE_SHADOWS_STATIC_PATH", "Routes to functions hide files of the same path.")
                .affecting(exact),
        );
    }
    if !wildcard.is_empty() {
        hidden.truncate(LISTED);
        warnings.push(
            Warning::warn("WILDCARD_ROUTE_SHADOWS_STATIC_PATHS", "Wildcard routes to functions hide files below them.")
                .affecting(wildcard)
                .details(json!({ "paths": hidden })),
        );
    }
    if !other_methods.is_empty() {
        warnings.push(
            Warning::info(
                "METHOD_SPECIFIC_ROUTE_ALLOWS_GET_STATIC_FALLBACK",
                "GET on these routes serves the file of the same path, because the route does not take GET.",
            )
            .affecting(other_methods),
        );
    }
}

/// Direct paths a route covers, at most as many as a warning lists.
fn covered_files<'a>(route: &RouteEntry, manifest: &'a StaticManifest) -> Vec<&'a str> {
    let literal = route.literal();
    let direct = |path: &str| {
        let (public, file) = manifest.files.get_key_value(path)?;
        file.direct.then_some(public.as_str())
    };
    match route.kind {
        RouteKind::Exact => {
            let bare = folded(&literal).trim_end_matches('/');
            let forms = [bare.to_owned(), format!("{bare}/"), format!("{bare}/index.html")];
            forms.iter().find_map(|path| direct(path)).into_iter().collect()
        }
        RouteKind::Prefix => manifest
            .files
            .range::<str, _>((std::ops::Bound::Excluded(&*literal), std::ops::Bound::Unbounded))
            .take_while(|(public, _)| public.starts_with(&*literal))
            .filter(|(_, file)| file.direct)
            .map(|(public, _)| public.as_str())
            .take(LISTED)
            .collect(),
    }
}

/// What is to be said of one alias.
struct Alias<'a> {
    pattern: &'a str,
    /// The file its path would serve without it.
    hides: Option<&'a str>,
    file: &'a str,
    has_path_of_its_own: bool,
    moves_html: bool,
    is_bare_non_html: bool,
}

impl<'a> Alias<'a> {
    fn of(route: &'a RouteEntry, state: &'a ReleaseState, manifest: &'a StaticManifest) -> Option<Self> {
        let RouteTarget::Static { file } = &route.target else { return None };
        let public = route.literal();
        let canonical = format!("/{file}");
        let is_html = state.site.get(file).is_some_and(|site| is_html(file, &site.content_type));
        let is_direct = manifest.files.get(&canonical).is_some_and(|entry| entry.direct);
        let last = folded(&public).rsplit('/').next().unwrap_or("");
        Some(Self {
            pattern: &route.pattern,
            hides: reachable_without(&public, state, manifest),
            file,
            has_path_of_its_own: canonical != public && is_direct,
            moves_html: is_html && directory(&public) != directory(&canonical),
            is_bare_non_html: !is_html && !last.contains('.'),
        })
    }
}

fn aliases(state: &ReleaseState, manifest: &StaticManifest, warnings: &mut Vec<Warning>) {
    let all: Vec<Alias<'_>> = state.routes.iter().filter_map(|route| Alias::of(route, state, manifest)).collect();
    let mut say = |warning: Warning, applies: fn(&Alias<'_>) -> bool| {
        let named: Vec<&str> = all.iter().filter(|alias| applies(alias)).map(|alias| alias.pattern).collect();
        if !named.is_empty() {
            warnings.push(warning.affecting(named));
        }
    };
    say(
        Warning::warn("STATIC_ALIAS_SHADOWS_STATIC_PATH", "Aliases hide other files that have the same path."),
        |alias| alias.hides.is_some_and(|hidden| hidden != alias.file),
    );
    say(
        Warning::info("STATIC_ALIAS_REDUNDANT_PUBLIC_PATH", "Aliases repeat a path that serves the same file anyway."),
        |alias| alias.hides == Some(alias.file),
    );
    say(
        Warning::info(
            "STATIC_ALIAS_DUPLICATE_CANONICAL_URL",
            "The files of these aliases have a path of their own too.",
        ),
        |alias| alias.has_path_of_its_own,
    );
    say(
        Warning::warn(
            "STATIC_ALIAS_RELATIVE_ASSET_RISK",
            "These aliases serve HTML from another directory: relative links in it may break.",
        ),
        |alias| alias.moves_html,
    );
    say(
        Warning::warn(
            "STATIC_ALIAS_EXTENSIONLESS_NON_HTML",
            "Aliases without an extension serve files that are not HTML.",
        ),
        |alias| alias.is_bare_non_html,
    );
}

/// The file a path would serve if there were no alias.
fn reachable_without<'a>(public: &str, state: &'a ReleaseState, manifest: &'a StaticManifest) -> Option<&'a str> {
    if let Some((_, file)) = static_file(manifest, public) {
        return Some(&file.asset_path);
    }
    // An alias takes the place of the index path that implicit mode makes.
    let implicit = !matches!(state.public_paths, Some(PublicPaths::Explicit(_)));
    let index = format!("{}index.html", public.strip_suffix('/').map(|_| &public[1..])?);
    implicit.then(|| state.site.get_key_value(&index).map(|(asset, _)| asset.as_str())).flatten()
}

fn is_html(asset: &str, content_type: &str) -> bool {
    asset.ends_with(".html") || asset.ends_with(".htm") || content_type.starts_with("text/html")
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn reachable_html(state: &ReleaseState, manifest: &StaticManifest, warnings: &mut Vec<Warning>) {
    let ships_html = state.site.iter().any(|(asset, file)| is_html(asset, &file.content_type));
    let reachable = manifest.files.values().any(|file| is_html(&file.asset_path, &file.content_type));
    if ships_html && !reachable {
        warnings.push(
            Warning::high(
                "SITE_NO_REACHABLE_HTML",
                "The site has HTML files, but no public path or alias reaches one.",
            )
            .confirmed(),
        );
    }
}

/// Warnings about cache classes that only the change brings.
pub(super) fn warn_of_change(planned: &Planned<'_>, warnings: &mut Vec<Warning>) {
    let declares_immutable = |entry: &PublicPath| entry.cache_class == Some(CacheClass::ImmutableVersioned);
    let given = planned.spec.site.as_ref().and_then(|site| site.public_paths.as_ref());
    if let (Some(PublicPaths::Explicit(table)), Some(manifest)) = (given, &planned.state.manifest) {
        let downgraded: Vec<&String> = table
            .iter()
            .filter(|(public, entry)| {
                let source = manifest.files.get(*public).map(|file| file.cache_class_source);
                declares_immutable(entry) && source == Some(CacheClassSource::Downgraded)
            })
            .map(|(public, _)| public)
            .take(LISTED)
            .collect();
        if !downgraded.is_empty() {
            warnings.push(
                Warning::warn(
                    "STATIC_CACHE_CLASS_DOWNGRADED",
                    "Paths declared `immutable_versioned` have no fingerprint in their names: caches will revalidate them.",
                )
                .affecting(downgraded),
            );
        }
    }
    let changed = &planned.diff.static_assets.previous_immutable_failures;
    if !changed.is_empty() {
        warnings.push(
            Warning::warn(
                "STATIC_IMMUTABLE_PATH_CHANGED",
                "Browsers may keep old bytes of these paths for a year: they were served as immutable before.",
            )
            .affecting(changed.iter().take(LISTED).map(|failure| failure.path.as_str())),
        );
    }
}

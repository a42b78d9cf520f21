//! The static manifest: which public path serves which file, and how long caches may keep it (contract 04 §2.1-2.6).

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;

use super::{
    diff::ImmutableFailure,
    routes::MethodSet,
    spec::{ImmutableChange, SpecLimits, Violation, Violations},
    types::{
        Authority, CacheClass, CacheClassSource, PublicPathMode, PublicPaths, ReleaseState, RouteEntry, RouteMethod,
        RouteTarget, SiteFile, StaticFile, StaticManifest, StaticManifestMetadata,
    },
};
use crate::{common::sealing::sha256_hex, engines::blobs::Sha256Digest};

/// The version that manifests name.
pub const MANIFEST_VERSION: &str = "run402.static_manifest.v1";
const SPA_FALLBACK: &str = "/index.html";

impl CacheClass {
    /// The literal of `Cache-Control`.
    pub const fn cache_control(self) -> &'static str {
        match self {
            Self::Html | Self::RevalidatingAsset => "public, max-age=0, must-revalidate",
            Self::ImmutableVersioned => "public, max-age=31536000, immutable",
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Html => "html",
            Self::ImmutableVersioned => "immutable_versioned",
            Self::RevalidatingAsset => "revalidating_asset",
        }
    }
}

impl CacheClassSource {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::InferredHtml => "inferred_html",
            Self::InferredShaFilename => "inferred_sha_filename",
            Self::Downgraded => "downgraded",
            Self::Legacy => "legacy",
        }
    }
}

impl Authority {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImplicitFilePath => "implicit_file_path",
            Self::ExplicitPublicPath => "explicit_public_path",
            Self::RouteStaticAlias => "route_static_alias",
        }
    }
}

impl StaticManifest {
    /// The manifest of a state whose routes and public paths are in place. None: the release has no files.
    pub(super) fn build(
        state: &ReleaseState,
        previous: Option<&Self>,
        limits: &SpecLimits,
        problems: &mut Violations,
    ) -> Option<Self> {
        if state.site.is_empty() {
            return None;
        }
        let mut files = BTreeMap::new();
        let (public_path_mode, spa_fallback) = match &state.public_paths {
            Some(PublicPaths::Explicit(table)) => {
                for (public, entry) in table {
                    if let Some(file) = state.site.get(&entry.asset) {
                        let class = classify(public, file, entry.cache_class, previous);
                        files.insert(public.clone(), direct(&entry.asset, file, class, Authority::ExplicitPublicPath));
                    }
                }
                (PublicPathMode::Explicit, None)
            }
            Some(PublicPaths::Implicit) | None => {
                for (asset, file) in &state.site {
                    for public in [Some(format!("/{asset}")), index_path(asset)].into_iter().flatten() {
                        let class = classify(&public, file, None, previous);
                        files.insert(public, direct(asset, file, class, Authority::ImplicitFilePath));
                    }
                }
                (PublicPathMode::Implicit, state.site.contains_key("index.html").then(|| SPA_FALLBACK.to_owned()))
            }
        };
        let mut manifest = Self { public_path_mode, files, spa_fallback };
        for route in &state.routes {
            manifest.add_alias(route, state, previous, problems);
        }
        manifest.guard_immutable(previous, limits, problems);
        Some(manifest)
    }

    fn add_alias(
        &mut self,
        route: &RouteEntry,
        state: &ReleaseState,
        previous: Option<&Self>,
        problems: &mut Violations,
    ) {
        let RouteTarget::Static { file: asset } = &route.target else { return };
        // A missing file was reported with the other route targets.
        let Some(file) = state.site.get(asset) else { return };
        let public = route.literal().into_owned();
        if let Some(declared) = self.files.get(&public).filter(|entry| !is_made_index(&public, entry)) {
            if declared.sha256 != file.sha256 || declared.content_type != file.content_type {
                problems.push(
                    Violation::invalid(
                        "routes",
                        format!(
                            "There is a conflicting direct public path and static alias: {public} serves {:?}, \
                         and the route points to {asset:?}.",
                            declared.asset_path
                        ),
                    )
                    .detail("pattern", route.pattern.as_str())
                    .detail("public_path", public),
                );
            }
            return;
        }
        let (cache_class, cache_class_source) = classify(&public, file, None, previous);
        let entry = StaticFile {
            sha256: file.sha256,
            size: file.size,
            content_type: file.content_type.clone(),
            cache_class,
            cache_class_source,
            asset_path: asset.clone(),
            direct: false,
            authority: Authority::RouteStaticAlias,
            route_id: Some(format!("{}:GET,HEAD", route.pattern)),
            methods: Some(MethodSet::READ.iter().collect()),
        };
        self.files.insert(public, entry);
    }

    /// Bytes that caches were told never change must not change.
    fn guard_immutable(&mut self, previous: Option<&Self>, limits: &SpecLimits, problems: &mut Violations) {
        let failures = immutable_failures(previous, self);
        match limits.immutable_change {
            _ if failures.is_empty() => {}
            ImmutableChange::Refuse => problems.push(
                Violation::new(
                    "STATIC_IMMUTABLE_PATH_CHANGED",
                    "site",
                    "Files whose names promise never to change have new bytes: give them new names.",
                )
                .status(StatusCode::CONFLICT)
                .fix(json!({ "action": "rename_files" }))
                .detail("paths", json!(failures)),
            ),
            ImmutableChange::Downgrade => {
                for failure in failures {
                    if let Some(file) = self.files.get_mut(&failure.path)
                        && file.cache_class == CacheClass::ImmutableVersioned
                    {
                        file.cache_class = CacheClass::RevalidatingAsset;
                        file.cache_class_source = CacheClassSource::Downgraded;
                    }
                }
            }
        }
    }

    /// `static_manifest_sha256`: of the canonical JSON.
    pub fn digest(&self) -> String {
        let canonical = CanonicalManifest {
            files: self.files.iter().map(|(public, file)| (public.as_str(), CanonicalFile::of(file))).collect(),
            public_path_mode: (self.public_path_mode == PublicPathMode::Explicit).then_some("explicit"),
            spa_fallback: self.spa_fallback.as_deref(),
            version: MANIFEST_VERSION,
        };
        // Text and numbers only: writing them as JSON cannot fail.
        sha256_hex(&serde_json::to_vec(&canonical).unwrap_or_default())
    }

    /// `static_manifest_metadata`; `file_count` counts public paths.
    pub fn metadata(&self) -> StaticManifestMetadata {
        let mut cache_classes = BTreeMap::new();
        let mut cache_class_sources = BTreeMap::new();
        for file in self.files.values() {
            *cache_classes.entry(file.cache_class.as_str().to_owned()).or_insert(0) += 1;
            *cache_class_sources.entry(file.cache_class_source.as_str().to_owned()).or_insert(0) += 1;
        }
        StaticManifestMetadata {
            file_count: self.files.len() as u64,
            total_bytes: self.files.values().fold(0, |sum, file| sum.saturating_add(file.size)),
            cache_classes,
            cache_class_sources,
            spa_fallback: self.spa_fallback.clone(),
        }
    }
}

/// Paths that were served as immutable and have other bytes now.
pub(super) fn immutable_failures(
    previous: Option<&StaticManifest>,
    candidate: &StaticManifest,
) -> Vec<ImmutableFailure> {
    let served = previous.into_iter().flat_map(|manifest| &manifest.files);
    served
        .filter(|(_, file)| file.cache_class == CacheClass::ImmutableVersioned)
        .filter_map(|(path, before)| {
            let after = candidate.files.get(path)?;
            (after.sha256 != before.sha256).then(|| ImmutableFailure {
                path: path.clone(),
                previous_sha256: before.sha256,
                candidate_sha256: after.sha256,
            })
        })
        .collect()
}

fn direct(
    asset: &str,
    file: &SiteFile,
    (cache_class, cache_class_source): (CacheClass, CacheClassSource),
    authority: Authority,
) -> StaticFile {
    StaticFile {
        sha256: file.sha256,
        size: file.size,
        content_type: file.content_type.clone(),
        cache_class,
        cache_class_source,
        asset_path: asset.to_owned(),
        direct: true,
        authority,
        route_id: None,
        methods: None,
    }
}

/// `/` for `index.html`, `/dir/` for `dir/index.html`.
fn index_path(asset: &str) -> Option<String> {
    let directory = asset.strip_suffix("index.html")?;
    (directory.is_empty() || directory.ends_with('/')).then(|| format!("/{directory}"))
}

/// An entry that implicit mode made for a directory, which an alias silently replaces.
fn is_made_index(public: &str, entry: &StaticFile) -> bool {
    entry.authority == Authority::ImplicitFilePath && public.ends_with('/')
}

/// Contract 04 §2.6, in its order.
fn classify(
    public: &str,
    file: &SiteFile,
    declared: Option<CacheClass>,
    previous: Option<&StaticManifest>,
) -> (CacheClass, CacheClassSource) {
    if public.ends_with(".html") || file.content_type.starts_with("text/html") {
        return (CacheClass::Html, CacheClassSource::InferredHtml);
    }
    if let Some(class @ (CacheClass::Html | CacheClass::RevalidatingAsset)) = declared {
        return (class, CacheClassSource::Declared);
    }
    let downgraded = (CacheClass::RevalidatingAsset, CacheClassSource::Downgraded);
    if !is_fingerprinted(public) {
        return downgraded;
    }
    if declared.is_some() {
        return (CacheClass::ImmutableVersioned, CacheClassSource::Declared);
    }
    let before = previous.and_then(|manifest| manifest.files.get(public)).map(|file| file.cache_class);
    if before == Some(CacheClass::RevalidatingAsset) {
        return downgraded;
    }
    (CacheClass::ImmutableVersioned, CacheClassSource::InferredShaFilename)
}

/// Whether the last segment has a run of 8 or more hexadecimal digits between delimiters, or ends with one of 12 or
/// more.
pub(super) fn is_fingerprinted(public: &str) -> bool {
    let name = public.rsplit('/').next().unwrap_or(public);
    let mut parts = name.split(['.', '_', '-']).peekable();
    while let Some(part) = parts.next() {
        let least = if parts.peek().is_some() { 8 } else { 12 };
        if part.len() >= least && part.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return true;
        }
    }
    false
}

/// Fields in the order of their names, which makes the JSON canonical.
#[derive(Serialize)]
struct CanonicalManifest<'a> {
    files: BTreeMap<&'a str, CanonicalFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_path_mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spa_fallback: Option<&'a str>,
    version: &'static str,
}

#[derive(Serialize)]
struct CanonicalFile<'a> {
    asset_path: &'a str,
    authority: Authority,
    cache_class: CacheClass,
    cache_class_source: CacheClassSource,
    content_type: &'a str,
    direct: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    methods: Option<&'a [RouteMethod]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route_id: Option<&'a str>,
    sha256: Sha256Digest,
    size: u64,
}

impl<'a> CanonicalFile<'a> {
    fn of(file: &'a StaticFile) -> Self {
        Self {
            asset_path: &file.asset_path,
            authority: file.authority,
            cache_class: file.cache_class,
            cache_class_source: file.cache_class_source,
            content_type: &file.content_type,
            direct: file.direct,
            methods: file.methods.as_deref(),
            route_id: file.route_id.as_deref(),
            sha256: file.sha256,
            size: file.size,
        }
    }
}

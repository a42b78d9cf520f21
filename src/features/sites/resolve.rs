//! What a public URL would do: `GET /apply/v1/resolve` (contract 04 §4). Fetches nothing, runs nothing.

use axum::http::HeaderMap;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{Sites, error::SiteError, head::cache_policy};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    features::{
        hosts::{Bound, Hostname},
        releases::{
            MethodSet, Outcome, RouteEntry, RouteTarget, SSR_PATTERN, ServedRelease, StaticFile,
            StaticManifestMetadata, StaticMatch, canonicalise, lookup,
        },
    },
};

/// The answer; null fields are explicit.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Resolution {
    hostname: String,
    host_binding_id: Option<String>,
    binding_status: Option<&'static str>,
    project_id: Option<String>,
    release_id: Option<String>,
    channel: Option<&'static str>,
    release_generation: Option<i64>,
    route_manifest_sha256: Option<String>,
    static_manifest_sha256: Option<String>,
    #[schema(value_type = Option<Object>)]
    static_manifest_metadata: Option<StaticManifestMetadata>,
    normalized_path: Option<String>,
    #[serde(rename = "match")]
    found: &'static str,
    #[schema(value_type = Option<Object>)]
    route: Option<Value>,
    asset_path: Option<String>,
    static_sha256: Option<String>,
    content_type: Option<String>,
    #[schema(value_type = Option<String>)]
    reachability_authority: Option<Value>,
    direct: Option<bool>,
    #[schema(value_type = Option<String>)]
    cache_class: Option<Value>,
    cache_policy: Option<&'static str>,
    authorization_result: &'static str,
    cas_object: Option<CasObject>,
    #[schema(value_type = Option<Object>)]
    response_variant: Option<()>,
    allow: Option<Vec<&'static str>>,
    route_pattern: Option<String>,
    target_type: Option<&'static str>,
    target_name: Option<String>,
    target_file: Option<String>,
    authorized: bool,
    fallback_state: &'static str,
    error_code: Option<&'static str>,
    #[schema(value_type = Vec<Object>)]
    legacy_immutable_risk: [Value; 0],
    #[schema(value_type = Object)]
    emergency_fallback: Value,
    result: u16,
}

/// The bytes behind a static hit.
#[derive(Debug, Serialize, ToSchema)]
struct CasObject {
    sha256: String,
    exists: bool,
    expected_size: u64,
    actual_size: Option<u64>,
}

/// The words of one row of the table of contract 04 §4.2.
struct Words {
    found: &'static str,
    result: u16,
    authorized: bool,
    authorization: &'static str,
    fallback: &'static str,
}

const fn words(
    found: &'static str,
    result: u16,
    authorized: bool,
    authorization: &'static str,
    fallback: &'static str,
) -> Words {
    Words { found, result, authorized, authorization, fallback }
}

/// What is asked.
pub(super) struct Question<'a> {
    pub host: &'a str,
    pub path: &'a str,
    /// Upper case.
    pub method: &'a str,
}

impl Sites {
    /// The project whose hosts the caller may ask about.
    ///
    /// # Errors
    /// 401 without a usable key, 403 `PROJECT_ARCHIVED`.
    pub(super) fn asking_project(&self, headers: &HeaderMap) -> ApiResult<ProjectId> {
        let key = self.identity.project_key(headers)?.ok_or_else(|| {
            ApiError::authentication_required("Send the project's anon or service key in the apikey header.")
        })?;
        Ok(self.projects.serving(&key)?.id.clone())
    }

    /// Explains a URL of the project.
    ///
    /// # Errors
    /// 400 `BAD_HOST`; 502 `ROUTE_MANIFEST_LOAD_FAILED`.
    pub(super) async fn explain(&self, asking: &ProjectId, question: &Question<'_>) -> ApiResult<Value> {
        let hostname = Hostname::parse(question.host)?;
        let bound = self.hosts.find(&hostname);
        let place = match self.place(&bound).await {
            Ok(place) if place.project == *asking => place,
            // Another project's host is answered like one nobody has.
            Ok(_) => return Ok(host_missing(&hostname)),
            Err(error) if error.code() == "ROUTE_MANIFEST_LOAD_FAILED" => return Err(error),
            Err(_) => return Ok(host_missing(&hostname)),
        };
        let mut answer = Resolution::of(&hostname, binding_id(&bound, self, asking), asking);
        let Some(release) = place.release else {
            answer.say(&words(
                "active_release_missing",
                404,
                false,
                "active_release_missing",
                "active_release_missing",
            ));
            return finish(&answer);
        };
        answer.describe_release(&release);
        let path = match canonicalise(question.path) {
            Ok(path) => path,
            Err(error) => {
                answer.error_code = Some(error.code());
                answer.say(&words("path_error", 400, false, "path_error", "path_error"));
                return finish(&answer);
            }
        };
        answer.normalized_path = Some(path.to_string());
        let outcome = lookup(&release.state, &path, question.method);
        answer.describe(outcome);
        if let Outcome::Static { file, .. } = outcome {
            self.describe_bytes(&mut answer, asking, file).await?;
        }
        finish(&answer)
    }

    /// A problem of the store changes only `authorization_result` (contract 04 §4.2).
    async fn describe_bytes(&self, answer: &mut Resolution, project: &ProjectId, file: &StaticFile) -> ApiResult<()> {
        let meta =
            self.files.store().meta(file.sha256).await.map_err(|error| {
                ApiError::from(SiteError::ContentMissing(super::cache::FileError::Store(error.into())))
            })?;
        let actual = meta.map(|meta| meta.size);
        let own = self.content.present(project, &[file.sha256]).await?.contains_key(&file.sha256);
        answer.cas_object = Some(CasObject {
            sha256: file.sha256.to_string(),
            exists: actual.is_some(),
            expected_size: file.size,
            actual_size: actual,
        });
        match actual {
            None => answer.authorization_result = "missing_cas_object",
            Some(actual) if actual != file.size => answer.authorization_result = "size_mismatch",
            Some(_) if !own => answer.authorization_result = "unauthorized_cas_object",
            Some(_) => {}
        }
        Ok(())
    }
}

impl Resolution {
    fn of(hostname: &Hostname<'_>, binding: Option<String>, project: &ProjectId) -> Self {
        Self {
            hostname: hostname.as_str().to_owned(),
            host_binding_id: binding,
            binding_status: Some("active"),
            project_id: Some(project.to_string()),
            release_id: None,
            channel: Some("production"),
            release_generation: None,
            route_manifest_sha256: None,
            static_manifest_sha256: None,
            static_manifest_metadata: None,
            normalized_path: None,
            found: "none",
            route: None,
            asset_path: None,
            static_sha256: None,
            content_type: None,
            reachability_authority: None,
            direct: None,
            cache_class: None,
            cache_policy: None,
            authorization_result: "target_missing",
            cas_object: None,
            response_variant: None,
            allow: None,
            route_pattern: None,
            target_type: None,
            target_name: None,
            target_file: None,
            authorized: false,
            fallback_state: "not_used",
            error_code: None,
            legacy_immutable_risk: [],
            emergency_fallback: json!({"enabled": false}),
            result: 404,
        }
    }

    fn say(&mut self, words: &Words) {
        self.found = words.found;
        self.result = words.result;
        self.authorized = words.authorized;
        self.authorization_result = words.authorization;
        self.fallback_state = words.fallback;
    }

    fn describe_release(&mut self, release: &ServedRelease) {
        self.release_id = Some(release.release.to_string());
        self.release_generation = Some(release.generation);
        self.route_manifest_sha256.clone_from(&release.route_manifest_sha256);
        self.static_manifest_sha256.clone_from(&release.static_manifest_sha256);
        self.static_manifest_metadata = release.state.manifest.as_ref().map(|manifest| manifest.metadata());
    }

    fn describe(&mut self, outcome: Outcome<'_>) {
        match outcome {
            Outcome::Function { route, name } => {
                match route {
                    Some(route) => self.describe_route(route),
                    None => {
                        self.route_pattern = Some(SSR_PATTERN.to_owned());
                        self.target_type = Some("function");
                        self.target_name = Some(name.to_owned());
                    }
                }
                self.say(&words("route_function", 200, true, "not_applicable", "not_used"));
            }
            Outcome::Static { how, file, .. } => {
                self.describe_file(file);
                let (found, fallback) = match how {
                    StaticMatch::Exact => ("static_exact", "not_used"),
                    StaticMatch::Index => ("static_index", "not_used"),
                    StaticMatch::SpaFallback => ("spa_fallback", "used"),
                    StaticMatch::Alias(route) => {
                        self.describe_route(route);
                        ("route_static_alias", "not_used")
                    }
                };
                self.say(&words(found, 200, true, "authorized", fallback));
            }
            Outcome::RouteMethodMiss { route, allow } => {
                self.describe_route(route);
                self.allow = Some(names(allow));
                self.say(&words("route_method_miss", 405, true, "not_applicable", "method_not_static"));
            }
            Outcome::StaticMethodMiss { allow } => {
                self.allow = Some(names(allow));
                self.say(&words("none", 405, false, "not_applicable", "method_not_static"));
            }
            Outcome::SpaFallbackMissing => {
                self.say(&words("spa_fallback_missing", 404, false, "target_missing", "target_missing"));
            }
            Outcome::AliasTargetMissing { route } => {
                self.describe_route(route);
                self.say(&words("route_static_alias", 404, false, "target_missing", "not_used"));
            }
            Outcome::Nothing(absence) => {
                let authorization = if absence.not_public { "not_public" } else { "target_missing" };
                let fallback = if absence.fallback_not_eligible { "not_eligible" } else { "not_configured" };
                self.say(&words("none", 404, false, authorization, fallback));
            }
            Outcome::ManifestMissing => {
                self.say(&words("manifest_missing", 404, false, "manifest_missing", "unavailable"));
            }
        }
    }

    fn describe_file(&mut self, file: &StaticFile) {
        self.asset_path = Some(file.asset_path.clone());
        self.static_sha256 = Some(file.sha256.to_string());
        self.content_type = Some(file.content_type.clone());
        self.reachability_authority = Some(json!(file.authority));
        self.direct = Some(file.direct);
        self.cache_class = Some(json!(file.cache_class));
        self.cache_policy = Some(cache_policy(file.cache_class));
    }

    fn describe_route(&mut self, route: &RouteEntry) {
        self.route = Some(json!({"pattern": route.pattern, "methods": route.methods, "target": route.target}));
        self.route_pattern = Some(route.pattern.clone());
        match &route.target {
            RouteTarget::Function { name } => {
                self.target_type = Some("function");
                self.target_name = Some(name.clone());
            }
            RouteTarget::Static { file } => {
                self.target_type = Some("static");
                self.target_file = Some(file.clone());
            }
        }
    }
}

fn names(methods: MethodSet) -> Vec<&'static str> {
    methods.iter().map(|method| method.as_str()).collect()
}

fn binding_id(bound: &Bound, sites: &Sites, project: &ProjectId) -> Option<String> {
    match bound {
        Bound::Subdomain { name, .. } => Some(format!("subdomain:{name}")),
        Bound::Deployment(deployment) => Some(format!("deployment:{deployment}")),
        Bound::Project(_) => sites.hosts.urls(project).map(|urls| format!("project:{}", urls.public_id)),
        Bound::Api | Bound::UnknownManaged | Bound::Foreign => None,
    }
}

/// The whole answer for a host that is unknown or somebody else's.
fn host_missing(hostname: &Hostname<'_>) -> Value {
    json!({
        "hostname": hostname.as_str(),
        "result": 404,
        "match": "host_missing",
        "authorized": false,
        "fallback_state": "not_used",
    })
}

fn finish(answer: &Resolution) -> ApiResult<Value> {
    serde_json::to_value(answer).map_err(ApiError::internal)
}

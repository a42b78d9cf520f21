//! Reading, listing, signing, deleting and diagnosing assets (contract 04 §6.7), and the put of functions (§6.3 B).

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header::CONTENT_TYPE},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use futures_util::{StreamExt, TryStreamExt};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

use super::{
    AssetPut, AssetSlice, Assets, ExifPolicy, Visibility,
    access::DEFAULT_TTL,
    error::AssetError,
    keys::{encode_path, validate_key, validate_metadata},
    list::ListQuery,
    service::Queue,
    store::{self, Stored},
    wire,
};
use crate::{
    common::{ApiError, ApiResult, ProjectId},
    engines::blobs::Blob,
    features::{
        content::Reference,
        hosts::Bound,
        identity::{KeyRole, bearer_token},
        projects::{self, Project},
    },
};

impl Assets {
    /// The project of a storage request and the role of its key.
    ///
    /// # Errors
    /// 401; 403 `PROJECT_ARCHIVED`, `QUOTA_EXCEEDED`; 429.
    pub(super) fn storage_caller(&self, headers: &HeaderMap) -> ApiResult<(Arc<Project>, KeyRole)> {
        let key = self.identity.project_key(headers)?.ok_or_else(|| {
            ApiError::authentication_required("Send the project's service key as apikey or Authorization: Bearer.")
        })?;
        let project = self.projects.serving(&key)?;
        self.projects.meter(&project, false)?;
        Ok((project, key.role))
    }

    /// As [`Assets::storage_caller`], for what only the service key may do.
    ///
    /// # Errors
    /// Also 403 `ADMIN_REQUIRED` for the anon key.
    pub(super) fn storage_owner(&self, headers: &HeaderMap) -> ApiResult<Arc<Project>> {
        match self.storage_caller(headers)? {
            (project, KeyRole::Service) => Ok(project),
            (_, KeyRole::Anon) => Err(service_key_required()),
        }
    }

    async fn find(&self, project: &ProjectId, key: &str) -> ApiResult<Stored> {
        // No such key can exist, and Postgres would not take every text.
        validate_key(key).map_err(|_| AssetError::NotFound)?;
        let connection = self.control.get().await?;
        let mut found = store::find(&**connection, project, &[key]).await?;
        Ok(found.remove(key).ok_or(AssetError::NotFound)?)
    }

    /// An asset for whoever holds a key: the anon key sees public ones only.
    ///
    /// # Errors
    /// 404 `BLOB_NOT_FOUND`.
    pub(super) async fn readable(&self, project: &ProjectId, role: KeyRole, key: &str) -> ApiResult<Stored> {
        let asset = self.find(project, key).await?;
        match (role, asset.visibility) {
            (KeyRole::Anon, Visibility::Private) => Err(AssetError::NotFound.into()),
            _ => Ok(asset),
        }
    }

    /// The bytes of an asset, or a range of them.
    ///
    /// # Errors
    /// 500 when the store lost them.
    pub(super) async fn open(&self, asset: &Stored, range: Option<std::ops::Range<u64>>) -> ApiResult<Blob> {
        Ok(self.content.store().get(asset.sha256, range).await?.ok_or(AssetError::BytesLost)?)
    }

    /// # Errors
    /// 404 `BLOB_NOT_FOUND`.
    pub(super) async fn delete(&self, project: &Project, key: &str) -> ApiResult<()> {
        self.find(&project.id, key).await?;
        let slice = AssetSlice { delete: vec![key.to_owned()], ..AssetSlice::default() };
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        if !self.content.lock(&tx, &project.id).await? {
            return Err(projects::deleted());
        }
        // Under the lock: of two deletes one finds it gone.
        if store::find(&*tx, &project.id, &[key]).await?.is_empty() {
            return Err(AssetError::NotFound.into());
        }
        self.activate(&tx, project, &slice).await?;
        tx.commit().await?;
        drop(connection);
        self.after_commit(project).await;
        Ok(())
    }

    async fn after_commit(&self, project: &Project) {
        self.changed(&project.id);
        if let Err(error) = self.projects.refresh_organisation(project.organisation).await {
            tracing::debug!(%error, "the quota is read again later");
        }
    }

    /// # Errors
    /// 400 `INVALID_TTL`; 404 `BLOB_NOT_FOUND`.
    pub(super) async fn sign(&self, project: &ProjectId, key: &str, ttl: Option<&Value>) -> ApiResult<Value> {
        let ttl = match ttl {
            None | Some(Value::Null) => DEFAULT_TTL,
            Some(ttl) => ttl.as_i64().ok_or(AssetError::InvalidTtl)?,
        };
        let asset = self.find(project, key).await?;
        let (query, expires) = self.signer.sign(project, key, &asset.sha256, ttl, self.clock.now())?;
        let urls = self.hosts.urls(project).ok_or_else(projects::deleted)?;
        Ok(json!({
            "signed_url": format!("{}/_blob/{}?{query}", urls.public, encode_path(key)),
            "expires_at": expires,
            "expires_in": ttl,
        }))
    }

    pub(super) async fn list(&self, project: &ProjectId, query: &str) -> ApiResult<Value> {
        let query = ListQuery::parse(query)?;
        let connection = self.control.get().await?;
        let mut rows = store::list(&connection, project, &query).await?;
        drop(connection);
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(last, _)| query.cursor(last));
        let blobs: Vec<_> = rows.iter().map(|(asset, image)| wire::row(asset, image.as_ref())).collect();
        Ok(json!({"blobs": blobs, "next_cursor": next}))
    }

    /// What a GET of a `/_blob/` URL would deliver now, found out in this process: no request is made to anybody.
    ///
    /// # Errors
    /// 400 `INVALID_URL`; 403 `NOT_AUTHORIZED` for another project's host.
    pub(super) async fn diagnose(&self, project: &ProjectId, text: &str) -> ApiResult<Value> {
        let mut url: Url = text.parse().map_err(|_| AssetError::InvalidUrl("url must be an absolute URL."))?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return Err(AssetError::InvalidUrl("url must be http or https, without credentials.").into());
        }
        let foreign = AssetError::InvalidUrl("The host of url is not one of this box's projects.");
        let host = url.host_str().unwrap_or_default();
        match self.hosts.resolve(host).map_err(|_| AssetError::InvalidUrl("The host of url is not valid."))? {
            Bound::Project(owner) | Bound::Subdomain { project: owner, .. } if owner == *project => {}
            Bound::Project(_) | Bound::Subdomain { .. } => return Err(AssetError::ForeignUrl.into()),
            _ => return Err(foreign.into()),
        }
        let path = url.path().strip_prefix("/_blob/").filter(|path| !path.is_empty());
        let path = path.ok_or(AssetError::InvalidUrl("The path of url must begin with /_blob/."))?;
        let path = percent_decode_str(path).decode_utf8().map_err(|_| AssetError::InvalidUrl("url is not UTF-8."))?;
        let path = path.into_owned();
        url.set_fragment(None);

        let found =
            if path.contains('\0') { None } else { store::resolve(&self.control.get().await?, project, &path).await? };
        let (key, asset) = found.map_or((path, None), |(key, asset)| (key, Some(asset)));
        let meta = match &asset {
            Some(asset) => self.content.store().meta(asset.sha256).await?.filter(|meta| meta.size == asset.size),
            None => None,
        };
        let public = asset.as_ref().filter(|asset| asset.visibility == Visibility::Public);
        let observed = public.filter(|_| meta.is_some()).map(|asset| asset.sha256);
        let cache_kind = asset.as_ref().map(|asset| match (asset.visibility, asset.immutable) {
            (Visibility::Private, _) => "private",
            (Visibility::Public, true) => "immutable",
            (Visibility::Public, false) => "mutable",
        });
        let immutable = asset.as_ref().is_some_and(|asset| asset.immutable);
        let hint = match (&asset, observed) {
            (None, _) => "No asset has this URL.",
            (Some(_), Some(_)) => "The URL delivers the current bytes.",
            (Some(asset), None) if asset.visibility == Visibility::Private => {
                "The asset is private: it is read with the service key or a signed URL."
            }
            (Some(_), None) => "The bytes of this asset are missing from the store. Upload it again.",
        };
        Ok(json!({
            "project_id": project,
            "key": key,
            "expected_sha256": asset.as_ref().map(|asset| asset.sha256),
            "observed_sha256": observed,
            "vantage": "gateway-us-east-1",
            "probe_method": "GET_RANGE_0_0",
            "accept_encoding": "identity",
            "observed_at": self.clock.now(),
            "probe_may_have_warmed_cache": true,
            "canonical_url": url.as_str(),
            "path_kind": if immutable { "blob-immutable" } else { "blob-mutable" },
            "cache": {"x_cache": null, "age_seconds": null, "cache_kind": cache_kind},
            "invalidation": {"id": null, "status": null},
            "hint": hint,
        }))
    }

    /// Whom `POST /apply/v1/service-asset-put` serves.
    ///
    /// # Errors
    /// 401 without a bearer; 403 for the anon key; lifecycle and quota.
    pub(super) async fn put_caller(&self, headers: &HeaderMap) -> ApiResult<Arc<Project>> {
        if bearer_token(headers).is_none() {
            return Err(ApiError::authentication_required(
                "Send the project's service key as Authorization: Bearer <key>.",
            ));
        }
        let project = self.storage_owner(headers)?;
        self.content.gate(&project).await?;
        Ok(project)
    }

    /// Stores a body as an asset, visible before this answers; the AssetRef.
    ///
    /// # Errors
    /// Those of contract 04 §6.3 B.
    pub(super) async fn service_put(&self, project: &Project, order: PutOrder, body: Body) -> ApiResult<Value> {
        let source = body.into_data_stream().map_err(Into::into).boxed();
        let stored = self.content.add(project, self.settings.max_put_bytes, source).await?;
        if stored.size == 0 {
            return Err(AssetError::InvalidRequest("The body is empty. Send the bytes of the asset.").into());
        }
        let put = order.of(Reference { sha256: stored.digest, size: stored.size });
        let puts = [put];
        self.look_into(project, &puts, Queue::Impatient).await?;
        let [put] = puts;
        let slice = AssetSlice { put: vec![put], ..AssetSlice::default() };
        let mut connection = self.control.get().await?;
        let tx = connection.transaction().await?;
        self.activate(&tx, project, &slice).await?;
        tx.commit().await?;
        drop(connection);
        self.after_commit(project).await;
        let plan = self.plan(project, &slice, &std::collections::HashSet::new()).await?;
        let entry = plan.entries.into_iter().next().map(|mut entry| entry["asset_ref"].take());
        entry.ok_or_else(|| ApiError::internal("a plan of one asset has no entry"))
    }
}

fn service_key_required() -> ApiError {
    ApiError::forbidden("ADMIN_REQUIRED", "This route needs the project's service key, not its anon key.")
}

/// What the headers of a service-asset-put say.
#[derive(Debug)]
pub(super) struct PutOrder {
    key: String,
    content_type: String,
    visibility: Visibility,
    immutable: bool,
    exif_policy: ExifPolicy,
    metadata: Option<Value>,
}

impl PutOrder {
    /// # Errors
    /// 400 naming what is wrong.
    pub fn parse(headers: &HeaderMap) -> Result<Self, AssetError> {
        let text = |name: &str| headers.get(name).map(|value: &HeaderValue| std::str::from_utf8(value.as_bytes()));
        let readable = |name: &str, wrong: AssetError| match text(name) {
            None => Ok(None),
            Some(Ok(text)) => Ok(Some(text)),
            Some(Err(_)) => Err(wrong),
        };
        let missing = AssetError::InvalidRequest("Name the asset in the header x-run402-asset-key.");
        let key =
            readable("x-run402-asset-key", AssetError::InvalidKey("The asset key is not UTF-8."))?.ok_or(missing)?;
        validate_key(key).map_err(AssetError::InvalidKey)?;
        let invalid = AssetError::InvalidRequest;
        let content_type = readable(CONTENT_TYPE.as_str(), invalid("Content-Type is not readable."))?;
        let visibility = match text("x-run402-asset-visibility") {
            None | Some(Ok("public")) => Visibility::Public,
            Some(Ok("private")) => Visibility::Private,
            Some(_) => return Err(invalid("x-run402-asset-visibility is public or private.")),
        };
        let immutable = match text("x-run402-asset-immutable") {
            None | Some(Ok("true")) => true,
            Some(Ok("false")) => false,
            Some(_) => return Err(invalid("x-run402-asset-immutable is true or false.")),
        };
        let exif_policy = match text("x-run402-asset-exif-policy") {
            None | Some(Ok("keep")) => ExifPolicy::Keep,
            Some(Ok("strip")) => ExifPolicy::Strip,
            Some(_) => return Err(AssetError::InvalidExifPolicy),
        };
        let unreadable = AssetError::InvalidMetadata("x-run402-asset-metadata is not base64url of a JSON object.");
        let metadata = match headers.get("x-run402-asset-metadata") {
            None => None,
            Some(value) => {
                let trimmed = value.to_str().ok().map(|text| text.trim().trim_end_matches('='));
                let bytes = trimmed.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                let value: Value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).ok_or(unreadable)?;
                validate_metadata(&value).map_err(AssetError::InvalidMetadata)?
            }
        };
        Ok(Self {
            key: key.to_owned(),
            content_type: content_type
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map_or_else(|| "application/octet-stream".to_owned(), str::to_owned),
            visibility,
            immutable,
            exif_policy,
            metadata,
        })
    }

    fn of(self, bytes: Reference) -> AssetPut {
        AssetPut {
            key: self.key,
            sha256: bytes.sha256,
            size: bytes.size,
            content_type: self.content_type,
            visibility: self.visibility,
            immutable: self.immutable,
            metadata: self.metadata,
            exif_policy: self.exif_policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()))
            .collect()
    }

    #[test]
    fn a_put_has_defaults() {
        let order = PutOrder::parse(&headers(&[("x-run402-asset-key", "ü/x.png")])).unwrap();
        assert_eq!((order.key.as_str(), order.content_type.as_str()), ("ü/x.png", "application/octet-stream"));
        assert_eq!(
            (order.visibility, order.immutable, order.exif_policy),
            (Visibility::Public, true, ExifPolicy::Keep)
        );
        assert_eq!(order.metadata, None);
        // {"a":1}
        let order =
            PutOrder::parse(&headers(&[("x-run402-asset-key", "x"), ("x-run402-asset-metadata", "eyJhIjoxfQ")]));
        assert_eq!(order.unwrap().metadata, Some(json!({"a": 1})));
    }

    #[test]
    fn each_bad_header_has_its_code() {
        for (name, value, code) in [
            ("x-run402-asset-key", "../x", "INVALID_ASSET_KEY"),
            ("x-run402-asset-visibility", "secret", "INVALID_REQUEST"),
            ("x-run402-asset-immutable", "yes", "INVALID_REQUEST"),
            ("x-run402-asset-exif-policy", "maybe", "INVALID_EXIF_POLICY"),
            ("x-run402-asset-metadata", "!", "INVALID_ASSET_METADATA"),
            ("x-run402-asset-metadata", "W10", "INVALID_ASSET_METADATA"),
        ] {
            let mut all = headers(&[("x-run402-asset-key", "x")]);
            all.extend(headers(&[(name, value)]));
            assert_eq!(ApiError::from(PutOrder::parse(&all).unwrap_err()).code(), code, "{name}: {value}");
        }
        assert_eq!(ApiError::from(PutOrder::parse(&HeaderMap::new()).unwrap_err()).code(), "INVALID_REQUEST");
    }
}

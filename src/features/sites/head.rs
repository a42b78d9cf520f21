//! Response headers of files, made once and cloned (contract 04 §2.6-2.8).

use std::{
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use quick_cache::{Equivalent, sync::Cache};

use super::{accept::Encoding, compress::is_compressible, conditional::Validators};
use crate::{
    common::{ReleaseId, Timestamp},
    engines::blobs::Sha256Digest,
    features::releases::{CacheClass, ServedRelease, StaticFile},
};

/// Files whose headers are kept; about 4 KiB each.
const KEPT: usize = 2048;

pub(super) const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-run402-content-sha256");
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
const RELEASE_ID: HeaderName = HeaderName::from_static("x-run402-release-id");

/// The literal `Cache-Control` of a class (contract 04 §2.6).
pub(super) const fn cache_policy(class: CacheClass) -> &'static str {
    match class {
        CacheClass::Html | CacheClass::RevalidatingAsset => "public, max-age=0, must-revalidate",
        CacheClass::ImmutableVersioned => "public, max-age=31536000, immutable",
    }
}

/// What the headers of a file are made of.
pub(super) struct Facts<'a> {
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
    pub content_type: &'a str,
    pub cache_control: HeaderValue,
    pub modified: Timestamp,
    /// Whether it may be compressed at all.
    pub may_compress: bool,
}

/// The headers of one file under one path of one release.
#[derive(Debug)]
pub(super) struct Head {
    pub digest: Sha256Digest,
    /// Bytes.
    pub size: u64,
    pub compressible: bool,
    tag: String,
    modified: i64,
    plain: HeaderMap,
    /// By the order of [`Encoding::ALL`].
    packed: [OnceLock<HeaderMap>; 3],
    not_modified: HeaderMap,
}

impl Head {
    pub fn new(facts: &Facts<'_>, extra: &[(HeaderName, HeaderValue)]) -> Self {
        let tag = format!("\"sha256-{}\"", facts.digest);
        let content_digest = format!("sha-256=:{}:", BASE64_STANDARD.encode(facts.digest.as_bytes()));
        let compressible = facts.may_compress && is_compressible(facts.content_type, facts.size);
        let modified = facts.modified.as_seconds();
        let mut shared = HeaderMap::with_capacity(6 + extra.len());
        shared.insert(header::ETAG, text(&tag));
        shared.insert(header::CACHE_CONTROL, facts.cache_control.clone());
        shared.insert(header::LAST_MODIFIED, text(&http_date(modified)));
        if compressible {
            shared.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
        }
        for (name, value) in extra {
            shared.insert(name.clone(), value.clone());
        }
        let mut plain = HeaderMap::with_capacity(shared.len() + 6);
        plain.insert(header::CONTENT_TYPE, content_type(facts.content_type));
        plain.insert(header::CONTENT_LENGTH, HeaderValue::from(facts.size));
        plain.extend(shared.clone());
        plain.insert(CONTENT_SHA256, text(&facts.digest.to_string()));
        plain.insert(CONTENT_DIGEST, text(&content_digest));
        plain.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        plain.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        Self {
            digest: facts.digest,
            size: facts.size,
            compressible,
            tag,
            modified,
            plain,
            packed: [const { OnceLock::new() }; 3],
            not_modified: shared,
        }
    }

    /// Of a site file.
    fn of_file(release: &ServedRelease, file: &StaticFile, may_compress: bool) -> Self {
        let facts = Facts {
            digest: file.sha256,
            size: file.size,
            content_type: &file.content_type,
            cache_control: HeaderValue::from_static(cache_policy(file.cache_class)),
            modified: release.activated_at,
            may_compress,
        };
        Self::new(&facts, &[(RELEASE_ID, text(release.release.as_str()))])
    }

    pub fn validators(&self, encoding: Option<Encoding>) -> Validators<'_> {
        Validators { tag: &self.tag, strong: encoding.is_none(), modified: self.modified }
    }

    /// Of a 200 with the bytes as they are.
    pub fn plain(&self) -> HeaderMap {
        self.plain.clone()
    }

    /// Of a 200 with a compressed form of `length` bytes, which is the same for every request.
    pub fn packed(&self, encoding: Encoding, length: usize) -> HeaderMap {
        let made = || {
            let mut headers = self.plain.clone();
            headers.insert(header::ETAG, self.weak_tag());
            headers.insert(header::CONTENT_ENCODING, encoding.header());
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            headers.remove(CONTENT_DIGEST);
            headers
        };
        let slot = match encoding {
            Encoding::Brotli => 0,
            Encoding::Zstd => 1,
            Encoding::Gzip => 2,
        };
        self.packed[slot].get_or_init(made).clone()
    }

    /// Of a 206 with bytes `start..end`.
    pub fn part(&self, start: u64, end: u64) -> HeaderMap {
        let mut headers = self.plain.clone();
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(end - start));
        headers.insert(header::CONTENT_RANGE, text(&format!("bytes {start}-{}/{}", end - 1, self.size)));
        // It would have to be that of the part (RFC 9530 §2).
        headers.remove(CONTENT_DIGEST);
        headers
    }

    /// Of a 304.
    pub fn not_modified(&self, encoding: Option<Encoding>) -> HeaderMap {
        let mut headers = self.not_modified.clone();
        if encoding.is_some() {
            headers.insert(header::ETAG, self.weak_tag());
        }
        headers
    }

    fn weak_tag(&self) -> HeaderValue {
        text(&format!("W/{}", self.tag))
    }
}

/// Our own text: always a valid value.
fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static(""))
}

fn content_type(declared: &str) -> HeaderValue {
    HeaderValue::from_str(declared).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

fn http_date(seconds: i64) -> String {
    let since = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// A file is served with the time its release became active, so the activation belongs to the key.
struct Key {
    release: ReleaseId,
    generation: i64,
    public_path: Box<str>,
}

struct KeyRef<'a> {
    release: &'a ReleaseId,
    generation: i64,
    public_path: &'a str,
}

impl Key {
    fn borrow(&self) -> KeyRef<'_> {
        KeyRef { release: &self.release, generation: self.generation, public_path: &self.public_path }
    }
}

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.release.as_str(), self.generation, self.public_path).hash(state);
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.borrow().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.borrow().equivalent(other)
    }
}

impl Eq for Key {}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.generation == key.generation && *self.public_path == *key.public_path && *self.release == key.release
    }
}

/// Heads of the files asked for lately.
pub(super) struct Heads(Cache<Key, Arc<Head>>);

impl Heads {
    pub fn new() -> Self {
        Self(Cache::new(KEPT))
    }

    pub fn of(&self, release: &ServedRelease, public_path: &str, file: &StaticFile, may_compress: bool) -> Arc<Head> {
        let key = KeyRef { release: &release.release, generation: release.generation, public_path };
        if let Some(head) = self.0.get(&key) {
            return head;
        }
        let head = Arc::new(Head::of_file(release, file, may_compress));
        let key =
            Key { release: release.release.clone(), generation: release.generation, public_path: public_path.into() };
        self.0.insert(key, Arc::clone(&head));
        head
    }
}

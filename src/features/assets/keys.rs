//! Keys, metadata and the paths made of them (contract 04 §6.1-6.2). Pure.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::engines::blobs::Sha256Digest;

const MAX_KEY_BYTES: usize = 1024;
const MAX_METADATA_BYTES: usize = 4096;
/// First segments the platform keeps for itself.
const RESERVED: [&str; 3] = ["_cas", "_staging", "_run402"];
/// Generation of the image variants' encoding.
pub(super) const VARIANT_SPEC: &str = "v1";
/// Hexadecimal digits of a digest in an immutable path; more when two versions of a key share them.
pub(super) const SUFFIX: usize = 8;
pub(super) const LONG_SUFFIX: usize = 16;

/// What RFC 3986 leaves alone in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// 400 `INVALID_ASSET_KEY` when broken (contract 04 §6.1); the message only, so that each caller names its field.
pub fn validate_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err("An asset key has 1 to 1024 bytes.");
    }
    if key.chars().any(|c| c.is_control() || c == '\\') {
        return Err("An asset key may not contain control characters or backslashes.");
    }
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("An asset key may not begin or end with a slash or contain empty, . or .. segments.");
    }
    if RESERVED.iter().any(|reserved| key.starts_with(reserved)) {
        return Err("Asset keys that begin with _cas, _staging or _run402 are reserved.");
    }
    Ok(())
}

/// Checks and normalises metadata (null leaves dropped): `INVALID_ASSET_METADATA`. None when nothing is left.
pub fn validate_metadata(metadata: &Value) -> Result<Option<Value>, &'static str> {
    let entries = match metadata {
        Value::Null => return Ok(None),
        Value::Object(entries) => entries,
        _ => return Err("Asset metadata must be a flat JSON object."),
    };
    let mut kept = Map::new();
    for (key, value) in entries {
        if key.is_empty() {
            return Err("Asset metadata may not have an empty key.");
        }
        let leaf = match value {
            Value::Null => continue,
            Value::String(_) | Value::Bool(_) | Value::Number(_) => true,
            Value::Array(items) => items.iter().all(Value::is_string),
            Value::Object(_) => false,
        };
        // Postgres stores every character but this one.
        if !leaf || key.contains('\0') || value.to_string().contains("\\u0000") {
            return Err("Asset metadata values must be strings, numbers, booleans or arrays of strings.");
        }
        kept.insert(key.clone(), value.clone());
    }
    let kept = Value::Object(kept);
    if kept.to_string().len() > MAX_METADATA_BYTES {
        return Err("Asset metadata may have at most 4096 bytes of JSON.");
    }
    Ok((kept != Value::Object(Map::new())).then_some(kept))
}

/// The key without its extension, and the extension with its dot. A leading dot does not count.
fn split_extension(key: &str) -> (&str, &str) {
    let name_at = key.rfind('/').map_or(0, |slash| slash + 1);
    match key[name_at..].rfind('.') {
        Some(dot) if dot > 0 => key.split_at(name_at + dot),
        _ => (key, ""),
    }
}

/// Path of the immutable URL, below `/_blob/`.
pub(super) fn immutable_path(key: &str, digest: &Sha256Digest, digits: usize) -> String {
    let (stem, extension) = split_extension(key);
    format!("{stem}-{}{extension}", &digest.to_string()[..digits])
}

/// Path of an image variant, below `/_blob/`.
pub(super) fn variant_path(key: &str, source: &Sha256Digest, kind: &str, variant: &Sha256Digest) -> String {
    let (stem, _) = split_extension(key);
    let short = |digest: &Sha256Digest| digest.to_string()[..SUFFIX].to_owned();
    format!("{stem}-{}-{VARIANT_SPEC}-{kind}-{}.webp", short(source), short(variant))
}

/// A key or path as it stands in a URL.
pub(super) fn encode_path(path: &str) -> String {
    path.split('/').map(|segment| utf8_percent_encode(segment, SEGMENT).to_string()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys() {
        for key in
            ["a", "img/logo.png", ".well-known/x", "grüße/ß.txt", "a b", "a%2fb", "x/_cas", "a..b", &"k".repeat(1024)]
        {
            assert_eq!(validate_key(key), Ok(()), "{key}");
        }
        for key in [
            "",
            "/a",
            "a/",
            "a//b",
            "../x",
            "a/../b",
            "./a",
            "a\\b",
            "a\nb",
            "a\0",
            "_cas/x",
            "_staging/x",
            "_run402",
            &"k".repeat(1025),
        ] {
            assert!(validate_key(key).is_err(), "{key}");
        }
    }

    #[test]
    fn metadata_is_flat_small_and_without_nulls() {
        let cases = [
            (json!(null), Ok(None)),
            (json!({}), Ok(None)),
            (json!({"a": null}), Ok(None)),
            (
                json!({"a": "x", "b": 1.5, "c": true, "d": ["x"], "e": null}),
                Ok(Some(json!({"a": "x", "b": 1.5, "c": true, "d": ["x"]}))),
            ),
            (json!([]), Err(())),
            (json!("x"), Err(())),
            (json!({"": 1}), Err(())),
            (json!({"a": {}}), Err(())),
            (json!({"a": [1]}), Err(())),
            (json!({"a": "\u{0}"}), Err(())),
            (json!({"a": "x".repeat(4096)}), Err(())),
        ];
        for (metadata, expected) in cases {
            assert_eq!(validate_metadata(&metadata).map_err(|_| ()), expected, "{metadata}");
        }
    }

    #[test]
    fn paths() {
        let digest = Sha256Digest::of(b"");
        for (key, expected) in [
            ("img/logo.png", "img/logo-e3b0c442.png"),
            ("img/logo", "img/logo-e3b0c442"),
            ("a.b/c", "a.b/c-e3b0c442"),
            (".env", ".env-e3b0c442"),
            ("x/.env", "x/.env-e3b0c442"),
            ("a.tar.gz", "a.tar-e3b0c442.gz"),
        ] {
            assert_eq!(immutable_path(key, &digest, SUFFIX), expected);
        }
        assert_eq!(immutable_path("a.js", &digest, LONG_SUFFIX), "a-e3b0c44298fc1c14.js");
        assert_eq!(variant_path("img/a.jpg", &digest, "thumb", &digest), "img/a-e3b0c442-v1-thumb-e3b0c442.webp");
        assert_eq!(encode_path("a b/ü%?#.txt"), "a%20b/%C3%BC%25%3F%23.txt");
    }
}

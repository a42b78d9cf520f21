//! Paths: what a browser asks for, made canonical, and the names of files inside a release.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Longest path of a file in a release and of a public path, in bytes (contract 03 §4.3).
pub const MAX_PATH_BYTES: usize = 1024;

/// First segments that no site file, public path or route may have: the platform answers there (contract 04 §1.7).
const RESERVED_SEGMENTS: [&str; 3] = ["_blob", "_cas", "_run402"];

/// Why a request path is refused with 400 (contract 04 §2.3, in the order of the checks).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("The path must start with a slash.")]
    MustStartWithSlash,
    #[error("The path must not contain a backslash.")]
    RawBackslash,
    #[error("The path must not contain control characters.")]
    ControlCharacter,
    #[error("The path must not contain two slashes in a row.")]
    DuplicateSlash,
    #[error("The path must not contain a percent-encoded slash or backslash.")]
    EncodedSeparator,
    #[error("The path has a malformed percent escape or is not UTF-8.")]
    InvalidPercentEncoding,
    #[error("The path is percent-encoded twice.")]
    DoubleDecodeTraversal,
    #[error("The path must not contain `.` or `..` segments.")]
    DotSegment,
    #[error("Paths below /_cas and /_run402 are not public.")]
    InternalNamespace,
}

impl PathError {
    /// The word in the `code` of the answer, and the `error_code` of resolve.
    pub const fn code(self) -> &'static str {
        match self {
            Self::MustStartWithSlash => "PATH_MUST_START_WITH_SLASH",
            Self::RawBackslash => "PATH_RAW_BACKSLASH",
            Self::ControlCharacter => "PATH_CONTROL_CHARACTER",
            Self::DuplicateSlash => "PATH_DUPLICATE_SLASH",
            Self::EncodedSeparator => "PATH_ENCODED_SEPARATOR",
            Self::InvalidPercentEncoding => "PATH_INVALID_PERCENT_ENCODING",
            Self::DoubleDecodeTraversal => "PATH_DOUBLE_DECODE_TRAVERSAL",
            Self::DotSegment => "PATH_DOT_SEGMENT",
            Self::InternalNamespace => "PATH_INTERNAL_NAMESPACE",
        }
    }
}

/// The canonical form of a raw request target: cut at the first `?` or `#`, percent-decoded once, in Unicode NFC.
/// Canonical paths are compared byte by byte. Borrows when there was nothing to decode.
///
/// # Errors
/// The first failing check of contract 04 §2.3.
pub fn canonicalise(raw_target: &str) -> Result<Cow<'_, str>, PathError> {
    let path = canonical_form(raw_target)?;
    match first_segment(&path) {
        "_cas" | "_run402" => Err(PathError::InternalNamespace),
        _ => Ok(path),
    }
}

/// As [`canonicalise`] without its last check, for what follows a reserved prefix such as `/_blob` (the remainder
/// with its leading slash).
///
/// # Errors
/// The first failing check of 1 to 9 of contract 04 §2.3.
pub fn canonical_form(raw_target: &str) -> Result<Cow<'_, str>, PathError> {
    let raw = raw_target.split(['?', '#']).next().unwrap_or("");
    if !raw.starts_with('/') {
        return Err(PathError::MustStartWithSlash);
    }
    if raw.contains('\\') {
        return Err(PathError::RawBackslash);
    }
    if raw.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(PathError::ControlCharacter);
    }
    if raw.contains("//") {
        return Err(PathError::DuplicateSlash);
    }
    let decoded = decode_once(raw)?;
    if has_dot_segment(&decoded) {
        return Err(PathError::DotSegment);
    }
    Ok(match decoded {
        Cow::Borrowed(text) if is_nfc(text) => Cow::Borrowed(text),
        Cow::Owned(text) if is_nfc(&text) => Cow::Owned(text),
        text => Cow::Owned(text.nfc().collect()),
    })
}

/// Checks 5 to 8.
fn decode_once(raw: &str) -> Result<Cow<'_, str>, PathError> {
    if !raw.contains('%') {
        return if raw.chars().any(char::is_control) { Err(PathError::ControlCharacter) } else { Ok(raw.into()) };
    }
    if has_escape(raw, &["2f", "5c"]) {
        return Err(PathError::EncodedSeparator);
    }
    if !escapes_are_well_formed(raw) {
        return Err(PathError::InvalidPercentEncoding);
    }
    let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| PathError::InvalidPercentEncoding)?;
    if decoded.chars().any(char::is_control) {
        return Err(PathError::ControlCharacter);
    }
    if has_escape(&decoded, &["2e", "2f", "5c"]) {
        return Err(PathError::DoubleDecodeTraversal);
    }
    Ok(decoded)
}

fn has_escape(text: &str, escapes: &[&str]) -> bool {
    text.match_indices('%').any(|(at, _)| {
        text.get(at + 1..at + 3).is_some_and(|digits| escapes.iter().any(|escape| digits.eq_ignore_ascii_case(escape)))
    })
}

fn escapes_are_well_formed(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices('%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn has_dot_segment(path: &str) -> bool {
    path.split('/').any(|segment| matches!(segment, "." | ".."))
}

fn is_nfc(text: &str) -> bool {
    text.is_ascii()
        || match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => true,
            IsNormalized::No => false,
            IsNormalized::Maybe => text.chars().eq(text.nfc()),
        }
}

fn first_segment(path: &str) -> &str {
    path[1..].split('/').next().unwrap_or("")
}

/// Whether a canonical path or pattern lies where the platform itself answers (contract 04 §1.7).
pub fn is_reserved(path: &str) -> bool {
    RESERVED_SEGMENTS.contains(&path.trim_start_matches('/').split('/').next().unwrap_or(""))
}

/// The rules of a relative file path, without those of a namespace (contract 03 §4.3 `site` paths).
///
/// # Errors
/// The sentence of the broken rule.
pub fn check_file_path(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("A file path must not be empty.");
    }
    if path.len() > MAX_PATH_BYTES {
        return Err("A file path has at most 1024 bytes.");
    }
    if path.starts_with('/') {
        return Err("A file path is relative: drop the leading slash.");
    }
    if path.ends_with('/') {
        return Err("A file path names a file: drop the trailing slash.");
    }
    if path.contains(['\\', '?', '#']) {
        return Err("A file path must not contain a backslash, `?` or `#`.");
    }
    if path.chars().any(char::is_control) {
        return Err("A file path must not contain control characters.");
    }
    if path.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("A file path must not contain empty, `.` or `..` segments.");
    }
    if !is_nfc(path) {
        return Err("A file path must be in Unicode normalisation form C.");
    }
    Ok(())
}

/// The rules of a path of a site file: those of a file path, and not where the platform answers or where an adapter
/// keeps code that must not become public.
///
/// # Errors
/// The sentence of the broken rule.
pub fn check_site_path(path: &str) -> Result<(), &'static str> {
    check_file_path(path)?;
    if path == "run402/adapter.json" || path.starts_with("run402/server/") {
        return Err("Server code of the Astro adapter must not become public files: deploy it as a function.");
    }
    if is_reserved(path) {
        return Err("The directories _blob, _cas and _run402 belong to the platform.");
    }
    Ok(())
}

/// The rules of a key of `site.public_paths.replace` (contract 04 §2.2).
///
/// # Errors
/// The sentence of the broken rule.
pub fn check_public_path(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PATH_BYTES {
        return Err("A public path has at most 1024 bytes.");
    }
    if path.contains(['?', '#', '*']) {
        return Err("A public path must not contain `?`, `#` or `*`.");
    }
    match canonicalise(path) {
        Ok(canonical) if canonical == path && !is_reserved(path) => Ok(()),
        Ok(_) if is_reserved(path) => Err("Paths below /_blob belong to the platform."),
        Ok(_) => Err("A public path must be canonical: decoded, and in Unicode normalisation form C."),
        Err(PathError::MustStartWithSlash) => Err("A public path starts with a slash."),
        Err(PathError::InvalidPercentEncoding) => Err("A public path is written decoded, without percent escapes."),
        Err(_) => Err("A public path must be canonical: no empty or dot segments, escapes or internal prefixes."),
    }
}

/// The extension table of contract 04 §2.9, for files whose entry names no type.
pub fn content_type_of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "md" => "text/markdown; charset=utf-8",
        "xml" => "application/xml",
        "pdf" => "application/pdf",
        "wasm" => "application/wasm",
        "sql" => "application/sql",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "avif" => "image/avif",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "ttf" => "font/ttf",
        "otf" => "font/otf",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_become_canonical() {
        let cases = [
            ("/", "/"),
            ("/a/b?x=1#y", "/a/b"),
            ("/a#b?c", "/a"),
            ("/a%20b", "/a b"),
            ("/%61", "/a"),
            ("/.well-known/x.json", "/.well-known/x.json"),
            ("/caf%C3%A9", "/caf\u{e9}"),
            ("/cafe\u{301}", "/caf\u{e9}"),
            ("/100%25", "/100%"),
            ("/_casual", "/_casual"),
            ("/a/_cas", "/a/_cas"),
            ("/_blob/x", "/_blob/x"),
            ("/...", "/..."),
        ];
        for (raw, canonical) in cases {
            assert_eq!(canonicalise(raw).as_deref(), Ok(canonical), "{raw:?}");
        }
    }

    #[test]
    fn the_first_failing_check_names_the_refusal() {
        let cases = [
            ("", "PATH_MUST_START_WITH_SLASH"),
            ("a", "PATH_MUST_START_WITH_SLASH"),
            ("?/a", "PATH_MUST_START_WITH_SLASH"),
            ("http://h/a", "PATH_MUST_START_WITH_SLASH"),
            ("/a\\b//", "PATH_RAW_BACKSLASH"),
            ("/a\u{0}", "PATH_CONTROL_CHARACTER"),
            ("/a\u{7f}//", "PATH_CONTROL_CHARACTER"),
            ("//a", "PATH_DUPLICATE_SLASH"),
            ("/a//%2f", "PATH_DUPLICATE_SLASH"),
            ("/a%2Fb", "PATH_ENCODED_SEPARATOR"),
            ("/a%5cb%zz", "PATH_ENCODED_SEPARATOR"),
            ("/%", "PATH_INVALID_PERCENT_ENCODING"),
            ("/%4", "PATH_INVALID_PERCENT_ENCODING"),
            ("/%zz", "PATH_INVALID_PERCENT_ENCODING"),
            ("/%ff", "PATH_INVALID_PERCENT_ENCODING"),
            ("/%é", "PATH_INVALID_PERCENT_ENCODING"),
            ("/a%00", "PATH_CONTROL_CHARACTER"),
            ("/a%C2%85", "PATH_CONTROL_CHARACTER"),
            ("/%252e%252e/x", "PATH_DOUBLE_DECODE_TRAVERSAL"),
            ("/%252Fx", "PATH_DOUBLE_DECODE_TRAVERSAL"),
            ("/%255c", "PATH_DOUBLE_DECODE_TRAVERSAL"),
            ("/a/../b", "PATH_DOT_SEGMENT"),
            ("/.", "PATH_DOT_SEGMENT"),
            ("/%2e%2e/b", "PATH_DOT_SEGMENT"),
            ("/a/.%2E", "PATH_DOT_SEGMENT"),
            ("/_cas", "PATH_INTERNAL_NAMESPACE"),
            ("/_run402/x", "PATH_INTERNAL_NAMESPACE"),
            ("/%5Fcas/x", "PATH_INTERNAL_NAMESPACE"),
        ];
        for (raw, code) in cases {
            assert_eq!(canonicalise(raw).map_err(PathError::code), Err(code), "{raw:?}");
        }
    }

    #[test]
    fn file_paths_are_relative_clean_and_normalised() {
        for path in ["a", "index.html", "css/app.css", ".well-known/x", "a b/c%d", "caf\u{e9}.html", "..."] {
            assert_eq!(check_site_path(path), Ok(()), "{path:?}");
        }
        let long = "a".repeat(MAX_PATH_BYTES + 1);
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            "./a",
            "a/..",
            "../x",
            "a\\b",
            "a?b",
            "a#b",
            "a\u{0}b",
            "a\u{85}",
            "cafe\u{301}",
            "run402/adapter.json",
            "run402/server/entry.mjs",
            "_cas/x",
            "_run402/x",
            "_blob/x",
            &long,
        ] {
            assert!(check_site_path(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn public_paths_are_canonical() {
        for path in ["/", "/events", "/events/", "/a/b.html", "/caf\u{e9}", "/a b"] {
            assert_eq!(check_public_path(path), Ok(()), "{path:?}");
        }
        for path in [
            "",
            "events",
            "/a?b",
            "/a#",
            "/a/*",
            "/a//b",
            "/a/../b",
            "/%61",
            "/a%",
            "/_cas/x",
            "/_blob/x",
            "/_run402",
            "/cafe\u{301}",
        ] {
            assert!(check_public_path(path).is_err(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn no_target_panics_and_canonical_paths_are_clean(raw in "(/|%2e|%2f|%25|%|\\.|\\\\|[a-zé\u{301}\u{0}?#_]|\\PC){0,24}") {
            if let Ok(path) = canonicalise(&raw) {
                prop_assert!(path.starts_with('/'));
                prop_assert!(!path.contains("//") && !path.contains('\\'));
                prop_assert!(!path.split('/').any(|segment| segment == "." || segment == ".."));
                if !path.contains(['%', '?', '#']) {
                    prop_assert_eq!(canonicalise(&path).unwrap(), path.clone());
                }
            }
        }

        #[test]
        fn a_good_site_path_is_reachable_under_its_own_name(path in "[a-z%/. é_-]{1,20}") {
            if check_site_path(&path).is_ok() {
                let encoded = percent_encoding::utf8_percent_encode(&path, percent_encoding::CONTROLS);
                if !path.contains('%') {
                    let target = format!("/{encoded}");
                    let canonical = canonicalise(&target).unwrap();
                    prop_assert_eq!(&canonical[1..], &path[..]);
                }
            }
        }
    }
}

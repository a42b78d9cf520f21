//! URLs and character encodings, which would be slow in the guest.

use bytes::Bytes;
use encoding_rs::{Encoding, UTF_8};
use serde::Deserialize;
use url::{Url, quirks};

use super::{frame::unpack, services::ServiceError};

#[derive(Deserialize)]
struct ParseUrl {
    input: String,
    base: Option<String>,
}

/// The parts of a URL, one a line in the order of web/guest/src/web/url.ts; nothing when it is no URL.
fn parts(url: &Url) -> Vec<u8> {
    [
        quirks::href(url),
        quirks::protocol(url),
        quirks::username(url),
        quirks::password(url),
        quirks::host(url),
        quirks::hostname(url),
        quirks::port(url),
        quirks::pathname(url),
        quirks::search(url),
        quirks::hash(url),
        &quirks::origin(url),
    ]
    .join("\n")
    .into_bytes()
}

pub(super) fn parse_url(payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (ParseUrl { input, base }, _) = unpack(payload)?;
    let parsed = match base {
        Some(base) => Url::parse(&base).and_then(|base| base.join(&input)),
        None => Url::parse(&input),
    };
    Ok(parsed.map(|url| parts(&url)).unwrap_or_default())
}

#[derive(Deserialize)]
struct SetUrl {
    input: String,
    value: String,
}

/// A setter of `URL`; one that does not apply leaves the URL alone, and only a bad `href` is an error.
pub(super) fn set_url(part: i32, payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (SetUrl { input, value }, _) = unpack(payload)?;
    let Ok(mut url) = Url::parse(&input) else { return Ok(Vec::new()) };
    let _ = match part {
        0 => return Ok(Url::parse(&value).map(|url| parts(&url)).unwrap_or_default()),
        1 => quirks::set_protocol(&mut url, &value),
        2 => quirks::set_username(&mut url, &value),
        3 => quirks::set_password(&mut url, &value),
        4 => quirks::set_host(&mut url, &value),
        5 => quirks::set_hostname(&mut url, &value),
        6 => quirks::set_port(&mut url, &value),
        7 => {
            quirks::set_pathname(&mut url, &value);
            Ok(())
        }
        8 => {
            quirks::set_search(&mut url, &value);
            Ok(())
        }
        9 => {
            quirks::set_hash(&mut url, &value);
            Ok(())
        }
        _ => Err(()),
    };
    Ok(parts(&url))
}

fn encoding(label: &str) -> Result<&'static Encoding, ServiceError> {
    Encoding::for_label(label.as_bytes())
        .filter(|encoding| encoding.name() != "replacement")
        .ok_or_else(|| ServiceError::named("RangeError", format!("The encoding '{label}' is not known")))
}

/// The standard's name for a label.
pub(super) fn label(payload: &[u8]) -> Result<Vec<u8>, ServiceError> {
    let label = String::from_utf8_lossy(payload);
    Ok(encoding(&label)?.name().to_ascii_lowercase().into_bytes())
}

#[derive(Deserialize)]
struct Decode {
    label: String,
    #[serde(default)]
    fatal: bool,
    /// Whether a byte order mark stays.
    #[serde(default)]
    bom: bool,
}

pub(super) fn decode(payload: Vec<u8>) -> Result<Vec<u8>, ServiceError> {
    let (Decode { label, fatal, bom }, parts) = unpack(payload)?;
    let bytes = parts.into_iter().next().unwrap_or(Bytes::new());
    let encoding = if label == "utf-8" { UTF_8 } else { encoding(&label)? };
    let (text, broken) =
        if bom { encoding.decode_without_bom_handling(&bytes) } else { encoding.decode_with_bom_removal(&bytes) };
    if fatal && broken {
        return Err(ServiceError::named("TypeError", format!("The encoded data was not valid for encoding {label}"))
            .with_code("ERR_ENCODING_INVALID_ENCODED_DATA"));
    }
    Ok(text.into_owned().into_bytes())
}

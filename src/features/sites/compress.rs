//! Compressed forms of files. Pure and deterministic: CPU work, to be run off the reactor.

use std::io::{self, Write};

use bytes::Bytes;

use super::accept::Encoding;

/// Smaller files are not worth it (contract 04 §2.8).
const MIN_BYTES: u64 = 1024;
/// Above this size the slower settings cost more time than their bytes are worth.
const SLOW_BELOW: usize = 512 * 1024;

/// Whether a file of this type and size is compressed when the client accepts it.
pub(super) fn is_compressible(content_type: &str, size: u64) -> bool {
    let essence = content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    size >= MIN_BYTES
        && (essence.starts_with("text/")
            || essence.ends_with("+json")
            || essence.ends_with("+xml")
            || matches!(
                essence.as_str(),
                "application/json"
                    | "application/javascript"
                    | "application/x-javascript"
                    | "application/xml"
                    | "application/wasm"
                    | "application/sql"
                    | "image/bmp"
                    | "font/ttf"
                    | "font/otf"
            ))
}

/// The compressed form; `None` when it would not be smaller.
pub(super) fn compress(encoding: Encoding, plain: &[u8]) -> Option<Bytes> {
    let packed = match encoding {
        Encoding::Brotli => brotli_of(plain),
        Encoding::Zstd => zstd_of(plain),
        Encoding::Gzip => gzip_of(plain),
    };
    match packed {
        Ok(packed) if packed.len() < plain.len() => Some(packed.into()),
        Ok(_) => None,
        // Writing into memory does not fail; if it did, the plain file is right as well.
        Err(error) => {
            tracing::warn!(%error, encoding = encoding.name(), "a file could not be compressed");
            None
        }
    }
}

fn brotli_of(plain: &[u8]) -> io::Result<Vec<u8>> {
    let (quality, window) = if plain.len() <= SLOW_BELOW { (9, 22) } else { (6, 22) };
    let mut writer = brotli::CompressorWriter::new(Vec::with_capacity(plain.len() / 3), 64 * 1024, quality, window);
    writer.write_all(plain)?;
    Ok(writer.into_inner())
}

fn zstd_of(plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = if plain.len() <= SLOW_BELOW { 15 } else { 9 };
    zstd::bulk::compress(plain, level)
}

fn gzip_of(plain: &[u8]) -> io::Result<Vec<u8>> {
    let level = if plain.len() <= SLOW_BELOW { 9 } else { 6 };
    let mut writer =
        flate2::write::GzEncoder::new(Vec::with_capacity(plain.len() / 3), flate2::Compression::new(level));
    writer.write_all(plain)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unpack(encoding: Encoding, packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match encoding {
            Encoding::Brotli => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain).unwrap(),
            Encoding::Zstd => zstd::stream::Decoder::new(packed).unwrap().read_to_end(&mut plain).unwrap(),
            Encoding::Gzip => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain).unwrap(),
        };
        plain
    }

    #[test]
    fn every_form_unpacks_to_the_file() {
        let text = "function add(a, b) { return a + b }\n".repeat(400);
        for encoding in Encoding::ALL {
            let packed = compress(encoding, text.as_bytes()).unwrap();
            assert!(packed.len() < text.len() / 10, "{encoding:?}: {}", packed.len());
            assert_eq!(unpack(encoding, &packed), text.as_bytes(), "{encoding:?}");
            assert_eq!(compress(encoding, text.as_bytes()).unwrap(), packed, "the same bytes every time");
        }
    }

    #[test]
    fn noise_stays_as_it_is() {
        let noise: Vec<u8> = (0..4096).map(|_| rand::random()).collect();
        for encoding in Encoding::ALL {
            assert_eq!(compress(encoding, &noise), None, "{encoding:?}");
        }
    }

    #[test]
    fn text_is_compressible_and_pictures_are_not() {
        for content_type in [
            "text/html; charset=utf-8",
            "TEXT/CSS",
            "application/json",
            "application/manifest+json",
            "image/svg+xml",
            "text/javascript",
            "application/wasm",
            "application/xml",
        ] {
            assert!(is_compressible(content_type, 1024), "{content_type}");
            assert!(!is_compressible(content_type, 1023), "{content_type}");
        }
        for content_type in ["image/png", "application/octet-stream", "font/woff2", "", "video/mp4"] {
            assert!(!is_compressible(content_type, 4096), "{content_type}");
        }
    }
}

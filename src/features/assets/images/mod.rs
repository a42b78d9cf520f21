//! Looking into images (contract 04 §6.5): facts, a blurhash, and WebP variants. Blocking and pure; the same bytes give
//! the same results.
//!
//! Everything about an image is hostile: its header is checked before anything is decoded, decoders work under a limit
//! of memory, and the caller's deadline is looked at between steps. Decoders are Rust; variants are encoded as lossy
//! WebP by libwebp, which only ever sees our own pixels, because the pure Rust encoder is lossless and its pictures
//! several times as large.

mod container;
mod exif;
mod render;

use std::{io::Cursor, time::Instant};

use bytes::Bytes;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, metadata::Orientation};
use serde_json::{Value, json};

use super::error::AssetError;
use container::Kind;

const MAX_PIXELS: u64 = 40_000_000;
const MAX_SIDE: u32 = 12_000;
/// What decoding one image may allocate.
const MAX_DECODED_BYTES: u64 = 256 * 1024 * 1024;

/// A WebP picture made of an image.
pub(super) struct Variant {
    /// `thumb`, `medium` or `large`
    pub kind: &'static str,
    pub width: u32,
    pub height: u32,
    pub bytes: Bytes,
}

/// What was found out about an image.
pub(super) struct Analysis {
    /// Upright, in pixels.
    pub size: Option<(u32, u32)>,
    /// `image_format` on the wire.
    pub format: Option<&'static str>,
    /// `{blurhash, blurhash_data_url, info, exif, complete}`
    pub facts: Value,
    pub variants: Vec<Variant>,
}

/// # Errors
/// [`AssetError::ImageDecode`], [`AssetError::ImageTooLarge`], [`AssetError::ImageTimeout`].
pub(super) fn analyse(bytes: &[u8], deadline: Instant) -> Result<Analysis, AssetError> {
    match container::kind(bytes) {
        Some(Kind::Raster(format)) => raster(bytes, format, deadline),
        Some(Kind::Svg) => {
            let size = container::svg_size(bytes);
            Ok(unrendered(size, "svg"))
        }
        Some(Kind::Avif) => {
            let size = container::avif_size(bytes).ok_or(AssetError::ImageDecode(CORRUPT))?;
            check_size(size.0, size.1)?;
            Ok(unrendered(Some(size), "avif"))
        }
        Some(Kind::Heic) => Err(AssetError::ImageDecode(
            "This box cannot decode HEIC images. Convert the image to JPEG, PNG or WebP and upload that.",
        )),
        None => Err(AssetError::ImageDecode(
            "These bytes are no image this box knows (JPEG, PNG, GIF, WebP, TIFF, BMP, AVIF, SVG).",
        )),
    }
}

const CORRUPT: &str = "The image is damaged and cannot be decoded.";

/// An image whose pixels are not looked at.
fn unrendered(size: Option<(u32, u32)>, format: &'static str) -> Analysis {
    let facts = json!({"blurhash": null, "blurhash_data_url": null, "info": null, "exif": null, "complete": false});
    Analysis { size, format: Some(format), facts, variants: Vec::new() }
}

fn check_size(width: u32, height: u32) -> Result<(), AssetError> {
    if width == 0 || height == 0 {
        return Err(AssetError::ImageDecode(CORRUPT));
    }
    if width > MAX_SIDE || height > MAX_SIDE || u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(AssetError::ImageTooLarge);
    }
    Ok(())
}

fn raster(bytes: &[u8], format: ImageFormat, deadline: Instant) -> Result<Analysis, AssetError> {
    let mut decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(refuse)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    decoder.set_limits(limits).map_err(refuse)?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let colour = decoder.original_color_type();
    let has_alpha = decoder.color_type().has_alpha();
    let picture = DynamicImage::from_decoder(decoder).map_err(refuse)?;
    in_time(deadline)?;

    let frames = container::frames(bytes, format);
    let blurhash = render::blurhash(&picture, orientation);
    let (upright_width, upright_height) =
        if render::is_turned(orientation) { (height, width) } else { (width, height) };
    let facts = json!({
        "blurhash": blurhash,
        "blurhash_data_url": blurhash.as_deref().and_then(render::blurhash_picture),
        "info": {
            "has_alpha": has_alpha,
            "color_space": "srgb",
            "animated": frames > 1,
            "frame_count": frames,
            "bit_depth": u32::from(colour.bits_per_pixel()) / u32::from(colour.channel_count().max(1)),
            "orientation": orientation.to_exif(),
        },
        "exif": exif::read(bytes),
        "complete": true,
    });
    in_time(deadline)?;
    let variants = render::variants(&picture, has_alpha, orientation, deadline)?;
    Ok(Analysis { size: Some((upright_width, upright_height)), format: container::name(format), facts, variants })
}

fn in_time(deadline: Instant) -> Result<(), AssetError> {
    if Instant::now() > deadline { Err(AssetError::ImageTimeout) } else { Ok(()) }
}

fn refuse(error: ImageError) -> AssetError {
    match error {
        ImageError::Limits(_) => AssetError::ImageTooLarge,
        _ => AssetError::ImageDecode(CORRUPT),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use image::{Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn picture(width: u32, height: u32) -> DynamicImage {
        let colour = |x: u32, y: u32| Rgb([x as u8, y as u8, (x ^ y) as u8]);
        RgbImage::from_fn(width, height, colour).into()
    }

    fn encoded(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn a_photograph_has_three_variants_that_are_never_larger_than_itself() {
        let bytes = encoded(&picture(640, 480), ImageFormat::Jpeg);
        let found = analyse(&bytes, soon()).unwrap();
        assert_eq!((found.size, found.format), (Some((640, 480)), Some("jpeg")));
        let sizes: Vec<_> = found.variants.iter().map(|v| (v.kind, v.width, v.height)).collect();
        assert_eq!(sizes, [("thumb", 320, 240), ("medium", 640, 480), ("large", 640, 480)]);
        for variant in &found.variants {
            let decoded = image::load_from_memory_with_format(&variant.bytes, ImageFormat::WebP).unwrap();
            assert_eq!((decoded.width(), decoded.height()), (variant.width, variant.height));
        }
        assert_eq!(found.facts["blurhash"].as_str().unwrap().chars().count(), 28);
        assert!(found.facts["blurhash_data_url"].as_str().unwrap().starts_with("data:image/png;base64,"));
        assert_eq!(
            found.facts["info"],
            json!({"has_alpha": false, "color_space": "srgb", "animated": false,
            "frame_count": 1, "bit_depth": 8, "orientation": 1})
        );
        let again = analyse(&bytes, soon()).unwrap();
        assert!(found.variants.iter().zip(&again.variants).all(|(a, b)| a.bytes == b.bytes), "deterministic");
        assert_eq!(found.facts, again.facts);
    }

    #[test]
    fn small_images_have_no_variants() {
        for (width, height) in [(100, 100), (319, 1000), (1, 1)] {
            let found = analyse(&encoded(&picture(width, height), ImageFormat::Png), soon()).unwrap();
            assert_eq!((found.size, found.format, found.variants.len()), (Some((width, height)), Some("png"), 0));
            assert!(found.facts["blurhash"].is_string());
        }
    }

    #[test]
    fn every_format_is_known_by_its_bytes() {
        for (format, name) in [
            (ImageFormat::Png, Some("png")),
            (ImageFormat::Jpeg, Some("jpeg")),
            (ImageFormat::Gif, None),
            (ImageFormat::WebP, Some("webp")),
            (ImageFormat::Tiff, Some("tiff")),
            (ImageFormat::Bmp, Some("bmp")),
        ] {
            let found = analyse(&encoded(&picture(40, 30), format), soon()).unwrap();
            assert_eq!((found.size, found.format), (Some((40, 30)), name), "{format:?}");
        }
    }

    #[test]
    fn transparency_survives() {
        let clear: DynamicImage = RgbaImage::from_pixel(400, 400, Rgba([1, 2, 3, 0])).into();
        let found = analyse(&encoded(&clear, ImageFormat::Png), soon()).unwrap();
        assert_eq!(found.facts["info"]["has_alpha"], true);
        let thumb = image::load_from_memory(&found.variants[0].bytes).unwrap();
        assert_eq!(thumb.to_rgba8().get_pixel(5, 5).0[3], 0);
    }

    #[test]
    fn what_is_no_image_or_too_large_is_refused_by_its_header() {
        let mut huge = encoded(&picture(10, 10), ImageFormat::Png);
        // Width in the header chunk; its checksum is mended.
        huge[16..20].copy_from_slice(&20_000_u32.to_be_bytes());
        let crc = crc(&huge[12..29]);
        huge[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(analyse(&huge, soon()), Err(AssetError::ImageTooLarge)));
        let whole = encoded(&picture(400, 400), ImageFormat::Png);
        for bytes in
            [&b"hello, world"[..], b"", b"\x89PNG\r\n\x1a\n", &whole[..200], b"\xff\xd8\xff\xe0\0\x10JFIF", b"GIF89a"]
        {
            assert!(matches!(analyse(bytes, soon()), Err(AssetError::ImageDecode(_))), "{bytes:?}");
        }
        let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic";
        let Err(AssetError::ImageDecode(message)) = analyse(heic, soon()) else { panic!("HEIC is decoded?") };
        assert!(message.contains("HEIC"));
    }

    /// CRC-32 as PNG has it.
    fn crc(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for byte in bytes {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }

    #[test]
    fn an_image_that_takes_too_long_is_given_up() {
        let bytes = encoded(&picture(400, 400), ImageFormat::Png);
        let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap();
        assert!(matches!(analyse(&bytes, past), Err(AssetError::ImageTimeout)));
    }

    #[test]
    fn a_turned_photograph_is_measured_and_shown_upright() {
        let mut bytes = encoded(&picture(400, 600), ImageFormat::Jpeg);
        // APP1 with a TIFF header and one entry: orientation 6 (turn right).
        let exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let mut segment = vec![0xff, 0xe1];
        segment.extend_from_slice(&u16::try_from(exif.len() + 2).unwrap().to_be_bytes());
        segment.extend_from_slice(exif);
        bytes.splice(2..2, segment);
        let found = analyse(&bytes, soon()).unwrap();
        assert_eq!(found.size, Some((600, 400)));
        assert_eq!(found.facts["info"]["orientation"], 6);
        assert_eq!(found.facts["exif"]["orientation"], 6);
        let sizes: Vec<_> = found.variants.iter().map(|v| (v.width, v.height)).collect();
        assert_eq!(sizes, [(320, 213), (600, 400), (600, 400)]);
        assert!(exif::read(&found.variants[0].bytes).is_null(), "variants carry no metadata");
    }

    #[test]
    fn an_svg_has_the_size_it_says() {
        for (svg, size) in [
            (&b"<svg width=\"120\" height='80px'/>"[..], Some((120, 80))),
            (
                b"\xef\xbb\xbf<?xml version=\"1.0\"?>\n<!-- <svg width=\"1\"> --><svg viewBox=\"0 0 24 12.4\">",
                Some((24, 12)),
            ),
            (b"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100%\" height=\"50%\">", None),
            (b"<svg width=\"-1\" height=\"1e99\">", None),
        ] {
            let found = analyse(svg, soon()).unwrap();
            assert_eq!((found.size, found.format), (size, Some("svg")), "{}", String::from_utf8_lossy(svg));
        }
        assert!(analyse(b"<html><svg></svg></html>", soon()).is_err());
    }
}

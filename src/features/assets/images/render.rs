//! Smaller pictures of a decoded image.

use std::time::Instant;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use image::{
    DynamicImage, ExtendedColorType, ImageEncoder, codecs::png::PngEncoder, imageops::FilterType, metadata::Orientation,
};

use super::{CORRUPT, Variant, in_time};
use crate::features::assets::error::AssetError;

/// Kind and width of the variants (contract 04 §6.5). Images with a side below the smallest have none.
const VARIANTS: [(&str, u32); 3] = [("thumb", 320), ("medium", 800), ("large", 1920)];
const SMALLEST: u32 = 320;
/// libwebp's default is 75; this is hardly told from the source.
const QUALITY: f32 = 80.0;
const BLURHASH_COMPONENTS: (u32, u32) = (4, 3);
/// More pixels do not change a blurhash of so few components.
const BLURHASH_SIDE: u32 = 64;
const BLURHASH_PICTURE_SIDE: u32 = 16;

/// Whether width and height change places when the image is shown.
pub(super) fn is_turned(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

pub(super) fn blurhash(picture: &DynamicImage, orientation: Orientation) -> Option<String> {
    let width = picture.width().min(BLURHASH_SIDE);
    let height = picture.height().min(BLURHASH_SIDE);
    let mut small = picture.thumbnail_exact(width, height);
    small.apply_orientation(orientation);
    let small = small.to_rgba8();
    let (x, y) = BLURHASH_COMPONENTS;
    blurhash::encode(x, y, small.width(), small.height(), small.as_raw()).ok()
}

/// The blurhash as a picture of 16 × 16, for pages without a decoder.
pub(super) fn blurhash_picture(hash: &str) -> Option<String> {
    let side = BLURHASH_PICTURE_SIDE;
    let pixels = blurhash::decode(hash, side, side, 1.0).ok()?;
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&pixels, side, side, ExtendedColorType::Rgba8).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}

pub(super) fn variants(
    picture: &DynamicImage,
    has_alpha: bool,
    orientation: Orientation,
    deadline: Instant,
) -> Result<Vec<Variant>, AssetError> {
    let (width, height) = (picture.width(), picture.height());
    if width < SMALLEST || height < SMALLEST {
        return Ok(Vec::new());
    }
    let (upright_width, upright_height) = if is_turned(orientation) { (height, width) } else { (width, height) };
    let mut made: Vec<Variant> = Vec::with_capacity(VARIANTS.len());
    for (kind, target) in VARIANTS {
        let width = target.min(upright_width);
        let height = scaled(upright_height, width, upright_width);
        if let Some(same) = made.last().filter(|last| last.width == width) {
            let bytes = same.bytes.clone();
            made.push(Variant { kind, width, height, bytes });
            continue;
        }
        let (source_width, source_height) = if is_turned(orientation) { (height, width) } else { (width, height) };
        let mut small = shrink(picture, source_width, source_height);
        small.apply_orientation(orientation);
        in_time(deadline)?;
        made.push(Variant { kind, width, height, bytes: encode(&small, has_alpha)? });
        in_time(deadline)?;
    }
    Ok(made)
}

/// `side` × `to` / `of`, rounded, at least 1.
fn scaled(side: u32, to: u32, of: u32) -> u32 {
    let scaled = (u64::from(side) * u64::from(to) + u64::from(of) / 2) / u64::from(of.max(1));
    u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
}

/// Averaging is as good as anything from twice the size on, and takes no memory beside its result.
fn shrink(picture: &DynamicImage, width: u32, height: u32) -> DynamicImage {
    if (width, height) == (picture.width(), picture.height()) {
        picture.clone()
    } else if picture.width() / 2 >= width {
        picture.thumbnail_exact(width, height)
    } else {
        picture.resize_exact(width, height, FilterType::CatmullRom)
    }
}

fn encode(picture: &DynamicImage, has_alpha: bool) -> Result<Bytes, AssetError> {
    let (width, height) = (picture.width(), picture.height());
    let encoded = if has_alpha {
        let pixels = picture.to_rgba8();
        webp::Encoder::from_rgba(&pixels, width, height).encode_simple(false, QUALITY)
    } else {
        let pixels = picture.to_rgb8();
        webp::Encoder::from_rgb(&pixels, width, height).encode_simple(false, QUALITY)
    };
    let encoded = encoded.map_err(|_| AssetError::ImageDecode(CORRUPT))?;
    Ok(Bytes::copy_from_slice(&encoded))
}

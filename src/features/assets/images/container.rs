//! What a file is, by its first bytes, and what its container says without decoding pixels.

use image::ImageFormat;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Raster(ImageFormat),
    Svg,
    Avif,
    Heic,
}

/// How far into a file headers are looked for.
const HEAD: usize = 64 * 1024;
/// Frames counted at most.
const MAX_FRAMES: u32 = 100_000;

pub(super) fn kind(bytes: &[u8]) -> Option<Kind> {
    if bytes.get(4..8) == Some(b"ftyp") {
        return brand(bytes);
    }
    match image::guess_format(bytes) {
        Ok(
            format @ (ImageFormat::Png
            | ImageFormat::Jpeg
            | ImageFormat::Gif
            | ImageFormat::WebP
            | ImageFormat::Tiff
            | ImageFormat::Bmp),
        ) => Some(Kind::Raster(format)),
        _ => svg_root(bytes).map(|_| Kind::Svg),
    }
}

/// `image_format` on the wire.
pub(super) fn name(format: ImageFormat) -> Option<&'static str> {
    match format {
        ImageFormat::Png => Some("png"),
        ImageFormat::Jpeg => Some("jpeg"),
        ImageFormat::WebP => Some("webp"),
        ImageFormat::Tiff => Some("tiff"),
        ImageFormat::Bmp => Some("bmp"),
        _ => None,
    }
}

/// The brands of an ISO media file (ISO 14496-12): HEIF files say what they hold.
fn brand(bytes: &[u8]) -> Option<Kind> {
    let length = usize::try_from(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let brands = bytes.get(8..length.clamp(12, 256).min(bytes.len()))?;
    let has =
        |wanted: &[&[u8; 4]]| brands.chunks_exact(4).any(|brand| wanted.iter().any(|wanted| brand == &wanted[..]));
    if has(&[b"avif", b"avis"]) {
        Some(Kind::Avif)
    } else if has(&[b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"]) {
        Some(Kind::Heic)
    } else {
        None
    }
}

/// The largest size an `ispe` property of a HEIF container names (ISO 23008-12 §6.5.3).
pub(super) fn avif_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let head = &bytes[..bytes.len().min(HEAD)];
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    head.windows(8)
        .enumerate()
        .filter(|(_, window)| *window == b"\0\0\0\x14ispe")
        .filter_map(|(at, _)| Some((number(at + 12)?, number(at + 16)?)))
        .max_by_key(|(width, height)| u64::from(*width) * u64::from(*height))
}

/// The start tag of the root element, when it is `svg`.
fn svg_root(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(HEAD)]);
    let mut rest = head.trim_start_matches('\u{feff}').trim_start();
    loop {
        let end = if rest.starts_with("<!--") {
            "-->"
        } else if rest.starts_with("<?") {
            "?>"
        } else if rest.starts_with("<!") {
            ">"
        } else {
            break;
        };
        rest = rest.split_once(end)?.1.trim_start();
    }
    let tag = rest.strip_prefix("<svg")?;
    let tag = &tag[..tag.find('>')?];
    tag.starts_with(|c: char| c.is_ascii_whitespace() || c == '/')
        .then(|| tag.to_owned())
        .or_else(|| tag.is_empty().then(String::new))
}

/// What an SVG says of its size: width and height in pixels, else its view box.
pub(super) fn svg_size(bytes: &[u8]) -> Option<(u32, u32)> {
    let tag = svg_root(bytes)?;
    let pixels = |text: &str| -> Option<u32> {
        let number: f64 = text.trim().trim_end_matches("px").trim().parse().ok()?;
        // Within u32 by the check.
        (number.is_finite() && (0.5..=1_000_000.0).contains(&number)).then(|| number.round() as u32)
    };
    let sides = (attribute(&tag, "width").and_then(pixels), attribute(&tag, "height").and_then(pixels));
    if let (Some(width), Some(height)) = sides {
        return Some((width, height));
    }
    let numbers: Vec<_> = attribute(&tag, "viewBox")?
        .split(|c: char| c == ',' || c.is_ascii_whitespace())
        .filter(|part| !part.is_empty())
        .collect();
    match numbers[..] {
        [_, _, width, height] => Some((pixels(width)?, pixels(height)?)),
        _ => None,
    }
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.match_indices(name).find_map(|(at, _)| {
        let starts = tag[..at].ends_with(|c: char| c.is_ascii_whitespace());
        let value = tag[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
        let value = &value[1..];
        starts.then(|| value.split(quote).next()).flatten()
    })
}

/// Frames of an animation, 1 for a still. Blocks are walked over, not decoded.
pub(super) fn frames(bytes: &[u8], format: ImageFormat) -> u32 {
    let frames = match format {
        ImageFormat::Gif => gif_frames(bytes),
        ImageFormat::WebP => webp_frames(bytes),
        ImageFormat::Png => png_frames(bytes),
        _ => None,
    };
    frames.unwrap_or(1).clamp(1, MAX_FRAMES)
}

fn gif_frames(bytes: &[u8]) -> Option<u32> {
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let mut at = 13 + table(*bytes.get(10)?);
    let mut frames = 0;
    while frames < MAX_FRAMES {
        match bytes.get(at) {
            Some(0x2c) => {
                frames += 1;
                // Image descriptor, its colour table, the code size.
                at += 10 + table(*bytes.get(at + 9)?) + 1;
            }
            Some(0x21) => at += 2,
            _ => break,
        }
        // Sub-blocks, up to the empty one.
        loop {
            let length = usize::from(*bytes.get(at)?);
            at += length + 1;
            if length == 0 {
                break;
            }
        }
    }
    Some(frames)
}

fn webp_frames(bytes: &[u8]) -> Option<u32> {
    let mut at = 12;
    let mut frames = 0;
    while let Some(header) = bytes.get(at..at + 8) {
        frames += u32::from(&header[..4] == b"ANMF");
        let length = usize::try_from(u32::from_le_bytes(header[4..].try_into().ok()?)).ok()?;
        // Chunks are padded to an even length.
        at = at.checked_add(8)?.checked_add(length)?.checked_add(length & 1)?;
    }
    Some(frames)
}

fn png_frames(bytes: &[u8]) -> Option<u32> {
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 8) {
        match &header[4..] {
            b"acTL" => return Some(u32::from_be_bytes(bytes.get(at + 8..at + 12)?.try_into().ok()?)),
            b"IDAT" => return None,
            _ => {}
        }
        let length = usize::try_from(u32::from_be_bytes(header[..4].try_into().ok()?)).ok()?;
        at = at.checked_add(12)?.checked_add(length)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heif_files_are_told_apart_by_their_brands() {
        for (bytes, expected) in [
            (&b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"[..], Some(Kind::Heic)),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", Some(Kind::Avif)),
            (b"\0\0\0\x14ftypisom\0\0\0\0mp42", None),
            (b"\xff\xff\xff\xffftypavif", Some(Kind::Avif)),
            (b"\0\0\0\0ftyp", None),
        ] {
            assert_eq!(kind(bytes), expected, "{bytes:?}");
        }
        let mut avif = b"\0\0\0\x14ftypavif\0\0\0\0mif1".to_vec();
        avif.extend(b"\0\0\0\x14ispe\0\0\0\0\0\0\0\x40\0\0\0\x20");
        assert_eq!(avif_size(&avif), Some((64, 32)));
    }

    #[test]
    fn frames_are_counted() {
        let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
        for _ in 0..3 {
            gif.extend(b"\x21\xf9\x04\0\0\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0");
        }
        gif.push(0x3b);
        assert_eq!(frames(&gif, ImageFormat::Gif), 3);
        assert_eq!(frames(b"RIFF\0\0\0\0WEBPANMF\0\0\0\0ANMF\x01\0\0\0xy", ImageFormat::WebP), 2);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), head in 0..6usize) {
            let heads: [&[u8]; 6] = [b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\x89PNG\r\n\x1a\n", b"<svg ", b"\0\0\0\x18ftypavif", b""];
            bytes.splice(0..0, heads[head].iter().copied());
            let _ = (kind(&bytes), svg_size(&bytes), avif_size(&bytes));
            for format in [ImageFormat::Gif, ImageFormat::WebP, ImageFormat::Png] {
                let _ = frames(&bytes, format);
            }
        }
    }
}

//! The EXIF of an image as JSON.

use std::io::Cursor;

use exif::{Exif, Field, In, Rational, Tag, Value as Field_};
use serde_json::{Map, Value, json};

/// Fields shown at most, and characters of each.
const MAX_FIELDS: usize = 100;
const MAX_TEXT: usize = 200;
/// Bytes of an image that are looked through.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// The fields under their snake-case names; null when there are none or they cannot be read.
pub(super) fn read(bytes: &[u8]) -> Value {
    let mut head = Cursor::new(&bytes[..bytes.len().min(MAX_BYTES)]);
    let Ok(exif) = exif::Reader::new().read_from_container(&mut head) else { return Value::Null };
    let mut fields = Map::new();
    for field in exif.fields().filter(|field| field.ifd_num == In::PRIMARY).take(MAX_FIELDS) {
        if let Some(value) = value(field) {
            fields.insert(snake_case(&field.tag.to_string()), value);
        }
    }
    for (name, tag, reference) in [
        ("gps_latitude", Tag::GPSLatitude, Tag::GPSLatitudeRef),
        ("gps_longitude", Tag::GPSLongitude, Tag::GPSLongitudeRef),
    ] {
        if let Some(degrees) = degrees(&exif, tag, reference) {
            fields.insert(name.into(), json!(degrees));
        }
    }
    if fields.is_empty() { Value::Null } else { Value::Object(fields) }
}

fn value(field: &Field) -> Option<Value> {
    // Opaque to everybody but the camera's maker, and long.
    if field.tag == Tag::MakerNote || field.tag.number() > 0xff00 {
        return None;
    }
    match &field.value {
        Field_::Byte(numbers) if numbers.len() == 1 => Some(json!(numbers[0])),
        Field_::Short(numbers) if numbers.len() == 1 => Some(json!(numbers[0])),
        Field_::Long(numbers) if numbers.len() == 1 => Some(json!(numbers[0])),
        Field_::Rational(numbers) if numbers.len() == 1 => finite(numbers[0].to_f64()),
        Field_::SRational(numbers) if numbers.len() == 1 => finite(numbers[0].to_f64()),
        Field_::Ascii(texts) => {
            let text = texts.first()?;
            Some(text_of(&String::from_utf8_lossy(text)))
        }
        _ => Some(text_of(&field.display_value().to_string())),
    }
}

/// Text that Postgres stores as JSON.
fn text_of(text: &str) -> Value {
    Value::String(text.chars().filter(|c| !c.is_control()).take(MAX_TEXT).collect::<String>().trim().to_owned())
}

fn finite(number: f64) -> Option<Value> {
    number.is_finite().then(|| json!(number))
}

/// Degrees, minutes and seconds as a signed number.
fn degrees(exif: &Exif, tag: Tag, reference: Tag) -> Option<f64> {
    let Field_::Rational(parts) = &exif.get_field(tag, In::PRIMARY)?.value else { return None };
    let [degrees, minutes, seconds] = parts.as_slice() else { return None };
    let part = |number: &Rational| number.to_f64();
    let sum = part(degrees) + part(minutes) / 60.0 + part(seconds) / 3600.0;
    let south_or_west = exif.get_field(reference, In::PRIMARY).is_some_and(|field| {
        matches!(&field.value, Field_::Ascii(texts) if texts.iter().any(|text| matches!(text.first(), Some(b'S' | b'W'))))
    });
    let signed = if south_or_west { -sum } else { sum };
    (signed.is_finite() && signed.abs() <= 180.0).then_some(signed)
}

/// `DateTimeOriginal` → `date_time_original`, `GPSLatitude` → `gps_latitude`.
fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let mut snake = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_lower = at > 0 && !letters[at - 1].is_ascii_uppercase();
        let before_lower = at > 0 && letters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && (after_lower || before_lower) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_snake_case() {
        for (name, expected) in [
            ("Make", "make"),
            ("DateTimeOriginal", "date_time_original"),
            ("GPSLatitude", "gps_latitude"),
            ("FNumber", "f_number"),
            ("ISOSpeed", "iso_speed"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
    }

    #[test]
    fn bytes_without_exif_have_none() {
        for bytes in [&b""[..], b"\xff\xd8\xff\xe1\0\x08Exif\0\0", b"MM\0\x2a\xff\xff\xff\xff"] {
            assert!(read(bytes).is_null(), "{bytes:?}");
        }
    }
}

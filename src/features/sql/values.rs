//! Turns the text form of a value into JSON text, as the Node driver would (contract 02 §4.2).
//!
//! The output is written straight into the answer: rows never exist as a tree, so an answer takes no more memory
//! than its own bytes. Whatever does not have the expected form (a project may change `DateStyle`) goes out as the
//! server's text.

use tokio_postgres::types::{Kind, Type};

/// Appends one value.
pub fn write_value(out: &mut Vec<u8>, kind: &Type, text: &str) {
    let kind = base_type(kind);
    match kind.kind() {
        Kind::Array(element) => {
            let start = out.len();
            if write_array(out, base_type(element), text).is_none() {
                out.truncate(start);
                write_string(out, text);
            }
        }
        _ => write_scalar(out, kind, text),
    }
}

/// Appends a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing a string into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

fn base_type(mut kind: &Type) -> &Type {
    while let Kind::Domain(base) = kind.kind() {
        kind = base;
    }
    kind
}

fn write_scalar(out: &mut Vec<u8>, kind: &Type, text: &str) {
    match *kind {
        Type::INT2 | Type::INT4 | Type::OID => write_number(out, text),
        Type::FLOAT4 | Type::FLOAT8 => match text {
            "NaN" | "Infinity" | "-Infinity" => out.extend_from_slice(b"null"),
            _ => write_number(out, text),
        },
        Type::BOOL => match text {
            "t" => out.extend_from_slice(b"true"),
            "f" => out.extend_from_slice(b"false"),
            _ => write_string(out, text),
        },
        // Postgres accepts exactly JSON, so its text goes through as it is, big numbers and all.
        Type::JSON | Type::JSONB => out.extend_from_slice(text.as_bytes()),
        Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::DATE => match parse_moment(text) {
            Some(Moment::At(milliseconds)) => write_string(out, &iso(milliseconds)),
            Some(Moment::Never) => out.extend_from_slice(b"null"),
            None => write_string(out, text),
        },
        Type::BYTEA => match parse_bytea(text) {
            Some(bytes) => write_buffer(out, &bytes),
            None => write_string(out, text),
        },
        _ => write_string(out, text),
    }
}

/// The server's spelling of finite numbers is JSON's, so the digits go through as they are.
fn write_number(out: &mut Vec<u8>, text: &str) {
    if serde_json::from_str::<f64>(text).is_ok() {
        out.extend_from_slice(text.as_bytes());
    } else {
        write_string(out, text);
    }
}

fn write_buffer(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(br#"{"type":"Buffer","data":["#);
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(byte.to_string().as_bytes());
    }
    out.extend_from_slice(b"]}");
}

/// `\x…` and, should `bytea_output` be changed, the escape form.
fn parse_bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(digits) = text.strip_prefix("\\x") {
        return hex::decode(digits).ok();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match *rest {
            [] => return Some(bytes),
            [b'\\', b'\\', ref tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ref tail @ ..] => {
                bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = tail;
            }
            [b'\\', ..] => return None,
            [byte, ref tail @ ..] => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
}

/// Array literals nest at most this deep on the server (`MAXDIM`).
const MAX_DIMENSIONS: usize = 6;

/// An array literal (PostgreSQL manual §8.15.6). `None` when the text is not one, e.g. `int2vector`.
fn write_array(out: &mut Vec<u8>, element: &Type, text: &str) -> Option<()> {
    // A literal with unusual lower bounds starts with its dimensions: `[0:1]={a,b}`.
    let literal = if text.starts_with('[') { text.split_once('=')?.1 } else { text };
    let delimiter = if *element == Type::BOX { b';' } else { b',' };
    let mut parser = ArrayParser { text: literal, at: 0, delimiter, element };
    parser.array(out, 1)?;
    (parser.at == literal.len()).then_some(())
}

struct ArrayParser<'a> {
    text: &'a str,
    at: usize,
    delimiter: u8,
    element: &'a Type,
}

impl<'a> ArrayParser<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn array(&mut self, out: &mut Vec<u8>, depth: usize) -> Option<()> {
        if self.peek()? != b'{' || depth > MAX_DIMENSIONS {
            return None;
        }
        self.at += 1;
        out.push(b'[');
        if self.peek()? == b'}' {
            self.at += 1;
            out.push(b']');
            return Some(());
        }
        loop {
            match self.peek()? {
                b'{' => self.array(out, depth + 1)?,
                b'"' => {
                    let text = self.quoted()?;
                    write_scalar(out, self.element, &text);
                }
                _ => {
                    let text = self.bare()?;
                    if text.eq_ignore_ascii_case("null") {
                        out.extend_from_slice(b"null");
                    } else {
                        write_scalar(out, self.element, text);
                    }
                }
            }
            let next = self.peek()?;
            self.at += 1;
            match next {
                b'}' => {
                    out.push(b']');
                    return Some(());
                }
                b if b == self.delimiter => out.push(b','),
                _ => return None,
            }
        }
    }

    fn bare(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let length = rest.bytes().position(|b| b == b'}' || b == self.delimiter)?;
        self.at += length;
        rest.get(..length)
    }

    fn quoted(&mut self) -> Option<String> {
        self.at += 1;
        let mut value = String::new();
        let mut rest = self.text.get(self.at..)?.char_indices();
        while let Some((index, c)) = rest.next() {
            match c {
                '"' => {
                    self.at += index + 1;
                    return Some(value);
                }
                '\\' => value.push(rest.next()?.1),
                other => value.push(other),
            }
        }
        None
    }
}

/// A point in time as JavaScript's `Date` sees it.
#[derive(Debug, PartialEq, Eq)]
enum Moment {
    /// Milliseconds since 1970, within the range of `Date`.
    At(i64),
    /// `infinity`, or beyond that range: JSON null.
    Never,
}

/// The largest absolute time value of ECMAScript (§21.4.1.1), in milliseconds.
const MAX_DATE: i64 = 8_640_000_000_000_000;

const DAY: i64 = 86_400_000;

/// `2024-01-31`, `2024-01-31 10:00:00.123456+05:30`, each perhaps with ` BC`, or `infinity`.
fn parse_moment(text: &str) -> Option<Moment> {
    if matches!(text, "infinity" | "-infinity") {
        return Some(Moment::Never);
    }
    let (text, before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (date, time) = match text.split_once(' ') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let mut parts = date.splitn(3, '-').map(number);
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || year > 300_000 {
        return None;
    }
    let year = if before_christ { 1 - year } else { year };
    let milliseconds = days_from_civil(year, month, day) * DAY + time.map_or(Some(0), parse_time)?;
    Some(if milliseconds.abs() <= MAX_DATE { Moment::At(milliseconds) } else { Moment::Never })
}

/// Milliseconds since midnight UTC of `10:00:00.123456+05:30`. Digits beyond milliseconds are cut.
fn parse_time(text: &str) -> Option<i64> {
    let (clock, offset) = match text.find(['+', '-']) {
        Some(at) => {
            let (clock, offset) = text.split_at(at);
            let mut parts = offset[1..].split(':').map(number);
            let seconds =
                parts.next()?? * 3600 + parts.next().unwrap_or(Some(0))? * 60 + parts.next().unwrap_or(Some(0))?;
            (clock, if offset.starts_with('-') { -seconds } else { seconds })
        }
        None => (text, 0),
    };
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, ""));
    let mut parts = clock.splitn(3, ':').map(number);
    let seconds = parts.next()?? * 3600 + parts.next()?? * 60 + parts.next()??;
    let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
    Some((seconds - offset) * 1000 + number(&digits)?)
}

/// A short run of digits.
fn number(text: &str) -> Option<i64> {
    let plain = (1..=6).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; years are counted in eras of 400 from March on, so
/// that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`].
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// As `Date.prototype.toISOString` prints it: years outside 0-9999 with sign and six digits.
fn iso(milliseconds: i64) -> String {
    let (year, month, day) = civil_from_days(milliseconds.div_euclid(DAY));
    let rest = milliseconds.rem_euclid(DAY);
    let (seconds, fraction) = (rest / 1000, rest % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let year = match year {
        0..=9999 => format!("{year:04}"),
        10_000.. => format!("+{year:06}"),
        _ => format!("-{:06}", -year),
    };
    format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(kind: &Type, text: &str) -> String {
        let mut out = Vec::new();
        write_value(&mut out, kind, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_become_json_as_in_the_node_driver() {
        let cases = [
            (Type::INT4, "-7", "-7"),
            (Type::INT2, "7", "7"),
            (Type::OID, "4294967295", "4294967295"),
            (Type::INT8, "7", r#""7""#),
            (Type::NUMERIC, "1.50", r#""1.50""#),
            (Type::FLOAT8, "1.5", "1.5"),
            (Type::FLOAT8, "1e+300", "1e+300"),
            (Type::FLOAT4, "-0", "-0"),
            (Type::FLOAT8, "NaN", "null"),
            (Type::FLOAT4, "-Infinity", "null"),
            (Type::BOOL, "t", "true"),
            (Type::BOOL, "f", "false"),
            (Type::JSONB, r#"{"a": [1, null]}"#, r#"{"a": [1, null]}"#),
            (Type::JSON, "12345678901234567890123", "12345678901234567890123"),
            (Type::TEXT, "a\"b\n\u{1}", r#""a\"b\n\u0001""#),
            (Type::UUID, "x", r#""x""#),
            (Type::INTERVAL, "1 day", r#""1 day""#),
            (Type::BYTEA, "\\x00ff", r#"{"type":"Buffer","data":[0,255]}"#),
            (Type::BYTEA, "\\x", r#"{"type":"Buffer","data":[]}"#),
            (Type::BYTEA, "a\\\\\\000", r#"{"type":"Buffer","data":[97,92,0]}"#),
            (Type::BYTEA, "\\x0", r#""\\x0""#),
            (Type::INT4, "abc", r#""abc""#),
            (Type::BOOL, "yes", r#""yes""#),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(json(&kind, text), expected, "{kind} {text}");
        }
    }

    #[test]
    fn times_are_iso_with_milliseconds() {
        let cases = [
            (Type::TIMESTAMPTZ, "2024-01-31 10:00:00.123987+00", "2024-01-31T10:00:00.123Z"),
            (Type::TIMESTAMPTZ, "2024-01-01 00:30:00+05:30", "2023-12-31T19:00:00.000Z"),
            (Type::TIMESTAMPTZ, "2024-12-31 23:59:59.5-01", "2025-01-01T00:59:59.500Z"),
            (Type::TIMESTAMPTZ, "1800-01-01 00:00:00+00:53:28", "1799-12-31T23:06:32.000Z"),
            (Type::TIMESTAMP, "1969-12-31 23:59:59.999", "1969-12-31T23:59:59.999Z"),
            (Type::DATE, "2024-02-29", "2024-02-29T00:00:00.000Z"),
            (Type::DATE, "0044-03-15 BC", "-000043-03-15T00:00:00.000Z"),
            (Type::DATE, "0001-01-01 BC", "0000-01-01T00:00:00.000Z"),
            (Type::TIMESTAMPTZ, "0044-03-15 12:00:00+00 BC", "-000043-03-15T12:00:00.000Z"),
            (Type::TIMESTAMP, "12345-01-02 00:00:00", "+012345-01-02T00:00:00.000Z"),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(json(&kind, text), format!("\"{expected}\""), "{text}");
        }
        for text in ["infinity", "-infinity", "294276-12-31 23:59:59"] {
            assert_eq!(json(&Type::TIMESTAMP, text), "null", "{text}");
        }
        for text in ["01/02/2024", "2024-13-01", "2024-01-01 10", "Mon Jan 01", "", "2024-01-01 10:00:00 CET"] {
            assert_eq!(json(&Type::TIMESTAMP, text), format!("\"{text}\""), "{text}");
        }
    }

    #[test]
    fn arrays_follow_their_elements() {
        let cases = [
            (Type::INT4_ARRAY, "{}", "[]"),
            (Type::INT4_ARRAY, "{1,NULL,-3}", "[1,null,-3]"),
            (Type::INT4_ARRAY, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (Type::INT4_ARRAY, "[0:1]={1,2}", "[1,2]"),
            (Type::INT8_ARRAY, "{1}", r#"["1"]"#),
            (Type::TEXT_ARRAY, r#"{a,"b,c","NULL",NULL,"","\"\\"}"#, r#"["a","b,c","NULL",null,"","\"\\"]"#),
            (Type::BOOL_ARRAY, "{t,f}", "[true,false]"),
            (Type::JSONB_ARRAY, r#"{"{\"a\": 1}",2}"#, r#"[{"a": 1},2]"#),
            (Type::BYTEA_ARRAY, r#"{"\\x01"}"#, r#"[{"type":"Buffer","data":[1]}]"#),
            (Type::DATE_ARRAY, "{2024-01-01}", r#"["2024-01-01T00:00:00.000Z"]"#),
            (Type::TIMESTAMPTZ_ARRAY, r#"{"2024-01-01 00:00:00+00"}"#, r#"["2024-01-01T00:00:00.000Z"]"#),
            (Type::BOX_ARRAY, "{(1,1),(0,0);(2,2),(1,1)}", r#"["(1,1),(0,0)","(2,2),(1,1)"]"#),
            (Type::INT2_VECTOR, "1 2", r#""1 2""#),
            (Type::INT4_ARRAY, "{1,2", r#""{1,2""#),
            (Type::INT4_ARRAY, "{1}x", r#""{1}x""#),
            (Type::INT4_ARRAY, "{{{{{{{1}}}}}}}", r#""{{{{{{{1}}}}}}}""#),
        ];
        for (kind, text, expected) in cases {
            assert_eq!(json(&kind, text), expected, "{kind} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_valid_json(text in any::<String>(), which in 0_usize..8) {
            let kinds = [
                Type::INT4, Type::FLOAT8, Type::BOOL, Type::TIMESTAMPTZ, Type::DATE, Type::BYTEA, Type::TEXT_ARRAY,
                Type::TIMESTAMP_ARRAY,
            ];
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json(&kinds[which], &text)).is_ok());
        }

        #[test]
        fn days_and_dates_are_inverse(days in -100_000_000_i64..100_000_000) {
            let (year, month, day) = civil_from_days(days);
            prop_assert_eq!(days_from_civil(year, month, day), days);
        }

        #[test]
        fn texts_in_arrays_survive(texts in prop::collection::vec(any::<String>(), 0..5)) {
            let quoted: Vec<String> =
                texts.iter().map(|t| format!("\"{}\"", t.replace('\\', "\\\\").replace('"', "\\\""))).collect();
            let literal = format!("{{{}}}", quoted.join(","));
            let parsed: Vec<String> = serde_json::from_str(&json(&Type::TEXT_ARRAY, &literal)).unwrap();
            prop_assert_eq!(parsed, texts);
        }
    }
}

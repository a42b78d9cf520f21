//! Limits, offsets and the `Range` header (contract 02 §7.8).

use crate::features::rest::error::NativeError;

/// Which part of a result is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub limit: Option<i64>,
    pub offset: i64,
}

impl Limits {
    pub fn is_everything(self) -> bool {
        self == Self::default()
    }

    /// The rows both ranges contain.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let offset = self.offset.max(other.offset);
        let end = match (self.end(), other.end()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        Self { limit: end.map(|end| (end - offset).max(0)), offset }
    }

    /// Never more than `max_rows` rows.
    #[must_use]
    pub fn capped(self, max_rows: Option<i64>) -> Self {
        let limit = match (self.limit, max_rows) {
            (Some(limit), Some(max)) => Some(limit.min(max)),
            (limit, max) => limit.or(max),
        };
        Self { limit, ..self }
    }

    fn end(self) -> Option<i64> {
        self.limit.map(|limit| self.offset.saturating_add(limit))
    }
}

pub fn checked_limit(limit: i64) -> Result<i64, NativeError> {
    if limit < 0 {
        return Err(NativeError::invalid_range("Limit should be greater than or equal to zero."));
    }
    Ok(limit)
}

pub fn checked_offset(offset: i64) -> Result<i64, NativeError> {
    if offset < 0 {
        return Err(NativeError::invalid_range("Offset should be greater than or equal to zero."));
    }
    Ok(offset)
}

/// `Range: a-b`, `a-`, with an optional `items=`; any other text asks for everything.
///
/// # Errors
/// PGRST103 when the first position lies after the last.
pub fn from_header(header: Option<&str>) -> Result<Limits, NativeError> {
    let Some((first, last)) = header.and_then(bounds) else { return Ok(Limits::default()) };
    match last {
        None => Ok(Limits { limit: None, offset: first }),
        Some(last) if first > last => Err(NativeError::invalid_range(
            "The lower boundary must be lower than or equal to the upper boundary in the Range header.",
        )),
        Some(last) => Ok(Limits { limit: Some((last - first).saturating_add(1)), offset: first }),
    }
}

fn bounds(text: &str) -> Option<(i64, Option<i64>)> {
    let text = text.trim();
    let text = text.strip_prefix("items=").unwrap_or(text);
    let (first, last) = text.split_once('-')?;
    let number = |text: &str| -> Option<i64> {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
    };
    let first = number(first)?;
    if last.is_empty() { Some((first, None)) } else { number(last).map(|last| (first, Some(last))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn range_headers() {
        let all = Limits::default();
        for (text, expected) in [
            ("0-9", Limits { limit: Some(10), offset: 0 }),
            ("5-5", Limits { limit: Some(1), offset: 5 }),
            ("10-", Limits { limit: None, offset: 10 }),
            ("items=40-49", Limits { limit: Some(10), offset: 40 }),
            ("0-9223372036854775807", Limits { limit: Some(i64::MAX), offset: 0 }),
            ("bytes=0-9", all),
            ("-5", all),
            ("a-b", all),
            ("", all),
            ("0-99999999999999999999", all),
        ] {
            assert_eq!(from_header(Some(text)), Ok(expected), "{text}");
        }
        assert_eq!(from_header(Some("9-0")).unwrap_err().code, "PGRST103");
    }

    #[test]
    fn ranges_intersect_and_are_capped() {
        let header = Limits { limit: Some(10), offset: 5 };
        assert_eq!(header.intersect(Limits { limit: Some(3), offset: 0 }), Limits { limit: Some(0), offset: 5 });
        assert_eq!(header.intersect(Limits { limit: None, offset: 8 }), Limits { limit: Some(7), offset: 8 });
        assert_eq!(header.intersect(Limits::default()), header);
        assert_eq!(Limits::default().capped(Some(100)).limit, Some(100));
        assert_eq!(header.capped(Some(4)).limit, Some(4));
        assert_eq!(header.capped(None), header);
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics_or_overflows(text in "[items=0-9 -]{0,30}", a in 0_i64.., b in 0_i64.., c in 0_i64..) {
            let range = from_header(Some(&text)).unwrap_or_default();
            let other = Limits { limit: Some(a), offset: b };
            let both = range.intersect(other).intersect(Limits { limit: Some(c), offset: a });
            proptest::prop_assert!(both.offset >= b && both.limit.unwrap_or(0) >= 0);
        }
    }
}

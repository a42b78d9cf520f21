//! Conditional requests and ranges (RFC 9110 §13, §14; contract 04 §2.8). Pure.

use std::{ops::Range, time::SystemTime};

use axum::http::{HeaderMap, HeaderName, header};

/// What validates a representation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validators<'a> {
    /// The opaque tag with its quotes.
    pub tag: &'a str,
    /// False when the representation was compressed on the way.
    pub strong: bool,
    /// Seconds since 1970.
    pub modified: i64,
}

/// What the preconditions of a GET or HEAD come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer as without them.
    Proceed,
    /// 304
    NotModified,
    /// 412
    Failed,
}

/// RFC 9110 §13.2.2, steps 1 to 4.
pub(super) fn evaluate(headers: &HeaderMap, validators: Validators<'_>) -> Verdict {
    if headers.contains_key(header::IF_MATCH) {
        if !lists(headers, &header::IF_MATCH, validators, Comparison::Strong) {
            return Verdict::Failed;
        }
    } else if let Some(date) = date(headers, &header::IF_UNMODIFIED_SINCE)
        && validators.modified > date
    {
        return Verdict::Failed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if lists(headers, &header::IF_NONE_MATCH, validators, Comparison::Weak) {
            return Verdict::NotModified;
        }
    } else if let Some(date) = date(headers, &header::IF_MODIFIED_SINCE)
        && validators.modified <= date
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags names ours, or everything.
fn lists(headers: &HeaderMap, name: &HeaderName, validators: Validators<'_>, comparison: Comparison) -> bool {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value.trim() == "*"
            || tags(value).any(|(weak, tag)| {
                tag == validators.tag && (comparison == Comparison::Weak || (validators.strong && !weak))
            })
    })
}

/// The entity tags of a list: whether each is weak, and its opaque part with the quotes. Stops at what is none.
fn tags(list: &str) -> impl Iterator<Item = (bool, &str)> {
    let mut rest = list;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let (weak, tag) = match rest.strip_prefix("W/") {
            Some(tag) => (true, tag),
            None => (false, rest),
        };
        let length = tag.strip_prefix('"')?.find('"')? + 2;
        let (tag, after) = tag.split_at(length);
        rest = after;
        Some((weak, tag))
    })
}

/// A date header, in seconds since 1970; a broken one counts as absent (RFC 9110 §13.1.3).
fn date(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    let time = httpdate::parse_http_date(value).ok()?;
    time.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok())
}

/// What part of a representation is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it, 200.
    Whole,
    /// 206. Start included, end excluded, not empty.
    Range(Range<u64>),
    /// 416
    Unsatisfiable,
}

/// The part a GET asks for. Several ranges, other units and what cannot be read are ignored.
pub(super) fn part(headers: &HeaderMap, size: u64, validators: Validators<'_>) -> Part {
    let Some(range) = headers.get(header::RANGE) else { return Part::Whole };
    if headers.get_all(header::RANGE).iter().nth(1).is_some() || !if_range_holds(headers, validators) {
        return Part::Whole;
    }
    range.to_str().ok().and_then(|text| single_range(text, size)).unwrap_or(Part::Whole)
}

/// RFC 9110 §13.1.5: a strong tag or the exact date.
fn if_range_holds(headers: &HeaderMap, validators: Validators<'_>) -> bool {
    let Some(value) = headers.get(header::IF_RANGE) else { return true };
    let Ok(text) = value.to_str() else { return false };
    if text.contains('"') {
        validators.strong && text.trim() == validators.tag
    } else {
        date(headers, &header::IF_RANGE) == Some(validators.modified)
    }
}

/// `bytes=<first>-<last>`, `bytes=<first>-` or `bytes=-<length>`.
fn single_range(text: &str, size: u64) -> Option<Part> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    let (first, last) = (number(first)?, number(last)?);
    let range = match (first, last) {
        (Some(first), Some(last)) if first > last => return None,
        (Some(first), last) => first..last.map_or(size, |last| last.saturating_add(1)).min(size),
        (None, Some(length)) => size.saturating_sub(length)..size,
        (None, None) => return None,
    };
    Some(if range.is_empty() { Part::Unsatisfiable } else { Part::Range(range) })
}

/// Digits only; none of them is `Some(None)`, more than a u64 holds is its largest value.
fn number(text: &str) -> Option<Option<u64>> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((!text.is_empty()).then(|| text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const TAG: &str = "\"sha256-aa\"";
    /// Sun, 06 Nov 1994 08:49:37 GMT
    const MODIFIED: i64 = 784_111_777;

    fn headers(pairs: &[(&HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append((*name).clone(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn strong() -> Validators<'static> {
        Validators { tag: TAG, strong: true, modified: MODIFIED }
    }

    #[test]
    fn preconditions_are_evaluated_in_their_order() {
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        let (same, before, after) =
            ("Sun, 06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:36 GMT", "Sun, 06 Nov 1994 08:49:38 GMT");
        type Case<'a> = (&'a [(&'a HeaderName, &'a str)], Verdict);
        let cases: [Case<'_>; 22] = [
            (&[], Verdict::Proceed),
            (&[(&IF_NONE_MATCH, TAG)], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "W/\"sha256-aa\"")], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "\"x\" , \"sha256-aa\"")], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "\"x,y\",W/\"sha256-aa\"")], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "*")], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "\"x\"")], Verdict::Proceed),
            (&[(&IF_NONE_MATCH, "sha256-aa")], Verdict::Proceed),
            (&[(&IF_NONE_MATCH, "\"x\""), (&IF_NONE_MATCH, TAG)], Verdict::NotModified),
            (&[(&IF_NONE_MATCH, "\"x\""), (&IF_MODIFIED_SINCE, after)], Verdict::Proceed),
            (&[(&IF_MODIFIED_SINCE, same)], Verdict::NotModified),
            (&[(&IF_MODIFIED_SINCE, after)], Verdict::NotModified),
            (&[(&IF_MODIFIED_SINCE, before)], Verdict::Proceed),
            (&[(&IF_MODIFIED_SINCE, "yesterday")], Verdict::Proceed),
            (&[(&IF_MATCH, TAG)], Verdict::Proceed),
            (&[(&IF_MATCH, "*")], Verdict::Proceed),
            (&[(&IF_MATCH, "W/\"sha256-aa\"")], Verdict::Failed),
            (&[(&IF_MATCH, "\"x\""), (&IF_NONE_MATCH, TAG)], Verdict::Failed),
            (&[(&IF_MATCH, TAG), (&IF_NONE_MATCH, TAG)], Verdict::NotModified),
            (&[(&IF_UNMODIFIED_SINCE, before)], Verdict::Failed),
            (&[(&IF_UNMODIFIED_SINCE, same)], Verdict::Proceed),
            (&[(&IF_MATCH, TAG), (&IF_UNMODIFIED_SINCE, before)], Verdict::Proceed),
        ];
        for (pairs, expected) in cases {
            assert_eq!(evaluate(&headers(pairs), strong()), expected, "{pairs:?}");
        }
        let weak = Validators { strong: false, ..strong() };
        assert_eq!(evaluate(&headers(&[(&IF_MATCH, TAG)]), weak), Verdict::Failed);
        assert_eq!(evaluate(&headers(&[(&IF_NONE_MATCH, TAG)]), weak), Verdict::NotModified);
    }

    #[test]
    fn a_single_range_is_cut_out_and_the_rest_is_ignored() {
        let cases = [
            ("bytes=0-3", Part::Range(0..4)),
            ("bytes=0-0", Part::Range(0..1)),
            ("bytes=9-9", Part::Range(9..10)),
            ("bytes=5-", Part::Range(5..10)),
            ("bytes=0-999", Part::Range(0..10)),
            ("bytes=-3", Part::Range(7..10)),
            ("bytes=-99", Part::Range(0..10)),
            ("BYTES=1-2", Part::Range(1..3)),
            ("bytes= 1-2", Part::Range(1..3)),
            ("bytes=0-99999999999999999999999", Part::Range(0..10)),
            ("bytes=10-", Part::Unsatisfiable),
            ("bytes=999999-", Part::Unsatisfiable),
            ("bytes=99999999999999999999999-", Part::Unsatisfiable),
            ("bytes=-0", Part::Unsatisfiable),
            ("bytes=0-1,3-4", Part::Whole),
            ("bytes=4-3", Part::Whole),
            ("bytes=-", Part::Whole),
            ("bytes=", Part::Whole),
            ("bytes=a-b", Part::Whole),
            ("bytes=1-2-3", Part::Whole),
            ("bytes=+1-2", Part::Whole),
            ("bytes", Part::Whole),
            ("items=0-3", Part::Whole),
        ];
        for (text, expected) in cases {
            assert_eq!(part(&headers(&[(&header::RANGE, text)]), 10, strong()), expected, "{text}");
        }
        let twice = headers(&[(&header::RANGE, "bytes=0-1"), (&header::RANGE, "bytes=2-3")]);
        assert_eq!(part(&twice, 10, strong()), Part::Whole);
        assert_eq!(part(&headers(&[(&header::RANGE, "bytes=0-")]), 0, strong()), Part::Unsatisfiable);
    }

    #[test]
    fn if_range_needs_the_same_strong_validator() {
        let cases = [
            (TAG, true),
            ("W/\"sha256-aa\"", false),
            ("\"other\"", false),
            ("Sun, 06 Nov 1994 08:49:37 GMT", true),
            ("Sun, 06 Nov 1994 08:49:38 GMT", false),
            ("garbage", false),
        ];
        for (value, holds) in cases {
            let asked = headers(&[(&header::RANGE, "bytes=0-3"), (&header::IF_RANGE, value)]);
            let expected = if holds { Part::Range(0..4) } else { Part::Whole };
            assert_eq!(part(&asked, 10, strong()), expected, "{value}");
        }
    }

    proptest! {
        #[test]
        fn ranges_lie_within_the_file(text in "bytes=[0-9-, ]{0,12}", size in 0_u64..20) {
            if let Part::Range(range) = part(&headers(&[(&header::RANGE, &text)]), size, strong()) {
                prop_assert!(range.start < range.end && range.end <= size);
            }
        }

        #[test]
        fn no_header_breaks_the_evaluation(text in "[ -~]{0,40}") {
            for name in [header::IF_MATCH, header::IF_NONE_MATCH, header::IF_RANGE, header::IF_MODIFIED_SINCE] {
                let asked = headers(&[(&name, &text), (&header::RANGE, "bytes=0-3")]);
                let _ = (evaluate(&asked, strong()), part(&asked, 10, strong()));
            }
        }
    }
}

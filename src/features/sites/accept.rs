//! Content negotiation (RFC 9110 §12.5). Pure.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

/// A coding we can answer with besides `identity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Encoding {
    Brotli,
    Zstd,
    Gzip,
}

impl Encoding {
    /// The order of preference between codings the client likes equally: the smallest answer first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    pub const fn header(self) -> HeaderValue {
        HeaderValue::from_static(self.name())
    }
}

/// Weights are compared in thousandths.
const FULL: u16 = 1000;

/// The coding to answer with; `None` is `identity`. A client that forbids `identity` without accepting one of ours
/// gets it all the same (RFC 9110 §12.5.3 allows that).
pub(super) fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let mut weights: [Option<u16>; 3] = [None; 3];
    let (mut any, mut identity) = (None, None);
    for (name, weight) in weighted(headers, &header::ACCEPT_ENCODING) {
        let known = Encoding::ALL
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known.name()))
            .or_else(|| name.eq_ignore_ascii_case("x-gzip").then_some(2));
        match known {
            Some(index) => weights[index] = Some(weight),
            None if name == "*" => any = Some(weight),
            None if name.eq_ignore_ascii_case("identity") => identity = Some(weight),
            None => {}
        }
    }
    let mut best = None;
    for (encoding, weight) in Encoding::ALL.into_iter().zip(weights) {
        let weight = weight.or(any).unwrap_or(0);
        if weight > 0 && best.is_none_or(|(_, known)| weight > known) {
            best = Some((encoding, weight));
        }
    }
    // `identity` is acceptable unless it is named, at the lowest preference unless it has a weight.
    best.filter(|(_, weight)| identity.is_none_or(|identity| *weight >= identity)).map(|(encoding, _)| encoding)
}

/// Whether the client would rather read HTML than JSON.
pub fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = ((0, 0), (0, 0));
    for (range, weight) in weighted(headers, &header::ACCEPT) {
        let lower = range.to_ascii_lowercase();
        // The more specific range decides for its type.
        let note = |best: &mut (u8, u16), specific: &str, group: &str| {
            let precision = if lower == specific {
                3
            } else if lower == group {
                2
            } else if lower == "*/*" {
                1
            } else {
                return;
            };
            if precision > best.0 {
                *best = (precision, weight);
            }
        };
        note(&mut html, "text/html", "text/*");
        note(&mut json, "application/json", "application/*");
    }
    html.1 > json.1
}

/// The elements of a list header with their weights; parameters other than `q` are dropped, broken weights are 0.
fn weighted<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = (&'a str, u16)> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).filter_map(
        |element| {
            let mut parts = element.split(';');
            let name = parts.next()?.trim();
            let weight = parts
                .filter_map(|parameter| parameter.split_once('='))
                .find_map(|(key, value)| key.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim())));
            (!name.is_empty()).then_some((name, weight.unwrap_or(FULL)))
        },
    )
}

/// `0.35` is 350 (RFC 9110 §12.4.2: at most three decimals).
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    let fraction = format!("{fraction:0<3}").parse().unwrap_or(0);
    match whole {
        "0" => fraction,
        "1" if fraction == 0 => FULL,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn with(name: HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn the_best_coding_both_sides_know_is_chosen() {
        let cases: [(&[&str], Option<&str>); 16] = [
            (&[], None),
            (&[""], None),
            (&["gzip"], Some("gzip")),
            (&["gzip, deflate, br"], Some("br")),
            (&["gzip, deflate, br, zstd"], Some("br")),
            (&["gzip", "br"], Some("br")),
            (&["zstd, gzip"], Some("zstd")),
            (&["br;q=0.5, gzip;q=0.8"], Some("gzip")),
            (&["br;q=0, gzip;q=0"], None),
            (&["*"], Some("br")),
            (&["*;q=0.1, br;q=0"], Some("zstd")),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip"], Some("gzip")),
            (&["deflate"], None),
            (&["GZIP;Q=1.000"], Some("gzip")),
            (&["br;q=2, gzip;q=0.1234"], None),
        ];
        for (values, expected) in cases {
            let found = encoding(&with(header::ACCEPT_ENCODING, values)).map(Encoding::name);
            assert_eq!(found, expected, "{values:?}");
        }
    }

    #[test]
    fn html_is_for_those_who_rank_it_above_json() {
        let cases = [
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true),
            ("*/*", false),
            ("application/json", false),
            ("text/html, application/json", false),
            ("text/html, application/json;q=0.9", true),
            ("text/*", true),
            ("text/html;q=0", false),
        ];
        for (value, expected) in cases {
            assert_eq!(prefers_html(&with(header::ACCEPT, &[value])), expected, "{value}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }

    proptest! {
        #[test]
        fn no_header_breaks_the_negotiation(value in "[ -~]{0,60}") {
            let headers = with(header::ACCEPT_ENCODING, &[&value]);
            let _ = encoding(&headers);
            let _ = prefers_html(&with(header::ACCEPT, &[&value]));
        }
    }
}

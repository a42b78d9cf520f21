//! Media types and the `Accept` header (contract 02 §7.12).

use axum::http::{HeaderMap, header::ACCEPT};

/// A media type the REST layer gives a meaning to, or any other by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    Json,
    ArrayStripped,
    Object {
        stripped: bool,
    },
    Csv,
    GeoJson,
    OpenApi,
    Plan(PlanRequest),
    /// `*/*` or `application/*`
    Any,
    /// Lower case, without parameters.
    Other(String),
}

/// `application/vnd.pgrst.plan+json; for="…"; options=…`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRequest {
    pub format: PlanFormat,
    /// The media type whose query is explained.
    pub of: Box<MediaType>,
    pub options: PlanOptions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanFormat {
    Json,
    Text,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "five independent switches of EXPLAIN")]
pub struct PlanOptions {
    pub analyze: bool,
    pub verbose: bool,
    pub settings: bool,
    pub buffers: bool,
    pub wal: bool,
}

impl MediaType {
    /// One entry of `Accept`, without its weight.
    pub fn parse(text: &str) -> Self {
        let mut parts = split_outside_quotes(text, ';').into_iter().map(str::trim);
        let essence = parts.next().unwrap_or("").to_ascii_lowercase();
        let parameters: Vec<(String, String)> = parts
            .filter_map(|part| part.split_once('='))
            .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()))
            .collect();
        let parameter = |key: &str| parameters.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
        let stripped = parameter("nulls") == Some("stripped");
        match essence.as_str() {
            "*/*" | "application/*" => Self::Any,
            "application/json" => Self::Json,
            "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" if stripped => Self::ArrayStripped,
            "application/vnd.pgrst.array+json" | "application/vnd.pgrst.array" => Self::Json,
            "application/vnd.pgrst.object+json" | "application/vnd.pgrst.object" => Self::Object { stripped },
            "text/csv" => Self::Csv,
            "application/geo+json" => Self::GeoJson,
            "application/openapi+json" => Self::OpenApi,
            "application/vnd.pgrst.plan" | "application/vnd.pgrst.plan+text" => {
                Self::plan(PlanFormat::Text, parameter("for"), parameter("options"))
            }
            "application/vnd.pgrst.plan+json" => Self::plan(PlanFormat::Json, parameter("for"), parameter("options")),
            _ => Self::Other(essence),
        }
    }

    fn plan(format: PlanFormat, of: Option<&str>, options: Option<&str>) -> Self {
        // A plan of a plan would recurse; it is read as the plan of JSON.
        let of = of.map_or(Self::Json, |text| match Self::parse(text) {
            Self::Plan(_) => Self::Json,
            other => other,
        });
        let mut switches = PlanOptions::default();
        for word in options.unwrap_or("").split('|') {
            match word.trim() {
                "analyze" => switches.analyze = true,
                "verbose" => switches.verbose = true,
                "settings" => switches.settings = true,
                "buffers" => switches.buffers = true,
                "wal" => switches.wal = true,
                _ => {}
            }
        }
        Self::Plan(PlanRequest { format, of: Box::new(of), options: switches })
    }

    /// The type without parameters, as error messages and custom handlers name it.
    pub fn essence(&self) -> &str {
        match self {
            Self::Json => "application/json",
            Self::ArrayStripped => "application/vnd.pgrst.array+json",
            Self::Object { .. } => "application/vnd.pgrst.object+json",
            Self::Csv => "text/csv",
            Self::GeoJson => "application/geo+json",
            Self::OpenApi => "application/openapi+json",
            Self::Plan(PlanRequest { format: PlanFormat::Json, .. }) => "application/vnd.pgrst.plan+json",
            Self::Plan(PlanRequest { format: PlanFormat::Text, .. }) => "application/vnd.pgrst.plan+text",
            Self::Any => "*/*",
            Self::Other(name) => name,
        }
    }

    /// The `Content-Type` of an answer in this type.
    pub fn content_type(&self) -> String {
        match self {
            Self::Any => "application/json; charset=utf-8".to_owned(),
            Self::ArrayStripped | Self::Object { stripped: true } => {
                format!("{};nulls=stripped; charset=utf-8", self.essence())
            }
            Self::Plan(plan) => plan.content_type(),
            // Binary and unknown types say nothing of a character set.
            Self::Other(name) if !name.starts_with("text/") => name.clone(),
            other => format!("{}; charset=utf-8", other.essence()),
        }
    }
}

impl PlanRequest {
    fn content_type(&self) -> String {
        let essence = match self.format {
            PlanFormat::Json => "application/vnd.pgrst.plan+json",
            PlanFormat::Text => "application/vnd.pgrst.plan+text",
        };
        let options = self.options.words().join("|");
        let options = if options.is_empty() { String::new() } else { format!("; options={options}") };
        format!("{essence}; for=\"{}\"{options}; charset=utf-8", self.of.essence())
    }
}

impl PlanOptions {
    pub fn words(self) -> Vec<&'static str> {
        let all = [
            (self.analyze, "analyze"),
            (self.verbose, "verbose"),
            (self.settings, "settings"),
            (self.buffers, "buffers"),
            (self.wal, "wal"),
        ];
        all.into_iter().filter(|(on, _)| *on).map(|(_, word)| word).collect()
    }
}

/// The accepted types, the most wanted first; without the header, anything.
pub fn accepted(headers: &HeaderMap) -> Vec<MediaType> {
    let mut weighted: Vec<(MediaType, u16)> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split_outside_quotes(value, ','))
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .map(|entry| (MediaType::parse(entry), weight(entry)))
        .collect();
    // Stable: equal weights keep the order of the header.
    weighted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    if weighted.is_empty() { vec![MediaType::Any] } else { weighted.into_iter().map(|(media, _)| media).collect() }
}

/// The `q` parameter in thousandths; 1000 when absent or unreadable.
fn weight(entry: &str) -> u16 {
    split_outside_quotes(entry, ';')
        .into_iter()
        .filter_map(|part| part.trim().strip_prefix("q="))
        .find_map(|value| value.trim().parse::<f32>().ok())
        .filter(|weight| (0.0..=1.0).contains(weight))
        .map_or(1000, |weight| (weight * 1000.0) as u16)
}

fn split_outside_quotes(text: &str, separator: char) -> Vec<&str> {
    let mut in_quotes = false;
    text.split(|c: char| {
        in_quotes ^= c == '"';
        c == separator && !in_quotes
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn accept(text: &str) -> Vec<MediaType> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(text).unwrap());
        accepted(&headers)
    }

    #[test]
    fn types_are_sorted_by_weight_then_order() {
        assert_eq!(
            accept("text/csv;q=0.5, application/json;q=0.9, image/png, */*;q=0.1, Text/Plain"),
            [
                MediaType::Other("image/png".into()),
                MediaType::Other("text/plain".into()),
                MediaType::Json,
                MediaType::Csv,
                MediaType::Any
            ]
        );
        assert_eq!(accept(""), [MediaType::Any]);
        assert_eq!(accepted(&HeaderMap::new()), [MediaType::Any]);
        assert_eq!(accept("application/*"), [MediaType::Any]);
    }

    #[test]
    fn vendor_types_and_their_parameters() {
        for (text, expected) in [
            ("application/vnd.pgrst.object+json", "application/vnd.pgrst.object+json; charset=utf-8"),
            ("application/vnd.pgrst.object", "application/vnd.pgrst.object+json; charset=utf-8"),
            (
                "application/vnd.pgrst.object+json;nulls=stripped",
                "application/vnd.pgrst.object+json;nulls=stripped; charset=utf-8",
            ),
            (
                "application/vnd.pgrst.array+json; nulls=stripped",
                "application/vnd.pgrst.array+json;nulls=stripped; charset=utf-8",
            ),
            ("application/vnd.pgrst.array+json", "application/json; charset=utf-8"),
            ("APPLICATION/JSON", "application/json; charset=utf-8"),
            ("application/octet-stream", "application/octet-stream"),
            ("text/xml", "text/xml; charset=utf-8"),
            ("*/*", "application/json; charset=utf-8"),
        ] {
            assert_eq!(MediaType::parse(text).content_type(), expected, "{text}");
        }
    }

    #[test]
    fn plans_name_what_they_explain() {
        let parsed = accept("application/vnd.pgrst.plan+json; for=\"text/csv\"; options=analyze|buffers|nonsense;");
        let MediaType::Plan(plan) = &parsed[0] else { panic!() };
        assert_eq!(*plan.of, MediaType::Csv);
        assert_eq!(plan.options.words(), ["analyze", "buffers"]);
        let nested = MediaType::parse("application/vnd.pgrst.plan; for=\"application/vnd.pgrst.plan\"");
        let MediaType::Plan(plan) = nested else { panic!() };
        assert_eq!((plan.format, *plan.of), (PlanFormat::Text, MediaType::Json));
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "[ -~]{0,80}") {
            accept(&text);
        }
    }
}

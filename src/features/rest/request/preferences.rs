//! The `Prefer` header (RFC 7240; contract 02 §7.11).

use axum::http::HeaderMap;

use crate::features::rest::error::NativeError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Return {
    Minimal,
    HeadersOnly,
    Representation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    Exact,
    Planned,
    Estimated,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    MergeDuplicates,
    IgnoreDuplicates,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    Default,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handling {
    Lenient,
    Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    Commit,
    Rollback,
}

/// The first value of each kind, and every token that means nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preferences {
    pub returning: Option<Return>,
    pub count: Option<Count>,
    pub resolution: Option<Resolution>,
    pub missing: Option<Missing>,
    pub handling: Option<Handling>,
    pub transaction: Option<TransactionEnd>,
    pub timezone: Option<String>,
    pub max_affected: Option<i64>,
    invalid: Vec<String>,
}

impl Preferences {
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let tokens = headers
            .get_all("prefer")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|token| !token.is_empty());
        for token in tokens {
            if !preferences.take(token) {
                preferences.invalid.push(token.to_owned());
            }
        }
        preferences
    }

    /// False when the token is no preference we know.
    fn take(&mut self, token: &str) -> bool {
        fn first<T>(slot: &mut Option<T>, value: T) -> bool {
            slot.get_or_insert(value);
            true
        }
        let Some((key, value)) = token.split_once('=') else { return false };
        let (key, value) = (key.trim(), value.trim());
        match (key, value) {
            ("return", "minimal") => first(&mut self.returning, Return::Minimal),
            ("return", "headers-only") => first(&mut self.returning, Return::HeadersOnly),
            ("return", "representation") => first(&mut self.returning, Return::Representation),
            ("count", "exact") => first(&mut self.count, Count::Exact),
            ("count", "planned") => first(&mut self.count, Count::Planned),
            ("count", "estimated") => first(&mut self.count, Count::Estimated),
            ("resolution", "merge-duplicates") => first(&mut self.resolution, Resolution::MergeDuplicates),
            ("resolution", "ignore-duplicates") => first(&mut self.resolution, Resolution::IgnoreDuplicates),
            ("missing", "default") => first(&mut self.missing, Missing::Default),
            ("missing", "null") => first(&mut self.missing, Missing::Null),
            ("handling", "lenient") => first(&mut self.handling, Handling::Lenient),
            ("handling", "strict") => first(&mut self.handling, Handling::Strict),
            ("tx", "commit") => first(&mut self.transaction, TransactionEnd::Commit),
            ("tx", "rollback") => first(&mut self.transaction, TransactionEnd::Rollback),
            ("params", "single-object") => true,
            ("timezone", name) if !name.is_empty() => first(&mut self.timezone, name.to_owned()),
            ("max-affected", number) => match number.parse::<i64>() {
                Ok(number) if number >= 0 => first(&mut self.max_affected, number),
                _ => false,
            },
            _ => false,
        }
    }

    pub fn is_strict(&self) -> bool {
        self.handling == Some(Handling::Strict)
    }

    /// The row limit that has to be enforced: the preference counts only under strict handling.
    pub fn enforced_max_affected(&self) -> Option<i64> {
        self.max_affected.filter(|_| self.is_strict())
    }

    pub fn wants_representation(&self) -> bool {
        self.returning == Some(Return::Representation)
    }

    /// Drops a time zone that the server does not know; under strict handling it is an error like any other.
    #[must_use]
    pub fn with_known_timezone(mut self, is_known: impl Fn(&str) -> bool) -> Self {
        if let Some(name) = self.timezone.take_if(|name| !is_known(name)) {
            self.invalid.push(format!("timezone={name}"));
        }
        self
    }

    /// # Errors
    /// PGRST122 under strict handling when any token was not understood.
    pub fn check(&self) -> Result<(), NativeError> {
        if self.is_strict() && !self.invalid.is_empty() {
            return Err(NativeError::bad_request("PGRST122", "Invalid preferences given with handling=strict")
                .details(format!("Invalid preferences: {}", self.invalid.join(", "))));
        }
        Ok(())
    }
}

/// Which preferences a kind of request honours, and so echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Honoured {
    pub resolution: bool,
    pub missing: bool,
    pub returning: bool,
    pub max_affected: bool,
    pub transaction: bool,
}

impl Preferences {
    /// The value of `Preference-Applied`; None when nothing was asked that applies.
    pub fn applied(&self, honoured: Honoured) -> Option<String> {
        let resolution = self.resolution.filter(|_| honoured.resolution).map(|value| match value {
            Resolution::MergeDuplicates => "resolution=merge-duplicates",
            Resolution::IgnoreDuplicates => "resolution=ignore-duplicates",
        });
        let missing = self.missing.filter(|_| honoured.missing).map(|value| match value {
            Missing::Default => "missing=default",
            Missing::Null => "missing=null",
        });
        let returning = self.returning.filter(|_| honoured.returning).map(|value| match value {
            Return::Minimal => "return=minimal",
            Return::HeadersOnly => "return=headers-only",
            Return::Representation => "return=representation",
        });
        let count = self.count.map(|value| match value {
            Count::Exact => "count=exact",
            Count::Planned => "count=planned",
            Count::Estimated => "count=estimated",
        });
        let transaction = self.transaction.filter(|_| honoured.transaction).map(|value| match value {
            TransactionEnd::Commit => "tx=commit",
            TransactionEnd::Rollback => "tx=rollback",
        });
        let handling = self.handling.map(|value| match value {
            Handling::Lenient => "handling=lenient",
            Handling::Strict => "handling=strict",
        });
        let fixed = [resolution, missing, returning, count, transaction, handling].into_iter().flatten();
        let mut applied: Vec<String> = fixed.map(str::to_owned).collect();
        applied.extend(self.timezone.as_ref().map(|name| format!("timezone={name}")));
        let max_affected = self.enforced_max_affected().filter(|_| honoured.max_affected);
        applied.extend(max_affected.map(|number| format!("max-affected={number}")));
        if applied.is_empty() { None } else { Some(applied.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn parse(values: &[&str]) -> Preferences {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", HeaderValue::from_str(value).unwrap());
        }
        Preferences::parse(&headers)
    }

    const ALL: Honoured =
        Honoured { resolution: true, missing: true, returning: true, max_affected: true, transaction: false };

    #[test]
    fn the_first_of_each_kind_wins_over_commas_and_headers() {
        let parsed = parse(&["return=minimal, count=exact", "return=representation,count=planned"]);
        assert_eq!((parsed.returning, parsed.count), (Some(Return::Minimal), Some(Count::Exact)));
        assert!(parsed.check().is_ok());
    }

    #[test]
    fn unknown_preferences_matter_only_under_strict_handling() {
        assert!(parse(&["foo=bar, return=everything, baz"]).check().is_ok());
        let error = parse(&["handling=strict, foo=bar, max-affected=x, anything"]).check().unwrap_err();
        assert_eq!(error.code, "PGRST122");
        assert_eq!(error.details, "Invalid preferences: foo=bar, max-affected=x, anything");
    }

    #[test]
    fn max_affected_counts_only_under_strict_handling() {
        assert_eq!(parse(&["max-affected=3"]).enforced_max_affected(), None);
        assert_eq!(parse(&["handling=strict, max-affected=3"]).enforced_max_affected(), Some(3));
        assert_eq!(parse(&["handling=strict, max-affected=-3"]).enforced_max_affected(), None);
    }

    #[test]
    fn applied_lists_what_was_honoured_in_the_fixed_order() {
        let parsed = parse(&[
            "max-affected=5,timezone=Europe/Paris,handling=strict,tx=rollback,count=exact,return=representation,missing=default,resolution=merge-duplicates",
        ]);
        assert_eq!(
            parsed.applied(ALL).unwrap(),
            "resolution=merge-duplicates, missing=default, return=representation, count=exact, handling=strict, timezone=Europe/Paris, max-affected=5"
        );
        let read =
            Honoured { resolution: false, missing: false, returning: false, max_affected: false, transaction: false };
        assert_eq!(parse(&["return=representation"]).applied(read), None);
        assert_eq!(parse(&["return=representation,count=exact"]).applied(read).unwrap(), "count=exact");
    }

    #[test]
    fn an_unknown_time_zone_is_dropped_or_refused() {
        let lenient = parse(&["timezone=Mars/Base"]).with_known_timezone(|_| false);
        assert_eq!((lenient.timezone.as_deref(), lenient.check().is_ok()), (None, true));
        let strict = parse(&["handling=strict,timezone=Mars/Base"]).with_known_timezone(|_| false);
        assert_eq!(strict.check().unwrap_err().details, "Invalid preferences: timezone=Mars/Base");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text in "[ -~]{0,80}") {
            let _ = parse(&[&text]).applied(ALL);
        }
    }
}

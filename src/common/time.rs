//! Time as the API writes it, and a clock that tests can set.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize, Serializer};
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, private::BytesMut};

/// A moment in UTC, written with milliseconds and `Z` (contract 01 §1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub jiff::Timestamp);

impl Timestamp {
    pub fn from_millis(millis: i64) -> Option<Self> {
        jiff::Timestamp::from_millisecond(millis).ok().map(Self)
    }

    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    pub fn as_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Later by `duration`; saturates at the end of representable time.
    #[must_use]
    pub fn plus(self, duration: SignedDuration) -> Self {
        Self(self.0.saturating_add(duration).unwrap_or(self.0))
    }

    #[must_use]
    pub fn minus(self, duration: SignedDuration) -> Self {
        self.plus(-duration)
    }

    /// How long after `earlier`; negative when it is before.
    pub fn since(self, earlier: Self) -> SignedDuration {
        self.0.duration_since(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        jiff::Timestamp::deserialize(deserializer).map(Self)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <jiff::Timestamp as ToSql>::accepts(ty)
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Timestamp {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        jiff::Timestamp::from_sql(ty, raw).map(Self)
    }

    fn accepts(ty: &Type) -> bool {
        <jiff::Timestamp as FromSql>::accepts(ty)
    }
}

/// Where "now" comes from. The product uses [`Clock::system`]; tests of time rules use [`Clock::fixed`].
#[derive(Clone, Debug)]
pub struct Clock(Option<Arc<AtomicI64>>);

impl Clock {
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn fixed(at: Timestamp) -> Self {
        Self(Some(Arc::new(AtomicI64::new(at.as_millis()))))
    }

    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Timestamp(jiff::Timestamp::now()),
            Some(millis) => {
                Timestamp::from_millis(millis.load(Ordering::SeqCst)).unwrap_or(Timestamp(jiff::Timestamp::UNIX_EPOCH))
            }
        }
    }

    /// Moves a fixed clock; the system clock does not listen.
    pub fn advance(&self, by: SignedDuration) {
        if let Some(millis) = &self.0 {
            millis.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_milliseconds_and_z() {
        let at = Timestamp::from_millis(1_781_863_200_000).unwrap();
        assert_eq!(at.to_string(), "2026-06-19T10:00:00.000Z");
        assert_eq!(serde_json::to_string(&at).unwrap(), "\"2026-06-19T10:00:00.000Z\"");
    }

    #[test]
    fn fixed_clock_moves_only_when_told() {
        let clock = Clock::fixed(Timestamp::from_millis(0).unwrap());
        assert_eq!(clock.now(), clock.now());
        clock.advance(SignedDuration::from_secs(5));
        assert_eq!(clock.now().as_seconds(), 5);
    }
}

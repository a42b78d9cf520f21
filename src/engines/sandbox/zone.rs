//! Time zones: the database in the binary answers what `Intl.DateTimeFormat` asks.

use std::sync::LazyLock;

use jiff::{
    Timestamp,
    tz::{Dst, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use super::services::ServiceError;

/// The same in every installation, and read from memory: no function waits for a disk here.
static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

#[derive(Deserialize)]
struct Question {
    name: String,
    /// Milliseconds since 1970.
    at: f64,
}

/// An offset and the stretch of time it holds for.
#[derive(Serialize)]
struct Answer<'a> {
    name: &'a str,
    /// Seconds east of Greenwich.
    offset: i32,
    abbreviation: &'a str,
    dst: bool,
    from: Option<i64>,
    until: Option<i64>,
}

fn refused() -> ServiceError {
    ServiceError::named("RangeError", "Invalid time zone specified")
}

/// The offset of a zone at a time. `Intl` reaches further than the calendar of the database, whose ends stand for
/// what is beyond.
pub(super) fn offset(payload: &[u8]) -> Result<Vec<u8>, ServiceError> {
    let Question { name, at } = serde_json::from_slice(payload).map_err(|_| refused())?;
    let zone = DATABASE.get(&name).map_err(|_| refused())?;
    let milliseconds = if at.is_finite() { at as i64 } else { 0 };
    let time =
        Timestamp::from_millisecond(milliseconds).unwrap_or(if at < 0.0 { Timestamp::MIN } else { Timestamp::MAX });
    let info = zone.to_offset_info(time);
    // A transition at this very moment began the stretch: the one before it is looked for from a moment later.
    let later = time.checked_add(jiff::SignedDuration::from_nanos(1)).unwrap_or(time);
    let answer = Answer {
        name: zone.iana_name().unwrap_or(&name),
        offset: info.offset().seconds(),
        abbreviation: info.abbreviation(),
        dst: info.dst() == Dst::Yes,
        from: zone.preceding(later).next().map(|transition| transition.timestamp().as_millisecond()),
        until: zone.following(time).next().map(|transition| transition.timestamp().as_millisecond()),
    };
    serde_json::to_vec(&answer).map_err(|_| refused())
}

/// Every name, one a line.
pub(super) fn names() -> Vec<u8> {
    let mut names: Vec<String> = DATABASE.available().map(|name| name.to_string()).collect();
    names.sort_unstable();
    names.join("\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn ask(name: &str, at: f64) -> Value {
        let question = serde_json::to_vec(&json!({ "name": name, "at": at })).unwrap();
        offset(&question).map(|bytes| serde_json::from_slice(&bytes).unwrap()).unwrap_or(Value::Null)
    }

    #[test]
    fn a_zone_tells_its_offset_and_how_long_it_holds() {
        // Summer of 2024 in Berlin: from 31 March to 27 October, 01:00 UTC both.
        let (from, until) = (1_711_846_800_000_i64, 1_729_990_800_000_i64);
        let summer = json!({ "name": "Europe/Berlin", "offset": 7200, "abbreviation": "CEST", "dst": true, "from": from, "until": until });
        for at in [from as f64, 1.72e12, until as f64 - 1.0] {
            assert_eq!(ask("europe/berlin", at), summer, "{at}");
        }
        assert_eq!(ask("Europe/Berlin", from as f64 - 1.0)["offset"], 3600);
        assert_eq!(ask("Europe/Berlin", until as f64)["offset"], 3600);
        assert_eq!(ask("Asia/Kolkata", 0.0)["offset"], 19_800);
    }

    #[test]
    fn times_beyond_the_database_and_names_that_are_none_are_no_trouble() {
        for at in [8.64e15, -8.64e15, 1e300, -1e300] {
            assert!(ask("America/New_York", at)["offset"].is_i64(), "{at}");
        }
        for name in ["", "Nowhere/Here", "../../etc/passwd", "Europe/Berlin\0"] {
            assert_eq!(ask(name, 0.0), Value::Null, "{name}");
        }
        assert!(String::from_utf8(names()).unwrap().lines().any(|name| name == "Europe/Berlin"));
    }
}

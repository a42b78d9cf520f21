//! When a schedule runs next (contract 05 §5.1, §5.3). Pure.

use jiff::{
    ToSpan,
    civil::Weekday,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::{common::Timestamp, features::releases::Schedule};

/// The rarest schedule, 29 February on a given weekday aside, comes within eight years (2096 to 2104 has none).
const DAYS_AHEAD: usize = 366 * 9;

/// The first time after `after`, by the clocks of `zone`: times that the clocks skip do not come, times they show
/// twice come once. None: not within nine years.
pub(super) fn next_after(schedule: &Schedule, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let local = after.0.to_zoned(zone.clone()).datetime();
    let mut day = local.date();
    // Back by a day: around a change of the clocks the local time of the next run can be earlier than that of now.
    let mut minute = 0;
    if zone == &TimeZone::UTC {
        minute = u32::try_from(local.hour()).ok()? * 60 + u32::try_from(local.minute()).ok()?;
    }
    for _ in 0..DAYS_AHEAD {
        let (month, of_month) = (u32::try_from(day.month()).ok()?, u32::try_from(day.day()).ok()?);
        let weekday = weekday(day.weekday());
        for at in minute..24 * 60 {
            if !schedule.is_due(at % 60, at / 60, of_month, month, weekday) {
                continue;
            }
            let time = day.at(i8::try_from(at / 60).ok()?, i8::try_from(at % 60).ok()?, 0, 0);
            let ambiguous = zone.to_ambiguous_timestamp(time);
            if matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. }) {
                continue;
            }
            let moment = Timestamp(ambiguous.earlier().ok()?);
            if moment > after {
                return Some(moment);
            }
        }
        minute = 0;
        day = day.checked_add(1.day()).ok()?;
    }
    None
}

/// 0 is Sunday.
fn weekday(day: Weekday) -> u32 {
    u32::try_from(day.to_sunday_zero_offset()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        let after = Timestamp(after.parse().unwrap());
        next_after(&Schedule::parse(cron).unwrap(), &zone, after).map_or("never".into(), |next| next.0.to_string())
    }

    #[test]
    fn the_next_run_comes_after_now() {
        let cases = [
            ("* * * * *", "2026-06-19T10:00:00Z", "2026-06-19T10:01:00Z"),
            ("* * * * *", "2026-06-19T10:00:59.999Z", "2026-06-19T10:01:00Z"),
            ("*/5 * * * *", "2026-06-19T10:58:00Z", "2026-06-19T11:00:00Z"),
            ("0 9 * * 1-5", "2026-06-19T10:00:00Z", "2026-06-22T09:00:00Z"),
            ("0 0 1 1 *", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 0 29 2 *", "2096-03-01T00:00:00Z", "2104-02-29T00:00:00Z"),
            ("0 12 13 * 5", "2026-06-01T00:00:00Z", "2026-06-05T12:00:00Z"),
            ("59 23 31 12 *", "2026-12-31T23:58:59Z", "2026-12-31T23:59:00Z"),
            ("0 0 * * 7", "2026-06-19T10:00:00Z", "2026-06-21T00:00:00Z"),
        ];
        for (cron, after, expected) in cases {
            assert_eq!(next(cron, "UTC", after), expected, "{cron} after {after}");
        }
    }

    #[test]
    fn clocks_that_change_skip_what_they_skip_and_repeat_nothing() {
        let cases = [
            // In New York 02:30 does not exist on 8 March 2026.
            ("30 2 * * *", "2026-03-08T06:00:00Z", "2026-03-09T06:30:00Z"),
            // And 01:30 comes twice on 1 November: the first counts.
            ("30 1 * * *", "2026-11-01T05:00:00Z", "2026-11-01T05:30:00Z"),
            ("30 1 * * *", "2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"),
            ("0 9 * * *", "2026-07-01T00:00:00Z", "2026-07-01T13:00:00Z"),
        ];
        for (cron, after, expected) in cases {
            assert_eq!(next(cron, "America/New_York", after), expected, "{cron} after {after}");
        }
    }

    proptest! {
        #[test]
        fn it_is_later_and_on_a_minute(cron in "(\\*|[0-5]?[0-9]) (\\*|1?[0-9]) (\\*|1?[1-9]) \\* (\\*|[0-6])", seconds in 0i64..4_000_000_000) {
            let Ok(schedule) = Schedule::parse(&cron) else { return Ok(()) };
            let after = Timestamp::from_millis(seconds * 1000).unwrap();
            let next = next_after(&schedule, &TimeZone::UTC, after).unwrap();
            prop_assert!(next > after && next.as_seconds() % 60 == 0);
        }
    }
}

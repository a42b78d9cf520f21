//! Cron schedules: five fields in UTC (contract 03 §4.3 `Fn.schedule`).

use std::fmt;

/// A schedule, checked: which minutes, hours, days, months and weekdays it names, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// A field written `*` does not restrict; with both days restricted either suffices, as cron has it.
    any_day: bool,
    any_weekday: bool,
}

/// Why a text is no schedule; prints as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error("A schedule has five fields: minute, hour, day of month, month, day of week.")]
    Fields,
    #[error(
        "The {0} field of the schedule is not `*`, a number, a range, a list or a step of these, or is outside {1}."
    )]
    Field(&'static str, Range),
    #[error("The schedule names days that no month of it has, so it would never run.")]
    Never,
}

/// Smallest and largest value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range(u32, u32);

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.0, self.1)
    }
}

const MONTHS: [&str; 12] = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const WEEKDAYS: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];
/// Days of each month, February in a leap year.
const DAYS_OF_MONTH: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
const MINUTES_OF_DAY: u32 = 24 * 60;

impl Schedule {
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let mut fields = text.split_ascii_whitespace();
        let mut next = || fields.next().ok_or(ScheduleError::Fields);
        let (minute, hour, day, month, weekday) = (next()?, next()?, next()?, next()?, next()?);
        if fields.next().is_some() {
            return Err(ScheduleError::Fields);
        }
        let weekdays = bits(weekday, "day-of-week", Range(0, 7), &WEEKDAYS, 0)?;
        let schedule = Self {
            minutes: bits(minute, "minute", Range(0, 59), &[], 0)?,
            hours: bits(hour, "hour", Range(0, 23), &[], 0)?,
            days: bits(day, "day-of-month", Range(1, 31), &[], 0)?,
            months: bits(month, "month", Range(1, 12), &MONTHS, 1)?,
            // 7 is Sunday as well.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            any_day: day.starts_with('*'),
            any_weekday: weekday.starts_with('*'),
        };
        let some_day = (1..=12).filter(|month| schedule.months & 1 << month != 0).any(|month| {
            let last = DAYS_OF_MONTH[month - 1];
            (1..=last).any(|day| schedule.days & 1 << day != 0)
        });
        if some_day || (!schedule.any_weekday && !schedule.any_day) { Ok(schedule) } else { Err(ScheduleError::Never) }
    }

    /// Whether it names this minute. `weekday`: 0 is Sunday.
    pub fn is_due(&self, minute: u32, hour: u32, day: u32, month: u32, weekday: u32) -> bool {
        let has = |bits: u64, value: u32| value < 64 && bits & 1 << value != 0;
        let day_fits = has(self.days, day);
        let weekday_fits = has(self.weekdays, weekday);
        let date_fits = match (self.any_day, self.any_weekday) {
            (false, false) => day_fits || weekday_fits,
            _ => day_fits && weekday_fits,
        };
        has(self.minutes, minute) && has(self.hours, hour) && has(self.months, month) && date_fits
    }

    /// The shortest time between two of its runs, in minutes, days in a row assumed; a day when it names one minute.
    pub fn shortest_interval(&self) -> u32 {
        let mut times =
            (0..MINUTES_OF_DAY).filter(|at| self.hours & 1 << (at / 60) != 0 && self.minutes & 1 << (at % 60) != 0);
        let Some(first) = times.next() else { return MINUTES_OF_DAY };
        let (shortest, last) =
            times.fold((MINUTES_OF_DAY, first), |(shortest, before), at| (shortest.min(at - before), at));
        shortest.min(first + MINUTES_OF_DAY - last)
    }
}

/// The values a field names, as bits.
fn bits(field: &str, name: &'static str, range: Range, names: &[&str], offset: u32) -> Result<u64, ScheduleError> {
    let wrong = || ScheduleError::Field(name, range);
    let number = |text: &str| -> Option<u32> {
        if let Some(index) = names.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return u32::try_from(index).ok().map(|index| index + offset);
        }
        let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.then(|| text.parse().ok()).flatten()?;
        (range.0..=range.1).contains(&value).then_some(value)
    };
    let mut bits = 0;
    for part in field.split(',') {
        let (span, step) = match part.split_once('/') {
            Some((span, step)) => {
                let digits = (1..=2).contains(&step.len()) && step.bytes().all(|byte| byte.is_ascii_digit());
                let step: u32 = if digits { step.parse().map_err(|_| wrong())? } else { 0 };
                if step == 0 {
                    return Err(wrong());
                }
                (span, Some(step))
            }
            None => (part, None),
        };
        let (from, to) = match span.split_once('-') {
            _ if span == "*" => (range.0, range.1),
            Some((from, to)) => (number(from).ok_or_else(wrong)?, number(to).ok_or_else(wrong)?),
            // `5/10` counts from 5 to the end, as cron has it.
            None => {
                let from = number(span).ok_or_else(wrong)?;
                (from, if step.is_some() { range.1 } else { from })
            }
        };
        if from > to {
            return Err(wrong());
        }
        for value in (from..=to).step_by(step.unwrap_or(1) as usize) {
            bits |= 1u64 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn schedules_are_read_with_their_shortest_interval() {
        let cases = [
            ("* * * * *", 1),
            ("*/5 * * * *", 5),
            ("*/7 * * * *", 4),
            ("0 * * * *", 60),
            ("0 9 * * 1-5", 1440),
            ("0,1 9 * * *", 1),
            ("0 0,23 * * *", 60),
            ("30 1-3 * JAN,dec sun", 60),
            ("5/10 0 1 1 7", 10),
            ("0 0 29 2 *", 1440),
            ("0 0 31 2 1", 1440),
        ];
        for (text, interval) in cases {
            assert_eq!(Schedule::parse(text).map(|schedule| schedule.shortest_interval()), Ok(interval), "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in [
            "",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 0 *",
            "* * * 13 *",
            "* * * * 8",
            "a * * * *",
            "*/0 * * * *",
            "*/ * * * *",
            "1- * * * *",
            "5-1 * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1.5 * * * *",
            "@daily",
            "* * * * MONDAY",
            "0 0 31 2 *",
            "0 0 30,31 feb *",
            "*/100 * * * *",
            "1/2/3 * * * *",
            "** * * * *",
            "001 * * * *",
        ] {
            assert!(Schedule::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn with_both_days_restricted_either_is_due() {
        let both = Schedule::parse("0 12 13 * 5").unwrap();
        assert!(both.is_due(0, 12, 13, 4, 1));
        assert!(both.is_due(0, 12, 14, 4, 5));
        assert!(!both.is_due(0, 12, 14, 4, 1));
        assert!(!both.is_due(1, 12, 13, 4, 5));
        let weekday = Schedule::parse("0 12 * * 7").unwrap();
        assert!(weekday.is_due(0, 12, 14, 4, 0));
        assert!(!weekday.is_due(0, 12, 14, 4, 1));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9*,/ a-z]{0,30}|\\PC{0,30}") {
            if let Ok(schedule) = Schedule::parse(&text) {
                prop_assert!((1..=1440).contains(&schedule.shortest_interval()));
            }
        }
    }
}

//! Cron schedules as robfig/cron reads them, which upstream uses: five fields, or a descriptor such as `@hourly`. Pure.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

/// Why text is no schedule, in robfig/cron's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the words of each say it")]
pub enum ScheduleError {
    #[error("expected exactly 5 fields, found {found}: [{fields}]")]
    Fields { found: usize, fields: String },
    #[error("unrecognized descriptor: {0}")]
    Descriptor(String),
    #[error("too many {what}: {text}")]
    TooMany { what: &'static str, text: String },
    #[error("failed to parse int from {0}: strconv.Atoi: parsing \"{0}\": invalid syntax")]
    Number(String),
    #[error("beginning of range ({start}) below minimum ({least}): {text}")]
    Below { start: u32, least: u32, text: String },
    #[error("end of range ({end}) above maximum ({most}): {text}")]
    Above { end: u32, most: u32, text: String },
    #[error("beginning of range ({start}) beyond end of range ({end}): {text}")]
    Backwards { start: u32, end: u32, text: String },
    #[error("step of range should be a positive number: {0}")]
    Step(String),
    #[error("failed to parse duration {0}: time: invalid duration")]
    Duration(String),
    #[error("provided bad location {0}: unknown time zone {0}")]
    Zone(String),
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A field's least and greatest number, and names for numbers from the least on.
type Bounds = (u32, u32, &'static [&'static str]);

const FIELDS: [Bounds; 5] = [
    (0, 59, &[]),
    (0, 23, &[]),
    (1, 31, &[]),
    (1, 12, &MONTHS),
    (0, 6, &DAYS),
];

/// How many years ahead a time is looked for.
const YEARS: i16 = 5;

/// When something is to happen, again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// The zone that the schedule itself names (`TZ=...`).
    zone: Option<TimeZone>,
    times: Times,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Times {
    /// Whenever all fields match: minute, hour, day of the month, month, day of the week.
    Matching([Field; 5]),
    /// Each time so much later.
    Every(SignedDuration),
}

/// The numbers that match, as bits, and whether all were asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Field {
    numbers: u64,
    any: bool,
}

impl Field {
    fn matches(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.numbers >> number & 1 == 1)
    }
}

impl Schedule {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`ScheduleError`] for text that is none.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let prefix = ["TZ=", "CRON_TZ="]
            .iter()
            .find_map(|prefix| text.strip_prefix(prefix));
        let (zone, text) = match prefix {
            None => (None, text),
            Some(rest) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let zone = zone(name).ok_or_else(|| ScheduleError::Zone(name.to_owned()))?;
                (Some(zone), rest.trim())
            }
        };
        let times = match text.strip_prefix('@') {
            Some(name) => descriptor(text, name)?,
            None => Times::Matching(fields(text)?),
        };
        Ok(Self { zone, times })
    }

    /// The first time after `after`, by the clocks of `zone` where the schedule names none of its own. None where there is none
    /// within five years.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let second = Timestamp::from_second(after.as_second()).ok()?;
        match &self.times {
            Times::Every(pause) => second.checked_add(*pause).ok(),
            Times::Matching(fields) => {
                let zone = self.zone.as_ref().unwrap_or(zone);
                let from = second.checked_add(SignedDuration::from_secs(1)).ok()?;
                search(fields, from.to_zoned(zone.clone()))
            }
        }
    }
}

/// The time zone of this name, as Go finds it: nothing is UTC, and names are spelled as the database spells them.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        name => TimeZone::get(name)
            .ok()
            .filter(|zone| zone.iana_name() == Some(name)),
    }
}

/// Goes on in ever smaller steps until everything matches. Hours and minutes pass in real time, so that one which the clocks leave
/// out does not come, and one that they repeat comes twice.
fn search(fields: &[Field; 5], from: Zoned) -> Option<Timestamp> {
    let [minute, hour, day, month, weekday] = fields;
    let last = from.year().checked_add(YEARS)?;
    let left = (60 - i64::from(from.second())) % 60;
    let mut at = from.checked_add(SignedDuration::from_secs(left)).ok()?;
    while at.year() <= last {
        let (by_day, by_weekday) = (
            day.matches(at.day()),
            weekday.matches(at.weekday().to_sunday_zero_offset()),
        );
        // Where both are given, one will do.
        let is_day = if day.any || weekday.any {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        };
        at = if !month.matches(at.month()) || !is_day {
            at.tomorrow().and_then(|next| next.start_of_day()).ok()?
        } else if !hour.matches(at.hour()) {
            let left = 60 - i64::from(at.minute());
            at.checked_add(SignedDuration::from_mins(left)).ok()?
        } else if !minute.matches(at.minute()) {
            at.checked_add(SignedDuration::from_mins(1)).ok()?
        } else {
            return Some(at.timestamp());
        };
    }
    None
}

fn fields(text: &str) -> Result<[Field; 5], ScheduleError> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(ScheduleError::Fields {
            found: parts.len(),
            fields: parts.join(" "),
        });
    }
    let mut fields = [Field::default(); 5];
    for ((text, bounds), field) in parts.iter().zip(FIELDS).zip(&mut fields) {
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let more = range(part, bounds)?;
            field.numbers |= more.numbers;
            field.any |= more.any;
        }
    }
    Ok(fields)
}

fn descriptor(text: &str, name: &str) -> Result<Times, ScheduleError> {
    let same_as = match name {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            let pause = name
                .strip_prefix("every ")
                .ok_or_else(|| ScheduleError::Descriptor(text.to_owned()))?;
            let pause = duration(pause).ok_or_else(|| ScheduleError::Duration(text.to_owned()))?;
            return Ok(Times::Every(pause));
        }
    };
    fields(same_as).map(Times::Matching)
}

/// Reads one of Go's durations, numbers with units such as `1h30m`, in whole seconds and at least one.
fn duration(text: &str) -> Option<SignedDuration> {
    let least = SignedDuration::from_secs(1);
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(least);
    }
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest
            .bytes()
            .take_while(|b| b.is_ascii_digit() || *b == b'.')
            .count();
        let (number, after) = rest.split_at(digits);
        let units = [
            ("ns", 1e-9),
            ("us", 1e-6),
            ("µs", 1e-6),
            ("ms", 1e-3),
            ("s", 1.0),
            ("m", 60.0),
            ("h", 3600.0),
        ];
        let fitting = units.iter().filter(|(unit, _)| after.starts_with(unit));
        let (unit, worth) = fitting.max_by_key(|(unit, _)| unit.len())?;
        seconds += number.parse::<f64>().ok()? * worth;
        rest = &after[unit.len()..];
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let duration = SignedDuration::try_from_secs_f64(sign * seconds).ok()?;
    Some(duration.max(least)).map(|duration| SignedDuration::from_secs(duration.as_secs()))
}

fn range(text: &str, (least, most, names): Bounds) -> Result<Field, ScheduleError> {
    let steps: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = steps[0].split('-').collect();
    let whole = matches!(ends[0], "*" | "?");
    let (start, mut end) = match ends[..] {
        [_] | [_, _] if whole => (least, most),
        [one] => {
            let number = number(one, least, names)?;
            (number, number)
        }
        [first, last] => (number(first, least, names)?, number(last, least, names)?),
        _ => {
            return Err(ScheduleError::TooMany {
                what: "hyphens",
                text: text.to_owned(),
            });
        }
    };
    let step = match steps[..] {
        [_] => 1,
        [_, step] => {
            if ends.len() == 1 && !whole {
                end = most;
            }
            number(step, 0, &[])?
        }
        _ => {
            return Err(ScheduleError::TooMany {
                what: "slashes",
                text: text.to_owned(),
            });
        }
    };
    let text = text.to_owned();
    if start < least {
        return Err(ScheduleError::Below { start, least, text });
    }
    if end > most {
        return Err(ScheduleError::Above { end, most, text });
    }
    if start > end {
        return Err(ScheduleError::Backwards { start, end, text });
    }
    let stride = usize::try_from(step)
        .ok()
        .filter(|stride| *stride > 0)
        .ok_or(ScheduleError::Step(text))?;
    let numbers = (start..=end).step_by(stride).fold(0, |all, one| all | 1 << one);
    Ok(Field {
        numbers,
        any: whole && stride == 1,
    })
}

fn number(text: &str, least: u32, names: &[&str]) -> Result<u32, ScheduleError> {
    let lower = text.to_lowercase();
    if let Some(index) = names.iter().position(|name| *name == lower) {
        return Ok(least + u32::try_from(index).unwrap_or_default());
    }
    text.parse().map_err(|_| ScheduleError::Number(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules() {
        let good = [
            "* * * * *",
            "*/5 1-3,7 1 jan-mar mon",
            "@hourly",
            "@every 1h30m",
            "0 0 31 12 6",
            "TZ=UTC 1 2 3 4 5",
        ];
        for schedule in good {
            assert!(Schedule::parse(schedule).is_ok(), "{schedule}");
        }
        let bad = [
            ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
            ("60 * * * *", "end of range (60) above maximum (59): 60"),
            ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
            (
                "a * * * *",
                "failed to parse int from a: strconv.Atoi: parsing \"a\": invalid syntax",
            ),
            ("*/0 * * * *", "step of range should be a positive number: */0"),
            (
                "TZ=Nowhere 1 2 3 4 5",
                "provided bad location Nowhere: unknown time zone Nowhere",
            ),
            ("@never", "unrecognized descriptor: @never"),
            (
                "5-1 * * * *",
                "beginning of range (5) beyond end of range (1): 5-1",
            ),
        ];
        for (schedule, want) in bad {
            assert_eq!(Schedule::parse(schedule).unwrap_err().to_string(), want);
        }
    }

    #[test]
    fn the_next_time() {
        for (schedule, zone, after, want) in [
            ("* * * * *", "", "2026-03-01T10:00:00Z", "2026-03-01T10:01:00Z"),
            ("* * * * *", "", "2026-03-01T10:00:59.5Z", "2026-03-01T10:01:00Z"),
            ("*/15 * * * *", "", "2026-03-01T10:50:00Z", "2026-03-01T11:00:00Z"),
            ("0 0 1 1 *", "", "2026-03-01T10:00:00Z", "2027-01-01T00:00:00Z"),
            ("0 0 29 2 *", "", "2026-03-01T10:00:00Z", "2028-02-29T00:00:00Z"),
            // A day of the month or a day of the week, but both where one is a star.
            ("0 0 13 * fri", "", "2026-03-01T10:00:00Z", "2026-03-06T00:00:00Z"),
            (
                "0 0 */1 * fri",
                "",
                "2026-03-01T10:00:00Z",
                "2026-03-06T00:00:00Z",
            ),
            ("@weekly", "", "2026-03-01T10:00:00Z", "2026-03-08T00:00:00Z"),
            ("@every 90s", "", "2026-03-01T10:00:00.7Z", "2026-03-01T10:01:30Z"),
            (
                "0 9 * * *",
                "Europe/Berlin",
                "2026-01-01T12:00:00Z",
                "2026-01-02T08:00:00Z",
            ),
            (
                "TZ=Asia/Tokyo 0 9 * * *",
                "",
                "2026-01-01T12:00:00Z",
                "2026-01-02T00:00:00Z",
            ),
            // 02:30 does not come on the day that the clocks go forward, and 02:00 comes twice when they go back.
            (
                "30 2 * * *",
                "Europe/Berlin",
                "2026-03-28T12:00:00Z",
                "2026-03-30T00:30:00Z",
            ),
            (
                "0 2 * * *",
                "Europe/Berlin",
                "2026-10-25T00:00:00Z",
                "2026-10-25T01:00:00Z",
            ),
        ] {
            let zone = super::zone(zone).unwrap();
            let next = Schedule::parse(schedule)
                .unwrap()
                .next(after.parse().unwrap(), &zone);
            assert_eq!(next, Some(want.parse().unwrap()), "{schedule} after {after}");
        }
        let never = Schedule::parse("0 0 31 2 *").unwrap();
        assert_eq!(never.next(Timestamp::UNIX_EPOCH, &TimeZone::UTC), None);
    }
}

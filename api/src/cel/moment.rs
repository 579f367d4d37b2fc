//! Moments of the years 1 to 9999, to the nanosecond, as CEL has them: up to the very last of them, which the clock's own type
//! does not reach.

use std::fmt;

use jiff::civil::{Date, DateTime, date};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::quote::quote;

const NANOS_PER_SECOND: i128 = 1_000_000_000;
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// A moment, as the date and time of day in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(DateTime);

impl Moment {
    /// So many nanoseconds after the epoch; none beyond the years that there are.
    pub fn of_nanos(nanos: i128) -> Option<Self> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS_PER_SECOND)).ok()?;
        let rest = i32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).ok()?;
        let at = EPOCH.checked_add(SignedDuration::new(seconds, rest)).ok()?;
        (at.year() >= 1).then_some(Self(at))
    }

    /// So many seconds after the epoch.
    pub(super) fn of_seconds(seconds: i64) -> Option<Self> {
        Self::of_nanos(i128::from(seconds) * NANOS_PER_SECOND)
    }

    /// The beginning of a day (`2026-01-02`).
    pub(super) fn of_day(text: &str) -> Option<Self> {
        Some(Self(day(text)?.at(0, 0, 0, 0))).filter(|at| at.0.year() >= 1)
    }

    /// A moment in RFC 3339, as Go reads it.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (at, offset) = read(text)?;
        Self(at).earlier(offset?)
    }

    /// The same, and in UTC what names no offset; nothing is the epoch.
    pub(super) fn parse_loosely(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self(EPOCH));
        }
        let (at, offset) = read(text)?;
        Self(at).earlier(offset.unwrap_or(0))
    }

    fn earlier(self, seconds: i64) -> Option<Self> {
        Self::of_nanos(self.nanos() - i128::from(seconds) * NANOS_PER_SECOND)
    }

    /// Nanoseconds since the epoch.
    pub(super) fn nanos(self) -> i128 {
        self.0.duration_since(EPOCH).as_nanos()
    }

    /// Whole seconds since the epoch.
    pub(super) fn seconds(self) -> i64 {
        i64::try_from(self.nanos().div_euclid(NANOS_PER_SECOND)).unwrap_or_default()
    }

    /// Whether it is the first of all.
    pub(super) fn is_first(self) -> bool {
        self.0 == date(1, 1, 1).at(0, 0, 0, 0)
    }

    /// The date and time of day in a time zone.
    pub(super) fn within(self, zone: &TimeZone) -> DateTime {
        let (first, last) = (Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
        let near = Timestamp::from_second(self.seconds().clamp(first, last)).unwrap_or_default();
        self.0
            .saturating_add(SignedDuration::from_secs(zone.to_offset(near).seconds().into()))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}Z", self.0)
    }
}

/// Why a text that is like a moment is none, as Go tells it of the last form that it tried.
pub(super) fn fault(text: &str) -> String {
    let (whole, rest) = (quote(text), text.get(10..).unwrap_or_default());
    if !rest.starts_with('T') {
        let rest = quote(rest);
        return format!("parsing time {whole} as \"2006-01-02T15:04:05\": cannot parse {rest} as \"T\"");
    }
    let extra = rest.get(9..).unwrap_or_default();
    let (_, extra) = fraction(extra);
    format!("parsing time {whole}: extra text: {}", quote(extra))
}

/// A day, `YYYY-MM-DD`.
pub(crate) fn day(text: &str) -> Option<Date> {
    let bytes = text.as_bytes();
    let plain = bytes.len() == 10
        && bytes.iter().enumerate().all(|(place, byte)| match place {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        });
    plain.then(|| text.parse().ok()).flatten()
}

/// Date and time of day, and the seconds by which the place is ahead of UTC, where that is said.
fn read(text: &str) -> Option<(DateTime, Option<i64>)> {
    let day = day(text.get(..10)?)?;
    let rest = text[10..].strip_prefix('T')?;
    let (hour, rest) = number(rest, 1)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (nanos, rest) = fraction(rest);
    let part = |number: i64| i8::try_from(number).ok();
    let time = jiff::civil::Time::new(part(hour)?, part(minute)?, part(second)?, nanos).ok()?;
    let offset = match rest {
        "" => None,
        "Z" => Some(0),
        _ => {
            let ahead = rest.starts_with('+');
            let (hours, rest) = number(rest.strip_prefix(['+', '-'])?, 2)?;
            let (minutes, rest) = number(rest.strip_prefix(':')?, 2)?;
            if !rest.is_empty() || hours > 24 || minutes > 60 {
                return None;
            }
            let seconds = hours * 3600 + minutes * 60;
            Some(if ahead { seconds } else { -seconds })
        }
    };
    Some((day.to_datetime(time), offset))
}

/// A number of two digits, or of `least`.
fn number(text: &str, least: usize) -> Option<(i64, &str)> {
    let digits = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at((digits >= least).then_some(digits)?);
    Some((digits.parse().ok()?, rest))
}

/// A part of a second, in nanoseconds; digits beyond these do not count.
fn fraction(text: &str) -> (i32, &str) {
    let Some(after) = text.strip_prefix(['.', ',']) else {
        return (0, text);
    };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    if end == 0 {
        return (0, text);
    }
    let digits = after[..end].bytes().chain(std::iter::repeat(b'0')).take(9);
    let nanos = digits.fold(0, |nanos, digit| nanos * 10 + i32::from(digit - b'0'));
    (nanos, &after[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_a_date_a_time_and_an_offset() {
        let shown = |text: &str| Moment::parse(text).map(|at| at.to_string());
        for (text, want) in [
            ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
            ("2026-01-02T03:04:05.120+01:30", "2026-01-02T01:34:05.12Z"),
            ("2026-01-02T3:04:05,5-01:00", "2026-01-02T04:04:05.5Z"),
            ("9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:59.999999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(want), "{text}");
        }
        for wrong in [
            "",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02t03:04:05z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:4:05Z",
            "2026-01-02T03:04:05+1:00",
            "2026-01-02T03:04:05.Z",
            "9999-12-31T23:59:59-00:01",
            "0001-01-01T00:00:00+00:01",
        ] {
            assert_eq!(shown(wrong), None, "{wrong}");
        }
        assert_eq!(
            fault("2026-01-02t03:04:05z"),
            "parsing time \"2026-01-02t03:04:05z\" as \"2006-01-02T15:04:05\": cannot parse \"t03:04:05z\" as \"T\""
        );
        assert_eq!(
            fault("2026-01-02T03:04:05.5z"),
            "parsing time \"2026-01-02T03:04:05.5z\": extra text: \"z\""
        );
        let loosely = |text: &str| Moment::parse_loosely(text).map(|at| at.to_string());
        assert_eq!(
            loosely("2026-01-02T03:04:05").as_deref(),
            Some("2026-01-02T03:04:05Z")
        );
        assert_eq!(loosely("").as_deref(), Some("1970-01-01T00:00:00Z"));
    }

    #[test]
    fn moments_are_counted_from_the_epoch() {
        for nanos in [
            0,
            -1,
            1_500_000_000,
            253_402_300_799_999_999_999,
            -62_135_596_800_000_000_000,
        ] {
            assert_eq!(Moment::of_nanos(nanos).map(Moment::nanos), Some(nanos));
        }
        for nanos in [
            253_402_300_800_000_000_000,
            -62_135_596_800_000_000_001,
            i128::MAX,
        ] {
            assert_eq!(Moment::of_nanos(nanos), None);
        }
        assert_eq!(Moment::of_nanos(-1).map(Moment::seconds), Some(-1));
        let last = Moment::of_nanos(253_402_300_799_000_000_000).unwrap();
        let zone = TimeZone::get("America/New_York").unwrap();
        assert_eq!(last.within(&zone).hour(), 18);
    }
}

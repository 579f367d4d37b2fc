//! `metav1.Time` and `metav1.MicroTime`: RFC 3339 as Go's `time.Parse` reads it and as upstream writes it.

use crate::quote::quote;

/// A moment: seconds since 1970 and nanoseconds within the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    /// Nanoseconds, 0 to 999,999,999.
    pub nanos: u32,
}

/// Go's zero time, year 1, which JSON writes as `null`.
pub const ZERO: Moment = Moment {
    seconds: -62_135_596_800,
    nanos: 0,
};

const TIME_LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
const MICRO_TIME_LAYOUT: &str = "2006-01-02T15:04:05.000000Z07:00";

/// Reads a `metav1.Time`; a fraction of a second is read but will not be written again.
///
/// The error is worded as Go's.
pub fn parse(text: &str) -> Result<Moment, String> {
    Parser {
        text,
        rest: text,
        layout: TIME_LAYOUT,
    }
    .moment(Fraction::Optional)
}

/// Reads a `metav1.MicroTime`, which must have six digits of a second.
///
/// The error is worded as Go's.
pub fn parse_micro(text: &str) -> Result<Moment, String> {
    Parser {
        text,
        rest: text,
        layout: MICRO_TIME_LAYOUT,
    }
    .moment(Fraction::SixDigits)
}

/// Writes a `metav1.Time`: UTC, whole seconds. None outside of the years 0 to 9999, which RFC 3339 cannot write.
pub fn format(moment: Moment) -> Option<String> {
    let date = civil(moment.seconds)?;
    Some(format!("{date}Z"))
}

/// Writes a `metav1.MicroTime`: UTC, six digits of a second.
pub fn format_micro(moment: Moment) -> Option<String> {
    let date = civil(moment.seconds)?;
    Some(format!("{date}.{:06}Z", moment.nanos / 1000))
}

/// `2006-01-02T15:04:05` in UTC, for the years 0 to 9999.
fn civil(seconds: i64) -> Option<String> {
    let (year, month, day) = date_of(seconds.div_euclid(86_400));
    if !(0..=9999).contains(&year) {
        return None;
    }
    let second = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    Some(format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    ))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fraction {
    Optional,
    SixDigits,
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    layout: &'static str,
}

impl Parser<'_> {
    fn moment(mut self, fraction: Fraction) -> Result<Moment, String> {
        let year = self.number(4, "2006", 0..=9999, "year")?;
        self.literal("-")?;
        let month = self.number(2, "01", 1..=12, "month")?;
        self.literal("-")?;
        let day = self.number(2, "02", 1..=31, "day")?;
        self.literal("T")?;
        let hour = self.number(2, "15", 0..=23, "hour")?;
        self.literal(":")?;
        let minute = self.number(2, "04", 0..=59, "minute")?;
        self.literal(":")?;
        let second = self.number(2, "05", 0..=59, "second")?;
        let nanos = self.fraction(fraction)?;
        let offset = self.offset()?;
        if !self.rest.is_empty() {
            return Err(format!(
                "parsing time {}: extra text: {}",
                quote(self.text),
                quote(self.rest)
            ));
        }
        if day > days_in(year, month) {
            return Err(self.out_of_range("day"));
        }
        let days = days_since_1970(year, month, day);
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
        Ok(Moment { seconds, nanos })
    }

    fn number(
        &mut self,
        digits: usize,
        element: &str,
        range: std::ops::RangeInclusive<i64>,
        name: &str,
    ) -> Result<i64, String> {
        let Some(head) = self
            .rest
            .get(..digits)
            .filter(|head| head.bytes().all(|b| b.is_ascii_digit()))
        else {
            return Err(self.cannot_parse(element));
        };
        let number = head
            .bytes()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0'));
        if !range.contains(&number) {
            return Err(self.out_of_range(name));
        }
        self.rest = &self.rest[digits..];
        Ok(number)
    }

    fn literal(&mut self, text: &str) -> Result<(), String> {
        match self.rest.strip_prefix(text) {
            Some(rest) => self.rest = rest,
            None => return Err(self.cannot_parse(text)),
        }
        Ok(())
    }

    fn fraction(&mut self, wanted: Fraction) -> Result<u32, String> {
        let mut digits = 0;
        if self.rest.starts_with(['.', ',']) {
            digits = self.rest[1..].bytes().take_while(u8::is_ascii_digit).count();
        }
        if wanted == Fraction::SixDigits {
            if digits < 6 {
                return Err(self.cannot_parse(".000000"));
            }
            digits = 6;
        }
        if digits == 0 {
            return Ok(0);
        }
        let nanos = self.rest[1..=digits]
            .bytes()
            .chain(std::iter::repeat(b'0'))
            .take(9)
            .fold(0, |nanos, digit| nanos * 10 + u32::from(digit - b'0'));
        self.rest = &self.rest[1 + digits..];
        Ok(nanos)
    }

    /// Seconds east of UTC.
    fn offset(&mut self) -> Result<i64, String> {
        if let Some(rest) = self.rest.strip_prefix('Z') {
            self.rest = rest;
            return Ok(0);
        }
        let form = self.rest.as_bytes();
        let digit = |at: usize| {
            form.get(at)
                .filter(|b| b.is_ascii_digit())
                .map(|b| i64::from(b - b'0'))
        };
        let parts = (form.first(), digit(1), digit(2), form.get(3), digit(4), digit(5));
        let (Some(sign @ (b'+' | b'-')), Some(h1), Some(h2), Some(b':'), Some(m1), Some(m2)) = parts else {
            return Err(self.cannot_parse("Z07:00"));
        };
        let (hours, minutes) = (h1 * 10 + h2, m1 * 10 + m2);
        if hours > 24 {
            return Err(self.out_of_range("time zone offset hour"));
        }
        if minutes > 60 {
            return Err(self.out_of_range("time zone offset minute"));
        }
        self.rest = &self.rest[6..];
        let seconds = hours * 3600 + minutes * 60;
        Ok(if *sign == b'-' { -seconds } else { seconds })
    }

    fn cannot_parse(&self, element: &str) -> String {
        format!(
            "parsing time {} as {}: cannot parse {} as {}",
            quote(self.text),
            quote(self.layout),
            quote(self.rest),
            quote(element)
        )
    }

    fn out_of_range(&self, name: &str) -> String {
        format!("parsing time {}: {name} out of range", quote(self.text))
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a day counted from 1970-01-01; the inverse of [`days_since_1970`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let table = [
            ("1970-01-01T00:00:00Z", 0, 0),
            ("2000-02-29T12:30:15Z", 951_827_415, 0),
            ("2024-01-01T01:00:00.5+01:00", 1_704_067_200, 500_000_000),
            ("2024-01-01T00:00:00.123456789Z", 1_704_067_200, 123_456_789),
            ("0001-01-01T00:00:00Z", ZERO.seconds, 0),
        ];
        for (text, seconds, nanos) in table {
            assert_eq!(parse(text), Ok(Moment { seconds, nanos }), "{text}");
        }
        assert_eq!(
            parse_micro("1970-01-01T00:00:01.000002Z"),
            Ok(Moment {
                seconds: 1,
                nanos: 2000
            })
        );
    }

    #[test]
    fn refuses_in_go_s_words() {
        let table = [
            (
                "Bad_Value!",
                r#"as "2006-01-02T15:04:05Z07:00": cannot parse "Bad_Value!" as "2006""#,
            ),
            ("", r#"as "2006-01-02T15:04:05Z07:00": cannot parse "" as "2006""#),
            ("2026-13-01T00:00:00Z", "month out of range"),
            ("2026-02-30T00:00:00Z", "day out of range"),
            ("2026-01-01T00:00:00Z-2", r#"extra text: "-2""#),
            (
                "2026-01-01",
                r#"as "2006-01-02T15:04:05Z07:00": cannot parse "" as "T""#,
            ),
        ];
        for (text, end) in table {
            let error = parse(text).unwrap_err();
            assert!(error.ends_with(end), "{error}");
            assert!(
                error.starts_with(&format!("parsing time {}", quote(text))),
                "{error}"
            );
        }
        let error = parse_micro("2026-01-01T00:00:00Z").unwrap_err();
        assert!(error.ends_with(r#"cannot parse "Z" as ".000000""#), "{error}");
    }

    #[test]
    fn writes_utc() {
        let moment = parse("2024-01-01T01:00:00.5+01:00").unwrap();
        assert_eq!(format(moment).unwrap(), "2024-01-01T00:00:00Z");
        assert_eq!(format_micro(moment).unwrap(), "2024-01-01T00:00:00.500000Z");
        assert_eq!(
            format(Moment {
                seconds: i64::MAX,
                nanos: 0
            }),
            None
        );
    }
}

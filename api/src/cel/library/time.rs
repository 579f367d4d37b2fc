//! Moments and lengths of time.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use regex::Regex;

use super::ty::{self, Int, String};
use super::{Eval, EvalError, Functions, Value, no_such_overload};
use crate::cel::functions::{Op, cost};
use crate::cel::meter::Meter;

pub(super) fn declare(functions: &mut Functions) {
    let parts: [(&'static str, Op); 10] = [
        ("getFullYear", |_, args| part(args, |at| at.year().into())),
        ("getMonth", |_, args| part(args, |at| i64::from(at.month()) - 1)),
        ("getDayOfYear", |_, args| {
            part(args, |at| i64::from(at.day_of_year()) - 1)
        }),
        ("getDayOfMonth", |_, args| {
            part(args, |at| i64::from(at.day()) - 1)
        }),
        ("getDate", |_, args| part(args, |at| at.day().into())),
        ("getDayOfWeek", |_, args| {
            part(args, |at| at.weekday().to_sunday_zero_offset().into())
        }),
        ("getHours", |_, args| part(args, |at| at.hour().into())),
        ("getMinutes", |_, args| part(args, |at| at.minute().into())),
        ("getSeconds", |_, args| part(args, |at| at.second().into())),
        ("getMilliseconds", |_, args| {
            part(args, |at| at.millisecond().into())
        }),
    ];
    for (name, op) in parts {
        functions.member(name, &[ty::Timestamp], Int, cost::one, op);
        functions.member(name, &[ty::Timestamp, String], Int, cost::one, op);
    }
    let lengths: [(&'static str, Op); 4] = [
        ("getHours", |_, args| length(args, 3_600_000_000_000)),
        ("getMinutes", |_, args| length(args, 60_000_000_000)),
        ("getSeconds", |_, args| length(args, 1_000_000_000)),
        ("getMilliseconds", |_: &Meter, args| milliseconds(args)),
    ];
    for (name, op) in lengths {
        functions.member(name, &[ty::Duration], Int, cost::one, op);
    }
}

/// A length of time as Go reads it: `1h30m`, `-1.5s`; whole seconds may be up to what nanoseconds can count.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0_i128;
    while !rest.is_empty() {
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|end| *end > 0)?;
        let (number, after) = rest.split_at(end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || whole.len() > 19 {
            return None;
        }
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let mut scale = unit;
        let mut part = 0_i128;
        for digit in fraction.chars().take(18) {
            part = part * 10 + i128::from(digit.to_digit(10)?);
            scale *= 10;
        }
        total += whole * unit
            + if fraction.is_empty() {
                0
            } else {
                part * unit * unit / scale
            };
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// Units in words: all that a unit may be called, of which it may begin with the last, and its nanoseconds.
const UNITS: [(&[&str], &str, i64); 8] = [
    (&["ns"], "nano", 1),
    (&["us", "µs"], "micro", 1_000),
    (&["ms"], "milli", 1_000_000),
    (&["s"], "sec", 1_000_000_000),
    (&["m"], "min", 60_000_000_000),
    (&["h", "hr"], "hour", 3_600_000_000_000),
    (&["d"], "day", 86_400_000_000_000),
    (&["w", "wk"], "week", 604_800_000_000_000),
];

static NUMBERS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new("([0-9]+)\\s*([A-Za-zµ]+)").expect("the pattern is one"));

/// A length of time as schemas take it: as Go reads it, or in words (`3 days`), of which all that can be read are added up.
pub(crate) fn duration_in_words(text: &str) -> Option<i64> {
    if let Some(nanos) = duration(text) {
        return Some(nanos);
    }
    let mut total = None;
    for found in NUMBERS.captures_iter(text) {
        let number: i64 = found[1].parse().ok()?;
        let unit = found[2].to_lowercase();
        let meant = UNITS
            .iter()
            .find(|(short, start, _)| short.contains(&unit.as_str()) || unit.starts_with(start));
        if let Some((_, _, nanos)) = meant {
            total = Some(total.unwrap_or(0_i64).wrapping_add(number.wrapping_mul(*nanos)));
        }
    }
    total
}

/// A length of time as CEL writes it: seconds with their fraction.
pub(in crate::cel) fn shown(nanos: i64) -> std::string::String {
    let (sign, size) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let (seconds, fraction) = (size / 1_000_000_000, size % 1_000_000_000);
    if fraction == 0 {
        return format!("{sign}{seconds}s");
    }
    let fraction = format!("{fraction:09}");
    format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
}

fn zone(name: &str) -> Option<TimeZone> {
    if let Some((hours, minutes)) = name.split_once(':') {
        let (sign, hours) = match hours.strip_prefix('-') {
            Some(hours) => (-1, hours),
            None => (1, hours.strip_prefix('+').unwrap_or(hours)),
        };
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let seconds = sign * (hours.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?);
        return Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?));
    }
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        name => TimeZone::get(name).ok(),
    }
}

fn part<'v>(args: &[Value<'v>], get: impl Fn(DateTime) -> i64) -> Eval<'v> {
    let (at, zone) = match args {
        [Value::Timestamp(at)] => (*at, Some(TimeZone::UTC)),
        [Value::Timestamp(at), Value::String(name)] => (*at, zone(name)),
        _ => return Err(no_such_overload("getFullYear", args)),
    };
    let Some(zone) = zone else {
        let name = args.get(1).and_then(Value::as_str).unwrap_or_default();
        return Err(EvalError::new(format!("unknown time zone {name}")));
    };
    Ok(Value::Int(get(at.within(&zone))))
}

fn length<'v>(args: &[Value<'v>], unit: i64) -> Eval<'v> {
    match args {
        [Value::Duration(nanos)] => Ok(Value::Int(nanos / unit)),
        _ => Err(no_such_overload("getHours", args)),
    }
}

/// Of a length of time, all of its milliseconds.
fn milliseconds<'v>(args: &[Value<'v>]) -> Eval<'v> {
    length(args, 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_and_written() {
        assert_eq!(duration("1h30m"), Some(5_400_000_000_000));
        assert_eq!(duration("-1.5s"), Some(-1_500_000_000));
        assert_eq!(duration("0.1ms"), Some(100_000));
        for wrong in ["", "1", "s", "1.s.", "1d", "--1s", "99999999999999h"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(shown(-1_500_000_000), "-1.5s");
        assert_eq!(shown(60_000_000_000), "60s");
    }

    #[test]
    fn lengths_in_words_are_read_where_schemas_take_them() {
        let table = [
            ("1h30m", Some(5_400_000_000_000)),
            ("22 ns", Some(22)),
            ("3 days and 2 hours", Some(266_400_000_000_000)),
            ("1 week", Some(604_800_000_000_000)),
            ("5", None),
            ("x", None),
            ("99999999999999999999 s", None),
        ];
        for (text, want) in table {
            assert_eq!(duration_in_words(text), want, "{text}");
        }
    }
}

//! Numbers: ranges, limits and multiples.

use serde_json::Value;

use super::{Fault, Outcome};
use crate::schema::{Checks, Kind, Schema};

pub(super) fn check(value: &Value, schema: &Schema, checks: &Checks, path: &str) -> Outcome {
    let mut outcome = Outcome::default();
    if let Some(message) = out_of_range(value, schema, checks, path) {
        outcome.add(Fault::unplaced(message));
    }
    let mut wrong = |message: String| outcome.add(Fault::other(path, value, message));
    if let Some(factor) = checks.multiple_of {
        if factor <= 0.0 {
            let shown = float(factor);
            wrong(format!(
                "factor MultipleOf declared for {path} must be positive: {shown}"
            ));
        } else if !is_multiple(value, factor) {
            wrong(format!(
                "{path} in body should be a multiple of {}",
                shown(value, factor)
            ));
        }
    }
    if let Some(most) = checks.maximum
        && beyond(value, most, checks.exclusive_maximum, |number, limit| {
            number > limit
        })
    {
        let than = if checks.exclusive_maximum {
            "less than"
        } else {
            "less than or equal to"
        };
        wrong(format!("{path} in body should be {than} {}", shown(value, most)));
    }
    if let Some(least) = checks.minimum
        && beyond(value, least, checks.exclusive_minimum, |number, limit| {
            number < limit
        })
    {
        let than = if checks.exclusive_minimum {
            "greater than"
        } else {
            "greater than or equal to"
        };
        wrong(format!("{path} in body should be {than} {}", shown(value, least)));
    }
    outcome.matches += 1;
    outcome
}

/// An integer is held against the whole part of a limit.
fn beyond(value: &Value, limit: f64, exclusive: bool, is_beyond: fn(f64, f64) -> bool) -> bool {
    let limit = if value.is_i64() { limit.trunc() } else { limit };
    let number = value.as_f64().unwrap_or_default();
    is_beyond(number, limit) || exclusive && number == limit
}

#[allow(clippy::cast_possible_truncation, reason = "Go truncates the factor likewise")]
fn is_multiple(value: &Value, factor: f64) -> bool {
    if let Some(number) = value.as_i64() {
        return match factor as i64 {
            0 => false,
            factor => number % factor == 0,
        };
    }
    let number = value.as_f64().unwrap_or_default();
    let times = if factor < 1.0 {
        1.0 / factor * number
    } else {
        number / factor
    };
    times.fract() == 0.0
}

/// A limit as Go prints it next to an integer, or to a float.
fn shown(value: &Value, limit: f64) -> String {
    if value.is_i64() {
        format!("{:.0}", limit.trunc())
    } else {
        float(limit)
    }
}

/// A float as Go's `%v` prints it.
fn float(number: f64) -> String {
    let exponent = if number == 0.0 {
        0.0
    } else {
        number.abs().log10().floor()
    };
    if (-4.0..21.0).contains(&exponent) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}

/// What upstream says of a number that its type or format cannot hold.
fn out_of_range(value: &Value, schema: &Schema, checks: &Checks, path: &str) -> Option<String> {
    let format = checks.format.as_deref().unwrap_or_default();
    let number = value.as_f64()?;
    let fits = match schema.kind.filter(|_| !schema.int_or_string)? {
        Kind::Integer if format == "int32" => {
            whole(value).is_some_and(|number| i32::try_from(number).is_ok())
        }
        Kind::Integer => whole(value).is_some(),
        Kind::Number if format == "float" => number.abs() <= f64::from(f32::MAX),
        _ => true,
    };
    let kind = match schema.kind {
        Some(Kind::Integer) => "integer",
        _ => "number",
    };
    (!fits).then(|| match format {
        "" => format!("Checked value must be of type {kind} (default format) in {path}"),
        format => format!("Checked value must be of type {kind} with format {format} in {path}"),
    })
}

/// The integer that a number is.
#[allow(
    clippy::cast_possible_truncation,
    reason = "whole, and within the range of i64"
)]
fn whole(value: &Value) -> Option<i64> {
    const END: f64 = 9_223_372_036_854_775_808.0;
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        (number.fract() == 0.0 && (-END..END).contains(&number)).then_some(number as i64)
    })
}

//! `'%s is %d'.format([a, b])`.

use std::fmt::Write;

use super::{Eval, EvalError, Value, no_such_overload, text, time};
use crate::cel::meter::Meter;

/// More digits after the point are refused.
const PRECISION_MAX: usize = 1000;
const PRECISION: usize = 6;

/// Puts the items of a list into a text.
pub(super) fn format<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let pattern = text(args, 0)?;
    let Some(Value::List(list)) = args.get(1) else {
        return Err(no_such_overload("format", args));
    };
    let mut formatted = String::with_capacity(pattern.len());
    let mut next = 0;
    let mut rest = pattern;
    while let Some(at) = rest.find('%') {
        formatted.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            formatted.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = precision(rest)?;
        let Some(verb) = after.chars().next() else {
            return Err(EvalError::new("unexpected end of string"));
        };
        rest = &after[verb.len_utf8()..];
        let Some(item) = list.get(next)? else {
            return Err(EvalError::new(format!("index {next} out of range")));
        };
        next += 1;
        let piece = clause(verb, precision, &item)?;
        meter.allocate(piece.len())?;
        formatted.push_str(&piece);
    }
    formatted.push_str(rest);
    meter.allocate(pattern.len())?;
    Ok(Value::text(formatted))
}

fn precision(text: &str) -> Result<(Option<usize>, &str), EvalError> {
    let Some(digits) = text.strip_prefix('.') else {
        return Ok((None, text));
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .ok_or_else(|| EvalError::new("could not find end of precision specifier"))?;
    let number: usize = digits[..end]
        .parse()
        .map_err(|_| EvalError::new("error while converting precision to integer"))?;
    if number > PRECISION_MAX {
        return Err(EvalError::new(format!(
            "precision specifier {number} is greater than {PRECISION_MAX}"
        )));
    }
    Ok((Some(number), &digits[end..]))
}

fn clause(verb: char, precision: Option<usize>, item: &Value<'_>) -> Result<String, EvalError> {
    let wrong = |rule: &str| {
        let ty = item.type_of();
        EvalError::new(format!(
            "error during formatting: {rule}, was given {}",
            ty.bare_name()
        ))
    };
    let digits = precision.unwrap_or(PRECISION);
    match verb {
        's' => plain(item),
        'd' => match item {
            Value::Int(_) | Value::Uint(_) | Value::Double(_) => plain(item),
            _ => Err(wrong("decimal clause can only be used on integers")),
        },
        'f' | 'e' => {
            #[allow(clippy::cast_precision_loss, reason = "that is what is asked for")]
            let number = match item {
                Value::Double(number) => *number,
                Value::Int(number) => *number as f64,
                Value::Uint(number) => *number as f64,
                _ if verb == 'f' => return Err(wrong("fixed-point clause can only be used on doubles")),
                _ => return Err(wrong("scientific clause can only be used on doubles")),
            };
            if !number.is_finite() {
                return plain(&Value::Double(number));
            }
            if verb == 'f' {
                return Ok(format!("{number:.digits$}"));
            }
            let scientific = format!("{number:.digits$e}");
            let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            Ok(format!("{mantissa}e{sign}{:02}", exponent.abs()))
        }
        'b' => match item {
            Value::Bool(truth) => Ok(u8::from(*truth).to_string()),
            Value::Int(number) => Ok(signed(*number, |size| format!("{size:b}"))),
            Value::Uint(number) => Ok(format!("{number:b}")),
            _ => Err(wrong("only integers and bools can be formatted as binary")),
        },
        'o' => match item {
            Value::Int(number) => Ok(signed(*number, |size| format!("{size:o}"))),
            Value::Uint(number) => Ok(format!("{number:o}")),
            _ => Err(wrong("octal clause can only be used on integers")),
        },
        'x' | 'X' => {
            let hex = match item {
                Value::Int(number) => signed(*number, |size| format!("{size:x}")),
                Value::Uint(number) => format!("{number:x}"),
                Value::String(text) => bytes(text.as_bytes()),
                Value::Bytes(all) => bytes(all),
                _ => {
                    return Err(wrong(
                        "only integers, byte buffers, and strings can be formatted as hex",
                    ));
                }
            };
            Ok(if verb == 'X' { hex.to_uppercase() } else { hex })
        }
        other => Err(EvalError::new(format!(
            "could not parse formatting clause: unrecognized formatting clause \"{other}\""
        ))),
    }
}

fn signed(number: i64, digits: impl Fn(u64) -> String) -> String {
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{}", digits(number.unsigned_abs()))
}

fn bytes(all: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * all.len());
    for byte in all {
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// A value as `%s` writes it.
pub(super) fn plain(value: &Value<'_>) -> Result<String, EvalError> {
    Ok(match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => number.to_string(),
        Value::Double(number) if number.is_infinite() => {
            if *number > 0.0 { "Infinity" } else { "-Infinity" }.to_owned()
        }
        Value::Double(number) => format!("{number}"),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Duration(nanos) => time::shown(*nanos),
        Value::Timestamp(at) => at.to_string(),
        Value::Type(ty) => ty.bare_name().to_owned(),
        Value::List(list) => {
            let items = list
                .iter()
                .map(|item| plain(&item?))
                .collect::<Result<Vec<_>, _>>()?;
            format!("[{}]", items.join(", "))
        }
        Value::Map(map) => {
            let mut entries = map
                .entries()?
                .iter()
                .map(|(key, value)| Ok((plain(&key.value())?, plain(value)?)))
                .collect::<Result<Vec<_>, EvalError>>()?;
            entries.sort();
            let entries: Vec<String> = entries
                .into_iter()
                .map(|(key, value)| format!("{key}: {value}"))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => {
            let ty = other.type_of();
            return Err(EvalError::new(format!(
                "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, lists, types, durations, and timestamps, was given {}",
                ty.bare_name()
            )));
        }
    })
}

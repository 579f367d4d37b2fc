//! Text: CEL's own functions and the strings extension, at the version that Kubernetes has.
//!
//! Places in a text are counted in characters.

use std::sync::Arc;

use super::ty::{self, Bool, Int, String};
use super::{Eval, EvalError, Functions, Value, format, int, no_such_overload, text};
use crate::cel::eval::cells;
use crate::cel::functions::cost;
use crate::cel::meter::Meter;

pub(super) fn declare(functions: &mut Functions) {
    let two = [String, String];
    functions.member("contains", &two, Bool, cost::search, |meter, args| {
        meter.work(text(args, 0)?.len() as u64 / 16)?;
        Ok(Value::Bool(text(args, 0)?.contains(text(args, 1)?)))
    });
    functions.member("startsWith", &two, Bool, cost::first, |_, args| {
        Ok(Value::Bool(text(args, 0)?.starts_with(text(args, 1)?)))
    });
    functions.member("endsWith", &two, Bool, cost::first, |_, args| {
        Ok(Value::Bool(text(args, 0)?.ends_with(text(args, 1)?)))
    });
    functions.member("charAt", &[String, Int], String, cost::one, char_at);
    for (name, op) in [
        ("indexOf", index_of as crate::cel::functions::Op),
        ("lastIndexOf", last_index_of),
    ] {
        functions.member(name, &two, Int, cost::whole, op);
        functions.member(name, &[String, String, Int], Int, cost::whole, op);
    }
    let texts = ty::list(String);
    functions.member(
        "join",
        std::slice::from_ref(&texts),
        String,
        cost::result_twice,
        join,
    );
    functions.member("join", &[texts.clone(), String], String, cost::result_twice, join);
    functions.member("lowerAscii", &[String], String, cost::first, |meter, args| {
        made(meter, text(args, 0)?.to_ascii_lowercase())
    });
    functions.member("upperAscii", &[String], String, cost::first, |meter, args| {
        made(meter, text(args, 0)?.to_ascii_uppercase())
    });
    functions.member("trim", &[String], String, cost::first, |meter, args| {
        made(meter, text(args, 0)?.trim().to_owned())
    });
    functions.member(
        "replace",
        &[String, String, String],
        String,
        cost::first_twice,
        replace,
    );
    functions.member(
        "replace",
        &[String, String, String, Int],
        String,
        cost::first_twice,
        replace,
    );
    functions.member("split", &two, texts.clone(), cost::first_twice, split);
    functions.member("split", &[String, String, Int], texts, cost::first_twice, split);
    functions.member("substring", &[String, Int], String, cost::first, substring);
    functions.member("substring", &[String, Int, Int], String, cost::first, substring);
    functions.member(
        "format",
        &[String, ty::list(ty::Dyn)],
        String,
        cost::first,
        format::format,
    );
    functions.global("strings.quote", &[String], String, cost::first, |meter, args| {
        made(meter, quoted(text(args, 0)?))
    });
}

/// A floating number as Go's `%g` writes it.
pub(super) fn double(number: f64) -> std::string::String {
    if number.is_nan() {
        return "NaN".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let count = digits.chars().filter(char::is_ascii_digit).count();
    let most = 21.max(i32::try_from(count).unwrap_or(21));
    if (-4..most).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// A value as messages show it.
pub(in crate::cel) fn shown(value: &Value<'_>) -> std::string::String {
    match value {
        Value::String(text) => text.to_string(),
        other => format::plain(other).unwrap_or_else(|_| other.type_of().bare_name().to_owned()),
    }
}

fn made<'v>(meter: &Meter, text: std::string::String) -> Eval<'v> {
    meter.allocate(text.len())?;
    Ok(Value::text(text))
}

fn out_of_range(place: i64) -> EvalError {
    EvalError::new(format!("index out of range: {place}"))
}

/// The byte at which a character starts; the end is one place after the last.
fn offset(text: &str, place: i64) -> Result<usize, EvalError> {
    let count = usize::try_from(place).map_err(|_| out_of_range(place))?;
    let mut starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    starts.nth(count).ok_or_else(|| out_of_range(place))
}

fn place_of(text: &str, offset: Option<usize>) -> Value<'static> {
    let place = offset.map(|offset| text[..offset].chars().count());
    Value::Int(place.map_or(-1, |place| i64::try_from(place).unwrap_or(i64::MAX)))
}

fn char_at<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, place) = (text(args, 0)?, int(args, 1)?);
    let rest = &text[offset(text, place)?..];
    Ok(Value::text(
        rest.chars()
            .next()
            .map(std::string::String::from)
            .unwrap_or_default(),
    ))
}

fn index_of<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, part) = (text(args, 0)?, text(args, 1)?);
    let from = match args.get(2) {
        Some(_) => offset(text, int(args, 2)?)?,
        None => 0,
    };
    Ok(place_of(text, text[from..].find(part).map(|at| at + from)))
}

fn last_index_of<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, part) = (text(args, 0)?, text(args, 1)?);
    let Some(_) = args.get(2) else {
        return Ok(place_of(text, text.rfind(part)));
    };
    let last = offset(text, int(args, 2)?)?;
    let end = (last + part.len()).min(text.len());
    let found = if text.is_char_boundary(end) {
        text[..end].rfind(part)
    } else {
        // The part would end within a character, so it starts before.
        (0..=last)
            .rev()
            .find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with(part)))
    };
    Ok(place_of(text, found))
}

fn join<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let Some(Value::List(list)) = args.first() else {
        return Err(no_such_overload("join", args));
    };
    let separator = if args.len() > 1 { text(args, 1)? } else { "" };
    let mut joined = std::string::String::new();
    for (index, item) in list.iter().enumerate() {
        let item = item?;
        let Some(item) = item.as_str() else {
            return Err(EvalError::new("no such overload"));
        };
        let separator = if index > 0 { separator } else { "" };
        meter.allocate(item.len() + separator.len())?;
        joined.push_str(separator);
        joined.push_str(item);
    }
    Ok(Value::text(joined))
}

fn replace<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, from, to) = (text(args, 0)?, text(args, 1)?, text(args, 2)?);
    let most = if args.len() > 3 { int(args, 3)? } else { -1 };
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    // Every place of an empty text is one to be replaced; more than that there are not.
    let places = if from.is_empty() {
        text.len() + 1
    } else {
        text.len() / from.len()
    };
    meter.allocate(
        text.len()
            .saturating_add(places.min(most).saturating_mul(to.len())),
    )?;
    Ok(Value::text(text.replacen(from, to, most)))
}

fn split<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, separator) = (text(args, 0)?, text(args, 1)?);
    let most = if args.len() > 2 { int(args, 2)? } else { -1 };
    let pieces: Vec<&str> = match (usize::try_from(most), separator.is_empty()) {
        (Ok(0), _) => Vec::new(),
        (Ok(1), _) => vec![text],
        (Ok(most), true) => {
            let end = text.char_indices().nth(most - 1).map_or(text.len(), |(at, _)| at);
            let mut pieces: Vec<&str> = characters(&text[..end]).collect();
            pieces.extend(Some(&text[end..]).filter(|rest| !rest.is_empty()));
            pieces
        }
        (Err(_), true) => characters(text).collect(),
        (Ok(most), false) => text.splitn(most, separator).collect(),
        (Err(_), false) => text.split(separator).collect(),
    };
    meter.allocate(text.len() + cells(pieces.len()) + 16 * pieces.len())?;
    Ok(Value::list(pieces.into_iter().map(Value::text).collect()))
}

fn characters(text: &str) -> impl Iterator<Item = &str> {
    text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()])
}

fn substring<'v>(meter: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    let (text, from) = (text(args, 0)?, int(args, 1)?);
    let end = if args.len() > 2 {
        let end = int(args, 2)?;
        if from > end {
            return Err(EvalError::new(format!(
                "invalid substring range. start: {from}, end: {end}"
            )));
        }
        offset(text, end)?
    } else {
        text.len()
    };
    let start = offset(text, from)?;
    let part = &text[start..end];
    meter.allocate(part.len())?;
    Ok(Value::text(Arc::<str>::from(part)))
}

/// A text in double quotes, with what cannot stand in them escaped.
fn quoted(text: &str) -> std::string::String {
    let mut quoted = std::string::String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

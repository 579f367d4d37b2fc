//! Conversions between types: `int('1')`, `string(1.5)`, `type(x)`.

use super::ty::{self, A, Bool, Bytes, Double, Duration, Dyn, Int, String, Timestamp, Uint};
use super::{Eval, EvalError, Functions, Type, Value, no_such_overload, time};
use crate::cel::functions::{Op, cost};
use crate::cel::meter::Meter;
use crate::cel::moment::Moment;
use crate::cel::world::Opaque;

pub(super) fn declare(functions: &mut Functions) {
    let mut all = |name: &'static str, from: &[Type], to: &Type, op: Op| {
        for ty in from {
            let cost = match (name, ty) {
                ("bytes", String) | ("string", Bytes) => cost::first,
                _ => cost::one,
            };
            functions.global(name, std::slice::from_ref(ty), to.clone(), cost, op);
        }
    };
    all(
        "int",
        &[Int, Uint, Double, String, Timestamp, Duration],
        &Int,
        int,
    );
    all("uint", &[Uint, Int, Double, String], &Uint, uint);
    all("double", &[Double, Int, Uint, String], &Double, double);
    all(
        "string",
        &[
            String,
            Bool,
            Int,
            Uint,
            Double,
            Bytes,
            Timestamp,
            Duration,
            ty::IP,
            ty::CIDR,
        ],
        &String,
        string,
    );
    all("bytes", &[Bytes, String], &Bytes, bytes);
    all("bool", &[Bool, String], &Bool, bool);
    all("timestamp", &[Timestamp, String, Int], &Timestamp, timestamp);
    all("duration", &[Duration, String, Int], &Duration, duration);
    all("dyn", &[A], &Dyn, |_, args| {
        args.first().cloned().ok_or_else(|| no_such_overload("dyn", args))
    });
    all("type", &[A], &Type::Type(Some(A.into())), |_, args| match args {
        [value] => Ok(Value::Type(value.type_of())),
        _ => Err(no_such_overload("type", args)),
    });
}

fn out_of_range(what: &str) -> EvalError {
    EvalError::new(format!("{what} overflow"))
}

#[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
fn int<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    Ok(Value::Int(match args {
        [Value::Int(number)] => *number,
        [Value::Uint(number)] => i64::try_from(*number).map_err(|_| out_of_range("integer"))?,
        // Both ends are left out, since the nearest floating numbers lie beyond them.
        [Value::Double(number)] if number.abs() < 9_223_372_036_854_775_807.0 => *number as i64,
        [Value::Double(_)] => return Err(out_of_range("integer")),
        [Value::String(text)] => text.parse().map_err(|_| {
            EvalError::new(format!(
                "type conversion error from 'string' to 'int': \"{}\"",
                &**text
            ))
        })?,
        [Value::Timestamp(at)] => at.seconds(),
        [Value::Duration(nanos)] => *nanos,
        _ => return Err(no_such_overload("int", args)),
    }))
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked"
)]
fn uint<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    Ok(Value::Uint(match args {
        [Value::Uint(number)] => *number,
        [Value::Int(number)] => u64::try_from(*number).map_err(|_| out_of_range("unsigned integer"))?,
        [Value::Double(number)] if *number >= 0.0 && *number < 18_446_744_073_709_551_615.0 => *number as u64,
        [Value::Double(_)] => return Err(out_of_range("unsigned integer")),
        [Value::String(text)] => text.parse().map_err(|_| {
            EvalError::new(format!(
                "type conversion error from 'string' to 'uint': \"{}\"",
                &**text
            ))
        })?,
        _ => return Err(no_such_overload("uint", args)),
    }))
}

#[allow(clippy::cast_precision_loss, reason = "that is what is asked for")]
fn double<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    Ok(Value::Double(match args {
        [Value::Double(number)] => *number,
        [Value::Int(number)] => *number as f64,
        [Value::Uint(number)] => *number as f64,
        [Value::String(text)] => text.parse().map_err(|_| {
            EvalError::new(format!(
                "type conversion error from 'string' to 'double': \"{}\"",
                &**text
            ))
        })?,
        _ => return Err(no_such_overload("double", args)),
    }))
}

fn string<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    Ok(match args {
        [text @ Value::String(_)] => text.clone(),
        [Value::Bool(truth)] => Value::text(truth.to_string()),
        [Value::Int(number)] => Value::text(number.to_string()),
        [Value::Uint(number)] => Value::text(number.to_string()),
        [Value::Double(number)] => Value::text(super::strings::double(*number)),
        [Value::Bytes(bytes)] => std::str::from_utf8(bytes)
            .map(Value::text)
            .map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        [Value::Timestamp(at)] => Value::text(at.to_string()),
        [Value::Duration(nanos)] => Value::text(time::shown(*nanos)),
        [Value::Opaque(Opaque::Ip(ip))] => Value::text(ip.to_string()),
        [Value::Opaque(Opaque::Cidr(ip, length))] => Value::text(format!("{ip}/{length}")),
        _ => return Err(no_such_overload("string", args)),
    })
}

fn bytes<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [bytes @ Value::Bytes(_)] => Ok(bytes.clone()),
        [Value::String(text)] => Ok(Value::Bytes(text.as_bytes().into())),
        _ => Err(no_such_overload("bytes", args)),
    }
}

fn bool<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [Value::Bool(truth)] => Ok(Value::Bool(*truth)),
        [Value::String(text)] => match &**text {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Value::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Value::Bool(false)),
            other => Err(EvalError::new(format!(
                "type conversion error from 'string' to 'bool': {other:?}"
            ))),
        },
        _ => Err(no_such_overload("bool", args)),
    }
}

fn timestamp<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [at @ Value::Timestamp(_)] => Ok(at.clone()),
        [Value::String(text)] => Moment::parse(text).map(Value::Timestamp).ok_or_else(|| {
            EvalError::new("type conversion error from 'string' to 'google.protobuf.Timestamp'")
        }),
        [Value::Int(seconds)] => Moment::of_seconds(*seconds)
            .map(Value::Timestamp)
            .ok_or_else(|| out_of_range("timestamp")),
        _ => Err(no_such_overload("timestamp", args)),
    }
}

fn duration<'v>(_: &Meter, args: &[Value<'v>]) -> Eval<'v> {
    match args {
        [length @ Value::Duration(_)] => Ok(length.clone()),
        [Value::Int(nanos)] => Ok(Value::Duration(*nanos)),
        [Value::String(text)] => time::duration(text).map(Value::Duration).ok_or_else(|| {
            EvalError::new("type conversion error from 'string' to 'google.protobuf.Duration'")
        }),
        _ => Err(no_such_overload("duration", args)),
    }
}

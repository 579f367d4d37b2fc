//! Keys of JSON patches: `jsonpatch.escapeKey('a/b')`.

use super::ty::String;
use super::{Functions, Value, text};
use crate::cel::functions::cost;

pub(super) fn declare(functions: &mut Functions) {
    functions.global(
        "jsonpatch.escapeKey",
        &[String],
        String,
        cost::first,
        |meter, args| {
            let escaped = text(args, 0)?.replace('~', "~0").replace('/', "~1");
            meter.allocate(escaped.len())?;
            Ok(Value::text(escaped))
        },
    );
}

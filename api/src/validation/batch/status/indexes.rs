//! Indexes of pods as a Job's status has them: numbers and ranges in ascending order, such as `1,3-5,7`.

use crate::quote::quote;

/// The first and the last index of one part.
fn interval(part: &str, completions: i64) -> Result<(i64, i64), String> {
    let mut limits = part.split('-');
    let (first, second, more) = (
        limits.next().unwrap_or_default(),
        limits.next(),
        limits.next().is_some(),
    );
    if more {
        return Err(format!(
            "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
            quote(part)
        ));
    }
    let index = |text: &str| {
        let index: i64 = text
            .parse()
            .map_err(|_| format!("cannot convert string to integer for index: {}", quote(text)))?;
        if index < completions {
            Ok(index)
        } else {
            Err(format!("too large index: {}", quote(text)))
        }
    };
    let first = index(first)?;
    let Some(last) = second.map(index).transpose()? else {
        return Ok((first, first));
    };
    if first < last {
        Ok((first, last))
    } else {
        Err(not_ascending(first, last))
    }
}

fn not_ascending(before: i64, next: i64) -> String {
    format!("non-increasing order, previous: {before}, current: {next}")
}

/// What is wrong with a list of indexes of a Job of so many completions.
pub(super) fn format_fault(indexes: &str, completions: i64) -> Option<String> {
    if indexes.is_empty() {
        return None;
    }
    let mut before: Option<i64> = None;
    for part in indexes.split(',') {
        match interval(part, completions) {
            Err(fault) => return Some(fault),
            Ok((first, last)) => {
                if let Some(before) = before.filter(|before| *before >= first) {
                    return Some(not_ascending(before, first));
                }
                before = Some(last);
            }
        }
    }
    None
}

/// The first index that is in both lists; parts that cannot be read are passed over.
pub(super) fn overlap(one: &str, other: &str, completions: i64) -> Option<i64> {
    let parts = |indexes: &str| -> Vec<(i64, i64)> {
        indexes
            .split(',')
            .filter_map(|part| interval(part, completions).ok())
            .collect()
    };
    let (one, other) = (parts(one), parts(other));
    let (mut a, mut b) = (one.iter().peekable(), other.iter().peekable());
    while let (Some(left), Some(right)) = (a.peek(), b.peek()) {
        if left.0 <= right.1 && right.0 <= left.1 {
            return Some(left.0.max(right.0));
        }
        if left.0 <= right.0 {
            a.next();
        } else {
            b.next();
        }
    }
    None
}

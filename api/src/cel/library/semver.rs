//! Semantic versions: `semver('1.2.3').isLessThan(semver('2.0.0'))`.

use std::cmp::Ordering;
use std::sync::Arc;

use super::ty::{Bool, Int, SEMVER, String};
use super::{EvalError, Functions, Value, no_such_overload, text};
use crate::cel::functions::cost;
use crate::cel::world::Opaque;

pub(super) fn declare(functions: &mut Functions) {
    for args in [&[String][..], &[String, Bool]] {
        functions.global("semver", args, SEMVER, cost::first, |_, args| {
            read(args)?
                .map(|version| Value::Opaque(Opaque::Semver(Arc::new(version))))
                .map_err(EvalError::new)
        });
        functions.global("isSemver", args, Bool, cost::first, |_, args| {
            Ok(Value::Bool(read(args)?.is_ok()))
        });
    }
    functions.member("major", &[SEMVER], Int, cost::one, |_, args| {
        number(args, |version| version.numbers[0])
    });
    functions.member("minor", &[SEMVER], Int, cost::one, |_, args| {
        number(args, |version| version.numbers[1])
    });
    functions.member("patch", &[SEMVER], Int, cost::one, |_, args| {
        number(args, |version| version.numbers[2])
    });
    let two = [SEMVER, SEMVER];
    functions.member("isGreaterThan", &two, Bool, cost::one, |_, args| {
        Ok(Value::Bool(order(args)?.is_gt()))
    });
    functions.member("isLessThan", &two, Bool, cost::one, |_, args| {
        Ok(Value::Bool(order(args)?.is_lt()))
    });
    functions.member("compareTo", &two, Int, cost::one, |_, args| {
        Ok(Value::Int(order(args)? as i64))
    });
}

/// A version by semver 2.0.0.
#[derive(Clone, Debug)]
pub struct Semver {
    numbers: [u64; 3],
    pre_release: Vec<Identifier>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Identifier {
    Number(u64),
    Text(std::string::String),
}

impl Semver {
    /// Reads a version; what stands after `+` means nothing.
    fn parse(text: &str) -> Result<Self, std::string::String> {
        if text.is_empty() {
            return Err("Version string empty".to_owned());
        }
        let mut parts = text.splitn(3, '.');
        let (Some(major), Some(minor), Some(rest)) = (parts.next(), parts.next(), parts.next()) else {
            return Err("No Major.Minor.Patch elements found".to_owned());
        };
        let (rest, build) = rest
            .split_once('+')
            .map_or((rest, None), |(rest, build)| (rest, Some(build)));
        let (patch, pre) = rest
            .split_once('-')
            .map_or((rest, None), |(patch, pre)| (patch, Some(pre)));
        let numbers = [
            part(major, "major")?,
            part(minor, "minor")?,
            part(patch, "patch")?,
        ];
        let pre_release = match pre {
            Some(pre) => pre.split('.').map(identifier).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        for build in build.into_iter().flat_map(|build| build.split('.')) {
            if build.is_empty() || !build.bytes().all(is_plain) {
                return Err("Build meta data is empty".to_owned());
            }
        }
        Ok(Self { numbers, pre_release })
    }

    /// Which comes first; what is not released yet comes before what is.
    pub fn compare(&self, other: &Semver) -> Ordering {
        let released = |version: &Semver| version.pre_release.is_empty();
        self.numbers
            .cmp(&other.numbers)
            .then_with(|| released(self).cmp(&released(other)))
            .then_with(|| self.pre_release.cmp(&other.pre_release))
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-'
}

fn part(text: &str, name: &str) -> Result<u64, std::string::String> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("Invalid character(s) found in {name} number {text:?}"));
    }
    if text.len() > 1 && text.starts_with('0') {
        let mut name = name.to_owned();
        name[..1].make_ascii_uppercase();
        return Err(format!("{name} number must not contain leading zeroes {text:?}"));
    }
    text.parse()
        .map_err(|_| format!("{name} number {text:?} is too large"))
}

fn identifier(text: &str) -> Result<Identifier, std::string::String> {
    if text.is_empty() {
        return Err("Prerelease is empty".to_owned());
    }
    if text.bytes().all(|b| b.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err(format!(
                "Numeric PreRelease version must not contain leading zeroes {text:?}"
            ));
        }
        return text
            .parse()
            .map(Identifier::Number)
            .map_err(|_| format!("Prerelease {text:?} is too large"));
    }
    if !text.bytes().all(is_plain) {
        return Err(format!("Invalid character(s) found in prerelease {text:?}"));
    }
    Ok(Identifier::Text(text.to_owned()))
}

/// `v1.2` as `1.2.0`, `01.2.3` as `1.2.3`.
fn normalized(text: &str) -> Result<std::string::String, std::string::String> {
    let text = text.strip_prefix('v').unwrap_or(text);
    let mut parts: Vec<std::string::String> = text
        .splitn(3, '.')
        .map(|part| {
            let stripped = part.trim_start_matches('0');
            if part.len() <= 1 {
                part.to_owned()
            } else if stripped.starts_with(|c: char| c.is_ascii_digit()) {
                stripped.to_owned()
            } else {
                format!("0{stripped}")
            }
        })
        .collect();
    if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
        return Err("short version cannot contain PreRelease/Build meta data".to_owned());
    }
    parts.resize(3, "0".to_owned());
    Ok(parts.join("."))
}

fn read(args: &[Value<'_>]) -> Result<Result<Semver, std::string::String>, EvalError> {
    let text = text(args, 0)?;
    let normalize = matches!(args.get(1), Some(Value::Bool(true)));
    Ok(if normalize {
        normalized(text).and_then(|text| Semver::parse(&text))
    } else {
        Semver::parse(text)
    })
}

fn version<'a>(args: &'a [Value<'_>], index: usize) -> Result<&'a Semver, EvalError> {
    match args.get(index) {
        Some(Value::Opaque(Opaque::Semver(version))) => Ok(version),
        _ => Err(no_such_overload("semver", args)),
    }
}

fn number<'v>(args: &[Value<'v>], get: impl Fn(&Semver) -> u64) -> super::Eval<'v> {
    Ok(Value::Int(
        i64::try_from(get(version(args, 0)?)).unwrap_or(i64::MAX),
    ))
}

fn order(args: &[Value<'_>]) -> Result<Ordering, EvalError> {
    Ok(version(args, 0)?.compare(version(args, 1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let all = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.0.1+x",
            "2.0.0",
        ];
        for pair in all.windows(2) {
            let read = |text: &str| Semver::parse(text).expect("it is a version");
            assert!(read(pair[0]).compare(&read(pair[1])).is_lt(), "{pair:?}");
        }
        for wrong in ["", "1", "1.2", "01.2.3", "1.2.3-01", "v1.2.3", "1.2.x", "1.2.3-"] {
            assert!(Semver::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(normalized("v01.02"), Ok("1.2.0".to_owned()));
    }
}

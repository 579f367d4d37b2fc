//! Numbers of pods that may be given in percent. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Which way a share of pods that is no whole number is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    Up,
    Down,
}

/// The number that `value` stands for, of `whole` where it is in percent. Never below zero.
pub(crate) fn resolve(value: &IntOrString, whole: i32, rounding: Rounding) -> i32 {
    match value {
        IntOrString::Int(count) => (*count).max(0),
        IntOrString::String(text) => {
            let percent: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
            let product = percent.max(0) * i64::from(whole);
            let count = match rounding {
                Rounding::Up => (product + 99) / 100,
                Rounding::Down => product / 100,
            };
            i32::try_from(count).unwrap_or(i32::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_asked() {
        let third = IntOrString::String("33%".to_owned());
        assert_eq!(resolve(&third, 10, Rounding::Up), 4);
        assert_eq!(resolve(&third, 10, Rounding::Down), 3);
        assert_eq!(resolve(&IntOrString::Int(7), 10, Rounding::Down), 7);
        assert_eq!(resolve(&IntOrString::Int(-7), 10, Rounding::Up), 0);
    }
}

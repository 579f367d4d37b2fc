//! Durations as Go writes them (`1h2m3.5s`, `300ms`), which is how query parameters carry them.

use std::time::Duration;

/// None where the text is no duration, or a negative one.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut total = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number * unit_seconds(&rest[..end])?;
        rest = &rest[end..];
    }
    Duration::try_from_secs_f64(total).ok()
}

/// What Go finds wrong with a text that is no duration.
pub(crate) fn fault(text: &str) -> &'static str {
    let number = text.trim_start_matches(['+', '-']);
    let ends_in_digits = number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        || number.ends_with(|letter: char| letter.is_ascii_digit());
    if ends_in_digits && number.starts_with(|letter: char| letter.is_ascii_digit()) {
        "missing unit in duration"
    } else {
        "invalid duration"
    }
}

fn unit_seconds(unit: &str) -> Option<f64> {
    Some(match unit {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_told_as_go_tells_them() {
        for (text, want) in [
            ("1", "missing unit in duration"),
            ("1s5", "missing unit in duration"),
            ("abc", "invalid duration"),
            ("", "invalid duration"),
        ] {
            assert_eq!(fault(text), want, "{text}");
        }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let cases = [
            ("32s", Some(32_000)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("300ms", Some(300)),
            ("0", Some(0)),
            ("+2s", Some(2000)),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("s", None),
            ("5x", None),
            ("99999999999999999999h", None),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), millis.map(Duration::from_millis), "{text}");
        }
    }
}

//! Quantities: exact numbers with a suffix (`100m`, `1.5Gi`, `3e6`), parsed, compared, added and written as upstream's
//! `resource.Quantity` does.
//!
//! A quantity is a whole number times a power of ten, never finer than a billionth (finer input is rounded away from
//! zero). Integers of more than 36 digits are refused where upstream would compute with big integers.

mod parse;

use std::cmp::Ordering;
use std::fmt;

const NANO: i32 = -9;

/// The family of suffixes in which a quantity was written and is written again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `Ki`, `Mi`, `Gi`, `Ti`, `Pi`, `Ei`.
    BinarySi,
    /// `n`, `u`, `m`, none, `k`, `M`, `G`, `T`, `P`, `E`.
    DecimalSi,
    /// `e3`, `E-6`.
    DecimalExponent,
}

/// Why text is no quantity, in upstream's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// The text as a whole has another shape.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The number cannot be computed with.
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    /// There is no such suffix.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// An exact number: `value` times ten to the power of `scale`. Equality and order are those of the numbers: `1` equals `1000m`.
#[derive(Debug, Clone)]
pub struct Quantity {
    value: i128,
    scale: i32,
    format: Format,
    /// The text as written, where upstream keeps it although it may not be canonical.
    written: Option<String>,
}

impl Quantity {
    /// Nothing, written `0`.
    pub const ZERO: Quantity = Quantity {
        value: 0,
        scale: 0,
        format: Format::DecimalSi,
        written: None,
    };

    /// A whole number.
    pub fn from_whole(value: i64, format: Format) -> Self {
        Self {
            value: value.into(),
            scale: 0,
            format,
            written: None,
        }
    }

    /// A number of thousandths.
    pub fn from_milli(value: i64) -> Self {
        Self {
            value: value.into(),
            scale: -3,
            format: Format::DecimalSi,
            written: None,
        }
    }

    /// How the quantity was written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Less than, equal to or greater than zero.
    pub fn sign(&self) -> Ordering {
        self.value.cmp(&0)
    }

    /// Whether this is zero.
    pub fn is_zero(&self) -> bool {
        self.value == 0
    }

    /// The number of units, a fraction rounded away from zero, kept within the range of `i64`.
    pub fn value(&self) -> i64 {
        self.scaled(0)
    }

    /// The number of thousandths, a fraction rounded away from zero, kept within the range of `i64`.
    pub fn milli_value(&self) -> i64 {
        self.scaled(-3)
    }

    /// Whether the number has no fraction finer than ten to the power of `scale`.
    pub fn is_multiple_of(&self, scale: i32) -> bool {
        let (value, own) = stripped(self.value, self.scale);
        value == 0 || own >= scale
    }

    /// The number without what is finer than ten to the power of `scale`, rounded away from zero.
    #[must_use]
    pub fn rounded_up(&self, scale: i32) -> Quantity {
        if self.scale >= scale {
            return self.clone();
        }
        let (value, scale) = stripped(rescale_up(self.value, self.scale, scale), scale);
        Quantity {
            value,
            scale,
            format: self.format,
            written: None,
        }
    }

    fn scaled(&self, scale: i32) -> i64 {
        let wide = rescale_up(self.value, self.scale, scale);
        wide.clamp(i64::MIN.into(), i64::MAX.into())
            .try_into()
            .expect("clamped to the range of i64")
    }

    /// The number as floating point, for ratios.
    pub fn as_f64(&self) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "an approximation is what is asked for")]
        let value = self.value as f64;
        value * 10f64.powi(self.scale)
    }

    /// The sum; it is written as `self` was, unless that is zero.
    #[must_use]
    pub fn plus(&self, other: &Quantity) -> Quantity {
        let format = if self.is_zero() { other.format } else { self.format };
        let (a, b, scale) = aligned(self, other);
        let (value, scale) = stripped(a.saturating_add(b), scale);
        Quantity {
            value,
            scale,
            format,
            written: None,
        }
    }

    /// The difference; it is written as `self` was, unless that is zero.
    #[must_use]
    pub fn minus(&self, other: &Quantity) -> Quantity {
        self.plus(&Quantity {
            value: -other.value,
            written: None,
            ..other.clone()
        })
    }

    /// This many times as much.
    #[must_use]
    pub fn times(&self, factor: i64) -> Quantity {
        let (value, scale) = stripped(self.value.saturating_mul(factor.into()), self.scale);
        Quantity {
            value,
            scale,
            format: self.format,
            written: None,
        }
    }
}

/// The canonical form of `text`: what upstream writes after reading it.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    text.trim()
        .parse::<Quantity>()
        .map(|quantity| quantity.to_string())
}

fn power_of_ten(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

/// `value`·10^`from` as a multiple of 10^`to`: exact when finer, rounded away from zero when coarser, saturating.
fn rescale_up(value: i128, from: i32, to: i32) -> i128 {
    let distance = from.abs_diff(to);
    if from >= to {
        return match power_of_ten(distance).and_then(|factor| value.checked_mul(factor)) {
            Some(exact) => exact,
            None => i128::MAX.saturating_mul(value.signum()),
        };
    }
    match power_of_ten(distance) {
        None => value.signum(),
        Some(factor) => value / factor + if value % factor == 0 { 0 } else { value.signum() },
    }
}

fn stripped(mut value: i128, mut scale: i32) -> (i128, i32) {
    if value == 0 {
        return (0, 0);
    }
    while value % 10 == 0 {
        value /= 10;
        scale += 1;
    }
    (value, scale)
}

/// Both numbers at the finer of the two scales.
fn aligned(a: &Quantity, b: &Quantity) -> (i128, i128, i32) {
    let scale = match (a.is_zero(), b.is_zero()) {
        (true, _) => b.scale,
        (_, true) => a.scale,
        _ => a.scale.min(b.scale),
    };
    (
        rescale_up(a.value, a.scale, scale),
        rescale_up(b.value, b.scale, scale),
        scale,
    )
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let (a, b, _) = aligned(self, other);
        a.cmp(&b)
    }
}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl fmt::Display for Quantity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(written) = &self.written {
            return out.write_str(written);
        }
        if self.is_zero() {
            return out.write_str("0");
        }
        if self.format == Format::BinarySi && self.is_multiple_of(0) {
            let whole = rescale_up(self.value, self.scale, 0);
            if whole.unsigned_abs() >= 1024 {
                return write_binary(out, whole);
            }
        }
        let format = if self.format == Format::BinarySi {
            Format::DecimalSi
        } else {
            self.format
        };
        write_decimal(out, self.value, self.scale, format)
    }
}

fn write_binary(out: &mut fmt::Formatter<'_>, mut whole: i128) -> fmt::Result {
    let suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let mut at = 0;
    while whole % 1024 == 0 && at + 1 < suffixes.len() {
        whole /= 1024;
        at += 1;
    }
    write!(out, "{whole}{}", suffixes[at])
}

fn write_decimal(out: &mut fmt::Formatter<'_>, value: i128, scale: i32, format: Format) -> fmt::Result {
    let (value, mut scale) = stripped(value, scale);
    let most = if format == Format::DecimalSi { 18 } else { i32::MAX };
    write!(out, "{value}")?;
    while scale % 3 != 0 || scale > most {
        // Not multiplied: the number may have no room for more digits.
        out.write_str("0")?;
        scale -= 1;
    }
    if scale == 0 {
        return Ok(());
    }
    if format == Format::DecimalExponent {
        return write!(out, "e{scale}");
    }
    let suffix = match scale {
        -9 => "n",
        -6 => "u",
        -3 => "m",
        3 => "k",
        6 => "M",
        9 => "G",
        12 => "T",
        15 => "P",
        _ => "E",
    };
    out.write_str(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_read_at_the_limit_can_be_read_again() {
        for text in ["7e999", "700e997", "7000e996", "0.7e1000", "-1e999"] {
            let written = canonical(text).unwrap();
            assert_eq!(canonical(&written).as_ref(), Ok(&written), "{text}");
        }
        for text in ["700e1000", "7e1000", "1e1001", "1e-1001"] {
            assert_eq!(canonical(text), Err(QuantityError::Suffix), "{text}");
        }
    }

    #[test]
    fn canonical_forms_are_those_of_upstream() {
        let cases = [
            ("0", "0"),
            ("-0", "0"),
            ("100m", "100m"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("0.001", "1m"),
            ("1500m", "1500m"),
            ("1.5Gi", "1536Mi"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("0.5Ki", "512"),
            ("812.5Ki", "832000"),
            ("1Ki", "1Ki"),
            ("8Ki", "8Ki"),
            ("1024Mi", "1Gi"),
            ("1.1Ki", "1126400m"),
            (
                "92833720316047545808009283372547000E",
                "92833720316047545808009283372547000E",
            ),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("12E-3", "12E-3"),
            ("5", "5"),
            ("1000", "1k"),
            ("1500", "1500"),
            ("100000", "100k"),
            ("1e-9", "1e-9"),
            ("0.0000000001", "1n"),
            ("-0.0000000001", "-1n"),
            ("9223372036854775807", "9223372036854775807"),
            ("8Ei", "9223372036854775807"),
            ("+5", "+5"),
            ("1.25", "1250m"),
            ("3.000", "3"),
            ("10Gi", "10Gi"),
            ("16Gi", "16Gi"),
            ("100M", "100M"),
            ("0.1Ki", "102400m"),
            ("0.0001Ki", "102400u"),
            ("-1Ki", "-1Ki"),
            (".5", "500m"),
            ("5.", "5."),
            ("1_", ""),
            ("1KiB", ""),
            ("", ""),
            ("Ki", "0"),
            ("1.1.1", ""),
            ("1 Gi", ""),
            ("1ki", ""),
            ("é", ""),
            ("1e99999", ""),
        ];
        for (text, want) in cases {
            assert_eq!(canonical(text).unwrap_or_default(), want, "{text}");
        }
    }

    #[test]
    fn values_round_away_from_zero() {
        let quantity = |text: &str| text.parse::<Quantity>().unwrap();
        assert_eq!(quantity("1500m").value(), 2);
        assert_eq!(quantity("-1500m").value(), -2);
        assert_eq!(quantity("1.0001").milli_value(), 1001);
        assert_eq!(quantity("1e100").value(), i64::MAX);
        assert!(quantity("0.3").is_multiple_of(-3) && !quantity("0.0003").is_multiple_of(-3));
        assert_eq!(quantity("1Gi").plus(&quantity("500M")).to_string(), "1573741824");
        assert_eq!(quantity("1").minus(&quantity("300m")).to_string(), "700m");
        assert_eq!(Quantity::ZERO.plus(&quantity("1Gi")).to_string(), "1Gi");
    }

    fn written() -> impl Strategy<Value = String> {
        let suffixes = [
            "", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "e3", "E-2",
        ];
        (
            "-?[0-9]{1,12}(\\.[0-9]{0,12})?",
            proptest::sample::select(suffixes.to_vec()),
        )
            .prop_map(|(n, s)| n + s)
    }

    proptest! {
        #[test]
        fn writing_and_reading_gives_the_same_number(text in written()) {
            let quantity: Quantity = text.parse().unwrap();
            let again: Quantity = quantity.to_string().parse().unwrap();
            prop_assert_eq!(&again, &quantity);
            prop_assert_eq!(again.to_string(), quantity.to_string());
        }

        #[test]
        fn adding_commutes_and_subtracting_undoes_it(a in written(), b in written()) {
            let (a, b): (Quantity, Quantity) = (a.parse().unwrap(), b.parse().unwrap());
            prop_assert_eq!(a.plus(&b), b.plus(&a));
            prop_assert_eq!(a.plus(&b).minus(&b), a.clone());
            prop_assert_eq!(a < b, a.minus(&b).sign() == Ordering::Less);
        }

        #[test]
        fn no_text_panics(text in "[+-]?[0-9.]{0,60}[eEinumkKMGTP]{0,3}[-+]?[0-9]{0,6}") {
            if let Ok(quantity) = text.parse::<Quantity>() {
                prop_assert!(!quantity.to_string().is_empty());
            }
        }
    }
}

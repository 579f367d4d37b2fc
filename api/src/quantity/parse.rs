//! From text to a quantity, in the steps and with the faults of upstream's parser.

use std::str::FromStr;

use super::{Format, NANO, Quantity, QuantityError, rescale_up};

/// Numbers with more digits than this are refused, and powers of ten beyond it: no resource is counted in them, and digits
/// would have to be stored.
const EXPONENT_MAX: i32 = 1000;
const DIGITS_MAX: usize = 36;

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl FromStr for Quantity {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        let parts = split(text)?;
        let (base, exponent, format) = suffix(parts.suffix)?;
        // Of the number itself, however it is written: its canonical form has another exponent.
        let whole_digits = i32::try_from(parts.whole.len()).unwrap_or(i32::MAX);
        if base == 10 && exponent.saturating_add(whole_digits) > EXPONENT_MAX {
            return Err(QuantityError::Suffix);
        }
        let digits = format!("{}{}", parts.whole, parts.fraction);
        if kept_as_written(&parts, &digits, exponent, format) {
            let mut quantity = number(&parts, base, exponent, format)?;
            quantity.written = Some(text.to_owned());
            return Ok(quantity);
        }
        number(&parts, base, exponent, format)
    }
}

fn split(text: &str) -> Result<Parts<'_>, QuantityError> {
    if text.is_empty() {
        return Err(QuantityError::Format);
    }
    let (negative, rest) = match text.as_bytes()[0] {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let rest = rest.trim_start_matches('0');
    let (whole, rest) = take(rest, |b| b.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => take(rest, |b| b.is_ascii_digit()),
        None => ("", rest),
    };
    let (letters, tail) = take(rest, |b| b"eEinumkKMGTP".contains(&b));
    let sign = usize::from(tail.starts_with(['-', '+']));
    let (exponent, left) = take(&tail[sign..], |b| b.is_ascii_digit());
    if !left.is_empty() {
        return Err(QuantityError::Format);
    }
    let suffix = &rest[..letters.len() + sign + exponent.len()];
    Ok(Parts {
        negative,
        whole,
        fraction,
        suffix,
    })
}

fn take(text: &str, keep: impl Fn(u8) -> bool) -> (&str, &str) {
    let end = text.bytes().position(|b| !keep(b)).unwrap_or(text.len());
    // Only ASCII is kept, so `end` is never inside a character.
    text.split_at(end)
}

fn suffix(text: &str) -> Result<(u32, i32, Format), QuantityError> {
    use Format::{BinarySi, DecimalExponent, DecimalSi};
    Ok(match text {
        "n" => (10, -9, DecimalSi),
        "u" => (10, -6, DecimalSi),
        "m" => (10, -3, DecimalSi),
        "" => (10, 0, DecimalSi),
        "k" => (10, 3, DecimalSi),
        "M" => (10, 6, DecimalSi),
        "G" => (10, 9, DecimalSi),
        "T" => (10, 12, DecimalSi),
        "P" => (10, 15, DecimalSi),
        "E" => (10, 18, DecimalSi),
        "Ki" => (2, 10, BinarySi),
        "Mi" => (2, 20, BinarySi),
        "Gi" => (2, 30, BinarySi),
        "Ti" => (2, 40, BinarySi),
        "Pi" => (2, 50, BinarySi),
        "Ei" => (2, 60, BinarySi),
        _ => {
            let digits = text.strip_prefix(['e', 'E']).ok_or(QuantityError::Suffix)?;
            let exponent: i32 = digits.parse().map_err(|_| QuantityError::Suffix)?;
            if exponent.abs() > EXPONENT_MAX {
                return Err(QuantityError::Suffix);
            }
            (10, exponent, DecimalExponent)
        }
    })
}

/// Upstream computes short numbers in 64 bits and then keeps their text when it is canonical at a glance.
fn kept_as_written(parts: &Parts<'_>, digits: &str, exponent: i32, format: Format) -> bool {
    let count = i32::try_from(digits.len().max(1)).unwrap_or(i32::MAX);
    if parts.whole.is_empty() && parts.fraction.is_empty() {
        return false;
    }
    if format == Format::BinarySi {
        let room = 14 - count - exponent * 3 / 10;
        let odd = digits.parse::<i64>().is_ok_and(|number| number & 7 != 0);
        return parts.fraction.is_empty() && room >= 0 && odd;
    }
    let scale = exponent - i32::try_from(parts.fraction.len()).unwrap_or(i32::MAX);
    let whole = if parts.whole.is_empty() { 1 } else { 0 };
    18 - count - whole >= 0
        && scale >= NANO
        && scale % 3 == 0
        && !digits.ends_with("000")
        && !parts.whole.is_empty()
}

fn number(parts: &Parts<'_>, base: u32, exponent: i32, format: Format) -> Result<Quantity, QuantityError> {
    let mut digits = format!("{}{}", parts.whole, parts.fraction);
    let mut scale = -i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Numeric)?;
    if base == 10 {
        scale = scale.saturating_add(exponent);
    }
    cut_to_nano(&mut digits, &mut scale, base, exponent);
    let significant = digits.trim_start_matches('0');
    let kept = significant.trim_end_matches('0');
    let stripped_zeros = i32::try_from(significant.len() - kept.len()).map_err(|_| QuantityError::Numeric)?;
    let most = Quantity::from_whole(i64::MAX, Format::BinarySi);
    if kept.len() > DIGITS_MAX {
        return if base == 2 {
            Ok(signed(most, parts.negative))
        } else {
            Err(QuantityError::Numeric)
        };
    }
    let mut value: i128 = if kept.is_empty() {
        0
    } else {
        kept.parse().map_err(|_| QuantityError::Numeric)?
    };
    scale += stripped_zeros;
    let mut format = format;
    if base == 2 {
        let Some(product) = value.checked_mul(1 << exponent) else {
            return Ok(signed(most, parts.negative));
        };
        value = product;
    }
    if value != 0 && scale < NANO {
        value = rescale_up(value, scale, NANO);
        scale = NANO;
    }
    let quantity = Quantity {
        value,
        scale,
        format,
        written: None,
    };
    if base == 2 && quantity > most {
        return Ok(signed(most, parts.negative));
    }
    if base == 2 && value != 0 && quantity < Quantity::from_whole(1, format) {
        format = Format::DecimalSi;
    }
    let scale = if value == 0 { 0 } else { scale };
    Ok(signed(
        Quantity {
            value,
            scale,
            format,
            written: None,
        },
        parts.negative,
    ))
}

/// Drops fraction digits that only decide about rounding, leaving a 1 in their place, so that long input stays computable.
fn cut_to_nano(digits: &mut String, scale: &mut i32, base: u32, exponent: i32) {
    let finest = if base == 2 { NANO - exponent } else { NANO } - 1;
    let Ok(surplus) = usize::try_from(finest - *scale) else {
        return;
    };
    let surplus = surplus.min(digits.len());
    let cut = digits.split_off(digits.len() - surplus);
    if surplus > 0 && cut.bytes().any(|b| b != b'0') {
        digits.push('1');
        *scale = finest - 1;
    } else if surplus > 0 {
        *scale = finest;
    }
}

fn signed(quantity: Quantity, negative: bool) -> Quantity {
    if negative {
        Quantity {
            value: -quantity.value,
            ..quantity
        }
    } else {
        quantity
    }
}

//! Quantities, times and ports: the small texts in objects that mean something.

use std::cmp::Ordering;

use coracle_api::codec::time;
use coracle_api::quantity::{Format, Quantity, canonical};

/// Each has a canonical form, which means the same. That is its own, but for one case: what was written with a binary suffix and
/// is no multiple of 1024 is written with none, and so is read as a decimal number (`812.5Ki`, `832000`, `832k`).
pub fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let amount = text.parse().is_ok_and(|amount| is_canonical(text, &amount));
    amount | is_moment(text)
}

fn is_canonical(text: &str, amount: &Quantity) -> bool {
    let written = canonical(text).expect("what can be parsed has a canonical form");
    let settled = canonical(&written).expect("a canonical form has one");
    if amount.format() != Format::BinarySi {
        assert_eq!(settled, written);
    }
    assert_eq!(canonical(&settled).as_deref(), Ok(settled.as_str()));
    let again: Quantity = written.parse().expect("a canonical form can be parsed");
    assert_eq!(again.cmp(amount), Ordering::Equal, "{text} {written}");
    let _ = (amount.value(), amount.milli_value(), amount.as_f64());
    let _ = (amount.plus(&again), amount.minus(&again), amount.times(3));
    for scale in [-9, 0, 9] {
        let rounded = amount.rounded_up(scale);
        assert!(rounded.is_multiple_of(scale), "{text} to {scale}: {rounded}");
    }
    true
}

fn is_moment(text: &str) -> bool {
    let Ok(moment) = time::parse(text) else {
        return false;
    };
    if let Some(written) = time::format(moment) {
        let again = time::parse(&written).expect("what was written can be read");
        assert_eq!(time::format(again), Some(written));
    }
    true
}

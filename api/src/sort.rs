//! Sorting by what may be no order.
//!
//! Some orders that Go sorts by contradict themselves: that of a YAML document's keys, where digits count as numbers, and that of
//! floating point numbers with one among them that is none. [`slice::sort_by`] may panic there; Go's sort does not.

use std::cmp::Ordering;

/// Sorts as [`slice::sort_by`] does, stably and in as many steps. By what is no order it comes to some order or other.
pub(crate) fn tolerant<T: Clone>(items: &mut [T], compare: &impl Fn(&T, &T) -> Ordering) {
    let middle = items.len() / 2;
    if middle == 0 {
        return;
    }
    let (left, right) = items.split_at_mut(middle);
    tolerant(left, compare);
    tolerant(right, compare);
    let (left, right) = (left.to_vec(), right.to_vec());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    for place in items {
        let from_right = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => compare(a, b) == Ordering::Greater,
            (a, _) => a.is_none(),
        };
        let next = if from_right { right.next() } else { left.next() };
        if let Some(item) = next {
            *place = item;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_order_is_kept_stably(items in prop::collection::vec((0_u8..20, any::<u16>()), 0..200)) {
            let (mut sorted, mut expected) = (items.clone(), items);
            tolerant(&mut sorted, &|a, b| a.0.cmp(&b.0));
            expected.sort_by_key(|item| item.0);
            prop_assert_eq!(sorted, expected);
        }

        #[test]
        fn what_is_no_order_loses_nothing(items in prop::collection::vec(any::<u8>(), 0..200)) {
            let (mut sorted, mut expected) = (items.clone(), items);
            // Stone, paper, scissors.
            tolerant(&mut sorted, &|a, b| ((a % 3 + 1) % 3).cmp(&(b % 3)));
            sorted.sort_unstable();
            expected.sort_unstable();
            prop_assert_eq!(sorted, expected);
        }
    }
}

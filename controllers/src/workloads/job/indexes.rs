//! Sets of completion indexes, as a Job's status writes them: `1,3-5,7`. Pure.

use std::collections::BTreeSet;
use std::fmt;

/// Indexes in ascending ranges, both ends included, that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// Reads indexes below `completions`; what is no index or range is passed over.
    pub(crate) fn parse(text: &str, completions: i32) -> Self {
        let mut ranges = Vec::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.parse::<i32>(), last.parse::<i32>()) else {
                continue;
            };
            if first < completions {
                ranges.push((first, last.min(completions - 1)));
            }
        }
        Self::of(ranges)
    }

    fn of(mut ranges: Vec<(i32, i32)>) -> Self {
        ranges.sort_unstable();
        let mut merged: Vec<(i32, i32)> = Vec::new();
        for (first, last) in ranges {
            match merged.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Self(merged)
    }

    /// These, and those.
    pub(crate) fn with(&self, more: impl IntoIterator<Item = i32>) -> Self {
        let more = more.into_iter().map(|index| (index, index));
        Self::of(self.0.iter().copied().chain(more).collect())
    }

    /// These, and all of those.
    pub(crate) fn union(&self, other: &Self) -> Self {
        Self::of(self.0.iter().chain(&other.0).copied().collect())
    }

    pub(crate) fn contains(&self, index: i32) -> bool {
        self.0
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&index))
    }

    /// How many there are.
    pub(crate) fn count(&self) -> i32 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    /// How many of these are among those.
    pub(crate) fn shared(&self, other: &Self) -> i32 {
        let overlap = |a: &(i32, i32), b: &(i32, i32)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        self.0
            .iter()
            .flat_map(|a| other.0.iter().map(move |b| overlap(a, b)))
            .sum()
    }

    /// The least `count` indexes below `completions` that are not among these.
    pub(crate) fn missing(&self, completions: i32, count: usize) -> Vec<i32> {
        let ends =
            self.0
                .iter()
                .copied()
                .chain([(completions, completions)])
                .scan(0, |from, (first, last)| {
                    let gap = *from..first.min(completions);
                    *from = last.saturating_add(1);
                    Some(gap)
                });
        ends.flatten().take(count).collect()
    }
}

impl FromIterator<i32> for Indexes {
    fn from_iter<I: IntoIterator<Item = i32>>(indexes: I) -> Self {
        let all: BTreeSet<i32> = indexes.into_iter().collect();
        Self::default().with(all)
    }
}

/// Ranges of two are written as two indexes, as upstream writes them.
impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.0.iter().enumerate() {
            if number > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_is_upstream_s() {
        for (text, completions, expected) in [
            ("", 5, ""),
            ("1,3-5,7", 10, "1,3-5,7"),
            ("1,3-5,7", 5, "1,3,4"),
            ("0,1,2", 5, "0-2"),
            ("0,1", 5, "0,1"),
            ("x,2,3-y", 5, "2"),
        ] {
            assert_eq!(Indexes::parse(text, completions).to_string(), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn they_are_sets(
            a in prop::collection::btree_set(0i32..30, 0..20),
            b in prop::collection::btree_set(0i32..30, 0..20),
        ) {
            let (left, right): (Indexes, Indexes) = (a.iter().copied().collect(), b.iter().copied().collect());
            let both: Indexes = a.union(&b).copied().collect();
            prop_assert_eq!(left.union(&right), both);
            prop_assert_eq!(left.count(), i32::try_from(a.len()).unwrap());
            prop_assert_eq!(left.shared(&right), i32::try_from(a.intersection(&b).count()).unwrap());
            prop_assert_eq!(Indexes::parse(&left.to_string(), 30), left.clone());
            let missing: Vec<i32> = (0..30).filter(|index| !a.contains(index)).take(4).collect();
            prop_assert_eq!(left.missing(30, 4), missing);
            prop_assert!((0..30).all(|index| left.contains(index) == a.contains(&index)));
        }
    }
}

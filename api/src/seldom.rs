//! Telling ever more seldom of what happens often.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How often something has happened that is worth a line in a log, but not one each time: where one event is dropped, say,
/// many are. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Seldom(Arc<AtomicU64>);

impl Seldom {
    /// Counts once more. Answers the count where it is to be told: the first time, and whenever it has doubled since.
    pub fn again(&self) -> Option<u64> {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        count.is_power_of_two().then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_when_the_count_has_doubled() {
        let seldom = Seldom::default();
        let told: Vec<u64> = (0..20).filter_map(|_| seldom.clone().again()).collect();
        assert_eq!(told, [1, 2, 4, 8, 16]);
    }
}

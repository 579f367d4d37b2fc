//! How much work a request is (upstream's `util/flowcontrol/request`): lists by what they hold in memory, writes by how many
//! watches will be told. Pure.

use std::time::Duration;

use super::queue_set::Estimate;
use crate::request::{RequestInfo, StoredSize};

/// A seat for so many bytes of a list, and the most bytes that a list from memory holds at once.
const BYTES_PER_SEAT: u64 = 100_000;
const LIST_BYTES_MAX: u64 = 1_000_000;
/// The most seats of a list and of a write.
const LIST_SEATS_MAX: u32 = 100;
const WRITE_SEATS_MAX: u32 = 10;
/// A seat for so many watches, for so long.
const WATCHES_PER_SEAT: u32 = 10;
const EVENT: Duration = Duration::from_millis(5);

/// What is asked of a list or of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ListAsked {
    pub(super) limit: u64,
    /// Whether the current state is told at all: a watch may only be told what changes.
    pub(super) state: bool,
}

impl ListAsked {
    pub(super) fn read(verb: &str, query: &[(String, String)]) -> Self {
        let first = |name: &str| {
            let found = query.iter().find(|(key, _)| key == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let wants_state = matches!(first("sendInitialEvents"), "true" | "1");
        Self {
            limit: first("limit").parse().unwrap_or_default(),
            state: verb != "watch" || wants_state || matches!(first("resourceVersion"), "" | "0"),
        }
    }
}

/// The seats of a list, or of the beginning of a watch. Every list is answered from memory here.
pub(super) fn of_list(
    info: &RequestInfo,
    asked: ListAsked,
    stored: Option<StoredSize>,
    widest: u32,
) -> Estimate {
    let (true, Some(stored)) = (asked.state, stored) else {
        return Estimate::ONE;
    };
    let objects = match (info.name.is_empty(), asked.limit) {
        (false, _) => 1,
        (true, 0) => stored.objects,
        (true, limit) => stored.objects.min(limit),
    };
    let average = stored.bytes / stored.objects.max(1);
    let bytes = objects.saturating_mul(average).min(LIST_BYTES_MAX);
    let seats = u32::try_from(bytes.div_ceil(BYTES_PER_SEAT)).unwrap_or(u32::MAX);
    Estimate {
        initial_seats: seats.clamp(1, widest.clamp(1, LIST_SEATS_MAX)),
        ..Estimate::ONE
    }
}

/// The seats of a write that so many watches are told of.
pub(super) fn of_write(watches: u32, widest: u32) -> Estimate {
    if watches < WATCHES_PER_SEAT {
        return Estimate::ONE;
    }
    let wanted = watches.div_ceil(WATCHES_PER_SEAT);
    let seats = wanted.min(widest.clamp(1, WRITE_SEATS_MAX));
    Estimate {
        initial_seats: 1,
        final_seats: seats,
        additional_latency: EVENT * wanted / seats,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_as_wide_as_what_they_hold() {
        let stored = |objects, bytes| Some(StoredSize { objects, bytes });
        let all = ListAsked {
            limit: 0,
            state: true,
        };
        let seats =
            |info: &RequestInfo, asked, stored, widest| of_list(info, asked, stored, widest).initial_seats;
        let any = RequestInfo::default();
        let named = RequestInfo {
            name: "a".to_owned(),
            ..RequestInfo::default()
        };
        for (info, asked, stored, widest, expected) in [
            (&any, all, None, 100, 1),
            (&any, all, stored(0, 0), 100, 1),
            (&any, all, stored(100, 250_000), 100, 3),
            (&any, ListAsked { limit: 10, ..all }, stored(100, 250_000), 100, 1),
            (&any, all, stored(10_000, 100_000_000), 100, 10),
            (&any, all, stored(10_000, 100_000_000), 4, 4),
            (&named, all, stored(10_000, 100_000_000), 100, 1),
            (
                &any,
                ListAsked { state: false, ..all },
                stored(10_000, 100_000_000),
                100,
                1,
            ),
        ] {
            assert_eq!(seats(info, asked, stored, widest), expected);
        }
    }

    #[test]
    fn a_watch_that_is_only_told_changes_is_narrow() {
        let asked = |query: &[(&str, &str)]| {
            let query: Vec<_> = query
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            ListAsked::read("watch", &query).state
        };
        assert!(asked(&[]) && asked(&[("resourceVersion", "0")]));
        assert!(!asked(&[("resourceVersion", "7")]));
        assert!(asked(&[("resourceVersion", "7"), ("sendInitialEvents", "true")]));
    }

    #[test]
    fn writes_keep_seats_for_the_watches_they_concern() {
        assert_eq!(of_write(9, 10), Estimate::ONE);
        let some = of_write(25, 10);
        assert_eq!((some.final_seats, some.additional_latency), (3, EVENT));
        let many = of_write(1000, 10);
        assert_eq!((many.final_seats, many.additional_latency), (10, EVENT * 10));
    }
}

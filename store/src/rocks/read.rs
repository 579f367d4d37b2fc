//! Reads, now and in the past.
//!
//! The database holds each key as it is now. What it held at an older revision is the previous state that the log kept
//! with the first change after that revision; a key without such a change is as it was. So the cost of reading the past
//! is that of the changes since.

use super::view::View;
use crate::{Fault, KeyRange, KeyValue, ListRequest, ListResponse, Revision};
use bytes::Bytes;
use std::collections::BTreeMap;

/// The keys of a range that have changed since some revision, with what they held then.
type Past = BTreeMap<Bytes, Option<KeyValue>>;

/// What a key held at a revision.
pub(super) fn get(
    view: &View<'_>,
    key: &Bytes,
    at: Revision,
    current: Revision,
) -> Result<Option<KeyValue>, Fault> {
    for batch in view.log(at, current) {
        if let Some(event) = batch?.events.iter().find(|event| event.key() == key) {
            return Ok(event.prev().cloned());
        }
    }
    view.object(key)
}

/// What a range held at a revision.
pub(super) fn list(
    view: &View<'_>,
    request: &ListRequest,
    at: Revision,
    current: Revision,
) -> Result<ListResponse, Fault> {
    let limit = request.limit.unwrap_or(usize::MAX);
    let mut past = past(view, &request.range, at, current)?;
    let mut page = Page {
        items: Vec::new(),
        limit,
        total: 0,
        count: request.count,
    };
    for kv in view.objects(&request.range) {
        let kv = kv?;
        let later = past.split_off(&kv.key);
        let gone = std::mem::replace(&mut past, later).into_values().flatten();
        let kept = past.remove(&kv.key).unwrap_or(Some(kv));
        if !gone.chain(kept).all(|kv| page.push(kv)) {
            return Ok(page.finish(at));
        }
    }
    // `all` stops at a full page, which is what is wanted.
    past.into_values().flatten().all(|kv| page.push(kv));
    Ok(page.finish(at))
}

fn past(view: &View<'_>, range: &KeyRange, at: Revision, current: Revision) -> Result<Past, Fault> {
    let mut past = Past::new();
    for batch in view.log(at, current) {
        for event in batch?.events {
            if range.contains(event.key()) && !past.contains_key(event.key()) {
                past.insert(event.key().clone(), event.prev().cloned());
            }
        }
    }
    Ok(past)
}

/// An answer in the making.
struct Page {
    items: Vec<KeyValue>,
    limit: usize,
    total: u64,
    count: bool,
}

impl Page {
    /// Adds the next key; false if no further ones are of interest.
    fn push(&mut self, kv: KeyValue) -> bool {
        self.total += 1;
        if self.items.len() < self.limit {
            self.items.push(kv);
            return true;
        }
        self.count
    }

    fn finish(self, revision: Revision) -> ListResponse {
        ListResponse {
            revision,
            more: self.total > self.items.len() as u64,
            count: self.count.then_some(self.total),
            items: self.items,
        }
    }
}

//! Something that is made of stored objects and asked for often: made again by the first who asks after a change.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{GroupResource, ObjectReader};

/// Makes something of stored objects.
type Make<T> = dyn Fn(&dyn ObjectReader) -> T + Send + Sync;

/// What is made of some resources. Asking costs an atomic load for each of them while nothing changes.
pub(crate) struct Prepared<T> {
    make: Box<Make<T>>,
    current: ArcSwap<Made<T>>,
}

struct Made<T> {
    value: Arc<T>,
    /// Tell whether the resources have changed since.
    since: Vec<watch::Receiver<u64>>,
}

impl<T: Send + Sync + 'static> Prepared<T> {
    /// What `make` makes of these resources, and of nothing else.
    pub(crate) fn new(
        resources: &[GroupResource],
        reader: &dyn ObjectReader,
        make: impl Fn(&dyn ObjectReader) -> T + Send + Sync + 'static,
    ) -> Self {
        let since = resources
            .iter()
            .map(|resource| reader.changes(resource))
            .collect();
        Self {
            current: ArcSwap::from_pointee(Made::new(&make, since, reader)),
            make: Box::new(make),
        }
    }

    /// Looks at it as things are now.
    pub(crate) fn with<R>(&self, reader: &dyn ObjectReader, look: impl FnOnce(&T) -> R) -> R {
        let current = self.current.load();
        if current.is_current() {
            look(&current.value)
        } else {
            look(&self.now(reader))
        }
    }

    /// As things are now. Of several who ask at a time after a change, one that was late leaves behind what tells the next
    /// one to make it again.
    pub(crate) fn now(&self, reader: &dyn ObjectReader) -> Arc<T> {
        let current = self.current.load();
        if current.is_current() {
            return current.value.clone();
        }
        let fresh = Made::new(&*self.make, current.since.clone(), reader);
        let value = fresh.value.clone();
        self.current.store(Arc::new(fresh));
        value
    }
}

impl<T> Made<T> {
    fn is_current(&self) -> bool {
        // What nobody writes to any more does not change.
        let changed = |since: &watch::Receiver<u64>| since.has_changed().unwrap_or(false);
        !self.since.iter().any(changed)
    }

    fn new(
        make: &dyn Fn(&dyn ObjectReader) -> T,
        mut since: Vec<watch::Receiver<u64>>,
        reader: &dyn ObjectReader,
    ) -> Self {
        for since in &mut since {
            since.borrow_and_update();
        }
        Self {
            value: Arc::new(make(reader)),
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn it_is_made_again_after_a_change_and_only_then() {
        let reader = MemoryReader::default();
        let maps = GroupResource::new("", "configmaps");
        let count = |reader: &dyn ObjectReader| reader.list(&GroupResource::new("", "configmaps"), "").len();
        let prepared = Prepared::new(std::slice::from_ref(&maps), &reader, count);
        let first = prepared.now(&reader);
        assert!(Arc::ptr_eq(&first, &prepared.now(&reader)));
        reader.put(&maps, json!({"metadata": {"name": "a"}}));
        assert_eq!((*first, *prepared.now(&reader)), (0, 1));
    }
}

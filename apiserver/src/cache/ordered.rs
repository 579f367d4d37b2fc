//! An ordered map that is cheap to keep: what a list walks while writes go on.
//!
//! Entries stand sorted in chunks behind `Arc`s. A clone shares everything and costs one reference count; a change copies
//! only what a clone still holds (one chunk of entries and the list of chunks). So a snapshot of any size is taken under
//! the shortest of locks, and readers never stop writers.

use std::sync::Arc;

/// What has a place in the order.
pub(crate) trait Keyed {
    /// The key it is found under; never changes.
    fn key(&self) -> &str;
}

impl<T: Keyed> Keyed for Arc<T> {
    fn key(&self) -> &str {
        self.as_ref().key()
    }
}

const CHUNK: usize = 128;

/// A sorted map of `T` by [`Keyed::key`]; cloning it takes a snapshot.
#[derive(Debug)]
pub(crate) struct Ordered<T> {
    /// Never holds an empty chunk.
    chunks: Arc<Vec<Arc<Vec<T>>>>,
    len: usize,
}

impl<T> Clone for Ordered<T> {
    fn clone(&self) -> Self {
        Self {
            chunks: Arc::clone(&self.chunks),
            len: self.len,
        }
    }
}

impl<T> Default for Ordered<T> {
    fn default() -> Self {
        Self {
            chunks: Arc::new(Vec::new()),
            len: 0,
        }
    }
}

impl<T: Keyed + Clone> Ordered<T> {
    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The entry of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        let chunk = self.chunks.get(self.chunk_of(key))?;
        let at = chunk.binary_search_by(|entry| entry.key().cmp(key)).ok()?;
        chunk.get(at)
    }

    /// Puts an entry in, and hands back the one it replaces.
    pub(crate) fn insert(&mut self, entry: T) -> Option<T> {
        let at = self.chunk_of(entry.key());
        let chunks = Arc::make_mut(&mut self.chunks);
        let Some(chunk) = chunks.get_mut(at) else {
            chunks.push(Arc::new(vec![entry]));
            self.len += 1;
            return None;
        };
        let chunk = Arc::make_mut(chunk);
        match chunk.binary_search_by(|other| other.key().cmp(entry.key())) {
            Ok(found) => Some(std::mem::replace(&mut chunk[found], entry)),
            Err(place) => {
                chunk.insert(place, entry);
                self.len += 1;
                if chunk.len() > CHUNK {
                    let upper = chunk.split_off(split_point(chunk.len(), place));
                    chunks.insert(at + 1, Arc::new(upper));
                }
                None
            }
        }
    }

    /// Takes an entry out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<T> {
        let at = self.chunk_of(key);
        let found = self
            .chunks
            .get(at)?
            .binary_search_by(|entry| entry.key().cmp(key))
            .ok()?;
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(&mut chunks[at]);
        let removed = chunk.remove(found);
        if chunk.is_empty() {
            chunks.remove(at);
        }
        self.len -= 1;
        Some(removed)
    }

    /// How many entries have a key below this one.
    pub(crate) fn rank(&self, key: &str) -> usize {
        let at = self.chunk_of(key);
        let before: usize = self.chunks.iter().take(at).map(|chunk| chunk.len()).sum();
        let inside = self
            .chunks
            .get(at)
            .map_or(0, |chunk| chunk.partition_point(|entry| entry.key() < key));
        before + inside
    }

    /// Every entry whose key is `from` or greater, in order.
    pub(crate) fn range_from<'a>(&'a self, from: &'a str) -> impl Iterator<Item = &'a T> + 'a {
        let at = self.chunk_of(from);
        let inside = self
            .chunks
            .get(at)
            .map_or(0, |chunk| chunk.partition_point(|entry| entry.key() < from));
        let chunks = self.chunks.get(at..).unwrap_or(&[]);
        chunks.iter().flat_map(|chunk| chunk.iter()).skip(inside)
    }

    /// Every entry whose key starts with `prefix`, in order.
    pub(crate) fn with_prefix<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a T> + 'a {
        self.range_from(prefix)
            .take_while(move |entry| entry.key().starts_with(prefix))
    }

    /// The chunk a key is in or would go into: the last that does not start above it.
    fn chunk_of(&self, key: &str) -> usize {
        self.chunks
            .partition_point(|chunk| chunk[0].key() <= key)
            .saturating_sub(1)
    }
}

/// Keys that arrive in order (generated names do not, but loads at start do) fill chunks instead of leaving halves.
fn split_point(len: usize, inserted_at: usize) -> usize {
    if inserted_at + 1 == len { len - 1 } else { len / 2 }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Item(String, u32);

    impl Keyed for Item {
        fn key(&self) -> &str {
            &self.0
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_btreemap_and_snapshots_stay(
            steps in prop::collection::vec((0u32..400, any::<bool>()), 1..900),
            at in 0usize..900,
            from in 0u32..400,
        ) {
            let mut map = Ordered::default();
            let mut model = BTreeMap::new();
            let mut kept = None;
            for (i, (n, put)) in steps.iter().enumerate() {
                if i == at {
                    kept = Some((map.clone(), model.clone()));
                }
                let key = format!("{n:05}");
                if *put {
                    let item = Item(key.clone(), i as u32);
                    prop_assert_eq!(map.insert(item.clone()), model.insert(key, item));
                } else {
                    prop_assert_eq!(map.remove(&key), model.remove(&key));
                }
            }
            for (map, model) in kept.into_iter().chain([(map, model)]) {
                let from = format!("{from:05}");
                prop_assert_eq!(map.len(), model.len());
                prop_assert_eq!(
                    map.range_from(&from).cloned().collect::<Vec<_>>(),
                    model.range(from.clone()..).map(|(_, item)| item.clone()).collect::<Vec<_>>()
                );
                prop_assert_eq!(map.get(&from), model.get(&from));
                prop_assert_eq!(map.rank(&from), model.range(..from).count());
            }
        }
    }

    #[test]
    fn filling_in_order_leaves_full_chunks() {
        let mut map = Ordered::default();
        for n in 0..10 * CHUNK {
            map.insert(Item(format!("{n:06}"), 0));
        }
        assert_eq!(map.chunks.len(), 10);
        assert_eq!(map.with_prefix("0000").count(), 100);
    }
}

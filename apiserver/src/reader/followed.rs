//! What is made of each object of a resource, made again for those that changed and for no others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::{GroupResource, ObjectReader, Revision};

/// What is known of the objects of a resource. Looking again costs a comparison for each object, and reading those that
/// changed: there may be a thousand definitions, of which one did.
#[derive(Debug)]
pub(crate) struct Followed<T> {
    resource: GroupResource,
    known: BTreeMap<String, (u64, T)>,
}

impl<T> Followed<T> {
    /// Follows a resource whose objects belong to no namespace.
    pub(crate) fn new(resource: GroupResource) -> Self {
        Self {
            resource,
            known: BTreeMap::new(),
        }
    }

    /// Looks again; `make` makes what is to be known of an object.
    pub(crate) fn look(&mut self, reader: &dyn ObjectReader, make: impl Fn(&Arc<Value>) -> T) {
        let mut known = BTreeMap::new();
        for Revision { name, revision } in reader.revisions(&self.resource) {
            let fresh = match self.known.remove_entry(&name) {
                Some((name, before)) if before.0 == revision && revision > 0 => Some((name, before)),
                _ => reader
                    .get(&self.resource, "", &name)
                    .map(|object| (name, (revision, make(&object)))),
            };
            known.extend(fresh);
        }
        self.known = known;
    }

    /// What is known, by the objects' names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &T)> {
        self.known.iter().map(|(name, (_, known))| (name.as_str(), known))
    }

    /// What is known of the object of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&T> {
        self.known.get(name).map(|(_, known)| known)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::*;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn only_what_changed_is_read_again() {
        let (reader, things) = (MemoryReader::default(), GroupResource::new("g", "things"));
        let (mut followed, made) = (Followed::new(things.clone()), Cell::new(0));
        let mut look = |reader: &MemoryReader| {
            followed.look(reader, |object| {
                made.set(made.get() + 1);
                object["size"].as_i64()
            });
            followed
                .iter()
                .map(|(name, size)| (name.to_owned(), *size))
                .collect::<Vec<_>>()
        };
        let put = |name: &str, size: i64| {
            reader.put(
                &things,
                json!({"metadata": {"name": name, "resourceVersion": size.to_string()}, "size": size}),
            );
        };
        put("a", 1);
        put("b", 2);
        assert_eq!(
            look(&reader),
            [("a".to_owned(), Some(1)), ("b".to_owned(), Some(2))]
        );
        put("b", 3);
        assert_eq!(look(&reader)[1].1, Some(3));
        reader.remove(&things, "", "a");
        assert_eq!(look(&reader), [("b".to_owned(), Some(3))]);
        assert_eq!(made.get(), 3);
    }
}

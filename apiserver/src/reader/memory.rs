//! Objects held in a map, for the tests of whatever reads through [`ObjectReader`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::sync::watch;

use super::{GroupResource, ObjectReader};

/// An [`ObjectReader`] over what a test put into it.
#[derive(Default)]
pub(crate) struct MemoryReader {
    objects: Mutex<BTreeMap<(GroupResource, String, String), Arc<Value>>>,
    revisions: Mutex<HashMap<GroupResource, watch::Sender<u64>>>,
}

impl MemoryReader {
    pub(crate) fn put(&self, resource: &GroupResource, object: Value) {
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let key = (
            resource.clone(),
            text("/metadata/namespace"),
            text("/metadata/name"),
        );
        self.objects.lock().unwrap().insert(key, Arc::new(object));
        self.tell(resource);
    }

    pub(crate) fn remove(&self, resource: &GroupResource, namespace: &str, name: &str) {
        let key = (resource.clone(), namespace.to_owned(), name.to_owned());
        self.objects.lock().unwrap().remove(&key);
        self.tell(resource);
    }

    fn tell(&self, resource: &GroupResource) {
        let mut revisions = self.revisions.lock().unwrap();
        let sender = revisions
            .entry(resource.clone())
            .or_insert_with(|| watch::channel(0).0);
        sender.send_modify(|revision| *revision += 1);
    }
}

impl ObjectReader for MemoryReader {
    fn get(&self, resource: &GroupResource, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (resource.clone(), namespace.to_owned(), name.to_owned());
        self.objects.lock().unwrap().get(&key).cloned()
    }

    fn list(&self, resource: &GroupResource, namespace: &str) -> Vec<Arc<Value>> {
        let objects = self.objects.lock().unwrap();
        let of = objects
            .iter()
            .filter(|((held, home, _), _)| held == resource && (namespace.is_empty() || home == namespace));
        of.map(|(_, object)| object.clone()).collect()
    }

    fn changes(&self, resource: &GroupResource) -> watch::Receiver<u64> {
        let mut revisions = self.revisions.lock().unwrap();
        revisions
            .entry(resource.clone())
            .or_insert_with(|| watch::channel(0).0)
            .subscribe()
    }
}

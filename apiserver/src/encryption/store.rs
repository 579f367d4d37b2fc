//! A store whose values are encrypted: what the registry and the watch cache see in place of the one below.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::resources;
use coracle_store::{
    Batch, CheckpointError, CompactError, Event, Fault, GetResponse, KeyValue, ListRequest, ListResponse, Op,
    ReadError, Revision, Store, Txn, TxnError, TxnOutcome, WatchError, WatchItem, WatchRequest, WatchStream,
};
use futures::StreamExt;

use super::{Encryption, Named};
use crate::cache::ROOT;
use crate::registry::services::PORTS_KEY;

/// What stands in place of a value that nobody can read, before why: no object begins like this.
pub(crate) const UNREADABLE: &[u8] = b"\0unreadable\0";

/// See the module.
pub(crate) struct EncryptedStore {
    below: Arc<dyn Store>,
    encryption: Arc<Encryption>,
}

/// What stands before namespace and name in the keys of built-in resources, and which resources that are.
pub(super) fn built_in_prefixes() -> BTreeMap<String, Named> {
    let stored = resources::all().iter().filter(|resource| resource.is_stored());
    stored
        .map(|resource| {
            let resource = resource.stored_as();
            let named = (resource.group.to_owned(), resource.resource.to_owned());
            (format!("{ROOT}{}/", resource.storage_prefix()), named)
        })
        .collect()
}

/// The resource that a key belongs to: a built-in one, which need not be served, or a custom one, whose keys begin with its
/// group and name.
fn resource_of(prefixes: &BTreeMap<String, Named>, key: &[u8]) -> Option<Named> {
    let key = std::str::from_utf8(key).ok()?;
    let below = (Bound::Unbounded, Bound::Included(key));
    let built_in = prefixes.range::<str, _>(below).next_back();
    if let Some((prefix, named)) = built_in
        && key.starts_with(prefix.as_str())
    {
        return Some(named.clone());
    }
    if key == PORTS_KEY {
        return Some((String::new(), "servicenodeportallocations".to_owned()));
    }
    let (group, rest) = key.strip_prefix(ROOT)?.split_once('/')?;
    let (resource, _) = rest.split_once('/')?;
    Some((group.to_owned(), resource.to_owned()))
}

impl EncryptedStore {
    pub(crate) fn new(below: Arc<dyn Store>, encryption: Arc<Encryption>) -> Self {
        Self { below, encryption }
    }

    /// Whether what is stored under a key would be written otherwise now, so that it is to be written again even where
    /// nothing else about it changes.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub(crate) async fn is_stale(&self, key: &str) -> Result<bool, ReadError> {
        let Some(kv) = self.below.get(key.as_bytes(), None).await?.kv else {
            return Ok(false);
        };
        let loaded = self.encryption.current.load_full();
        let Some(resource) = resource_of(&self.encryption.prefixes, &kv.key) else {
            return Ok(false);
        };
        let opened = loaded.chains.chain(&resource).open(&kv.value, &kv.key).await;
        Ok(opened.is_ok_and(|opened| opened.stale))
    }

    async fn opened(&self, kv: KeyValue) -> KeyValue {
        open(&self.encryption, kv).await
    }

    fn sealed(&self, op: Op) -> Result<Op, TxnError> {
        let Op::Put { key, value } = op else {
            return Ok(op);
        };
        let loaded = self.encryption.current.load();
        let sealed = match resource_of(&self.encryption.prefixes, &key) {
            None => Ok(value),
            Some(resource) => loaded.chains.chain(&resource).seal(&value, &key),
        };
        match sealed {
            Ok(value) => Ok(Op::Put { key, value }),
            Err(error) => Err(TxnError::Refused(Fault::Transform {
                detail: error.to_string(),
            })),
        }
    }
}

async fn open(encryption: &Encryption, kv: KeyValue) -> KeyValue {
    let Some(resource) = resource_of(&encryption.prefixes, &kv.key) else {
        return kv;
    };
    let loaded = encryption.current.load_full();
    let value = match loaded.chains.chain(&resource).open(&kv.value, &kv.key).await {
        Ok(opened) => opened.bytes,
        Err(error) => Bytes::from([UNREADABLE, error.to_string().as_bytes()].concat()),
    };
    KeyValue { value, ..kv }
}

async fn open_batch(encryption: &Encryption, batch: Batch) -> Batch {
    let mut events = Vec::with_capacity(batch.events.len());
    for event in batch.events {
        events.push(match event {
            Event::Put { kv, prev } => Event::Put {
                kv: open(encryption, kv).await,
                prev: match prev {
                    Some(prev) => Some(open(encryption, prev).await),
                    None => None,
                },
            },
            Event::Delete { prev } => Event::Delete {
                prev: open(encryption, prev).await,
            },
        });
    }
    Batch { events, ..batch }
}

#[async_trait]
impl Store for EncryptedStore {
    async fn revision(&self) -> Result<Revision, ReadError> {
        self.below.revision().await
    }

    async fn get(&self, key: &[u8], at: Option<Revision>) -> Result<GetResponse, ReadError> {
        let found = self.below.get(key, at).await?;
        let kv = match found.kv {
            Some(kv) => Some(self.opened(kv).await),
            None => None,
        };
        Ok(GetResponse { kv, ..found })
    }

    async fn list(&self, request: ListRequest) -> Result<ListResponse, ReadError> {
        let found = self.below.list(request).await?;
        let mut items = Vec::with_capacity(found.items.len());
        for kv in found.items {
            items.push(self.opened(kv).await);
        }
        Ok(ListResponse { items, ..found })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, TxnError> {
        let ops: Result<Vec<Op>, TxnError> = txn.ops.into_iter().map(|op| self.sealed(op)).collect();
        let compares = txn.compares;
        match self.below.txn(Txn { compares, ops: ops? }).await? {
            TxnOutcome::Conflict { revision, current } => {
                let mut opened = Vec::with_capacity(current.len());
                for kv in current {
                    opened.push(match kv {
                        Some(kv) => Some(self.opened(kv).await),
                        None => None,
                    });
                }
                Ok(TxnOutcome::Conflict {
                    revision,
                    current: opened,
                })
            }
            committed @ TxnOutcome::Committed { .. } => Ok(committed),
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<WatchStream, WatchError> {
        let stream = self.below.watch(request).await?;
        let encryption = Arc::clone(&self.encryption);
        let opened = stream.then(move |item| {
            let encryption = Arc::clone(&encryption);
            async move {
                match item? {
                    WatchItem::Changes(batch) => Ok(WatchItem::Changes(open_batch(&encryption, batch).await)),
                    progress @ WatchItem::Progress(_) => Ok(progress),
                }
            }
        });
        Ok(opened.boxed())
    }

    async fn request_progress(&self) -> Result<(), Fault> {
        self.below.request_progress().await
    }

    async fn compact(&self, revision: Revision) -> Result<(), CompactError> {
        self.below.compact(revision).await
    }

    async fn checkpoint(&self, dir: &Path) -> Result<(), CheckpointError> {
        self.below.checkpoint(dir).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_belongs_to_a_resource() {
        let prefixes = built_in_prefixes();
        let of = |key: &str| resource_of(&prefixes, key.as_bytes()).unwrap_or_default();
        let table = [
            ("/registry/secrets/a/b", ("", "secrets")),
            ("/registry/services/specs/a/b", ("", "services")),
            ("/registry/services/endpoints/a/b", ("", "endpoints")),
            ("/registry/deployments/a/b", ("apps", "deployments")),
            ("/registry/events/a/b", ("", "events")),
            (
                "/registry/apiregistration.k8s.io/apiservices/v1.",
                ("apiregistration.k8s.io", "apiservices"),
            ),
            ("/registry/example.com/widgets/a/b", ("example.com", "widgets")),
            (PORTS_KEY, ("", "servicenodeportallocations")),
        ];
        for (key, (group, resource)) in table {
            assert_eq!(of(key), (group.to_owned(), resource.to_owned()), "{key}");
        }
        assert_eq!(resource_of(&prefixes, b"/other"), None);
    }
}

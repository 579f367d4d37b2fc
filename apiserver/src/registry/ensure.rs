//! Making many objects at once: what the server itself wants to be there.

use std::sync::Arc;

use coracle_api::codec::conform::conform;
use coracle_api::resources;
use coracle_api::status::ApiError;
use coracle_api::table;
use coracle_store::{Revision, Txn, TxnOutcome};
use serde_json::Value;

use super::list::wait_error;
use super::served::Served;
use super::services::ranges::ClusterRanges;
use super::write::txn_error;
use super::{Registry, meta, rules};
use crate::cache::stored;

/// A store takes at most 128 operations in a transaction.
const AT_ONCE: usize = 100;
/// How often it is tried again when somebody else writes the same objects.
const TRIES: usize = 10;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The field manager of the server's own objects, by upstream's names.
fn manager_of(served: &Served) -> &'static str {
    match served.resource.group {
        "flowcontrol.apiserver.k8s.io" => "api-priority-and-fairness-config-producer-v1",
        _ => "kube-apiserver",
    }
}

/// One object to be written, and the revision it is made from.
struct Write {
    key: String,
    expected: Revision,
    object: Value,
}

impl Registry {
    /// Where service addresses come from by the flag.
    pub(crate) fn service_ranges(&self) -> ClusterRanges {
        self.services.ranges()
    }

    /// A new object of the server's own, ready to be stored; none where there is one of its name.
    pub(super) fn made(&self, wanted: &Value) -> Result<Option<Value>, ApiError> {
        let write = self.planned(wanted, |_, _| None)?;
        Ok(write.map(|write| write.object))
    }

    /// Makes objects that are not there, and changes those that are as `change` (current, wanted) says.
    ///
    /// # Errors
    /// Where the store does not take them.
    pub(crate) async fn ensure(
        &self,
        wanted: Vec<Value>,
        change: fn(&Value, &Value) -> Option<Value>,
    ) -> Result<(), ApiError> {
        for batch in wanted.chunks(AT_ONCE) {
            let mut done = false;
            for _ in 0..TRIES {
                done = self.ensure_batch(batch, change).await?;
                if done {
                    break;
                }
            }
            if !done {
                return Err(ApiError::internal(
                    "objects of the server's own are being changed by somebody else",
                ));
            }
        }
        Ok(())
    }

    /// False where somebody was faster.
    async fn ensure_batch(
        &self,
        wanted: &[Value],
        change: fn(&Value, &Value) -> Option<Value>,
    ) -> Result<bool, ApiError> {
        self.cache.current(PATIENCE).await.map_err(wait_error)?;
        let mut txn = Txn::new();
        for object in wanted {
            let Some(mut write) = self.planned(object, change)? else {
                continue;
            };
            let value = stored::encode(&mut write.object).map_err(ApiError::internal)?;
            txn = txn.when(write.key.clone(), write.expected).put(write.key, value);
        }
        if txn.ops.is_empty() {
            return Ok(true);
        }
        match self.cache.store().txn(txn).await.map_err(txn_error)? {
            TxnOutcome::Committed { revision } => {
                self.cache
                    .reached(revision.0, PATIENCE)
                    .await
                    .map_err(wait_error)?;
                Ok(true)
            }
            TxnOutcome::Conflict { .. } => Ok(false),
        }
    }

    fn planned(
        &self,
        wanted: &Value,
        change: fn(&Value, &Value) -> Option<Value>,
    ) -> Result<Option<Write>, ApiError> {
        let (served, mut object) = self.shaped(wanted)?;
        let key = served.key(meta::text(&object, "namespace"), meta::text(&object, "name"));
        let full = format!("{}{key}", served.prefix);
        let writer = manager_of(&served);
        if let Some(current) = served.cache.get(&key) {
            let before = current.value();
            let Some(mut object) = change(&before, &object) else {
                return Ok(None);
            };
            self.track_as(&served, writer, Some(&before), &mut object);
            return Ok(Some(Write {
                key: full,
                expected: Revision(current.revision()),
                object,
            }));
        }
        self.track_as(&served, writer, None, &mut object);
        meta::prepare_create(&mut object, self.now(), self.new_uid());
        rules::prepare_create(&served, &mut object, self.now());
        Ok(Some(Write {
            key: full,
            expected: Revision::ABSENT,
            object,
        }))
    }

    /// The object in its canonical shape, with its defaults.
    fn shaped(&self, wanted: &Value) -> Result<(Arc<Served>, Value), ApiError> {
        let text = |field: &str| wanted.get(field).and_then(Value::as_str).unwrap_or_default();
        let ty = table::by_api_version(text("apiVersion"), text("kind"));
        let found = ty.and_then(|ty| Some((ty, ty.gvk?)));
        let (ty, gvk) =
            found.ok_or_else(|| ApiError::internal("an object of the server's own has no known kind"))?;
        let resource = resources::by_kind(gvk.group, gvk.version, gvk.kind);
        let served = resource.and_then(|r| self.catalog.find(r.group, r.version, r.resource));
        let served =
            served.ok_or_else(|| ApiError::internal("an object of the server's own cannot be stored"))?;
        let mut object = wanted.clone();
        conform(&mut object, ty).map_err(ApiError::internal)?;
        rules::default(gvk, &mut object);
        Ok((served, object))
    }
}

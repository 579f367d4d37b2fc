//! What a definition leaves when it goes: its objects are deleted, each by the rules of every deletion, and the definition
//! stays until the last of them is gone.

use std::sync::{Arc, Weak};

use coracle_api::custom::conditions::{self, Condition, TERMINATING};
use coracle_api::object::Fields as _;
use coracle_api::status::ApiError;
use serde_json::Value;
use tokio::sync::watch;

use super::{RETRY, own_context};
use crate::cache::entry::Entry;
use crate::registry::Registry;
use crate::registry::delete::Asks;
use crate::registry::options::DeleteOptions;
use crate::registry::served::Served;

/// What came of looking at the objects that a definition leaves.
enum Left {
    /// They are gone, and so is what held the definition.
    Nothing,
    /// Some are on their way; their cache tells of changes.
    Some(watch::Receiver<u64>),
}

/// Deletes what a definition leaves, and then lets go of it. Ends with the registry.
pub(super) async fn clean_up(registry: Weak<Registry>, name: &str) {
    loop {
        let Some(held) = registry.upgrade() else { return };
        let cancel = held.cancel.clone();
        let left = held.delete_objects_of(name).await;
        drop(held);
        let again = async {
            match left {
                Ok(Left::Nothing) => return false,
                // The time is for objects that could not be deleted at the first attempt.
                Ok(Left::Some(mut changes)) => {
                    let _ = tokio::time::timeout(10 * RETRY, changes.changed()).await;
                }
                Err(error) => {
                    tracing::warn!(%error, name, "objects of a custom resource could not be deleted yet");
                    tokio::time::sleep(RETRY).await;
                }
            }
            true
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            again = again => if !again { return },
        }
    }
}

impl Registry {
    /// Deletes the objects of a definition that waits for them to go, and lets go of it once they are gone.
    async fn delete_objects_of(&self, name: &str) -> Result<Left, ApiError> {
        let definitions = self.definitions();
        let Some(entry) = self.current(&definitions, "", name).await? else {
            return Ok(Left::Nothing);
        };
        let object = Value::clone(&entry.value());
        if !conditions::awaits_cleanup(&object) {
            return Ok(Left::Nothing);
        }
        let spec = &object["spec"];
        let served = self
            .catalog
            .stored(spec.text("group"), spec["names"].text("plural"));
        if let Some(served) = &served {
            let changes = served.cache.changes();
            let objects = served.cache.snapshot().entries;
            if objects.len() > 0 {
                self.say_deletion_is_under_way(&entry, &object).await?;
                for entry in objects.with_prefix("") {
                    self.delete_left(served, entry).await?;
                }
                return Ok(Left::Some(changes));
            }
        }
        let mut finished = object;
        conditions::finish_cleanup(&mut finished, served.is_some(), self.now());
        if self.write_definition(&entry, finished).await? {
            return Ok(Left::Nothing);
        }
        Ok(Left::Some(definitions.cache.changes()))
    }

    async fn delete_left(&self, served: &Arc<Served>, entry: &Arc<Entry>) -> Result<(), ApiError> {
        let ctx = own_context(served, entry, "delete", "");
        let options = DeleteOptions::default();
        let deleted = self.delete_object(&ctx, served, entry.name(), &options, Asks::Nobody);
        match deleted.await {
            Err(error) if error.code() != 404 => Err(error),
            _ => Ok(()),
        }
    }

    async fn say_deletion_is_under_way(&self, entry: &Arc<Entry>, object: &Value) -> Result<(), ApiError> {
        let mut told = object.clone();
        let condition = Condition {
            ty: TERMINATING,
            status: true,
            reason: "InstanceDeletionInProgress",
            message: "CustomResource deletion is in progress".to_owned(),
        };
        conditions::set(&mut told, &condition, self.now());
        if told != *object {
            self.write_definition(entry, told).await?;
        }
        Ok(())
    }
}

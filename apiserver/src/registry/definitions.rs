//! Custom resource definitions come to life here: their names are settled, what they define is served, and what they leave
//! is cleaned up.
//!
//! One task follows the definitions. After each change it works out what is to be served from now on, puts that in place
//! of what was served before in one step, and only then tells in a definition's status that it is established; so whoever
//! reads that finds it served, told in discovery and described. Who changes a definition is answered after that.

mod cleanup;
mod marks;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use coracle_api::custom::{Definition, conditions, naming};
use coracle_api::object::Fields as _;
use coracle_api::status::ApiError;
use coracle_api::symbols::symbol;
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::custom::{self, Customs, Schemas};
use super::options::WriteOptions;
use super::served::Served;
use super::{Registry, StartError};
use crate::cache::LoadError;
use crate::cache::entry::Entry;
use crate::cache::ordered::Keyed;
use crate::cache::resource::ResourceCache;
use crate::request::{RequestContext, RequestInfo, UserInfo};

const GROUP: &str = "apiextensions.k8s.io";
const RESOURCE: &str = "customresourcedefinitions";
/// The manager in whose name the server writes a definition's status.
const MANAGER: &str = "kube-apiserver";
/// How long to wait before something that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long the answer to a change of a definition waits for the change to take effect.
const PATIENCE: Duration = Duration::from_secs(5);

/// Follows the definitions of one registry.
pub(super) struct Follower {
    registry: Weak<Registry>,
    known: HashMap<String, Known>,
    generation: u64,
    cleaning: Arc<std::sync::Mutex<HashSet<String>>>,
    tasks: TaskTracker,
}

/// A definition as it was taken up last.
struct Known {
    revision: u64,
    group: &'static str,
    /// A definition that has nothing but the names that were accepted.
    names: Value,
    /// Whether it has all the names that it asks for.
    has_all_names: bool,
    /// What was told apart by: everything that serving depends on.
    served_by: [u8; 32],
    /// The same of keeping objects.
    kept_by: [u8; 32],
    served: Vec<Arc<Served>>,
}

/// A status that is to be written.
struct Settled {
    entry: Arc<Entry>,
    object: Value,
}

impl Registry {
    pub(super) fn definitions(&self) -> Arc<Served> {
        let found = self.catalog.find(GROUP, "v1", RESOURCE);
        found.expect("custom resource definitions are built in")
    }

    /// Waits until the changes of definitions that have been made so far have taken effect.
    pub(super) async fn definitions_settled(&self) {
        let wanted = *self.definitions().cache.changes().borrow();
        let mut settled = self.settled.subscribe();
        let waiting = settled.wait_for(|settled| *settled >= wanted);
        // Whoever is not served in time is served a little later.
        let _ = tokio::time::timeout(PATIENCE, waiting).await;
    }

    /// Writes a definition's status in the server's own name. False where somebody was faster.
    async fn write_definition(&self, entry: &Arc<Entry>, mut object: Value) -> Result<bool, ApiError> {
        let served = self.definitions();
        let ctx = own_context(&served, entry, "update", "status");
        self.track(&ctx, &served, Some(entry), &mut object).await;
        let options = WriteOptions::default();
        match self.try_update(&ctx, &served, entry, object, &options).await {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.code(), 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// A request that the server makes of itself.
fn own_context(served: &Served, entry: &Entry, verb: &str, subresource: &str) -> RequestContext {
    let resource = &served.resource;
    RequestContext {
        info: RequestInfo {
            is_resource_request: true,
            path: String::new(),
            verb: verb.to_owned(),
            api_prefix: "apis".to_owned(),
            api_group: resource.group.to_owned(),
            api_version: resource.version.to_owned(),
            namespace: entry.namespace().to_owned(),
            resource: resource.resource.to_owned(),
            subresource: subresource.to_owned(),
            name: entry.name().to_owned(),
            parts: vec![resource.resource.to_owned(), entry.name().to_owned()],
        },
        user: UserInfo::server(),
        method: Method::PUT,
        query: vec![("fieldManager".to_owned(), MANAGER.to_owned())],
        headers: HeaderMap::new(),
        warnings: Default::default(),
    }
}

impl Follower {
    /// Serves what is defined already.
    ///
    /// # Errors
    /// Where stored objects cannot be read.
    pub(super) async fn start(registry: &Arc<Registry>) -> Result<Self, StartError> {
        let mut follower = Self {
            registry: Arc::downgrade(registry),
            known: HashMap::new(),
            generation: 0,
            cleaning: Arc::default(),
            tasks: TaskTracker::new(),
        };
        follower.pass(registry).await?;
        Ok(follower)
    }

    /// Follows until cancelled, or until the registry is gone.
    pub(super) async fn follow(mut self, mut changes: watch::Receiver<u64>, cancel: CancellationToken) {
        loop {
            let Some(registry) = self.registry.upgrade() else {
                return;
            };
            changes.mark_unchanged();
            let retry = match self.pass(&registry).await {
                Ok(retry) => retry,
                Err(error) => {
                    tracing::error!(%error, "custom resource definitions could not be taken up; trying again");
                    true
                }
            };
            drop(registry);
            let again = async {
                if retry {
                    tokio::time::sleep(RETRY).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = again => {}
            }
        }
    }

    /// Takes up what has changed. Answers whether something of it must be tried again.
    async fn pass(&mut self, registry: &Arc<Registry>) -> Result<bool, LoadError> {
        let definitions = registry.definitions();
        let seen = *definitions.cache.changes().borrow();
        let snapshot = definitions.cache.snapshot();
        let freed = self.forget(|name| snapshot.entries.get(name).is_some());
        let mut changed: Vec<Arc<Entry>> = snapshot
            .entries
            .with_prefix("")
            .filter(|entry| self.is_due(entry, &freed))
            .cloned()
            .collect();
        // Names go to whoever asked first.
        changed.sort_by_key(|entry| entry.revision());
        let mut serving_changed = !freed.is_empty();
        let (mut settled, mut replaced) = (Vec::new(), Vec::new());
        for entry in &changed {
            let object = entry.value();
            let new = self.settle(&object);
            let current = new.as_ref().unwrap_or(&object);
            serving_changed |= self.take_up(registry, entry, current, &mut replaced).await?;
            if let Some(object) = new {
                let entry = Arc::clone(entry);
                settled.push(Settled { entry, object });
            }
        }
        if serving_changed {
            self.generation += 1;
            let served = self.known.values().map(|known| known.served.clone());
            let customs = Customs::new(self.generation, served);
            registry.catalog.replace_customs(Arc::new(customs));
        }
        for cache in replaced {
            cache.close();
        }
        let retry = self.write(registry, settled).await;
        for entry in changed {
            if conditions::awaits_cleanup(&entry.value()) {
                self.clean_up(entry.name());
            }
        }
        registry.settled.send_replace(seen);
        Ok(retry)
    }

    /// Forgets definitions that are gone; answers the groups in which names are free again.
    fn forget(&mut self, is_there: impl Fn(&str) -> bool) -> BTreeSet<&'static str> {
        let mut freed = BTreeSet::new();
        self.known.retain(|name, known| {
            let there = is_there(name);
            if !there {
                freed.insert(known.group);
                known.served.iter().for_each(|served| served.cache.close());
            }
            there
        });
        freed
    }

    fn is_due(&self, entry: &Entry, freed: &BTreeSet<&'static str>) -> bool {
        self.known.get(entry.key()).is_none_or(|known| {
            known.revision != entry.revision() || !known.has_all_names && freed.contains(known.group)
        })
    }

    /// The definition with its names settled, where they were not.
    fn settle(&self, object: &Value) -> Option<Value> {
        let (name, group) = (object["metadata"].text("name"), object["spec"].text("group"));
        let mut taken = naming::Taken::default();
        let others = self.known.iter().filter(|(other, _)| *other != name);
        others
            .filter(|(_, known)| known.group == group)
            .for_each(|(_, known)| taken.add(&known.names));
        taken.add(object);
        naming::settle(object, &taken, jiff::Timestamp::now())
    }

    /// Takes up a definition; answers whether what is served changes by that.
    async fn take_up(
        &mut self,
        registry: &Arc<Registry>,
        entry: &Arc<Entry>,
        object: &Value,
        replaced: &mut Vec<Arc<ResourceCache>>,
    ) -> Result<bool, LoadError> {
        let definition = Arc::new(Definition::read(object));
        let (served_by, kept_by) = (marks::served_by(object, &definition), marks::kept_by(object));
        let before = self.known.remove(entry.key());
        let names = &object["status"]["acceptedNames"];
        let mut known = Known {
            revision: entry.revision(),
            group: symbol(object["spec"].text("group")),
            names: json!({"status": {"acceptedNames": names}}),
            has_all_names: conditions::is_true(object, conditions::NAMES_ACCEPTED),
            served_by,
            kept_by,
            served: Vec::new(),
        };
        if let Some(before) = before.as_ref().filter(|before| before.served_by == served_by) {
            known.served.clone_from(&before.served);
            self.known.insert(entry.key().to_owned(), known);
            return Ok(false);
        }
        let before = before.and_then(|before| {
            let served = before.served.into_iter().next()?;
            Some((before.kept_by, served))
        });
        let result = self
            .serve(registry, entry, definition, before, &mut known, replaced)
            .await;
        // Where it failed it is due again.
        if result.is_err() {
            known.revision = 0;
        }
        self.known.insert(entry.key().to_owned(), known);
        result.map(|()| true)
    }

    /// Makes what serves a definition, with the cache of before where its objects are kept as before.
    async fn serve(
        &self,
        registry: &Arc<Registry>,
        entry: &Arc<Entry>,
        definition: Arc<Definition>,
        before: Option<([u8; 32], Arc<Served>)>,
        known: &mut Known,
        replaced: &mut Vec<Arc<ResourceCache>>,
    ) -> Result<(), LoadError> {
        let kept = before.as_ref().filter(|(kept_by, _)| *kept_by == known.kept_by);
        let kept = kept.and_then(|(_, served)| {
            let custom = served.custom.as_ref()?;
            Some((Arc::clone(&served.cache), Arc::clone(&custom.schemas)))
        });
        if kept.is_none() {
            replaced.extend(before.map(|(_, served)| Arc::clone(&served.cache)));
        }
        if !definition.is_named {
            replaced.extend(kept.map(|(cache, _)| cache));
            return Ok(());
        }
        let (cache, schemas) = match kept {
            Some(kept) => kept,
            None => {
                let schemas = Arc::new(Schemas::of(Arc::clone(entry)));
                let Some(kind) = custom::stored_kind(&definition, &schemas) else {
                    return Ok(());
                };
                (registry.cache.join(kind).await?, schemas)
            }
        };
        known.served = custom::served(&definition, &schemas, &cache, known.served_by);
        Ok(())
    }

    /// Writes what was settled. Answers whether something of it must be tried again.
    async fn write(&mut self, registry: &Arc<Registry>, settled: Vec<Settled>) -> bool {
        let mut retry = false;
        for Settled { entry, object } in settled {
            if let Err(error) = registry.write_definition(&entry, object).await {
                let name = entry.name();
                tracing::error!(%error, name, "the status of a custom resource definition could not be written");
                if let Some(known) = self.known.get_mut(entry.key()) {
                    known.revision = 0;
                }
                retry = true;
            }
        }
        retry
    }

    /// Begins to delete what a definition leaves, unless that is under way.
    fn clean_up(&self, name: &str) {
        let cleaning = Arc::clone(&self.cleaning);
        let is_new = cleaning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned());
        if !is_new {
            return;
        }
        let (registry, name) = (Weak::clone(&self.registry), name.to_owned());
        self.tasks.spawn(async move {
            cleanup::clean_up(registry, &name).await;
            cleaning
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
        });
    }
}

//! Who owns whom, and what follows from it. Pure.
//!
//! The graph holds every object as its watch shows it, and for each uid who refers to it. A decision is about one object:
//! it is deleted when every owner is gone, loses the references to owners that are gone when others remain, or, being
//! deleted itself, lets its dependents go first (`foregroundDeletion`) or sets them free (`orphan`). An owner that the graph
//! does not hold is asked for before it counts as gone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use std::collections::{BTreeSet, HashMap};

pub(crate) const FOREGROUND: &str = "foregroundDeletion";
pub(crate) const ORPHAN: &str = "orphan";

/// An object as the graph knows it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Item {
    pub(crate) uid: String,
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) resource_version: String,
    pub(crate) owners: Vec<OwnerReference>,
    pub(crate) finalizers: Vec<String>,
    pub(crate) deleting: bool,
}

impl Item {
    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|own| own == finalizer)
    }

    /// Whether it is being deleted and waits for its dependents to go.
    fn waits_for_dependents(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    fn without(&self, finalizer: &str) -> Vec<String> {
        self.finalizers
            .iter()
            .filter(|own| *own != finalizer)
            .cloned()
            .collect()
    }

    /// Its owner references but those to these uids.
    fn owners_without(&self, uids: &[&str]) -> Vec<OwnerReference> {
        self.owners
            .iter()
            .filter(|owner| !uids.contains(&owner.uid.as_str()))
            .cloned()
            .collect()
    }
}

/// How an object is to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// What is to be done about one object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Nothing,
    /// Find out whether these owners are there, then decide again.
    Ask(Item, Vec<OwnerReference>),
    Delete(Item, Policy),
    /// Write these owner references.
    SetOwners(Item, Vec<OwnerReference>),
    /// Write these finalizers.
    SetFinalizers(Item, Vec<String>),
    /// Its dependents must go first: decide about these.
    Visit(Vec<String>),
    /// Write each dependent's owner references, then this object's finalizers.
    SetFree(Item, Vec<(Item, Vec<OwnerReference>)>, Vec<String>),
}

/// What is known about owners that the graph does not hold: whether the reference leads to an object.
pub(crate) type Answers = HashMap<String, bool>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    items: HashMap<String, Item>,
    dependents: HashMap<String, BTreeSet<String>>,
}

impl Graph {
    /// Takes an object in as it is seen, and says about which objects to decide now.
    pub(crate) fn observe(&mut self, item: Item) -> Vec<String> {
        let uid = item.uid.clone();
        let old = self.items.remove(&uid);
        let mut concerned = Vec::new();
        for owner in old.iter().flat_map(|old| &old.owners) {
            self.unlink(&owner.uid, &uid);
            if !item.owners.contains(owner) {
                concerned.push(owner.uid.clone());
            }
        }
        for owner in &item.owners {
            self.dependents
                .entry(owner.uid.clone())
                .or_default()
                .insert(uid.clone());
        }
        let finalizing = item.deleting && (item.has(FOREGROUND) || item.has(ORPHAN));
        let owners_changed = old.as_ref().is_none_or(|old| old.owners != item.owners);
        let began_deleting = item.deleting && old.as_ref().is_none_or(|old| !old.deleting);
        if began_deleting {
            concerned.extend(item.owners.iter().map(|owner| owner.uid.clone()));
        }
        self.items.insert(uid.clone(), item);
        concerned.retain(|owner| self.items.get(owner).is_some_and(Item::waits_for_dependents));
        if finalizing || (owners_changed && !self.items[&uid].owners.is_empty()) {
            concerned.push(uid);
        }
        concerned
    }

    /// Forgets an object that is gone, and says about which objects to decide now: its dependents, and owners that waited
    /// for it.
    pub(crate) fn forget(&mut self, uid: &str) -> Vec<String> {
        let Some(item) = self.items.remove(uid) else {
            return Vec::new();
        };
        let mut concerned: Vec<String> = self.dependents.get(uid).into_iter().flatten().cloned().collect();
        for owner in &item.owners {
            self.unlink(&owner.uid, uid);
            if self.items.get(&owner.uid).is_some_and(Item::waits_for_dependents) {
                concerned.push(owner.uid.clone());
            }
        }
        concerned
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
            }
        }
    }

    /// The uids of the objects of one kind.
    pub(crate) fn of_kind(&self, group: &str, kind: &str) -> Vec<String> {
        let of_kind = self
            .items
            .values()
            .filter(|item| item.group == group && item.kind == kind);
        of_kind.map(|item| item.uid.clone()).collect()
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = &Item> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter_map(|dependent| self.items.get(dependent))
    }

    /// Decides about one object.
    pub(crate) fn decide(&self, uid: &str, answers: &Answers) -> Decision {
        let Some(item) = self.items.get(uid) else {
            return Decision::Nothing;
        };
        if item.deleting && item.has(ORPHAN) {
            return self.set_free(item);
        }
        if item.waits_for_dependents() {
            return self.let_dependents_go(item);
        }
        if item.deleting || item.owners.is_empty() {
            return Decision::Nothing;
        }
        self.judge_owners(item, answers)
    }

    fn set_free(&self, item: &Item) -> Decision {
        let refers = |dependent: &&Item| !dependent.owners_without(&[&item.uid]).eq(&dependent.owners);
        let freed = self.dependents_of(&item.uid).filter(refers);
        let freed = freed.map(|dependent| (dependent.clone(), dependent.owners_without(&[&item.uid])));
        Decision::SetFree(item.clone(), freed.collect(), item.without(ORPHAN))
    }

    /// Dependents that block the owner's deletion go first; then the owner may.
    fn let_dependents_go(&self, item: &Item) -> Decision {
        let blocks = |dependent: &&Item| {
            let mut refs = dependent.owners.iter().filter(|owner| owner.uid == item.uid);
            refs.any(|owner| owner.block_owner_deletion == Some(true))
        };
        let blocking: Vec<&Item> = self.dependents_of(&item.uid).filter(blocks).collect();
        if blocking.is_empty() {
            return Decision::SetFinalizers(item.clone(), item.without(FOREGROUND));
        }
        let visit = blocking.iter().filter(|dependent| !dependent.deleting);
        Decision::Visit(visit.map(|dependent| dependent.uid.clone()).collect())
    }

    fn judge_owners(&self, item: &Item, answers: &Answers) -> Decision {
        let (mut solid, mut gone, mut waiting, mut unknown) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for owner in &item.owners {
            match (self.held(item, owner), answers.get(&owner.uid)) {
                (Some(found), _) if found.waits_for_dependents() => waiting.push(owner.uid.as_str()),
                (Some(_), _) | (None, Some(true)) => solid.push(owner.uid.as_str()),
                (None, Some(false)) => gone.push(owner.uid.as_str()),
                (None, None) => unknown.push(owner.clone()),
            }
        }
        if !unknown.is_empty() {
            return Decision::Ask(item.clone(), unknown);
        }
        if !solid.is_empty() {
            gone.extend(waiting);
            if gone.is_empty() {
                return Decision::Nothing;
            }
            return Decision::SetOwners(item.clone(), item.owners_without(&gone));
        }
        if !waiting.is_empty() && self.dependents_of(&item.uid).next().is_some() {
            return self.delete_in_foreground(item);
        }
        let policy = match item {
            item if item.has(ORPHAN) => Policy::Orphan,
            item if item.has(FOREGROUND) => Policy::Foreground,
            _ => Policy::Background,
        };
        Decision::Delete(item.clone(), policy)
    }

    /// A dependent of an owner that waits, with dependents of its own, waits for those in turn; should one of them wait
    /// already, the two may wait for each other, so this one stops blocking its owners first.
    fn delete_in_foreground(&self, item: &Item) -> Decision {
        let circle = self.dependents_of(&item.uid).any(Item::waits_for_dependents);
        let blocks = item
            .owners
            .iter()
            .any(|owner| owner.block_owner_deletion == Some(true));
        if circle && blocks {
            let mut owners = item.owners.clone();
            owners
                .iter_mut()
                .for_each(|owner| owner.block_owner_deletion = Some(false));
            return Decision::SetOwners(item.clone(), owners);
        }
        Decision::Delete(item.clone(), Policy::Foreground)
    }

    /// The object that this reference leads to, if the graph holds it: same uid, kind and name, and cluster-scoped or in
    /// the same namespace.
    fn held(&self, item: &Item, owner: &OwnerReference) -> Option<&Item> {
        let found = self.items.get(&owner.uid)?;
        let reachable = found.namespace.is_empty() || found.namespace == item.namespace;
        let group = owner.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let same = found.kind == owner.kind && found.name == owner.name && found.group == group;
        (reachable && same).then_some(found)
    }
}

#[cfg(test)]
mod tests;

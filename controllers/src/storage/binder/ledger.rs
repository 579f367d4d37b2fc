//! All claims and volumes as they were last seen, and who is to be looked at when one of them changes. Pure.

use super::change::Side;
use crate::runtime::ObjectKey;
use coracle_api::object::Fields;
use coracle_api::volumes::{Claim, Volume};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A claim, or a volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) side: Side,
    pub(crate) object: ObjectKey,
}

impl Key {
    pub(super) fn claim(object: ObjectKey) -> Self {
        Self {
            side: Side::Claim,
            object,
        }
    }

    pub(super) fn volume(name: &str) -> Self {
        Self {
            side: Side::Volume,
            object: ObjectKey::cluster(name),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.object.fmt(f)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) claims: BTreeMap<ObjectKey, Arc<Value>>,
    pub(super) volumes: BTreeMap<String, Arc<Value>>,
    pub(super) classes: BTreeMap<String, Arc<Value>>,
    /// Claims that name no volume.
    open: BTreeSet<ObjectKey>,
    /// Claims by the volume that they name.
    takers: BTreeMap<String, BTreeSet<ObjectKey>>,
    /// Volumes by the claim that they are for.
    kept: BTreeMap<ObjectKey, BTreeSet<String>>,
}

impl Ledger {
    /// Takes a claim in, or that it is gone. Answers who is to be looked at.
    pub(super) fn claim(&mut self, key: &ObjectKey, claim: Option<Arc<Value>>) -> Vec<Key> {
        let mut concerned = vec![Key::claim(key.clone())];
        let old = self.claims.remove(key);
        for volume in [&old, &claim]
            .into_iter()
            .flatten()
            .map(|one| Claim(one).volume_name())
        {
            if !volume.is_empty() {
                concerned.push(Key::volume(volume));
            }
        }
        self.open.remove(key);
        if let Some(old) = old {
            leave(&mut self.takers, Claim(&old).volume_name(), key);
        }
        match claim {
            None => concerned.extend(self.kept_for(key)),
            Some(claim) => {
                match Claim(&claim).volume_name() {
                    "" => drop(self.open.insert(key.clone())),
                    volume => drop(
                        self.takers
                            .entry(volume.to_owned())
                            .or_default()
                            .insert(key.clone()),
                    ),
                }
                self.claims.insert(key.clone(), claim);
            }
        }
        concerned
    }

    /// Takes a volume in, or that it is gone. Answers who is to be looked at.
    pub(super) fn volume(&mut self, name: &str, volume: Option<Arc<Value>>) -> Vec<Key> {
        let mut concerned = vec![Key::volume(name)];
        concerned.extend(
            self.takers
                .get(name)
                .into_iter()
                .flatten()
                .cloned()
                .map(Key::claim),
        );
        let old = self.volumes.remove(name);
        let claims = [&old, &volume].into_iter().flatten();
        concerned.extend(claims.filter_map(|one| claim_of(one)).map(Key::claim));
        if let Some(claim) = old.as_ref().and_then(|old| claim_of(old)) {
            leave(&mut self.kept, &claim, &name.to_owned());
        }
        let Some(volume) = volume else { return concerned };
        match claim_of(&volume) {
            Some(claim) => drop(self.kept.entry(claim).or_default().insert(name.to_owned())),
            None => concerned.extend(self.open()),
        }
        self.volumes.insert(name.to_owned(), volume);
        concerned
    }

    /// Takes a class in, or that it is gone. Answers who is to be looked at.
    pub(super) fn class(&mut self, name: &str, class: Option<Arc<Value>>) -> Vec<Key> {
        match class {
            None => drop(self.classes.remove(name)),
            Some(class) => drop(self.classes.insert(name.to_owned(), class)),
        }
        self.open().collect()
    }

    /// The claims that name no volume.
    fn open(&self) -> impl Iterator<Item = Key> + use<'_> {
        self.open.iter().cloned().map(Key::claim)
    }

    /// Whether a claim of this name names no volume.
    pub(super) fn is_open(&self, key: &ObjectKey) -> bool {
        self.open.contains(key)
    }

    /// The volumes that are for a claim of this name.
    pub(super) fn kept_for(&self, key: &ObjectKey) -> Vec<Key> {
        let kept = self.kept.get(key).into_iter().flatten();
        kept.map(|name| Key::volume(name)).collect()
    }
}

/// The claim that a volume is for.
fn claim_of(volume: &Value) -> Option<ObjectKey> {
    let reference = Volume(volume).claim_ref()?;
    Some(ObjectKey::new(
        reference.text("namespace"),
        reference.text("name"),
    ))
}

fn leave<K, V, Q>(index: &mut BTreeMap<K, BTreeSet<V>>, key: &Q, value: &V)
where
    K: Ord + std::borrow::Borrow<Q>,
    V: Ord,
    Q: Ord + ?Sized,
{
    if let Some(all) = index.get_mut(key) {
        all.remove(value);
        if all.is_empty() {
            index.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claim(volume: &str) -> Option<Arc<Value>> {
        Some(Arc::new(
            json!({"metadata": {"namespace": "ns", "name": "c"}, "spec": {"volumeName": volume}}),
        ))
    }

    #[test]
    fn whoever_is_concerned_is_looked_at() {
        let mut ledger = Ledger::default();
        let (key, own) = (ObjectKey::new("ns", "c"), Key::claim(ObjectKey::new("ns", "c")));
        assert_eq!(ledger.claim(&key, claim("")), std::slice::from_ref(&own));
        let free = Arc::new(json!({"metadata": {"name": "v"}}));
        assert_eq!(ledger.volume("v", Some(free)), [Key::volume("v"), own.clone()]);
        let kept = Arc::new(json!({"spec": {"claimRef": {"namespace": "ns", "name": "c"}}}));
        assert_eq!(ledger.volume("v", Some(kept)), [Key::volume("v"), own.clone()]);
        assert_eq!(ledger.claim(&key, claim("v")), [own.clone(), Key::volume("v")]);
        assert!(!ledger.is_open(&key));
        assert_eq!(
            ledger.claim(&key, None),
            [own.clone(), Key::volume("v"), Key::volume("v")]
        );
        assert!(ledger.takers.is_empty());
        assert_eq!(ledger.volume("v", None), [Key::volume("v"), own]);
        assert!(ledger.kept.is_empty());
    }
}

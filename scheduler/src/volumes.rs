//! Claims and volumes as decisions see them: what a pod's claims ask of its node, and what is chosen for those that are bound
//! only once a pod uses them. Pure; upstream's VolumeBinding.
//!
//! What has been chosen counts from then on, so that no other pod is given the same volume, until the watch shows what came of
//! it. Nothing is known here of how much storage a driver has left at a place (`CSIStorageCapacity`).

#[cfg(test)]
mod tests;

use crate::filters::Reason;
use crate::snapshot::NodeFacts;
use coracle_api::object::Fields;
use coracle_api::volumes::{
    Claim, NO_PROVISIONER, Place, Volume, affine, find, keep_for, made_for, select_node, within,
};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// A claim's namespace and name.
pub type ClaimName = (String, String);

/// What a pod's claims ask of its node.
#[derive(Clone, Debug, Default)]
pub struct Needs {
    /// The volumes of those that are bound; none for one that is gone.
    bound: Vec<Option<Arc<Value>>>,
    /// Those that are bound once a pod uses them.
    late: Vec<Arc<Value>>,
}

/// What is to be written before a pod is bound: objects as they were observed, and as they are to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choices {
    /// Volumes that are kept for the pod's claims from now on.
    pub volumes: Vec<Arc<Value>>,
    /// Claims that are to be provided for at the pod's node.
    pub claims: Vec<Arc<Value>>,
    /// All claims that have to be bound before the pod is.
    pub awaited: Vec<ClaimName>,
}

impl Choices {
    /// Whether nothing has to be done, or waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.awaited.is_empty()
    }
}

/// One kind of object by name, as the watch showed it and as it is going to be.
#[derive(Clone, Debug)]
struct Shelf<N> {
    seen: BTreeMap<N, Arc<Value>>,
    assumed: BTreeMap<N, Arc<Value>>,
}

impl<N> Default for Shelf<N> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
            assumed: BTreeMap::new(),
        }
    }
}

impl<N: Ord + Clone> Shelf<N> {
    fn get(&self, name: &N) -> Option<&Arc<Value>> {
        self.assumed.get(name).or_else(|| self.seen.get(name))
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Value>> {
        self.seen
            .iter()
            .map(|(name, seen)| self.assumed.get(name).unwrap_or(seen))
    }

    /// What the watch shows takes the place of what was assumed, unless it is older.
    fn set(&mut self, name: N, object: Value) {
        let newer = |assumed: &Arc<Value>| revision(&object) > revision(assumed);
        if self.assumed.get(&name).is_some_and(newer) {
            self.assumed.remove(&name);
        }
        self.seen.insert(name, Arc::new(object));
    }

    /// Counts what is going to be, unless the watch has shown something newer.
    fn assume(&mut self, name: N, object: &Arc<Value>) {
        let newer = |seen: &Arc<Value>| revision(seen) > revision(object);
        if !self.seen.get(&name).is_some_and(newer) {
            self.assumed.insert(name, object.clone());
        }
    }

    fn remove(&mut self, name: &N) {
        self.assumed.remove(name);
        self.seen.remove(name);
    }
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Volumes {
    claims: Shelf<ClaimName>,
    volumes: Shelf<String>,
    classes: BTreeMap<String, Arc<Value>>,
}

/// The claims that a pod's volumes name, and which are made for it.
fn claims_of(pod: &Pod) -> Vec<(String, bool)> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes
        .filter_map(
            |volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
                (Some(source), _) => Some((source.claim_name.clone(), false)),
                (None, Some(_)) => {
                    let pod = pod.metadata.name.as_deref().unwrap_or_default();
                    Some((made_for(pod, &volume.name), true))
                }
                (None, None) => None,
            },
        )
        .collect()
}

/// Whether a pod's volumes name a claim, or this one.
#[must_use]
pub fn uses(pod: &Pod, claim: Option<&ClaimName>) -> bool {
    let claims = claims_of(pod);
    match claim {
        None => !claims.is_empty(),
        Some((namespace, name)) => {
            pod.metadata.namespace.as_ref() == Some(namespace) && claims.iter().any(|(own, _)| own == name)
        }
    }
}

/// A claim's namespace and name.
#[must_use]
pub fn claim_name(claim: &Value) -> ClaimName {
    let claim = Claim(claim);
    (claim.namespace().to_owned(), claim.name().to_owned())
}

/// When the object was written; resource versions of one resource are numbers that grow (KEP-5647).
fn revision(object: &Value) -> u64 {
    object["metadata"].text("resourceVersion").parse().unwrap_or(0)
}

fn name(object: &Value) -> String {
    object["metadata"].text("name").to_owned()
}

impl Volumes {
    /// Takes a claim in as the watch shows it.
    pub fn set_claim(&mut self, claim: Value) {
        self.claims.set(claim_name(&claim), claim);
    }

    /// A claim is no more.
    pub fn remove_claim(&mut self, claim: &ClaimName) {
        self.claims.remove(claim);
    }

    /// Takes a volume in as the watch shows it.
    pub fn set_volume(&mut self, volume: Value) {
        self.volumes.set(name(&volume), volume);
    }

    /// A volume is no more.
    pub fn remove_volume(&mut self, volume: &str) {
        self.volumes.remove(&volume.to_owned());
    }

    /// Takes a class in as the watch shows it.
    pub fn set_class(&mut self, class: Value) {
        self.classes.insert(name(&class), Arc::new(class));
    }

    /// A class is no more.
    pub fn remove_class(&mut self, class: &str) {
        self.classes.remove(class);
    }

    /// A new list was shown of one kind: what is not in it is gone.
    pub fn retain_claims(&mut self, listed: &HashSet<String>) {
        let stays = |(namespace, name): &ClaimName| listed.contains(&format!("{namespace}/{name}"));
        self.claims.seen.retain(|key, _| stays(key));
        self.claims.assumed.retain(|key, _| stays(key));
    }

    /// As [`Volumes::retain_claims`], of volumes.
    pub fn retain_volumes(&mut self, listed: &HashSet<String>) {
        self.volumes.seen.retain(|key, _| listed.contains(key));
        self.volumes.assumed.retain(|key, _| listed.contains(key));
    }

    /// As [`Volumes::retain_claims`], of classes.
    pub fn retain_classes(&mut self, listed: &HashSet<String>) {
        self.classes.retain(|key, _| listed.contains(key));
    }

    /// What a pod's claims ask of its node.
    ///
    /// # Errors
    /// Why the pod can go nowhere, in upstream's words.
    pub fn needs(&self, pod: &Pod) -> Result<Needs, String> {
        let namespace = pod.metadata.namespace.clone().unwrap_or_default();
        let mut claims = Vec::new();
        for (name, own) in claims_of(pod) {
            claims.push(self.usable(pod, &(namespace.clone(), name), own)?);
        }
        let mut needs = Needs::default();
        for object in claims {
            let claim = Claim(object);
            let class = self.classes.get(claim.class());
            let waits = class.is_some_and(|class| class.text("volumeBindingMode") == "WaitForFirstConsumer");
            if claim.is_bound() {
                needs
                    .bound
                    .push(self.volumes.get(&claim.volume_name().to_owned()).cloned());
            } else if waits && claim.volume_name().is_empty() {
                needs.late.push(object.clone());
            } else {
                return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
            }
        }
        // The smaller ones choose first, so that they leave the larger volumes to others.
        needs.late.sort_by_key(|claim| Claim(claim).requested());
        Ok(needs)
    }

    /// The claim, or why the pod cannot use it.
    fn usable(&self, pod: &Pod, name: &ClaimName, own: bool) -> Result<&Arc<Value>, String> {
        let quoted = coracle_api::quote::quote(&name.1);
        let Some(object) = self.claims.get(name) else {
            return Err(if own {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {quoted}"
                )
            } else {
                format!("persistentvolumeclaim {quoted} not found")
            });
        };
        let claim = Claim(object);
        if claim.phase() == "Lost" {
            let volume = coracle_api::quote::quote(claim.volume_name());
            return Err(format!(
                "persistentvolumeclaim {quoted} bound to non-existent persistentvolume {volume}"
            ));
        }
        if claim.is_going() {
            return Err(format!("persistentvolumeclaim {quoted} is being deleted"));
        }
        if own && !claim.is_made_for(pod.metadata.uid.as_deref().unwrap_or_default()) {
            let (namespace, claim) = name;
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            let place = format!("PVC {namespace}/{claim} was not created for pod {namespace}/{pod}");
            return Err(format!("{place} (pod is not owner)"));
        }
        Ok(object)
    }

    /// What is to be chosen so that a pod with these needs can run on a node.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn choose(&self, needs: &Needs, node: &NodeFacts) -> Result<Choices, Vec<Reason>> {
        if needs.bound.is_empty() && needs.late.is_empty() {
            return Ok(Choices::default());
        }
        let label = |key: &str| node.labels.get(key).map(String::as_str);
        let mut reasons = Vec::new();
        for volume in &needs.bound {
            match volume {
                None => reasons.push(Reason::VolumesGone),
                Some(volume) if !affine(Volume(volume), &label) => reasons.push(Reason::VolumesElsewhere),
                Some(_) => continue,
            }
            break;
        }
        let choices = self.choose_late(needs, &node.name, &label);
        if choices.is_none() {
            reasons.push(Reason::NoVolumes);
        }
        reasons.sort();
        choices.filter(|_| reasons.is_empty()).ok_or(reasons)
    }

    fn choose_late<'l>(
        &self,
        needs: &Needs,
        node: &str,
        label: &dyn Fn(&str) -> Option<&'l str>,
    ) -> Option<Choices> {
        let mut choices = Choices::default();
        let mut taken: HashSet<String> = HashSet::new();
        let mut without = Vec::new();
        for object in &needs.late {
            let claim = Claim(object);
            choices.awaited.push(claim_name(object));
            match claim.selected_node() {
                Some(selected) if selected != node => return None,
                Some(_) => without.push(object),
                None => {
                    let free = self
                        .volumes
                        .all()
                        .filter(|volume| !taken.contains(Volume(volume).name()));
                    let fits = |volume: Volume<'_>| affine(volume, label);
                    match find(claim, free.map(|volume| &**volume), Place::Where(&fits)) {
                        None => without.push(object),
                        Some(volume) => {
                            taken.insert(volume.name().to_owned());
                            let mut kept = volume.0.clone();
                            if keep_for(&mut kept, claim) {
                                choices.volumes.push(Arc::new(kept));
                            }
                        }
                    }
                }
            }
        }
        for object in without {
            let class = self.classes.get(Claim(object).class())?;
            let provisioner = class.text("provisioner");
            if matches!(provisioner, "" | NO_PROVISIONER) || !within(class.items("allowedTopologies"), label)
            {
                return None;
            }
            let mut placed = (**object).clone();
            select_node(&mut placed, node);
            choices.claims.push(Arc::new(placed));
        }
        Some(choices)
    }

    /// What was chosen counts from now on.
    pub fn assume(&mut self, choices: &Choices) {
        for volume in &choices.volumes {
            self.volumes.assume(name(volume), volume);
        }
        for claim in &choices.claims {
            self.claims.assume(claim_name(claim), claim);
        }
    }

    /// What was chosen counts no more; what the watch showed meanwhile stays.
    pub fn revert(&mut self, choices: &Choices) {
        for volume in &choices.volumes {
            self.volumes.assumed.remove(&name(volume));
        }
        for claim in &choices.claims {
            self.claims.assumed.remove(&claim_name(claim));
        }
    }

    /// Whether these claims have come to be bound; or that they will not be, for what was chosen for this node has been undone.
    #[must_use]
    pub fn outcome(&self, choices: &Choices, node: &str) -> Outcome {
        let mut bound = true;
        for name in &choices.awaited {
            let Some(claim) = self.claims.get(name).map(|claim| Claim(claim)) else {
                return Outcome::Undone;
            };
            let provided = choices.claims.iter().any(|chosen| claim_name(chosen) == *name);
            if provided && claim.selected_node() != Some(node) {
                return Outcome::Undone;
            }
            bound &= claim.is_bound();
        }
        let let_go = |chosen: &Arc<Value>| {
            let volume = self.volumes.get(&name(chosen)).map(|volume| Volume(volume));
            let reference = volume.and_then(Volume::claim_ref);
            reference.is_none_or(|reference| reference.text("uid").is_empty())
        };
        if choices.volumes.iter().any(let_go) {
            return Outcome::Undone;
        }
        if bound { Outcome::Bound } else { Outcome::Open }
    }
}

/// What has come of choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All claims are bound.
    Bound,
    /// Some are not yet.
    Open,
    /// They will not be.
    Undone,
}

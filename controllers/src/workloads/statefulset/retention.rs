//! Who owns a claim of a StatefulSet, so that it is deleted with its set or when the set is scaled down
//! (`persistentVolumeClaimRetentionPolicy`, KEP-1847). Pure.

use super::identity::Wanted;
use crate::owners::controller_reference;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

/// Who may own a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Set,
    Pod,
    Nobody,
}

/// A pod's claims are looked at on behalf of these two.
#[derive(Clone, Copy)]
pub(crate) struct Sides<'a> {
    wanted: Wanted<'a>,
    pod: &'a ObjectMeta,
}

impl<'a> Sides<'a> {
    pub(crate) fn new(wanted: Wanted<'a>, pod: &'a ObjectMeta) -> Self {
        Self { wanted, pod }
    }

    fn set(&self) -> OwnerReference {
        controller_reference("apps/v1", "StatefulSet", &self.wanted.set.metadata)
    }

    fn pod(&self) -> OwnerReference {
        controller_reference("v1", "Pod", self.pod)
    }

    fn policy(&self) -> (bool, bool) {
        let policy = self.wanted.spec.persistent_volume_claim_retention_policy.as_ref();
        let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
        (
            deletes(policy.and_then(|policy| policy.when_deleted.as_ref())),
            deletes(policy.and_then(|policy| policy.when_scaled.as_ref())),
        )
    }

    /// Whom the policy has own the pod's claims.
    fn rightful(&self) -> Owner {
        let is_condemned = self
            .wanted
            .ordinal_of(self.pod)
            .is_none_or(|ordinal| !self.wanted.ordinals().contains(&ordinal));
        match self.policy() {
            (_, true) if is_condemned => Owner::Pod,
            (true, _) => Owner::Set,
            (false, _) => Owner::Nobody,
        }
    }

    /// Whether the claim is still another's of the same name, who is gone: the garbage collector will see to it.
    fn is_stale(&self, claim: &PersistentVolumeClaim) -> bool {
        owners(claim).iter().any(|owner| {
            [self.set(), self.pod()]
                .iter()
                .any(|own| is_namesake(owner, own) && owner.uid != own.uid)
        })
    }

    /// Whether the claim was that of an earlier pod of this name, while claims go with pods.
    pub(crate) fn awaits_deletion(&self, claim: &PersistentVolumeClaim) -> bool {
        let pod = self.pod();
        let stale = |owner: &OwnerReference| is_namesake(owner, &pod) && owner.uid != pod.uid;
        self.policy().1 && owners(claim).iter().any(stale)
    }

    /// Whether somebody else controls the claim.
    pub(crate) fn is_contested(&self, claim: &PersistentVolumeClaim) -> bool {
        let ours = [self.set(), self.pod()];
        self.policy() != (false, false)
            && owners(claim).iter().any(|owner| {
                let namesake = ours.iter().find(|own| is_namesake(owner, own));
                match namesake {
                    Some(own) => owner.uid != own.uid,
                    None => owner.controller == Some(true),
                }
            })
    }

    /// The references the claim should have, where it has others.
    pub(crate) fn correction(&self, claim: &PersistentVolumeClaim) -> Option<Vec<OwnerReference>> {
        if self.is_stale(claim) {
            return None;
        }
        let ours = [self.set(), self.pod()];
        let mut references = owners(claim).to_vec();
        references.retain(|owner| !ours.iter().any(|own| is_namesake(owner, own)));
        if !self.is_contested(claim) {
            match self.rightful() {
                Owner::Set => references.push(self.set()),
                Owner::Pod => references.push(self.pod()),
                Owner::Nobody => {}
            }
        }
        let key = |owner: &OwnerReference| (owner.uid.clone(), owner.controller);
        let sorted = |all: &[OwnerReference]| {
            let mut keys: Vec<_> = all.iter().map(key).collect();
            keys.sort();
            keys
        };
        (sorted(&references) != sorted(owners(claim))).then_some(references)
    }
}

fn owners(claim: &PersistentVolumeClaim) -> &[OwnerReference] {
    let meta: &ObjectMeta = &claim.metadata;
    meta.owner_references.as_deref().unwrap_or_default()
}

fn is_namesake(owner: &OwnerReference, own: &OwnerReference) -> bool {
    owner.api_version == own.api_version && owner.kind == own.kind && owner.name == own.name
}

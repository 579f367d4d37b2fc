//! Who a StatefulSet's pods are: their names, numbers, labels and volumes. Pure.

use crate::observed::Pod;
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec};
use k8s_openapi::api::core::v1::{
    self, PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::ops::Range;

/// A pod's own name.
pub(crate) const NAME: &str = "statefulset.kubernetes.io/pod-name";
/// A pod's number.
pub(crate) const INDEX: &str = "apps.kubernetes.io/pod-index";
/// The revision of a pod's template, by name.
pub(crate) const REVISION: &str = "controller-revision-hash";

/// A StatefulSet, by what it asks for.
#[derive(Clone, Copy)]
pub(crate) struct Wanted<'s> {
    pub(crate) set: &'s StatefulSet,
    pub(crate) spec: &'s StatefulSetSpec,
}

impl<'s> Wanted<'s> {
    /// None for a set without a spec, which none that was validated is.
    pub(crate) fn of(set: &'s StatefulSet) -> Option<Self> {
        Some(Self {
            set,
            spec: set.spec.as_ref()?,
        })
    }

    pub(crate) fn name(&self) -> &'s str {
        self.set.metadata.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1).max(0)
    }

    /// The numbers of the pods it is to have.
    pub(crate) fn ordinals(&self) -> Range<i32> {
        let start = self.spec.ordinals.as_ref().and_then(|ordinals| ordinals.start);
        let start = start.unwrap_or(0);
        start..start.saturating_add(self.replicas())
    }

    pub(crate) fn min_ready_seconds(&self) -> i32 {
        self.spec.min_ready_seconds.unwrap_or(0)
    }

    /// Whether pods come and go one after the other.
    pub(crate) fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    /// Whether pods are replaced only when somebody else deletes them.
    pub(crate) fn is_on_delete(&self) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete")
    }

    /// Pods below this place stay at the current revision.
    pub(crate) fn partition(&self) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        rolling.and_then(|rolling| rolling.partition).unwrap_or(0)
    }

    /// The number of a pod, if its name is one of this set's.
    pub(crate) fn ordinal(&self, pod: &Pod) -> Option<i32> {
        self.ordinal_of(&pod.metadata)
    }

    /// The number of the pod with this metadata, which need not be there yet.
    pub(crate) fn ordinal_of(&self, pod: &ObjectMeta) -> Option<i32> {
        let (parent, number) = pod.name.as_deref()?.rsplit_once('-')?;
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (parent == self.name() && plain)
            .then(|| number.parse().ok())
            .flatten()
    }

    pub(crate) fn pod_name(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.name())
    }

    pub(crate) fn claim_name(&self, template: &PersistentVolumeClaim, ordinal: i32) -> String {
        let claim = template.metadata.name.as_deref().unwrap_or_default();
        format!("{claim}-{}-{ordinal}", self.name())
    }

    /// Whether a claim of this name is one of its pods'.
    pub(crate) fn has_claim(&self, claim: &str) -> bool {
        let Some((head, number)) = claim.rsplit_once('-') else {
            return false;
        };
        let number = number
            .parse::<u32>()
            .ok()
            .and_then(|number| i32::try_from(number).ok());
        let is_of = |ordinal| {
            let mut templates = self.claim_templates().iter();
            templates.any(|template| self.claim_name(template, ordinal) == claim)
        };
        !head.is_empty() && number.is_some_and(is_of)
    }

    pub(crate) fn claim_templates(&self) -> &'s [PersistentVolumeClaim] {
        self.spec.volume_claim_templates.as_deref().unwrap_or_default()
    }

    /// The claims of the pod with this number.
    pub(crate) fn claims(&self, ordinal: i32) -> Vec<PersistentVolumeClaim> {
        let own = self.spec.selector.match_labels.clone().unwrap_or_default();
        let made = self.claim_templates().iter().map(|template| {
            let mut claim = template.clone();
            claim.metadata.name = Some(self.claim_name(template, ordinal));
            claim.metadata.namespace.clone_from(&self.set.metadata.namespace);
            claim.metadata.labels.get_or_insert_default().extend(own.clone());
            claim.status = None;
            claim
        });
        made.collect()
    }

    /// A new pod of this number and template.
    pub(crate) fn new_pod(
        &self,
        ordinal: i32,
        (template, revision): (&PodTemplateSpec, &str),
        reference: OwnerReference,
    ) -> v1::Pod {
        let mut pod = pods::from_template(template, &self.set.metadata, reference);
        let name = self.pod_name(ordinal);
        pod.metadata.generate_name = None;
        pod.metadata.name = Some(name.clone());
        let labels = pod.metadata.labels.get_or_insert_default();
        labels.insert(NAME.to_owned(), name.clone());
        labels.insert(INDEX.to_owned(), ordinal.to_string());
        labels.insert(REVISION.to_owned(), revision.to_owned());
        let volumes = self.volumes(ordinal, &pod);
        let spec = pod.spec.get_or_insert_default();
        spec.hostname = Some(name);
        spec.subdomain.clone_from(&self.spec.service_name);
        spec.volumes = (!volumes.is_empty()).then_some(volumes);
        pod
    }

    /// The pod's volumes with those of its claims, which take the place of others of their names.
    fn volumes(&self, ordinal: i32, pod: &v1::Pod) -> Vec<Volume> {
        let claimed = self.claim_templates().iter().map(|template| Volume {
            name: template.metadata.name.clone().unwrap_or_default(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: self.claim_name(template, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        });
        let mut volumes: Vec<Volume> = claimed.collect();
        let others = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        let others = others.filter(|other| !volumes.iter().any(|one| one.name == other.name));
        let others: Vec<Volume> = others.cloned().collect();
        volumes.extend(others);
        volumes
    }

    /// Whether the pod bears the labels that tell who it is.
    pub(crate) fn is_labelled(&self, pod: &Pod) -> bool {
        let labels = pod.metadata.labels.as_ref();
        labels.and_then(|labels| labels.get(NAME)) == pod.metadata.name.as_ref()
    }
}

/// The name of the revision that the pod was made from.
pub(crate) fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(REVISION))
        .map_or("", String::as_str)
}

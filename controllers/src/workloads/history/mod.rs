//! The templates that a StatefulSet or a DaemonSet has had, kept as ControllerRevisions, by which it can be rolled back. Pure; the
//! writes are in [`control`].
//!
//! A revision holds a strategic merge patch that brings the template back: that is what `kubectl rollout undo` applies.

pub(crate) mod control;

use super::hash;
use crate::labels;
use crate::owners::{Claim, claim, is_controlled_by};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};
use std::sync::Arc;

/// The longest part of the owner's name that a revision's name begins with.
const LONGEST_PREFIX: usize = 223;

/// An owner's revisions, oldest first, and those of them that it has yet to take in.
#[derive(Clone, Debug, Default)]
pub(crate) struct Revisions {
    pub(crate) all: Vec<Arc<ControllerRevision>>,
    pub(crate) adopt: Vec<Arc<ControllerRevision>>,
}

impl Revisions {
    /// Sorts out the owner's among candidates.
    pub(crate) fn of(
        owner: &ObjectMeta,
        selector: &LabelSelector,
        candidates: Vec<Arc<ControllerRevision>>,
    ) -> Self {
        let mut revisions = Self::default();
        let Some(selector) = labels::compile(selector) else {
            return revisions;
        };
        for revision in candidates {
            let matches = labels::matches(&selector, revision.metadata.labels.as_ref());
            match claim(owner, &revision.metadata, matches) {
                Claim::Keep => revisions.all.push(revision),
                Claim::Adopt => {
                    revisions.adopt.push(revision.clone());
                    revisions.all.push(revision);
                }
                Claim::Release | Claim::Ignore => {}
            }
        }
        revisions.all.sort_by_key(|revision| {
            let created = revision.metadata.creation_timestamp.as_ref().map(|time| time.0);
            (revision.revision, created, revision.metadata.name.clone())
        });
        revisions
    }

    /// The revision of this template, the newest where there are several.
    pub(crate) fn with_template(&self, wanted: &PodTemplateSpec) -> Option<&Arc<ControllerRevision>> {
        let same = |revision: &&Arc<ControllerRevision>| template(revision).as_ref() == Some(wanted);
        self.all.iter().rev().find(same)
    }

    /// The number for a revision that is newer than all others.
    pub(crate) fn next_number(&self) -> i64 {
        self.all.last().map_or(1, |last| last.revision + 1)
    }

    /// How the template comes to be the newest revision.
    pub(crate) fn choose(&self, new: ControllerRevision) -> Choice {
        let wanted = template(&new).unwrap_or_default();
        match self.with_template(&wanted) {
            None => Choice::Create(Box::new(new)),
            Some(found)
                if self
                    .all
                    .last()
                    .is_some_and(|last| last.revision == found.revision) =>
            {
                Choice::Is(found.clone())
            }
            Some(found) => Choice::Renew(found.clone(), new.revision),
        }
    }

    /// The oldest that are neither in use nor to be kept.
    pub(crate) fn superfluous(
        &self,
        is_used: impl Fn(&ControllerRevision) -> bool,
        limit: Option<i32>,
    ) -> Vec<Arc<ControllerRevision>> {
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(usize::MAX);
        let unused: Vec<_> = self.all.iter().filter(|revision| !is_used(revision)).collect();
        let excess = unused.len().saturating_sub(limit);
        unused.into_iter().take(excess).cloned().collect()
    }
}

/// How a template comes to be the newest revision.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// It is.
    Is(Arc<ControllerRevision>),
    /// It was, some time ago, and is again under this number.
    Renew(Arc<ControllerRevision>, i64),
    /// It has none yet.
    Create(Box<ControllerRevision>),
}

/// A revision that has no name yet: that depends on its kind's way to hash.
pub(crate) fn new_revision(
    owner: &ObjectMeta,
    reference: OwnerReference,
    template: &PodTemplateSpec,
    number: i64,
) -> ControllerRevision {
    let labels = template.metadata.as_ref().and_then(|meta| meta.labels.clone());
    ControllerRevision {
        metadata: ObjectMeta {
            namespace: owner.namespace.clone(),
            labels,
            annotations: owner.annotations.clone(),
            owner_references: Some(vec![reference]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data(template))),
        revision: number,
    }
}

/// Names the revision by its hash, which becomes this label of it as well.
pub(crate) fn name(
    revision: &mut ControllerRevision,
    owner: &ObjectMeta,
    label: &str,
    collisions: Option<i32>,
) {
    let bytes = revision
        .data
        .as_ref()
        .map(|data| data.0.to_string())
        .unwrap_or_default();
    let hash = hash::of_bytes(bytes.as_bytes(), collisions);
    let owner = owner.name.as_deref().unwrap_or_default();
    let prefix = owner.get(..LONGEST_PREFIX).unwrap_or(owner);
    revision.metadata.name = Some(format!("{prefix}-{hash}"));
    let labels = revision.metadata.labels.get_or_insert_default();
    labels.insert(label.to_owned(), hash);
}

fn data(template: &PodTemplateSpec) -> Value {
    let mut template = json!(template);
    template["$patch"] = json!("replace");
    json!({"spec": {"template": template}})
}

/// The template that the revision brings back.
pub(crate) fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let template = revision.data.as_ref()?.0.pointer("/spec/template")?;
    serde_json::from_value(template.clone()).ok()
}

/// Whether the revision is this owner's and holds the same template as the other.
pub(crate) fn is_same(found: &ControllerRevision, wanted: &ControllerRevision, owner: &ObjectMeta) -> bool {
    is_controlled_by(&found.metadata, owner.uid.as_deref().unwrap_or_default())
        && template(found) == template(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owners::controller_reference;

    fn owner() -> ObjectMeta {
        serde_json::from_value(json!({"name": "web", "namespace": "ns", "uid": "u"})).unwrap()
    }

    fn image(version: i32) -> PodTemplateSpec {
        serde_json::from_value(json!({
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": format!("i:{version}")}]},
        }))
        .unwrap()
    }

    fn revision(version: i32, number: i64) -> ControllerRevision {
        let reference = controller_reference("apps/v1", "StatefulSet", &owner());
        let mut revision = new_revision(&owner(), reference, &image(version), number);
        name(&mut revision, &owner(), "hash", Some(0));
        revision
    }

    fn history(all: &[(i32, i64)]) -> Revisions {
        let all = all
            .iter()
            .map(|(version, number)| Arc::new(revision(*version, *number)));
        let selector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        Revisions::of(&owner(), &selector, all.collect())
    }

    #[test]
    fn a_template_comes_back_as_it_was() {
        let revision = revision(1, 1);
        assert_eq!(template(&revision), Some(image(1)));
        assert_eq!(revision.data.unwrap().0["spec"]["template"]["$patch"], "replace");
        assert!(revision.metadata.name.unwrap().starts_with("web-"));
    }

    #[test]
    fn a_template_is_found_renewed_or_made() {
        let history = history(&[(2, 2), (1, 1)]);
        assert_eq!(history.next_number(), 3);
        assert!(matches!(history.choose(revision(2, 3)), Choice::Is(_)));
        assert!(matches!(history.choose(revision(1, 3)), Choice::Renew(_, 3)));
        assert!(matches!(history.choose(revision(3, 3)), Choice::Create(_)));
    }

    #[test]
    fn the_oldest_that_nobody_uses_go() {
        let history = history(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
        let gone = history.superfluous(|one| matches!(one.revision, 1 | 4), Some(1));
        assert_eq!(gone.iter().map(|one| one.revision).collect::<Vec<_>>(), [2]);
        assert!(history.superfluous(|_| false, Some(4)).is_empty());
    }
}

//! What a namespace that is being deleted should say, from what was found and done in it. Pure.

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition, NamespaceStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// The finalizer that this controller takes away when all content is gone.
pub(crate) const FINALIZER: &str = "kubernetes";

/// What one pass over a namespace's content came to.
#[derive(Debug, Default)]
pub(crate) struct Pass {
    /// Why the resources could not be found out, if they could not.
    pub(crate) undiscovered: Option<String>,
    /// Requests that failed.
    pub(crate) failures: Vec<String>,
    /// Objects left, by `resource.group`.
    pub(crate) remaining: BTreeMap<String, usize>,
    /// Objects left that a finalizer keeps, by finalizer.
    pub(crate) finalizers: BTreeMap<String, usize>,
}

impl Pass {
    /// Whether nothing is left, as far as can be known.
    pub(crate) fn is_clean(&self) -> bool {
        self.undiscovered.is_none() && self.failures.is_empty() && self.remaining.is_empty()
    }
}

/// Whether the namespace is being deleted and this controller has still to let it go.
pub(crate) fn is_ours_to_empty(namespace: &Namespace) -> bool {
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    namespace.metadata.deletion_timestamp.is_some()
        && finalizers.is_some_and(|finalizers| finalizers.iter().any(|finalizer| finalizer == FINALIZER))
}

/// The status after a pass, in upstream's words; the status of a first look, before any pass, has no conditions.
pub(crate) fn status(namespace: &Namespace, pass: Option<&Pass>, now: Timestamp) -> NamespaceStatus {
    let mut status = namespace.status.clone().unwrap_or_default();
    status.phase = Some("Terminating".to_owned());
    let Some(pass) = pass else { return status };
    let mut conditions = status.conditions.take().unwrap_or_default();
    for condition in verdicts(pass) {
        set(&mut conditions, condition, now);
    }
    status.conditions = Some(conditions);
    status
}

/// Type, status, reason, message.
type Verdict = (&'static str, bool, &'static str, String);

fn verdicts(pass: &Pass) -> Vec<Verdict> {
    let discovery = match &pass.undiscovered {
        None => (
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        Some(why) => (
            true,
            "DiscoveryFailed",
            format!("Discovery failed for some groups, 1 failing: {why}"),
        ),
    };
    let content = if pass.failures.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization";
        (false, "ContentDeleted", message.to_owned())
    } else {
        let (count, all) = (pass.failures.len(), pass.failures.join(", "));
        let message = format!("Failed to delete all resource types, {count} remaining: {all}");
        (true, "ContentDeletionFailed", message)
    };
    let remaining = if pass.remaining.is_empty() {
        (
            false,
            "ContentRemoved",
            "All content successfully removed".to_owned(),
        )
    } else {
        let each = pass
            .remaining
            .iter()
            .map(|(resource, count)| format!("{resource} has {count} resource instances"));
        let message = format!(
            "Some resources are remaining: {}",
            each.collect::<Vec<_>>().join(", ")
        );
        (true, "SomeResourcesRemain", message)
    };
    let finalizers = if pass.finalizers.is_empty() {
        (
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        )
    } else {
        let each = pass
            .finalizers
            .iter()
            .map(|(name, count)| format!("{name} in {count} resource instances"));
        let all = each.collect::<Vec<_>>().join(", ");
        (
            true,
            "SomeFinalizersRemain",
            format!("Some content in the namespace has finalizers remaining: {all}"),
        )
    };
    let parsed = (
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed".to_owned(),
    );
    let named = |kind, (bad, reason, message): (bool, &'static str, String)| (kind, bad, reason, message);
    vec![
        named("NamespaceDeletionDiscoveryFailure", discovery),
        named("NamespaceDeletionGroupVersionParsingFailure", parsed),
        named("NamespaceDeletionContentFailure", content),
        named("NamespaceContentRemaining", remaining),
        named("NamespaceFinalizersRemaining", finalizers),
    ]
}

fn set(conditions: &mut Vec<NamespaceCondition>, (kind, bad, reason, message): Verdict, now: Timestamp) {
    let status = if bad { "True" } else { "False" };
    let new = NamespaceCondition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message),
        last_transition_time: Some(Time(now)),
    };
    match conditions.iter_mut().find(|condition| condition.type_ == kind) {
        None => conditions.push(new),
        Some(old) if old.status == new.status && old.reason == new.reason && old.message == new.message => {}
        Some(old) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions(pass: &Pass) -> BTreeMap<String, (String, String)> {
        let status = status(&Namespace::default(), Some(pass), Timestamp::UNIX_EPOCH);
        let each = status.conditions.unwrap().into_iter();
        each.map(|condition| (condition.type_, (condition.status, condition.message.unwrap())))
            .collect()
    }

    #[test]
    fn what_remains_is_named_with_its_finalizers() {
        let pass = Pass {
            remaining: [("pods.".to_owned(), 2), ("widgets.example.com".to_owned(), 1)].into(),
            finalizers: [("example.com/keep".to_owned(), 1)].into(),
            ..Pass::default()
        };
        let said = conditions(&pass);
        assert_eq!(
            said["NamespaceContentRemaining"],
            (
                "True".to_owned(),
                "Some resources are remaining: pods. has 2 resource instances, widgets.example.com has 1 resource \
                 instances"
                    .to_owned()
            )
        );
        assert_eq!(
            said["NamespaceFinalizersRemaining"].1,
            "Some content in the namespace has finalizers remaining: example.com/keep in 1 resource instances"
        );
        assert!(!pass.is_clean());
    }

    #[test]
    fn a_clean_pass_says_so_and_writing_it_again_changes_nothing() {
        let mut namespace = Namespace::default();
        let first = status(&namespace, Some(&Pass::default()), Timestamp::UNIX_EPOCH);
        assert!(
            first
                .conditions
                .as_ref()
                .unwrap()
                .iter()
                .all(|condition| condition.status == "False")
        );
        namespace.status = Some(first.clone());
        let later = Timestamp::from_second(60).unwrap();
        assert_eq!(status(&namespace, Some(&Pass::default()), later), first);
    }
}

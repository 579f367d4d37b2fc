//! What is said of the pods that are in a namespace already when more is asked of them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::object::Fields;
use coracle_api::pod_security::{LevelVersion, evaluate};
use coracle_api::quote::quote;
use serde_json::Value;

/// How many pods are looked at.
const MOST: usize = 3000;

/// Warnings of the pods that a new level would refuse; pods that break the same rules are told of together.
pub(super) fn warnings<'p>(
    namespace: &str,
    pods: impl Iterator<Item = &'p Value>,
    standard: LevelVersion,
) -> Vec<String> {
    let pods = first_of_each_owner(pods);
    let mut broken: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for pod in pods.iter().take(MOST) {
        let verdict = evaluate(standard, &pod["metadata"], &pod["spec"]);
        if !verdict.is_allowed() {
            let names = broken.entry(verdict.reasons()).or_default();
            names.push(pod["metadata"].text("name"));
        }
    }
    let mut warnings = Vec::new();
    if pods.len() > MOST {
        let all = pods.len();
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {MOST} of {all} existing pods"
        ));
    }
    if !broken.is_empty() {
        let (namespace, standard) = (quote(namespace), quote(&standard.to_string()));
        warnings.push(format!(
            "existing pods in namespace {namespace} violate the new PodSecurity enforce level {standard}"
        ));
    }
    let mut told: Vec<String> = broken
        .into_iter()
        .map(|(reasons, names)| format!("{}: {reasons}", named(&names)))
        .collect();
    told.sort();
    warnings.extend(told);
    warnings
}

/// The first pod of each controller, and those of none, come before the rest: where there are many, few of each are seen.
fn first_of_each_owner<'p>(pods: impl Iterator<Item = &'p Value>) -> Vec<&'p Value> {
    let mut seen = BTreeSet::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for pod in pods {
        let owners = pod["metadata"].items("ownerReferences");
        let controller = owners.iter().find(|owner| owner.flag("controller"));
        if controller.is_none_or(|owner| seen.insert(owner.text("uid"))) {
            first.push(pod);
        } else {
            rest.push(pod);
        }
    }
    first.append(&mut rest);
    first
}

fn named(names: &[&str]) -> String {
    let first = names.iter().min().copied().unwrap_or_default();
    match names.len() {
        0 | 1 => first.to_owned(),
        2 => format!("{first} (and 1 other pod)"),
        more => format!("{first} (and {} other pods)", more - 1),
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::pod_security::{Level, Version};
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_are_told_of_by_what_they_break() {
        let pod = |name: &str, owner: &str, spec: Value| {
            let owners = if owner.is_empty() {
                json!([])
            } else {
                json!([{"controller": true, "uid": owner}])
            };
            json!({"metadata": {"name": name, "ownerReferences": owners}, "spec": spec})
        };
        let host = json!({"hostNetwork": true});
        let pods = [
            pod("c", "1", host.clone()),
            pod("b", "1", host.clone()),
            pod("a", "2", host),
            pod(
                "d",
                "",
                json!({"hostPID": true, "containers": [{"name": "x", "securityContext": {"privileged": true}}]}),
            ),
            pod("e", "", json!({})),
        ];
        let standard = LevelVersion {
            level: Level::Baseline,
            version: Version::Latest,
        };
        assert_eq!(
            warnings("n", pods.iter(), standard),
            [
                "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
                "a (and 2 other pods): host namespaces",
                "d: host namespaces, privileged",
            ]
        );
        assert_eq!(
            first_of_each_owner(pods.iter())
                .iter()
                .map(|pod| pod["metadata"].text("name"))
                .collect::<Vec<_>>(),
            ["c", "a", "d", "e", "b"]
        );
        assert!(warnings("n", pods[4..].iter(), standard).is_empty());
    }
}

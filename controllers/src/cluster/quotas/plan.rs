//! What a ResourceQuota's status should say. Pure.

use coracle_api::amounts::{self, Amounts};
use coracle_api::quota::Counted;
use serde_json::{Value, json};

/// The status for what was counted; none where it stands there already. What could not be counted stays as it was.
pub(super) fn status(quota: &Value, counted: &Amounts) -> Option<Value> {
    let hard = amounts::read(&quota["spec"]["hard"]);
    let (stated, before) = (
        amounts::read(&quota["status"]["hard"]),
        amounts::read(&quota["status"]["used"]),
    );
    let mut used = before.clone();
    used.extend(counted.clone());
    used.retain(|name, _| hard.contains_key(name));
    if stated == hard && used == before {
        return None;
    }
    Some(json!({"hard": amounts::write(&hard), "used": amounts::write(&used)}))
}

/// Whether what was used may be less after a pod has changed so.
pub(super) fn frees(old: &Value, new: &Value) -> bool {
    let ended = |pod: &Value| matches!(pod["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
    let wants = |pod: &Value| {
        let containers = |list: &str| {
            let items = pod["spec"][list].as_array();
            items
                .into_iter()
                .flatten()
                .map(|container| container["resources"].clone())
                .collect::<Vec<_>>()
        };
        let has = |list: &str| {
            let items = pod["status"][list].as_array();
            items
                .into_iter()
                .flatten()
                .map(|status| (status["resources"].clone(), status["allocatedResources"].clone()))
                .collect::<Vec<_>>()
        };
        (
            pod["spec"]["activeDeadlineSeconds"].clone(),
            pod["spec"]["resources"].clone(),
            (containers("containers"), containers("initContainers")),
            (has("containerStatuses"), has("initContainerStatuses")),
        )
    };
    !ended(old) && (ended(new) || wants(old) != wants(new))
}

/// Whether a quota counts objects of a resource.
pub(super) fn counts(quota: &Value, counted: Counted<'_>) -> bool {
    !coracle_api::quota::tracked(counted, &amounts::read(&quota["spec"]["hard"])).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_written_where_it_differs() {
        let spec = json!({"hard": {"pods": "2", "secrets": "5"}});
        let fresh = json!({ "spec": spec });
        let counted = Amounts::from([("pods".to_owned(), "1".parse().unwrap())]);
        assert_eq!(
            status(&fresh, &counted),
            Some(json!({"hard": {"pods": "2", "secrets": "5"}, "used": {"pods": "1"}}))
        );
        let known = json!({"spec": spec, "status": {"hard": spec["hard"], "used": {"pods": "1000m", "secrets": "3"}}});
        assert_eq!(status(&known, &counted), None);
        let shrunk = json!({"spec": {"hard": {"pods": "2"}}, "status": known["status"]});
        assert_eq!(
            status(&shrunk, &counted),
            Some(json!({"hard": {"pods": "2"}, "used": {"pods": "1"}}))
        );
    }

    #[test]
    fn a_pod_frees_what_it_used_when_it_ends_or_asks_for_other_amounts() {
        let pod = |phase: &str, cpu: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}});
        let running = pod("Running", "1");
        for (new, want) in [
            (pod("Running", "1"), false),
            (pod("Succeeded", "1"), true),
            (pod("Running", "500m"), true),
        ] {
            assert_eq!(frees(&running, &new), want, "{new}");
        }
        assert!(!frees(&pod("Failed", "1"), &pod("Failed", "2")));
    }

    #[test]
    fn a_quota_counts_what_it_names() {
        let quota = json!({"spec": {"hard": {"count/replicasets.apps": "1"}}});
        assert!(counts(&quota, Counted::new("apps", "replicasets")));
        assert!(!counts(&quota, Counted::new("", "pods")));
    }
}

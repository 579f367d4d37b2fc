//! What a ResourceQuota's status should say. Pure.

use crate::observed::{Imprint, Pod};
use crate::workloads::pods;
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
pub(super) fn frees(old: &Pod, new: &Pod) -> bool {
    !pods::is_finished(old) && (pods::is_finished(new) || wants(old) != wants(new))
}

/// What a pod asks for, and what it has.
fn wants(pod: &Pod) -> impl PartialEq {
    let of_spec = pod.spec.as_ref().map(|spec| {
        let containers = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten());
        let asked: Vec<Imprint> = containers.map(|container| container.resources).collect();
        (spec.active_deadline_seconds, spec.resources, asked)
    });
    let of_status = pod.status.as_ref().map(|status| {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        let all = lists.into_iter().flat_map(|list| list.iter().flatten());
        let has: Vec<[Imprint; 2]> = all.map(|one| [one.resources, one.allocated_resources]).collect();
        has
    });
    (of_spec, of_status.unwrap_or_default())
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
        let pod = |phase: &str, cpu: &str| -> Pod {
            let containers = json!([{"name": "c", "resources": {"requests": {"cpu": cpu}}}]);
            let pod = json!({"spec": {"containers": containers}, "status": {"phase": phase}});
            serde_json::from_value(pod).unwrap()
        };
        let running = pod("Running", "1");
        for (new, want) in [
            (pod("Running", "1"), false),
            (pod("Succeeded", "1"), true),
            (pod("Running", "500m"), true),
        ] {
            assert_eq!(frees(&running, &new), want, "{new:?}");
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

//! What a delete does to an object: a decision over the object and the options. Pure.
//!
//! Follows upstream's `rest.BeforeDelete` and the generic store, with one difference: an object that may go at once goes
//! in one step, without being marked first.

use coracle_api::custom::conditions;
use coracle_api::resources::Resource;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::meta;
use super::options::{DeleteOptions, Propagation};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// What is to be done; each with the object as it then looks.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Decision {
    /// It goes now.
    Remove(Value),
    /// It is marked and stays until its time is up and its finalizers are gone.
    Keep(Value),
    /// It is on its way already and this delete adds nothing.
    AlreadyGoing,
}

/// Decides about one delete.
pub(super) fn decide(
    resource: &Resource,
    object: &Value,
    options: &DeleteOptions,
    now: Timestamp,
) -> Decision {
    if resource.group.is_empty() && resource.resource == "namespaces" {
        return decide_namespace(object, options, now);
    }
    if resource.group == "apiextensions.k8s.io" && !meta::is_deleting(object) {
        // Upstream adds the finalizer and leaves it at that: whatever else was asked for is not looked at.
        let mut next = object.clone();
        conditions::mark_deleted(&mut next, now);
        return Decision::Keep(next);
    }
    let mut next = object.clone();
    let graceful = match grace(resource, &mut next, options, now) {
        Grace::Pending => return Decision::AlreadyGoing,
        Grace::None => false,
        Grace::Set { seconds } => seconds > 0,
    };
    set_finalizers(resource, &mut next, options);
    if !meta::finalizers(&next).is_empty() {
        meta::mark_deleting(&mut next, now);
        if next == *object {
            Decision::AlreadyGoing
        } else {
            Decision::Keep(next)
        }
    } else if graceful {
        Decision::Keep(next)
    } else {
        Decision::Remove(next)
    }
}

/// A namespace goes once its content is gone, which the finalizers in its spec stand for.
fn decide_namespace(object: &Value, options: &DeleteOptions, now: Timestamp) -> Decision {
    let mut next = object.clone();
    let holds_content = object
        .pointer("/spec/finalizers")
        .and_then(Value::as_array)
        .is_some_and(|list| !list.is_empty());
    if let Some(namespace) = next.as_object_mut() {
        let status = namespace.entry("status").or_insert_with(|| serde_json::json!({}));
        if let Some(status) = status.as_object_mut() {
            status.insert("phase".to_owned(), Value::from("Terminating"));
        }
    }
    if !meta::is_deleting(object) {
        meta::set(&mut next, "deletionTimestamp", meta::time(now));
        for (name, meaning) in [
            (ORPHAN, Propagation::Orphan),
            (FOREGROUND, Propagation::Foreground),
        ] {
            // Who does not say what becomes of dependents leaves it as it was; who does not want orphans wants to wait for them.
            let wanted = match (options.orphan_dependents, options.propagation) {
                (Some(orphan), _) => orphan == (meaning == Propagation::Orphan),
                (None, Some(asked)) => asked == meaning,
                (None, None) => meta::finalizers(&next).contains(&name),
            };
            set_propagation_finalizer(&mut next, options, name, wanted);
        }
    }
    if !holds_content && meta::finalizers(&next).is_empty() {
        return Decision::Remove(next);
    }
    if next == *object {
        Decision::AlreadyGoing
    } else {
        Decision::Keep(next)
    }
}

/// Whether the answer to a delete is the object itself, as upstream has it for some resources.
pub(super) fn shows_deleted(resource: &Resource) -> bool {
    matches!(
        (resource.group, resource.resource),
        (
            "",
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumeclaims"
                | "persistentvolumes"
                | "resourcequotas"
                | "podtemplates"
                | "namespaces"
        ) | ("resource.k8s.io" | "apiextensions.k8s.io", _)
    ) || resource.group == "storage.k8s.io" && resource.resource != "csistoragecapacities"
}

/// Whether the answer shows the revision before the removal.
pub(super) fn shows_old_revision(resource: &Resource) -> bool {
    !shows_deleted(resource)
}

enum Grace {
    /// The kind knows no grace, or none is left.
    None,
    /// The period that was written into the object.
    Set { seconds: i64 },
    /// A period is running that this delete does not shorten.
    Pending,
}

fn grace(resource: &Resource, object: &mut Value, options: &DeleteOptions, now: Timestamp) -> Grace {
    if !(resource.group.is_empty() && resource.resource == "pods") {
        return Grace::None;
    }
    if meta::is_deleting(object) {
        return shorten(object, options);
    }
    let seconds = pod_grace(object, options);
    let until = now
        .checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX);
    meta::set(object, "deletionTimestamp", meta::time(until));
    meta::set(object, "deletionGracePeriodSeconds", Value::from(seconds));
    meta::bump_generation(object);
    Grace::Set { seconds }
}

fn shorten(object: &mut Value, options: &DeleteOptions) -> Grace {
    let running = meta::get(object, "deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    if running == 0 {
        return Grace::None;
    }
    let Some(seconds) = options.grace_period_seconds.filter(|seconds| *seconds < running) else {
        return Grace::Pending;
    };
    let seconds = if seconds < 0 { 1 } else { seconds };
    if let Ok(until) = meta::text(object, "deletionTimestamp").parse::<Timestamp>() {
        let until = until
            .checked_sub(SignedDuration::from_secs(running - seconds))
            .unwrap_or(until);
        meta::set(object, "deletionTimestamp", meta::time(until));
    }
    meta::set(object, "deletionGracePeriodSeconds", Value::from(seconds));
    Grace::Set { seconds }
}

/// A pod that no kubelet has, or whose containers are done, needs no time.
fn pod_grace(pod: &Value, options: &DeleteOptions) -> i64 {
    let asked = options
        .grace_period_seconds
        .or_else(|| {
            pod.pointer("/spec/terminationGracePeriodSeconds")
                .and_then(Value::as_i64)
        })
        .unwrap_or(0);
    let scheduled = pod
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .is_some_and(|node| !node.is_empty());
    let finished = matches!(
        pod.pointer("/status/phase").and_then(Value::as_str),
        Some("Succeeded" | "Failed")
    );
    match (scheduled && !finished, asked) {
        (false, _) => 0,
        (true, asked) if asked < 0 => 1,
        (true, asked) => asked,
    }
}

fn set_finalizers(resource: &Resource, object: &mut Value, options: &DeleteOptions) {
    if resource.resource == "events" {
        return;
    }
    let existing = |name: &str| meta::finalizers(object).contains(&name);
    let asked = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => Some(if orphan {
            Propagation::Orphan
        } else {
            Propagation::Background
        }),
        (None, asked) => asked,
    };
    let propagation = asked.unwrap_or_else(|| match () {
        () if existing(ORPHAN) => Propagation::Orphan,
        () if existing(FOREGROUND) => Propagation::Foreground,
        () => default_propagation(resource),
    });
    set_propagation_finalizer(object, options, ORPHAN, propagation == Propagation::Orphan);
    set_propagation_finalizer(
        object,
        options,
        FOREGROUND,
        propagation == Propagation::Foreground,
    );
}

fn set_propagation_finalizer(object: &mut Value, _options: &DeleteOptions, name: &str, wanted: bool) {
    let has = meta::finalizers(object).contains(&name);
    if has == wanted {
        return;
    }
    let mut finalizers: Vec<Value> = meta::finalizers(object).into_iter().map(Value::from).collect();
    if wanted {
        finalizers.push(Value::from(name));
    } else {
        finalizers.retain(|finalizer| finalizer != name);
    }
    if finalizers.is_empty() {
        meta::remove(object, "finalizers");
    } else {
        meta::set(object, "finalizers", Value::Array(finalizers));
    }
}

/// Kinds that are older than garbage collection orphan what they own unless told otherwise.
fn default_propagation(resource: &Resource) -> Propagation {
    match (resource.group, resource.resource) {
        ("", "replicationcontrollers") | ("batch", "jobs") => Propagation::Orphan,
        _ => Propagation::Background,
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::resources;
    use serde_json::json;

    use super::*;

    const NOW: &str = "2026-11-22T08:00:00Z";

    fn run(group: &str, resource: &str, object: &Value, options: &DeleteOptions) -> Decision {
        let resource = resources::versions(group, resource).next().unwrap();
        decide(resource, object, options, NOW.parse().unwrap())
    }

    fn grace_seconds(decision: &Decision) -> Option<(i64, &str)> {
        match decision {
            Decision::Keep(object) => Some((
                object["metadata"]["deletionGracePeriodSeconds"].as_i64()?,
                object["metadata"]["deletionTimestamp"].as_str()?,
            )),
            _ => None,
        }
    }

    #[test]
    fn pods_get_their_time_only_where_somebody_uses_it() {
        let pod = |node: &str, phase: &str| {
            json!({"metadata": {"name": "p", "generation": 1},
                "spec": {"nodeName": node, "terminationGracePeriodSeconds": 30}, "status": {"phase": phase}})
        };
        let seconds = |seconds| DeleteOptions {
            grace_period_seconds: seconds,
            ..Default::default()
        };
        let running = run("", "pods", &pod("n", "Running"), &seconds(None));
        assert_eq!(grace_seconds(&running), Some((30, "2026-11-22T08:00:30Z")));
        assert!(matches!(
            run("", "pods", &pod("", "Pending"), &seconds(None)),
            Decision::Remove(_)
        ));
        assert!(matches!(
            run("", "pods", &pod("n", "Failed"), &seconds(None)),
            Decision::Remove(_)
        ));
        assert!(matches!(
            run("", "pods", &pod("n", "Running"), &seconds(Some(0))),
            Decision::Remove(_)
        ));
        let negative = run("", "pods", &pod("n", "Running"), &seconds(Some(-5)));
        assert_eq!(grace_seconds(&negative), Some((1, "2026-11-22T08:00:01Z")));
    }

    #[test]
    fn a_running_grace_period_may_only_get_shorter() {
        let pod = json!({"metadata": {"name": "p", "deletionTimestamp": "2026-11-22T08:00:30Z",
            "deletionGracePeriodSeconds": 30}, "spec": {"nodeName": "n"}});
        let seconds = |seconds| DeleteOptions {
            grace_period_seconds: Some(seconds),
            ..Default::default()
        };
        assert_eq!(
            run("", "pods", &pod, &DeleteOptions::default()),
            Decision::AlreadyGoing
        );
        assert_eq!(run("", "pods", &pod, &seconds(60)), Decision::AlreadyGoing);
        let shorter = run("", "pods", &pod, &seconds(10));
        assert_eq!(grace_seconds(&shorter), Some((10, "2026-11-22T08:00:10Z")));
        assert!(matches!(run("", "pods", &pod, &seconds(0)), Decision::Remove(_)));
    }

    #[test]
    fn propagation_becomes_a_finalizer() {
        let object = json!({"metadata": {"name": "d"}});
        let policy = |propagation| DeleteOptions {
            propagation: Some(propagation),
            ..Default::default()
        };
        let finalizers = |decision: Decision| match decision {
            Decision::Keep(object) => object["metadata"]["finalizers"].clone(),
            other => json!(format!("{other:?}").split('(').next()),
        };
        let table = [
            ("apps", "deployments", DeleteOptions::default(), json!("Remove")),
            (
                "apps",
                "deployments",
                policy(Propagation::Background),
                json!("Remove"),
            ),
            (
                "apps",
                "deployments",
                policy(Propagation::Foreground),
                json!(["foregroundDeletion"]),
            ),
            (
                "apps",
                "deployments",
                policy(Propagation::Orphan),
                json!(["orphan"]),
            ),
            ("batch", "jobs", DeleteOptions::default(), json!(["orphan"])),
            ("batch", "jobs", policy(Propagation::Background), json!("Remove")),
            ("", "events", policy(Propagation::Foreground), json!("Remove")),
        ];
        for (group, resource, options, want) in table {
            assert_eq!(
                finalizers(run(group, resource, &object, &options)),
                want,
                "{resource} {options:?}"
            );
        }
    }

    #[test]
    fn finalizers_hold_an_object_once() {
        let object = json!({"metadata": {"name": "c", "finalizers": ["example.com/x"], "generation": 3}});
        let Decision::Keep(marked) = run("", "configmaps", &object, &DeleteOptions::default()) else {
            panic!("finalizers must hold it")
        };
        assert_eq!(marked["metadata"]["deletionTimestamp"], NOW);
        assert_eq!(marked["metadata"]["generation"], 4);
        assert_eq!(
            run("", "configmaps", &marked, &DeleteOptions::default()),
            Decision::AlreadyGoing
        );
    }

    #[test]
    fn definitions_wait_for_their_objects() {
        let definition = json!({"metadata": {"name": "d", "generation": 1}});
        let Decision::Keep(marked) = run(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            &definition,
            &DeleteOptions::default(),
        ) else {
            panic!("its objects must hold it")
        };
        assert_eq!(marked["metadata"]["finalizers"], json!([conditions::CLEANUP]));
        assert_eq!(marked["metadata"]["generation"], 1);
        assert_eq!(
            marked["status"]["conditions"][0]["reason"],
            "InstanceDeletionPending"
        );
        assert_eq!(marked["metadata"].get("deletionGracePeriodSeconds"), None);
    }

    #[test]
    fn namespaces_wait_for_their_content() {
        let namespace = json!({"metadata": {"name": "n"}, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}});
        let Decision::Keep(marked) = run("", "namespaces", &namespace, &DeleteOptions::default()) else {
            panic!("its content must hold it")
        };
        assert_eq!(marked["status"]["phase"], "Terminating");
        assert_eq!(
            run("", "namespaces", &marked, &DeleteOptions::default()),
            Decision::AlreadyGoing
        );
        let empty = json!({"metadata": {"name": "n", "deletionTimestamp": NOW}, "spec": {}});
        assert!(matches!(
            run("", "namespaces", &empty, &DeleteOptions::default()),
            Decision::Remove(_)
        ));
    }
}

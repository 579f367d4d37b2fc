//! What may change about a pod through its subresources: more ephemeral containers, other resources.

use serde_json::{Map, Value};

use super::spec;
use crate::codec::equality;
use crate::object::Fields;
use crate::strategy::qos_class;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;

const MIRROR: &str = "kubernetes.io/config.mirror";
const ONLY: &str = "only cpu and memory resources are mutable";

/// An update through `/ephemeralcontainers`: those that are there stay as they are.
pub(in crate::validation) fn ephemeral_containers(new: &Value, old: &Value, errors: &mut FieldErrors) {
    spec::pod(new, errors);
    if is_mirror(old) {
        return alone(errors, "static pods do not support ephemeral containers");
    }
    let spec_at = Path::new("spec");
    let at = spec_at.child("ephemeralContainers");
    let now = new["spec"].items("ephemeralContainers");
    for before in old["spec"].items("ephemeralContainers") {
        let name = crate::quote::quote(before.text("name"));
        // Of several of a name the last one counts; that there are several is told elsewhere.
        let same = now
            .iter()
            .rev()
            .find(|one| one.text("name") == before.text("name"));
        match same {
            None => errors.forbidden(
                &at,
                format!("existing ephemeral containers {name} may not be removed\n"),
            ),
            Some(one) if !equal(one, before, "io.k8s.api.core.v1.EphemeralContainer") => {
                let difference = internal::difference(before, one, internal::EPHEMERAL_CONTAINER);
                let rule = format!("existing ephemeral containers {name} may not be changed\n{difference}");
                errors.forbidden(&at, rule);
            }
            Some(_) => {}
        }
    }
}

/// An update through `/resize`: cpu and memory change, and neither goes.
pub(in crate::validation) fn resize(new: &Value, old: &Value, errors: &mut FieldErrors) {
    spec::pod(new, errors);
    let (spec, before, at) = (&new["spec"], &old["spec"], Path::new("spec"));
    if is_mirror(old) {
        return alone(errors, "static pods cannot be resized");
    }
    if before["os"].text("name") == "windows" {
        return alone(errors, "windows pods cannot be resized");
    }
    let class = match old["status"].text("qosClass") {
        "" => qos_class(before),
        class => class,
    };
    if class != qos_class(spec) {
        let shown = new["status"].text("qosClass");
        errors.invalid(&at, shown, "Pod QOS Class may not change as a result of resizing");
    }
    if !is_supported(old) {
        errors.forbidden(&at, "Pod running on node without support for resize");
    }
    let mut kept = spec.as_object().cloned().unwrap_or_default();
    of_the_pod(spec, before, &mut kept, &at, errors);
    if old["status"].count("nodeAllocatableResourceClaimStatuses") > 0 {
        let rule = "pods with node allocatable resource claims cannot be resized";
        errors.forbidden(&at, rule);
    }
    let known = errors.len();
    for list in ["containers", "initContainers"] {
        in_place(spec, before, list, &at.child(list), errors);
    }
    if errors.len() > known {
        return;
    }
    for list in ["initContainers", "containers"] {
        let at = at.child(list);
        for (index, (now, then)) in spec.items(list).iter().zip(before.items(list)).enumerate() {
            let at = at.index(index);
            nothing_removed(
                &now["resources"],
                &then["resources"],
                &at.child("resources"),
                errors,
            );
        }
    }
    of_containers(&mut kept, before, &at, errors);
    if errors.is_empty() && !equal(&Value::Object(kept), before, "io.k8s.api.core.v1.PodSpec") {
        errors.forbidden(&at, ONLY);
    }
}

fn equal(a: &Value, b: &Value, ty: &str) -> bool {
    equality::equal_named(Some(a), Some(b), ty)
}

fn is_mirror(pod: &Value) -> bool {
    pod["metadata"]["annotations"].has(MIRROR)
}

/// One fault of the whole that makes the others not worth telling.
fn alone(errors: &mut FieldErrors, rule: &str) {
    *errors = FieldErrors::new();
    errors.forbidden(&Path::new(""), rule);
}

/// Whether the node of a running pod is seen to report resources, which it does where it can resize.
fn is_supported(pod: &Value) -> bool {
    let statuses = pod["status"].items("containerStatuses");
    let running = statuses.iter().find(|status| status["state"].has("running"));
    running.is_none_or(|status| status.has("resources"))
}

/// The resources of the pod as a whole, put back in `kept` as far as they may change.
fn of_the_pod(
    spec: &Value,
    before: &Value,
    kept: &mut Map<String, Value>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    let is_set = |spec: &Value| {
        let resources = &spec["resources"];
        resources.entries("requests").count() + resources.entries("limits").count() > 0
    };
    if !is_set(before) && !is_set(spec) {
        return;
    }
    let (now, then, list) = (&spec["resources"], &before["resources"], at.child("resources"));
    if !then.is_null() {
        if now.is_null() {
            return errors.forbidden(&list, "pod-level resources cannot be removed");
        }
        for kind in ["requests", "limits"] {
            if is_removed(now, then, kind) {
                let rule = format!("pod-level resource {kind} cannot be removed");
                errors.forbidden(&list.child(kind), rule);
            }
        }
    }
    let put_back = match with_cpu_and_memory_of(now, then) {
        Value::Object(nothing) if nothing.is_empty() && then.is_null() => Value::Null,
        put_back => put_back,
    };
    if !equal(&put_back, then, "io.k8s.api.core.v1.ResourceRequirements") {
        errors.forbidden(at, "only cpu and memory resources are mutable at pod-level");
    }
    kept.insert("resources".into(), put_back);
}

fn in_place(spec: &Value, before: &Value, what: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    let (now, then) = (spec.items(what), before.items(what));
    if now.len() != then.len() {
        return errors.forbidden(at, format!("{what} may not be added or removed on resize"));
    }
    for (index, (now, then)) in now.iter().zip(then).enumerate() {
        if now.text("name") != then.text("name") {
            let rule = format!("{what} may not be renamed or reordered on resize");
            errors.forbidden(&at.index(index).child("name"), rule);
        }
    }
}

fn nothing_removed(now: &Value, then: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (kind, rule) in [
        ("requests", "resource requests cannot be removed"),
        ("limits", "resource limits cannot be removed"),
    ] {
        if is_removed(now, then, kind) {
            errors.forbidden(&at.child(kind), rule);
        }
    }
}

fn is_removed(now: &Value, then: &Value, kind: &str) -> bool {
    then.entries(kind).any(|(name, _)| !now[kind].has(name))
}

/// Puts back of each container what may change, and tells of the rest.
fn of_containers(kept: &mut Map<String, Value>, before: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    const CONTAINER: &str = "io.k8s.api.core.v1.Container";
    for list in ["containers", "initContainers"] {
        let inside = at.child(list);
        let containers = kept.get_mut(list).and_then(Value::as_array_mut);
        let pairs = containers.into_iter().flatten().zip(before.items(list));
        for (index, (container, then)) in pairs.enumerate() {
            let is_changed = !equal(container, then, CONTAINER);
            let resources = with_cpu_and_memory_of(&container["resources"], &then["resources"]);
            container["resources"] = resources;
            let differs = !equal(container, then, CONTAINER);
            if list == "containers" {
                if differs {
                    errors.forbidden(at, ONLY);
                }
                continue;
            }
            let at = inside.index(index);
            if differs {
                let rule = "only cpu and memory resources for init or sidecar containers are mutable";
                errors.forbidden(&at, rule);
            }
            let restarts = |policy: &&Value| policy.text("restartPolicy") == "RestartContainer";
            let is_sidecar = container.text("restartPolicy") == "Always";
            for _ in container.items("resizePolicy").iter().filter(restarts) {
                if is_changed && !is_sidecar {
                    let rule = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
                    errors.forbidden(&at, rule);
                }
            }
        }
    }
}

/// Requests and limits with the cpu and memory that others have; nothing else is kept.
fn with_cpu_and_memory_of(resources: &Value, others: &Value) -> Value {
    let mut out = Map::new();
    for kind in ["limits", "requests"] {
        let mut amounts = resources[kind].as_object().cloned().unwrap_or_default();
        for name in ["cpu", "memory"] {
            match others[kind].field(name) {
                Some(amount) => amounts.insert(name.to_owned(), amount.clone()),
                None => amounts.remove(name),
            };
        }
        if !amounts.is_empty() {
            out.insert(kind.to_owned(), Value::Object(amounts));
        }
    }
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: Value) -> Value {
        let mut pod = json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "terminationGracePeriodSeconds": 30,
                "securityContext": {}, "schedulerName": "s", "containers": [{"name": "c", "image": "i",
                "imagePullPolicy": "Always", "terminationMessagePath": "/x", "terminationMessagePolicy": "File",
                "resources": {"requests": {"cpu": "1", "example.com/x": "1"}, "limits": {"example.com/x": "1"}}}]},
            "status": {"qosClass": "Burstable"},
        });
        crate::patch::merge::apply(&mut pod["spec"], &spec).unwrap();
        pod
    }

    fn told(judge: fn(&Value, &Value, &mut FieldErrors), new: &Value, old: &Value) -> String {
        let mut errors = FieldErrors::new();
        judge(new, old, &mut errors);
        let told = errors.aggregate();
        if errors.is_empty() { String::new() } else { told }
    }

    fn resources(resources: Value) -> Value {
        let mut pod = pod(json!({}));
        pod["spec"]["containers"][0]["resources"] = resources;
        pod
    }

    #[test]
    fn cpu_and_memory_may_be_resized() {
        let extended = |requests: Value| json!({"requests": requests, "limits": {"example.com/x": "1"}});
        let old = pod(json!({}));
        for (new, want) in [
            (
                extended(json!({"cpu": "2", "memory": "1Gi", "example.com/x": "1"})),
                "",
            ),
            (
                extended(json!({"memory": "1Gi", "example.com/x": "1"})),
                "spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed",
            ),
            (
                json!({"requests": {"cpu": "1", "example.com/x": "2"}, "limits": {"example.com/x": "2"}}),
                "spec: Forbidden: only cpu and memory resources are mutable",
            ),
        ] {
            assert_eq!(told(resize, &resources(new.clone()), &old), want, "{new}");
        }
        let mut mirror = old.clone();
        mirror["metadata"]["annotations"] = json!({MIRROR: "x"});
        assert_eq!(
            told(resize, &old, &mirror),
            ": Forbidden: static pods cannot be resized"
        );
        let mut renamed = old.clone();
        renamed["spec"]["containers"][0]["name"] = json!("d");
        assert_eq!(
            told(resize, &renamed, &old),
            "spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"
        );
    }

    #[test]
    fn a_pod_stays_in_its_class() {
        let mut old = pod(json!({}));
        old["spec"]["containers"][0]["resources"] = json!({});
        old["status"]["qosClass"] = json!("BestEffort");
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        assert_eq!(
            told(resize, &new, &old),
            "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"
        );
    }

    #[test]
    fn ephemeral_containers_stay() {
        let with = |containers: Value| pod(json!({"ephemeralContainers": containers}));
        let container = |image: &str| json!({"name": "d", "image": image, "imagePullPolicy": "Always", "terminationMessagePolicy": "File"});
        let old = with(json!([container("x")]));
        assert_eq!(
            told(ephemeral_containers, &with(json!([container("x")])), &old),
            ""
        );
        assert_eq!(
            told(ephemeral_containers, &with(json!([])), &old),
            "spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"
        );
        let told = told(ephemeral_containers, &with(json!([container("y")])), &old);
        assert!(
            told.contains("existing ephemeral containers \"d\" may not be changed\n@@"),
            "{told}"
        );
        assert!(told.contains("\"Image\": \"y\""), "{told}");
    }
}

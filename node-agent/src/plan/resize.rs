//! In-place resize (KEP-1287): what of the resources that a spec asks for the node has granted, and which containers still run
//! with others. Pure.
//!
//! Only cpu and memory can be resized. Everything else that is planned for a pod sees it with what was granted.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::PodView;
use crate::pod_level;
use crate::resources::{Amounts, milli};
use crate::runtime;

/// What can be resized.
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
/// The least that a cgroup can say of cpu, in thousandths: as a weight and as a quota.
const LEAST_MILLI_CPU_REQUEST: i64 = 2;
const LEAST_MILLI_CPU_LIMIT: i64 = 10;

/// The resources that were granted.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Allocation {
    /// To each container, by name.
    containers: BTreeMap<String, ResourceRequirements>,
    /// To the pod as a whole (KEP-5419), where it asks for any.
    pod: Option<ResourceRequirements>,
}

/// Why a resize is not granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    /// `Deferred` while others hold what is asked for, `Infeasible` if the node has less than that in all.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Pending {
    /// Whether it may be granted later, without a change of the pod.
    pub(crate) fn is_deferred(&self) -> bool {
        self.reason == "Deferred"
    }
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

/// Everything that a spec asks for.
pub(crate) fn asked(spec: &PodSpec) -> Allocation {
    let resources = |c: &Container| (c.name.clone(), c.resources.clone().unwrap_or_default());
    Allocation {
        containers: containers(spec).map(resources).collect(),
        pod: spec.resources.clone(),
    }
}

/// What was granted before, as the status tells it; a container of which it tells nothing has what the spec asks for.
pub(crate) fn remembered(pod: &Pod) -> Allocation {
    let mut allocation = pod.spec.as_ref().map(asked).unwrap_or_default();
    let status = pod.status.as_ref();
    let statuses = status
        .into_iter()
        .flat_map(|s| s.init_container_statuses.iter().chain(&s.container_statuses));
    for status in statuses.flatten() {
        if let (Some(granted), Some(told)) = (allocation.containers.get_mut(&status.name), &status.resources)
        {
            let requests = status.allocated_resources.as_ref().or(told.requests.as_ref());
            take_named(granted.requests.as_mut(), requests, |_, told| told.clone());
            take_named(granted.limits.as_mut(), told.limits.as_ref(), |_, told| {
                told.clone()
            });
        }
    }
    if let (Some(granted), Some(status), Some(spec)) = (&mut allocation.pod, status, &pod.spec)
        && let Some(told) = &status.resources
    {
        let requests = status.allocated_resources.as_ref().or(told.requests.as_ref());
        let own = |name: &str, told: &Quantity| pod_level::without_overhead(spec, name, told);
        take_named(granted.requests.as_mut(), requests, own);
        take_named(granted.limits.as_mut(), told.limits.as_ref(), own);
    }
    allocation
}

/// Takes what is told of amounts that a spec names. A resize adds amounts and changes them, but takes none away; so what is told
/// beyond them is no grant, but the limit of the pod, or a sum.
fn take_named(
    to: Option<&mut Quantities>,
    told: Option<&Quantities>,
    own: impl Fn(&str, &Quantity) -> Quantity,
) {
    let Some(to) = to else { return };
    for name in RESIZABLE {
        match told.and_then(|told| told.get(name)) {
            Some(told) => {
                to.entry(name.to_owned())
                    .and_modify(|amount| *amount = own(name, told));
            }
            None => {
                to.remove(name);
            }
        }
    }
}

/// What the pod as a whole was given before this agent began, as the status tells it; none of a pod of which it tells nothing.
/// Amounts that are too small to be told are what was granted.
pub(crate) fn pod_had(pod: &Pod) -> Option<ResourceRequirements> {
    let told = pod.status.as_ref()?.resources.as_ref()?;
    let mut had = pod_level::whole(pod.spec.as_ref()?);
    for (had, told) in [
        (&mut had.requests, &told.requests),
        (&mut had.limits, &told.limits),
    ] {
        let told = told
            .iter()
            .flatten()
            .filter(|(name, _)| RESIZABLE.contains(&name.as_str()));
        for (name, quantity) in told {
            had.get_or_insert_default().insert(name.clone(), quantity.clone());
        }
    }
    Some(had)
}

type Quantities = BTreeMap<String, Quantity>;

fn take_resizable(to: &mut Option<Quantities>, from: Option<&Quantities>) {
    for name in RESIZABLE {
        match from.and_then(|from| from.get(name)) {
            Some(quantity) => {
                to.get_or_insert_default()
                    .insert(name.to_owned(), quantity.clone());
            }
            None => {
                if let Some(to) = to {
                    to.remove(name);
                }
            }
        }
    }
}

/// The pod with what was granted in place of what it asks for.
pub(crate) fn with_allocation(pod: &Pod, allocation: &Allocation) -> Pod {
    let mut pod = pod.clone();
    let Some(spec) = &mut pod.spec else {
        return pod;
    };
    spec.resources = allocation.pod.clone();
    let containers = spec.init_containers.iter_mut().flatten();
    for container in containers.chain(&mut spec.containers) {
        if let Some(granted) = allocation.containers.get(&container.name) {
            container.resources = Some(granted.clone());
        }
    }
    pod
}

/// Whether a spec asks for something else than was granted.
pub(crate) fn is_asked(spec: &PodSpec, allocation: &Allocation) -> bool {
    let empty = ResourceRequirements::default();
    let differ = |asked: Option<&ResourceRequirements>, granted: Option<&ResourceRequirements>| {
        let (asked, granted) = (asked.unwrap_or(&empty), granted.unwrap_or(&empty));
        changed(asked, granted).next().is_some()
    };
    differ(spec.resources.as_ref(), allocation.pod.as_ref())
        || containers(spec).any(|c| differ(c.resources.as_ref(), allocation.containers.get(&c.name)))
}

/// The resizable resources in which two differ.
fn changed(a: &ResourceRequirements, b: &ResourceRequirements) -> impl Iterator<Item = &'static str> {
    let value = |quantities: &Option<Quantities>, name: &str| {
        quantities.as_ref().and_then(|q| q.get(name)).map(milli)
    };
    RESIZABLE.into_iter().filter(move |name| {
        value(&a.requests, name) != value(&b.requests, name)
            || value(&a.limits, name) != value(&b.limits, name)
    })
}

/// Whether a node that has so much, of which others hold so much, grants this; if not, why.
pub(crate) fn refusal(asked: Amounts, others: Amounts, node: Amounts) -> Option<Pending> {
    let infeasible = |name: &str, asked: i64, node: i64| {
        (asked > node).then(|| Pending {
            reason: "Infeasible",
            message: format!(
                "Node didn't have enough capacity: {name}, requested: {asked}, capacity: {node}"
            ),
        })
    };
    let deferred = |name: &str, asked: i64, used: i64, node: i64| {
        (asked.saturating_add(used) > node).then(|| Pending {
            reason: "Deferred",
            message: format!(
                "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {node}"
            ),
        })
    };
    infeasible("memory", asked.memory, node.memory)
        .or_else(|| infeasible("cpu", asked.milli_cpu, node.milli_cpu))
        .or_else(|| deferred("cpu", asked.milli_cpu, others.milli_cpu, node.milli_cpu))
        .or_else(|| deferred("memory", asked.memory, others.memory, node.memory))
}

/// How a running container comes to what it was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// While it runs.
    Update,
    /// By a restart, as its `resizePolicy` has it.
    Restart,
}

/// What is to be done about a running container whose resources are not those granted.
pub(super) fn way(spec: &PodSpec, container: &Container, running: &runtime::Container) -> Option<Way> {
    let granted = pod_level::effective(spec, container);
    let restarts = |name: &str| {
        let policies = container.resize_policy.iter().flatten();
        policies
            .filter(|p| p.resource_name == name)
            .any(|p| p.restart_policy == "RestartContainer")
    };
    let mut changed = changed(&granted, running.resources.as_ref()?).peekable();
    changed.peek()?;
    Some(if changed.any(restarts) {
        Way::Restart
    } else {
        Way::Update
    })
}

/// Whether the pod as a whole has other resources than those granted.
pub(super) fn is_pod_behind(view: &PodView<'_>) -> bool {
    let granted = pod_level::whole(view.spec());
    view.pod_has
        .is_some_and(|has| changed(&granted, has).next().is_some())
}

/// `status.resources`: all that the pod was granted, until it runs; then what it sets as a whole, with the cpu and memory that its
/// cgroup was given. Upstream reads those from the cgroup, and does not trust what is at or below the least that one can say.
pub(super) fn of_pod(view: &PodView<'_>) -> ResourceRequirements {
    let own = view.spec().resources.clone().unwrap_or_default();
    let granted = pod_level::whole(view.spec());
    if view.previous.phase.as_deref() != Some("Running") {
        return ResourceRequirements {
            claims: own.claims,
            ..granted
        };
    }
    let has = view.pod_has.unwrap_or(&granted);
    let told = |own: Option<Quantities>, has: Option<&Quantities>, least_cpu: i64| {
        let mut told = own.unwrap_or_default();
        for (name, quantity) in has.into_iter().flatten() {
            let small = |quantity: &Quantity| name == "cpu" && milli(quantity) <= least_cpu;
            if RESIZABLE.contains(&name.as_str()) && !(small(quantity) && told.get(name).is_none_or(small)) {
                told.insert(name.clone(), quantity.clone());
            }
        }
        (!told.is_empty()).then_some(told)
    };
    ResourceRequirements {
        requests: told(own.requests, has.requests.as_ref(), LEAST_MILLI_CPU_REQUEST),
        limits: told(own.limits, has.limits.as_ref(), LEAST_MILLI_CPU_LIMIT),
        claims: own.claims,
    }
}

/// Whether the pod, or a container of it, runs with other resources than those granted.
pub(super) fn is_in_progress(view: &PodView<'_>) -> bool {
    is_pod_behind(view)
        || containers(view.spec()).any(|c| {
            let running = view.runtime.latest(&c.name).filter(|r| r.is_running());
            running.is_some_and(|running| way(view.spec(), c, running).is_some())
        })
}

/// What a container has now: a running one what the runtime was told, any other what was granted.
pub(super) fn actual(container: &Container, record: &runtime::Container) -> Option<ResourceRequirements> {
    let told = record.resources.as_ref().filter(|_| record.is_running());
    let Some(told) = told else {
        return container.resources.clone();
    };
    let mut actual = container.resources.clone().unwrap_or_default();
    if let Some(requests) = &mut actual.requests {
        let asked = told.requests.as_ref().and_then(|r| r.get("cpu"));
        // What asks for no cpu weighs as much as it may have.
        let weight = asked.or_else(|| told.limits.as_ref()?.get("cpu"));
        let weight = weight.filter(|cpu| asked.is_some() || milli(cpu) > LEAST_MILLI_CPU_REQUEST);
        let memory = told.requests.as_ref().and_then(|r| r.get("memory"));
        for (name, amount) in [("cpu", weight), ("memory", memory)] {
            match amount {
                Some(amount) => requests.insert(name.to_owned(), amount.clone()),
                None => requests.remove(name),
            };
        }
    }
    // Where it sets some limit, the others are told too, though they be its pod's.
    if actual.limits.is_some() {
        take_resizable(&mut actual.limits, told.limits.as_ref());
    }
    Some(actual)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ContainerResizePolicy;
    use serde_json::{Value, json};

    use super::*;

    fn pod(resources: Value, status: Value) -> Pod {
        serde_json::from_value(json!({
            "spec": {"containers": [{"name": "c", "resources": resources}]},
            "status": status,
        }))
        .unwrap()
    }

    #[test]
    fn equal_amounts_are_no_resize_however_they_are_written() {
        let granted = asked(
            pod(json!({"requests": {"cpu": "500m", "memory": "1Gi"}}), json!({}))
                .spec
                .as_ref()
                .unwrap(),
        );
        for (resources, expected) in [
            (json!({"requests": {"cpu": "0.5", "memory": "1024Mi"}}), false),
            (json!({"requests": {"cpu": "0.6", "memory": "1Gi"}}), true),
            (
                json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "1"}}),
                true,
            ),
            (
                json!({"requests": {"cpu": "500m", "memory": "1Gi", "example.com/dongle": "1"}}),
                false,
            ),
        ] {
            let pod = pod(resources.clone(), json!({}));
            assert_eq!(
                is_asked(pod.spec.as_ref().unwrap(), &granted),
                expected,
                "{resources}"
            );
        }
    }

    #[test]
    fn what_was_granted_is_remembered_by_the_status() {
        let resources = json!({"requests": {"cpu": "2", "example.com/dongle": "1"}, "limits": {"cpu": "4"}});
        let fresh = pod(resources.clone(), json!({}));
        assert_eq!(remembered(&fresh), asked(fresh.spec.as_ref().unwrap()));
        let status = json!({"containerStatuses": [{"name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
            "allocatedResources": {"cpu": "1"}, "resources": {"requests": {"cpu": "1"}}}]});
        let pod = pod(resources, status);
        let granted = remembered(&pod);
        assert_eq!(
            serde_json::to_value(&granted.containers["c"]).unwrap(),
            json!({"requests": {"cpu": "1", "example.com/dongle": "1"}, "limits": {}})
        );
        assert!(is_asked(pod.spec.as_ref().unwrap(), &granted));
        let seen = with_allocation(&pod, &granted);
        assert!(!is_asked(seen.spec.as_ref().unwrap(), &granted));
    }

    #[test]
    fn what_the_pod_as_a_whole_was_granted_is_remembered_too() {
        let of_pod = |limits: Value| json!({"limits": limits, "requests": {"cpu": "1"}});
        let mut pod = pod(json!({}), json!({"resources": of_pod(json!({"memory": "1Gi"}))}));
        let asked_for = of_pod(json!({"memory": "2Gi"}));
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(asked_for).unwrap();
        let granted = remembered(&pod);
        let spec = |pod: &Pod| pod.spec.clone().unwrap();
        assert!(is_asked(&spec(&pod), &granted));
        let seen = with_allocation(&pod, &granted);
        assert_eq!(
            spec(&seen).resources.unwrap().limits.unwrap()["memory"],
            Quantity("1Gi".into())
        );
        assert!(!is_asked(&spec(&pod), &asked(&spec(&pod))));
    }

    #[test]
    fn a_node_grants_what_it_has_left() {
        let amounts = |milli_cpu, memory| Amounts { milli_cpu, memory };
        let node = amounts(2000, 100);
        let cases = [
            (amounts(1000, 50), amounts(1000, 50), None),
            (
                amounts(2001, 50),
                amounts(0, 0),
                Some("Infeasible: Node didn't have enough capacity: cpu, requested: 2001, capacity: 2000"),
            ),
            (
                amounts(2001, 101),
                amounts(0, 0),
                Some("Infeasible: Node didn't have enough capacity: memory, requested: 101, capacity: 100"),
            ),
            (
                amounts(1500, 50),
                amounts(600, 0),
                Some(
                    "Deferred: Node didn't have enough resource: cpu, requested: 1500, used: 600, capacity: 2000",
                ),
            ),
            (
                amounts(1000, 60),
                amounts(600, 50),
                Some(
                    "Deferred: Node didn't have enough resource: memory, requested: 60, used: 50, capacity: 100",
                ),
            ),
        ];
        for (asked, others, expected) in cases {
            let shown = refusal(asked, others, node).map(|p| format!("{}: {}", p.reason, p.message));
            assert_eq!(shown.as_deref(), expected);
        }
    }

    #[test]
    fn the_policy_of_what_changes_decides_about_a_restart() {
        let policy = |name: &str, policy: &str| ContainerResizePolicy {
            resource_name: name.into(),
            restart_policy: policy.into(),
        };
        let resources = |cpu: &str, memory: &str| -> ResourceRequirements {
            serde_json::from_value(json!({"limits": {"cpu": cpu, "memory": memory}})).unwrap()
        };
        let container = |resources| Container {
            resize_policy: Some(vec![
                policy("cpu", "NotRequired"),
                policy("memory", "RestartContainer"),
            ]),
            resources: Some(resources),
            ..Container::default()
        };
        let mut spec = PodSpec::default();
        let mut running = runtime::Container::for_test("c");
        running.resources = Some(resources("1", "1Gi"));
        for (granted, expected) in [
            (resources("1000m", "1Gi"), None),
            (resources("2", "1Gi"), Some(Way::Update)),
            (resources("2", "2Gi"), Some(Way::Restart)),
        ] {
            assert_eq!(way(&spec, &container(granted), &running), expected);
        }
        spec.resources = Some(resources("4", "4Gi"));
        let without = Container {
            resources: None,
            ..container(resources("1", "1Gi"))
        };
        assert_eq!(
            way(&spec, &without, &running),
            Some(Way::Restart),
            "its pod's limits grew"
        );
        running.resources = Some(resources("4", "4Gi"));
        assert_eq!(way(&spec, &without, &running), None);
        running.resources = None;
        assert_eq!(
            way(&spec, &container(resources("2", "2Gi")), &running),
            None,
            "nothing is known of an older container"
        );
    }
}

//! Resources of a pod as a whole (KEP-2837, KEP-5419), and what its containers have of them. Pure.
//!
//! A container that sets no limit of its own is bounded by its pod's, in its own cgroup and in the downward API.

use std::collections::BTreeMap;

use coracle_api::amounts::{self, Amounts, Init};
use coracle_api::quantity::Quantity as Amount;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::resources::milli;

type Quantities = BTreeMap<String, Quantity>;
/// Requests or limits.
type Side = fn(&ResourceRequirements) -> Option<&Quantities>;

const REQUESTS: Side = |resources| resources.requests.as_ref();
const LIMITS: Side = |resources| resources.limits.as_ref();

fn not_zero(quantity: &&Quantity) -> bool {
    milli(quantity) != 0
}

/// The limit that the pod sets for all of it, if any.
pub(crate) fn limit<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Quantity> {
    let limits = spec.resources.as_ref()?.limits.as_ref()?;
    limits.get(name).filter(not_zero)
}

/// What a container runs with: its own resources, and its pod's limits of cpu and memory where it sets none.
pub(crate) fn effective(spec: &PodSpec, container: &Container) -> ResourceRequirements {
    let mut resources = container.resources.clone().unwrap_or_default();
    for name in ["cpu", "memory"] {
        let own = resources.limits.as_ref().and_then(|limits| limits.get(name));
        if own.filter(not_zero).is_none()
            && let Some(limit) = limit(spec, name)
        {
            let limits = resources.limits.get_or_insert_default();
            limits.insert(name.to_owned(), limit.clone());
        }
    }
    resources
}

/// Bytes of memory that each container is taken to ask for beyond its own request: an equal share of what the pod asks for and
/// its containers do not.
pub(crate) fn memory_share(spec: &PodSpec) -> i64 {
    let asked = spec.resources.as_ref().and_then(REQUESTS);
    let Some(asked) = asked.and_then(|requests| requests.get("memory")) else {
        return 0;
    };
    let (of_pod, of_containers) = (parse(asked), aggregate(spec, REQUESTS).remove("memory"));
    let left = of_pod.value() - of_containers.map_or(0, |sum| sum.value());
    let containers = spec.containers.len() + spec.init_containers.as_ref().map_or(0, Vec::len);
    left / i64::try_from(containers.max(1)).unwrap_or(i64::MAX)
}

/// Requests and limits of a pod in all: those it sets as a whole, else what its containers set together, and its overhead.
pub(crate) fn whole(spec: &PodSpec) -> ResourceRequirements {
    ResourceRequirements {
        requests: total(spec, REQUESTS, true),
        limits: total(spec, LIMITS, false),
        claims: None,
    }
}

/// `overhead_alone`: the overhead counts also where nothing else is set, as it does for requests.
fn total(spec: &PodSpec, side: Side, overhead_alone: bool) -> Option<Quantities> {
    let mut all = aggregate(spec, side);
    let own = spec.resources.as_ref().and_then(side).into_iter().flatten();
    all.extend(parsed(own.filter(|(name, _)| amounts::is_of_pods(name))));
    let mut overhead = parsed(spec.overhead.iter().flatten());
    overhead.retain(|name, _| overhead_alone || all.get(name).is_some_and(|set| !set.is_zero()));
    amounts::add(&mut all, &overhead);
    let text = |(name, amount): (String, Amount)| (name, Quantity(amount.to_string()));
    (!all.is_empty()).then(|| all.into_iter().map(text).collect())
}

/// A quantity without the pod's overhead, which is in what is told of the pod.
pub(crate) fn without_overhead(spec: &PodSpec, name: &str, quantity: &Quantity) -> Quantity {
    match spec.overhead.as_ref().and_then(|overhead| overhead.get(name)) {
        Some(overhead) => Quantity(parse(quantity).minus(&parse(overhead)).to_string()),
        None => quantity.clone(),
    }
}

/// What containers set together.
fn aggregate(spec: &PodSpec, side: Side) -> Amounts {
    let set = |container: &Container| {
        let quantities = container.resources.as_ref().and_then(side);
        parsed(quantities.into_iter().flatten())
    };
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| {
        let policy = container.restart_policy.as_deref();
        (Init::of(policy.unwrap_or_default()), set(container))
    });
    amounts::together(spec.containers.iter().map(&set), init)
}

fn parsed<'a>(quantities: impl Iterator<Item = (&'a String, &'a Quantity)>) -> Amounts {
    let amounts = quantities.map(|(name, quantity)| (name.clone(), parse(quantity)));
    amounts.collect()
}

/// What does not parse counts as none, for the API validated it.
fn parse(quantity: &Quantity) -> Amount {
    quantity.0.parse().unwrap_or(Amount::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(spec: Value) -> PodSpec {
        serde_json::from_value(spec).unwrap()
    }

    fn shown(resources: &ResourceRequirements) -> Value {
        serde_json::to_value(resources).unwrap()
    }

    #[test]
    fn a_container_without_limits_takes_its_pods() {
        let limits = json!({"cpu": "1", "memory": "1Gi"});
        for (pod, own, expected) in [
            (json!({"limits": limits}), json!({}), json!({"limits": limits})),
            (
                json!({"limits": limits}),
                json!({"limits": {"cpu": "100m", "memory": "0"}, "requests": {"cpu": "50m"}}),
                json!({"limits": {"cpu": "100m", "memory": "1Gi"}, "requests": {"cpu": "50m"}}),
            ),
            (
                json!({"requests": limits}),
                json!({"requests": {"cpu": "50m"}}),
                json!({"requests": {"cpu": "50m"}}),
            ),
            (
                json!({"limits": {"cpu": "0", "hugepages-2Mi": "4Mi"}}),
                json!({}),
                json!({}),
            ),
        ] {
            let spec = spec(json!({"resources": pod, "containers": [{"name": "c", "resources": own}]}));
            assert_eq!(
                shown(&effective(&spec, &spec.containers[0])),
                expected,
                "{pod} {own}"
            );
        }
    }

    #[test]
    fn the_whole_is_what_the_pod_sets_else_what_its_containers_do() {
        let of = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
        let containers = json!([
            {"name": "a", "resources": of(json!({"cpu": "500m", "memory": "64Mi"}), json!({"cpu": "1"}))},
            {"name": "b", "resources": of(json!({"cpu": "0.75", "example.com/dongle": "2"}), json!({"memory": "1Gi"}))},
        ]);
        let init = json!([
            {"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}},
            {"name": "i", "resources": {"requests": {"cpu": "1", "memory": "128Mi"}}},
        ]);
        let alone = spec(json!({"containers": containers}));
        assert_eq!(
            shown(&whole(&alone)),
            json!({"requests": {"cpu": "1250m", "memory": "64Mi", "example.com/dongle": "2"},
                "limits": {"cpu": "1", "memory": "1Gi"}})
        );
        let mut all = spec(json!({"containers": containers, "initContainers": init}));
        let requests = whole(&all).requests.unwrap();
        assert_eq!(
            (requests["cpu"].0.as_str(), requests["memory"].0.as_str()),
            ("1500m", "128Mi")
        );
        all.resources =
            serde_json::from_value(json!({"limits": {"cpu": "4"}, "requests": {"cpu": "2"}})).unwrap();
        all.overhead = serde_json::from_value(json!({"cpu": "10m", "pods": "1"})).unwrap();
        assert_eq!(
            shown(&whole(&all)),
            json!({"requests": {"cpu": "2010m", "memory": "128Mi", "example.com/dongle": "2", "pods": "1"},
                "limits": {"cpu": "4010m", "memory": "1Gi"}})
        );
        let cpu = Quantity("2010m".into());
        assert_eq!(without_overhead(&all, "cpu", &cpu).0, "2");
        assert_eq!(without_overhead(&all, "memory", &cpu), cpu);
        assert_eq!(
            shown(&whole(&spec(json!({"containers": [{"name": "c"}]})))),
            json!({})
        );
    }

    #[test]
    fn memory_that_only_the_pod_asks_for_is_shared() {
        let mut spec = spec(
            json!({"resources": {"requests": {"memory": "100Mi"}}, "containers": [
                {"name": "a", "resources": {"requests": {"memory": "20Mi"}}}, {"name": "b"},
            ]}),
        );
        assert_eq!(memory_share(&spec), 40 << 20);
        spec.resources = None;
        assert_eq!(memory_share(&spec), 0);
    }
}

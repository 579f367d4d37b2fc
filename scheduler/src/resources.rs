//! What a pod asks for and a node has: numbers, from quantities. Pure.

use coracle_api::amounts::{Init, Sum, together};
use coracle_api::quantity::Quantity;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Written;
use std::collections::BTreeMap;

/// What a container counts as for scores when it asks for nothing: 100 milli-CPUs and 200 MB (upstream's values).
const UNASKED_CPU: i64 = 100;
const UNASKED_MEMORY: i64 = 200 * 1024 * 1024;

/// An amount of each resource: CPU in thousandths, everything else in its unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a CPU.
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Whatever else nodes offer, by name.
    pub others: BTreeMap<String, i64>,
}

impl Amounts {
    /// Reads a list of quantities; one that cannot be read counts as zero (validation lets none such through).
    #[must_use]
    pub fn read(list: Option<&BTreeMap<String, Written>>) -> Self {
        let mut amounts = Self::default();
        for (name, quantity) in list.into_iter().flatten() {
            let Ok(quantity) = quantity.0.parse::<Quantity>() else {
                continue;
            };
            match name.as_str() {
                "cpu" => amounts.milli_cpu = quantity.milli_value(),
                "memory" => amounts.memory = quantity.value(),
                "ephemeral-storage" => amounts.ephemeral_storage = quantity.value(),
                "pods" => {}
                other => {
                    amounts.others.insert(other.to_owned(), quantity.value());
                }
            }
        }
        amounts
    }

    /// Adds another amount of each.
    pub fn add(&mut self, other: &Self) {
        self.combine(other, i64::saturating_add);
    }

    /// Takes away an amount of each.
    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, i64::saturating_sub);
    }

    fn combine(&mut self, other: &Self, with: impl Fn(i64, i64) -> i64) {
        self.milli_cpu = with(self.milli_cpu, other.milli_cpu);
        self.memory = with(self.memory, other.memory);
        self.ephemeral_storage = with(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.others {
            let own = self.others.entry(name.clone()).or_insert(0);
            *own = with(*own, *amount);
        }
    }
}

impl Sum for Amounts {
    fn add(&mut self, more: &Self) {
        Self::add(self, more);
    }

    fn raise(&mut self, least: &Self) {
        self.combine(least, i64::max);
    }
}

/// What a pod asks for in all: its containers and sidecars together, or the most any of its init containers needs besides
/// the sidecars started before it, whichever is more; pod-level requests instead where given; overhead on top (KEP-753,
/// KEP-2837).
#[must_use]
pub fn requested(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else {
        return Amounts::default();
    };
    total(spec, requests_of, &pod_level(spec))
}

/// The same for scores, where a container that asks for nothing counts as asking for a little CPU and memory.
#[must_use]
pub fn requested_for_score(pod: &Pod) -> Amounts {
    let Some(spec) = &pod.spec else {
        return Amounts::default();
    };
    let with_default = |container: &Container| {
        let mut amounts = requests_of(container);
        let asked = container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref());
        if asked.is_none_or(|asked| !asked.contains_key("cpu")) {
            amounts.milli_cpu = UNASKED_CPU;
        }
        if asked.is_none_or(|asked| !asked.contains_key("memory")) {
            amounts.memory = UNASKED_MEMORY;
        }
        amounts
    };
    total(spec, with_default, &pod_level(spec))
}

fn requests_of(container: &Container) -> Amounts {
    Amounts::read(
        container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.as_ref()),
    )
}

fn pod_level(spec: &PodSpec) -> BTreeMap<String, Written> {
    let requests = |resources: &ResourceRequirements| resources.requests.clone();
    spec.resources.as_ref().and_then(requests).unwrap_or_default()
}

fn total(
    spec: &PodSpec,
    of: impl Fn(&Container) -> Amounts,
    pod_level: &BTreeMap<String, Written>,
) -> Amounts {
    let init = spec.init_containers.iter().flatten();
    let init = init.map(|container| {
        let policy = container.restart_policy.as_deref();
        (Init::of(policy.unwrap_or_default()), of(container))
    });
    let mut running = together(spec.containers.iter().map(&of), init);
    let stated = Amounts::read(Some(pod_level));
    for name in pod_level.keys() {
        match name.as_str() {
            "cpu" => running.milli_cpu = stated.milli_cpu,
            "memory" => running.memory = stated.memory,
            other => {
                let amount = stated.others.get(other).copied().unwrap_or(0);
                running.others.insert(other.to_owned(), amount);
            }
        }
    }
    running.add(&Amounts::read(spec.overhead.as_ref()));
    running.others.retain(|_, amount| *amount != 0);
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(cpu: &str, sidecar: bool) -> Container {
        let requests = [("cpu".to_owned(), Written(cpu.to_owned()))].into();
        let resources = ResourceRequirements {
            requests: Some(requests),
            ..ResourceRequirements::default()
        };
        Container {
            resources: Some(resources),
            restart_policy: sidecar.then(|| "Always".to_owned()),
            ..Container::default()
        }
    }

    fn asked(init: Vec<Container>, main: Vec<Container>, overhead: Option<&str>) -> i64 {
        let overhead = overhead.map(|cpu| [("cpu".to_owned(), Written(cpu.to_owned()))].into());
        let spec = PodSpec {
            init_containers: Some(init),
            containers: main,
            overhead,
            ..PodSpec::default()
        };
        requested(&Pod {
            spec: Some(spec),
            ..Pod::default()
        })
        .milli_cpu
    }

    #[test]
    fn the_greater_of_starting_and_running_counts() {
        let plain = |cpu| container(cpu, false);
        let sidecar = |cpu| container(cpu, true);
        let cases = [
            (vec![], vec![plain("100m"), plain("1")], None, 1100),
            (vec![plain("2")], vec![plain("1")], None, 2000),
            (vec![sidecar("1")], vec![plain("1")], None, 2000),
            (vec![sidecar("1"), plain("3")], vec![plain("1")], None, 4000),
            (vec![plain("3"), sidecar("1")], vec![plain("1")], None, 3000),
            (vec![], vec![plain("1")], Some("250m"), 1250),
        ];
        for (init, main, overhead, expected) in cases {
            assert_eq!(
                asked(init.clone(), main.clone(), overhead),
                expected,
                "{init:?} {main:?}"
            );
        }
    }

    #[test]
    fn pod_level_requests_stand_for_the_containers() {
        let requests = [("cpu".to_owned(), Written("3".to_owned()))].into();
        let spec = PodSpec {
            containers: vec![container("1", false)],
            resources: Some(ResourceRequirements {
                requests: Some(requests),
                ..ResourceRequirements::default()
            }),
            ..PodSpec::default()
        };
        assert_eq!(
            requested(&Pod {
                spec: Some(spec),
                ..Pod::default()
            })
            .milli_cpu,
            3000
        );
    }
}

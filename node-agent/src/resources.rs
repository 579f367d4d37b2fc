//! From a pod's resources to cgroup limits, quality of service and OOM scores. Pure.

use std::collections::BTreeMap;

use k8s_cri::v1::LinuxContainerResources;
use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::pod_level;

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
const QUOTA_PERIOD_MICROS: i64 = 100_000;
const MIN_QUOTA_MICROS: i64 = 1000;

/// The resources that decide about quality of service.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

type Quantities = BTreeMap<String, Quantity>;

/// `status.qosClass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            QosClass::Guaranteed => "Guaranteed",
            QosClass::Burstable => "Burstable",
            QosClass::BestEffort => "BestEffort",
        }
    }
}

/// Thousandths of a quantity, rounded up; what does not parse counts as none, for the API validated it.
pub(crate) fn milli(quantity: &Quantity) -> i64 {
    quantity
        .0
        .parse::<coracle_api::quantity::Quantity>()
        .map_or(0, |q| q.milli_value())
}

/// Whole units of a quantity, rounded up.
pub(crate) fn units(quantity: &Quantity) -> i64 {
    quantity
        .0
        .parse::<coracle_api::quantity::Quantity>()
        .map_or(0, |q| q.value())
}

fn amount<'a>(amounts: Option<&'a Quantities>, name: &str) -> Option<&'a Quantity> {
    amounts?.get(name).filter(|q| milli(q) != 0)
}

/// A request, or the limit where only that is given.
pub(crate) fn request<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    let resources = container.resources.as_ref()?;
    amount(resources.requests.as_ref(), name).or_else(|| amount(resources.limits.as_ref(), name))
}

/// A limit, if one is set.
pub(crate) fn limit<'a>(container: &'a Container, name: &str) -> Option<&'a Quantity> {
    amount(container.resources.as_ref()?.limits.as_ref(), name)
}

/// The pod's class: Guaranteed if every container's cpu and memory limits equal its requests, BestEffort if nobody
/// asks for anything, else Burstable. Resources of the pod itself (KEP-2837) decide alone.
pub(crate) fn qos_class(spec: &PodSpec) -> QosClass {
    let own = spec
        .resources
        .iter()
        .filter(|r| r.requests.is_some() || r.limits.is_some());
    let own: Vec<_> = own.map(Some).collect();
    if !own.is_empty() {
        return class_of(&own);
    }
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    class_of(&containers.map(|c| c.resources.as_ref()).collect::<Vec<_>>())
}

fn class_of(all: &[Option<&ResourceRequirements>]) -> QosClass {
    let limit = |r: &ResourceRequirements, name: &str| amount(r.limits.as_ref(), name).map(milli);
    let request = |r: &ResourceRequirements, name: &str| {
        amount(r.requests.as_ref(), name)
            .map(milli)
            .or_else(|| limit(r, name))
    };
    let asks = |r: &ResourceRequirements| COMPUTE.iter().any(|name| request(r, name).is_some());
    let guaranteed = |r: &ResourceRequirements| {
        COMPUTE
            .iter()
            .all(|name| limit(r, name).is_some_and(|limit| request(r, name) == Some(limit)))
    };
    if !all.iter().flatten().any(|r| asks(r)) {
        QosClass::BestEffort
    } else if all.iter().all(|r| r.is_some_and(guaranteed)) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// Relative cpu weight in cgroup v1 terms.
pub(crate) fn cpu_shares(milli_cpu: i64) -> i64 {
    (milli_cpu.saturating_mul(SHARES_PER_CPU) / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// The same weight in cgroup v2 terms (KEP-2254's conversion).
pub(crate) fn cpu_weight(shares: i64) -> i64 {
    1 + ((shares.clamp(MIN_SHARES, MAX_SHARES) - 2) * 9999) / 262_142
}

/// Quota in microseconds per period; none without a limit.
pub(crate) fn cpu_quota(milli_cpu: i64) -> Option<(i64, i64)> {
    if milli_cpu == 0 {
        return None;
    }
    let quota = (milli_cpu.saturating_mul(QUOTA_PERIOD_MICROS) / 1000).max(MIN_QUOTA_MICROS);
    Some((quota, QUOTA_PERIOD_MICROS))
}

/// How likely the kernel ends this container when memory runs out: guaranteed −997, best effort 1000, between them the
/// less the more memory was asked for. What only the pod asks for is shared by its containers, and a sidecar goes no sooner than
/// those it serves.
pub(crate) fn oom_score_adj(spec: &PodSpec, container: &Container, node_memory: i64) -> i64 {
    const CRITICAL_PRIORITY: i32 = 2_000_000_000;
    if spec.priority.is_some_and(|p| p >= CRITICAL_PRIORITY) {
        return -997;
    }
    match qos_class(spec) {
        QosClass::Guaranteed => -997,
        QosClass::BestEffort => 1000,
        QosClass::Burstable => {
            let asked = |c: &Container| request(c, "memory").map_or(0, units);
            let mut memory = asked(container);
            if is_sidecar(spec, container) {
                memory = memory.max(spec.containers.iter().map(asked).min().unwrap_or(0));
            }
            let memory = memory.saturating_add(pod_level::memory_share(spec));
            let score = 1000 - memory.saturating_mul(1000) / node_memory.max(1);
            score.clamp(3, 999)
        }
    }
}

fn is_sidecar(spec: &PodSpec, container: &Container) -> bool {
    let mut init = spec.init_containers.iter().flatten();
    container.restart_policy.as_deref() == Some("Always") && init.any(|c| c.name == container.name)
}

/// Limits of one container, its pod's where it has none of its own. `min_oom_score_adj` is the lowest that this process may set.
pub(crate) fn container_limits(
    spec: &PodSpec,
    container: &Container,
    node_memory: i64,
    min_oom_score_adj: i64,
) -> LinuxContainerResources {
    let has = pod_level::effective(spec, container);
    let limit = |name: &str| amount(has.limits.as_ref(), name);
    let request = has.requests.as_ref().and_then(|requests| requests.get("cpu"));
    let (cpu_quota, cpu_period) = limit("cpu")
        .and_then(|q| cpu_quota(milli(q)))
        .unwrap_or((0, QUOTA_PERIOD_MICROS));
    LinuxContainerResources {
        cpu_shares: cpu_shares(request.or(limit("cpu")).map_or(0, milli)),
        cpu_quota,
        cpu_period,
        memory_limit_in_bytes: limit("memory").map_or(0, units),
        oom_score_adj: oom_score_adj(spec, container, node_memory).max(min_oom_score_adj),
        ..LinuxContainerResources::default()
    }
}

/// What a pod asks for in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) milli_cpu: i64,
    /// Bytes.
    pub(crate) memory: i64,
}

/// The sum of a pod's requests, counted as the scheduler counts them.
pub(crate) fn pod_requests(spec: &PodSpec) -> Amounts {
    Amounts {
        milli_cpu: total(spec, "cpu", milli),
        memory: total(spec, "memory", units),
    }
}

fn total(spec: &PodSpec, name: &str, value: fn(&Quantity) -> i64) -> i64 {
    let own = spec.resources.as_ref();
    let own = own.and_then(|r| amount(r.requests.as_ref(), name).or(amount(r.limits.as_ref(), name)));
    let asked = own.map_or_else(|| sum(spec, |c| request(c, name).map_or(0, value)), value);
    asked + overhead(spec, name).map_or(0, value)
}

/// What a pod asks for of one resource, counted the same way: thousandths of cpu, whole units of anything else.
pub(crate) fn requested(spec: &PodSpec, name: &str) -> i64 {
    let value: fn(&Quantity) -> i64 = if name == "cpu" { milli } else { units };
    total(spec, name, value)
}

/// The resources that a pod's containers, or the pod itself, ask for; some more than once.
pub(crate) fn named_requests(spec: &PodSpec) -> impl Iterator<Item = &str> {
    let containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let resources = containers
        .filter_map(|c| c.resources.as_ref())
        .chain(&spec.resources);
    let requests = resources
        .filter_map(|r| r.requests.as_ref())
        .chain(&spec.overhead);
    requests.flat_map(|requests| requests.keys().map(String::as_str))
}

/// What the pod's runtime needs beside its containers (`spec.overhead`).
fn overhead<'a>(spec: &'a PodSpec, name: &str) -> Option<&'a Quantity> {
    amount(spec.overhead.as_ref(), name)
}

/// The limit of the whole pod: its own (KEP-2837), or the sum of its containers' where each of them has one.
fn pod_limit(spec: &PodSpec, name: &str, amount: fn(&Quantity) -> i64) -> Option<i64> {
    let own = spec.resources.as_ref();
    let own = own
        .and_then(|r| self::amount(r.limits.as_ref(), name))
        .map(amount);
    let mut containers = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    let summed = || {
        let all = containers.all(|c| limit(c, name).is_some());
        all.then(|| sum(spec, |c| limit(c, name).map_or(0, amount)))
    };
    let limit = own.or_else(summed)?;
    Some(limit + overhead(spec, name).map_or(0, amount))
}

/// A sum over containers, init containers counted as upstream counts them: each against the sum of the others, sidecars on top.
fn sum(spec: &PodSpec, value: impl Fn(&Container) -> i64) -> i64 {
    let mut sidecars = 0;
    let mut init_peak = 0;
    for init in spec.init_containers.iter().flatten() {
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars += value(init);
            init_peak = init_peak.max(sidecars);
        } else {
            init_peak = init_peak.max(sidecars + value(init));
        }
    }
    init_peak.max(sidecars + spec.containers.iter().map(value).sum::<i64>())
}

/// Limits of a whole pod's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PodLimits {
    pub(crate) cpu_shares: i64,
    /// Quota and period in microseconds; only where every container has a limit.
    pub(crate) cpu_quota: Option<(i64, i64)>,
    /// Bytes; only where every container has a limit.
    pub(crate) memory: Option<i64>,
}

/// The pod's own cgroup bounds the sum of its containers.
pub(crate) fn pod_limits(spec: &PodSpec) -> PodLimits {
    PodLimits {
        cpu_shares: cpu_shares(pod_requests(spec).milli_cpu),
        cpu_quota: pod_limit(spec, "cpu", milli).and_then(cpu_quota),
        memory: pod_limit(spec, "memory", units),
    }
}

/// Bytes of memory of an emptyDir with `medium: Memory` where no size is given: the pod's limit, or the node's all.
pub(crate) fn memory_volume_bytes(spec: &PodSpec, size_limit: Option<&Quantity>, node_memory: i64) -> i64 {
    let bound = pod_limits(spec).memory.unwrap_or(node_memory);
    size_limit
        .map(units)
        .filter(|v| *v > 0)
        .map_or(bound, |size| size.min(bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(pairs: &[(&str, &str)]) -> Option<Quantities> {
        Some(
            pairs
                .iter()
                .map(|(k, v)| ((*k).into(), Quantity((*v).into())))
                .collect(),
        )
    }

    fn container(requests: &[(&str, &str)], limits: &[(&str, &str)]) -> Container {
        Container {
            name: "c".into(),
            resources: Some(ResourceRequirements {
                requests: amounts(requests),
                limits: amounts(limits),
                claims: None,
            }),
            ..Container::default()
        }
    }

    fn pod(containers: Vec<Container>) -> PodSpec {
        PodSpec {
            containers,
            ..PodSpec::default()
        }
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        let both = [("cpu", "500m"), ("memory", "64Mi")];
        let cases = [
            (vec![container(&[], &[])], QosClass::BestEffort),
            (vec![container(&both, &both)], QosClass::Guaranteed),
            (vec![container(&[], &both)], QosClass::Guaranteed),
            (
                vec![container(&[("cpu", "0.5"), ("memory", "64Mi")], &both)],
                QosClass::Guaranteed,
            ),
            (vec![container(&both, &[])], QosClass::Burstable),
            (
                vec![container(&both, &both), container(&[], &[])],
                QosClass::Burstable,
            ),
            (vec![container(&[("cpu", "0")], &[])], QosClass::BestEffort),
        ];
        for (containers, want) in cases {
            let spec = pod(containers);
            assert_eq!(qos_class(&spec), want, "{spec:?}");
        }
    }

    #[test]
    fn cpu_turns_into_shares_weight_and_quota() {
        for (milli, shares, weight, quota) in [
            (0, 2, 1, None),
            (1, 2, 1, Some(1000)),
            (250, 256, 10, Some(25_000)),
            (1000, 1024, 39, Some(100_000)),
        ] {
            assert_eq!(cpu_shares(milli), shares);
            assert_eq!(cpu_weight(shares), weight);
            assert_eq!(cpu_quota(milli).map(|q| q.0), quota);
        }
        assert_eq!(cpu_weight(MAX_SHARES), 10_000);
    }

    #[test]
    fn oom_scores_are_clamped_to_what_may_be_set() {
        let both = [("cpu", "1"), ("memory", "1Gi")];
        let spec = pod(vec![container(&both, &both)]);
        let node = 4 << 30;
        assert_eq!(oom_score_adj(&spec, &spec.containers[0], node), -997);
        assert_eq!(
            container_limits(&spec, &spec.containers[0], node, 0).oom_score_adj,
            0
        );
        let spec = pod(vec![container(&[("memory", "1Gi")], &[])]);
        assert_eq!(oom_score_adj(&spec, &spec.containers[0], node), 750);
        let spec = pod(vec![container(&[], &[])]);
        assert_eq!(oom_score_adj(&spec, &spec.containers[0], node), 1000);
    }

    #[test]
    fn a_container_is_bounded_by_its_pod_where_it_sets_no_limits() {
        let mut spec = pod(vec![
            container(&[], &[]),
            container(&[("cpu", "100m")], &[("cpu", "200m")]),
        ]);
        spec.resources = container(
            &[("cpu", "1"), ("memory", "1Gi")],
            &[("cpu", "2"), ("memory", "2Gi")],
        )
        .resources;
        let bounds = |at: usize| {
            let limits = container_limits(&spec, &spec.containers[at], 4 << 30, -1000);
            let cpu = (limits.cpu_shares, limits.cpu_quota);
            (cpu, limits.memory_limit_in_bytes, limits.oom_score_adj)
        };
        // Half a GiB each of what the pod asks for, of four.
        assert_eq!(bounds(0), ((2048, 200_000), 2 << 30, 875));
        assert_eq!(bounds(1), ((102, 20_000), 2 << 30, 875));
    }

    #[test]
    fn a_sidecar_goes_no_sooner_than_those_it_serves() {
        let mut spec = pod(vec![container(&[("memory", "1Gi")], &[])]);
        let sidecar = Container {
            name: "s".into(),
            restart_policy: Some("Always".into()),
            ..container(&[("memory", "1Mi")], &[])
        };
        spec.init_containers = Some(vec![sidecar.clone()]);
        assert_eq!(oom_score_adj(&spec, &sidecar, 4 << 30), 750);
    }

    #[test]
    fn a_pod_is_bounded_only_where_every_container_is() {
        let some = [("cpu", "100m"), ("memory", "10Mi")];
        let bounded = pod_limits(&pod(vec![container(&[], &some), container(&[], &some)]));
        assert_eq!(
            bounded,
            PodLimits {
                cpu_shares: 204,
                cpu_quota: Some((20_000, 100_000)),
                memory: Some(20 << 20)
            }
        );
        let half = pod_limits(&pod(vec![container(&[], &some), container(&[], &[])]));
        assert_eq!(
            half,
            PodLimits {
                cpu_shares: 102,
                cpu_quota: None,
                memory: None
            }
        );
    }

    #[test]
    fn the_pods_own_resources_decide_and_overhead_comes_on_top() {
        let some = [("cpu", "100m"), ("memory", "10Mi")];
        let mut spec = pod(vec![container(&[], &some), container(&[], &[])]);
        spec.overhead = amounts(&[("cpu", "50m"), ("memory", "1Mi")]);
        assert_eq!(pod_requests(&spec).milli_cpu, 150);
        assert_eq!(pod_limits(&spec).memory, None, "not every container is bounded");
        spec.resources = container(
            &[("cpu", "1"), ("memory", "1Gi")],
            &[("cpu", "1"), ("memory", "1Gi")],
        )
        .resources;
        assert_eq!(qos_class(&spec), QosClass::Guaranteed);
        assert_eq!(pod_requests(&spec).milli_cpu, 1050);
        assert_eq!(pod_limits(&spec).memory, Some((1 << 30) + (1 << 20)));
        assert_eq!(pod_limits(&spec).cpu_quota, Some((105_000, 100_000)));
    }

    #[test]
    fn init_containers_count_by_their_peak_and_sidecars_on_top() {
        let with = |cpu| container(&[("cpu", cpu)], &[]);
        let mut spec = pod(vec![with("100m")]);
        let sidecar = Container {
            restart_policy: Some("Always".into()),
            ..with("50m")
        };
        spec.init_containers = Some(vec![sidecar, with("300m")]);
        assert_eq!(pod_limits(&spec).cpu_shares, cpu_shares(350));
    }
}

//! Which nodes a pod can run on, and what keeps it off the others. Pure.
//!
//! The filters run in upstream's order and the first that fails names the reasons, so that counts per reason are the same.

use crate::placed::{Placed, priority};
use crate::resources::{Amounts, requested};
use crate::snapshot::{HostPort, Snapshot, host_ports};
use crate::volumes::Needs;
use crate::{affinity, features, taints};
use k8s_openapi::api::core::v1::{Pod, PodSpec, Taint};
use std::borrow::Cow;
use std::fmt;

/// What keeps a pod off a node, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The node is cordoned and the pod does not tolerate that.
    Unschedulable,
    /// The pod names another node.
    NodeName,
    /// A taint is not tolerated.
    Taint,
    /// Node selector or required node affinity do not match.
    Affinity,
    /// A port of the node is taken.
    Ports,
    /// The node has as many pods as it takes.
    TooManyPods,
    /// There is not enough left of this resource.
    Insufficient(String),
    /// Its agent does not know what the pod makes use of.
    Features,
    /// A claim is bound to a volume that cannot be used here.
    VolumesElsewhere,
    /// There is no volume here for a claim that is bound once a pod uses it.
    NoVolumes,
    /// A claim is bound to a volume that is not there.
    VolumesGone,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unschedulable => f.write_str("node(s) were unschedulable"),
            Self::NodeName => f.write_str("node(s) didn't match the requested node name"),
            Self::Taint => f.write_str("node(s) had untolerated taint(s)"),
            Self::Affinity => f.write_str("node(s) didn't match Pod's node affinity/selector"),
            Self::Ports => f.write_str("node(s) didn't have free ports for the requested pod ports"),
            Self::TooManyPods => f.write_str("Too many pods"),
            Self::Insufficient(resource) => write!(f, "Insufficient {resource}"),
            Self::Features => f.write_str("node(s) didn't match Pod's required features"),
            Self::VolumesElsewhere => f.write_str("node(s) didn't match PersistentVolume's node affinity"),
            Self::NoVolumes => f.write_str("node(s) didn't find available persistent volumes to bind"),
            Self::VolumesGone => {
                f.write_str("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)")
            }
        }
    }
}

/// Why one node was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// At least one.
    pub reasons: Vec<Reason>,
    /// Whether the pods on the node are what is in the way: without them the pod might fit.
    pub resolvable: bool,
}

impl Refusal {
    fn for_good(reason: Reason) -> Self {
        Self {
            reasons: vec![reason],
            resolvable: false,
        }
    }
}

/// What filters ask about the pod, read once.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) uid: &'a str,
    pub(crate) spec: &'a PodSpec,
    pub(crate) priority: i32,
    pub(crate) amounts: Amounts,
    pub(crate) ports: Vec<HostPort>,
    /// What its claims ask of the node.
    pub(crate) needs: Needs,
    /// What the node's agent has to know.
    features: Vec<&'static str>,
}

impl<'a> Asked<'a> {
    /// Reads a pod; one without a spec asks for nothing.
    pub(crate) fn of(pod: &'a Pod) -> Self {
        static NOTHING: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        let spec = pod.spec.as_ref().unwrap_or(&NOTHING);
        Self {
            uid: pod.metadata.uid.as_deref().unwrap_or_default(),
            spec,
            priority: priority(pod),
            amounts: requested(pod),
            ports: host_ports(pod),
            needs: Needs::default(),
            features: features::required(spec),
        }
    }
}

/// What already counts on a node where a pod is tried.
#[derive(Clone, Debug)]
pub(crate) struct Load<'a> {
    requested: Cow<'a, Amounts>,
    pods: i64,
    ports: Cow<'a, [HostPort]>,
}

impl Load<'_> {
    /// Counts a pod.
    pub(crate) fn add(&mut self, pod: &Placed) {
        self.requested.to_mut().add(&pod.requested);
        self.pods += 1;
        if !pod.ports.is_empty() {
            self.ports.to_mut().extend(pod.ports.iter().cloned());
        }
    }

    /// Counts a pod no more.
    pub(crate) fn remove(&mut self, pod: &Placed) {
        self.requested.to_mut().subtract(&pod.requested);
        self.pods -= 1;
        for port in &pod.ports {
            if let Some(at) = self.ports.iter().position(|taken| taken == port) {
                self.ports.to_mut().swap_remove(at);
            }
        }
    }
}

/// What counts against the pod on the node in this row: the pods there, and those for which the node is kept, unless they are
/// of lower priority. No filter asks for pods to be there, so nothing has to be tried without the latter as well.
pub(crate) fn load<'a>(nodes: &'a Snapshot, row: usize, asked: &Asked<'_>) -> Load<'a> {
    let mut load = Load {
        requested: Cow::Borrowed(&nodes.requested[row]),
        pods: nodes.pods[row],
        ports: Cow::Borrowed(&nodes.ports[row]),
    };
    let kept_for = nodes.nominations.on(&nodes.facts[row].name).iter();
    kept_for
        .filter(|pod| pod.priority >= asked.priority && pod.uid != asked.uid)
        .for_each(|pod| load.add(pod));
    load
}

/// Whether the node in this row can take the pod.
pub(crate) fn check(nodes: &Snapshot, row: usize, asked: &Asked<'_>) -> Result<(), Refusal> {
    admits(nodes, row, asked.spec)?;
    fits(nodes, row, &load(nodes, row, asked), asked)
}

/// Whether the node itself admits the pod, whatever runs there.
fn admits(nodes: &Snapshot, row: usize, spec: &PodSpec) -> Result<(), Refusal> {
    let facts = &nodes.facts[row];
    if facts.unschedulable && !taints::admit(spec, &[cordon()]) {
        return Err(Refusal::for_good(Reason::Unschedulable));
    }
    if spec
        .node_name
        .as_ref()
        .is_some_and(|name| !name.is_empty() && *name != facts.name)
    {
        return Err(Refusal::for_good(Reason::NodeName));
    }
    if !taints::admit(spec, &facts.taints) {
        return Err(Refusal::for_good(Reason::Taint));
    }
    if !affinity::admits(spec, &facts.name, &facts.labels) {
        return Err(Refusal::for_good(Reason::Affinity));
    }
    Ok(())
}

/// Whether the pod fits beside this load on the node in this row.
pub(crate) fn fits(nodes: &Snapshot, row: usize, load: &Load<'_>, asked: &Asked<'_>) -> Result<(), Refusal> {
    let is_taken = |port: &HostPort| load.ports.iter().any(|other| port.conflicts(other));
    if asked.ports.iter().any(is_taken) {
        return Err(Refusal {
            reasons: vec![Reason::Ports],
            resolvable: true,
        });
    }
    has_enough(nodes, row, load, &asked.amounts)?;
    if let Err(reasons) = nodes.volumes.choose(&asked.needs, &nodes.facts[row]) {
        return Err(Refusal {
            reasons,
            resolvable: false,
        });
    }
    let declared = &nodes.facts[row].declared;
    let knows = |feature: &&str| declared.iter().any(|known| known == feature);
    if !asked.features.iter().all(knows) {
        return Err(Refusal::for_good(Reason::Features));
    }
    Ok(())
}

/// The taint that stands for `spec.unschedulable`.
fn cordon() -> Taint {
    Taint {
        key: "node.kubernetes.io/unschedulable".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Taint::default()
    }
}

/// Whether enough is left of everything; names all that is short.
fn has_enough(nodes: &Snapshot, row: usize, load: &Load<'_>, asked: &Amounts) -> Result<(), Refusal> {
    let (has, used) = (&nodes.allocatable[row], load.requested.as_ref());
    let mut refusal = Refusal {
        reasons: Vec::new(),
        resolvable: true,
    };
    if load.pods + 1 > nodes.max_pods[row] {
        refusal.reasons.push(Reason::TooManyPods);
    }
    let mut need = |resource: &str, asked: i64, has: i64, used: i64| {
        if asked > 0 && asked > has - used {
            refusal.reasons.push(Reason::Insufficient(resource.to_owned()));
            refusal.resolvable &= asked <= has;
        }
    };
    need("cpu", asked.milli_cpu, has.milli_cpu, used.milli_cpu);
    need("memory", asked.memory, has.memory, used.memory);
    need(
        "ephemeral-storage",
        asked.ephemeral_storage,
        has.ephemeral_storage,
        used.ephemeral_storage,
    );
    for (name, amount) in &asked.others {
        let of = |amounts: &Amounts| amounts.others.get(name).copied().unwrap_or(0);
        need(name, *amount, of(has), of(used));
    }
    if refusal.reasons.is_empty() {
        Ok(())
    } else {
        Err(refusal)
    }
}

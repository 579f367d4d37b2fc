//! Which pods of a DaemonSet to make on which nodes, which to delete, and its status. Pure.

use super::nodes::{self, Place};
use crate::observed::Pod;
use crate::runtime::Note;
use crate::workloads::amounts::{Rounding, resolve};
use crate::workloads::claims::{Claims, claims};
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, RollingUpdateDaemonSet};
use k8s_openapi::api::core::v1::{self, Node};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The hash of the template that a pod was made from.
pub(crate) const HASH: &str = "controller-revision-hash";
/// The template's number, where the set still bears one.
const GENERATION: &str = "pod-template-generation";
const SET_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Pods created or deleted in one go at most.
const BURST: usize = 250;

/// When failed pods of a node were replaced, and until when the next one stays: by the node's name.
pub(crate) type Pauses = BTreeMap<String, Timestamp>;

/// All that the plan is made from.
pub(crate) struct Observed<'a> {
    pub(crate) set: &'a DaemonSet,
    pub(crate) nodes: &'a [Arc<Node>],
    /// The pods it has.
    pub(crate) pods: &'a [Arc<Pod>],
    /// The hash of its template.
    pub(crate) hash: &'a str,
    /// Nodes on which a failed pod is left alone for now.
    pub(crate) pauses: &'a Pauses,
}

/// What is to be done.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// The nodes that get a pod.
    pub(crate) create: Vec<String>,
    pub(crate) delete: Vec<Arc<Pod>>,
    /// Nodes whose failed pod is being replaced.
    pub(crate) failed: Vec<String>,
    pub(crate) notes: Vec<Note>,
    pub(crate) look_again: Option<Timestamp>,
}

/// The pods a set has or may have.
pub(crate) fn own(set: &DaemonSet, candidates: &[Arc<Pod>]) -> Claims {
    let selector = set.spec.as_ref().map(|spec| spec.selector.clone());
    claims(&set.metadata, &selector.unwrap_or_default(), candidates)
}

/// Decides what is to be made and deleted: first that each node has what it should, and once it has, the update.
pub(crate) fn plan(observed: &Observed<'_>, now: Timestamp) -> Plan {
    let Some(spec) = &observed.set.spec else {
        return Plan::default();
    };
    let view = View::of(observed, spec, now);
    let mut plan = Plan::default();
    for node in observed.nodes {
        plan.tend(&view, node);
    }
    // Nobody will bind what is pinned to a node that is gone.
    let strays = view
        .on_nodes
        .iter()
        .filter(|(node, _)| !view.places.contains_key(*node));
    let unbound = |pod: &&Arc<Pod>| pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none());
    plan.delete.extend(
        strays
            .flat_map(|(_, pods)| pods)
            .filter(|pod| unbound(pod))
            .cloned(),
    );
    let on_delete = spec
        .update_strategy
        .as_ref()
        .and_then(|strategy| strategy.type_.as_deref())
        == Some("OnDelete");
    if plan.create.is_empty() && plan.delete.is_empty() && !on_delete {
        plan.roll(&view);
    }
    plan.create.truncate(BURST);
    plan.delete.truncate(BURST);
    plan.look_again = plan.look_again.into_iter().chain(view.next_available()).min();
    plan
}

/// A node's new pod and its old one.
type Pair<'v> = (Option<&'v Arc<Pod>>, Option<&'v Arc<Pod>>);

/// The pods by node, and how to judge them.
struct View<'a> {
    observed: &'a Observed<'a>,
    spec: &'a DaemonSetSpec,
    on_nodes: BTreeMap<&'a str, Vec<Arc<Pod>>>,
    places: BTreeMap<&'a str, Place>,
    now: Timestamp,
}

impl<'a> View<'a> {
    fn of(observed: &'a Observed<'a>, spec: &'a DaemonSetSpec, now: Timestamp) -> Self {
        let mut on_nodes: BTreeMap<&str, Vec<Arc<Pod>>> = BTreeMap::new();
        for pod in observed.pods {
            let gone = pods::is_finished(pod) && pods::is_terminating(pod);
            if let Some(node) = nodes::node_of(pod).filter(|_| !gone) {
                on_nodes.entry(node).or_default().push(pod.clone());
            }
        }
        for pods in on_nodes.values_mut() {
            pods.sort_by_key(rank);
        }
        let name = |node: &'a Arc<Node>| node.metadata.name.as_deref().unwrap_or_default();
        let places = observed.nodes.iter();
        let places = places.map(|node| (name(node), nodes::place(observed.set, node)));
        Self {
            observed,
            spec,
            on_nodes,
            places: places.collect(),
            now,
        }
    }

    fn on(&self, node: &str) -> &[Arc<Pod>] {
        self.on_nodes.get(node).map_or(&[], Vec::as_slice)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let from = pods::available_from(pod, self.spec.min_ready_seconds.unwrap_or(0));
        from.is_some_and(|from| from <= self.now)
    }

    fn next_available(&self) -> Option<Timestamp> {
        let seconds = self.spec.min_ready_seconds.unwrap_or(0);
        let from = |pod: &Arc<Pod>| pods::available_from(pod, seconds);
        let all = self.observed.pods.iter().filter_map(from);
        all.filter(|at| *at > self.now).min()
    }

    /// Whether the pod was made from the template as it is.
    fn is_updated(&self, pod: &Pod) -> bool {
        let label = |key: &str| pod.metadata.labels.as_ref().and_then(|labels| labels.get(key));
        let annotations = self.observed.set.metadata.annotations.as_ref();
        let generation = annotations.and_then(|all| all.get(SET_GENERATION));
        label(HASH).is_some_and(|hash| hash == self.observed.hash)
            || generation.is_some() && label(GENERATION) == generation
    }

    fn rolling(&self) -> RollingUpdateDaemonSet {
        let strategy = self.spec.update_strategy.as_ref();
        strategy
            .and_then(|strategy| strategy.rolling_update.clone())
            .unwrap_or_default()
    }

    fn desired(&self) -> i32 {
        count(
            self.places
                .values()
                .filter(|place| **place == Place::Wanted)
                .count(),
        )
    }

    /// How many pods more a node may have meanwhile, and how many nodes may lack one.
    fn bounds(&self) -> (i32, i32) {
        let (rolling, desired) = (self.rolling(), self.desired());
        let part = |value: &Option<_>| {
            value
                .as_ref()
                .map_or(0, |value| resolve(value, desired, Rounding::Up))
        };
        match (part(&rolling.max_surge), part(&rolling.max_unavailable)) {
            (0, 0) if desired > 0 => (0, 1),
            bounds => bounds,
        }
    }

    fn surges(&self) -> bool {
        let surge = self.rolling().max_surge;
        surge.is_some_and(|surge| resolve(&surge, 1, Rounding::Up) > 0)
    }

    /// The new pod and the old pod of a node; none where there are several of one sort.
    fn pair(&self, node: &str) -> Option<Pair<'_>> {
        let there = self.on(node).iter().filter(|pod| !pods::is_terminating(pod));
        let (new, old): (Vec<_>, Vec<_>) = there.partition(|pod| self.is_updated(pod));
        (new.len() <= 1 && old.len() <= 1).then(|| (new.first().copied(), old.first().copied()))
    }
}

/// Bound ones first, then the oldest.
fn rank(pod: &Arc<Pod>) -> (bool, Option<Timestamp>, Option<String>) {
    let unbound = pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none());
    let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    (unbound, created, pod.metadata.name.clone())
}

impl Plan {
    /// Sees that a node has the pod it should have, and no other.
    fn tend(&mut self, view: &View<'_>, node: &Node) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let place = view.places.get(name).copied().unwrap_or(Place::Barred);
        let pods = view.on(name);
        match place {
            Place::Wanted if pods.is_empty() => self.create.push(name.to_owned()),
            Place::Wanted | Place::Tolerated => {
                let running = self.replace_finished(view, name, pods);
                if view.surges() {
                    self.keep_pair(view, (name, place), &running);
                } else {
                    self.delete.extend(running.into_iter().skip(1));
                }
            }
            Place::Barred => {
                let there = pods.iter().filter(|pod| !pods::is_terminating(pod));
                self.delete.extend(there.cloned());
            }
        }
    }

    /// Deletes those that are finished and returns the others.
    fn replace_finished(&mut self, view: &View<'_>, node: &str, pods: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let mut running = Vec::new();
        for pod in pods.iter().filter(|pod| !pods::is_terminating(pod)) {
            let (namespace, name) = (
                pod.metadata.namespace.as_deref().unwrap_or_default(),
                pod.metadata.name.as_deref().unwrap_or_default(),
            );
            match pods::phase(pod) {
                "Failed" => {
                    if let Some(until) = view.observed.pauses.get(node).filter(|until| **until > view.now) {
                        self.look_again = Some(self.look_again.map_or(*until, |other| other.min(*until)));
                        continue;
                    }
                    let message = format!(
                        "Found failed daemon pod {namespace}/{name} on node {node}, will try to kill it"
                    );
                    self.notes.push(Note::warning("FailedDaemonPod", message));
                    self.failed.push(node.to_owned());
                    self.delete.push(pod.clone());
                }
                "Succeeded" => {
                    let message = format!(
                        "Found succeeded daemon pod {namespace}/{name} on node {node}, will try to delete it"
                    );
                    self.notes.push(Note::normal("SucceededDaemonPod", message));
                    self.delete.push(pod.clone());
                }
                _ => running.push(pod.clone()),
            }
        }
        running
    }

    /// While it surges a node may have an old pod and a new one, until the new one is available.
    fn keep_pair(&mut self, view: &View<'_>, (node, place): (&str, Place), running: &[Arc<Pod>]) {
        if running.is_empty() && place == Place::Wanted {
            self.create.push(node.to_owned());
        }
        let (new, old): (Vec<_>, Vec<_>) = running.iter().partition(|pod| view.is_updated(pod));
        let superfluous = new.iter().skip(1).chain(old.iter().skip(1));
        self.delete.extend(superfluous.map(|pod| Arc::clone(pod)));
        if let (Some(new), Some(old)) = (new.first(), old.first())
            && (!pods::is_ready(old) || view.is_available(new))
        {
            self.delete.push(Arc::clone(old));
        }
    }

    /// Replaces pods of an older template, within the bounds.
    fn roll(&mut self, view: &View<'_>) {
        let (surge, unavailable) = view.bounds();
        if surge > 0 {
            self.roll_surging(view, surge);
        } else {
            self.roll_in_place(view, unavailable);
        }
    }

    /// Deletes old pods: those that are not available at once, of the others as many as may be missing.
    fn roll_in_place(&mut self, view: &View<'_>, most: i32) {
        let mut missing = 0;
        let mut candidates = Vec::new();
        let wanted = view.places.iter().filter(|(_, place)| **place == Place::Wanted);
        let empty = wanted.filter(|(node, _)| view.on(node).is_empty());
        missing += count(empty.count());
        for node in view.on_nodes.keys() {
            match view.pair(node) {
                Some((Some(new), None)) => missing += i32::from(!view.is_available(new)),
                Some((None, Some(old))) if view.is_available(old) => candidates.push(old.clone()),
                Some((None, Some(old))) => {
                    self.delete.push(old.clone());
                    missing += 1;
                }
                _ => missing += 1,
            }
        }
        let room = usize::try_from(most - missing).unwrap_or(0);
        self.delete.extend(candidates.into_iter().take(room));
    }

    /// Makes new pods beside old ones: where the old one is not available at once, elsewhere as many as there may be more.
    fn roll_surging(&mut self, view: &View<'_>, most: i32) {
        let (mut surging, mut available) = (0, 0);
        let (mut candidates, mut leaving) = (Vec::new(), Vec::new());
        for node in view.on_nodes.keys() {
            let Some((new, old)) = view.pair(node) else {
                surging += 1;
                continue;
            };
            let counted = old.or(new);
            available += i32::from(counted.is_some_and(|pod| view.is_available(pod)));
            let wanted = view.places.get(node) == Some(&Place::Wanted);
            match (new, old) {
                (_, None) => {}
                (None, Some(old)) if !view.is_available(old) => {
                    if wanted {
                        self.create.push((*node).to_owned());
                    } else {
                        self.delete.push(old.clone());
                    }
                }
                (None, Some(_)) if wanted => candidates.push((*node).to_owned()),
                (None, Some(old)) => leaving.push(old.clone()),
                (Some(new), Some(_)) if !view.is_available(new) => surging += 1,
                (Some(_), Some(old)) => self.delete.push(old.clone()),
            }
        }
        let spare = usize::try_from(available - view.desired()).unwrap_or(0);
        self.delete.extend(leaving.into_iter().take(spare));
        let room = usize::try_from(most - surging).unwrap_or(0);
        self.create.extend(candidates.into_iter().take(room));
    }
}

/// A pod of the set for this node.
pub(crate) fn new_pod(set: &DaemonSet, node: &str, hash: &str, reference: OwnerReference) -> v1::Pod {
    let template = set.spec.as_ref().map(|spec| spec.template.clone());
    let mut pod = pods::from_template(&template.unwrap_or_default(), &set.metadata, reference);
    let spec = pod.spec.get_or_insert_default();
    nodes::tolerate(spec);
    nodes::pin(spec, node);
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH.to_owned(), hash.to_owned());
    let generation = set
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(SET_GENERATION));
    if let Some(generation) = generation.filter(|generation| generation.parse::<i64>().is_ok()) {
        labels.insert(GENERATION.to_owned(), generation.clone());
    }
    pod
}

/// The status the set should have.
pub(crate) fn status(observed: &Observed<'_>, now: Timestamp) -> DaemonSetStatus {
    let old = observed.set.status.clone().unwrap_or_default();
    let Some(spec) = &observed.set.spec else {
        return old;
    };
    let view = View::of(observed, spec, now);
    let (mut current, mut misplaced, mut ready, mut updated, mut available) = (0, 0, 0, 0, 0);
    for (node, place) in &view.places {
        let Some(pod) = view.on(node).first() else {
            continue;
        };
        if *place != Place::Wanted {
            misplaced += 1;
            continue;
        }
        current += 1;
        ready += i32::from(pods::is_ready(pod));
        available += i32::from(view.is_available(pod));
        updated += i32::from(view.is_updated(pod));
    }
    let desired = view.desired();
    let nonzero = |count: i32| (count != 0).then_some(count);
    DaemonSetStatus {
        desired_number_scheduled: desired,
        current_number_scheduled: current,
        number_misscheduled: misplaced,
        number_ready: ready,
        updated_number_scheduled: nonzero(updated),
        number_available: nonzero(available),
        number_unavailable: nonzero(desired - available),
        observed_generation: observed.set.metadata.generation,
        ..old
    }
}

fn count(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}

//! Deployment and ReplicaSet plans acting on a world in memory, with views that lag, reconciles that repeat, and crashes
//! between any two writes.
//!
//! Each controller sees the world through views of its own, per kind as old as may be, but never older than what it wrote
//! itself: that is what its shell sees to. A write holds to the resourceVersion it was planned from. A crash loses the rest of a
//! plan; the process that follows lists everything anew.

use super::deployment::plan as deployment;
use super::pods;
use super::replicaset::fixtures::template;
use super::replicaset::plan as replicaset;
use crate::observed::{Pod, PodCondition, PodStatus};
use crate::owners::{controller_of, controller_reference, is_controlled_by};
use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentSpec, DeploymentStrategy, ReplicaSet, RollingUpdateDeployment,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is, or what someone believes to be.
#[derive(Clone, Default)]
struct Objects {
    deployment: Arc<Deployment>,
    sets: BTreeMap<String, Arc<ReplicaSet>>,
    pods: BTreeMap<String, Arc<Pod>>,
}

impl Objects {
    fn deployment_plan(&self, now: Timestamp) -> deployment::Plan {
        let sets: Vec<_> = self.sets.values().cloned().collect();
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let observed = deployment::Observed {
            deployment: &self.deployment,
            replica_sets: &sets,
            pods: &pods,
        };
        deployment::plan(&observed, now)
    }

    fn set_plan(&self, set: &ReplicaSet, now: Timestamp) -> replicaset::Plan {
        let pods: Vec<_> = self.pods.values().cloned().collect();
        replicaset::plan(
            &replicaset::Observed {
                replica_set: set,
                pods: &pods,
                siblings: &pods,
            },
            now,
        )
    }
}

/// What a write came to.
enum Outcome {
    Done,
    Conflict,
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The Deployment's controller reconciles, and crashes after so many writes.
    Deployment(usize),
    /// A ReplicaSet's controller reconciles the set of this number, and crashes after so many writes.
    ReplicaSet(usize, usize),
    /// A view catches up with one kind: 0 for the Deployment, 1 for sets, 2 for pods.
    See { by_sets: bool, kind: u8 },
    /// A pod of this number becomes ready, or ends if it was to.
    Kubelet(usize),
    /// Someone changes the template.
    Template(u8),
    /// Someone changes the number of replicas.
    Scale(i32),
    /// A pod of this number dies.
    Kill(usize),
}

struct World {
    real: Objects,
    /// What the controller of Deployments sees, and what the controller of ReplicaSets sees.
    of_deployments: Objects,
    of_sets: Objects,
    revision: u64,
    /// Writes left before a crash.
    budget: usize,
}

impl World {
    fn new(replicas: i32, surge: i32, unavailable: i32, recreate: bool) -> Self {
        let labels: BTreeMap<_, _> = [("app".to_owned(), "web".to_owned())].into();
        let rolling = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(surge)),
            max_unavailable: Some(IntOrString::Int(unavailable)),
        };
        let strategy = DeploymentStrategy {
            type_: Some(if recreate { "Recreate" } else { "RollingUpdate" }.to_owned()),
            rolling_update: (!recreate).then_some(rolling),
        };
        let deployment = Deployment {
            metadata: ObjectMeta {
                namespace: Some("default".to_owned()),
                name: Some("web".to_owned()),
                uid: Some("uid-web".to_owned()),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec: Some(DeploymentSpec {
                replicas: Some(replicas),
                selector: LabelSelector {
                    match_labels: Some(labels.clone()),
                    match_expressions: None,
                },
                template: template(labels),
                strategy: Some(strategy),
                progress_deadline_seconds: Some(600),
                revision_history_limit: Some(2),
                ..DeploymentSpec::default()
            }),
            status: None,
        };
        let real = Objects {
            deployment: Arc::new(deployment),
            ..Objects::default()
        };
        let (of_deployments, of_sets) = (real.clone(), real.clone());
        Self {
            real,
            of_deployments,
            of_sets,
            revision: 1,
            budget: 0,
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_second(i64::try_from(self.revision).unwrap()).unwrap()
    }

    fn next_version(&mut self) -> Option<String> {
        self.revision += 1;
        Some(self.revision.to_string())
    }

    /// Counts a write against the budget.
    fn may_write(&mut self) -> bool {
        self.budget = self.budget.saturating_sub(1);
        self.budget > 0
    }

    fn write_deployment(&mut self, seen: &ObjectMeta, change: impl FnOnce(&mut Deployment)) -> Outcome {
        if !self.may_write() {
            return Outcome::Crash;
        }
        if self.real.deployment.metadata.resource_version != seen.resource_version {
            return Outcome::Conflict;
        }
        self.change_deployment(change);
        self.of_deployments.deployment = self.real.deployment.clone();
        Outcome::Done
    }

    fn change_deployment(&mut self, change: impl FnOnce(&mut Deployment)) {
        let mut deployment = (*self.real.deployment).clone();
        change(&mut deployment);
        if deployment.spec != self.real.deployment.spec {
            deployment.metadata.generation = deployment.metadata.generation.map(|generation| generation + 1);
        }
        deployment.metadata.resource_version = self.next_version();
        self.real.deployment = Arc::new(deployment);
    }

    /// Writes a set over the state it was seen in; `None` creates it.
    fn write_set(&mut self, seen: Option<&ReplicaSet>, mut set: ReplicaSet, by_sets: bool) -> Outcome {
        if !self.may_write() {
            return Outcome::Crash;
        }
        let name = set.metadata.name.clone().unwrap();
        let version = |set: &ReplicaSet| set.metadata.resource_version.clone();
        let real = self.real.sets.get(&name);
        if real.map(|real| version(real)) != seen.map(version) {
            return Outcome::Conflict;
        }
        let generation = real.and_then(|real| real.metadata.generation).unwrap_or(0);
        let changed = real.is_none_or(|real| real.spec != set.spec);
        set.metadata.generation = Some(generation + i64::from(changed));
        set.metadata.uid = Some(format!("uid-{name}"));
        set.metadata.creation_timestamp = real.map_or(Some(Time(self.now())), |real| {
            real.metadata.creation_timestamp.clone()
        });
        set.metadata.resource_version = self.next_version();
        self.real.sets.insert(name, Arc::new(set));
        let view = if by_sets {
            &mut self.of_sets
        } else {
            &mut self.of_deployments
        };
        view.sets.clone_from(&self.real.sets);
        Outcome::Done
    }

    fn reconcile_deployment(&mut self) -> Outcome {
        let plan = self.of_deployments.deployment_plan(self.now());
        let mut outcome = Outcome::Done;
        if let Some(set) = plan.create {
            outcome = self.write_set(None, set, false);
        }
        for change in &plan.change {
            if let Outcome::Done = outcome {
                outcome = self.change_set(change);
            }
        }
        for set in &plan.delete {
            if let Outcome::Done = outcome {
                let real = self.real.sets.get(set.metadata.name.as_ref().unwrap());
                let idle = real.is_some_and(|real| real.status.clone().unwrap_or_default().replicas == 0);
                assert!(idle, "a set with pods is not deleted");
                self.real.sets.remove(set.metadata.name.as_ref().unwrap());
                self.of_deployments.sets.clone_from(&self.real.sets);
            }
        }
        if !matches!(outcome, Outcome::Done) {
            return outcome;
        }
        let mut seen = self.of_deployments.deployment.metadata.clone();
        if let Some(revision) = plan.revision {
            let key = "deployment.kubernetes.io/revision".to_owned();
            let annotate = |deployment: &mut Deployment| {
                deployment
                    .metadata
                    .annotations
                    .get_or_insert_default()
                    .insert(key, revision);
            };
            match self.write_deployment(&seen, annotate) {
                Outcome::Done => seen = self.of_deployments.deployment.metadata.clone(),
                other => return other,
            }
        }
        match plan.status {
            None => Outcome::Done,
            Some(status) => self.write_deployment(&seen, |deployment| deployment.status = Some(status)),
        }
    }

    fn change_set(&mut self, change: &deployment::Change) -> Outcome {
        let sum =
            |objects: &Objects| -> i32 { objects.sets.values().map(|set| replicaset::replicas(set)).sum() };
        let before = sum(&self.real);
        let mut set = (*change.set).clone();
        if let Some(replicas) = change.replicas {
            set.spec.as_mut().unwrap().replicas = Some(replicas);
        }
        set.metadata
            .annotations
            .get_or_insert_default()
            .extend(change.annotations.clone());
        let outcome = self.write_set(Some(&change.set), set, false);
        let spec = self.of_deployments.deployment.spec.clone().unwrap();
        let surge = spec
            .strategy
            .unwrap()
            .rolling_update
            .and_then(|rolling| rolling.max_surge);
        let surge = if let Some(IntOrString::Int(surge)) = surge {
            surge
        } else {
            0
        };
        let after = sum(&self.real);
        assert!(
            after <= before || after <= spec.replicas.unwrap() + surge,
            "{after} pods with surge {surge}"
        );
        outcome
    }

    fn reconcile_set(&mut self, name: &str) -> Outcome {
        let Some(set) = self.of_sets.sets.get(name).cloned() else {
            return Outcome::Done;
        };
        let plan = self.of_sets.set_plan(&set, self.now());
        for _ in 0..plan.create {
            if !self.may_write() {
                return Outcome::Crash;
            }
            let version = self.next_version();
            let mut pod =
                replicaset::new_pod(&set, controller_reference("apps/v1", "ReplicaSet", &set.metadata));
            let name = format!("{}{}", pod.metadata.generate_name.take().unwrap(), self.revision);
            pod.metadata.uid = Some(name.clone());
            pod.metadata.name = Some(name.clone());
            pod.metadata.resource_version = version;
            self.real.pods.insert(name, Arc::new(pod.into()));
            self.of_sets.pods.clone_from(&self.real.pods);
        }
        for victim in &plan.delete {
            if !self.may_write() {
                return Outcome::Crash;
            }
            self.delete_pod(victim.metadata.name.as_ref().unwrap());
            self.of_sets.pods.clone_from(&self.real.pods);
        }
        let (status, _) = replicaset::status(&set, &plan.claims.claimed, None, self.now());
        if replicaset::same_status(set.status.as_ref(), &status) {
            return Outcome::Done;
        }
        let written = ReplicaSet {
            status: Some(status),
            ..(*set).clone()
        };
        self.write_set(Some(&set), written, true)
    }

    fn delete_pod(&mut self, name: &str) {
        let version = self.next_version();
        let now = self.now();
        if let Some(pod) = self.real.pods.get_mut(name) {
            let pod = Arc::make_mut(pod);
            pod.metadata.deletion_timestamp = Some(Time(now));
            pod.metadata.resource_version = version;
        }
    }

    /// Makes a pod ready, or ends it if it was to.
    fn kubelet(&mut self, name: &str) {
        let version = self.next_version();
        let now = self.now();
        let Some(pod) = self.real.pods.get_mut(name) else {
            return;
        };
        if pods::is_terminating(pod) {
            self.real.pods.remove(name);
            return;
        }
        let pod = Arc::make_mut(pod);
        pod.metadata.resource_version = version;
        let ready = PodCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            ..PodCondition::default()
        };
        pod.status = Some(PodStatus {
            phase: Some("Running".to_owned()),
            conditions: Some(vec![ready]),
            ..PodStatus::default()
        });
    }

    fn step(&mut self, step: Step) {
        let nth = |names: Vec<String>, number: usize| names.get(number % names.len().max(1)).cloned();
        let pods = |world: &Self| world.real.pods.keys().cloned().collect::<Vec<_>>();
        match step {
            Step::Deployment(budget) => {
                self.budget = budget + 1;
                if let Outcome::Crash = self.reconcile_deployment() {
                    self.of_deployments = self.real.clone();
                }
            }
            Step::ReplicaSet(number, budget) => {
                self.budget = budget + 1;
                let Some(name) = nth(self.real.sets.keys().cloned().collect(), number) else {
                    return;
                };
                if let Outcome::Crash = self.reconcile_set(&name) {
                    self.of_sets = self.real.clone();
                }
            }
            Step::See { by_sets, kind } => self.see(by_sets, kind),
            Step::Kubelet(number) => {
                if let Some(name) = nth(pods(self), number) {
                    self.kubelet(&name);
                }
            }
            Step::Template(version) => self.change_deployment(|deployment| {
                let template = &mut deployment.spec.as_mut().unwrap().template;
                template.spec.as_mut().unwrap().containers[0].image = Some(format!("web:{version}"));
            }),
            Step::Scale(replicas) => self.change_deployment(|deployment| {
                deployment.spec.as_mut().unwrap().replicas = Some(replicas);
            }),
            Step::Kill(number) => {
                if let Some(name) = nth(pods(self), number) {
                    self.real.pods.remove(&name);
                }
            }
        }
    }

    fn see(&mut self, by_sets: bool, kind: u8) {
        let view = if by_sets {
            &mut self.of_sets
        } else {
            &mut self.of_deployments
        };
        match kind {
            0 => view.deployment = self.real.deployment.clone(),
            1 => view.sets.clone_from(&self.real.sets),
            _ => view.pods.clone_from(&self.real.pods),
        }
    }

    /// Lets everyone see everything and act until nothing changes.
    fn settle(&mut self) {
        for _ in 0..200 {
            let before = self.revision;
            (self.of_deployments, self.of_sets) = (self.real.clone(), self.real.clone());
            self.step(Step::Deployment(usize::MAX - 1));
            for number in 0..self.real.sets.len() {
                self.of_sets = self.real.clone();
                self.step(Step::ReplicaSet(number, usize::MAX - 1));
            }
            if self.revision != before {
                self.step_kubelets();
            } else if !self.step_kubelets() {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    /// Every pod that has not got there gets there. Says whether one had not.
    fn step_kubelets(&mut self) -> bool {
        let lagging = |pod: &Pod| pods::is_terminating(pod) || !pods::is_ready(pod);
        let names: Vec<_> = self
            .real
            .pods
            .iter()
            .filter(|(_, pod)| lagging(pod))
            .map(|(name, _)| name.clone())
            .collect();
        names.iter().for_each(|name| self.kubelet(name));
        !names.is_empty()
    }

    fn available(&self) -> i32 {
        let available = |pod: &&Arc<Pod>| pods::is_ready(pod) && pods::is_active(pod);
        i32::try_from(self.real.pods.values().filter(available).count()).unwrap()
    }

    /// What must hold at rest: as many ready pods as asked for, all of the template, and nothing left to do.
    fn assert_arrived(&self) {
        let spec = self.real.deployment.spec.clone().unwrap();
        let status = self.real.deployment.status.clone().unwrap();
        let replicas = spec.replicas.unwrap();
        let image = |pod: &Pod| {
            let set = &self.real.sets[&controller_of(&pod.metadata).unwrap().name];
            let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
            template.spec.as_ref().unwrap().containers[0].image.clone()
        };
        assert_eq!(self.available(), replicas);
        assert_eq!(self.real.pods.len(), usize::try_from(replicas).unwrap());
        let wanted = spec.template.spec.unwrap().containers[0].image.clone();
        assert!(self.real.pods.values().all(|pod| image(pod) == wanted));
        assert_eq!(status.available_replicas.unwrap_or(0), replicas);
        assert_eq!(status.updated_replicas.unwrap_or(0), replicas);
        let progressing = status
            .conditions
            .unwrap()
            .into_iter()
            .find(|c| c.type_ == "Progressing")
            .unwrap();
        assert_eq!(progressing.reason.as_deref(), Some("NewReplicaSetAvailable"));
        let plan = self.real.deployment_plan(self.now());
        assert!(
            plan.is_empty(),
            "planning after acting gives nothing to do: {plan:?}"
        );
        for set in self.real.sets.values() {
            assert!(self.real.set_plan(set, self.now()).is_empty());
            let owner = self.real.deployment.metadata.uid.as_deref().unwrap();
            assert!(is_controlled_by(&set.metadata, owner));
        }
        let old = self
            .real
            .sets
            .values()
            .filter(|set| replicaset::replicas(set) == 0)
            .count();
        assert!(old <= 3, "history is bounded: {old} old sets");
    }
}

fn quiet_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..6).prop_map(Step::Deployment),
        6 => (0usize..5, 0usize..6).prop_map(|(set, budget)| Step::ReplicaSet(set, budget)),
        6 => (any::<bool>(), 0u8..3).prop_map(|(by_sets, kind)| Step::See { by_sets, kind }),
        6 => (0usize..20).prop_map(Step::Kubelet),
        1 => (0u8..4).prop_map(Step::Template),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => quiet_step(),
        1 => (0i32..6).prop_map(Step::Scale),
        1 => (0usize..20).prop_map(Step::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, all comes to rest where it was meant to.
    #[test]
    fn rollouts_converge(
        (replicas, surge, unavailable, recreate) in (0i32..6, 0i32..3, 0i32..3, any::<bool>()),
        steps in prop::collection::vec(any_step(), 0..80),
    ) {
        let mut world = World::new(replicas, surge, unavailable, recreate);
        for step in steps {
            world.step(step);
        }
        world.settle();
        world.assert_arrived();
    }

    /// As long as no pod dies and nobody scales, a rolling update never has fewer pods available than it may.
    #[test]
    fn rolling_updates_stay_available(
        (replicas, surge, unavailable) in (1i32..6, 0i32..3, 0i32..3),
        steps in prop::collection::vec(quiet_step(), 0..120),
    ) {
        let mut world = World::new(replicas, surge, unavailable, false);
        world.settle();
        let missing = if surge == 0 && unavailable == 0 { 1 } else { unavailable.min(replicas) };
        for step in steps {
            world.step(step);
            prop_assert!(world.available() >= replicas - missing, "after {step:?}");
        }
        world.settle();
        world.assert_arrived();
    }
}

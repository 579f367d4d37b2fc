//! Single steps, and whole sets in a world in memory.

use super::identity::{REVISION, Wanted};
use super::plan::{Action, Observed, Plan, plan};
use crate::observed::Pod;
use crate::owners::controller_reference;
use crate::runtime::ObjectKey;
use crate::workloads::pods;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A set and what it has.
#[derive(Clone)]
struct World {
    set: StatefulSet,
    pods: BTreeMap<String, Arc<Pod>>,
    claims: BTreeMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    /// The names of the current and the new revision.
    revisions: (String, String),
    second: i64,
}

impl World {
    fn new(replicas: i32, spec: Value) -> Self {
        let mut whole = json!({
            "replicas": replicas, "serviceName": "web", "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
        });
        whole
            .as_object_mut()
            .unwrap()
            .extend(spec.as_object().unwrap().clone());
        let metadata = json!({"name": "web", "namespace": "ns", "uid": "uid-web"});
        let set = json!({"metadata": metadata, "spec": whole});
        Self {
            set: serde_json::from_value(set).unwrap(),
            pods: BTreeMap::new(),
            claims: BTreeMap::new(),
            revisions: ("r1".to_owned(), "r1".to_owned()),
            second: 1000,
        }
    }

    fn plan(&self) -> Plan {
        let pods: Vec<_> = self.pods.values().cloned().collect();
        let wanted = Wanted::of(&self.set).unwrap();
        let template = &wanted.spec.template;
        let observed = Observed {
            wanted,
            pods: &pods,
            claims: &self.claims,
            current: (template, &self.revisions.0),
            update: (template, &self.revisions.1),
            collisions: 0,
            reference: &controller_reference("apps/v1", "StatefulSet", &self.set.metadata),
        };
        plan(&observed, Timestamp::from_second(self.second).unwrap())
    }

    /// Does one step, as far as the budget of writes goes. Returns what was done.
    fn step(&mut self, budget: usize) -> Vec<String> {
        self.second += 1;
        let plan = self.plan();
        let told: Vec<_> = plan.actions.iter().take(budget).map(told).collect();
        for action in plan.actions.iter().take(budget) {
            self.act(action);
        }
        if budget > plan.actions.len() {
            self.revisions.0 = plan.status.current_revision.clone().unwrap();
            self.set.status = Some(plan.status);
        }
        told
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::CreateClaim(claim, _) => {
                let mut claim = (**claim).clone();
                claim.metadata.uid = claim.metadata.name.clone();
                self.claims
                    .insert(ObjectKey::of(&claim.metadata), Arc::new(claim));
            }
            Action::CreatePod(pod) => {
                let mut pod = Pod::from((**pod).clone());
                let name = pod.metadata.name.clone().unwrap();
                pod.metadata.uid = Some(format!("{name}-{}", self.second));
                pod.status = Some(serde_json::from_value(json!({"phase": "Pending"})).unwrap());
                assert!(
                    self.pods.insert(name, Arc::new(pod)).is_none(),
                    "no pod is made twice"
                );
            }
            Action::DeletePod(pod) => {
                let real = self.pods.get_mut(pod.metadata.name.as_ref().unwrap()).unwrap();
                let now = Time(Timestamp::from_second(self.second).unwrap());
                Arc::make_mut(real).metadata.deletion_timestamp = Some(now);
            }
            Action::Own(claim, owners) => {
                let claim = self.claims.get_mut(&ObjectKey::of(&claim.metadata)).unwrap();
                Arc::make_mut(claim).metadata.owner_references = Some(owners.clone());
            }
            Action::Label(..) | Action::Contested(_) | Action::Refuse(..) => {
                panic!("nothing gives cause for {action:?}")
            }
        }
    }

    /// Makes a pod ready, or ends it if it is to go.
    fn kubelet(&mut self, name: &str) {
        let ready = json!({"phase": "Running", "conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": Timestamp::from_second(self.second).unwrap()}]});
        let Some(pod) = self.pods.get_mut(name) else {
            return;
        };
        if pods::is_terminating(pod) {
            self.pods.remove(name);
        } else if !pods::is_ready(pod) {
            Arc::make_mut(pod).status = Some(serde_json::from_value(ready).unwrap());
        }
    }

    /// Lets everyone act until nothing changes.
    fn settle(&mut self) {
        for _ in 0..200 {
            let (acted, pods) = (self.step(usize::MAX), self.pods.clone());
            let names: Vec<_> = self.pods.keys().cloned().collect();
            names.iter().for_each(|name| self.kubelet(name));
            if acted.is_empty() && pods == self.pods {
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn names(&self) -> Vec<&str> {
        self.pods.keys().map(String::as_str).collect()
    }

    fn set_spec(&mut self, change: impl FnOnce(&mut k8s_openapi::api::apps::v1::StatefulSetSpec)) {
        change(self.set.spec.as_mut().unwrap());
    }
}

fn told(action: &Action) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    match action {
        Action::CreateClaim(claim, _) => format!("claim {}", name(&claim.metadata.name)),
        Action::CreatePod(pod) => format!("create {}", name(&pod.metadata.name)),
        Action::DeletePod(pod) => format!("delete {}", name(&pod.metadata.name)),
        Action::Label(pod, _) => format!("label {}", name(&pod.metadata.name)),
        Action::Own(claim, owners) => {
            let owners: Vec<_> = owners.iter().map(|owner| owner.kind.as_str()).collect();
            format!("own {} {owners:?}", name(&claim.metadata.name))
        }
        Action::Contested(claim) => format!("contested {claim}"),
        Action::Refuse(pod, why) => format!("refuse {pod}: {why}"),
    }
}

#[test]
fn pods_come_one_after_the_other_with_their_claims_and_go_in_reverse() {
    let claims = json!({"volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}]});
    let mut world = World::new(2, claims);
    assert_eq!(world.step(9), ["claim data-web-0", "create web-0"]);
    assert!(world.step(9).is_empty(), "it is not ready yet");
    world.kubelet("web-0");
    assert_eq!(world.step(9), ["claim data-web-1", "create web-1"]);
    let pod = &world.pods["web-1"];
    let labels = pod.metadata.labels.as_ref().unwrap();
    assert_eq!(labels["apps.kubernetes.io/pod-index"], "1");
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(
        (spec.hostname.as_deref(), spec.subdomain.as_deref()),
        (Some("web-1"), Some("web"))
    );
    let volume = spec.volumes.as_ref().unwrap()[0]
        .persistent_volume_claim
        .as_ref()
        .unwrap();
    assert_eq!(volume.claim_name, "data-web-1");
    world.settle();
    world.set_spec(|spec| spec.replicas = Some(0));
    assert_eq!(world.step(9), ["delete web-1"]);
    assert!(world.step(9).is_empty(), "it is not gone yet");
    world.kubelet("web-1");
    assert_eq!(world.step(9), ["delete web-0"]);
    world.settle();
    assert_eq!((world.names().len(), world.claims.len()), (0, 2), "claims stay");
}

#[test]
fn in_parallel_all_come_and_go_at_once() {
    let mut world = World::new(
        3,
        json!({"podManagementPolicy": "Parallel", "ordinals": {"start": 5}}),
    );
    assert_eq!(world.step(9), ["create web-5", "create web-6", "create web-7"]);
    world.set_spec(|spec| spec.replicas = Some(1));
    assert_eq!(world.step(9), ["delete web-7", "delete web-6"]);
}

#[test]
fn an_update_goes_from_the_highest_number_down_to_the_partition() {
    let mut world = World::new(
        3,
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
    );
    world.settle();
    world.revisions.1 = "r2".to_owned();
    assert_eq!(world.step(9), ["delete web-2"]);
    world.kubelet("web-2");
    assert_eq!(world.step(9), ["create web-2"]);
    assert!(world.step(9).is_empty(), "the new one is not ready yet");
    world.kubelet("web-2");
    assert_eq!(world.step(9), ["delete web-1"]);
    world.settle();
    let revision = |name: &str| world.pods[name].metadata.labels.as_ref().unwrap()[REVISION].clone();
    assert_eq!(
        [revision("web-0"), revision("web-1"), revision("web-2")],
        ["r1", "r2", "r2"]
    );
    let status = world.set.status.clone().unwrap();
    assert_eq!(
        (status.current_replicas, status.updated_replicas),
        (Some(1), Some(2))
    );
    assert_eq!(status.current_revision.as_deref(), Some("r1"));
    // A pod below the partition comes again as it was.
    world.pods.remove("web-0");
    world.settle();
    assert_eq!(
        world.pods["web-0"].metadata.labels.as_ref().unwrap()[REVISION],
        "r1"
    );
    world.set_spec(|spec| {
        let strategy = spec.update_strategy.as_mut().unwrap();
        strategy.rolling_update.as_mut().unwrap().partition = Some(0);
    });
    world.settle();
    assert_eq!(world.set.status.unwrap().current_revision.as_deref(), Some("r2"));
}

#[test]
fn several_may_be_missing_where_that_is_asked_for() {
    let rolling = json!({"partition": 0, "maxUnavailable": 2});
    let mut world = World::new(
        4,
        json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}),
    );
    world.settle();
    world.revisions.1 = "r2".to_owned();
    assert_eq!(world.step(9), ["delete web-3", "delete web-2"]);
    assert!(world.step(9).is_empty());
}

#[test]
fn on_delete_nothing_is_replaced_by_itself() {
    let mut world = World::new(2, json!({"updateStrategy": {"type": "OnDelete"}}));
    world.settle();
    world.revisions.1 = "r2".to_owned();
    assert!(world.step(9).is_empty());
    world.pods.remove("web-0");
    world.settle();
    assert_eq!(
        world.pods["web-0"].metadata.labels.as_ref().unwrap()[REVISION],
        "r2"
    );
}

#[test]
fn a_finished_pod_is_made_anew() {
    let mut world = World::new(1, json!({}));
    world.settle();
    let pod = Arc::make_mut(world.pods.get_mut("web-0").unwrap());
    pod.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    assert_eq!(world.step(9), ["delete web-0"]);
    world.kubelet("web-0");
    assert_eq!(world.step(9), ["create web-0"]);
}

#[test]
fn who_is_to_wait_for_availability_waits() {
    let mut world = World::new(2, json!({"minReadySeconds": 30}));
    world.step(9);
    world.kubelet("web-0");
    let plan = world.plan();
    assert!(plan.actions.is_empty());
    assert_eq!(plan.look_again, Timestamp::from_second(world.second + 30).ok());
    assert_eq!(
        (plan.status.ready_replicas, plan.status.available_replicas),
        (Some(1), Some(0))
    );
    world.second += 30;
    assert_eq!(world.step(9), ["create web-1"]);
}

#[test]
fn claims_are_owned_as_the_policy_has_it() {
    let mut world = World::new(
        2,
        json!({
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
        }),
    );
    world.settle();
    let owner = |world: &World, claim: &str| {
        let claim = &world.claims[&ObjectKey::new("ns", claim)];
        let owners = claim.metadata.owner_references.clone().unwrap_or_default();
        owners.iter().map(|owner| owner.kind.clone()).collect::<Vec<_>>()
    };
    assert_eq!(owner(&world, "data-web-0"), ["StatefulSet"]);
    world.set_spec(|spec| spec.replicas = Some(1));
    assert_eq!(world.step(9), ["own data-web-1 [\"Pod\"]", "delete web-1"]);
    let wanted = Wanted::of(&world.set).unwrap();
    assert!(wanted.has_claim("data-web-1") && wanted.has_claim("data-web-7"));
    for other in [
        "data-web",
        "data-web-x",
        "data-web-01",
        "other-web-1",
        "data-other-1",
        "-1",
    ] {
        assert!(!wanted.has_claim(other), "{other}");
    }
    // The claim goes with its pod; until it has, no other is made in its place.
    world.settle();
    world.set_spec(|spec| spec.replicas = Some(2));
    assert!(world.step(9).is_empty());
    world.claims.remove(&ObjectKey::new("ns", "data-web-1"));
    assert_eq!(world.step(9), ["claim data-web-1", "create web-1"]);
    world.set_spec(|spec| spec.persistent_volume_claim_retention_policy = None);
    world.settle();
    assert!(owner(&world, "data-web-0").is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, all comes to rest where it was meant to; and in order no pod is made before those of lower numbers
    /// are ready.
    #[test]
    fn sets_converge(
        (first, then, parallel) in (0i32..5, 0i32..5, any::<bool>()),
        steps in prop::collection::vec((0usize..5, 0usize..3, 0u8..12), 0..60),
    ) {
        let policy = if parallel { "Parallel" } else { "OrderedReady" };
        let mut world = World::new(first, json!({"podManagementPolicy": policy}));
        for (number, budget, what) in steps {
            let name = format!("web-{number}");
            match what {
                0 => world.set_spec(|spec| spec.replicas = Some(then)),
                1 => world.revisions.1 = "r2".to_owned(),
                2 => { world.pods.remove(&name); }
                3..7 => world.kubelet(&name),
                _ => {
                    let before = world.clone();
                    for act in world.step(budget) {
                        if let Some(made) = act.strip_prefix("create web-").filter(|_| !parallel) {
                            let below = (0..made.parse::<i32>().unwrap()).map(|low| format!("web-{low}"));
                            for low in below {
                                prop_assert!(before.pods.get(&low).is_some_and(|pod| pods::is_ready(pod)), "{act}");
                            }
                        }
                    }
                }
            }
        }
        world.settle();
        let wanted = world.set.spec.as_ref().unwrap().replicas.unwrap();
        let names: Vec<_> = (0..wanted).map(|number| format!("web-{number}")).collect();
        prop_assert_eq!(world.names(), names);
        let new = |pod: &Arc<Pod>| pod.metadata.labels.as_ref().unwrap()[REVISION] == world.revisions.1;
        prop_assert!(world.pods.values().all(new));
        prop_assert!(world.plan().actions.is_empty());
    }
}

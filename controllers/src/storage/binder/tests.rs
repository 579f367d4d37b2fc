//! Steps by table, and a world in which claims and volumes come and go, writes are lost, and views are behind.

use super::change::{Change, Side, Write};
use super::ledger::Ledger;
use super::plan::{Act, Books, Cleaner, Plan, plan_claim, plan_volume};
use crate::runtime::ObjectKey;
use coracle_api::object::Fields;
use coracle_api::volumes::{Claim, Volume};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is, or what the binder believes to be.
#[derive(Default)]
struct World {
    ledger: Ledger,
    revision: u64,
    /// What has been told, as reason and message.
    told: Vec<String>,
    makes_folders: bool,
    cleaner: Option<Cleaner>,
    users: Vec<String>,
}

impl World {
    fn put(&mut self, side: Side, mut object: Value) {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let (namespace, name) = (
            object["metadata"].text("namespace"),
            object["metadata"].text("name").to_owned(),
        );
        let key = ObjectKey::new(namespace, &name);
        match side {
            Side::Claim => drop(self.ledger.claim(&key, Some(Arc::new(object)))),
            Side::Volume => drop(self.ledger.volume(&name, Some(Arc::new(object)))),
        }
    }

    fn claim(&mut self, name: &str, uid: &str, spec: Value) {
        let mut claim = json!({
            "metadata": {"namespace": "ns", "name": name, "uid": uid, "annotations": {}},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
            "status": {"phase": "Pending"},
        });
        coracle_api::patch::merge::apply(&mut claim["spec"], &spec).unwrap();
        self.put(Side::Claim, claim);
    }

    fn volume(&mut self, name: &str, spec: Value) {
        let mut volume = json!({
            "metadata": {"name": name, "uid": format!("uid of {name}"), "annotations": {}},
            "spec": {
                "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"},
                "hostPath": {"path": format!("/tmp/{name}")}, "persistentVolumeReclaimPolicy": "Retain",
            },
            "status": {"phase": "Pending"},
        });
        coracle_api::patch::merge::apply(&mut volume["spec"], &spec).unwrap();
        self.put(Side::Volume, volume);
    }

    fn class(&mut self, name: &str, change: Value) {
        let mut class = json!({
            "metadata": {"name": name}, "provisioner": "kubernetes.io/host-path",
            "reclaimPolicy": "Delete", "volumeBindingMode": "Immediate",
        });
        coracle_api::patch::merge::apply(&mut class, &change).unwrap();
        self.ledger.class(name, Some(Arc::new(class)));
    }

    fn plan(&self, side: Side, name: &str) -> Plan {
        let books = Books {
            claims: &self.ledger.claims,
            volumes: &self.ledger.volumes,
            classes: &self.ledger.classes,
            waiting: &|_| self.users.clone(),
            using: &|_| self.users.clone(),
            has_node: &|node| node == "n1",
            cleaner: &|_| self.cleaner.clone().unwrap_or(Cleaner::Absent),
            makes_folders: self.makes_folders,
        };
        match side {
            Side::Claim => {
                let claim = self.ledger.claims.get(&ObjectKey::new("ns", name));
                claim.map(|claim| plan_claim(books, Claim(claim)))
            }
            Side::Volume => self
                .ledger
                .volumes
                .get(name)
                .map(|volume| plan_volume(books, volume)),
        }
        .unwrap_or_default()
    }

    /// Makes a write, unless the object is another by now. Says whether it was made.
    fn write(&mut self, write: &Write) -> bool {
        let stands = match write.side {
            Side::Claim => self
                .ledger
                .claims
                .get(&ObjectKey::new(&write.target.namespace, &write.target.name)),
            Side::Volume => self.ledger.volumes.get(&write.target.name),
        };
        let observed = |object: &&Arc<Value>| {
            object["metadata"].text("resourceVersion") == write.target.resource_version
                && object["metadata"].text("uid") == write.target.uid
        };
        let Some(object) = stands.filter(observed) else {
            return false;
        };
        let mut object = (**object).clone();
        write.change.apply(&mut object);
        if let Some(told) = &write.note {
            self.told
                .push(format!("{}: {}", told.note.reason, told.note.message));
        }
        self.put(write.side, object);
        true
    }

    /// Does what is next. Says whether there was something.
    fn step(&mut self, side: Side, name: &str) -> bool {
        let plan = self.plan(side, name);
        let Some(act) = plan.act else { return false };
        match act {
            Act::Write(write) | Act::Release(write) | Act::Cleaned(_, Some(write)) => self.write(&write),
            Act::Provide { volume, note, .. } => {
                self.told
                    .push(format!("{}: {}", note.note.reason, note.note.message));
                let mut volume = *volume;
                volume["metadata"]["uid"] = json!(format!("uid of {}", volume["metadata"].text("name")));
                volume["status"] = json!({"phase": "Pending"});
                self.put(Side::Volume, volume);
                true
            }
            Act::Destroy { volume, .. } => {
                self.ledger.volume(volume["metadata"].text("name"), None);
                true
            }
            Act::Clean(_) => {
                self.cleaner = Some(Cleaner::AtWork);
                true
            }
            Act::Cleaned(_, None) => {
                self.cleaner = None;
                true
            }
        }
    }

    fn names(&self) -> Vec<(Side, String)> {
        let claims = self
            .ledger
            .claims
            .keys()
            .map(|key| (Side::Claim, key.name.clone()));
        claims
            .chain(
                self.ledger
                    .volumes
                    .keys()
                    .map(|name| (Side::Volume, name.clone())),
            )
            .collect()
    }

    /// Lets the binder do all there is to do, and tell what is left to tell.
    fn settle(&mut self) {
        for _ in 0..100 {
            let moved = self
                .names()
                .into_iter()
                .filter(|(side, name)| self.step(*side, name))
                .count();
            if moved == 0 {
                for (side, name) in self.names() {
                    let notes = self.plan(side, &name).notes.into_iter();
                    let notes = notes.map(|told| format!("{}: {}", told.note.reason, told.note.message));
                    self.told.extend(notes);
                }
                return;
            }
        }
        panic!("the world does not come to rest");
    }

    fn phase_of_claim(&self, name: &str) -> &str {
        Claim(&self.ledger.claims[&ObjectKey::new("ns", name)]).phase()
    }

    fn volume_of(&self, name: &str) -> &str {
        Claim(&self.ledger.claims[&ObjectKey::new("ns", name)]).volume_name()
    }

    fn phase_of_volume(&self, name: &str) -> Option<&str> {
        self.ledger.volumes.get(name).map(|volume| Volume(volume).phase())
    }

    fn forget_claim(&mut self, name: &str) {
        self.ledger.claim(&ObjectKey::new("ns", name), None);
    }
}

fn kept_for(name: &str, uid: Option<&str>) -> Value {
    json!({"claimRef": {"namespace": "ns", "name": name, "uid": uid}})
}

#[test]
fn a_binding_is_four_writes_in_order() {
    let mut world = World::default();
    world.claim("data", "1", json!({}));
    world.volume("v", json!({}));
    assert!(world.step(Side::Volume, "v"), "it becomes available");
    let mut writes = Vec::new();
    while let Some(Act::Write(write)) = world.plan(Side::Claim, "data").act {
        writes.push(match &write.change {
            Change::Refer { mark, .. } => format!("volume refers, marked {mark}"),
            Change::Phase { phase, .. } => format!("volume is {phase}"),
            Change::Bind { volume, mark } => format!("claim has {volume}, marked {mark}"),
            Change::Status(fields) => format!("claim is {}", fields["phase"]),
            other => format!("{other:?}"),
        });
        assert!(world.write(&write));
    }
    assert_eq!(
        writes,
        [
            "volume refers, marked true",
            "volume is Bound",
            "claim has v, marked true",
            "claim is \"Bound\""
        ]
    );
    let claim = &world.ledger.claims[&ObjectKey::new("ns", "data")];
    let annotations =
        json!({"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"});
    assert_eq!(claim["metadata"]["annotations"], annotations);
    assert_eq!(claim["status"]["capacity"], json!({"storage": "1Gi"}));
    assert_eq!(world.ledger.volumes["v"]["spec"]["claimRef"]["uid"], "1");
    world.settle();
    assert!(world.told.is_empty());
}

#[test]
fn what_users_have_chosen_is_not_marked() {
    let mut world = World::default();
    world.claim("data", "1", json!({"volumeName": "v"}));
    world.volume("v", kept_for("data", None));
    world.settle();
    assert_eq!(
        (world.phase_of_claim("data"), world.volume_of("data")),
        ("Bound", "v")
    );
    let annotations = &world.ledger.volumes["v"]["metadata"]["annotations"];
    assert_eq!(annotations, &json!({}));
    world.forget_claim("data");
    world.settle();
    assert_eq!(world.phase_of_volume("v"), Some("Released"));
}

#[test]
fn a_claim_that_cannot_have_what_it_names_waits() {
    let mut world = World::default();
    world.claim(
        "large",
        "1",
        json!({"volumeName": "v", "resources": {"requests": {"storage": "9Gi"}}}),
    );
    world.claim("late", "2", json!({"volumeName": "taken"}));
    world.volume("v", json!({}));
    world.volume("taken", kept_for("first", Some("0")));
    world.put(Side::Claim, json!({
        "metadata": {"namespace": "ns", "name": "first", "uid": "0", "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
        "spec": {"volumeName": "taken"}, "status": {"phase": "Bound"}}));
    world.settle();
    assert_eq!(
        (world.phase_of_claim("large"), world.phase_of_claim("late")),
        ("Pending", "Pending")
    );
    assert!(world.told.contains(
        &"VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small".to_owned()
    ));
    assert!(
        world
            .told
            .contains(&"FailedBinding: volume \"taken\" already bound to a different claim.".to_owned())
    );
}

#[test]
fn a_claim_whose_volume_is_gone_is_lost() {
    let mut world = World::default();
    world.claim("data", "1", json!({}));
    world.volume("v", json!({}));
    world.settle();
    world.ledger.volume("v", None);
    world.settle();
    assert_eq!(world.phase_of_claim("data"), "Lost");
    let lost = "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    assert_eq!(world.told, [lost]);
    // Another of that name that nobody has is taken in its place.
    world.volume("v", json!({}));
    world.settle();
    assert_eq!(world.phase_of_claim("data"), "Bound");
}

#[test]
fn of_two_claims_of_one_volume_one_is_told_so() {
    let mut world = World::default();
    for (name, uid) in [("a", "1"), ("b", "2")] {
        world.put(Side::Claim, json!({
            "metadata": {"namespace": "ns", "name": name, "uid": uid, "annotations": {"pv.kubernetes.io/bind-completed": "yes"}},
            "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}));
    }
    world.volume("v", kept_for("a", Some("1")));
    world.settle();
    assert_eq!(
        (world.phase_of_claim("a"), world.phase_of_claim("b")),
        ("Bound", "Lost")
    );
    assert_eq!(
        world.told,
        ["ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly"]
    );
}

#[test]
fn what_becomes_of_a_volume_is_said_by_its_policy() {
    let gone = |spec: Value| {
        let mut world = World::default();
        world.volume("v", kept_for("data", Some("1")));
        let mut volume = (*world.ledger.volumes["v"]).clone();
        coracle_api::patch::merge::apply(&mut volume["spec"], &spec).unwrap();
        world.put(Side::Volume, volume);
        world.settle();
        (
            world.phase_of_volume("v").map(ToOwned::to_owned),
            world.told.join("; "),
        )
    };
    let of = |phase: &str, told: &str| (Some(phase.to_owned()), told.to_owned());
    assert_eq!(gone(json!({})), of("Released", ""));
    let delete = json!({"persistentVolumeReclaimPolicy": "Delete"});
    assert_eq!(gone(delete), (None, String::new()));
    let elsewhere = json!({"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": "/data"}});
    let why = "VolumeFailedDelete: host_path deleter only supports /tmp/.+ but received provided /data";
    assert_eq!(gone(elsewhere), of("Failed", why));
    let local =
        json!({"persistentVolumeReclaimPolicy": "Delete", "hostPath": null, "local": {"path": "/data"}});
    let why =
        "VolumeFailedDelete: error getting deleter volume plugin for volume \"v\": no volume plugin matched";
    assert_eq!(gone(local), of("Failed", why));
    let local =
        json!({"persistentVolumeReclaimPolicy": "Recycle", "hostPath": null, "local": {"path": "/data"}});
    let why = "VolumeFailedRecycle: No recycler plugin found for the volume!";
    assert_eq!(gone(local), of("Failed", why));
}

#[test]
fn a_volume_is_emptied_before_another_gets_it() {
    let mut world = World {
        users: vec!["ns/web".to_owned()],
        ..World::default()
    };
    let mut spec = kept_for("data", Some("1"));
    spec["persistentVolumeReclaimPolicy"] = json!("Recycle");
    world.volume("v", spec);
    let mut volume = (*world.ledger.volumes["v"]).clone();
    volume["metadata"]["annotations"]["pv.kubernetes.io/bound-by-controller"] = json!("yes");
    world.put(Side::Volume, volume);
    world.settle();
    assert_eq!(
        world.told,
        ["VolumeFailedRecycle: Volume is used by pods: ns/web"]
    );
    world.users.clear();
    let pod = crate::target::Target {
        namespace: "default".to_owned(),
        name: "recycler-for-v".to_owned(),
        uid: "7".to_owned(),
        resource_version: String::new(),
    };
    world.cleaner = Some(Cleaner::Strange(pod.clone()));
    world.settle();
    assert_eq!(
        (world.cleaner.clone(), world.phase_of_volume("v")),
        (Some(Cleaner::AtWork), Some("Released"))
    );
    world.cleaner = Some(Cleaner::Succeeded(pod));
    world.settle();
    assert_eq!(world.phase_of_volume("v"), Some("Available"));
    assert!(!world.ledger.volumes["v"]["spec"].has("claimRef"));
    assert_eq!(world.told.last().unwrap(), "VolumeRecycled: Volume recycled");
}

#[test]
fn a_claim_waits_for_its_first_consumer() {
    let mut world = World::default();
    world.class(
        "late",
        json!({"volumeBindingMode": "WaitForFirstConsumer", "provisioner": "kubernetes.io/no-provisioner"}),
    );
    world.claim("data", "1", json!({"storageClassName": "late"}));
    world.volume("v", json!({"storageClassName": "late"}));
    world.settle();
    assert_eq!(world.phase_of_claim("data"), "Pending");
    assert_eq!(
        world.told,
        ["WaitForFirstConsumer: waiting for first consumer to be created before binding"]
    );
    world.users = vec!["a".to_owned(), "b".to_owned()];
    world.settle();
    assert_eq!(
        world.told[1],
        "WaitForPodScheduled: waiting for pods a,b to be scheduled"
    );
    // The scheduler writes its choice into the volume.
    let mut volume = (*world.ledger.volumes["v"]).clone();
    volume["spec"]["claimRef"] = kept_for("data", Some("1"))["claimRef"].clone();
    world.put(Side::Volume, volume);
    world.settle();
    assert_eq!(world.phase_of_claim("data"), "Bound");
}

#[test]
fn volumes_are_made_by_whom_a_class_names() {
    let provided = |class: Value, makes_folders: bool, claim: Value| {
        let mut world = World {
            makes_folders,
            ..World::default()
        };
        world.class("c", class);
        let mut spec = json!({"storageClassName": "c"});
        coracle_api::patch::merge::apply(&mut spec, &claim).unwrap();
        world.claim("data", "1", spec);
        world.settle();
        (world.phase_of_claim("data").to_owned(), world.told.join("; "))
    };
    let of = |phase: &str, told: &str| (phase.to_owned(), told.to_owned());
    assert_eq!(
        provided(json!({}), true, json!({})),
        of(
            "Bound",
            "ProvisioningSucceeded: Successfully provisioned volume pvc-1 using kubernetes.io/host-path"
        )
    );
    assert_eq!(
        provided(json!({}), false, json!({})),
        of(
            "Pending",
            "ProvisioningFailed: Failed to create provisioner: provisioning in volume plugin \"kubernetes.io/host-path\" is disabled"
        )
    );
    assert_eq!(
        provided(json!({}), true, json!({"volumeMode": "Block"})),
        of(
            "Pending",
            "ProvisioningFailed: Failed to provision volume with StorageClass \"c\": kubernetes.io/host-path does not support block volume provisioning"
        )
    );
    assert_eq!(
        provided(json!({}), true, json!({"storageClassName": "none"})),
        of(
            "Pending",
            "ProvisioningFailed: storageclass.storage.k8s.io \"none\" not found"
        )
    );
    let (phase, told) = provided(json!({"provisioner": "example.test/disks"}), true, json!({}));
    assert_eq!(phase, "Pending");
    assert!(told.starts_with("ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'example.test/disks' or"), "{told}");
}

#[test]
fn a_volume_that_was_made_goes_with_its_claim() {
    let mut world = World {
        makes_folders: true,
        ..World::default()
    };
    world.class(
        "c",
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}}),
    );
    world.claim("data", "1", json!({}));
    world.settle();
    assert_eq!(
        (world.phase_of_claim("data"), world.volume_of("data")),
        ("Bound", "pvc-1")
    );
    let volume = &world.ledger.volumes["pvc-1"];
    assert_eq!(
        volume["metadata"]["finalizers"],
        json!(["kubernetes.io/pv-controller"])
    );
    assert_eq!(volume["spec"]["storageClassName"], "c");
    world.forget_claim("data");
    world.settle();
    assert!(world.ledger.volumes.is_empty());
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Claim(u8),
    ForgetClaim(u8),
    Volume(u8),
    ForgetVolume(u8),
    /// The binder plans for whoever stands at this place, but acts only after the next event.
    Late(usize),
    Step(usize),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u8..4).prop_map(Event::Claim),
        (0u8..4).prop_map(Event::ForgetClaim),
        (0u8..4).prop_map(Event::Volume),
        (0u8..4).prop_map(Event::ForgetVolume),
        (0usize..8).prop_map(Event::Late),
        (0usize..8).prop_map(Event::Step),
        (0usize..8).prop_map(Event::Step),
    ]
}

/// No volume is had by two claims, and no claim that says it is bound has a volume that is another's.
fn nobody_shares(world: &World) -> Result<(), TestCaseError> {
    let mut taken = BTreeSet::new();
    for claim in world.ledger.claims.values().map(|claim| Claim(claim)) {
        if claim.phase() != "Bound" {
            continue;
        }
        prop_assert!(
            taken.insert(claim.volume_name()),
            "{} is had twice",
            claim.volume_name()
        );
        if let Some(volume) = world.ledger.volumes.get(claim.volume_name()) {
            let uid = Volume(volume).claim_ref().map(|reference| reference.text("uid"));
            prop_assert!(
                uid.is_none_or(|uid| uid == claim.uid()),
                "{} has what is another's",
                claim.name()
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever comes between its writes, the binder gives no volume to two, goes on with what it has begun, and comes to rest
    /// with no claim pending for which there is a free volume.
    #[test]
    fn bindings_hold(events in prop::collection::vec(event(), 0..80)) {
        let mut world = World::default();
        let mut late: Option<Act> = None;
        let mut uids = 0;
        for event in events {
            let due = late.take();
            match event {
                Event::Claim(n) if !world.ledger.claims.contains_key(&ObjectKey::new("ns", &format!("c{n}"))) => {
                    uids += 1;
                    world.claim(&format!("c{n}"), &uids.to_string(), json!({}));
                }
                Event::ForgetClaim(n) => world.forget_claim(&format!("c{n}")),
                Event::Volume(n) if !world.ledger.volumes.contains_key(&format!("v{n}")) => world.volume(&format!("v{n}"), json!({})),
                // A volume that is bound is kept by its finalizer.
                Event::ForgetVolume(n) if world.phase_of_volume(&format!("v{n}")) != Some("Bound") => {
                    world.ledger.volume(&format!("v{n}"), None);
                }
                Event::Late(at) => {
                    let names = world.names();
                    late = names.get(at % names.len().max(1)).and_then(|(side, name)| world.plan(*side, name).act);
                }
                Event::Step(at) => {
                    let names = world.names();
                    if let Some((side, name)) = names.get(at % names.len().max(1)).cloned() {
                        world.step(side, &name);
                    }
                }
                Event::Claim(_) | Event::Volume(_) | Event::ForgetVolume(_) => {}
            }
            if let Some(Act::Write(write)) = due {
                world.write(&write);
            }
            nobody_shares(&world)?;
        }
        world.settle();
        nobody_shares(&world)?;
        let pending = world.ledger.claims.values().filter(|claim| Claim(claim).phase() == "Pending").count();
        let free = world.ledger.volumes.values().filter(|volume| Volume(volume).phase() == "Available").count();
        prop_assert!(pending == 0 || free == 0);
    }
}

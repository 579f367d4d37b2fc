//! What is next for a claim. Pure.

use super::{Act, Books, Plan, phase};
use crate::runtime::Note;
use crate::storage::binder::change::{Change, MIGRATED_TO, Side, Told, Write, reference};
use crate::storage::binder::plugins::{HOST_PATH, Who, driver_of, maker};
use coracle_api::object::{Fields, same};
use coracle_api::quote::quote;
use coracle_api::volumes::{
    BOUND_BY_CONTROLLER, Claim, Mode, PROVISIONED_BY, PROVISIONER, PROVISIONER_BETA, Place, Volume,
    annotation, find, unsatisfied,
};
use serde_json::{Map, Value, json};

/// Whether a volume goes to a controller of the built-in plugins before it may go.
pub(super) const PROTECTION: &str = "kubernetes.io/pv-controller";
/// How much a volume held before it was made larger, while its file system has not grown yet.
const BEFORE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

/// The next step for a claim.
pub(crate) fn plan(books: Books<'_>, claim: Claim<'_>) -> Plan {
    let look = Look { books, claim };
    if let Some(write) = look.migrated() {
        return Plan::write(write);
    }
    match (claim.was_bound(), claim.volume_name()) {
        (true, name) => look.bound(name),
        (false, "") => look.unbound(),
        (false, name) => look.named(name),
    }
}

#[derive(Clone, Copy)]
struct Look<'b> {
    books: Books<'b>,
    claim: Claim<'b>,
}

impl<'b> Look<'b> {
    fn write(self, change: Change) -> Write {
        Write::of(Side::Claim, self.claim.0, change)
    }

    fn told(self, note: Note) -> Told {
        Told::of(Side::Claim, self.claim.0, note)
    }

    /// The annotation of the driver that has taken over from the claim's provisioner.
    fn migrated(self) -> Option<Write> {
        let by =
            annotation(self.claim.0, PROVISIONER).or_else(|| annotation(self.claim.0, PROVISIONER_BETA))?;
        let stands = annotation(self.claim.0, MIGRATED_TO).filter(|driver| !driver.is_empty());
        let driver = driver_of(by);
        (stands != driver).then(|| self.write(Change::Migrated(driver)))
    }

    fn volume(self, name: &str) -> Option<Volume<'b>> {
        self.books.volumes.get(name).map(|volume| Volume(volume))
    }

    /// A claim that has been bound before: it keeps its volume, or has lost it.
    fn bound(self, name: &str) -> Plan {
        let lost = |reason: &'static str, message: &str| {
            let note = self.told(Note::warning(reason, message.to_owned()));
            let news = self.claim.phase() != "Lost";
            let write = news.then(|| self.status("Lost", None)).flatten();
            Plan::from(write.map(|write| write.telling(note)))
        };
        if name.is_empty() {
            return lost(
                "ClaimLost",
                "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            );
        }
        let Some(volume) = self.volume(name) else {
            return lost(
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            );
        };
        let is_its = volume
            .claim_ref()
            .is_none_or(|reference| reference.text("uid") == self.claim.uid());
        if is_its {
            return self.bind(volume).into();
        }
        lost(
            "ClaimMisbound",
            "Two claims are bound to the same volume, this one is bound incorrectly",
        )
    }

    /// A claim for which a user has chosen the volume, or which was left half bound.
    fn named(self, name: &str) -> Plan {
        let pending = || Plan::from(self.status("Pending", None));
        let Some(volume) = self.volume(name) else {
            return pending();
        };
        if volume.claim_ref().is_none() {
            return match unsatisfied(volume, self.claim) {
                None => self.bind(volume).into(),
                Some(why) => {
                    let message = format!("Cannot bind to requested volume \"{name}\": {why}");
                    pending().telling(self.told(Note::warning("VolumeMismatch", message)))
                }
            };
        }
        if volume.is_for(self.claim) {
            return self.bind(volume).into();
        }
        let message = format!("volume \"{name}\" already bound to a different claim.");
        let note = self.told(Note::warning("FailedBinding", message));
        // Where the binder has chosen so itself, its own doing has been undone: there is nothing to write.
        let own = annotation(self.claim.0, BOUND_BY_CONTROLLER).is_some();
        let plan = if own { Plan::default() } else { pending() };
        plan.telling(note)
    }

    fn class(self) -> Option<&'b Value> {
        self.books.classes.get(self.claim.class()).map(|class| &**class)
    }

    /// A claim that takes any volume that suits it.
    fn unbound(self) -> Plan {
        let waits = self
            .class()
            .is_some_and(|class| class.text("volumeBindingMode") == "WaitForFirstConsumer");
        let place = if waits {
            Place::LeftToScheduler
        } else {
            Place::Anywhere
        };
        let volumes = self.books.volumes.values().map(|volume| &**volume);
        if let Some(volume) = find(self.claim, volumes, place) {
            return self.bind(volume).into();
        }
        if let Some(class) = self.default_class() {
            return Plan::write(self.write(Change::Class(class.to_owned())));
        }
        let note = if waits && self.claim.selected_node().is_none() {
            self.awaited()
        } else if self.claim.class().is_empty() {
            let message = "no persistent volumes available for this claim and no storage class is set";
            Note::normal("FailedBinding", message.to_owned())
        } else {
            return self.provide();
        };
        Plan::from(self.status("Pending", None)).telling(self.told(note))
    }

    /// The class that a claim gets that does not say which it wants: the newest of those that are marked.
    fn default_class(self) -> Option<&'b str> {
        if self.claim.names_class() {
            return None;
        }
        let marks = [
            "storageclass.kubernetes.io/is-default-class",
            "storageclass.beta.kubernetes.io/is-default-class",
        ];
        let marked = |class: &&Value| marks.iter().any(|mark| annotation(class, mark) == Some("true"));
        let all = self.books.classes.values().map(|class| &**class).filter(marked);
        // They come by name, and the first of the newest is taken.
        let mut newest: Option<&Value> = None;
        for class in all {
            let made = |class: &Value| class["metadata"].text("creationTimestamp").to_owned();
            if newest.is_none_or(|newest| made(class) > made(newest)) {
                newest = Some(class);
            }
        }
        newest.map(|class| class["metadata"].text("name"))
    }

    /// Whom a claim waits for that is bound only once somebody uses it.
    fn awaited(self) -> Note {
        let pods = (self.books.waiting)(self.claim);
        match pods.as_slice() {
            [] => Note::normal(
                "WaitForFirstConsumer",
                "waiting for first consumer to be created before binding".to_owned(),
            ),
            [pod] => Note::normal(
                "WaitForPodScheduled",
                format!("waiting for pod {pod} to be scheduled"),
            ),
            pods => {
                let message = format!("waiting for pods {} to be scheduled", pods.join(","));
                Note::normal("WaitForPodScheduled", message)
            }
        }
    }

    /// The next write of a binding.
    fn bind(self, volume: Volume<'_>) -> Option<Write> {
        let claim = self.claim;
        let mark = !volume.is_for(claim) && annotation(volume.0, BOUND_BY_CONTROLLER).is_none();
        let knows = volume
            .claim_ref()
            .is_some_and(|reference| reference.text("uid") == claim.uid());
        if mark || !(knows && volume.is_for(claim)) {
            let claim = reference(Side::Claim, claim.0);
            return Some(Write::of(Side::Volume, volume.0, Change::Refer { claim, mark }));
        }
        phase(volume, "Bound", "")
            .or_else(|| self.have(volume))
            .or_else(|| self.status("Bound", Some(volume)))
    }

    /// Has the claim name its volume.
    fn have(self, volume: Volume<'_>) -> Option<Write> {
        let chosen = self.claim.volume_name() != volume.name();
        (chosen || !self.claim.was_bound()).then(|| {
            self.write(Change::Bind {
                volume: volume.name().to_owned(),
                mark: chosen,
            })
        })
    }

    /// The claim's status, where it has another.
    fn status(self, phase: &'static str, volume: Option<Volume<'_>>) -> Option<Write> {
        let status = &self.claim.0["status"];
        let mut fields = Map::new();
        let mut set = |name: &str, value: Option<&Value>| {
            if !same(status.field(name), value) {
                fields.insert(name.to_owned(), value.cloned().unwrap_or_default());
            }
        };
        let news = status.text("phase") != phase;
        match volume {
            None => {
                for field in ["accessModes", "capacity", "currentVolumeAttributesClassName"] {
                    set(field, None);
                }
            }
            Some(volume) => {
                set("accessModes", volume.0["spec"].field("accessModes"));
                if news {
                    let before = annotation(volume.0, BEFORE_RESIZE).map(|before| json!({"storage": before}));
                    set(
                        "capacity",
                        before.as_ref().or_else(|| volume.0["spec"].field("capacity")),
                    );
                    let class = volume.0["spec"].field("volumeAttributesClassName");
                    set("currentVolumeAttributesClassName", class);
                }
            }
        }
        set("phase", Some(&json!(phase)));
        (!fields.is_empty()).then(|| self.write(Change::Status(fields)))
    }

    fn failed(self, message: impl Into<String>) -> Plan {
        Plan::default().telling(self.told(Note::warning("ProvisioningFailed", message.into())))
    }

    /// Has a volume made for the claim.
    fn provide(self) -> Plan {
        let Some(class) = self.class() else {
            let name = quote(self.claim.class());
            return self.failed(format!("storageclass.storage.k8s.io {name} not found"));
        };
        let provisioner = class.text("provisioner");
        match maker(provisioner) {
            Who::Nobody(why) => self.failed(why),
            Who::HostPath => self.provide_folder(class),
            Who::Outside(name) => self.expect(&name, driver_of(provisioner)).map_or_else(
                || {
                    let message = format!(
                        "Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
                    );
                    Plan::default().telling(self.told(Note::normal("ExternalProvisioning", message)))
                },
                Plan::write,
            ),
        }
    }

    /// Has the claim say of whom it expects a volume.
    fn expect(self, name: &str, driver: Option<&'static str>) -> Option<Write> {
        let says = annotation(self.claim.0, PROVISIONER) == Some(name);
        let name = name.to_owned();
        (!says).then(|| self.write(Change::Provisioner { name, driver }))
    }

    fn provide_folder(self, class: &Value) -> Plan {
        if self.claim.0["spec"].has("dataSource") {
            let why = "is not a CSI plugin. Only CSI plugin can provision a claim with a datasource";
            return self.failed(format!("plugin {} {why}", quote(HOST_PATH)));
        }
        if let Some(write) = self.expect(HOST_PATH, None) {
            return Plan::write(write);
        }
        let name = format!("pvc-{}", self.claim.uid());
        if self.books.volumes.contains_key(&name) {
            return Plan::default();
        }
        let options: Vec<_> = class
            .items("mountOptions")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let class_name = quote(class["metadata"].text("name"));
        if !options.is_empty() {
            let list = options.join(" ");
            return self.failed(format!(
                "Mount options are not supported by the provisioner but StorageClass {class_name} has mount options [{list}]"
            ));
        }
        if !self.books.makes_folders {
            let plugin = quote(HOST_PATH);
            return self.failed(format!(
                "Failed to create provisioner: provisioning in volume plugin {plugin} is disabled"
            ));
        }
        let selected = self.claim.selected_node();
        if let Some(node) = selected.filter(|node| !(self.books.has_node)(node)) {
            return self.failed(format!(
                "Failed to get target node: node {} not found",
                quote(node)
            ));
        }
        if self.claim.mode() == Mode::Block {
            let why = format!("{HOST_PATH} does not support block volume provisioning");
            let failed = self.failed(format!(
                "Failed to provision volume with StorageClass {class_name}: {why}"
            ));
            return match (selected, failed.notes.into_iter().next()) {
                (Some(_), Some(note)) => Plan::write(self.write(Change::Reschedule).telling(note)),
                (_, note) => note.map(|note| Plan::default().telling(note)).unwrap_or_default(),
            };
        }
        self.folder(name, class)
    }

    fn folder(self, name: String, class: &Value) -> Plan {
        // The claim's uid names the folder, so that whoever tries again makes no second one.
        let path = format!("/tmp/hostpath_pv/{}", self.claim.uid());
        let policy = class.text("reclaimPolicy");
        let modes = match self.claim.0["spec"].field("accessModes") {
            Some(modes) => modes.clone(),
            None => json!(["ReadWriteOnce"]),
        };
        let mut volume = json!({
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "annotations": {
                    "kubernetes.io/createdby": "hostpath-dynamic-provisioner",
                    BOUND_BY_CONTROLLER: "yes",
                    PROVISIONED_BY: HOST_PATH,
                },
            },
            "spec": {
                "persistentVolumeReclaimPolicy": policy,
                "accessModes": modes,
                "capacity": {"storage": self.claim.0["spec"]["resources"]["requests"]["storage"]},
                "hostPath": {"path": path},
                "claimRef": reference(Side::Claim, self.claim.0),
                "storageClassName": self.claim.class(),
            },
        });
        if policy == "Delete" {
            volume["metadata"]["finalizers"] = json!([PROTECTION]);
        }
        let message = format!("Successfully provisioned volume {name} using {HOST_PATH}");
        let note = self.told(Note::normal("ProvisioningSucceeded", message));
        Plan {
            act: Some(Act::Provide {
                path,
                volume: Box::new(volume),
                note,
            }),
            notes: Vec::new(),
        }
    }
}

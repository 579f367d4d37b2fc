//! What is next for a volume. Pure.

use super::claim::PROTECTION;
use super::{Act, Books, Cleaner, Plan, cleaner, phase};
use crate::runtime::{Note, ObjectKey};
use crate::storage::binder::change::{Change, MIGRATED_TO, Side, Told, Write};
use crate::storage::binder::plugins::{Who, driver_of, recyclable, removable, remover};
use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::volumes::{Claim, PROVISIONED_BY, Volume, annotation};
use serde_json::{Value, json};
use std::sync::Arc;

/// The finalizer that provisioners outside put on their volumes.
const PROTECTION_OUTSIDE: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// What more of time a volume has to be emptied, per GiB.
const SECONDS_PER_GIB: i64 = 30;

/// The next step for a volume.
pub(crate) fn plan(books: Books<'_>, object: &Arc<Value>) -> Plan {
    let volume = Volume(object);
    let look = Look {
        books,
        object,
        volume,
    };
    if let Some(write) = look.migrated().or_else(|| look.guarded()) {
        return Plan::write(write);
    }
    let reference = volume
        .claim_ref()
        .filter(|reference| !reference.text("uid").is_empty());
    let Some(reference) = reference else {
        return phase(volume, "Available", "").into();
    };
    let key = ObjectKey::new(reference.text("namespace"), reference.text("name"));
    let claim = books.claims.get(&key).map(|claim| Claim(claim));
    match claim.filter(|claim| claim.uid() == reference.text("uid")) {
        None => look.released(&key),
        Some(claim) if claim.volume_name().is_empty() => look.awaiting(claim),
        Some(claim) if claim.volume_name() == volume.name() => phase(volume, "Bound", "").into(),
        Some(_) => look.superfluous(&key),
    }
}

struct Look<'b> {
    books: Books<'b>,
    object: &'b Arc<Value>,
    volume: Volume<'b>,
}

impl Look<'_> {
    fn write(&self, change: Change) -> Write {
        Write::of(Side::Volume, self.object, change)
    }

    fn told(&self, note: Note) -> Told {
        Told::of(Side::Volume, self.object, note)
    }

    /// The annotation of the driver that has taken over from the plugin that made the volume.
    fn migrated(&self) -> Option<Write> {
        let by = annotation(self.object, PROVISIONED_BY)?;
        let stands = annotation(self.object, MIGRATED_TO).filter(|driver| !driver.is_empty());
        let driver = driver_of(by);
        (stands != driver).then(|| self.write(Change::Migrated(driver)))
    }

    /// The finalizer by which a volume of a built-in plugin is not gone before what it stands for.
    fn guarded(&self) -> Option<Write> {
        let by = annotation(self.object, PROVISIONED_BY)?;
        let stands: Vec<String> = self.object["metadata"]
            .items("finalizers")
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect();
        let mut wanted = stands.clone();
        if driver_of(by).is_some() {
            wanted.retain(|finalizer| finalizer != PROTECTION);
        } else if by.starts_with("kubernetes.io/") {
            wanted.retain(|finalizer| finalizer != PROTECTION_OUTSIDE);
            match self.volume.reclaim_policy() {
                "Delete" if !self.volume.is_going() && !wanted.iter().any(|one| one == PROTECTION) => {
                    wanted.push(PROTECTION.to_owned());
                }
                "Retain" | "Recycle" => wanted.retain(|finalizer| finalizer != PROTECTION),
                _ => {}
            }
        }
        (wanted != stands).then(|| self.write(Change::Finalizers(wanted)))
    }

    fn is_released(&self) -> bool {
        matches!(self.volume.phase(), "Released" | "Failed")
    }

    /// A volume whose claim is gone.
    fn released(&self, key: &ObjectKey) -> Plan {
        if self.is_released() {
            return self.reclaim(key);
        }
        Plan {
            act: phase(self.volume, "Released", "").map(Act::Release),
            notes: Vec::new(),
        }
    }

    /// A volume whose claim has not taken it yet.
    fn awaiting(&self, claim: Claim<'_>) -> Plan {
        if claim.mode() == self.volume.mode() {
            return Plan::default();
        }
        let name = quote(claim.name());
        let of_volume = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim {name} due to incompatible volumeMode."
        );
        let of_claim = format!(
            "Cannot bind PersistentVolume {} to requested PersistentVolumeClaim due to incompatible volumeMode.",
            quote(self.volume.name())
        );
        Plan::default()
            .telling(self.told(Note::warning("VolumeMismatch", of_volume)))
            .telling(Told::of(
                Side::Claim,
                claim.0,
                Note::warning("VolumeMismatch", of_claim),
            ))
    }

    /// A volume whose claim has another.
    fn superfluous(&self, key: &ObjectKey) -> Plan {
        let made = annotation(self.object, PROVISIONED_BY).is_some();
        if !made || self.volume.reclaim_policy() != "Delete" {
            return Plan::write(self.write(Change::LetGo));
        }
        if self.is_released() {
            return self.reclaim(key);
        }
        phase(self.volume, "Released", "").into()
    }

    /// Says that the volume cannot be had again, and why; once.
    fn failed(&self, reason: &'static str, message: &str) -> Plan {
        let note = self.told(Note::warning(reason, message.to_owned()));
        let write = phase(self.volume, "Failed", message).map(|write| write.telling(note));
        write.into()
    }

    fn reclaim(&self, key: &ObjectKey) -> Plan {
        let by_driver = annotation(self.object, MIGRATED_TO).is_some_and(|driver| !driver.is_empty());
        match self.volume.reclaim_policy() {
            _ if by_driver => Plan::default(),
            "Retain" => Plan::default(),
            "Delete" => self.delete(),
            "Recycle" => self.recycle(key),
            _ => {
                let mut plan = self.failed(
                    "VolumeUnknownReclaimPolicy",
                    "Volume has unrecognized PersistentVolumeReclaimPolicy",
                );
                if let Some(Act::Write(write)) = &mut plan.act
                    && let Change::Phase { message, .. } = &mut write.change
                {
                    message.clear();
                }
                plan
            }
        }
    }

    fn delete(&self) -> Plan {
        match remover(self.volume) {
            Who::Outside(_) => Plan::default(),
            Who::Nobody(why) => self.failed("VolumeFailedDelete", &why),
            Who::HostPath => match removable(self.volume) {
                Err(why) => self.failed("VolumeFailedDelete", &why),
                Ok(path) => Plan {
                    act: Some(Act::Destroy {
                        volume: self.object.clone(),
                        path,
                    }),
                    notes: Vec::new(),
                },
            },
        }
    }

    /// Has a pod empty the volume, and then takes it for new. One that could not be emptied is not tried again.
    fn recycle(&self, key: &ObjectKey) -> Plan {
        if self.volume.phase() == "Failed" {
            return Plan::default();
        }
        let users = (self.books.using)(key);
        if !users.is_empty() && !self.books.claims.contains_key(key) {
            let message = format!("Volume is used by pods: {}", users.join(","));
            return Plan::default().telling(self.told(Note::normal("VolumeFailedRecycle", message)));
        }
        let Some((source, least)) = recyclable(self.volume) else {
            return self.failed("VolumeFailedRecycle", "No recycler plugin found for the volume!");
        };
        let act = match (self.books.cleaner)(self.volume) {
            Cleaner::AtWork => None,
            Cleaner::Absent => {
                let gibibytes = self.volume.capacity().value() >> 30;
                let seconds = least.max(gibibytes.saturating_mul(SECONDS_PER_GIB));
                Some(Act::Clean(Box::new(cleaner(self.volume, source, seconds))))
            }
            Cleaner::Strange(pod) => Some(Act::Cleaned(pod, None)),
            Cleaner::Succeeded(pod) => {
                let note = self.told(Note::normal("VolumeRecycled", "Volume recycled".to_owned()));
                Some(Act::Cleaned(pod, Some(self.write(Change::LetGo).telling(note))))
            }
            Cleaner::Failed(pod, why) => {
                let message = format!("Recycle failed: failed to recycle volume: {why}");
                let note = self.told(Note::warning("VolumeFailedRecycle", message.clone()));
                let write = phase(self.volume, "Failed", &message).map(|write| write.telling(note));
                Some(Act::Cleaned(pod, write))
            }
        };
        Plan {
            act,
            notes: Vec::new(),
        }
    }
}

/// Whom a claim is that a volume refers to, for whoever asks the API server.
pub(crate) fn is_still_its(volume: &Value, claim: Option<&Value>) -> bool {
    let (reference, none) = (&volume["spec"]["claimRef"], json!({}));
    let claim = Claim(claim.unwrap_or(&none));
    let name = claim.volume_name();
    claim.uid() == reference.text("uid") && (name.is_empty() || name == volume["metadata"].text("name"))
}

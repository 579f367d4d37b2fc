//! Carrying out what is planned.

use super::Binder;
use super::change::{Change, Side, Told, Write};
use super::folders;
use super::plan::{Act, CLEANERS, is_still_its};
use crate::observed::Pod;
use crate::runtime::write;
use crate::runtime::{Note, ReconcileError};
use crate::target::Target;
use coracle_api::object::Fields;
use coracle_api::volumes::Volume;
use k8s_openapi::api::core::v1;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::Value;
use std::sync::Arc;

/// By what the folder of a volume is protected until it is gone.
const PROTECTION: &str = "kubernetes.io/pv-controller";

impl Binder {
    pub(super) async fn act(&self, act: Act) -> Result<(), ReconcileError> {
        match act {
            Act::Write(write) => self.write(write).await,
            Act::Release(write) => {
                let volume = self.volume(&write.target);
                self.confirm_release(volume.as_deref()).await?;
                self.write(write).await
            }
            Act::Provide { path, volume, note } => self.provide(path, *volume, note).await,
            Act::Destroy { volume, path } => self.destroy(&volume, path).await,
            Act::Clean(pod) => self.clean(*pod).await,
            Act::Cleaned(pod, write) => self.cleaned(&pod, write).await,
        }
    }

    fn volume(&self, target: &Target) -> Option<Arc<Value>> {
        super::locked(&self.ledger).volumes.get(&target.name).cloned()
    }

    async fn write(&self, planned: Write) -> Result<(), ReconcileError> {
        let Write {
            side,
            target,
            change,
            note,
        } = planned;
        let api = self.api(side, &target.namespace);
        let written = write::update(&api, &target, change.part(), |object| edit(object, &change));
        match written.await {
            Ok(object) => self.seen(side, object.metadata.resource_version.as_deref()).await,
            Err(error) if error.is_gone() => return Err(ReconcileError::Stale(target.name)),
            Err(error) => return Err(error),
        }
        if let Some(note) = note {
            self.tell(note);
        }
        Ok(())
    }

    /// Makes sure that the claim is gone of which the cache does not know: what belonged to it is about to be given away.
    async fn confirm_release(&self, volume: Option<&Value>) -> Result<(), ReconcileError> {
        let reference = volume.and_then(|volume| Volume(volume).claim_ref());
        let Some((volume, reference)) = volume.zip(reference) else {
            return Ok(());
        };
        let (namespace, name) = (reference.text("namespace"), reference.text("name"));
        let claim = self.api(Side::Claim, namespace).get_opt(name).await;
        let claim = claim.map_err(ReconcileError::request(format!(
            "reading claim {namespace}/{name}"
        )))?;
        let claim = claim.and_then(|claim| serde_json::to_value(claim).ok());
        if is_still_its(volume, claim.as_ref()) {
            return Err(ReconcileError::Stale(format!("{namespace}/{name}")));
        }
        Ok(())
    }

    async fn provide(&self, path: String, volume: Value, note: Told) -> Result<(), ReconcileError> {
        let name = Volume(&volume).name().to_owned();
        let class = Volume(&volume).class().to_owned();
        let claim = note.about.clone();
        let fail = |message: String| {
            let note = Note::warning("ProvisioningFailed", message.clone());
            let about = claim.clone();
            self.tell(Told { about, note });
            ReconcileError::Unexpected(message)
        };
        folders::make(&path).await.map_err(|error| {
            fail(format!(
                "Failed to provision volume with StorageClass \"{class}\": {error}"
            ))
        })?;
        let object: DynamicObject = serde_json::from_value(volume.clone())
            .map_err(|error| ReconcileError::Unexpected(format!("volume {name}: {error}")))?;
        let made = self
            .api(Side::Volume, "")
            .create(&PostParams::default(), &object)
            .await;
        match made {
            Ok(made) => {
                self.seen(Side::Volume, made.metadata.resource_version.as_deref())
                    .await;
                self.tell(note);
                Ok(())
            }
            Err(error) if write::is_conflict(&error) => Err(ReconcileError::Stale(name)),
            Err(error) => {
                // The folder stays for the next try, which takes the same one.
                let (reference, why) = (&volume["spec"]["claimRef"], write::api_message(&error));
                let claim = format!("{}/{}", reference.text("namespace"), reference.text("name"));
                Err(fail(format!(
                    "Error creating provisioned PV object for claim {claim}: {why}."
                )))
            }
        }
    }

    async fn destroy(&self, volume: &Arc<Value>, path: String) -> Result<(), ReconcileError> {
        self.confirm_release(Some(volume)).await?;
        // Only a control plane that makes folders can tell that the folder of this machine is the one that is meant.
        if self.makes_folders
            && let Err(error) = folders::remove(&path).await
        {
            let message = error.to_string();
            let failed = Change::Phase {
                phase: "Failed",
                message: message.clone(),
            };
            let told = Told::of(
                Side::Volume,
                volume,
                Note::warning("VolumeFailedDelete", message.clone()),
            );
            if Volume(volume).phase() != "Failed" {
                self.write(Write::of(Side::Volume, volume, failed).telling(told))
                    .await?;
            }
            return Err(ReconcileError::Unexpected(message));
        }
        let mut finalizers: Vec<String> =
            serde_json::from_value(volume["metadata"]["finalizers"].clone()).unwrap_or_default();
        let mut planned = Write::of(Side::Volume, volume, Change::Finalizers(Vec::new()));
        if finalizers.iter().any(|finalizer| finalizer == PROTECTION) {
            finalizers.retain(|finalizer| finalizer != PROTECTION);
            planned.change = Change::Finalizers(finalizers);
            self.write(planned.clone()).await?;
        }
        let api = self.api(Side::Volume, "");
        let deleted = write::delete(&api, &planned.target, None).await;
        let deleted = deleted.map_err(ReconcileError::request(format!(
            "deleting volume {}",
            planned.target.name
        )));
        self.seen(Side::Volume, deleted?.as_deref()).await;
        Ok(())
    }

    async fn clean(&self, pod: Value) -> Result<(), ReconcileError> {
        let name = pod["metadata"].text("name").to_owned();
        let volume = name
            .strip_prefix(&super::cleaner_name(""))
            .unwrap_or_default()
            .to_owned();
        let pod: v1::Pod = serde_json::from_value(pod)
            .map_err(|error| ReconcileError::Unexpected(format!("pod {name}: {error}")))?;
        let made = write::create_pod(&self.client, &pod).await;
        let made = made.map_err(ReconcileError::request(format!("creating pod {name}")))?;
        {
            let mut own = self.cleaners.lock().expect("no holder of the lock panics");
            own.insert(volume, made.metadata.uid.unwrap_or_default());
        }
        self.pods
            .shows(self.pods.mark(made.metadata.resource_version.as_deref()))
            .await;
        Ok(())
    }

    async fn cleaned(&self, pod: &Target, write: Option<Write>) -> Result<(), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), CLEANERS);
        let deleted = write::delete(&api, pod, None).await;
        let deleted = deleted.map_err(ReconcileError::request(format!("deleting pod {}", pod.name)));
        self.pods.shows(self.pods.mark(deleted?.as_deref())).await;
        match write {
            Some(write) => self.write(write).await,
            // Once it is gone, another is made.
            None => Err(ReconcileError::Waiting(format!(
                "pod {} is to go first",
                pod.name
            ))),
        }
    }
}

/// Makes the change in an object as it came, fields that this program does not know included.
fn edit(object: &mut DynamicObject, change: &Change) {
    let Ok(mut whole) = serde_json::to_value(&*object) else {
        return;
    };
    change.apply(&mut whole);
    if let Ok(changed) = serde_json::from_value(whole) {
        *object = changed;
    }
}

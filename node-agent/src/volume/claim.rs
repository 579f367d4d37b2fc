//! Volumes that a pod has by way of claims: which they are, and whether the pod may have them here. Pure.
//!
//! What is read is judged as upstream's kubelet judges it: the claim is bound, the volume is for this very claim, it may be used
//! on this node, and it shows itself as containers want it.

use coracle_api::object::Fields;
use coracle_api::volumes::{Claim, Mode, Volume as Persistent, affine, made_for};
use k8s_openapi::api::core::v1::{HostPathVolumeSource, Pod, Volume};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Mounted;

/// The finalizer that keeps a claim which pods use.
const PROTECTION: &str = "kubernetes.io/pvc-protection";

/// A pod's volume that is had by way of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// As the pod calls it.
    pub(crate) volume: String,
    /// The claim's name.
    pub(crate) claim: String,
    /// Containers may not write to it.
    read_only: bool,
    /// The claim was made for the pod.
    own: bool,
    /// Containers mount it.
    mounted: bool,
    /// Containers want it as a device.
    device: bool,
}

/// Where a claim's volume lies.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Origin {
    HostPath(HostPathVolumeSource),
    Local(PathBuf),
}

/// What there is for one of a pod's claims.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Found {
    /// It was made ready before.
    Ready(Mounted),
    /// A volume, as the API calls it.
    Persistent {
        name: String,
        origin: Origin,
        read_only: bool,
    },
}

/// The volumes of a pod that are had by way of claims, and that containers use.
pub(crate) fn claimed(pod: &Pod) -> Vec<Claimed> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let containers = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    let mounts = |name: &str| {
        containers().any(|container| {
            container
                .volume_mounts
                .iter()
                .flatten()
                .any(|mount| mount.name == name)
        })
    };
    let devices = |name: &str| {
        containers().any(|container| {
            container
                .volume_devices
                .iter()
                .flatten()
                .any(|device| device.name == name)
        })
    };
    let of = |volume: &Volume| {
        let (claim, read_only, own) = named(pod, volume)?;
        let (mounted, device) = (mounts(&volume.name), devices(&volume.name));
        (mounted || device).then(|| Claimed {
            volume: volume.name.clone(),
            claim,
            read_only,
            own,
            mounted,
            device,
        })
    };
    spec.volumes.iter().flatten().filter_map(of).collect()
}

/// The claim of a volume, whether it is read-only, and whether it is made for the pod.
fn named(pod: &Pod, volume: &Volume) -> Option<(String, bool, bool)> {
    if let Some(source) = &volume.persistent_volume_claim {
        return Some((
            source.claim_name.clone(),
            source.read_only.unwrap_or(false),
            false,
        ));
    }
    volume.ephemeral.as_ref()?;
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    Some((made_for(pod, &volume.name), false, true))
}

/// Whether a volume is had by way of a claim.
pub(crate) fn is_claimed(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

/// The name of the claim's volume, or why there is none to be had.
pub(crate) fn volume_of<'c>(pod: &Pod, claimed: &Claimed, claim: &'c Value) -> Result<&'c str, String> {
    let read = Claim(claim);
    let place = format!(
        "{}/{}",
        pod.metadata.namespace.as_deref().unwrap_or_default(),
        claimed.claim
    );
    let fault = |why: &str| Err(format!("error processing PVC {place}: {why}"));
    let kept = claim["metadata"]
        .items("finalizers")
        .iter()
        .any(|finalizer| finalizer == PROTECTION);
    if read.is_going() && !kept {
        return fault("PVC is being deleted");
    }
    if read.phase() != "Bound" {
        return fault("PVC is not bound");
    }
    if read.volume_name().is_empty() {
        return fault("PVC has empty pvc.Spec.VolumeName");
    }
    if claimed.own && !read.is_made_for(pod.metadata.uid.as_deref().unwrap_or_default()) {
        let owner = pod.metadata.name.as_deref().unwrap_or_default();
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        return Err(format!(
            "PVC {place} was not created for pod {namespace}/{owner} (pod is not owner)"
        ));
    }
    Ok(read.volume_name())
}

/// What the volume is here, or why the pod cannot have it.
pub(crate) fn origin(
    claimed: &Claimed,
    claim: &Value,
    volume: &Value,
    labels: Option<&BTreeMap<String, String>>,
) -> Result<Found, String> {
    let (claim, read) = (Claim(claim), Persistent(volume));
    let name = read.name();
    let place = format!("{}/{}", claim.namespace(), claim.name());
    let fault = |why: String| Err(format!("error processing PVC {place}: {why}"));
    let Some(reference) = read.claim_ref() else {
        return fault(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    let uid = reference.text("uid");
    if uid != claim.uid() {
        return fault(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {uid} does not point to claim.UID {}",
            claim.uid()
        ));
    }
    let shows = read.mode();
    let unlike = |field: &str| {
        let volume = &claimed.volume;
        Err(format!(
            "volume {volume} has volumeMode {shows}, but is specified in {field}"
        ))
    };
    match shows {
        Mode::Block if claimed.mounted => return unlike("volumeMounts"),
        Mode::Filesystem if claimed.device => return unlike("volumeDevices"),
        Mode::Block => {
            let why = "this node offers no block devices of claims";
            return Err(format!(
                "MapVolume.SetUpDevice failed for volume \"{name}\" : {why}"
            ));
        }
        Mode::Filesystem => {}
    }
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    if !affine(read, &label) {
        let why = "no matching NodeSelectorTerms";
        return Err(format!(
            "MountVolume.NodeAffinity check failed for volume \"{name}\" : {why}"
        ));
    }
    Ok(Found::Persistent {
        name: name.to_owned(),
        origin: source(read)?,
        read_only: claimed.read_only,
    })
}

fn source(volume: Persistent<'_>) -> Result<Origin, String> {
    let (spec, name) = (&volume.0["spec"], volume.name());
    if let Some(path) = spec.field("hostPath") {
        let source = serde_json::from_value(path.clone());
        return source
            .map(Origin::HostPath)
            .map_err(|error| format!("volume \"{name}\": {error}"));
    }
    if let Some(local) = spec.field("local") {
        return Ok(Origin::Local(PathBuf::from(local.text("path"))));
    }
    if let Some(csi) = spec.field("csi") {
        let driver = csi.text("driver");
        let why = format!("driver name {driver} not found in the list of registered CSI drivers");
        return Err(format!("MountVolume.SetUp failed for volume \"{name}\" : {why}"));
    }
    Err(format!(
        "volume \"{name}\" has a source that this node does not support"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"namespace": "ns", "name": "web", "uid": "7"},
            "spec": {
                "containers": [{"name": "c", "volumeMounts": [
                    {"name": "data", "mountPath": "/data"}, {"name": "own", "mountPath": "/own"}]}],
                "volumes": [
                    {"name": "data", "persistentVolumeClaim": {"claimName": "claim", "readOnly": true}},
                    {"name": "own", "ephemeral": {}},
                    {"name": "unused", "persistentVolumeClaim": {"claimName": "other"}},
                    {"name": "plain", "emptyDir": {}}],
            },
        }))
        .unwrap()
    }

    fn claim(change: Value) -> Value {
        let mut claim = json!({
            "metadata": {"namespace": "ns", "name": "claim", "uid": "1"},
            "spec": {"volumeName": "v"}, "status": {"phase": "Bound"},
        });
        coracle_api::patch::merge::apply(&mut claim, &change).unwrap();
        claim
    }

    fn volume(change: Value) -> Value {
        let mut volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": "1"}, "hostPath": {"path": "/x"}}});
        coracle_api::patch::merge::apply(&mut volume["spec"], &change).unwrap();
        volume
    }

    #[test]
    fn only_what_containers_use_is_asked_for() {
        let all = claimed(&pod());
        let names: Vec<_> = all
            .iter()
            .map(|one| (one.volume.as_str(), one.claim.as_str(), one.read_only))
            .collect();
        assert_eq!(names, [("data", "claim", true), ("own", "web-own", false)]);
    }

    #[test]
    fn a_claim_has_to_be_bound_and_the_pod_s() {
        let (pod, all) = (pod(), claimed(&pod()));
        let of = |at: usize, change: Value| volume_of(&pod, &all[at], &claim(change)).map(ToOwned::to_owned);
        let fault = |why: &str| Err(format!("error processing PVC ns/claim: {why}"));
        assert_eq!(of(0, json!({})).as_deref(), Ok("v"));
        assert_eq!(
            of(0, json!({"status": {"phase": "Pending"}})),
            fault("PVC is not bound")
        );
        let going = json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert_eq!(of(0, going.clone()), fault("PVC is being deleted"));
        let mut kept = going;
        kept["metadata"]["finalizers"] = json!([PROTECTION]);
        assert!(of(0, kept).is_ok());
        let others = "PVC ns/web-own was not created for pod ns/web (pod is not owner)";
        assert_eq!(of(1, json!({})), Err(others.to_owned()));
        let owner = json!({"metadata": {"ownerReferences": [{"uid": "7", "controller": true}]}});
        assert!(of(1, owner).is_ok());
    }

    #[test]
    fn a_volume_has_to_be_the_claim_s_and_here() {
        let data = &claimed(&pod())[0];
        let of = |change: Value, zone: &str| {
            let labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
            origin(data, &claim(json!({})), &volume(change), Some(&labels))
        };
        let expected = Found::Persistent {
            name: "v".to_owned(),
            origin: Origin::HostPath(HostPathVolumeSource {
                path: "/x".to_owned(),
                type_: None,
            }),
            read_only: true,
        };
        assert_eq!(of(json!({}), "a"), Ok(expected));
        assert!(
            of(json!({"claimRef": {"uid": "2"}}), "a")
                .unwrap_err()
                .contains("does not point to claim.UID 1")
        );
        assert!(
            of(json!({"claimRef": null}), "a")
                .unwrap_err()
                .contains("nil pv.Spec.ClaimRef")
        );
        let block = of(json!({"volumeMode": "Block"}), "a");
        assert_eq!(
            block.unwrap_err(),
            "volume data has volumeMode Block, but is specified in volumeMounts"
        );
        let term = json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]});
        let bound = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}, "hostPath": null, "local": {"path": "/l"}});
        assert!(of(bound.clone(), "a").is_ok());
        assert!(
            of(bound, "b")
                .unwrap_err()
                .ends_with("no matching NodeSelectorTerms")
        );
        let driver = of(json!({"hostPath": null, "csi": {"driver": "d.test"}}), "a");
        assert!(driver.unwrap_err().contains("driver name d.test not found"));
    }
}

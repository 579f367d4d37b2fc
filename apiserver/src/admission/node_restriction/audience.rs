//! For which audiences the tokens of a pod may be (KEP-4412): those of its volumes, those of the CSI drivers that its
//! volumes need, and those that the node is authorized for.

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use serde_json::Value;

use super::Write;
use super::tokens::text_at;
use crate::authz;
use crate::reader::{GroupResource, ObjectReader};

/// Volumes of old that a CSI driver has taken over, and which.
const MIGRATED: [(&str, &str); 7] = [
    ("awsElasticBlockStore", "ebs.csi.aws.com"),
    ("gcePersistentDisk", "pd.csi.storage.gke.io"),
    ("cinder", "cinder.csi.openstack.org"),
    ("azureDisk", "disk.csi.azure.com"),
    ("azureFile", "file.csi.azure.com"),
    ("vsphereVolume", "csi.vsphere.vmware.com"),
    ("portworxVolume", "pxd.portworx.com"),
];

/// Whether the node of a write may ask for a token of `pod` for this audience.
///
/// # Errors
/// Why not.
pub(super) fn check(write: &Write<'_>, pod: &Value, audience: &str) -> Result<(), String> {
    let shown = quote(audience);
    let named = asked_by(write.cluster.reader, pod, audience)
        .map_err(|why| format!("error validating audience {shown}: {why}"))?;
    if named {
        return Ok(());
    }
    let (user, attributes) = (write.attributes.user, write.attributes);
    let question = authz::Attributes::resource(user, "request-serviceaccounts-token-audience", "", audience)
        .in_namespace(attributes.namespace)
        .named(attributes.name);
    if write.cluster.questions.allow(&question) {
        return Ok(());
    }
    let user = &user.name;
    Err(format!(
        "audience {shown} not found in pod spec volume, {user} is not authorized to request tokens for this audience"
    ))
}

/// Whether a pod's volumes want tokens for an audience. What could not be looked up counts only where nothing else does.
fn asked_by(reader: &dyn ObjectReader, pod: &Value, audience: &str) -> Result<bool, String> {
    let mut faults = Vec::new();
    for volume in pod["spec"].items("volumes") {
        let sources = volume["projected"].items("sources").iter();
        let mut tokens = sources.filter_map(|source| source.field("serviceAccountToken"));
        if tokens.any(|token| token.text("audience") == audience) {
            return Ok(true);
        }
        let wanted = driver(reader, pod, volume).and_then(|driver| match driver {
            Some(driver) => has_audience(reader, &driver, audience),
            None => Ok(false),
        });
        match wanted {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(fault) => faults.push(fault),
        }
    }
    match faults.as_slice() {
        [] => Ok(false),
        [one] => Err(one.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

/// The CSI driver of a volume.
fn driver(reader: &dyn ObjectReader, pod: &Value, volume: &Value) -> Result<Option<String>, String> {
    if volume["ephemeral"].has("volumeClaimTemplate") {
        let (pod_name, name) = (pod["metadata"].text("name"), volume.text("name"));
        return driver_of_claim(reader, pod, &format!("{pod_name}-{name}"));
    }
    if volume.has("persistentVolumeClaim") {
        return driver_of_claim(reader, pod, volume["persistentVolumeClaim"].text("claimName"));
    }
    Ok(driver_of_source(volume))
}

fn driver_of_source(source: &Value) -> Option<String> {
    if source.has("csi") {
        return Some(source["csi"].text("driver").to_owned());
    }
    let mut migrated = MIGRATED.iter().filter(|(field, _)| source.has(field));
    migrated.next().map(|(_, driver)| (*driver).to_owned())
}

fn driver_of_claim(reader: &dyn ObjectReader, pod: &Value, claim: &str) -> Result<Option<String>, String> {
    let claims = GroupResource::new("", "persistentvolumeclaims");
    let found = reader.get(&claims, pod["metadata"].text("namespace"), claim);
    let found = found.ok_or_else(|| format!("persistentvolumeclaim {} not found", quote(claim)))?;
    let name = text_at(&found, "/spec/volumeName");
    let volume = reader.get(&GroupResource::new("", "persistentvolumes"), "", name);
    let volume = volume.ok_or_else(|| format!("persistentvolume {} not found", quote(name)))?;
    Ok(driver_of_source(&volume["spec"]))
}

fn has_audience(reader: &dyn ObjectReader, driver: &str, audience: &str) -> Result<bool, String> {
    let drivers = GroupResource::new("storage.k8s.io", "csidrivers");
    let found = reader.get(&drivers, "", driver);
    let found = found.ok_or_else(|| format!("csidriver.storage.k8s.io {} not found", quote(driver)))?;
    let requests = found["spec"].items("tokenRequests").iter();
    let mut audiences = requests.map(|request| request.text("audience"));
    Ok(audiences.any(|wanted| wanted == audience))
}

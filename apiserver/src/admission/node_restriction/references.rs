//! What objects of the API a pod refers to. A mirror pod refers to none: its node would get to read them. Pure.

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::references;
use serde_json::Value;

/// Volumes that nothing in the API stands behind.
const PLAIN: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];

/// Volumes that refer to something, and to what.
const REFERRING: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];

/// Sources of projected volumes that do.
const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// What a pod refers to, in the words of the refusal; none where it refers to nothing.
///
/// # Errors
/// A volume of a kind that nobody knows.
pub(super) fn of(pod: &Value) -> Result<Option<&'static str>, String> {
    let spec = &pod["spec"];
    if !spec.text("serviceAccountName").is_empty() {
        return Ok(Some("serviceaccounts"));
    }
    if !references::secrets(spec).is_empty() {
        return Ok(Some("secrets"));
    }
    if !references::config_maps(spec).is_empty() {
        return Ok(Some("configmaps"));
    }
    if spec.count("resourceClaims") > 0 {
        return Ok(Some("resourceclaims"));
    }
    for volume in spec.items("volumes") {
        if let Some(what) = of_volume(volume)? {
            return Ok(Some(what));
        }
    }
    Ok(None)
}

fn of_volume(volume: &Value) -> Result<Option<&'static str>, String> {
    let found = |table: &[(&str, &'static str)], holder: &Value| {
        let mut hits = table.iter().filter(|(field, _)| holder.has(field));
        hits.next().map(|(_, what)| *what)
    };
    if PLAIN.iter().any(|source| volume.has(source)) {
        return Ok(None);
    }
    if let Some(what) = found(&REFERRING, volume) {
        return Ok(Some(what));
    }
    let name = quote(volume.text("name"));
    if !volume.has("projected") {
        return Err(format!("unknown volume type for volume  {name}"));
    }
    for source in volume["projected"].items("sources") {
        match found(&PROJECTED, source) {
            Some(what) => return Ok(Some(what)),
            None if source.has("downwardAPI") => {}
            None => return Err(format!("unknown source for projected volume {name}")),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_names_an_object_is_seen() {
        let table = [
            (json!({"containers": [{"name": "a"}]}), Ok(None)),
            (json!({"serviceAccountName": "x"}), Ok(Some("serviceaccounts"))),
            (json!({"imagePullSecrets": [{"name": "s"}]}), Ok(Some("secrets"))),
            (
                json!({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "s"}}}]}]}),
                Ok(Some("secrets")),
            ),
            (
                json!({"containers": [{"envFrom": [{"configMapRef": {"name": "c"}}]}]}),
                Ok(Some("configmaps")),
            ),
            (
                json!({"resourceClaims": [{"name": "r"}]}),
                Ok(Some("resourceclaims")),
            ),
            (
                json!({"volumes": [{"name": "v", "iscsi": {"secretRef": {"name": "s"}}}]}),
                Ok(Some("secrets")),
            ),
            (
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
                Ok(None),
            ),
            (
                json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]}),
                Ok(Some("persistentvolumeclaims")),
            ),
            (
                json!({"volumes": [{"name": "v", "projected": {"sources": [{"downwardAPI": {}}, {"serviceAccountToken": {}}]}}]}),
                Ok(Some("serviceaccounts (via projected volumes)")),
            ),
            (
                json!({"volumes": [{"name": "v", "new": {}}]}),
                Err("unknown volume type for volume  \"v\"".to_owned()),
            ),
        ];
        for (spec, want) in table {
            assert_eq!(of(&json!({ "spec": spec })), want, "{spec}");
        }
    }
}

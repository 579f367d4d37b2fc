//! Volumes, claims and drivers.

use serde_json::Value;

use super::{Warnings, nodes, unchanged};
use crate::object::Fields;
use crate::quantity::Quantity;
use crate::quote::quote;
use crate::validation::Path;

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
const OLD_CLASS: &str = "deprecated since v1.8; use \"storageClassName\" attribute instead";

/// Kinds of volumes that are no longer to be used, as the API names them and as upstream's words do.
const GONE: [(&str, &str, &str); 9] = [
    (
        "photonPersistentDisk",
        "photonPersistentDisk",
        "deprecated in v1.11, non-functional in v1.16+",
    ),
    (
        "gitRepo",
        "gitRepo",
        "deprecated in v1.11, and disabled by default in v1.33+",
    ),
    (
        "scaleIO",
        "scaleIO",
        "deprecated in v1.16, non-functional in v1.22+",
    ),
    (
        "flocker",
        "flocker",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "storageos",
        "storageOS",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "quobyte",
        "quobyte",
        "deprecated in v1.22, non-functional in v1.25+",
    ),
    (
        "glusterfs",
        "glusterfs",
        "deprecated in v1.25, non-functional in v1.26+",
    ),
    (
        "cephfs",
        "cephfs",
        "deprecated in v1.28, non-functional in v1.31+",
    ),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// A source of a pod's volume that is no longer to be used.
pub(super) fn source(volume: &Value, at: &Path<'_>, found: &mut Warnings) {
    for (_, shown, text) in GONE.iter().filter(|(name, ..)| volume.has(name)) {
        found.at(&at.child(shown), text);
    }
    let claim = &volume["ephemeral"]["volumeClaimTemplate"]["spec"];
    claim_spec(claim, &at.child("ephemeral.volumeClaimTemplate.spec"), found);
}

pub(super) fn volume(object: &Value, found: &mut Warnings) {
    let (spec, at) = (&object["spec"], Path::new("spec"));
    let annotations = &object["metadata"]["annotations"];
    let deprecated = [
        (CLASS_ANNOTATION, OLD_CLASS),
        (
            "volume.beta.kubernetes.io/mount-options",
            "deprecated since v1.31; use \"mountOptions\" attribute instead",
        ),
    ];
    for (name, text) in deprecated.into_iter().filter(|(name, _)| annotations.has(name)) {
        found.at(&Path::new("metadata.annotations").key(name), text);
    }
    if spec.text("persistentVolumeReclaimPolicy") == "Recycle" {
        let text = "The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
        found.at(&at.child("persistentVolumeReclaimPolicy"), text);
    }
    let list = at.child("nodeAffinity.required.nodeSelectorTerms");
    let terms = spec["nodeAffinity"]["required"].items("nodeSelectorTerms");
    for (index, term) in terms.iter().enumerate() {
        nodes::term(term, false, &list.index(index), found);
    }
    let order = [
        "cephfs",
        "photonPersistentDisk",
        "scaleIO",
        "storageos",
        "glusterfs",
        "rbd",
    ];
    for name in order.into_iter().filter(|name| spec.has(name)) {
        for (_, shown, text) in GONE.iter().filter(|(gone, ..)| *gone == name) {
            found.at(&at.child(shown), text);
        }
    }
}

pub(super) fn claim(object: &Value, found: &mut Warnings) {
    if object["metadata"]["annotations"].has(CLASS_ANNOTATION) {
        found.at(
            &Path::new("metadata.annotations").key(CLASS_ANNOTATION),
            OLD_CLASS,
        );
    }
    claim_spec(&object["spec"], &Path::new("spec"), found);
}

pub(super) fn claim_spec(spec: &Value, at: &Path<'_>, found: &mut Warnings) {
    let at = at.child("resources");
    for name in ["requests", "limits"] {
        fraction(&spec["resources"][name], "storage", &at.child(name), found);
    }
}

/// Bytes are whole.
pub(super) fn fraction(amounts: &Value, name: &str, at: &Path<'_>, found: &mut Warnings) {
    let text = amounts.text(name);
    if text
        .parse::<Quantity>()
        .is_ok_and(|amount| !amount.is_multiple_of(0))
    {
        let text = format!(
            "fractional byte value {} is invalid, must be an integer",
            quote(text)
        );
        found.at(&at.key(name), text);
    }
}

pub(super) fn claim_templates(object: &Value, found: &mut Warnings) {
    let list = Path::new("spec.volumeClaimTemplates");
    for (index, claim) in object["spec"].items("volumeClaimTemplates").iter().enumerate() {
        claim_spec(&claim["spec"], &list.index(index), found);
    }
    if object["spec"]
        .number("revisionHistoryLimit")
        .is_some_and(|limit| limit < 0)
    {
        let text = "a negative value retains all historical revisions; a value >= 0 is recommended";
        found.at(&Path::new("spec.revisionHistoryLimit"), text);
    }
}

pub(super) fn driver(object: &Value, old: Option<&Value>, found: &mut Warnings) {
    let spec = &object["spec"];
    let asked = |spec: &Value| spec["tokenRequests"].clone();
    let as_before = old.is_some_and(|old| unchanged(&asked(spec), &asked(&old["spec"])));
    if spec.count("tokenRequests") > 0 && !as_before && !spec.has("serviceAccountTokenInSecrets") {
        found.add(
            "spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"
                .to_owned(),
        );
    }
}

//! What a client is told besides when it writes an object that is in order: fields that are deprecated or do nothing, and
//! values that surprise. Upstream's strategies say so in `Warning` headers, whose words these are.
//!
//! The rules read objects as they were accepted: decoded, filled in with defaults, and valid.

mod addresses;
mod definitions;
mod nodes;
mod paths;
mod pods;
mod ports;
mod secrets;
mod services;
mod storage;

use serde_json::Value;

use crate::names;
use crate::object::{Fields, same};
use crate::quote::quote;
use crate::table::Gvk;
use crate::validation::Path;

/// What was found so far, each said once.
#[derive(Debug, Default, PartialEq)]
struct Warnings(Vec<String>);

impl Warnings {
    fn add(&mut self, text: String) {
        if !self.0.contains(&text) {
            self.0.push(text);
        }
    }

    /// Says something about a place.
    fn at(&mut self, place: &Path<'_>, text: impl std::fmt::Display) {
        self.add(format!("{place}: {text}"));
    }
}

/// What is said to everybody who asks for a kind that is on its way out.
pub fn deprecated(gvk: Gvk) -> Option<String> {
    let (since, instead) = match (gvk.group, gvk.version, gvk.kind) {
        ("", "v1", "ComponentStatus") => ("v1.19+", ""),
        ("", "v1", "Endpoints") => ("v1.33+", "; use discovery.k8s.io/v1 EndpointSlice"),
        _ => return None,
    };
    Some(format!(
        "{} {} is deprecated in {since}{instead}",
        gvk.version, gvk.kind
    ))
}

/// What is to be said of a custom resource that is new, or was made from an old one.
pub fn custom(new: &Value, old: Option<&Value>) -> Vec<String> {
    let mut found = Warnings::default();
    definitions::finalizers(new, old, &mut found);
    found.0
}

/// What is to be said of a new object.
pub fn create(gvk: Gvk, object: &Value) -> Vec<String> {
    let mut found = Warnings::default();
    match (gvk.group, gvk.kind) {
        ("", "Pod") => {
            label_name(
                object,
                "this is used in the Pod's hostname, which can result in surprising behavior",
                &mut found,
            );
            pods::pod(object, &mut found);
        }
        ("apps", "Deployment" | "ReplicaSet")
        | ("", "ReplicationController")
        | ("batch", "Job" | "CronJob") => {
            let rule = "this is used in Pod names and hostnames, which can result in surprising behavior";
            label_name(object, rule, &mut found);
            template(gvk, object, &mut found);
        }
        ("networking.k8s.io", "Ingress") => ingress(object, &mut found),
        ("discovery.k8s.io", "EndpointSlice") if object.text("addressType") == "FQDN" => {
            found.at(&Path::new("spec.addressType"), "FQDN endpoints are deprecated");
        }
        _ => template(gvk, object, &mut found),
    }
    if gvk.kind == "CSIDriver" {
        storage::driver(object, None, &mut found);
    }
    if gvk.kind == "CustomResourceDefinition" {
        definitions::formats(object, None, &mut found);
    }
    if gvk.kind == "ServiceAccount" {
        mountable_secrets(object, None, &mut found);
    }
    always(gvk, object, &mut found);
    found.0
}

/// What is to be said of a change, through the object itself or one of its subresources.
pub fn update(gvk: Gvk, subresource: &str, new: &Value, old: &Value) -> Vec<String> {
    let mut found = Warnings::default();
    if subresource == "status" {
        status(gvk, new, &mut found);
    }
    if !subresource.is_empty() {
        return found.0;
    }
    let generation = |object: &Value| object["metadata"].number("generation").unwrap_or_default();
    if generation(new) != generation(old) {
        template(gvk, new, &mut found);
    }
    match gvk.kind {
        "CSIDriver" => storage::driver(new, Some(old), &mut found),
        "CustomResourceDefinition" => definitions::formats(new, Some(old), &mut found),
        "ServiceAccount" => mountable_secrets(new, Some(old), &mut found),
        "CronJob" if new["spec"].text("schedule").contains("TZ") => found.add(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
                .to_owned(),
        ),
        _ => {}
    }
    always(gvk, new, &mut found);
    found.0
}

/// What is said whether an object is new or was changed.
fn always(gvk: Gvk, object: &Value, found: &mut Warnings) {
    match (gvk.group, gvk.kind) {
        ("", "Secret") => secrets::secret(object, found),
        ("", "Service") => services::service(object, found),
        ("", "Endpoints") => services::endpoints(object, found),
        ("", "Node") => nodes::node(object, found),
        ("", "PersistentVolume") => storage::volume(object, found),
        ("", "PersistentVolumeClaim") => storage::claim(object, found),
        ("apps", "StatefulSet") => storage::claim_templates(object, found),
        ("discovery.k8s.io", "EndpointSlice") => services::endpoint_slice(object, found),
        ("networking.k8s.io", "NetworkPolicy") => services::network_policy(object, found),
        ("node.k8s.io", "RuntimeClass") => nodes::runtime_class(object, found),
        ("storage.k8s.io", "StorageClass") => nodes::storage_class(object, found),
        ("storage.k8s.io", "CSIStorageCapacity") => {
            nodes::label_selector(&object["nodeTopology"], &Path::new("nodeTopology"), found);
        }
        ("resource.k8s.io", "ResourceSlice") => driver_in_capitals(object, found),
        ("admissionregistration.k8s.io", _) => reserved_name(object, found),
        _ => {}
    }
}

/// What is said of a template for pods, when it is new.
fn template(gvk: Gvk, object: &Value, found: &mut Warnings) {
    match (gvk.group, gvk.kind) {
        ("apps", "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet")
        | ("", "ReplicationController") => {
            pods::template(&object["spec"]["template"], &Path::new("spec.template"), found);
        }
        ("", "PodTemplate") => pods::template(&object["template"], &Path::new("template"), found),
        ("batch", "Job") => pods::job(&object["spec"], &Path::new("spec"), found),
        ("batch", "CronJob") => {
            let job = &object["spec"]["jobTemplate"]["spec"];
            pods::job(job, &Path::new("spec.jobTemplate.spec"), found);
        }
        _ => {}
    }
}

fn label_name(object: &Value, why: &str, found: &mut Warnings) {
    let faults = names::dns1123_label(object["metadata"].text("name"));
    if !faults.is_empty() {
        // Upstream prints the list of faults as Go does.
        let faults = faults.join(" ");
        let text = format!("{why}; a DNS label is recommended: [{faults}]");
        found.at(&Path::new("metadata.name"), text);
    }
}

fn ingress(object: &Value, found: &mut Warnings) {
    const CLASS: &str = "kubernetes.io/ingress.class";
    if object["metadata"]["annotations"].has(CLASS) && !object["spec"].has("ingressClassName") {
        let name = quote(CLASS);
        found.add(format!(
            "annotation {name} is deprecated, please use 'spec.ingressClassName' instead"
        ));
    }
}

fn mountable_secrets(object: &Value, old: Option<&Value>, found: &mut Warnings) {
    const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
    let annotated = |object: &Value| object["metadata"]["annotations"].has(ENFORCE);
    if annotated(object) && !old.is_some_and(annotated) {
        found.at(
            &Path::new("metadata.annotations").key(ENFORCE),
            "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets",
        );
    }
}

fn driver_in_capitals(object: &Value, found: &mut Warnings) {
    let driver = object["spec"].text("driver");
    if driver != driver.to_lowercase() {
        let text = format!(
            "driver names should be lowercase; {} contains uppercase characters",
            quote(driver)
        );
        found.at(&Path::new("spec.driver"), text);
    }
}

fn reserved_name(object: &Value, found: &mut Warnings) {
    const SUFFIX: &str = ".static.k8s.io";
    if object["metadata"].text("name").ends_with(SUFFIX) {
        let text = format!(
            "names ending with {} are reserved for static manifest-based configurations and cannot be managed via the API",
            quote(SUFFIX)
        );
        found.at(&Path::new("metadata.name"), text);
    }
}

fn status(gvk: Gvk, object: &Value, found: &mut Warnings) {
    if !matches!(
        (gvk.group, gvk.kind),
        ("", "Service") | ("networking.k8s.io", "Ingress")
    ) {
        return;
    }
    let list = Path::new("status.loadBalancer.ingress");
    let points = object["status"]["loadBalancer"].items("ingress");
    for (index, point) in points.iter().enumerate() {
        addresses::address(point.text("ip"), &list.index(index), found);
    }
}

/// Whether two parts of an object say the same.
fn unchanged(new: &Value, old: &Value) -> bool {
    same(Some(new), Some(old))
}

#[cfg(test)]
mod tests;

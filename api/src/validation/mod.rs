//! Whether an object is as its kind's rules want it. Every fault is gathered, with its path, in upstream's words.
//!
//! The rules of a kind stand in the module of its group; [`rules`] finds them. A rule reads a dynamic object that has been
//! decoded (so that types are right) and filled in with defaults; an absent field is its zero value, as in Go.
//! A kind without rules of its own still has its metadata checked.

mod access;
mod addresses;
mod admission;
mod api_service;
mod autoscaling;
mod batch;
mod conditions;
mod core;
mod custom_resources;
mod devices;
mod diff;
mod disks;
pub mod field;
mod flowcontrol;
mod internal;
mod ip;
pub mod meta;
mod networking;
mod pod;
mod policy;
mod rbac;
mod selector;
mod storage;
mod workloads;

use serde_json::Value;

pub use access::CERTIFICATE_USAGES;
pub use batch::domain_prefixed_path;
pub use field::{BadValue, ErrorKind, FieldError, FieldErrors, Path};
pub use pod::is_extended_resource;

use self::core::{config, endpoints, node, quota, service, storage as volumes};
use crate::names;
use crate::resources;
use crate::table::Gvk;
use storage::driver;

/// What a name may look like: its faults, or none.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// The rules of a kind. Those for updates see the new and the old object.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    name: NameRule,
    /// Whether the rules for new objects themselves ask what metadata have to pass.
    judges_metadata: bool,
    create: fn(&Value, &mut FieldErrors),
    update: fn(&Value, &Value, &mut FieldErrors),
    status: fn(&Value, &Value, &mut FieldErrors),
}

impl Rules {
    /// Metadata only, with names that are DNS subdomains.
    const META: Rules = Rules {
        name: names::dns1123_subdomain,
        judges_metadata: false,
        create: |_, _| {},
        update: |_, _, _| {},
        status: |_, _, _| {},
    };

    /// A kind whose updates obey the same rules as new objects.
    const fn new(create: fn(&Value, &mut FieldErrors)) -> Self {
        Self { create, ..Self::META }
    }

    const fn named(self, name: NameRule) -> Self {
        Self { name, ..self }
    }

    const fn judging_metadata(self) -> Self {
        Self {
            judges_metadata: true,
            ..self
        }
    }

    const fn on_update(self, update: fn(&Value, &Value, &mut FieldErrors)) -> Self {
        Self { update, ..self }
    }

    const fn on_status(self, status: fn(&Value, &Value, &mut FieldErrors)) -> Self {
        Self { status, ..self }
    }
}

/// The rules of a kind, where it has some of its own.
fn rules(gvk: Gvk) -> Option<Rules> {
    match gvk.group {
        "" => core_rules(gvk.kind),
        "apps" => workload_rules(gvk.kind),
        group => group_rules(group, gvk.version, gvk.kind),
    }
}

fn core_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "ConfigMap" => Rules::new(config::config_map).on_update(config::config_map_update),
        "Secret" => Rules::new(config::secret).on_update(config::secret_update),
        "Namespace" => Rules::new(config::namespace)
            .named(names::dns1123_label)
            .on_status(config::namespace_status),
        "PersistentVolume" => Rules::new(volumes::volume).on_update(volumes::volume_update),
        "PersistentVolumeClaim" => Rules::new(volumes::claim)
            .on_update(volumes::claim_update)
            .on_status(volumes::claim_status),
        "Pod" => Rules::new(pod::pod)
            .on_update(pod::pod_update)
            .on_status(pod::pod_status),
        "PodTemplate" => Rules::new(pod::pod_template).on_update(|new, _, e| pod::pod_template(new, e)),
        "ReplicationController" => Rules::new(workloads::replication_controller)
            .on_update(|new, _, e| workloads::replication_controller(new, e))
            .on_status(workloads::replica_status),
        "Service" => Rules::new(service::service)
            .named(names::dns1123_label)
            .on_update(service::service_update)
            .on_status(service::service_status),
        "Endpoints" => Rules::new(endpoints::endpoints).on_update(endpoints::endpoints_update),
        "Event" => Rules::new(endpoints::old_event)
            .judging_metadata()
            .named(names::path_segment)
            .on_update(|new, _, e| endpoints::event(new, e)),
        "Node" => Rules::new(node::node)
            .on_update(|new, old, e| {
                node::node(new, e);
                node::node_update(new, old, e);
            })
            .on_status(node::node_update),
        "ResourceQuota" => Rules::new(quota::quota)
            .on_update(quota::quota_update)
            .on_status(quota::quota_status),
        "LimitRange" => Rules::new(quota::limit_range).on_update(|new, _, e| quota::limit_range(new, e)),
        _ => return None,
    })
}

fn workload_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "Deployment" => Rules::new(workloads::deployment)
            .on_update(workloads::deployment_update)
            .on_status(workloads::deployment_status),
        "ReplicaSet" => Rules::new(workloads::replica_set)
            .on_update(workloads::replica_set_update)
            .on_status(workloads::replica_status),
        "DaemonSet" => Rules::new(workloads::daemon_set)
            .on_update(workloads::daemon_set_update)
            .on_status(workloads::daemon_set_status),
        "StatefulSet" => Rules::new(workloads::stateful_set)
            .named(names::dns1123_label)
            .on_update(workloads::stateful_set_update)
            .on_status(workloads::stateful_set_status),
        "ControllerRevision" => {
            Rules::new(workloads::controller_revision).on_update(workloads::controller_revision_update)
        }
        _ => return None,
    })
}

fn group_rules(group: &str, version: &str, kind: &str) -> Option<Rules> {
    Some(match (group, kind) {
        ("batch", "Job") => Rules::new(batch::job)
            .on_update(batch::job_update)
            .on_status(batch::job_status),
        ("batch", "CronJob") => Rules::new(batch::cron_job).on_update(batch::cron_job_update),
        ("autoscaling", "HorizontalPodAutoscaler") if version == "v1" => {
            Rules::new(autoscaling::autoscaler_v1)
                .on_update(|new, _, e| autoscaling::autoscaler_v1(new, e))
                .on_status(autoscaling::autoscaler_status)
        }
        ("autoscaling", "HorizontalPodAutoscaler") => Rules::new(autoscaling::autoscaler)
            .on_update(|new, _, e| autoscaling::autoscaler(new, e))
            .on_status(autoscaling::autoscaler_status),
        ("discovery.k8s.io", "EndpointSlice") => {
            Rules::new(endpoints::slice).on_update(endpoints::slice_update)
        }
        ("events.k8s.io", "Event") => Rules::new(endpoints::new_event)
            .judging_metadata()
            .on_update(endpoints::new_event_update),
        ("networking.k8s.io", "NetworkPolicy") => {
            Rules::new(networking::network_policy).on_update(|new, _, e| networking::network_policy(new, e))
        }
        ("networking.k8s.io", "Ingress") => Rules::new(networking::ingress)
            .on_update(networking::ingress_update)
            .on_status(networking::ingress_status),
        ("networking.k8s.io", "IngressClass") => {
            Rules::new(networking::ingress_class).on_update(networking::ingress_class_update)
        }
        ("flowcontrol.apiserver.k8s.io", _) => flow_rules(kind)?,
        ("admissionregistration.k8s.io", _) => admission_rules(kind)?,
        ("certificates.k8s.io", "CertificateSigningRequest") => Rules::new(access::certificate_request)
            .named(names::path_segment)
            .on_update(access::certificate_request_update)
            .on_status(|new, _, e| access::certificate_request_status(new, e)),
        ("authorization.k8s.io", "SubjectAccessReview") => Rules::new(access::review),
        ("authorization.k8s.io", "LocalSubjectAccessReview") => Rules::new(access::local_review),
        ("authorization.k8s.io", "SelfSubjectAccessReview") => Rules::new(access::self_review),
        ("rbac.authorization.k8s.io", _) => rbac_rules(kind)?.named(names::path_segment),
        ("policy", "PodDisruptionBudget") => Rules::new(policy::disruption_budget)
            .named(names::path_segment)
            .on_update(|new, _, e| policy::disruption_budget(new, e))
            .on_status(policy::disruption_budget_status),
        ("scheduling.k8s.io", "PriorityClass") => {
            Rules::new(policy::priority_class).on_update(policy::priority_class_update)
        }
        ("coordination.k8s.io", "Lease") => {
            Rules::new(policy::lease).on_update(|new, _, e| policy::lease(new, e))
        }
        ("node.k8s.io", "RuntimeClass") => {
            Rules::new(policy::runtime_class).on_update(policy::runtime_class_update)
        }
        ("storage.k8s.io", _) => storage_rules(kind)?,
        ("resource.k8s.io", _) => device_rules(kind)?,
        ("networking.k8s.io", "IPAddress") => Rules::new(addresses::ip_address)
            .named(addresses::ip_address_name)
            .on_update(addresses::ip_address_update),
        ("networking.k8s.io", "ServiceCIDR") => {
            Rules::new(addresses::service_cidr).on_update(addresses::service_cidr_update)
        }
        ("apiregistration.k8s.io", "APIService") => Rules::new(api_service::api_service)
            .named(names::path_segment)
            .on_update(api_service::api_service_update)
            .on_status(api_service::api_service_status),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            Rules::new(custom_resources::definition).on_update(custom_resources::definition_update)
        }
        _ => return None,
    })
}

fn flow_rules(kind: &str) -> Option<Rules> {
    let rules = match kind {
        "FlowSchema" => {
            Rules::new(flowcontrol::flow_schema).on_update(|new, _, e| flowcontrol::flow_schema(new, e))
        }
        "PriorityLevelConfiguration" => {
            Rules::new(flowcontrol::priority_level).on_update(|new, _, e| flowcontrol::priority_level(new, e))
        }
        _ => return None,
    };
    Some(rules.on_status(|new, _, e| flowcontrol::status(new, e)))
}

fn storage_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "StorageClass" => Rules::new(storage::storage_class).on_update(storage::storage_class_update),
        "VolumeAttachment" => Rules::new(storage::volume_attachment)
            .on_update(storage::volume_attachment_update)
            .on_status(storage::volume_attachment_status),
        "CSIDriver" => Rules::new(driver::driver).on_update(driver::driver_update),
        "CSINode" => Rules::new(driver::node).on_update(driver::node_update),
        "CSIStorageCapacity" => Rules::new(driver::capacity).on_update(driver::capacity_update),
        "VolumeAttributesClass" => {
            Rules::new(driver::attributes_class).on_update(driver::attributes_class_update)
        }
        _ => return None,
    })
}

fn device_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "ResourceClaim" => Rules::new(devices::claim)
            .on_update(devices::claim_update)
            .on_status(devices::claim_status),
        "ResourceClaimTemplate" => {
            Rules::new(devices::claim_template).on_update(devices::claim_template_update)
        }
        "DeviceClass" => Rules::new(devices::class).on_update(devices::class_update),
        "ResourceSlice" => Rules::new(devices::slice::slice).on_update(devices::slice::slice_update),
        _ => return None,
    })
}

fn admission_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            Rules::new(admission::webhooks).on_update(|new, _, e| admission::webhooks(new, e))
        }
        "ValidatingAdmissionPolicy" => Rules::new(admission::policy)
            .on_update(|new, _, e| admission::policy(new, e))
            .on_status(|new, _, e| admission::policy_status(new, e)),
        "ValidatingAdmissionPolicyBinding" => {
            Rules::new(admission::binding).on_update(|new, _, e| admission::binding(new, e))
        }
        "MutatingAdmissionPolicy" => {
            Rules::new(admission::mutating_policy).on_update(|new, _, e| admission::mutating_policy(new, e))
        }
        "MutatingAdmissionPolicyBinding" => {
            Rules::new(admission::mutating_binding).on_update(|new, _, e| admission::mutating_binding(new, e))
        }
        _ => return None,
    })
}

fn rbac_rules(kind: &str) -> Option<Rules> {
    Some(match kind {
        "Role" => Rules::new(rbac::role).on_update(|new, _, e| rbac::role(new, e)),
        "ClusterRole" => Rules::new(rbac::cluster_role).on_update(|new, _, e| rbac::cluster_role(new, e)),
        "RoleBinding" => Rules::new(rbac::role_binding).on_update(rbac::role_binding_update),
        "ClusterRoleBinding" => {
            Rules::new(rbac::cluster_role_binding).on_update(rbac::cluster_role_binding_update)
        }
        _ => return None,
    })
}

fn is_namespaced(gvk: Gvk) -> bool {
    resources::by_kind(gvk.group, gvk.version, gvk.kind).is_some_and(|resource| resource.namespaced)
}

/// The faults of a new object, with its name and namespace set and its defaults filled in.
pub fn create(gvk: Gvk, object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let rules = rules(gvk).unwrap_or(Rules::META);
    // A review is a question, not an object: it needs no name.
    let is_review = matches!(gvk.group, "authorization.k8s.io" | "authentication.k8s.io");
    if !is_review && !rules.judges_metadata {
        judge_metadata(gvk, object, rules.name, false, &mut errors);
    }
    (rules.create)(object, &mut errors);
    errors
}

/// The faults of a Service's fields about its cluster addresses, which are told alone: before any address is allocated.
pub fn service_addresses(service: &Value) -> FieldErrors {
    service::addresses(service)
}

/// The faults of an update through the main resource. Metadata that the client may leave out has been filled in from `old`.
pub fn update(gvk: Gvk, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = metadata_update(gvk, new, old);
    let rules = rules(gvk).unwrap_or(Rules::META);
    judge_metadata(gvk, new, rules.name, !anew(gvk), &mut errors);
    (rules.update)(new, old, &mut errors);
    errors
}

/// Whether a kind's updates have to pass what its new objects have to, metadata included.
fn anew(gvk: Gvk) -> bool {
    match gvk.group {
        "admissionregistration.k8s.io"
        | "certificates.k8s.io"
        | "flowcontrol.apiserver.k8s.io"
        | "node.k8s.io"
        | "rbac.authorization.k8s.io" => true,
        "" => !matches!(
            gvk.kind,
            "Service" | "PodTemplate" | "ReplicationController" | "ResourceQuota" | "Event"
        ),
        "storage.k8s.io" => gvk.kind != "CSIDriver",
        _ => matches!(
            gvk.kind,
            "ControllerRevision"
                | "Job"
                | "DeviceClass"
                | "EndpointSlice"
                | "Ingress"
                | "IngressClass"
                | "IPAddress"
                | "ResourceClaim"
                | "ResourceClaimTemplate"
        ),
    }
}

/// What most kinds ask of metadata besides: as much of it as changes have to pass, or all of it.
fn judge_metadata(gvk: Gvk, object: &Value, name: NameRule, change: bool, errors: &mut FieldErrors) {
    let at = Path::new("metadata");
    if !change {
        meta::object_meta(&object["metadata"], is_namespaced(gvk), name, &at, errors);
    }
    let plain = matches!(
        gvk.group,
        "admissionregistration.k8s.io"
            | "coordination.k8s.io"
            | "apiextensions.k8s.io"
            | "apiregistration.k8s.io"
            | "node.k8s.io"
            | "policy"
    );
    if !plain && (gvk.group, gvk.kind) != ("", "Event") {
        meta::kube_finalizers(&object["metadata"], &at, errors);
    }
}

/// What changes of metadata have to pass. Upstream asks it for every kind, along with what new metadata have to pass, and each
/// kind asks it again, so that a status has each of these causes several times; its message says them once.
fn metadata_update(gvk: Gvk, new: &Value, old: &Value) -> FieldErrors {
    let (new, old, at) = (&new["metadata"], &old["metadata"], Path::new("metadata"));
    let mut errors = FieldErrors::new();
    meta::object_meta_change(new, old, is_namespaced(gvk), &at, &mut errors);
    if asks_again(gvk) {
        meta::object_meta_update(new, old, &at, &mut errors);
    }
    errors
}

/// Whether a kind itself asks what changes of metadata have to pass.
fn asks_again(gvk: Gvk) -> bool {
    !matches!(
        (gvk.group, gvk.kind),
        ("admissionregistration.k8s.io" | "flowcontrol.apiserver.k8s.io", _)
            | ("", "PersistentVolume" | "LimitRange" | "Event")
            | ("storage.k8s.io", "VolumeAttachment" | "CSINode")
            | ("policy", "PodDisruptionBudget")
            | ("discovery.k8s.io", "EndpointSlice")
    )
}

/// The faults of an update through `/status`.
pub fn update_status(gvk: Gvk, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = metadata_update(gvk, new, old);
    (rules(gvk).unwrap_or(Rules::META).status)(new, old, &mut errors);
    errors
}

/// The faults of an update through a subresource that writes a part of the object.
pub fn update_part(gvk: Gvk, subresource: &str, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = metadata_update(gvk, new, old);
    let judge = match subresource {
        "ephemeralcontainers" => pod::ephemeral_containers,
        "resize" => pod::resize,
        "finalize" => {
            config::namespace_finalize(new, &mut errors);
            return errors;
        }
        _ => return errors,
    };
    judge_metadata(gvk, new, names::dns1123_subdomain, false, &mut errors);
    judge(new, old, &mut errors);
    errors
}

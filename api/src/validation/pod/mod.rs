//! Pods and pod templates: `core.PodSpec` and what is in it.

mod container;
mod env;
mod parts;
mod probe;
mod resources;
mod scheduling;
mod security;
mod spec;
mod status;
mod template;
mod update;
mod volume;
mod windows;

pub(super) use container::{PROTOCOLS, no_backsteps, port_number, port_number_or_name};
pub(super) use parts::{ephemeral_containers, resize};
pub use resources::is_extended_resource;
pub(super) use resources::{
    amount, amount_rules, container_resource_name, limits, may_be_overcommitted, resource_name,
};
pub(super) use scheduling::{positive, taint_effect, tolerations};
pub(super) use spec::one_of;
pub(super) use status::pod_status;
pub(super) use template::{for_controller, pod_template, runs_on, selected, template_spec};
pub(super) use update::pod_update;
pub(super) use volume::host_path;

use serde_json::Value;

use super::field::{FieldErrors, Path};

/// A new Pod.
pub(super) fn pod(pod: &Value, errors: &mut FieldErrors) {
    spec::pod(pod, errors);
    let (spec, at) = (&pod["spec"], Path::new("spec"));
    if spec["ephemeralContainers"]
        .as_array()
        .is_some_and(|list| !list.is_empty())
    {
        errors.forbidden(&at.child("ephemeralContainers"), "cannot be set on create");
    }
    let gated = spec["schedulingGates"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    if gated && spec["nodeName"].as_str().is_some_and(|name| !name.is_empty()) {
        errors.forbidden(
            &at.child("nodeName"),
            "cannot be set until all schedulingGates have been cleared",
        );
    }
}

#[cfg(test)]
mod tests;

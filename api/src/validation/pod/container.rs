//! Containers of the three kinds, their ports and mounts.

use std::collections::BTreeSet;

use serde_json::Value;

use super::spec::{Pod, image_is_trimmed, one_of};
use super::{env, probe, resources, security};
use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::meta::faults;

pub(in crate::validation) const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;

/// The fields that an ephemeral container may have.
const EPHEMERAL_FIELDS: [&str; 17] = [
    "name",
    "image",
    "command",
    "args",
    "workingDir",
    "env",
    "envFrom",
    "volumeMounts",
    "volumeDevices",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "imagePullPolicy",
    "securityContext",
    "stdin",
    "stdinOnce",
    "tty",
    "targetContainerName",
];

/// Goes through a pod's containers, those that run first first.
pub(super) fn each<'a>(spec: &'a Value, at: &Path<'_>, mut see: impl FnMut(&'a Value, &Path<'_>)) {
    for name in ["initContainers", "containers", "ephemeralContainers"] {
        let list = at.child(name);
        for (index, container) in spec.items(name).iter().enumerate() {
            see(container, &list.index(index));
        }
    }
}

pub(super) fn containers(pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let containers = pod.spec.items("containers");
    if containers.is_empty() {
        errors.required(at, "");
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let at = at.index(index);
        shared_rules(container, pod, &at, errors);
        if !seen.insert(container.text("name")) {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        probe::lifecycle_and_probes(container, pod, &at, errors);
        restart_policy(container, false, &at, errors);
    }
    host_ports(containers, at, errors);
}

pub(super) fn init_containers(pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen: BTreeSet<&str> = pod
        .spec
        .items("containers")
        .iter()
        .map(|c| c.text("name"))
        .collect();
    for (index, container) in pod.spec.items("initContainers").iter().enumerate() {
        let list = at;
        let at = at.index(index);
        shared_rules(container, pod, &at, errors);
        restart_policy(container, true, &at, errors);
        let name = container.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.duplicate(&at.child("name"), name);
        }
        host_ports(std::slice::from_ref(container), list, errors);
        if container.text("restartPolicy") == "Always" {
            probe::lifecycle_and_probes(container, pod, &at, errors);
            continue;
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                let rule = "may not be set for init containers without restartPolicy=Always";
                errors.forbidden(&at.child(field), rule);
            }
        }
    }
}

pub(super) fn ephemeral_containers(pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let others = pod
        .spec
        .items("containers")
        .iter()
        .chain(pod.spec.items("initContainers"));
    let others: BTreeSet<&str> = others.map(|container| container.text("name")).collect();
    let mut seen = others.clone();
    for (index, container) in pod.spec.items("ephemeralContainers").iter().enumerate() {
        let at = at.index(index);
        shared_rules(container, pod, &at, errors);
        image_is_trimmed(container, &at, errors);
        if !seen.insert(container.text("name")) {
            errors.duplicate(&at.child("name"), container.text("name"));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.not_found(&at.child("targetContainerName"), target);
        }
        let rule = "cannot be set for an Ephemeral Container";
        let fields = container.as_object().into_iter().flatten();
        for (name, _) in fields.filter(|(name, value)| {
            !EPHEMERAL_FIELDS.contains(&name.as_str()) && !crate::object::is_zero(value)
        }) {
            errors.forbidden(&at.child(name), rule);
        }
        for (mount_index, mount) in container.items("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"]
                .into_iter()
                .filter(|field| !mount.text(field).is_empty())
            {
                errors.forbidden(&at.child("volumeMounts").index(mount_index).child(field), rule);
            }
        }
    }
}

fn shared_rules(container: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let name = container.text("name");
    match name {
        "" => errors.required(&at.child("name"), ""),
        name => faults(&at.child("name"), name, names::dns1123_label(name), errors),
    }
    if container.text("image").is_empty() {
        errors.required(&at.child("image"), "");
    }
    let message_policies = ["File", "FallbackToLogsOnError"];
    let policy = container.text("terminationMessagePolicy");
    one_of(
        policy,
        &message_policies,
        &at.child("terminationMessagePolicy"),
        errors,
    );
    ports(container, &at.child("ports"), errors);
    env::variables(container, at, errors);
    mounts(container, pod, &at.child("volumeMounts"), errors);
    devices(container, pod, &at.child("volumeDevices"), errors);
    let pull_policies = ["Always", "IfNotPresent", "Never"];
    one_of(
        container.text("imagePullPolicy"),
        &pull_policies,
        &at.child("imagePullPolicy"),
        errors,
    );
    resources::of_container(container, pod, &at.child("resources"), errors);
    resize_policy(container, pod, &at.child("resizePolicy"), errors);
    security::of_container(container, pod, &at.child("securityContext"), errors);
}

fn ports(container: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, port) in container.items("ports").iter().enumerate() {
        let at = at.index(index);
        let name = port.text("name");
        if !name.is_empty() {
            let found = names::port_name(name);
            if found.is_empty() && !seen.insert(name) {
                errors.duplicate(&at.child("name"), name);
            }
            faults(&at.child("name"), name, found, errors);
        }
        match port.number("containerPort").unwrap_or_default() {
            0 => errors.required(&at.child("containerPort"), ""),
            number => port_number(number, &at.child("containerPort"), errors),
        }
        if let Some(number) = port.number("hostPort").filter(|&number| number != 0) {
            port_number(number, &at.child("hostPort"), errors);
        }
        one_of(port.text("protocol"), &PROTOCOLS, &at.child("protocol"), errors);
    }
}

/// A port's number.
pub(in crate::validation) fn port_number(number: i64, at: &Path<'_>, errors: &mut FieldErrors) {
    for fault in names::port_number(number) {
        errors.invalid(at, number, fault);
    }
}

/// A port's number or name (`intstr.IntOrString`); absent is the number 0.
pub(in crate::validation) fn port_number_or_name(
    port: Option<&Value>,
    at: &Path<'_>,
    errors: &mut FieldErrors,
) {
    match port {
        Some(Value::String(name)) => faults(at, name, names::port_name(name), errors),
        number => port_number(number.and_then(Value::as_i64).unwrap_or_default(), at, errors),
    }
}

fn host_ports(containers: &[Value], at: &Path<'_>, errors: &mut FieldErrors) {
    let mut taken = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let container_at = at.index(index);
        let at = container_at.child("ports");
        for (port_index, port) in container.items("ports").iter().enumerate() {
            let number = port.number("hostPort").unwrap_or_default();
            let key = format!("{}/{}/{number}", port.text("protocol"), port.text("hostIP"));
            if number != 0 && !taken.insert(key.clone()) {
                errors.duplicate(&at.index(port_index).child("hostPort"), &key);
            }
        }
    }
}

fn mounts(container: &Value, pod: &Pod<'_>, list: &Path<'_>, errors: &mut FieldErrors) {
    let devices = container.items("volumeDevices");
    let mut seen = BTreeSet::new();
    for (index, mount) in container.items("volumeMounts").iter().enumerate() {
        let at = list.index(index);
        let (name, path) = (mount.text("name"), mount.text("mountPath"));
        if name.is_empty() {
            errors.required(&at.child("name"), "");
        }
        if !pod.volumes.contains_key(name) {
            errors.not_found(&at.child("name"), name);
        }
        if path.is_empty() {
            errors.required(&at.child("mountPath"), "");
        }
        if !seen.insert(path) {
            errors.invalid(&at.child("mountPath"), path, "must be unique");
        }
        if devices.iter().any(|device| device.text("name") == name) {
            errors.invalid(&at.child("name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| device.text("devicePath") == path) {
            errors.invalid(
                &at.child("mountPath"),
                path,
                "must not already exist as a path in volumeDevices",
            );
        }
        sub_paths(mount, list, &at, errors);
        propagation(mount, container, &list.child("mountPropagation"), errors);
        recursive_read_only(mount, &list.child("recursiveReadOnly"), errors);
    }
}

/// Upstream names the list, not the mount, in faults of sub-paths.
fn sub_paths(mount: &Value, list: &Path<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let (path, expression) = (mount.text("subPath"), mount.text("subPathExpr"));
    if !path.is_empty() {
        relative_path(path, &list.child("subPath"), errors);
    }
    if !expression.is_empty() {
        if !path.is_empty() {
            let rule = "subPathExpr and subPath are mutually exclusive";
            errors.invalid(&at.child("subPathExpr"), expression, rule);
        }
        relative_path(expression, &list.child("subPathExpr"), errors);
    }
}

fn propagation(mount: &Value, container: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if !mount.has("mountPropagation") {
        return;
    }
    let propagation = mount.text("mountPropagation");
    let allowed = ["Bidirectional", "HostToContainer", "None"];
    if !allowed.contains(&propagation) {
        errors.not_supported(at, propagation, &allowed);
    }
    if propagation == "Bidirectional" && !container["securityContext"].flag("privileged") {
        errors.forbidden(
            at,
            "Bidirectional mount propagation is available only to privileged containers",
        );
    }
}

fn recursive_read_only(mount: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    match mount.text("recursiveReadOnly") {
        "" if !mount.has("recursiveReadOnly") => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.flag("readOnly") {
                errors.forbidden(at, "may only be specified when readOnly is true");
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                errors.forbidden(
                    at,
                    "may only be specified when mountPropagation is None or not specified",
                );
            }
        }
        other => errors.not_supported(at, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// A path below some folder: relative, and never up.
pub(super) fn relative_path(path: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if path.starts_with('/') {
        errors.invalid(at, path, "must be a relative path");
    }
    no_backsteps(path, at, errors);
}

/// A path without `..`.
pub(in crate::validation) fn no_backsteps(path: &str, at: &Path<'_>, errors: &mut FieldErrors) {
    if path.split('/').any(|part| part == "..") {
        errors.invalid(at, path, "must not contain '..'");
    }
}

fn devices(container: &Value, pod: &Pod<'_>, list: &Path<'_>, errors: &mut FieldErrors) {
    let mounts = container.items("volumeMounts");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (index, device) in container.items("volumeDevices").iter().enumerate() {
        let at = list.index(index);
        let (name, path) = (device.text("name"), device.text("devicePath"));
        let (at_name, at_path) = (at.child("name"), at.child("devicePath"));
        if name.is_empty() {
            errors.required(&at_name, "");
        }
        if !name.is_empty() && !names.insert(name) {
            errors.invalid(&at_name, name, "must be unique");
        }
        match pod.volumes.get(name) {
            None => errors.not_found(&at_name, name),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let rule =
                    "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.invalid(&at_name, name, rule);
            }
            Some(_) => {}
        }
        if path.is_empty() {
            errors.required(&at_path, "");
        }
        if !paths.insert(path) {
            errors.invalid(&at_path, path, "must be unique");
        }
        if path.split('/').any(|part| part == "..") {
            errors.invalid(&at_path, path, "can not contain backsteps ('..')");
        }
        if mounts.iter().any(|mount| mount.text("name") == name) {
            errors.invalid(&at_name, name, "must not already exist in volumeMounts");
        }
        if mounts.iter().any(|mount| mount.text("mountPath") == path) {
            errors.invalid(&at_path, path, "must not already exist as a path in volumeMounts");
        }
    }
}

fn resize_policy(container: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let policies = container.items("resizePolicy");
    for (index, policy) in policies.iter().enumerate() {
        let (name, restart) = (policy.text("resourceName"), policy.text("restartPolicy"));
        if policies[..index]
            .iter()
            .any(|other| other.text("resourceName") == name)
        {
            errors.duplicate(&at.index(index), name);
        }
        one_of(name, &["cpu", "memory"], at, errors);
        one_of(restart, &["NotRequired", "RestartContainer"], at, errors);
        if pod.spec.text("restartPolicy") == "Never" && restart != "NotRequired" {
            errors.invalid(
                at,
                restart,
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            );
        }
    }
}

/// A container's own restart policy and the rules that refine it (KEP-5307).
fn restart_policy(container: &Value, of_init: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let rules = container.items("restartPolicyRules");
    let allowed = ["Always", "Never", "OnFailure"];
    let policy_at = at.child("restartPolicy");
    if !container.has("restartPolicy") {
        if !rules.is_empty() {
            errors.required(
                &policy_at,
                "must specify restartPolicy when restart rules are used",
            );
            if of_init {
                return;
            }
        }
    } else if !allowed.contains(&container.text("restartPolicy")) {
        errors.not_supported(&policy_at, container.text("restartPolicy"), &allowed);
    }
    let list = at.child("restartPolicyRules");
    if rules.len() > RULES_MAX {
        errors.too_many(&list, rules.len(), RULES_MAX);
    }
    for (index, rule) in rules.iter().enumerate() {
        let at = list.index(index);
        let actions = ["Restart", "RestartAllContainers"];
        if !actions.contains(&rule.text("action")) {
            errors.not_supported(&at.child("action"), rule.text("action"), &actions);
        }
        let at = at.child("exitCodes");
        let Some(codes) = rule.field("exitCodes") else {
            errors.required(&at, "must be specified");
            continue;
        };
        if !matches!(codes.text("operator"), "In" | "NotIn") {
            errors.not_supported(&at.child("operator"), codes.text("operator"), &["In", "NotIn"]);
        }
        if codes.count("values") > EXIT_CODES_MAX {
            errors.too_many(&at.child("values"), codes.count("values"), EXIT_CODES_MAX);
        }
    }
}

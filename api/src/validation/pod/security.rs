//! Security contexts of pods and containers.

use std::collections::BTreeSet;

use serde_json::Value;

use super::container::relative_path;
use super::spec::Pod;
use super::windows;
use crate::names;
use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal;

const ID_MAX: i64 = i32::MAX as i64;
const APPARMOR_PROFILE_MAX: usize = 4095;
const SYSCTL_MAX: usize = 253;

fn id(number: Option<i64>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(number) = number else { return };
    for fault in names::in_range(number, 0, ID_MAX) {
        errors.invalid(at, number, fault);
    }
}

pub(super) fn of_pod(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("securityContext");
    let Some(context) = spec.field("securityContext") else {
        return;
    };
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(context.number(name), &at.child(name), errors);
    }
    for (index, group) in context.items("supplementalGroups").iter().enumerate() {
        id(
            group.as_i64(),
            &at.child("supplementalGroups").index(index),
            errors,
        );
    }
    if spec.flag("shareProcessNamespace") && spec.flag("hostPID") {
        let rule = "ShareProcessNamespace and HostPID cannot both be enabled";
        errors.invalid(&at.child("shareProcessNamespace"), true, rule);
    }
    sysctls(spec, context, &at.child("sysctls"), errors);
    seccomp(context, &at.child("seccompProfile"), errors);
    windows::options(context, &at, errors);
    app_armor(context, &at.child("appArmorProfile"), errors);
    let rules: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        // The other one, MountOption, stands behind the gate SELinuxMount.
        ("seLinuxChangePolicy", &["Recursive"]),
    ];
    for (name, allowed) in rules {
        if context.has(name) && !allowed.contains(&context.text(name)) {
            errors.not_supported(&at.child(name), context.text(name), allowed);
        }
    }
}

fn sysctls(spec: &Value, context: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let mut seen = BTreeSet::new();
    for (index, sysctl) in context.items("sysctls").iter().enumerate() {
        let at = list.index(index);
        let at = at.child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.required(&at, "");
        } else if name.len() > SYSCTL_MAX || !is_sysctl(name) {
            let rule = "must have at most 253 characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            errors.invalid(&at, name, rule);
        } else if !seen.insert(name) {
            errors.duplicate(&at, name);
        }
        let dotted = name.replace('/', ".");
        if spec.flag("hostNetwork") && dotted.starts_with("net.") {
            errors.invalid(&at, name, "may not be specified when 'hostNetwork' is true");
        } else if spec.flag("hostIPC") && is_ipc(&dotted) {
            errors.invalid(&at, name, "may not be specified when 'hostIPC' is true");
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    name.split(['.', '/']).all(|part| {
        let fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes().next().is_some_and(fine)
            && part.bytes().last().is_some_and(fine)
            && part.bytes().all(|b| fine(b) || matches!(b, b'-' | b'_'))
    })
}

fn is_ipc(name: &str) -> bool {
    name.starts_with("kernel.shm")
        || name.starts_with("kernel.msg")
        || name == "kernel.sem"
        || name.starts_with("fs.mqueue.")
}

fn seccomp(context: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(profile) = context.field("seccompProfile") else {
        return;
    };
    let kind = profile.text("type");
    match kind {
        "Localhost" | "RuntimeDefault" | "Unconfined" => {}
        "" => errors.required(&at.child("type"), "type is required when seccompProfile is set"),
        other => errors.not_supported(
            &at.child("type"),
            other,
            &["Localhost", "RuntimeDefault", "Unconfined"],
        ),
    }
    let at = at.child("localhostProfile");
    match (kind, profile.field("localhostProfile")) {
        ("Localhost", None) => errors.required(&at, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(path)) => relative_path(path.as_str().unwrap_or_default(), &at, errors),
        (_, Some(_)) => {
            let shown = internal::shown(profile, internal::SECCOMP);
            errors.invalid(&at, shown, "can only be set when seccomp type is Localhost");
        }
        (_, None) => {}
    }
}

fn app_armor(context: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(profile) = context.field("appArmorProfile") else {
        return;
    };
    let local = profile
        .field("localhostProfile")
        .map(|local| local.as_str().unwrap_or_default());
    let at_local = at.child("localhostProfile");
    match (profile.text("type"), local) {
        ("Localhost", None | Some("")) => {
            errors.required(&at_local, "must be set when AppArmor type is Localhost")
        }
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                errors.invalid(&at_local, name, "must not be padded with whitespace");
            }
            if name.len() > APPARMOR_PROFILE_MAX {
                errors.too_long(&at_local, APPARMOR_PROFILE_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            errors.invalid(&at_local, name, "can only be set when AppArmor type is Localhost");
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("", _) => errors.required(&at.child("type"), "type is required when appArmorProfile is set"),
        (other, _) => {
            errors.not_supported(
                &at.child("type"),
                other,
                &["Localhost", "RuntimeDefault", "Unconfined"],
            );
        }
    }
}

pub(super) fn of_container(container: &Value, pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(context) = container.field("securityContext") else {
        return;
    };
    for name in ["runAsUser", "runAsGroup"] {
        id(context.number(name), &at.child(name), errors);
    }
    if context.has("procMount") {
        let at = at.child("procMount");
        match context.text("procMount") {
            "Default" => {}
            "Unmasked" if pod.host_users() => {
                errors.invalid(&at, "Unmasked", "`hostUsers` must be false to use `Unmasked`");
            }
            "Unmasked" => {}
            other => errors.not_supported(&at, other, &["Default", "Unmasked"]),
        }
    }
    seccomp(context, &at.child("seccompProfile"), errors);
    if context
        .field("allowPrivilegeEscalation")
        .is_some_and(|flag| flag == false)
    {
        if context.flag("privileged") {
            let rule = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.invalid(at, internal::shown(context, internal::SECURITY_CONTEXT), rule);
        }
        if context["capabilities"]
            .items("add")
            .iter()
            .any(|capability| capability == "CAP_SYS_ADMIN")
        {
            let rule = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.invalid(at, internal::shown(context, internal::SECURITY_CONTEXT), rule);
        }
    }
    windows::options(context, at, errors);
    app_armor(context, &at.child("appArmorProfile"), errors);
}

//! The checks that the restricted level adds.

use std::collections::BTreeSet;

use serde_json::Value;

use super::baseline::{bad_seccomp, extend, must_not_add, must_not_set_seccomp, proc_mount, texts};
use super::check::{Check, Judge};
use super::subject::{Subject, Violation, bad_values, containers, context, flag, plural, quoted, setters};
use crate::object::Fields;

/// In the order of their names.
pub(super) const CHECKS: &[Check] = &[
    check(
        "allowPrivilegeEscalation",
        &[(8, escalation), (25, escalation_but_windows)],
    ),
    replacing(
        "capabilities_baseline",
        check(
            "capabilities_restricted",
            &[(22, capabilities), (25, capabilities_but_windows)],
        ),
    ),
    replacing("procMount", check("procMount_restricted", &[(35, proc_mount)])),
    replacing("hostPathVolumes", check("restrictedVolumes", &[(0, volumes)])),
    check("runAsNonRoot", &[(0, non_root), (35, non_root_but_own_users)]),
    check("runAsUser", &[(23, run_as_user), (35, run_as_user_but_own_users)]),
    replacing(
        "seccompProfile_baseline",
        check(
            "seccompProfile_restricted",
            &[(19, seccomp), (25, seccomp_but_windows)],
        ),
    ),
];

const fn check(id: &'static str, since: &'static [(u64, Judge)]) -> Check {
    Check {
        id,
        since,
        replaces: None,
    }
}

const fn replacing(id: &'static str, check: Check) -> Check {
    Check {
        replaces: Some(id),
        ..check
    }
}

/// Sources of volumes that have nothing of the node.
const VOLUMES: [&str; 9] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

/// The others.
const OTHER_VOLUMES: [&str; 21] = [
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "gitRepo",
    "nfs",
    "iscsi",
    "glusterfs",
    "rbd",
    "flexVolume",
    "cinder",
    "cephfs",
    "flocker",
    "fc",
    "azureFile",
    "vsphereVolume",
    "quobyte",
    "azureDisk",
    "photonPersistentDisk",
    "portworxVolume",
    "scaleIO",
    "storageos",
];

fn escalation(subject: &Subject<'_>) -> Option<Violation> {
    let bad = subject.which(|container| flag(context(container), "allowPrivilegeEscalation") != Some(false));
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    Violation::because(
        "allowPrivilegeEscalation != false",
        format!("{who} must set securityContext.allowPrivilegeEscalation=false"),
    )
}

fn escalation_but_windows(subject: &Subject<'_>) -> Option<Violation> {
    if subject.is_windows() {
        return None;
    }
    escalation(subject)
}

fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let keeping = subject
        .which(|container| !texts(&context(container)["capabilities"], "drop").any(|name| name == "ALL"));
    let mut added = BTreeSet::new();
    let adding = subject.which(|container| {
        let others = texts(&context(container)["capabilities"], "add")
            .filter(|name| *name != "NET_BIND_SERVICE")
            .map(str::to_owned);
        extend(&mut added, others)
    });
    let mut details = Vec::new();
    if !keeping.is_empty() {
        let who = containers(&keeping);
        details.push(format!(
            "{who} must set securityContext.capabilities.drop=[\"ALL\"]"
        ));
    }
    if !adding.is_empty() {
        details.push(must_not_add(&adding, &added));
    }
    if details.is_empty() {
        return None;
    }
    Violation::because("unrestricted capabilities", details.join("; "))
}

fn capabilities_but_windows(subject: &Subject<'_>) -> Option<Violation> {
    if subject.is_windows() {
        return None;
    }
    capabilities(subject)
}

fn volumes(subject: &Subject<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let mut bad = Vec::new();
    for volume in subject.spec.items("volumes") {
        if VOLUMES.iter().any(|source| volume.has(source)) {
            continue;
        }
        bad.push(volume.text("name"));
        let mut others = OTHER_VOLUMES.into_iter();
        kinds.insert(others.find(|source| volume.has(source)).unwrap_or("unknown"));
    }
    if bad.is_empty() {
        return None;
    }
    let (word, uses) = (
        plural("volume", "volumes", bad.len()),
        plural("uses", "use", bad.len()),
    );
    let what = plural("restricted volume type", "restricted volume types", kinds.len());
    let (bad, kinds) = (quoted(bad), quoted(kinds));
    Violation::because(
        "restricted volume types",
        format!("{word} {bad} {uses} {what} {kinds}"),
    )
}

fn non_root(subject: &Subject<'_>) -> Option<Violation> {
    let says = |holder: &Value| flag(context(holder), "runAsNonRoot");
    let refuses = |holder: &Value| says(holder) == Some(false);
    let reason = "runAsNonRoot != true";
    if let Some(who) = setters(refuses(subject.spec), &subject.which(refuses)) {
        let detail = format!("{who} must not set securityContext.runAsNonRoot=false");
        return Violation::because(reason, detail);
    }
    let silent = subject.which(|container| says(container).is_none());
    if says(subject.spec) == Some(true) || silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    Violation::because(
        reason,
        format!("pod or {who} must set securityContext.runAsNonRoot=true"),
    )
}

fn non_root_but_own_users(subject: &Subject<'_>) -> Option<Violation> {
    if subject.has_own_users() {
        return None;
    }
    non_root(subject)
}

fn run_as_user(subject: &Subject<'_>) -> Option<Violation> {
    let is_root = |holder: &Value| context(holder).number("runAsUser") == Some(0);
    let who = setters(is_root(subject.spec), &subject.which(is_root))?;
    Violation::because("runAsUser=0", format!("{who} must not set runAsUser=0"))
}

fn run_as_user_but_own_users(subject: &Subject<'_>) -> Option<Violation> {
    if subject.has_own_users() {
        return None;
    }
    run_as_user(subject)
}

fn seccomp(subject: &Subject<'_>) -> Option<Violation> {
    if let Some((who, values)) = bad_values(subject, bad_seccomp) {
        return Violation::because("seccompProfile", must_not_set_seccomp(&who, &values));
    }
    let says = |holder: &Value| context(holder).has("seccompProfile");
    let silent = subject.which(|container| !says(container));
    if says(subject.spec) || silent.is_empty() {
        return None;
    }
    let who = containers(&silent);
    Violation::because(
        "seccompProfile",
        format!(
            "pod or {who} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\""
        ),
    )
}

fn seccomp_but_windows(subject: &Subject<'_>) -> Option<Violation> {
    if subject.is_windows() {
        return None;
    }
    seccomp(subject)
}

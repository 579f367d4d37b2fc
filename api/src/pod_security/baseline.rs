//! The checks of the baseline level.

use std::collections::BTreeSet;

use serde_json::Value;

use super::check::Check;
use super::subject::{Subject, Violation, bad_values, containers, context, flag, plural, quoted, setters};
use crate::object::Fields;
use crate::quote::quote;

/// In the order of their names.
pub(super) const CHECKS: &[Check] = &[
    check("appArmorProfile", &[(0, app_armor)]),
    check("capabilities_baseline", &[(0, capabilities)]),
    check("hostNamespaces", &[(0, host_namespaces)]),
    check("hostPathVolumes", &[(0, host_path_volumes)]),
    check("hostPorts", &[(0, host_ports)]),
    check("hostProbesAndHostLifecycle", &[(34, hosts_of_probes)]),
    check("privileged", &[(0, privileged)]),
    check("procMount", &[(0, proc_mount), (35, proc_mount_with_own_users)]),
    check("seLinuxOptions", &[(0, se_linux_0), (31, se_linux_31)]),
    check("seccompProfile_baseline", &[(0, seccomp_0), (19, seccomp_19)]),
    check(
        "sysctls",
        &[
            (0, |subject| sysctls(subject, 0)),
            (27, |subject| sysctls(subject, 27)),
            (29, |subject| sysctls(subject, 29)),
            (32, |subject| sysctls(subject, 32)),
        ],
    ),
    check("windowsHostProcess", &[(0, host_process)]),
];

const fn check(id: &'static str, since: &'static [(u64, super::check::Judge)]) -> Check {
    Check {
        id,
        since,
        replaces: None,
    }
}

const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const LOCALHOST: &str = "localhost/";
const RUNTIME_DEFAULT: &str = "runtime/default";

/// What every container has anyway.
const CAPABILITIES: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Sysctls that concern the pod alone, and the minor version since which they are let pass.
const SYSCTLS: [(&str, u64); 12] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

fn app_armor(subject: &Subject<'_>) -> Option<Violation> {
    let of_fields = bad_values(subject, |context| {
        let profile = context.field("appArmorProfile")?;
        let kind = profile.text("type");
        (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
    });
    let (who, values) = of_fields.unzip();
    let mut who: Vec<String> = who.into_iter().collect();
    let mut values: Vec<String> = values.into_iter().flatten().collect();
    let allowed =
        |profile: &str| profile.is_empty() || profile == RUNTIME_DEFAULT || profile.starts_with(LOCALHOST);
    let annotations: BTreeSet<String> = subject
        .metadata
        .entries("annotations")
        .filter_map(|(key, value)| Some((key, value.as_str()?)))
        .filter(|(key, value)| key.starts_with(APP_ARMOR) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    if !annotations.is_empty() {
        who.push(plural("annotation", "annotations", annotations.len()).to_owned());
        values.extend(annotations);
    }
    if who.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        values.len(),
    );
    let who = who.join(" and ");
    Violation::because(
        reason,
        format!("{who} must not set AppArmor profile type to {}", quoted(&values)),
    )
}

fn capabilities(subject: &Subject<'_>) -> Option<Violation> {
    let mut added = BTreeSet::new();
    let bad = subject.which(|container| {
        let others = texts(&context(container)["capabilities"], "add")
            .filter(|capability| !CAPABILITIES.contains(capability))
            .map(str::to_owned);
        extend(&mut added, others)
    });
    if bad.is_empty() {
        return None;
    }
    Violation::because("non-default capabilities", must_not_add(&bad, &added))
}

/// Who must not add which capabilities.
pub(super) fn must_not_add(bad: &[&str], added: &BTreeSet<String>) -> String {
    let (who, added) = (containers(bad), quoted(added));
    format!("{who} must not include {added} in securityContext.capabilities.add")
}

/// Adds to a set, and says whether there was anything to add.
pub(super) fn extend(set: &mut BTreeSet<String>, more: impl Iterator<Item = String>) -> bool {
    let mut any = false;
    for item in more {
        any = true;
        set.insert(item);
    }
    any
}

/// The texts of a list.
pub(super) fn texts<'a>(object: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    object.items(list).iter().filter_map(Value::as_str)
}

fn host_namespaces(subject: &Subject<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| subject.spec.flag(field))
        .map(|field| format!("{field}=true"))
        .collect();
    if shared.is_empty() {
        return None;
    }
    Violation::because("host namespaces", shared.join(", "))
}

fn host_path_volumes(subject: &Subject<'_>) -> Option<Violation> {
    let volumes = subject.spec.items("volumes").iter();
    let bad: Vec<&str> = volumes
        .filter(|volume| volume.has("hostPath"))
        .map(|volume| volume.text("name"))
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", bad.len());
    Violation::because("hostPath volumes", format!("{word} {}", quoted(&bad)))
}

fn host_ports(subject: &Subject<'_>) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let bad = subject.which(|container| {
        let taken = container
            .items("ports")
            .iter()
            .filter_map(|port| port.number("hostPort").filter(|port| *port != 0));
        extend(&mut ports, taken.map(|port| port.to_string()))
    });
    if bad.is_empty() {
        return None;
    }
    let (who, uses) = (containers(&bad), plural("uses", "use", bad.len()));
    let what = plural("hostPort", "hostPorts", ports.len());
    let ports = ports.into_iter().collect::<Vec<_>>().join(", ");
    Violation::because("hostPort", format!("{who} {uses} {what} {ports}"))
}

fn hosts_of_probes(subject: &Subject<'_>) -> Option<Violation> {
    let mut hosts = BTreeSet::new();
    let bad = subject.which(|container| {
        let probes = ["livenessProbe", "readinessProbe", "startupProbe"].map(|probe| &container[probe]);
        let handlers = ["postStart", "preStop"].map(|handler| &container["lifecycle"][handler]);
        let named = probes.into_iter().chain(handlers).flat_map(|action| {
            let hosts = ["httpGet", "tcpSocket"].map(|way| action[way].text("host"));
            hosts.into_iter().filter(|host| !host.is_empty())
        });
        extend(&mut hosts, named.map(str::to_owned))
    });
    if bad.is_empty() {
        return None;
    }
    let bad: Vec<&str> = BTreeSet::from_iter(bad).into_iter().collect();
    let (who, uses) = (containers(&bad), plural("uses", "use", bad.len()));
    let what = plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len());
    Violation::because(
        "probe or lifecycle host",
        format!("{who} {uses} {what} {}", quoted(&hosts)),
    )
}

fn privileged(subject: &Subject<'_>) -> Option<Violation> {
    let bad = subject.which(|container| context(container).flag("privileged"));
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    Violation::because(
        "privileged",
        format!("{who} must not set securityContext.privileged=true"),
    )
}

/// The mask over `/proc` stays.
pub(super) fn proc_mount(subject: &Subject<'_>) -> Option<Violation> {
    let mut kinds = BTreeSet::new();
    let bad = subject.which(|container| {
        let kind = context(container).field("procMount").and_then(Value::as_str);
        let other = kind.filter(|kind| *kind != "Default").map(str::to_owned);
        extend(&mut kinds, other.into_iter())
    });
    if bad.is_empty() {
        return None;
    }
    let who = containers(&bad);
    Violation::because(
        "procMount",
        format!(
            "{who} must not set securityContext.procMount to {}",
            quoted(&kinds)
        ),
    )
}

fn proc_mount_with_own_users(subject: &Subject<'_>) -> Option<Violation> {
    if subject.has_own_users() {
        return None;
    }
    proc_mount(subject)
}

fn se_linux_0(subject: &Subject<'_>) -> Option<Violation> {
    se_linux(
        subject,
        &["", "container_t", "container_init_t", "container_kvm_t"],
    )
}

fn se_linux_31(subject: &Subject<'_>) -> Option<Violation> {
    let types = [
        "",
        "container_t",
        "container_init_t",
        "container_kvm_t",
        "container_engine_t",
    ];
    se_linux(subject, &types)
}

fn se_linux(subject: &Subject<'_>, allowed: &[&str]) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let (mut user, mut role) = (false, false);
    let mut is_bad = |holder: &Value| {
        let options = &context(holder)["seLinuxOptions"];
        let kind = options.text("type");
        let bad_type = !allowed.contains(&kind);
        if bad_type {
            types.insert(kind.to_owned());
        }
        let sets = |field| !options.text(field).is_empty();
        user |= sets("user");
        role |= sets("role");
        bad_type || sets("user") || sets("role")
    };
    let pod = is_bad(subject.spec);
    let bad = subject.which(is_bad);
    let who = setters(pod, &bad)?;
    let mut what = Vec::new();
    if !types.is_empty() {
        let word = plural("type", "types", types.len());
        what.push(format!("{word} {}", quoted(&types)));
    }
    for (set, field) in [(user, "user"), (role, "role")] {
        if set {
            what.push(format!("{field} may not be set"));
        }
    }
    let what = what.join("; ");
    Violation::because(
        "seLinuxOptions",
        format!("{who} set forbidden securityContext.seLinuxOptions: {what}"),
    )
}

/// Before there was a field there were annotations.
fn seccomp_0(subject: &Subject<'_>) -> Option<Violation> {
    let of_containers = subject
        .containers()
        .map(|container| format!("{SECCOMP_CONTAINER}{}", container.text("name")));
    let annotations = &subject.metadata["annotations"];
    let allowed = |profile: &str| {
        matches!(profile, RUNTIME_DEFAULT | "docker/default") || profile.starts_with(LOCALHOST)
    };
    let bad: BTreeSet<String> = std::iter::once(SECCOMP_POD.to_owned())
        .chain(of_containers)
        .filter_map(|key| {
            let profile = annotations.get(&key)?.as_str()?;
            (!allowed(profile)).then(|| format!("{key}={}", quote(profile)))
        })
        .collect();
    if bad.is_empty() {
        return None;
    }
    let word = plural("annotation", "annotations", bad.len());
    let bad = bad.into_iter().collect::<Vec<_>>().join(", ");
    Violation::because("seccompProfile", format!("forbidden {word} {bad}"))
}

fn seccomp_19(subject: &Subject<'_>) -> Option<Violation> {
    let (who, values) = bad_values(subject, bad_seccomp)?;
    Violation::because("seccompProfile", must_not_set_seccomp(&who, &values))
}

/// The seccomp profile of a security context, where it is one that is not allowed.
pub(super) fn bad_seccomp(context: &Value) -> Option<String> {
    let kind = context.field("seccompProfile")?.text("type");
    (!matches!(kind, "RuntimeDefault" | "Localhost")).then(|| kind.to_owned())
}

/// Who must not set which seccomp profiles.
pub(super) fn must_not_set_seccomp(who: &str, values: &BTreeSet<String>) -> String {
    let values = quoted(values);
    format!("{who} must not set securityContext.seccompProfile.type to {values}")
}

fn sysctls(subject: &Subject<'_>, minor: u64) -> Option<Violation> {
    let allowed = |name: &str| {
        let mut known = SYSCTLS.iter();
        known.any(|(sysctl, since)| *sysctl == name && *since <= minor)
    };
    let bad: Vec<&str> = context(subject.spec)
        .items("sysctls")
        .iter()
        .map(|sysctl| sysctl.text("name"))
        .filter(|name| !allowed(name))
        .collect();
    if bad.is_empty() {
        return None;
    }
    Violation::because("forbidden sysctls", bad.join(", "))
}

fn host_process(subject: &Subject<'_>) -> Option<Violation> {
    let is_host = |holder: &Value| flag(&context(holder)["windowsOptions"], "hostProcess") == Some(true);
    let who = setters(is_host(subject.spec), &subject.which(is_host))?;
    Violation::because(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}

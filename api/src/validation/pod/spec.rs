//! The pod as a whole: names, policies, DNS, and what its parts say about each other.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{container, env, resources, scheduling, security, volume, windows};
use crate::names;
use crate::object::Fields;
use crate::validation::NameRule;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::ip;
use crate::validation::meta::{faults, labels};

const DEADLINE_MAX: i64 = i32::MAX as i64;

/// What the parts of a pod need to know of the rest of it.
pub(super) struct Pod<'a> {
    pub(super) spec: &'a Value,
    /// The pod's name; none in a template.
    pub(super) name: Option<&'a str>,
    /// The volumes that are in order, by name.
    pub(super) volumes: BTreeMap<&'a str, &'a Value>,
}

impl Pod<'_> {
    pub(super) fn grace_period(&self) -> Option<i64> {
        self.spec.number("terminationGracePeriodSeconds")
    }

    pub(super) fn host_users(&self) -> bool {
        self.spec.field("hostUsers").is_none_or(|flag| flag == true)
    }

    pub(super) fn os(&self) -> &str {
        self.spec["os"].text("name")
    }
}

/// A Pod, new or updated.
pub(super) fn pod(pod: &Value, errors: &mut FieldErrors) {
    let (spec, at) = (&pod["spec"], Path::new("spec"));
    pod_spec(spec, Some(pod["metadata"].text("name")), &at, errors);
    if spec.text("serviceAccountName").is_empty() {
        tokens_need_an_account(spec, &at, errors);
    }
    for list in ["containers", "initContainers"] {
        let at = at.child(list);
        for (index, container) in spec.items(list).iter().enumerate() {
            image_is_trimmed(container, &at.index(index), errors);
        }
    }
}

pub(super) fn image_is_trimmed(container: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let image = container.text("image");
    if image.trim() != image {
        errors.invalid(
            &at.child("image"),
            image,
            "must not have leading or trailing whitespace",
        );
    }
}

fn tokens_need_an_account(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let at = at.child("volumes");
    for (index, volume) in spec.items("volumes").iter().enumerate() {
        for (source_index, source) in volume["projected"].items("sources").iter().enumerate() {
            if source.has("serviceAccountToken") {
                let rule = "must not be specified when serviceAccountName is not set";
                let volume_at = at.index(index);
                let sources = volume_at.child("projected.sources");
                errors.forbidden(&sources.index(source_index).child("serviceAccountToken"), rule);
            }
        }
    }
}

/// A `core.PodSpec`, of a Pod with a name or of a template.
pub(super) fn pod_spec(spec: &Value, name: Option<&str>, at: &Path<'_>, errors: &mut FieldErrors) {
    if !spec.has("terminationGracePeriodSeconds") {
        errors.required(&at.child("terminationGracePeriodSeconds"), "");
    }
    let mut pod = Pod {
        spec,
        name,
        volumes: BTreeMap::new(),
    };
    pod.volumes = volume::volumes(&pod, &at.child("volumes"), errors);
    resources::claims_of_pod(spec, &at.child("resourceClaims"), errors);
    container::containers(&pod, &at.child("containers"), errors);
    container::init_containers(&pod, &at.child("initContainers"), errors);
    container::ephemeral_containers(&pod, &at.child("ephemeralContainers"), errors);
    if let Some(requirements) = spec.field("resources") {
        let at = at.child("resources");
        if pod.os() == "windows" {
            errors.forbidden(&at, "may not be set for a windows pod");
        } else {
            resources::of_pod(requirements, &pod, &at, errors);
        }
    }
    host_ports_match(spec, at, errors);
    policies(spec, at, errors);
    labels(spec, "nodeSelector", at, errors);
    security::of_pod(spec, at, errors);
    scheduling::affinity(spec, &at.child("affinity"), errors);
    dns_config(spec, &at.child("dnsConfig"), errors);
    gates(spec, at, errors);
    scheduling::spread(spec, &at.child("topologySpreadConstraints"), errors);
    host_users(&pod, at, errors);
    pod_names(spec, at, errors);
    if let Some(deadline) = spec.number("activeDeadlineSeconds") {
        for fault in names::in_range(deadline, 1, DEADLINE_MAX) {
            errors.invalid(&at.child("activeDeadlineSeconds"), deadline, fault);
        }
    }
    scheduling::tolerations(spec, &at.child("tolerations"), errors);
    host_aliases(spec, &at.child("hostAliases"), errors);
    late_rules(spec, at, errors);
}

fn policies(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let rules: [(&str, &[&str]); 2] = [
        ("restartPolicy", &["Always", "OnFailure", "Never"]),
        (
            "dnsPolicy",
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
    ];
    for (name, allowed) in rules {
        one_of(spec.text(name), allowed, &at.child(name), errors);
    }
}

/// One of the allowed words, and there at all.
pub(in crate::validation) fn one_of(word: &str, allowed: &[&str], at: &Path<'_>, errors: &mut FieldErrors) {
    if word.is_empty() {
        errors.required(at, "");
    } else if !allowed.contains(&word) {
        errors.not_supported(at, word, allowed);
    }
}

fn pod_names(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    host_name_override(spec, &at.child("hostnameOverride"), errors);
    let rules: [(&str, NameRule); 4] = [
        ("serviceAccountName", names::dns1123_subdomain),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
    ];
    for (name, rule) in rules {
        let text = spec.text(name);
        if !text.is_empty() {
            faults(&at.child(name), text, rule(text), errors);
        }
    }
}

fn host_name_override(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let Some(Value::String(name)) = spec.field("hostnameOverride") else {
        return;
    };
    if spec.flag("setHostnameAsFQDN") {
        errors.forbidden(at, "may not be specified when setHostnameAsFQDN is true");
    }
    if spec.flag("hostNetwork") {
        errors.forbidden(at, "may not be specified when hostNetwork is true");
    }
    if name.len() > 64 {
        errors.too_long(at, 64);
    }
    faults(at, name, names::dns1123_subdomain(name), errors);
}

fn late_rules(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for name in ["priorityClassName", "runtimeClassName"] {
        let text = spec.text(name);
        if !text.is_empty() || name == "runtimeClassName" && spec.has(name) {
            faults(&at.child(name), text, names::dns1123_subdomain(text), errors);
        }
    }
    if spec.has("preemptionPolicy") {
        let allowed = ["PreemptLowerPriority", "Never"];
        one_of(
            spec.text("preemptionPolicy"),
            &allowed,
            &at.child("preemptionPolicy"),
            errors,
        );
    }
    if spec.has("overhead") {
        resources::limits(spec, "overhead", &at.child("overhead.limits"), errors);
    }
    env::file_volumes(spec, at, errors);
    if let Some(os) = spec.field("os") {
        match os.text("name") {
            "" => errors.required(&at.child("os.name"), ""),
            "linux" => windows::linux_pod(spec, at, errors),
            "windows" => windows::pod(spec, at, errors),
            other => errors.not_supported(&at.child("os"), other, &["linux", "windows"]),
        }
    }
}

fn dns_config(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let none = spec.text("dnsPolicy") == "None";
    let Some(config) = spec.field("dnsConfig") else {
        if none {
            errors.required(at, "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        return;
    };
    let (servers, searches) = (config.items("nameservers"), config.items("searches"));
    if none && servers.is_empty() {
        let rule = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.required(&at.child("nameservers"), rule);
        return;
    }
    if servers.len() > 3 {
        errors.invalid(
            &at.child("nameservers"),
            &config["nameservers"],
            "must not have more than 3 nameservers",
        );
    }
    for (index, server) in servers.iter().enumerate() {
        ip::address(
            server.as_str().unwrap_or_default(),
            &at.child("nameservers").index(index),
            errors,
        );
    }
    dns_searches(config, searches, &at.child("searches"), errors);
    for (index, _) in config
        .items("options")
        .iter()
        .enumerate()
        .filter(|(_, o)| o.text("name").is_empty())
    {
        errors.required(&at.child("options").index(index), "must not be empty");
    }
}

fn dns_searches(config: &Value, searches: &[Value], at: &Path<'_>, errors: &mut FieldErrors) {
    if searches.len() > 32 {
        errors.invalid(at, &config["searches"], "must not have more than 32 search paths");
    }
    let length: usize = searches
        .iter()
        .map(|search| search.as_str().map_or(0, str::len) + 1)
        .sum();
    if length > 2049 {
        let rule = "must not have more than 2048 characters (including spaces) in the search list";
        errors.invalid(at, &config["searches"], rule);
    }
    for (index, search) in searches.iter().enumerate() {
        let search = search.as_str().unwrap_or_default();
        if search != "." {
            let name = search.strip_suffix('.').unwrap_or(search);
            let found = names::dns1123_subdomain_with_underscore(name);
            faults(&at.index(index), name, found, errors);
        }
    }
}

fn gates(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, gate) in spec.items("readinessGates").iter().enumerate() {
        let condition = gate.text("conditionType");
        let list = at.child("readinessGates");
        faults(
            &list.index(index).child("conditionType"),
            condition,
            names::qualified_name(condition),
            errors,
        );
    }
    let list = at.child("schedulingGates");
    let gates = spec.items("schedulingGates");
    for (index, gate) in gates.iter().enumerate() {
        let name = gate.text("name");
        faults(&list.index(index), name, names::qualified_name(name), errors);
        if gates[..index].iter().any(|other| other.text("name") == name) {
            errors.duplicate(&list.index(index), name);
        }
    }
}

fn host_ports_match(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    if !spec.flag("hostNetwork") {
        return;
    }
    let at = at.child("containers");
    for (index, container) in spec.items("containers").iter().enumerate() {
        let container_at = at.index(index);
        let ports_at = container_at.child("ports");
        for (port_index, port) in container.items("ports").iter().enumerate() {
            let host = port.number("hostPort").unwrap_or_default();
            if host != 0 && Some(host) != port.number("containerPort") {
                let rule = "must match `containerPort` when `hostNetwork` is true";
                errors.invalid(&ports_at.index(port_index).child("hostPort"), host, rule);
            }
        }
    }
}

fn host_users(pod: &Pod<'_>, at: &Path<'_>, errors: &mut FieldErrors) {
    if pod.host_users() {
        return;
    }
    for (name, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if pod.spec.flag(name) {
            errors.forbidden(&at.child(shown), "when `hostUsers` is false");
        }
    }
    container::each(pod.spec, at, |container, at| {
        if container.count("volumeDevices") > 0 {
            errors.forbidden(&at.child("volumeDevices"), "when `hostUsers` is false");
        }
    });
}

fn host_aliases(spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    for (index, alias) in spec.items("hostAliases").iter().enumerate() {
        let at = at.index(index);
        ip::address(alias.text("ip"), &at.child("ip"), errors);
        for (host_index, host) in alias.items("hostnames").iter().enumerate() {
            let host = host.as_str().unwrap_or_default();
            faults(
                &at.child("hostnames").index(host_index),
                host,
                names::dns1123_subdomain(host),
                errors,
            );
        }
    }
}

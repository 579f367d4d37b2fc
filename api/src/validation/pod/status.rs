//! What is told of a pod through `/status`.

use serde_json::Value;

use crate::names;
use crate::object::Fields;
use crate::validation::field::{BadValue, FieldErrors, Path};
use crate::validation::ip;
use crate::validation::meta::{faults, immutable};

/// An update of a Pod through `/status`.
pub(in crate::validation) fn pod_status(new: &Value, old: &Value, errors: &mut FieldErrors) {
    let (status, before) = (&new["status"], &old["status"]);
    let at = Path::new("status");
    conditions(status, &at.child("conditions"), errors);
    let nominated = status.text("nominatedNodeName");
    if nominated != before.text("nominatedNodeName") && !nominated.is_empty() {
        faults(
            &at.child("nominatedNodeName"),
            nominated,
            names::dns1123_subdomain(nominated),
            errors,
        );
        if !old["spec"].text("nodeName").is_empty() {
            errors.forbidden(
                &at.child("nominatedNodeName"),
                "may not be set on pods that are already bound to a node",
            );
        }
    }
    if before.has("qosClass") {
        immutable(
            status.field("qosClass"),
            before.field("qosClass"),
            &at.child("qosClass"),
            errors,
        );
    }
    for list in [
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ] {
        terminated_stays(status, before, list, &old["spec"], errors);
    }
    claim_statuses(status, &new["spec"], &at.child("resourceClaimStatuses"), errors);
    if let Some(extended) = status.field("extendedResourceClaimStatus") {
        let at = at.child("extendedResourceClaimStatus");
        extended_claim(extended, &new["spec"], &at, errors);
    }
    addresses(
        status.items("podIPs"),
        before.items("podIPs"),
        &at.child("podIPs"),
        errors,
    );
    let hosts = at.child("hostIPs");
    if let Some(first) = status.items("hostIPs").first()
        && first.text("ip") != status.text("hostIP")
    {
        let rule = "must be equal to `hostIP`";
        errors.invalid(&hosts.index(0).child("ip"), first.text("ip"), rule);
    }
    addresses(status.items("hostIPs"), before.items("hostIPs"), &hosts, errors);
}

fn conditions(status: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    const OWN: [&str; 3] = ["PodScheduled", "Ready", "Initialized"];
    for (index, condition) in status.items("conditions").iter().enumerate() {
        let at = list.index(index);
        if let Some(seen) = condition.number("observedGeneration").filter(|seen| *seen < 0) {
            let rule = "must be a non-negative integer";
            errors.invalid(&at.child("observedGeneration"), seen, rule);
        }
        let kind = condition.text("type");
        if !OWN.contains(&kind) {
            faults(&at.child("Type"), kind, names::qualified_name(kind), errors);
        }
    }
}

/// Which claims were made for a pod, by the names that it has for them.
fn claim_statuses(status: &Value, spec: &Value, list: &Path<'_>, errors: &mut FieldErrors) {
    let claims = status.items("resourceClaimStatuses");
    for (index, claim) in claims.iter().enumerate() {
        let (at, name) = (list.index(index), claim.text("name"));
        if !spec
            .items("resourceClaims")
            .iter()
            .any(|own| own.text("name") == name)
        {
            let rule = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(&at.child("name"), name, rule);
        }
        if claims[..index].iter().any(|other| other.text("name") == name) {
            errors.duplicate(&at.child("name"), name);
        }
        if claim.has("resourceClaimName") {
            let made = claim.text("resourceClaimName");
            faults(
                &at.child("resourceClaimName"),
                made,
                names::dns1123_subdomain(made),
                errors,
            );
        }
    }
}

/// The claim that was made for extended resources, and for which containers.
fn extended_claim(status: &Value, spec: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
    let (mappings, list) = (status.items("requestMappings"), at.child("requestMappings"));
    if mappings.is_empty() {
        errors.required(&list, "at least one request mapping is required");
    }
    let containers = spec
        .items("containers")
        .iter()
        .chain(spec.items("initContainers"));
    for (index, mapping) in mappings.iter().enumerate() {
        let inside = list.index(index);
        let of = |name: &str| mapping.text(name);
        match containers
            .clone()
            .find(|one| one.text("name") == of("containerName"))
        {
            None => {
                let rule =
                    "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                errors.invalid(&inside.child("containerName"), of("containerName"), rule);
            }
            Some(own) if !own["resources"]["requests"].has(of("resourceName")) => {
                let rule = "must match the extended resource name of an entry in spec.initContainers.resources.requests \
                            or spec.containers.resources.requests";
                errors.invalid(&inside.child("resourceName"), of("resourceName"), rule);
            }
            Some(_) => {}
        }
        let request = of("requestName");
        faults(
            &at.child("requestName"),
            request,
            names::dns1123_label(request),
            errors,
        );
        const KEYS: [&str; 3] = ["containerName", "resourceName", "requestName"];
        let same = |other: &Value| KEYS.iter().all(|key| other.text(key) == of(key));
        if mappings[..index].iter().any(same) {
            for key in KEYS {
                errors.duplicate(&inside.child(key), of(key));
            }
        }
    }
    match status.text("resourceClaimName") {
        "" => errors.required(&at.child("resourceClaimName"), ""),
        name => faults(
            &at.child("resourceClaimName"),
            name,
            names::dns1123_subdomain(name),
            errors,
        ),
    }
}

/// Addresses are well-formed where they are new, and there is one of each family at most.
fn addresses(entries: &[Value], before: &[Value], list: &Path<'_>, errors: &mut FieldErrors) {
    for (index, entry) in entries.iter().enumerate() {
        if !before.iter().any(|old| old.text("ip") == entry.text("ip")) {
            ip::address(entry.text("ip"), &list.index(index), errors);
        }
    }
    if entries.len() < 2 {
        return;
    }
    let parsed: Vec<_> = entries.iter().map(|entry| ip::parse(entry.text("ip"))).collect();
    if let Some(wrong) = parsed.iter().position(Option::is_none) {
        let text = entries[wrong].text("ip");
        let fault = format!("failed to check for dual stack with error:invalid IP[{wrong}]: {text}");
        errors.internal(list, fault);
    }
    let families = |v4: bool| parsed.iter().flatten().any(|ip| ip.is_ipv4() == v4);
    let is_dual = parsed.iter().all(Option::is_some) && families(true) && families(false);
    if !is_dual || entries.len() > 2 {
        let shown: Vec<String> = entries
            .iter()
            .map(|entry| format!("{{\"IP\":{}}}", Value::from(entry.text("ip"))))
            .collect();
        let rule = "may specify no more than one IP for each IP family";
        errors.invalid(list, BadValue::rendered(format!("[{}]", shown.join(","))), rule);
    }
}

/// A container that has ended and is not to be restarted has ended for good.
fn terminated_stays(status: &Value, before: &Value, list: &str, spec: &Value, errors: &mut FieldErrors) {
    let root = Path::new("status");
    let at = root.child(list);
    let containers = || {
        spec.items("containers")
            .iter()
            .chain(spec.items("initContainers"))
    };
    for (index, old) in before.items(list).iter().enumerate() {
        let Some(terminated) = old["state"].field("terminated") else {
            continue;
        };
        let name = old.text("name");
        let own = containers().find(|container| container.text("name") == name);
        if list != "ephemeralContainerStatuses" && may_restart(own, spec, terminated) {
            continue;
        }
        let runs_again = |new: &&Value| new.text("name") == name && !new["state"].has("terminated");
        if status.items(list).iter().any(|new| runs_again(&new)) {
            errors.forbidden(
                &at.index(index).child("state"),
                "may not be transitioned to non-terminated state",
            );
        }
    }
}

fn may_restart(container: Option<&Value>, spec: &Value, terminated: &Value) -> bool {
    let policy = container
        .map(|container| container.text("restartPolicy"))
        .filter(|policy| !policy.is_empty());
    if container.is_some_and(|container| container.count("restartPolicyRules") > 0) {
        return true;
    }
    match policy.unwrap_or(spec.text("restartPolicy")) {
        "Always" => true,
        "OnFailure" => terminated.number("exitCode").unwrap_or_default() != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn statuses_are_of_the_pod() {
        let told = |status: Value| {
            let spec = json!({"resourceClaims": [{"name": "gpu"}], "containers": [{"name": "c",
                "resources": {"requests": {"example.com/x": "1"}}}]});
            let mut errors = FieldErrors::new();
            let old = json!({"spec": spec.clone(), "status": {}});
            pod_status(&json!({"spec": spec, "status": status}), &old, &mut errors);
            errors.iter().map(|error| error.field.clone()).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        let mapping = json!({"containerName": "c", "resourceName": "example.com/x", "requestName": "r"});
        for (status, want) in [
            (
                json!({"conditions": [{"type": "Ready"}, {"type": "example.com/up"}]}),
                &none[..],
            ),
            (
                json!({"conditions": [{"type": "a b"}]}),
                &["status.conditions[0].Type"],
            ),
            (json!({"resourceClaimStatuses": [{"name": "gpu"}]}), &none),
            (
                json!({"resourceClaimStatuses": [{"name": "x"}]}),
                &["status.resourceClaimStatuses[0].name"],
            ),
            (
                json!({"extendedResourceClaimStatus": {"requestMappings": [mapping], "resourceClaimName": "a"}}),
                &none,
            ),
            (
                json!({"extendedResourceClaimStatus": {"requestMappings": []}}),
                &[
                    "status.extendedResourceClaimStatus.requestMappings",
                    "status.extendedResourceClaimStatus.resourceClaimName",
                ],
            ),
            (json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}), &none),
            (
                json!({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]}),
                &["status.podIPs"],
            ),
            (
                json!({"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]}),
                &["status.hostIPs[0].ip"],
            ),
        ] {
            assert_eq!(told(status.clone()), want, "{status}");
        }
    }
}

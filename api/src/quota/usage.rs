//! What one object uses.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{BY_CLASS, Counted, DEVICES, is_extended};
use crate::amounts::{self, Amounts, Counting};
use crate::object::Fields;
use crate::quantity::{Format, Quantity};

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
/// How many devices a request for all of them gets at most.
const DEVICES_MAX: i64 = 32;

fn whole(number: i64) -> Quantity {
    Quantity::from_whole(number, Format::DecimalSi)
}

fn count(items: usize) -> Quantity {
    whole(i64::try_from(items).unwrap_or(i64::MAX))
}

/// What an object of a resource uses, by all names that quotas have for it.
pub fn usage(counted: Counted<'_>, object: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::from([(counted.count_name(), whole(1))]);
    match counted.key() {
        ("", "pods") if runs(object, now) => amounts::add(&mut used, &of_pod(object)),
        ("", "pods") => {}
        ("", "services") => of_service(&object["spec"], &mut used),
        ("", "persistentvolumeclaims") => of_claim(object, &mut used),
        ("resource.k8s.io", "resourceclaims") => of_devices(&object["spec"]["devices"], &mut used),
        ("", "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets") => {
            used.insert(counted.resource.to_owned(), whole(1));
        }
        _ => {}
    }
    used
}

/// Whether a pod still holds what it was given: it has not ended, and its time to end is not up.
fn runs(pod: &Value, now: Timestamp) -> bool {
    if matches!(pod["status"].text("phase"), "Failed" | "Succeeded") {
        return false;
    }
    let metadata = &pod["metadata"];
    let gone_at = metadata.text("deletionTimestamp").parse::<Timestamp>();
    let grace = metadata.number("deletionGracePeriodSeconds");
    match (gone_at, grace) {
        (Ok(at), Some(grace)) => now.duration_since(at) <= SignedDuration::from_secs(grace),
        _ => true,
    }
}

fn of_pod(pod: &Value) -> Amounts {
    let counting = Counting {
        given: true,
        overhead: true,
    };
    let [requests, limits] = ["requests", "limits"].map(|kind| amounts::of_pod(pod, kind, counting));
    let mut used = by_names(&requests, &limits);
    used.insert("pods".to_owned(), whole(1));
    used
}

/// Requests and limits, by the names that quotas have for them.
pub(super) fn by_names(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::new();
    for (name, amount) in requests {
        let basic = matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage");
        let huge = name.starts_with("hugepages-");
        if basic || huge {
            used.insert(name.clone(), amount.clone());
        }
        if basic || huge || is_extended(name) {
            used.insert(format!("requests.{name}"), amount.clone());
        }
    }
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(amount) = limits.get(name) {
            used.insert(format!("limits.{name}"), amount.clone());
        }
    }
    used
}

fn of_service(spec: &Value, used: &mut Amounts) {
    let ports = spec.items("ports");
    let given = ports
        .iter()
        .filter(|port| port.number("nodePort").unwrap_or_default() != 0);
    let all = || count(ports.len());
    let (node_ports, balancers) = match spec.text("type") {
        "NodePort" => (all(), 0),
        "LoadBalancer" if spec.field("allocateLoadBalancerNodePorts") == Some(&Value::Bool(false)) => {
            (count(given.count()), 1)
        }
        "LoadBalancer" => (all(), 1),
        _ => (whole(0), 0),
    };
    used.insert("services".to_owned(), whole(1));
    used.insert("services.nodeports".to_owned(), node_ports);
    used.insert("services.loadbalancers".to_owned(), whole(balancers));
}

fn of_claim(claim: &Value, used: &mut Amounts) {
    let annotations = &claim["metadata"]["annotations"];
    let class = match annotations.field(CLASS_ANNOTATION).and_then(Value::as_str) {
        Some(class) => class,
        None => claim["spec"].text("storageClassName"),
    };
    let amount = |list: &Value| list.text("storage").parse::<Quantity>().ok();
    let given = amount(&claim["status"]["allocatedResources"]);
    let storage = amount(&claim["spec"]["resources"]["requests"]).map(|asked| {
        given
            .filter(|given| *given > asked)
            .unwrap_or(asked)
            .rounded_up(0)
    });
    let mut told = |name: &str, amount: Quantity| {
        if !class.is_empty() {
            used.insert(format!("{class}{BY_CLASS}{name}"), amount.clone());
        }
        used.insert(name.to_owned(), amount);
    };
    told("persistentvolumeclaims", whole(1));
    if let Some(storage) = storage {
        told("requests.storage", storage);
    }
}

/// Of alternatives, the most that any of them may get of a class.
fn of_devices(devices: &Value, used: &mut Amounts) {
    let wanted = |request: &Value| {
        let number = match request.text("allocationMode") {
            "ExactCount" => request.number("count").unwrap_or_default(),
            "All" => DEVICES_MAX,
            _ => 0,
        };
        let class = request.text("deviceClassName");
        Amounts::from([(format!("{class}{DEVICES}"), whole(number))])
    };
    for request in devices.items("requests") {
        let alternatives = request.items("firstAvailable");
        let mut most = Amounts::new();
        for alternative in alternatives {
            amounts::raise(&mut most, &wanted(alternative));
        }
        if let Some(exactly) = request.field("exactly").filter(|_| alternatives.is_empty()) {
            most = wanted(exactly);
        }
        amounts::add(used, &most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn used(group: &str, resource: &str, object: &Value) -> Value {
        amounts::write(&usage(
            Counted::new(group, resource),
            object,
            Timestamp::UNIX_EPOCH,
        ))
    }

    #[test]
    fn kinds_are_counted_in_their_own_ways() {
        let pod = json!({"spec": {"containers": [{"resources": {
            "requests": {"cpu": "500m", "example.com/gpu": "1"}, "limits": {"cpu": "1", "memory": "1Gi"}}}]}});
        assert_eq!(
            used("", "pods", &pod),
            json!({"count/pods": "1", "pods": "1", "cpu": "500m", "requests.cpu": "500m", "limits.cpu": "1",
                "limits.memory": "1Gi", "requests.example.com/gpu": "1"})
        );
        let service = json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{"port": 1, "nodePort": 30000}, {"port": 2}]}});
        assert_eq!(
            used("", "services", &service),
            json!({"count/services": "1", "services": "1", "services.nodeports": "1", "services.loadbalancers": "1"})
        );
        let claim =
            json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}});
        assert_eq!(
            used("", "persistentvolumeclaims", &claim),
            json!({"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "1Gi",
                "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
                "gold.storageclass.storage.k8s.io/requests.storage": "1Gi"})
        );
        assert_eq!(
            used("apps", "replicasets", &json!({})),
            json!({"count/replicasets.apps": "1"})
        );
    }

    #[test]
    fn of_alternatives_the_most_counts() {
        let claim = json!({"spec": {"devices": {"requests": [
            {"name": "a", "exactly": {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 2}},
            {"name": "b", "firstAvailable": [
                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 3},
                {"deviceClassName": "gpu", "allocationMode": "ExactCount", "count": 1},
                {"deviceClassName": "nic", "allocationMode": "All"}]}]}}});
        assert_eq!(
            used("resource.k8s.io", "resourceclaims", &claim),
            json!({"count/resourceclaims.resource.k8s.io": "1", "gpu.deviceclass.resource.k8s.io/devices": "5",
                "nic.deviceclass.resource.k8s.io/devices": "32"})
        );
    }

    #[test]
    fn a_pod_whose_time_is_up_holds_nothing() {
        let pod = json!({"metadata": {"deletionTimestamp": "1969-12-31T23:00:00Z", "deletionGracePeriodSeconds": 30}, "spec": {}});
        assert_eq!(used("", "pods", &pod), json!({"count/pods": "1"}));
    }
}

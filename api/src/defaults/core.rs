//! Defaults of the core group.

use serde_json::{Map, Value, json};

use super::Rule;
use crate::object::{Fields, object_in, objects_in, set_if_absent, set_if_empty};
use crate::quantity::Quantity;

pub(super) fn rule(kind: &str) -> Option<Rule> {
    Some(match kind {
        "Pod" => pod,
        "PodSpec" => pod_spec,
        "Container" | "EphemeralContainer" => container,
        "Probe" => probe,
        "HTTPGetAction" => http_get,
        "Volume" => volume,
        "SecretVolumeSource"
        | "ConfigMapVolumeSource"
        | "DownwardAPIVolumeSource"
        | "ProjectedVolumeSource" => files,
        "AzureDiskVolumeSource" => |it| set_if_absent(it, "readOnly", false),
        "GRPCAction" => |it| set_if_absent(it, "service", ""),
        "HostPathVolumeSource" => |it| set_if_absent(it, "type", ""),
        "ServiceAccountTokenProjection" => |it| set_if_absent(it, "expirationSeconds", 3600),
        "ObjectFieldSelector" => |it| set_if_empty(it, "apiVersion", "v1"),
        "Service" => service,
        "EndpointPort" => |it| set_if_empty(it, "protocol", "TCP"),
        "ReplicationController" => replication_controller,
        "Secret" => secret,
        "ConfigMap" => |it| {
            it.retain(|name, value| name != "data" || !value.is_null());
        },
        "PersistentVolume" => persistent_volume,
        "PersistentVolumeClaim" => |it| phase(it, "Pending"),
        "PersistentVolumeClaimSpec" => |it| set_if_absent(it, "volumeMode", "Filesystem"),
        "Namespace" => namespace,
        "NodeSpec" => |it| first_of(it, "podCIDR", "podCIDRs", None),
        "PodStatus" => pod_status,
        "NodeStatus" => node_status,
        "LimitRangeItem" => limit_range_item,
        _ => return None,
    })
}

fn phase(object: &mut Map<String, Value>, phase: &str) {
    if let Some(status) = object_in(object, "status") {
        set_if_empty(status, "phase", phase);
    }
}

fn pod(pod: &mut Map<String, Value>) {
    let Some(spec) = object_in(pod, "spec") else {
        return;
    };
    for list in ["containers", "initContainers"] {
        for container in objects_in(spec, list) {
            request_what_is_limited(container);
        }
    }
    pod_requests(spec);
    set_if_absent(spec, "enableServiceLinks", true);
    if spec.flag("hostNetwork") {
        for list in ["containers", "initContainers"] {
            for container in objects_in(spec, list) {
                objects_in(container, "ports").for_each(host_port);
            }
        }
    }
}

fn host_port(port: &mut Map<String, Value>) {
    if let Some(number) = port.number("containerPort") {
        set_if_empty(port, "hostPort", number);
    }
}

/// A limit without a request is its own request.
fn request_what_is_limited(container: &mut Map<String, Value>) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else {
        return;
    };
    if let Some(requests) = object_in(resources, "requests") {
        for (name, amount) in limits {
            set_if_absent(requests, &name, amount);
        }
    }
}

/// With limits for the pod as a whole, its requests are those of its containers, or else the limits (KEP-2837).
fn pod_requests(spec: &mut Map<String, Value>) {
    let Some(Value::Object(limits)) = spec.get("resources").and_then(|r| r.get("limits")).cloned() else {
        return;
    };
    let supported = |name: &str| matches!(name, "cpu" | "memory") || name.starts_with("hugepages-");
    let sums: Vec<(&str, Option<Quantity>)> = ["cpu", "memory"]
        .iter()
        .map(|name| (*name, requested_by_containers(spec, name)))
        .collect();
    let Some(resources) = object_in(spec, "resources") else {
        return;
    };
    let mut requests = match resources.remove("requests") {
        Some(Value::Object(requests)) => requests,
        _ => Map::new(),
    };
    for (name, sum) in sums {
        if let Some(sum) = sum {
            set_if_absent(&mut requests, name, sum.to_string());
        }
    }
    for (name, amount) in limits.into_iter().filter(|(name, _)| supported(name)) {
        set_if_absent(&mut requests, &name, amount);
    }
    if !requests.is_empty() {
        resources.insert("requests".into(), Value::Object(requests));
    }
}

fn requested_by_containers(spec: &Map<String, Value>, name: &str) -> Option<Quantity> {
    let amount = |container: &Value| {
        container["resources"]["requests"]
            .text(name)
            .parse::<Quantity>()
            .ok()
    };
    let sidecar = |container: &&Value| container.text("restartPolicy") == "Always";
    let running = spec
        .items("containers")
        .iter()
        .chain(spec.items("initContainers").iter().filter(sidecar));
    let sum = running.filter_map(amount).reduce(|sum, one| sum.plus(&one));
    let starting = spec
        .items("initContainers")
        .iter()
        .filter(|c| !sidecar(c))
        .filter_map(amount)
        .max();
    sum.max(starting)
}

fn pod_spec(spec: &mut Map<String, Value>) {
    set_if_empty(spec, "dnsPolicy", "ClusterFirst");
    set_if_empty(spec, "restartPolicy", "Always");
    set_if_absent(spec, "securityContext", json!({}));
    set_if_absent(spec, "terminationGracePeriodSeconds", 30);
    set_if_empty(spec, "schedulerName", "default-scheduler");
    // The old name of the field always mirrors the new one, which wins.
    let account = match (spec.text("serviceAccountName"), spec.text("serviceAccount")) {
        ("", old) => old.to_owned(),
        (new, _) => new.to_owned(),
    };
    if !account.is_empty() {
        spec.insert("serviceAccountName".into(), account.clone().into());
        spec.insert("serviceAccount".into(), account.into());
    }
}

fn container(container: &mut Map<String, Value>) {
    let policy = pull_policy(container.text("image"));
    set_if_empty(container, "imagePullPolicy", policy);
    set_if_empty(container, "terminationMessagePath", "/dev/termination-log");
    set_if_empty(container, "terminationMessagePolicy", "File");
}

/// Images without a tag and digest, or tagged `latest`, may change, so they are pulled each time.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = image
        .split_once('@')
        .map_or((image, ""), |(name, digest)| (name, digest));
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[last..].find(':') {
        Some(colon) => (&name[..last + colon], &name[last + colon + 1..]),
        None => (name, if digest.is_empty() { "latest" } else { "" }),
    };
    if tag == "latest" && is_image_name(name) {
        "Always"
    } else {
        "IfNotPresent"
    }
}

/// The grammar of the distribution project for repositories: lower case parts joined by slashes, after a host.
fn is_image_name(name: &str) -> bool {
    let part = |part: &str| {
        let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        part.bytes()
            .all(|b| alphanumeric(b) || matches!(b, b'.' | b'_' | b'-'))
            && part.bytes().next().is_some_and(alphanumeric)
            && part.bytes().last().is_some_and(alphanumeric)
    };
    let is_host =
        |host: &str| host.contains(['.', ':']) || host == "localhost" || host.to_lowercase() != host;
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (Some(host), path),
        _ => (None, name),
    };
    // The normalized name, which the limit is about, has a host and a namespace.
    let prefix = if host.is_some() {
        0
    } else {
        "docker.io/library/".len()
    };
    name.len() + prefix <= 255 && path.split('/').all(part)
}

fn probe(probe: &mut Map<String, Value>) {
    set_if_empty(probe, "timeoutSeconds", 1);
    set_if_empty(probe, "periodSeconds", 10);
    set_if_empty(probe, "successThreshold", 1);
    set_if_empty(probe, "failureThreshold", 3);
}

fn http_get(action: &mut Map<String, Value>) {
    set_if_empty(action, "path", "/");
    set_if_empty(action, "scheme", "HTTP");
}

fn volume(volume: &mut Map<String, Value>) {
    let sourceless = volume
        .iter()
        .all(|(name, value)| name == "name" || value.is_null());
    if sourceless {
        volume.insert("emptyDir".into(), json!({}));
    }
    if let Some(Value::Object(image)) = volume.get_mut("image") {
        let policy = pull_policy(image.text("reference"));
        set_if_empty(image, "pullPolicy", policy);
    }
}

fn files(source: &mut Map<String, Value>) {
    set_if_absent(source, "defaultMode", 0o644);
}

fn service(service: &mut Map<String, Value>) {
    let Some(spec) = object_in(service, "spec") else {
        return;
    };
    set_if_empty(spec, "sessionAffinity", "None");
    match spec.text("sessionAffinity") {
        "None" => {
            spec.remove("sessionAffinityConfig");
        }
        "ClientIP"
            if spec
                .get("sessionAffinityConfig")
                .is_none_or(|c| !c["clientIP"].has("timeoutSeconds")) =>
        {
            spec.insert(
                "sessionAffinityConfig".into(),
                json!({"clientIP": {"timeoutSeconds": 10800}}),
            );
        }
        _ => {}
    }
    set_if_empty(spec, "type", "ClusterIP");
    objects_in(spec, "ports").for_each(service_port);
    let kind = spec.text("type").to_owned();
    let reachable = matches!(kind.as_str(), "NodePort" | "LoadBalancer")
        || kind == "ClusterIP" && !spec.items("externalIPs").is_empty();
    if reachable {
        set_if_empty(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer" | "ClusterIP") {
        set_if_absent(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_if_absent(spec, "allocateLoadBalancerNodePorts", true);
        load_balancer_modes(service);
    }
}

fn service_port(port: &mut Map<String, Value>) {
    set_if_empty(port, "protocol", "TCP");
    let number = port.number("port").unwrap_or_default();
    set_if_empty(port, "targetPort", number);
}

fn load_balancer_modes(service: &mut Map<String, Value>) {
    let status = service
        .get_mut("status")
        .and_then(|status| status.get_mut("loadBalancer"));
    let Some(balancer) = status.and_then(Value::as_object_mut) else {
        return;
    };
    for ingress in objects_in(balancer, "ingress").filter(|ingress| !ingress.text("ip").is_empty()) {
        set_if_absent(ingress, "ipMode", "VIP");
    }
}

fn replication_controller(controller: &mut Map<String, Value>) {
    let template = controller
        .get("spec")
        .map(|spec| &spec["template"]["metadata"]["labels"]);
    let Some(labels) = template.filter(|labels| labels.is_object()).cloned() else {
        return;
    };
    if let Some(spec) = object_in(controller, "spec") {
        set_if_empty(spec, "selector", labels.clone());
    }
    if let Some(metadata) = object_in(controller, "metadata") {
        set_if_empty(metadata, "labels", labels);
    }
}

/// `stringData` is a convenience for writers: it goes into `data` and is never stored.
fn secret(secret: &mut Map<String, Value>) {
    use base64::Engine as _;
    set_if_empty(secret, "type", "Opaque");
    if let Some(Value::Object(texts)) = secret.remove("stringData")
        && let Some(data) = object_in(secret, "data").filter(|_| !texts.is_empty())
    {
        for (key, text) in texts {
            let bytes = text.as_str().unwrap_or_default();
            data.insert(
                key,
                base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            );
        }
    }
}

fn persistent_volume(volume: &mut Map<String, Value>) {
    phase(volume, "Pending");
    if let Some(spec) = object_in(volume, "spec") {
        set_if_empty(spec, "persistentVolumeReclaimPolicy", "Retain");
        set_if_absent(spec, "volumeMode", "Filesystem");
    }
}

fn namespace(namespace: &mut Map<String, Value>) {
    phase(namespace, "Active");
    let Some(metadata) = object_in(namespace, "metadata") else {
        return;
    };
    let name = metadata.text("name").to_owned();
    if let (false, Some(labels)) = (name.is_empty(), object_in(metadata, "labels")) {
        labels.insert("kubernetes.io/metadata.name".into(), name.into());
    }
}

/// An old field for one value and a new one for several: the old one, when set, is the first of the new, and the new one
/// sets the old.
fn first_of(object: &mut Map<String, Value>, old: &str, new: &str, inner: Option<&str>) {
    let text = |item: &Value| {
        inner
            .map_or(item.as_str(), |name| item[name].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    let first = object.items(new).first().map(text);
    let one = object.text(old).to_owned();
    if !one.is_empty() && first.as_ref() != Some(&one) {
        let item = inner.map_or(json!(one), |name| json!({ name: one }));
        object.insert(new.to_owned(), json!([item]));
    } else if let Some(first) = first.filter(|first| !first.is_empty()) {
        object.insert(old.to_owned(), first.into());
    }
}

fn pod_status(status: &mut Map<String, Value>) {
    first_of(status, "podIP", "podIPs", Some("ip"));
}

fn node_status(status: &mut Map<String, Value>) {
    if let Some(capacity) = status.field("capacity").cloned() {
        set_if_absent(status, "allocatable", capacity);
    }
}

fn limit_range_item(item: &mut Map<String, Value>) {
    if item.text("type") != "Container" {
        return;
    }
    for (into, from) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let amounts = item
            .get(from)
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        if let Some(target) = object_in(item, into) {
            for (name, amount) in amounts {
                set_if_absent(target, &name, amount);
            }
        }
    }
    for name in ["default", "defaultRequest"] {
        if item.count(name) == 0 {
            item.remove(name);
        }
    }
}

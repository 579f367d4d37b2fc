//! The downward API: fields of the pod and resources of its containers as text.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::{pod_level, resources};

/// What fields need beyond the pod itself, known once its sandbox is up.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) pod_ips: Vec<String>,
    pub(crate) host_ips: Vec<String>,
    /// Bytes and thousandths of a cpu; stand in for limits that are not set.
    pub(crate) allocatable_memory: i64,
    pub(crate) allocatable_milli_cpu: i64,
}

/// A field that cannot be told.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FieldError {
    #[error("unsupported fieldPath: {0}")]
    Path(String),
    #[error("container {0} not found")]
    Container(String),
    #[error("unsupported container resource : {0}")]
    Resource(String),
}

/// The text of `fieldRef.fieldPath`.
pub(crate) fn pod_field(pod: &Pod, path: &str, around: &Surroundings) -> Result<String, FieldError> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((field, key)) = subscript(path) {
        let map = match field {
            "metadata.labels" => &meta.labels,
            "metadata.annotations" => &meta.annotations,
            _ => return Err(FieldError::Path(path.into())),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let text = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(format_map(meta.labels.as_ref())),
        "metadata.annotations" => Some(format_map(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()),
        "status.hostIP" => around.host_ips.first().cloned(),
        "status.hostIPs" => Some(around.host_ips.join(",")),
        "status.podIP" => around.pod_ips.first().cloned(),
        "status.podIPs" => Some(around.pod_ips.join(",")),
        _ => return Err(FieldError::Path(path.into())),
    };
    Ok(text.unwrap_or_default())
}

/// `metadata.labels['key']` taken apart.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (field, rest) = path.split_once("['")?;
    Some((field, rest.strip_suffix("']")?))
}

/// `key="value"` lines with values quoted as Go quotes them.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let line = |(k, v): (&String, &String)| format!("{k}={}", go_quote(v));
    map.into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}

fn go_quote(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The text of a `resourceFieldRef`, rounded up to its divisor. `own` is the container that asks, for references that
/// name none. Limits that a container does not set are those of its pod, or the node's all.
pub(crate) fn resource_field(
    pod: &Pod,
    own: Option<&Container>,
    selector: &ResourceFieldSelector,
    around: &Surroundings,
) -> Result<String, FieldError> {
    let container = match selector.container_name.as_deref().filter(|n| !n.is_empty()) {
        None => own,
        Some(name) => pod.spec.as_ref().and_then(|s| {
            s.containers
                .iter()
                .chain(s.init_containers.iter().flatten())
                .find(|c| c.name == name)
        }),
    };
    let container = container
        .ok_or_else(|| FieldError::Container(selector.container_name.clone().unwrap_or_default()))?;
    let resources = container.resources.as_ref();
    let (kind, name) = selector
        .resource
        .split_once('.')
        .ok_or_else(|| FieldError::Resource(selector.resource.clone()))?;
    let set = match kind {
        "limits" => {
            let own = resources
                .and_then(|r| r.limits.as_ref())
                .and_then(|m| m.get(name));
            let bounded = matches!(name, "cpu" | "memory");
            let of_pod = pod.spec.as_ref().filter(|_| bounded);
            // A limit of zero is none.
            own.filter(|limit| !bounded || resources::milli(limit) != 0)
                .or_else(|| of_pod.and_then(|spec| pod_level::limit(spec, name)))
        }
        "requests" => resources
            .and_then(|r| r.requests.as_ref())
            .and_then(|m| m.get(name)),
        _ => return Err(FieldError::Resource(selector.resource.clone())),
    };
    let milli = match (name, set) {
        (_, Some(quantity)) => i128::from(resources::milli(quantity)),
        ("cpu", None) if kind == "limits" => i128::from(around.allocatable_milli_cpu),
        ("memory", None) if kind == "limits" => i128::from(around.allocatable_memory) * 1000,
        _ => 0,
    };
    // Defaulting writes a divisor of zero, which stands for one.
    let divisor = selector
        .divisor
        .as_ref()
        .map(|divisor: &Quantity| i128::from(resources::milli(divisor)))
        .filter(|divisor| *divisor > 0)
        .unwrap_or(1000);
    Ok(((milli + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": "web", "namespace": "ns", "uid": "u-1",
                "labels": {"app": "web", "tier": "a\"b"}, "annotations": {"k": "line\nline"},
            },
            "spec": {
                "nodeName": "n1", "serviceAccountName": "sa",
                "containers": [
                    {"name": "c", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}, "requests": {"cpu": "250m"}}},
                    {"name": "d"},
                ],
            },
        }))
        .unwrap()
    }

    fn around() -> Surroundings {
        Surroundings {
            pod_ips: vec!["10.244.0.5".into(), "fd00::5".into()],
            host_ips: vec!["192.168.0.2".into()],
            allocatable_memory: 8 << 30,
            allocatable_milli_cpu: 4000,
        }
    }

    #[test]
    fn fields_of_a_pod() {
        for (path, want) in [
            ("metadata.name", "web"),
            ("metadata.namespace", "ns"),
            ("metadata.uid", "u-1"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.labels", "app=\"web\"\ntier=\"a\\\"b\""),
            ("metadata.annotations", "k=\"line\\nline\""),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "sa"),
            ("status.hostIP", "192.168.0.2"),
            ("status.podIP", "10.244.0.5"),
            ("status.podIPs", "10.244.0.5,fd00::5"),
        ] {
            assert_eq!(pod_field(&pod(), path, &around()).as_deref(), Ok(want), "{path}");
        }
        assert_eq!(
            pod_field(&pod(), "spec.x", &around()),
            Err(FieldError::Path("spec.x".into()))
        );
    }

    #[test]
    fn resources_round_up_to_their_divisor_and_limits_fall_back_to_the_node() {
        for (container, resource, divisor, want) in [
            ("c", "limits.cpu", None, "2"),
            ("c", "limits.cpu", Some("1m"), "1500"),
            ("c", "limits.memory", None, "67108864"),
            ("c", "limits.memory", Some("0"), "67108864"),
            ("c", "limits.memory", Some("1Mi"), "64"),
            ("c", "requests.cpu", None, "1"),
            ("c", "requests.memory", None, "0"),
            ("d", "limits.cpu", None, "4"),
            ("d", "limits.memory", Some("1Gi"), "8"),
            ("d", "requests.cpu", None, "0"),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some(container.into()),
                divisor: divisor.map(|d| Quantity(d.into())),
                resource: resource.into(),
            };
            let got = resource_field(&pod(), None, &selector, &around());
            assert_eq!(got.as_deref(), Ok(want), "{container} {resource} / {divisor:?}");
        }
    }

    #[test]
    fn limits_fall_back_to_those_of_the_pod() {
        let mut pod = pod();
        let of_pod = json!({"limits": {"cpu": "3", "memory": "2Gi"}, "requests": {"cpu": "1"}});
        pod.spec.as_mut().unwrap().resources = serde_json::from_value(of_pod).unwrap();
        for (container, resource, want) in [
            ("c", "limits.cpu", "2"),
            ("d", "limits.cpu", "3"),
            ("d", "limits.memory", "2147483648"),
            ("d", "requests.cpu", "0"),
        ] {
            let selector = ResourceFieldSelector {
                container_name: Some(container.into()),
                divisor: None,
                resource: resource.into(),
            };
            let got = resource_field(&pod, None, &selector, &around());
            assert_eq!(got.as_deref(), Ok(want), "{container} {resource}");
        }
    }
}

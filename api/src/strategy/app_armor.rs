//! AppArmor profiles that a new pod names in annotations, as clients of old do, become the field (KEP-24). Pure.

use serde_json::{Map, Value, json};

use crate::object::{Fields, object_in, objects_in, same};

const PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";

/// How long the name of a profile may be (`PATH_MAX`).
const NAME_MAX: usize = 4095;

/// Fills in the profiles of containers that only an annotation names, unless the pod as a whole has the same.
pub(super) fn sync(pod: &mut Map<String, Value>) {
    let annotations = pod
        .get("metadata")
        .map_or(Value::Null, |metadata| metadata["annotations"].clone());
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    if annotations.is_null() || spec.field("os").is_some_and(|os| os.text("name") == "windows") {
        return;
    }
    let whole = spec
        .field("securityContext")
        .and_then(|context| context.field("appArmorProfile"))
        .cloned();
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in objects_in(spec, list) {
            let key = format!("{PREFIX}{}", container.text("name"));
            let said = annotations.get(&key).and_then(Value::as_str).and_then(profile);
            let Some(said) = said.filter(|said| !same(Some(said), whole.as_ref())) else {
                continue;
            };
            if let Some(context) = object_in(container, "securityContext")
                && !context.has("appArmorProfile")
            {
                context.insert("appArmorProfile".to_owned(), said);
            }
        }
    }
}

/// The profile that an annotation names; none where it names none that there can be.
fn profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        _ => {
            let name = annotation.strip_prefix("localhost/")?;
            let is_name = !name.is_empty() && name.trim() == name && name.len() <= NAME_MAX;
            is_name.then(|| json!({"type": "Localhost", "localhostProfile": name}))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn annotations_become_fields_where_there_is_none() {
        let of = |annotation: &str, container: Value, whole: Value| {
            let mut pod = json!({
                "metadata": {"annotations": {format!("{PREFIX}a"): annotation}},
                "spec": {"securityContext": whole, "containers": [container, {"name": "b"}]},
            });
            sync(pod.as_object_mut().unwrap());
            assert_eq!(pod["spec"]["containers"][1], json!({"name": "b"}));
            pod["spec"]["containers"][0]["securityContext"]["appArmorProfile"].clone()
        };
        let plain = json!({"name": "a"});
        let own = json!({"name": "a", "securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}});
        let whole = json!({"appArmorProfile": {"type": "Unconfined"}});
        let table = [
            (
                of("unconfined", plain.clone(), json!({})),
                json!({"type": "Unconfined"}),
            ),
            (
                of("localhost/web", plain.clone(), json!({})),
                json!({"type": "Localhost", "localhostProfile": "web"}),
            ),
            (of("localhost/", plain.clone(), json!({})), Value::Null),
            (
                of("unconfined", own, json!({})),
                json!({"type": "RuntimeDefault"}),
            ),
            (of("unconfined", plain, whole), Value::Null),
        ];
        for (found, want) in table {
            assert_eq!(found, want);
        }
    }
}

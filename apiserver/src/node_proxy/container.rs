//! Which container of a pod is meant.

use coracle_api::status::ApiError;
use serde_json::Value;

/// The container of that name; without a name, the only one there is.
pub(super) fn choose(pod: &Value, asked: &str) -> Result<String, ApiError> {
    let pod_name = pod
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let regular = names(pod, "containers");
    let initial = names(pod, "initContainers");
    if !asked.is_empty() {
        let known = regular.contains(&asked)
            || initial.contains(&asked)
            || names(pod, "ephemeralContainers").contains(&asked);
        return if known {
            Ok(asked.to_owned())
        } else {
            Err(ApiError::bad_request(format!(
                "container {asked} is not valid for pod {pod_name}"
            )))
        };
    }
    match regular[..] {
        [only] => Ok(only.to_owned()),
        [] => Err(ApiError::bad_request(format!(
            "a container name must be specified for pod {pod_name}"
        ))),
        _ => {
            let mut message = format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]",
                regular.join(" ")
            );
            if !initial.is_empty() {
                message.push_str(&format!(
                    " or one of the init containers: [{}]",
                    initial.join(" ")
                ));
            }
            Err(ApiError::bad_request(message))
        }
    }
}

fn names<'p>(pod: &'p Value, field: &str) -> Vec<&'p str> {
    let containers = pod
        .get("spec")
        .and_then(|spec| spec.get(field))
        .and_then(Value::as_array);
    containers
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("name")?.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &[&str], initial: &[&str]) -> Value {
        let list = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        json!({"metadata": {"name": "x"}, "spec": {
            "containers": list(containers), "initContainers": list(initial), "ephemeralContainers": [{"name": "debug"}]}})
    }

    #[test]
    fn the_container_meant_is_found_or_the_choice_is_told() {
        let cases = [
            (pod(&["a"], &[]), "", Ok("a")),
            (pod(&["a"], &["i"]), "", Ok("a")),
            (pod(&["a", "b"], &[]), "b", Ok("b")),
            (pod(&["a"], &["i"]), "i", Ok("i")),
            (pod(&["a"], &[]), "debug", Ok("debug")),
            (pod(&["a"], &[]), "c", Err("container c is not valid for pod x")),
            (
                pod(&["a", "b"], &[]),
                "",
                Err("a container name must be specified for pod x, choose one of: [a b]"),
            ),
            (
                pod(&["a", "b"], &["i"]),
                "",
                Err(
                    "a container name must be specified for pod x, choose one of: [a b] or one of the init containers: [i]",
                ),
            ),
            (
                pod(&[], &[]),
                "",
                Err("a container name must be specified for pod x"),
            ),
        ];
        for (pod, asked, want) in cases {
            let got = choose(&pod, asked);
            assert_eq!(got.as_deref().map_err(ApiError::message), want);
        }
    }
}

//! What a pod makes use of that not every node agent knows (KEP-5328). Pure.

use k8s_openapi::api::core::v1::{Container, PodSpec};

const RESTART_ALL: &str = "RestartAllContainersOnContainerExits";
const HOST_NETWORK_OF_USERS: &str = "UserNamespacesHostNetworkSupport";

/// What a node has to declare for a pod to run there, by name.
pub(crate) fn required(spec: &PodSpec) -> Vec<&'static str> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let restarts_all = |container: &Container| {
        let mut rules = container.restart_policy_rules.iter().flatten();
        rules.any(|rule| rule.action == "RestartAllContainers")
    };
    let mut required = Vec::new();
    if containers.into_iter().any(restarts_all) {
        required.push(RESTART_ALL);
    }
    if spec.host_network == Some(true) && spec.host_users == Some(false) {
        required.push(HOST_NETWORK_OF_USERS);
    }
    required
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_requires_what_it_makes_use_of() {
        let rule = |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [1]}}]);
        let container = |rules: Value| json!({"name": "c", "restartPolicyRules": rules});
        for (spec, expected) in [
            (json!({"containers": [container(json!(null))]}), vec![]),
            (json!({"containers": [container(rule("Restart"))]}), vec![]),
            (
                json!({"containers": [container(rule("RestartAllContainers"))]}),
                vec![RESTART_ALL],
            ),
            (
                json!({"containers": [], "initContainers": [container(rule("RestartAllContainers"))]}),
                vec![RESTART_ALL],
            ),
            (json!({"containers": [], "hostNetwork": true}), vec![]),
            (
                json!({"containers": [], "hostNetwork": true, "hostUsers": false}),
                vec![HOST_NETWORK_OF_USERS],
            ),
        ] {
            let read: PodSpec = serde_json::from_value(spec.clone()).unwrap();
            assert_eq!(required(&read), expected, "{spec}");
        }
    }
}

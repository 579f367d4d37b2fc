//! The APIServices of custom resources: each served group version has one, which the server itself keeps. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use coracle_api::object::Fields;
use serde_json::{Value, json};

/// Who keeps an APIService: the server where it is `true` or `onstart`, and nobody else then.
const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";

/// What is to be done.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) create: Vec<Value>,
    /// Names.
    pub(super) delete: Vec<String>,
}

/// Makes what is missing and takes away what no definition serves any more. An APIService that somebody else made stays.
pub(super) fn plan(definitions: &[Arc<Value>], api_services: &[Arc<Value>]) -> Plan {
    let mut wanted: BTreeMap<String, Value> = BTreeMap::new();
    for definition in definitions.iter().filter(|definition| is_established(definition)) {
        let group = definition["spec"].text("group");
        for version in definition["spec"].items("versions") {
            if version.flag("served") {
                let version = version.text("name");
                wanted.insert(format!("{version}.{group}"), api_service(group, version));
            }
        }
    }
    let name = |object: &Arc<Value>| object["metadata"].text("name").to_owned();
    let present: BTreeSet<String> = api_services.iter().map(name).collect();
    let left = api_services.iter().filter(|service| {
        let managed = service["metadata"]["labels"].text(MANAGED) == "true";
        managed && !wanted.contains_key(service["metadata"].text("name"))
    });
    Plan {
        delete: left.map(name).collect(),
        create: wanted
            .into_iter()
            .filter(|(name, _)| !present.contains(name))
            .map(|(_, service)| service)
            .collect(),
    }
}

/// Its names were accepted and it is served.
fn is_established(definition: &Value) -> bool {
    let mut conditions = definition["status"].items("conditions").iter();
    conditions.any(|condition| condition.text("type") == "Established" && condition.text("status") == "True")
}

fn api_service(group: &str, version: &str) -> Value {
    json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": format!("{version}.{group}"), "labels": {MANAGED: "true"}},
        "spec": {"group": group, "version": version, "groupPriorityMinimum": 1000, "versionPriority": 100},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_served_version_has_an_api_service_and_no_other() {
        let definition = |established: &str| {
            Arc::new(json!({"spec": {"group": "example.com", "versions": [
                    {"name": "v1", "served": true}, {"name": "v1beta1", "served": false}]},
                "status": {"conditions": [{"type": "Established", "status": established}]}}))
        };
        assert_eq!(plan(&[definition("False")], &[]), Plan::default());
        let first = plan(&[definition("True")], &[]);
        assert_eq!(first.create.len(), 1);
        assert_eq!(first.create[0]["metadata"]["name"], "v1.example.com");
        let made: Vec<Arc<Value>> = first.create.into_iter().map(Arc::new).collect();
        assert_eq!(plan(&[definition("True")], &made), Plan::default());
        assert_eq!(plan(&[], &made).delete, ["v1.example.com"]);
        let foreign = Arc::new(json!({"metadata": {"name": "v1.other.com"}, "spec": {}}));
        assert_eq!(plan(&[], &[foreign]), Plan::default());
    }
}

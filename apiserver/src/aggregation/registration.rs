//! The APIServices of custom resources: each served group version has one, which the server itself keeps. Pure.

use std::collections::BTreeMap;

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

/// What a definition asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Defined {
    group: String,
    /// The versions that are served; none as long as it is not established.
    versions: Vec<String>,
}

impl Defined {
    /// Reads a definition.
    pub(super) fn read(definition: &Value) -> Self {
        let spec = &definition["spec"];
        let established = is_established(definition);
        let versions = spec.items("versions").iter();
        let served = versions.filter(|version| established && version.flag("served"));
        Self {
            group: spec.text("group").to_owned(),
            versions: served.map(|version| version.text("name").to_owned()).collect(),
        }
    }
}

/// Makes what is missing and takes away what no definition serves any more. An APIService that somebody else made stays.
///
/// APIServices come as their names, and whether the server keeps them.
pub(super) fn plan<'a>(
    definitions: impl Iterator<Item = &'a Defined>,
    api_services: impl Iterator<Item = (&'a str, bool)>,
) -> Plan {
    let mut wanted: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for Defined { group, versions } in definitions {
        for version in versions {
            wanted.insert(format!("{version}.{group}"), (group, version));
        }
    }
    let mut delete = Vec::new();
    for (name, managed) in api_services {
        if wanted.remove(name).is_none() && managed {
            delete.push(name.to_owned());
        }
    }
    let missing = wanted.into_values();
    Plan {
        create: missing
            .map(|(group, version)| api_service(group, version))
            .collect(),
        delete,
    }
}

/// Whether the server keeps an APIService for a definition.
pub(super) fn is_managed(api_service: &Value) -> bool {
    api_service["metadata"]["labels"].text(MANAGED) == "true"
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
            Defined::read(&json!({"spec": {"group": "example.com", "versions": [
                    {"name": "v1", "served": true}, {"name": "v1beta1", "served": false}]},
                "status": {"conditions": [{"type": "Established", "status": established}]}}))
        };
        let none = || std::iter::empty();
        assert_eq!(plan([definition("False")].iter(), none()), Plan::default());
        let first = plan([definition("True")].iter(), none());
        assert_eq!(first.create.len(), 1);
        assert_eq!(first.create[0]["metadata"]["name"], "v1.example.com");
        assert!(is_managed(&first.create[0]));
        let made = || std::iter::once(("v1.example.com", true));
        assert_eq!(plan([definition("True")].iter(), made()), Plan::default());
        assert_eq!(plan([].iter(), made()).delete, ["v1.example.com"]);
        let foreign = std::iter::once(("v1.other.com", false));
        assert_eq!(plan([].iter(), foreign), Plan::default());
    }
}

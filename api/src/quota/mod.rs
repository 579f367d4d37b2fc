//! ResourceQuotas: what an object counts for, which quotas it counts against, and what a write comes to. Pure.
//!
//! [`usage`] says what one object of a resource uses, [`tracked`] which of a quota's names that resource can have a part
//! in, and [`scopes`] whether a quota is about the object at all. [`charge`] puts them together for admission;
//! [`recount`] for the controller.

pub mod charge;
mod scopes;
mod usage;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::amounts::{self, Amounts};
use crate::object::Fields;
use crate::quantity::{Format, Quantity};

pub use scopes::applies;
pub use usage::usage;

/// A resource by group and plural name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counted<'a> {
    /// Empty for core.
    pub group: &'a str,
    /// The plural name.
    pub resource: &'a str,
}

const OF_PODS: [&str; 11] = [
    "count/pods",
    "cpu",
    "ephemeral-storage",
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "memory",
    "pods",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
const OF_SERVICES: [&str; 4] = [
    "count/services",
    "services",
    "services.loadbalancers",
    "services.nodeports",
];
const OF_CLAIMS: [&str; 2] = ["persistentvolumeclaims", "requests.storage"];
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const DEVICES: &str = ".deviceclass.resource.k8s.io/devices";
const DEVICE_CLASS: &str = "deviceclass.resource.kubernetes.io/";

impl<'a> Counted<'a> {
    /// Names a resource.
    pub fn new(group: &'a str, resource: &'a str) -> Self {
        Self { group, resource }
    }

    fn key(self) -> (&'a str, &'a str) {
        (self.group, self.resource)
    }

    /// Whether quotas count it at all: it is stored, and no mere happening.
    pub fn is_countable(self) -> bool {
        !matches!(
            self.key(),
            ("" | "events.k8s.io", "events")
                | ("", "bindings" | "componentstatuses")
                | ("authentication.k8s.io" | "authorization.k8s.io", _)
        )
    }

    /// The name under which its objects are counted.
    pub fn count_name(self) -> String {
        match self.group {
            "" => format!("count/{}", self.resource),
            group => format!("count/{}.{group}", self.resource),
        }
    }

    /// Whether objects of it may have a part in what a quota calls so.
    pub fn is_tracked_by(self, name: &str) -> bool {
        match self.key() {
            ("", "pods") => {
                OF_PODS.contains(&name)
                    || name.starts_with("hugepages-")
                    || name.starts_with("requests.hugepages-")
                    || name.strip_prefix("requests.").is_some_and(is_extended)
            }
            ("", "services") => OF_SERVICES.contains(&name),
            ("", "persistentvolumeclaims") => {
                let of_class = |what: &&str| name.ends_with(&format!("{BY_CLASS}{what}"));
                name == self.count_name() || OF_CLAIMS.contains(&name) || OF_CLAIMS.iter().any(of_class)
            }
            ("resource.k8s.io", "resourceclaims") => name == self.count_name() || name.ends_with(DEVICES),
            ("", "configmaps" | "resourcequotas" | "replicationcontrollers" | "secrets") => {
                name == self.resource || name == self.count_name()
            }
            _ => name == self.count_name(),
        }
    }
}

/// Whether a resource is none of Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.starts_with(DEVICE_CLASS) || name.contains('/') && !name.contains("kubernetes.io/")
}

/// The names in a quota's `hard` that objects of a resource may have a part in.
pub fn tracked(counted: Counted<'_>, hard: &Amounts) -> BTreeSet<String> {
    if !counted.is_countable() {
        return BTreeSet::new();
    }
    let names = hard.keys().filter(|name| counted.is_tracked_by(name));
    names.cloned().collect()
}

/// The names under which the objects of a resource are merely counted: knowing that they are there is enough.
pub fn is_merely_counted(counted: Counted<'_>) -> bool {
    !matches!(
        counted.key(),
        ("", "pods" | "services" | "persistentvolumeclaims") | ("resource.k8s.io", "resourceclaims")
    )
}

/// What objects of one resource use up of a quota (its `spec` counts), by the names that it tracks.
pub fn recount<'a>(
    quota: &Value,
    counted: Counted<'_>,
    objects: impl IntoIterator<Item = &'a Value>,
    now: Timestamp,
) -> Amounts {
    let names = tracked(counted, &amounts::read(&quota["spec"]["hard"]));
    let mut used: Amounts = names
        .iter()
        .map(|name| (name.clone(), Quantity::from_whole(0, Format::DecimalSi)))
        .collect();
    for object in objects {
        if applies(quota, counted, object) {
            amounts::add(&mut used, &usage(counted, object, now));
        }
    }
    used.retain(|name, _| names.contains(name));
    used
}

/// Whether a quota's status says all of what its spec asks for.
pub fn is_known(quota: &Value) -> bool {
    let (hard, stated) = (
        amounts::read(&quota["spec"]["hard"]),
        amounts::read(&quota["status"]["hard"]),
    );
    quota["status"].has("used") && hard == stated
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_belong_to_resources() {
        let cases = [
            ("", "pods", "pods", true),
            ("", "pods", "count/pods", true),
            ("", "pods", "requests.example.com/gpu", true),
            ("", "pods", "requests.nvidia.kubernetes.io/gpu", false),
            ("", "pods", "requests.storage", false),
            ("", "pods", "hugepages-2Mi", true),
            ("", "services", "services.nodeports", true),
            (
                "",
                "persistentvolumeclaims",
                "gold.storageclass.storage.k8s.io/requests.storage",
                true,
            ),
            ("", "secrets", "secrets", true),
            ("apps", "replicasets", "count/replicasets.apps", true),
            ("apps", "replicasets", "replicasets", false),
            (
                "resource.k8s.io",
                "resourceclaims",
                "gpu.deviceclass.resource.k8s.io/devices",
                true,
            ),
            ("", "events", "count/events", false),
        ];
        for (group, resource, name, want) in cases {
            let hard = amounts::read(&json!({ name: "1" }));
            let found = tracked(Counted::new(group, resource), &hard);
            assert_eq!(!found.is_empty(), want, "{resource} {name}");
        }
    }

    #[test]
    fn everything_of_a_scope_is_counted_anew() {
        let quota =
            json!({"spec": {"hard": {"pods": "5", "requests.cpu": "1"}, "scopes": ["NotTerminating"]}});
        let pod = |cpu: &str| json!({"spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}});
        let mut short = pod("300m");
        short["spec"]["activeDeadlineSeconds"] = json!(5);
        let mut ended = pod("300m");
        ended["status"] = json!({"phase": "Failed"});
        let pods = [pod("100m"), pod("200m"), short, ended];
        let used = recount(&quota, Counted::new("", "pods"), &pods, Timestamp::UNIX_EPOCH);
        assert_eq!(
            amounts::write(&used),
            json!({"pods": "2", "requests.cpu": "300m"})
        );
        let none: [&Value; 0] = [];
        let used = recount(&quota, Counted::new("", "pods"), none, Timestamp::UNIX_EPOCH);
        assert_eq!(amounts::write(&used), json!({"pods": "0", "requests.cpu": "0"}));
    }
}

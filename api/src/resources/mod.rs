//! The resources that the apiserver serves for itself: names, kinds, verbs, subresources, table columns, and where each
//! is stored.
//!
//! The facts stand in `generated`, which `cargo xtask generate` writes from what a kube-apiserver says in discovery. What
//! is added here by hand is where resources are stored, which no server tells: several versions, or even two groups, may
//! be views of one stored resource.

mod build;
#[rustfmt::skip]
mod generated;

use crate::table::{self, Gvk, Type};

/// A resource in one version.
#[derive(Debug)]
pub struct Resource {
    /// The API group, empty for core.
    pub group: &'static str,
    /// The version.
    pub version: &'static str,
    /// The plural name, `pods`.
    pub resource: &'static str,
    /// The singular name, `pod`.
    pub singular: &'static str,
    /// The kind, `Pod`.
    pub kind: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs, sorted.
    pub verbs: &'static [&'static str],
    /// Abbreviations, `po`.
    pub short_names: &'static [&'static str],
    /// The groups of resources it belongs to, `all`.
    pub categories: &'static [&'static str],
    /// What lies below an object.
    pub subresources: &'static [Subresource],
    /// The columns of its tables.
    pub columns: &'static [Column],
}

/// What lies below an object: `status`, `scale`, `log`.
#[derive(Debug)]
pub struct Subresource {
    /// The last part of the path.
    pub name: &'static str,
    /// The kind that it takes and gives, which may be of another group (`scale`).
    pub gvk: Gvk,
    /// The verbs, sorted.
    pub verbs: &'static [&'static str],
}

/// A column of a server-side table (`metav1.TableColumnDefinition`).
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The heading.
    pub name: &'static str,
    /// `string`, `integer`, `boolean`, `date`.
    pub ty: &'static str,
    /// `name` for the column that names the object; mostly empty.
    pub format: &'static str,
    /// 0 for columns that always show, 1 for those of the wide form.
    pub priority: i32,
}

/// Every resource in every version, in the order of discovery.
pub fn all() -> &'static [Resource] {
    generated::RESOURCES
}

/// The resource of a group, version and plural name.
pub fn find(group: &str, version: &str, resource: &str) -> Option<&'static Resource> {
    all()
        .iter()
        .find(|r| r.resource == resource && r.group == group && r.version == version)
}

/// The resource whose objects are of a kind.
pub fn by_kind(group: &str, version: &str, kind: &str) -> Option<&'static Resource> {
    all()
        .iter()
        .find(|r| r.kind == kind && r.group == group && r.version == version)
}

/// The versions in which a resource is served, the preferred one first.
pub fn versions(group: &str, resource: &str) -> impl Iterator<Item = &'static Resource> {
    all()
        .iter()
        .filter(move |r| r.resource == resource && r.group == group)
}

/// The preferred version of the resource whose objects are of a kind.
pub fn by_group_kind(group: &str, kind: &str) -> Option<&'static Resource> {
    all().iter().find(|r| r.kind == kind && r.group == group)
}

/// The groups in the order of discovery, each with its versions, the preferred one first. Core is the first.
pub fn groups() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for resource in all() {
        let at = match groups.iter().position(|(group, _)| *group == resource.group) {
            Some(at) => at,
            None => {
                groups.push((resource.group, Vec::new()));
                groups.len() - 1
            }
        };
        let versions = &mut groups[at].1;
        if !versions.contains(&resource.version) {
            versions.push(resource.version);
        }
    }
    groups
}

impl Resource {
    /// Group, version and kind of its objects.
    pub fn gvk(&self) -> Gvk {
        Gvk {
            group: self.group,
            version: self.version,
            kind: self.kind,
        }
    }

    /// `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        self.gvk().api_version()
    }

    /// The type of its objects.
    pub fn ty(&self) -> &'static Type {
        table::by_gvk(self.group, self.version, self.kind).expect("the table has the kind of every resource")
    }

    /// The type of a list of its objects; none for what can only be created (reviews).
    pub fn list_type(&self) -> Option<&'static Type> {
        table::by_gvk(self.group, self.version, &format!("{}List", self.kind))
    }

    /// Whether it serves a verb.
    pub fn has_verb(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether its objects are kept at all: reviews and bindings are answered and forgotten.
    pub fn is_stored(&self) -> bool {
        self.has_verb("watch")
    }

    /// The subresource of a name.
    pub fn subresource(&self, name: &str) -> Option<&'static Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// The resource in the version in which its objects are stored, as upstream's storage factory has it.
    ///
    /// `events.k8s.io` events are stored as core events; horizontal pod autoscalers as autoscaling/v2.
    pub fn stored_as(&self) -> &'static Resource {
        let (group, version) = match (self.group, self.resource) {
            ("events.k8s.io", "events") => ("", "v1"),
            ("autoscaling", "horizontalpodautoscalers") => ("autoscaling", "v2"),
            _ => (self.group, self.version),
        };
        find(group, version, self.resource).expect("a resource is served in the version it is stored in")
    }

    /// What stands between `/registry/` and the namespace or name in the keys of its objects.
    ///
    /// Mostly the plural name; upstream keeps the names that some resources had in early versions, and puts the group in
    /// front where a library server (of CRDs, of API services) keeps its own registry.
    pub fn storage_prefix(&self) -> String {
        match (self.group, self.resource) {
            ("", "replicationcontrollers") => "controllers".to_owned(),
            ("", "endpoints") => "services/endpoints".to_owned(),
            ("", "services") => "services/specs".to_owned(),
            ("", "nodes") => "minions".to_owned(),
            ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
            ("apiextensions.k8s.io" | "apiregistration.k8s.io", resource) => {
                format!("{}/{resource}", self.group)
            }
            (_, resource) => resource.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resource_has_types_and_singular() {
        for resource in all() {
            assert_eq!(resource.ty().gvk, Some(resource.gvk()));
            assert!(!resource.singular.is_empty(), "{}", resource.resource);
            assert_eq!(
                resource.list_type().is_some(),
                resource.has_verb("list"),
                "{}",
                resource.resource
            );
            assert_eq!(
                resource.columns.is_empty(),
                !resource.has_verb("get"),
                "{}",
                resource.resource
            );
        }
        assert_eq!(all().len(), 68);
    }

    #[test]
    fn lookups() {
        let pods = find("", "v1", "pods").unwrap();
        assert_eq!((pods.kind, pods.singular, pods.namespaced), ("Pod", "pod", true));
        assert_eq!(pods.short_names, ["po"]);
        assert_eq!(pods.categories, ["all"]);
        assert_eq!(
            pods.subresource("eviction").unwrap().gvk.api_version(),
            "policy/v1"
        );
        assert!(pods.subresource("scale").is_none());
        let scale = find("apps", "v1", "deployments")
            .unwrap()
            .subresource("scale")
            .unwrap();
        assert_eq!(
            scale.gvk,
            Gvk {
                group: "autoscaling",
                version: "v1",
                kind: "Scale"
            }
        );
        assert_eq!(
            by_group_kind("autoscaling", "HorizontalPodAutoscaler")
                .unwrap()
                .version,
            "v2"
        );
        assert!(find("apps", "v1beta1", "deployments").is_none());
    }

    #[test]
    fn storage() {
        let table = [
            ("events.k8s.io", "v1", "events", "v1", "events"),
            ("", "v1", "events", "v1", "events"),
            (
                "autoscaling",
                "v1",
                "horizontalpodautoscalers",
                "autoscaling/v2",
                "horizontalpodautoscalers",
            ),
            ("", "v1", "services", "v1", "services/specs"),
            (
                "networking.k8s.io",
                "v1",
                "ingresses",
                "networking.k8s.io/v1",
                "ingress",
            ),
            (
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                "apiextensions.k8s.io/v1",
                "apiextensions.k8s.io/customresourcedefinitions",
            ),
        ];
        for (group, version, resource, api_version, prefix) in table {
            let stored = find(group, version, resource).unwrap().stored_as();
            assert_eq!(
                (stored.api_version().as_str(), stored.storage_prefix().as_str()),
                (api_version, prefix)
            );
        }
    }

    #[test]
    fn groups_start_with_core() {
        let groups = groups();
        assert_eq!(groups[0], ("", vec!["v1"]));
        assert!(groups.contains(&("autoscaling", vec!["v2", "v1"])));
    }
}

//! What discovery tells of: groups, their versions, the resources of each. Built-in ones come from the table; custom
//! resource definitions and aggregated servers can add theirs.

use std::borrow::Cow;
use std::sync::Arc;

use coracle_api::custom::{Version as CustomVersion, kube_aware};
use coracle_api::resources::{self, Resource, Subresource};
use sha2::{Digest, Sha256};

/// A name: of the table, or of somebody else's.
pub(super) type Text = Cow<'static, str>;

/// An API group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name, empty for core.
    pub name: Text,
    /// Its versions, the preferred one first.
    pub versions: Vec<Version>,
}

/// A version of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// `v1`.
    pub version: Text,
    /// Its resources; shared, so that it costs little to see that they are the same as before.
    pub resources: Vec<Arc<Entry>>,
}

/// A resource in a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The plural name.
    pub resource: Text,
    /// The singular name.
    pub singular: Text,
    /// The kind.
    pub kind: Text,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// The verbs, in the order in which they are told.
    pub verbs: Vec<Text>,
    /// Abbreviations.
    pub short_names: Vec<Text>,
    /// Groups of resources it belongs to.
    pub categories: Vec<Text>,
    /// What lies below an object.
    pub subresources: Vec<SubEntry>,
    /// Tells when the form in which objects are stored changes; empty for what is not stored.
    pub storage_version_hash: String,
    /// The group and version of its kind, where the aggregated form is to name them although they are those of the place.
    pub of: Option<(Text, Text)>,
}

/// What lies below an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubEntry {
    /// The last part of the path.
    pub name: Text,
    /// The group of its kind, where that differs from the resource's group version, or empty.
    pub group: Text,
    /// The version of its kind, likewise.
    pub version: Text,
    /// Its kind.
    pub kind: Text,
    /// The verbs, sorted.
    pub verbs: Vec<Text>,
}

/// The groups of the resources that are built in.
pub fn built_in() -> Vec<Group> {
    let groups = resources::groups().into_iter().map(|(name, versions)| Group {
        name: name.into(),
        versions: versions
            .into_iter()
            .map(|version| {
                let of_version = |r: &&Resource| r.group == name && r.version == version;
                let resources = resources::all()
                    .iter()
                    .filter(of_version)
                    .map(entry)
                    .map(Arc::new);
                Version {
                    version: version.into(),
                    resources: resources.collect(),
                }
            })
            .collect(),
    });
    groups.collect()
}

fn entry(resource: &'static Resource) -> Entry {
    Entry {
        resource: resource.resource.into(),
        singular: resource.singular.into(),
        kind: resource.kind.into(),
        namespaced: resource.namespaced,
        verbs: texts(resource.verbs),
        short_names: texts(resource.short_names),
        categories: texts(resource.categories),
        subresources: resource
            .subresources
            .iter()
            .map(|sub| sub_entry(sub, resource))
            .collect(),
        storage_version_hash: if resource.is_stored() {
            let stored = resource.stored_as();
            let version = hashed_version(stored).unwrap_or(stored.version);
            storage_version_hash(stored.group, version, stored.kind)
        } else {
            String::new()
        },
        of: None,
    }
}

/// The groups of custom resources: each version with what is told of it, sorted by group and resource.
pub(crate) fn custom(versions: &[(&CustomVersion, &Arc<Entry>)]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (version, entry) in versions {
        let resource = &version.resource;
        if groups.last().is_none_or(|group| group.name != resource.group) {
            groups.push(Group {
                name: resource.group.into(),
                versions: Vec::new(),
            });
        }
        let Some(group) = groups.last_mut() else { continue };
        let entry = Arc::clone(entry);
        match group
            .versions
            .iter_mut()
            .find(|known| known.version == resource.version)
        {
            Some(known) => known.resources.push(entry),
            None => group.versions.push(Version {
                version: resource.version.into(),
                resources: vec![entry],
            }),
        }
    }
    for group in &mut groups {
        group.versions.sort_by(|a, b| kube_aware(&b.version, &a.version));
    }
    groups
}

/// A subresource; its group and version are told where they are not its resource's.
fn sub_entry(sub: &Subresource, resource: &Resource) -> SubEntry {
    let own = (sub.gvk.group, sub.gvk.version) == (resource.group, resource.version);
    let (group, version) = if own {
        ("", "")
    } else {
        (sub.gvk.group, sub.gvk.version)
    };
    SubEntry {
        name: sub.name.into(),
        group: group.into(),
        version: version.into(),
        kind: sub.gvk.kind.into(),
        verbs: sub.verbs.iter().map(|verb| Text::Borrowed(verb)).collect(),
    }
}

/// What is told of a custom resource in a version, whose objects are stored in the version of a name.
pub(crate) fn custom_entry(version: &CustomVersion, storage: &str) -> Entry {
    let resource = &version.resource;
    let texts = |texts: &[&'static str]| texts.iter().map(|text| Text::Borrowed(text)).collect();
    let subresources = version.subresources.iter().map(|sub| sub_entry(sub, resource));
    Entry {
        resource: resource.resource.into(),
        singular: resource.singular.into(),
        kind: resource.kind.into(),
        namespaced: resource.namespaced,
        verbs: texts(version.told_verbs),
        short_names: texts(&version.short_names),
        categories: texts(&version.categories),
        subresources: subresources.collect(),
        storage_version_hash: storage_version_hash(resource.group, storage, resource.kind),
        of: Some((resource.group.into(), resource.version.into())),
    }
}

/// The version that upstream's hash names where that is not the one it serves. A hash only tells whether the stored form
/// has changed, and must not when this server and upstream's take turns over one store.
fn hashed_version(resource: &Resource) -> Option<&'static str> {
    let beta = [
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "customresourcedefinitions",
    ];
    beta.contains(&resource.resource).then_some("v1beta1")
}

fn texts(texts: &'static [&'static str]) -> Vec<Text> {
    texts.iter().map(|text| Text::Borrowed(text)).collect()
}

/// Upstream's hash of the kind in which objects are stored: eight bytes of a SHA-256 of `group/version/kind`, in base64.
pub(crate) fn storage_version_hash(group: &str, version: &str, kind: &str) -> String {
    use base64::Engine;
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

/// `v1` for core, `group/version` otherwise.
pub(super) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

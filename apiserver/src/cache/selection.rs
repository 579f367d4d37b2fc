//! Which objects a list or a watch is about.

use coracle_api::selector::LabelSelector;

use super::entry::Entry;

/// One term of a field selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldTerm {
    /// The field, by the name that entries know it under.
    pub name: &'static str,
    /// Whether the value must be this one, or must be another.
    pub equal: bool,
    /// The value.
    pub value: String,
}

/// A namespace and selectors, all of which must hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    /// Empty for all namespaces, and for resources without.
    pub namespace: String,
    /// None for every label.
    pub labels: Option<LabelSelector>,
    /// Empty for every field.
    pub fields: Vec<FieldTerm>,
}

/// Where a watcher is found: the narrowest place that its selection names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All of the resource.
    Everything,
    /// The objects of a namespace.
    Namespace(String),
    /// The objects that belong to a node.
    Node(String),
    /// One object, by key.
    Object(String),
}

impl Scope {
    /// The field that says which node an object belongs to.
    pub(crate) const NODE_FIELD: &'static str = "spec.nodeName";
}

impl Selection {
    /// Whether an object is selected.
    pub(crate) fn matches(&self, entry: &Entry) -> bool {
        (self.namespace.is_empty() || self.namespace == entry.namespace())
            && self
                .fields
                .iter()
                .all(|term| (entry.field(term.name) == term.value) == term.equal)
            && self
                .labels
                .as_ref()
                .is_none_or(|labels| labels.matches(|key| entry.label(key)))
    }

    /// Whether labels or fields are asked for, so that counting the rest of a list would mean looking at all of it.
    pub(crate) fn has_selectors(&self) -> bool {
        self.labels.is_some() || !self.fields.is_empty()
    }

    /// What every selected object's key starts with.
    pub(crate) fn key_prefix(&self) -> String {
        if self.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", self.namespace)
        }
    }

    /// The key of the one object that can be selected, if there is but one.
    pub(crate) fn single_key(&self, namespaced: bool) -> Option<String> {
        let name = self.required("metadata.name")?;
        match (namespaced, self.namespace.is_empty()) {
            (false, _) => Some(name.to_owned()),
            (true, false) => Some(format!("{}/{name}", self.namespace)),
            (true, true) => Some(format!("{}/{name}", self.required("metadata.namespace")?)),
        }
    }

    /// The narrowest scope that holds everything selected.
    pub(crate) fn scope(&self) -> Scope {
        if let Some(node) = self.required(Scope::NODE_FIELD).filter(|node| !node.is_empty()) {
            return Scope::Node(node.to_owned());
        }
        if self.namespace.is_empty() {
            return Scope::Everything;
        }
        match self.single_key(true) {
            Some(key) => Scope::Object(key),
            None => Scope::Namespace(self.namespace.clone()),
        }
    }

    fn required(&self, field: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|term| term.equal && term.name == field)
            .map(|term| term.value.as_str())
    }
}

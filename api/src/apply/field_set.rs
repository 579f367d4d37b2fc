//! Sets of fields: what a manager owns of an object, in memory and as `FieldsV1`.
//!
//! A set is a tree whose edges are path elements in the form in which `FieldsV1` writes them: `f:name` for a field,
//! `k:{"port":80}` for an item of a list by its keys, `v:"a"` for an item of a set by its value.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::quote::quote;

/// The deepest path that is read; objects cannot be nested deeper.
const DEPTH_MAX: usize = 150;

/// A tree of fields. The root is the object itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Whether the place itself is in the set, apart from what is below it.
    pub member: bool,
    /// What is below, by path element.
    pub children: BTreeMap<String, FieldSet>,
}

impl FieldSet {
    /// Nothing.
    pub const EMPTY: FieldSet = FieldSet {
        member: false,
        children: BTreeMap::new(),
    };

    /// Just the place itself.
    pub fn leaf() -> Self {
        Self {
            member: true,
            children: BTreeMap::new(),
        }
    }

    /// Whether no place is in the set.
    pub fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(FieldSet::is_empty)
    }

    /// Reads `FieldsV1`; what is not of its form is left out.
    pub fn from_fields(fields: &Value) -> Self {
        Self::read(fields, 0)
    }

    fn read(fields: &Value, depth: usize) -> Self {
        let mut set = Self::EMPTY;
        let entries = fields.as_object().into_iter().flatten();
        for (element, below) in entries.filter(|_| depth < DEPTH_MAX) {
            if element == "." {
                set.member = true;
                continue;
            }
            let mut child = Self::read(below, depth + 1);
            // An element without anything below is itself in the set.
            child.member |= below.as_object().is_some_and(Map::is_empty);
            set.children.insert(element.clone(), child);
        }
        set
    }

    /// Writes `FieldsV1`.
    pub fn into_fields(self) -> Value {
        let mut out = Map::new();
        for (element, child) in self.children {
            if child.is_empty() {
                continue;
            }
            let member = child.member;
            let mut below = child.into_fields();
            if let Some(fields) = below.as_object_mut()
                && member
                && !fields.is_empty()
            {
                fields.insert(".".into(), json!({}));
            }
            out.insert(element, below);
        }
        Value::Object(out)
    }

    /// Takes in what another set has.
    pub fn absorb(&mut self, other: FieldSet) {
        self.member |= other.member;
        for (element, child) in other.children {
            match self.children.entry(element) {
                Entry::Occupied(mut own) => own.get_mut().absorb(child),
                Entry::Vacant(place) => {
                    place.insert(child);
                }
            }
        }
    }

    /// Takes out what lies at or below a place.
    pub fn cut<'a>(&mut self, mut path: impl Iterator<Item = &'a str>) {
        let Some(element) = path.next() else {
            *self = Self::EMPTY;
            return;
        };
        if let Some(child) = self.children.get_mut(element) {
            child.cut(path);
            if child.is_empty() {
                self.children.remove(element);
            }
        }
    }

    /// The set below an element, made when it is not there.
    pub fn below(&mut self, element: String) -> &mut FieldSet {
        self.children.entry(element).or_default()
    }

    fn combine(&self, other: &FieldSet, keep: fn(bool, bool) -> bool) -> FieldSet {
        let mut children = BTreeMap::new();
        let empty = Self::EMPTY;
        for element in self.children.keys().chain(other.children.keys()) {
            let (a, b) = (self.children.get(element), other.children.get(element));
            let child = a.unwrap_or(&empty).combine(b.unwrap_or(&empty), keep);
            if !child.is_empty() {
                children.insert(element.clone(), child);
            }
        }
        FieldSet {
            member: keep(self.member, other.member),
            children,
        }
    }

    /// What is in either set.
    #[must_use]
    pub fn union(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| a || b)
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| a && b)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub fn difference(&self, other: &FieldSet) -> FieldSet {
        self.combine(other, |a, b| a && !b)
    }

    /// This set without all that lies at or below the given places.
    #[must_use]
    pub fn without(&self, places: &FieldSet) -> FieldSet {
        let mut out = FieldSet {
            member: self.member,
            children: BTreeMap::new(),
        };
        for (element, child) in &self.children {
            let kept = match places.children.get(element) {
                Some(place) if place.member => continue,
                Some(place) => child.without(place),
                None => child.clone(),
            };
            if !kept.is_empty() {
                out.children.insert(element.clone(), kept);
            }
        }
        out
    }

    /// The same set, in which fields that have something below are members as well. Items of lists are not: whether an item
    /// is owned matters apart from what is in it.
    #[must_use]
    pub fn with_named_fields(&self) -> FieldSet {
        let grown = |(element, child): (&String, &FieldSet)| {
            let mut child = child.with_named_fields();
            child.member |= element.starts_with("f:") && !child.is_empty();
            (element.clone(), child)
        };
        FieldSet {
            member: self.member,
            children: self.children.iter().map(grown).collect(),
        }
    }

    /// Every place in the set as a path that a person reads, such as `.spec.ports[port=80,protocol="TCP"].name`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        for (element, child) in &self.children {
            let length = path.len();
            push_element(path, element);
            if child.member {
                out.push(path.clone());
            }
            child.collect(path, out);
            path.truncate(length);
        }
    }
}

fn push_element(path: &mut String, element: &str) {
    let shown = |value: &Value| match value {
        Value::String(text) => quote(text),
        other => other.to_string(),
    };
    let written = match element.split_once(':') {
        Some(("f", name)) => write!(path, ".{name}"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys
                .iter()
                .map(|(name, value)| format!("{name}={}", shown(value)))
                .collect();
            write!(path, "[{}]", keys.join(","))
        }
        Some(("v", value)) => write!(
            path,
            "[={}]",
            shown(&serde_json::from_str(value).unwrap_or_default())
        ),
        Some((_, rest)) => write!(path, "[{rest}]"),
        None => Ok(()),
    };
    written.expect("writing to a String does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(fields: Value) -> FieldSet {
        FieldSet::from_fields(&fields)
    }

    #[test]
    fn fields_are_read_and_written() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:app": {}}}, "f:spec": {"f:ports":
            {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:name": {}}}, "f:finalizers": {"v:\"a\"": {}}}});
        assert_eq!(set(fields.clone()).clone().into_fields(), fields);
        let paths = [
            ".metadata.labels",
            ".metadata.labels.app",
            ".spec.finalizers[=\"a\"]",
            ".spec.ports[port=80,protocol=\"TCP\"]",
            ".spec.ports[port=80,protocol=\"TCP\"].name",
        ];
        assert_eq!(set(fields).paths(), paths);
    }

    fn any_set() -> impl Strategy<Value = FieldSet> {
        let leaf = any::<bool>().prop_map(|member| FieldSet {
            member,
            children: BTreeMap::new(),
        });
        leaf.prop_recursive(3, 12, 3, |inner| {
            (any::<bool>(), prop::collection::btree_map("f:[a-c]", inner, 0..3))
                .prop_map(|(member, children)| FieldSet { member, children })
        })
    }

    proptest! {
        #[test]
        fn sets_obey_the_laws_of_sets(a in any_set(), b in any_set()) {
            let same = |a: &FieldSet, b: &FieldSet| a.clone().into_fields() == b.clone().into_fields() && a.member == b.member;
            prop_assert!(same(&a.union(&b), &b.union(&a)));
            prop_assert!(same(&a.union(&a), &a));
            prop_assert!(a.difference(&b).intersection(&b).is_empty());
            prop_assert!(same(&a.difference(&b).union(&a.intersection(&b)), &a));
        }

        #[test]
        fn writing_and_reading_gives_the_same_set(a in any_set()) {
            prop_assert_eq!(FieldSet::from_fields(&a.clone().into_fields()).clone().into_fields(), a.clone().into_fields());
        }
    }
}

//! What selectors look at in an object: its labels and some of its fields. What many objects have in common is kept once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::entry::Fields;

/// Of so many it is known what the next may have in common with them.
const KNOWN: usize = 64;

/// The labels and fields of one object.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    common: Arc<Common>,
    /// The fields' values in the order of their names, each after its length and a colon.
    values: Box<str>,
}

/// What differs little among the objects of one template.
#[derive(Debug, PartialEq, Eq)]
struct Common {
    /// By key.
    labels: Box<[(Box<str>, Box<str>)]>,
    /// Of the fields that are not empty.
    names: Box<[&'static str]>,
}

impl Terms {
    /// Those of an object, which has these fields.
    pub(super) fn of(object: &Value, mut fields: Fields) -> Self {
        fields.retain(|(_, value)| !value.is_empty());
        let values: String = fields
            .iter()
            .map(|(_, value)| format!("{}:{value}", value.len()))
            .collect();
        let common = Common {
            labels: labels_of(object),
            names: fields.iter().map(|(name, _)| *name).collect(),
        };
        Self {
            common: Arc::new(common),
            values: values.into_boxed_str(),
        }
    }

    /// The value of a label.
    pub(super) fn label(&self, key: &str) -> Option<&str> {
        let labels = &self.common.labels;
        let at = labels.binary_search_by(|(other, _)| (**other).cmp(key)).ok()?;
        Some(&labels[at].1)
    }

    /// The value of a field; empty where absent.
    pub(super) fn field(&self, name: &str) -> &str {
        let at = self.common.names.iter().position(|other| *other == name);
        let value = at.and_then(|at| values_in(&self.values).nth(at));
        value.unwrap_or_default()
    }
}

fn values_in(mut rest: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        let (len, from) = rest.split_once(':')?;
        let (value, after) = from.split_at_checked(len.parse().ok()?)?;
        rest = after;
        Some(value)
    })
}

/// An object's labels, by key: its members stand in that order.
fn labels_of(object: &Value) -> Box<[(Box<str>, Box<str>)]> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
        .collect()
}

/// What the newest objects have in common.
#[derive(Debug, Default)]
pub(super) struct Newest {
    /// The one that was met last stands last.
    known: Mutex<VecDeque<Arc<Common>>>,
}

impl Newest {
    /// The same terms, which share what others have as well.
    pub(super) fn share(&self, mut terms: Terms) -> Terms {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().rposition(|other| *other == terms.common);
        if let Some(same) = found.and_then(|at| known.remove(at)) {
            terms.common = same;
        } else if known.len() >= KNOWN {
            known.pop_front();
        }
        known.push_back(Arc::clone(&terms.common));
        terms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(app: &str, node: &str) -> Terms {
        let object = json!({"metadata": {"labels": {"app": app, "tier": "front"}}});
        let fields = vec![
            ("spec.nodeName", node.to_owned()),
            ("status.phase", "Running".to_owned()),
        ];
        Terms::of(&object, fields)
    }

    #[test]
    fn what_is_the_same_is_there_once() {
        let newest = Newest::default();
        let shared: Vec<Terms> = (0..1000)
            .map(|number| newest.share(pod(["a", "b"][number % 2], &format!("node-{number}"))))
            .collect();
        let same = |one: usize, other: usize| Arc::ptr_eq(&shared[one].common, &shared[other].common);
        assert!(same(0, 998) && same(1, 999) && !same(0, 1));
        assert_eq!(
            (shared[7].label("app"), shared[7].field("spec.nodeName")),
            (Some("b"), "node-7")
        );
    }

    #[test]
    fn no_more_is_known_than_that() {
        let newest = Newest::default();
        for number in 0..2 * KNOWN {
            newest.share(pod(&number.to_string(), "n"));
        }
        assert_eq!(newest.known.lock().unwrap().len(), KNOWN);
    }

    proptest! {
        #[test]
        fn fields_and_labels_come_back(
            values in prop::collection::vec(".{0,20}", 4),
            labels in prop::collection::btree_map(".{0,5}", ".{0,5}", 0..6),
        ) {
            let names = ["a", "b", "c", "d"];
            let fields = names.into_iter().zip(values.iter().cloned()).collect();
            let newest = Newest::default();
            newest.share(pod("a", "n"));
            let terms = newest.share(Terms::of(&json!({"metadata": {"labels": labels}}), fields));
            for (name, value) in names.iter().zip(&values) {
                prop_assert_eq!(terms.field(name), value);
            }
            prop_assert_eq!(terms.field("e"), "");
            for (key, value) in &labels {
                prop_assert_eq!(terms.label(key), Some(value.as_str()));
            }
            prop_assert_eq!(terms.label("no such label"), None);
        }
    }
}

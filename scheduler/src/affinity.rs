//! Node selectors: which nodes a pod must or would rather run on. Pure.

use coracle_api::selector::node::satisfies;
use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use std::collections::BTreeMap;

type Labels = BTreeMap<String, String>;

/// Whether a node satisfies the pod's `nodeSelector` and its required node affinity.
#[must_use]
pub(crate) fn admits(spec: &PodSpec, name: &str, labels: &Labels) -> bool {
    let selected = spec
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|required| {
            required
                .node_selector_terms
                .iter()
                .any(|t| matches(t, name, labels))
        })
}

/// The weight of all preferred terms that the node matches.
#[must_use]
pub(crate) fn preference(spec: &PodSpec, name: &str, labels: &Labels) -> i64 {
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref());
    let preferred = affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let matching = preferred
        .into_iter()
        .flatten()
        .filter(|term| matches(&term.preference, name, labels));
    matching.map(|term| i64::from(term.weight)).sum()
}

/// All requirements of a term must hold; a term without any matches nothing.
fn matches(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    let field = |key: &str| (key == "metadata.name").then_some(name);
    expressions
        .iter()
        .all(|e| holds(e, labels.get(&e.key).map(String::as_str)))
        && fields.iter().all(|f| holds(f, field(&f.key)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    satisfies(&requirement.operator, values, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_without_requirements_matches_nothing() {
        assert!(!matches(&NodeSelectorTerm::default(), "n1", &Labels::new()));
    }

    #[test]
    fn a_field_term_names_a_node() {
        let requirement = NodeSelectorRequirement {
            key: "metadata.name".to_owned(),
            operator: "In".to_owned(),
            values: Some(vec!["n1".to_owned()]),
        };
        let term = NodeSelectorTerm {
            match_fields: Some(vec![requirement]),
            match_expressions: None,
        };
        assert!(matches(&term, "n1", &Labels::new()));
        assert!(!matches(&term, "n2", &Labels::new()));
    }
}

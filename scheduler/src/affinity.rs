//! Node selectors: which nodes a pod must or would rather run on. Pure.

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
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let number = value.and_then(|value| value.parse::<i64>().ok());
    let bound = values.first().and_then(|bound| bound.parse::<i64>().ok());
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => number.zip(bound).is_some_and(|(number, bound)| number > bound),
        "Lt" => number.zip(bound).is_some_and(|(number, bound)| number < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators() {
        let labels: Labels = [
            ("zone".to_owned(), "a".to_owned()),
            ("cores".to_owned(), "8".to_owned()),
        ]
        .into();
        let cases = [
            ("zone", "In", vec!["a", "b"], true),
            ("zone", "In", vec!["b"], false),
            ("zone", "NotIn", vec!["a"], false),
            ("other", "NotIn", vec!["a"], true),
            ("zone", "Exists", vec![], true),
            ("other", "DoesNotExist", vec![], true),
            ("cores", "Gt", vec!["7"], true),
            ("cores", "Lt", vec!["8"], false),
            ("zone", "Gt", vec!["1"], false),
        ];
        for (key, operator, values, expected) in cases {
            let requirement = NodeSelectorRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
            };
            let term = NodeSelectorTerm {
                match_expressions: Some(vec![requirement]),
                match_fields: None,
            };
            assert_eq!(
                matches(&term, "n1", &labels),
                expected,
                "{key} {operator} {values:?}"
            );
        }
    }

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

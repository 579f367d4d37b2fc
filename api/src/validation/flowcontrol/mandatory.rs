//! The FlowSchemas and PriorityLevelConfigurations that every cluster has: their specs are fixed, but for how much is exempt.

use serde_json::{Value, json};

use crate::object::Fields;
use crate::validation::field::{FieldErrors, Path};
use crate::validation::internal::Form::{Flag, List, Number, Plain, Pointer, Struct, Text};
use crate::validation::internal::{self, DISTINGUISHER, Shape};

const NAME: Shape = &[("Name", Text)];
const FLOW_SCHEMA: Shape = &[
    ("PriorityLevelConfiguration", Struct(NAME)),
    ("MatchingPrecedence", Number),
    ("DistinguisherMethod", Pointer(DISTINGUISHER)),
    ("Rules", List(RULE)),
];
const RULE: Shape = &[
    ("Subjects", List(SUBJECT)),
    (
        "ResourceRules",
        List(&[
            ("Verbs", Plain),
            ("APIGroups", Plain),
            ("Resources", Plain),
            ("ClusterScope", Flag),
            ("Namespaces", Plain),
        ]),
    ),
    (
        "NonResourceRules",
        List(&[("Verbs", Plain), ("NonResourceURLs", Plain)]),
    ),
];
const SUBJECT: Shape = &[
    ("Kind", Text),
    ("User", Pointer(NAME)),
    ("Group", Pointer(NAME)),
    ("ServiceAccount", Pointer(&[("Namespace", Text), ("Name", Text)])),
];
const LEVEL: Shape = &[
    ("Type", Text),
    (
        "Limited",
        Pointer(&[
            ("NominalConcurrencyShares", Number),
            ("LimitResponse", Struct(RESPONSE)),
            ("LendablePercent", Plain),
            ("BorrowingLimitPercent", Plain),
        ]),
    ),
    (
        "Exempt",
        Pointer(&[("NominalConcurrencyShares", Plain), ("LendablePercent", Plain)]),
    ),
];
const RESPONSE: Shape = &[
    ("Type", Text),
    (
        "Queuing",
        Pointer(&[
            ("Queues", Number),
            ("HandSize", Number),
            ("QueueLengthLimit", Number),
        ]),
    ),
];

/// A schema of a name that every cluster has says what it says everywhere.
pub(super) fn flow_schema(schema: &Value, errors: &mut FieldErrors) {
    let (name, spec) = (schema["metadata"].text("name"), &schema["spec"]);
    let everything = |groups: &[&str]| {
        let subject = |group: &&str| json!({"kind": "Group", "group": {"name": group}});
        let subjects: Vec<Value> = groups.iter().map(subject).collect();
        json!([{
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        }])
    };
    let fixed = match name {
        "exempt" => json!({"priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
            "rules": everything(&["system:masters"])}),
        "catch-all" => {
            json!({"priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 10_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": everything(&["system:unauthenticated", "system:authenticated"])})
        }
        _ => return,
    };
    if *spec != fixed {
        let rule = format!("spec of '{name}' must equal the fixed value");
        errors.invalid(&Path::new("spec"), internal::shown(spec, FLOW_SCHEMA), rule);
    }
}

/// The same of a level. Of the one that is exempt, how much of the rest it takes and lends may be changed.
pub(super) fn priority_level(level: &Value, errors: &mut FieldErrors) {
    let (name, spec) = (level["metadata"].text("name"), &level["spec"]);
    let (same, except) = match name {
        "exempt" => {
            let same = spec.text("type") == "Exempt" && !spec.has("limited");
            (same, " except the 'spec.exempt' field")
        }
        "catch-all" => {
            let fixed = json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0}});
            (*spec == fixed, "")
        }
        _ => return,
    };
    if !same {
        let rule = format!("spec of '{name}'{except} must equal the fixed value");
        errors.invalid(&Path::new("spec"), internal::shown(spec, LEVEL), rule);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(check: fn(&Value, &mut FieldErrors), object: &Value) -> String {
        let mut errors = FieldErrors::new();
        check(object, &mut errors);
        errors.aggregate()
    }

    #[test]
    fn a_level_that_is_exempt_stays_so() {
        let level = |spec: Value| json!({"metadata": {"name": "exempt"}, "spec": spec});
        let changed = level(json!({"type": "Exempt", "exempt": {"lendablePercent": 7}}));
        assert_eq!(told(priority_level, &changed), "[]");
        let other = level(json!({"exempt": {"nominalConcurrencyShares": 3, "lendablePercent": 10}}));
        assert_eq!(
            told(priority_level, &other),
            "spec: Invalid value: {\"Type\":\"\",\"Limited\":null,\"Exempt\":{\"NominalConcurrencyShares\":3,\"LendablePercent\":10}}: \
             spec of 'exempt' except the 'spec.exempt' field must equal the fixed value"
        );
    }

    #[test]
    fn what_catches_all_is_as_every_cluster_has_it() {
        let level = |shares: u32| {
            json!({"metadata": {"name": "catch-all"}, "spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": shares, "limitResponse": {"type": "Reject"}, "lendablePercent": 0}}})
        };
        assert_eq!(told(priority_level, &level(5)), "[]");
        assert!(told(priority_level, &level(6)).ends_with("spec of 'catch-all' must equal the fixed value"));
        let schema = json!({"metadata": {"name": "catch-all"}, "spec": {"matchingPrecedence": 10_000}});
        assert!(told(flow_schema, &schema).ends_with("spec of 'catch-all' must equal the fixed value"));
        let free = json!({"metadata": {"name": "mine"}, "spec": {"matchingPrecedence": 10_000}});
        assert_eq!(told(flow_schema, &free), "[]");
    }
}

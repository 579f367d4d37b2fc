//! The rules of custom resources (`x-kubernetes-validations`) in a definition: what each of them must say, that it compiles, and
//! that what it may cost is within limits.
//!
//! Limits are those of upstream. A rule costs what it may cost at most for one value, as often as there can be such values in an
//! object; a version whose schema is as it was is not held against the limit of a single rule.

use serde_json::Value;

use super::schema::TYPES;
use super::words;
use crate::cel::rules::{Judged, Rules};
use crate::cel::sizes::Sizes;
use crate::codec::json::html_escaped;
use crate::object::Fields;
use crate::validation::field::{BadValue, FieldErrors, Path};

/// What a rule may cost (`StaticEstimatedCostLimit`).
const RULE_MAX: u64 = 10_000_000;
/// What all rules of a schema may cost together (`StaticEstimatedCRDCostLimit`).
const TOTAL_MAX: u64 = 100_000_000;
/// How many rules are named where all together cost too much.
const NAMED: usize = 4;

const RULES: &str = "x-kubernetes-validations";

/// What all rules of a schema cost together.
#[derive(Default)]
struct Total {
    cost: u64,
    /// Those that cost most: cost and path.
    dearest: Vec<(u64, String)>,
}

impl Total {
    fn add(&mut self, cost: u64, at: &Path<'_>) {
        self.cost = self.cost.saturating_add(cost);
        if cost < TOTAL_MAX / 100 {
            return;
        }
        self.dearest.push((cost, at.to_string()));
        self.dearest.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        self.dearest.truncate(NAMED);
    }
}

/// One schema within another.
struct Node<'a> {
    schema: &'a Value,
    /// Whether its values are resources.
    resource: bool,
    /// How large they can get, where a rule around has asked for that.
    sizes: Option<&'a Sizes>,
    /// How many of them there can be; none where nothing bounds that.
    count: Option<u64>,
    /// The first schema around whose values cannot be told from older ones.
    unrelated: Option<String>,
    /// Whether it and all around it are of types that there are: CEL knows no others.
    typed: bool,
}

struct Judge<'a> {
    unchanged: bool,
    /// Where schemas are wrong in another way than their rules.
    broken: &'a [String],
    /// How many rules were found wrong before they were read as CEL.
    unspoken: usize,
    total: Total,
    errors: &'a mut FieldErrors,
}

/// Judges all rules of a schema; `unchanged` where it is as it was. What is wrong with it otherwise is `broken`: around it no rule is
/// read, for what would be said of it goes away with that.
pub(super) fn validate(
    schema: &Value,
    at: &Path<'_>,
    unchanged: bool,
    broken: &[String],
    errors: &mut FieldErrors,
) {
    let mut judge = Judge {
        unchanged,
        broken,
        unspoken: 0,
        total: Total::default(),
        errors,
    };
    let root = Node {
        schema,
        resource: true,
        sizes: None,
        count: Some(1),
        unrelated: None,
        typed: is_typed(schema),
    };
    judge.node(&root, at);
    let Total { cost, dearest } = judge.total;
    if cost > TOTAL_MAX {
        for (_, at) in &dearest {
            let why =
                "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.forbidden(&Path::new(at), why);
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.forbidden(at, exceeded(what, cost, TOTAL_MAX));
    }
}

impl Judge<'_> {
    fn node(&mut self, node: &Node<'_>, at: &Path<'_>) {
        let schema = node.schema;
        let own = schema.items(RULES);
        // Sizes are made once for all below the first schema that has rules, and anew where expressions do not get that far.
        let made = (node.sizes.is_none() && !own.is_empty())
            .then(|| Sizes::of(schema, node.resource))
            .flatten();
        let sizes = node.sizes.or(made.as_ref());
        let unspoken = self.unspoken;
        self.below(node, sizes, at);
        if own.is_empty() {
            return;
        }
        let list = at.child(RULES);
        let before = self.errors.len();
        for (index, rule) in own.iter().enumerate() {
            words::rule(schema, rule, &list.index(index), self.errors);
        }
        self.unspoken += self.errors.len() - before;
        if self.unspoken != unspoken || self.is_broken(at) {
            return;
        }
        if !node.typed {
            let why = "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert \
                       structural schema to CEL declarations";
            self.errors.internal(&list, why);
            return;
        }
        let Some(sizes) = sizes else { return };
        for (index, judged) in Rules::judge(schema, node.resource, sizes).into_iter().enumerate() {
            if let Some(judged) = judged {
                let at = list.index(index);
                self.costs(&judged, node.count.unwrap_or(sizes.most_in_a_request()), &at);
                self.faults(&own[index], &judged, node, &at);
            }
        }
    }

    /// Whether something else is wrong with a schema or one within it.
    fn is_broken(&self, at: &Path<'_>) -> bool {
        let at = at.to_string();
        let inside = |path: &String| {
            path.strip_prefix(&at)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.broken.iter().any(inside)
    }

    fn below(&mut self, node: &Node<'_>, sizes: Option<&Sizes>, at: &Path<'_>) {
        let schema = node.schema;
        let unrelated = |is_related: bool| match (&node.unrelated, is_related) {
            (Some(first), _) => Some(first.clone()),
            (None, true) => None,
            (None, false) => Some(at.to_string()),
        };
        let times = |most: Option<i64>| {
            let most = most.map(|most| u64::try_from(most).unwrap_or(0));
            Some(node.count?.saturating_mul(most?))
        };
        let child = |schema, sizes, count, unrelated| Node {
            schema,
            resource: Fields::flag(schema, "x-kubernetes-embedded-resource"),
            sizes,
            count,
            unrelated,
            typed: node.typed && is_typed(schema),
        };
        if let Some(items) = schema.field("items") {
            let related = unrelated(schema.text("x-kubernetes-list-type") == "map");
            let count = times(schema.number("maxItems"));
            let items = child(items, sizes.and_then(Sizes::items), count, related);
            self.node(&items, &at.child("items"));
        }
        let properties = at.child("properties");
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let related = unrelated(schema.text("x-kubernetes-map-type") != "atomic");
            let of = sizes.and_then(|sizes| sizes.property(name));
            let property = child(property, of, node.count, related);
            self.node(&property, &properties.key(name));
        }
        if let Some(values @ Value::Object(_)) = schema.field("additionalProperties") {
            let count = times(schema.number("maxProperties"));
            let values = child(values, sizes.and_then(Sizes::items), count, unrelated(true));
            self.node(&values, &at.child("additionalProperties"));
        }
    }

    /// Whether a rule and its message cost no more than they may.
    fn costs(&mut self, judged: &Judged, count: u64, at: &Path<'_>) {
        let rule = judged.rule.as_ref().map_or(0, |cost| cost.saturating_mul(count));
        self.cost("estimated rule cost", rule, &at.child("rule"));
        if let Some(Ok(cost)) = judged.message {
            self.cost(
                "estimated messageExpression cost",
                cost,
                &at.child("messageExpression"),
            );
        }
    }

    fn cost(&mut self, what: &str, cost: u64, at: &Path<'_>) {
        if !self.unchanged && cost > RULE_MAX {
            self.errors.forbidden(at, exceeded(what, cost, RULE_MAX));
        }
        self.total.add(cost, at);
    }

    fn faults(&mut self, rule: &Value, judged: &Judged, node: &Node<'_>, at: &Path<'_>) {
        if let Err(why) = &judged.rule {
            self.errors.invalid(&at.child("rule"), as_in_go(rule), why);
        }
        if let Some(Err(why)) = &judged.message {
            self.errors
                .invalid(&at.child("messageExpression"), as_in_go(rule), why);
        }
        match (&node.unrelated, judged.uses_old) {
            (Some(around), true) => {
                let why = format!(
                    "oldSelf cannot be used on the uncorrelatable portion of the schema within {around}"
                );
                self.errors.invalid(&at.child("rule"), rule.text("rule"), why);
            }
            (None, true) => {}
            (_, false) => {
                if let Some(optional) = rule.field("optionalOldSelf") {
                    let why = "may not be set if oldSelf is not used in rule";
                    self.errors.invalid(&at.child("optionalOldSelf"), optional, why);
                }
            }
        }
    }
}

fn is_typed(schema: &Value) -> bool {
    let name = schema.text("type");
    name.is_empty() || TYPES.contains(&name)
}

#[allow(clippy::cast_precision_loss, reason = "it is shown with one digit")]
fn exceeded(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength \
         where arrays, maps, and strings are declared)"
    )
}

/// A rule as Go writes the struct that upstream keeps it in.
fn as_in_go(rule: &Value) -> BadValue {
    let text = |name: &str| Value::from(rule.text(name)).to_string();
    let or_null = |name: &str| {
        rule.field(name)
            .map_or_else(|| "null".to_owned(), Value::to_string)
    };
    let fields = [
        ("Rule", text("rule")),
        ("Message", text("message")),
        ("MessageExpression", text("messageExpression")),
        ("Reason", or_null("reason")),
        ("FieldPath", text("fieldPath")),
        ("OptionalOldSelf", or_null("optionalOldSelf")),
    ];
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    BadValue::rendered(format!("{{{}}}", html_escaped(&fields.join(","))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn faults(schema: &Value, unchanged: bool) -> Vec<String> {
        let mut errors = FieldErrors::new();
        validate(schema, &Path::new("schema"), unchanged, &[], &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    fn with(property: Value) -> Value {
        json!({"type": "object", "properties": {"x": property}})
    }

    #[test]
    fn a_rule_is_shown_as_go_writes_json() {
        let schema =
            with(json!({"type": "string", "x-kubernetes-validations": [{"rule": "self <\u{2028}& 'a'"}]}));
        let told = faults(&schema, false).concat();
        assert!(
            told.contains("{\"Rule\":\"self \\u003c\\u2028\\u0026 'a'\",\"Message\":"),
            "{told}"
        );
    }

    #[test]
    fn rules_that_may_cost_too_much() {
        let strings = |limit: Option<i64>| {
            let mut list = json!({"type": "array", "items": {"type": "string", "maxLength": 10},
                "x-kubernetes-validations": [{"rule": "self.all(a, self.all(b, a == b))"}]});
            if let Some(limit) = limit {
                list["maxItems"] = json!(limit);
            }
            with(list)
        };
        assert_eq!(faults(&strings(Some(100)), false), [""; 0]);
        let hint = "(try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings \
                    are declared)";
        assert_eq!(
            faults(&strings(None), false),
            [
                format!("schema.properties[x].x-kubernetes-validations[0].rule: Forbidden: estimated rule cost exceeds budget by factor of more than 100x {hint}"),
                "schema.properties[x].x-kubernetes-validations[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema".to_owned(),
                format!("schema: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of more than 100x {hint}"),
            ]
        );
        // What was there before is not held against the limit of one rule.
        assert_eq!(faults(&strings(Some(3000)), false).len(), 1);
        assert_eq!(faults(&strings(Some(3000)), true), [""; 0]);
    }

    #[test]
    fn a_rule_counts_as_often_as_its_values_can_stand() {
        let items = |limit: Option<i64>| {
            let mut list = json!({"type": "array", "items": {"type": "string",
                "x-kubernetes-validations": [{"rule": "self.contains('some text')"}]}});
            if let Some(limit) = limit {
                list["maxItems"] = json!(limit);
            }
            with(list)
        };
        assert_eq!(faults(&items(Some(10)), false), [""; 0]);
        assert!(faults(&items(None), false)[0].contains("more than 100x"));
        assert!(exceeded("x", 12_345_678, RULE_MAX).contains("factor of 1.234568x"));
        assert!(exceeded("x", 25_000_000, RULE_MAX).contains("factor of 2.5x"));
    }

    #[test]
    fn what_a_rule_must_say() {
        let rule = |rule: Value| {
            with(
                json!({"type": "object", "properties": {"a": {"type": "string"}}, "x-kubernetes-validations": [rule]}),
            )
        };
        let table = [
            (
                json!({"rule": " "}),
                "rule: Required value: rule is not specified",
            ),
            (
                json!({"rule": "true", "message": " "}),
                "message: Invalid value: \" \": must be non-empty if specified",
            ),
            (
                json!({"rule": "true ||\nfalse"}),
                "message: Required value: message must be specified if rule contains line breaks",
            ),
            (
                json!({"rule": "true", "reason": "Because"}),
                "reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \
                 \"FieldValueInvalid\", \"FieldValueRequired\"",
            ),
            (
                json!({"rule": "true", "fieldPath": ".b"}),
                "fieldPath: Invalid value: \".b\": must be a valid path",
            ),
            (
                json!({"rule": "true", "optionalOldSelf": true}),
                "optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule",
            ),
        ];
        for (written, fault) in table {
            let wanted = format!("schema.properties[x].x-kubernetes-validations[0].{fault}");
            assert_eq!(faults(&rule(written), false), [wanted]);
        }
        assert_eq!(
            faults(&rule(json!({"rule": "self.a != ''", "fieldPath": ".a"})), false),
            [""; 0]
        );
    }

    #[test]
    fn old_values_that_cannot_be_found_again() {
        let list = |kind: Value| {
            with(
                json!({"type": "array", "maxItems": 3, "x-kubernetes-list-type": kind, "items": {"type": "object",
                "properties": {"k": {"type": "string", "maxLength": 5, "x-kubernetes-validations": [{"rule": "self == oldSelf"}]}}}}),
            )
        };
        assert_eq!(faults(&list(json!("map")), false), [""; 0]);
        assert_eq!(
            faults(&list(json!("atomic")), false),
            [
                "schema.properties[x].items.properties[k].x-kubernetes-validations[0].rule: Invalid value: \"self == oldSelf\": \
                 oldSelf cannot be used on the uncorrelatable portion of the schema within schema.properties[x]"
            ]
        );
    }
}

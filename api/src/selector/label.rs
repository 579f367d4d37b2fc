//! Label selectors: `app=web,tier in (front,back),!old`, and the same as a `metav1.LabelSelector` object.
//!
//! Grammar, canonical form and faults are those of apimachinery's `labels` package, `gt` and `lt` included.

mod parse;

use std::fmt;

use serde_json::{Map, Value};

use self::parse::Parser;
use crate::names;
use crate::quote::quote;
use crate::validation::{BadValue, FieldErrors, Path};

/// All requirements must hold; none means that everything is selected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LabelSelector {
    /// Selects no object at all: what a missing `metav1.LabelSelector` means.
    Nothing,
    /// Selects what meets every requirement; sorted by key.
    All(Vec<Requirement>),
}

/// A condition on one label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How its value is compared.
    pub operator: Operator,
    /// What it is compared with: sorted, without doubles; empty for [`Operator::Exists`] and its opposite.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are upstream's and say it all")]
pub enum Operator {
    DoesNotExist,
    Equals,
    DoubleEquals,
    In,
    NotEquals,
    NotIn,
    Exists,
    GreaterThan,
    LessThan,
}

/// Why a selector cannot be understood, in upstream's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SelectorError(String);

impl LabelSelector {
    /// The selector that every object meets.
    pub const EVERYTHING: LabelSelector = LabelSelector::All(Vec::new());

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut requirements = Parser::new(text).requirements()?;
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// Reads a `metav1.LabelSelector`; none (or null) selects nothing, an empty one everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, SelectorError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Self::Nothing);
        };
        let mut requirements = Vec::new();
        if let Some(labels) = selector.get("matchLabels").and_then(Value::as_object) {
            for (key, value) in labels {
                let value = value.as_str().unwrap_or_default().to_owned();
                requirements.push(Requirement::new(key, Operator::Equals, vec![value])?);
            }
        }
        for expression in selector
            .get("matchExpressions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            requirements.push(requirement_of(expression)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(Self::All(requirements))
    }

    /// The selector of exactly these labels, as a Service or ReplicationController has it.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let one = |(key, value): (&String, &Value)| Requirement {
            key: key.clone(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().to_owned()],
        };
        Self::All(labels.iter().map(one).collect())
    }

    /// Whether everything is selected.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(requirements) if requirements.is_empty())
    }

    /// Whether labels, given as a function from key to value, meet every requirement.
    pub fn matches<'v>(&self, label: impl Fn(&str) -> Option<&'v str>) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(requirements) => requirements.iter().all(|one| one.matches(label(&one.key))),
        }
    }

    /// Whether an object's `metadata.labels` meet every requirement.
    pub fn matches_labels(&self, labels: Option<&Value>) -> bool {
        self.matches(|key| labels?.get(key)?.as_str())
    }

    /// The value that the label `key` must have, where there is only one: what an index can answer.
    pub fn exact_value(&self, key: &str) -> Option<&str> {
        let Self::All(requirements) = self else {
            return None;
        };
        let requirement = requirements.iter().find(|requirement| requirement.key == key)?;
        match (requirement.operator, requirement.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [only]) => Some(only),
            _ => None,
        }
    }
}

impl Requirement {
    fn new(key: &str, operator: Operator, values: Vec<String>) -> Result<Self, SelectorError> {
        let mut errors = FieldErrors::new();
        for_key(&mut errors, &Path::new("key"), key);
        let at = Path::new("values");
        let shown = || BadValue::from(&Value::from(values.clone()));
        use Operator::{
            DoesNotExist, DoubleEquals, Equals, Exists, GreaterThan, In, LessThan, NotEquals, NotIn,
        };
        match operator {
            In | NotIn if values.is_empty() => {
                errors.invalid(
                    &at,
                    shown(),
                    "for 'in', 'notin' operators, values set can't be empty",
                );
            }
            Equals | DoubleEquals | NotEquals if values.len() != 1 => {
                errors.invalid(
                    &at,
                    shown(),
                    "exact-match compatibility requires one single value",
                );
            }
            Exists | DoesNotExist if !values.is_empty() => {
                errors.invalid(
                    &at,
                    shown(),
                    "values set must be empty for exists and does not exist",
                );
            }
            GreaterThan | LessThan => {
                if values.len() != 1 {
                    errors.invalid(
                        &at,
                        shown(),
                        "for 'Gt', 'Lt' operators, exactly one value is required",
                    );
                }
                for (index, value) in values
                    .iter()
                    .enumerate()
                    .filter(|(_, value)| value.parse::<i64>().is_err())
                {
                    errors.invalid(
                        &at.index(index),
                        value,
                        "for 'Gt', 'Lt' operators, the value must be an integer",
                    );
                }
            }
            _ => {}
        }
        for (index, value) in values.iter().enumerate() {
            let faults = names::label_value(value);
            if !faults.is_empty() {
                errors.invalid(&at.index(index).key(key), value, faults.join("; "));
            }
        }
        if !errors.is_empty() {
            return Err(SelectorError(errors.aggregate()));
        }
        Ok(Self {
            key: key.to_owned(),
            operator,
            values,
        })
    }

    fn matches(&self, value: Option<&str>) -> bool {
        let has = |value: &str| self.values.iter().any(|one| one == value);
        match (self.operator, value) {
            (Operator::In | Operator::Equals | Operator::DoubleEquals, Some(value)) => has(value),
            (Operator::NotIn | Operator::NotEquals, Some(value)) => !has(value),
            (Operator::NotIn | Operator::NotEquals | Operator::DoesNotExist, None) => true,
            (Operator::Exists, value) => value.is_some(),
            (Operator::GreaterThan, Some(value)) => self.compares(value, |have, bound| have > bound),
            (Operator::LessThan, Some(value)) => self.compares(value, |have, bound| have < bound),
            _ => false,
        }
    }

    fn compares(&self, value: &str, holds: fn(i64, i64) -> bool) -> bool {
        match (value.parse(), self.values.first().map(|bound| bound.parse())) {
            (Ok(have), Some(Ok(bound))) => holds(have, bound),
            _ => false,
        }
    }
}

fn for_key(errors: &mut FieldErrors, at: &Path<'_>, key: &str) {
    let faults = names::qualified_name(key);
    if !faults.is_empty() {
        errors.invalid(at, key, faults.join("; "));
    }
}

fn requirement_of(expression: &Value) -> Result<Requirement, SelectorError> {
    let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => {
            return Err(SelectorError(format!(
                "{} is not a valid label selector operator",
                quote(other)
            )));
        }
    };
    let values = expression
        .get("values")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
    Requirement::new(text("key"), operator, sorted(values))
}

fn sorted(mut values: Vec<String>) -> Vec<String> {
    values.sort();
    values.dedup();
    values
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::All(requirements) = self else {
            return Ok(());
        };
        for (index, requirement) in requirements.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            requirement.fmt(out)?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, values) = (&self.key, self.values.join(","));
        match self.operator {
            Operator::Exists => write!(out, "{key}"),
            Operator::DoesNotExist => write!(out, "!{key}"),
            Operator::Equals => write!(out, "{key}={values}"),
            Operator::DoubleEquals => write!(out, "{key}=={values}"),
            Operator::NotEquals => write!(out, "{key}!={values}"),
            Operator::GreaterThan => write!(out, "{key}>{values}"),
            Operator::LessThan => write!(out, "{key}<{values}"),
            Operator::In => write!(out, "{key} in ({values})"),
            Operator::NotIn => write!(out, "{key} notin ({values})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn text_is_read_into_canonical_form() {
        let cases = [
            ("", ""),
            ("b=1,a=2", "a=2,b=1"),
            ("a == x , b!=y", "a==x,b!=y"),
            ("x in (b,a,a)", "x in (a,b)"),
            ("x notin ()", "x notin ()"),
            ("x in (,a)", "x in (,a)"),
            ("!x,y", "!x,y"),
            ("a=", "a="),
            ("n>5,n<9", "n>5,n<9"),
            ("in in (in,notin)", "in in (in,notin)"),
        ];
        for (text, want) in cases {
            assert_eq!(
                LabelSelector::parse(text).map(|s| s.to_string()),
                Ok(want.to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn faults_are_worded_as_upstream_words_them() {
        let cases = [
            (
                "a b",
                "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
            ),
            ("a,", "found '', expected: identifier after ','"),
            ("=a", "found '=', expected: !, identifier, or 'end of string'"),
            ("a in b", "unable to parse requirement: found 'b' expected: '('"),
            (
                "a in (b",
                "unable to parse requirement: found '', expected: ',' or ')'",
            ),
            ("!a=b", "found '=', expected: ',' or 'end of string'"),
            (
                "a>b",
                "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
            ),
        ];
        for (text, want) in cases {
            assert_eq!(
                LabelSelector::parse(text).unwrap_err().to_string(),
                want,
                "{text}"
            );
        }
        let bad = LabelSelector::parse("-a=b").unwrap_err().to_string();
        assert!(
            bad.starts_with(
                "unable to parse requirement: <nil>: Invalid value: \"-a\": name part must consist"
            ),
            "{bad}"
        );
    }

    #[test]
    fn requirements_select_by_labels() {
        let labels = json!({"app": "web", "n": "7"});
        let cases = [
            ("app=web", true),
            ("app!=web", false),
            ("app in (db,web)", true),
            ("app notin (db)", true),
            ("x notin (db)", true),
            ("x", false),
            ("!x", true),
            ("n>6", true),
            ("n<7", false),
            ("app>1", false),
            ("x!=1", true),
            ("", true),
            ("app=web,x", false),
        ];
        for (text, want) in cases {
            assert_eq!(
                LabelSelector::parse(text).unwrap().matches_labels(Some(&labels)),
                want,
                "{text}"
            );
        }
        assert!(
            !LabelSelector::from_object(None)
                .unwrap()
                .matches_labels(Some(&labels))
        );
        assert!(
            LabelSelector::from_object(Some(&json!({})))
                .unwrap()
                .matches_labels(None)
        );
        let object = json!({"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "n", "operator": "In", "values": ["7"]}]});
        let selector = LabelSelector::from_object(Some(&object)).unwrap();
        assert!(selector.matches_labels(Some(&labels)));
        assert_eq!(selector.to_string(), "app=web,n in (7)");
        assert_eq!(selector.exact_value("n"), Some("7"));
        let odd = json!({"matchExpressions": [{"key": "n", "operator": "Near"}]});
        let error = LabelSelector::from_object(Some(&odd)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"Near\" is not a valid label selector operator"
        );
    }

    proptest! {
        #[test]
        fn the_canonical_form_reads_as_itself(text in "[a-c]( in | notin |=|!=|==|>)?[(]?[a-c0-9,]{0,4}[)]?(,!?[d-f])?") {
            if let Ok(selector) = LabelSelector::parse(&text) {
                prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector));
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = LabelSelector::parse(&text);
        }
    }
}

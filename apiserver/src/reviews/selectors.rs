//! The selectors of a question about access: what is wrong with them, and what of them an authorizer cannot be told.

use coracle_api::names;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use super::{text, texts};

/// What is wrong with the selectors of `spec.resourceAttributes`.
pub(super) fn check(attributes: &Value, errors: &mut FieldErrors) {
    let at = Path::new("spec.resourceAttributes");
    for name in ["fieldSelector", "labelSelector"] {
        let selector = &attributes[name];
        if selector.is_null() {
            continue;
        }
        let at = at.child(name);
        let (raw, requirements) = (text(selector, "/rawSelector"), requirements(selector));
        match (raw.is_empty(), requirements.is_empty()) {
            (false, false) => errors.invalid(
                &at.child("rawSelector"),
                raw,
                "may not specified at the same time as requirements",
            ),
            (true, true) => errors.required(
                &at.child("requirements"),
                format!("when {at} is specified, requirements or rawSelector is required"),
            ),
            _ => {}
        }
        let list = at.child("requirements");
        for (index, requirement) in requirements.iter().enumerate() {
            check_requirement(requirement, name == "labelSelector", &list.index(index), errors);
        }
    }
}

fn requirements(selector: &Value) -> &[Value] {
    selector["requirements"].as_array().map_or(&[], Vec::as_slice)
}

/// Operators that are not known are let pass: a newer client may know them.
fn check_requirement(requirement: &Value, of_labels: bool, at: &Path<'_>, errors: &mut FieldErrors) {
    let (key, values) = (text(requirement, "/key"), texts(requirement, "/values"));
    if !of_labels && key.is_empty() {
        errors.required(&at.child("key"), "must be specified");
    }
    match (text(requirement, "/operator"), values.is_empty()) {
        ("In" | "NotIn", true) => {
            let rule = "must be specified when `operator` is 'In' or 'NotIn'";
            errors.required(&at.child("values"), rule);
        }
        ("Exists" | "DoesNotExist", false) => {
            let rule = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
            errors.forbidden(&at.child("values"), rule);
        }
        _ => {}
    }
    if !of_labels {
        return;
    }
    for fault in names::qualified_name(key) {
        errors.invalid(&at.child("key"), key, fault);
    }
    for (index, value) in values.iter().enumerate() {
        for fault in names::label_value(value) {
            errors.invalid(&at.child("values").index(index), value, fault);
        }
    }
}

/// The field selector in the form a request carries it. Requirements that no such selector can say are left out.
pub(super) fn of_fields(attributes: &Value) -> String {
    let selector = &attributes["fieldSelector"];
    let raw = text(selector, "/rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let escaped = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace(',', "\\,")
            .replace('=', "\\=")
    };
    let terms = requirements(selector).iter().filter_map(|requirement| {
        let (key, values) = (text(requirement, "/key"), texts(requirement, "/values"));
        match (text(requirement, "/operator"), &values[..]) {
            ("In", [value]) => Some(format!("{key}={}", escaped(value))),
            ("NotIn", [value]) => Some(format!("{key}!={}", escaped(value))),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

/// The label selector in the form a request carries it. Requirements with operators that are not known are left out.
pub(super) fn of_labels(attributes: &Value) -> String {
    let selector = &attributes["labelSelector"];
    let raw = text(selector, "/rawSelector");
    if !raw.is_empty() {
        return raw.to_owned();
    }
    let terms = requirements(selector).iter().filter_map(|requirement| {
        let key = text(requirement, "/key");
        let values = texts(requirement, "/values").join(",");
        match text(requirement, "/operator") {
            "In" => Some(format!("{key} in ({values})")),
            "NotIn" => Some(format!("{key} notin ({values})")),
            "Exists" => Some(key.to_owned()),
            "DoesNotExist" => Some(format!("!{key}")),
            _ => None,
        }
    });
    terms.collect::<Vec<_>>().join(",")
}

/// What is said of selectors that were passed over, wholly or in part; nothing where none was.
pub(super) fn passed_over(attributes: &Value) -> String {
    let of_fields = |requirement: &Value| {
        let one = texts(requirement, "/values").len() == 1;
        one && matches!(text(requirement, "/operator"), "In" | "NotIn")
    };
    let of_labels = |requirement: &Value| {
        matches!(
            text(requirement, "/operator"),
            "In" | "NotIn" | "Exists" | "DoesNotExist"
        )
    };
    let said = [
        said(&attributes["fieldSelector"], "fieldSelector", of_fields, |raw| {
            FieldSelector::parse(raw).is_ok()
        }),
        said(&attributes["labelSelector"], "labelSelector", of_labels, |raw| {
            LabelSelector::parse(raw).is_ok()
        }),
    ];
    said.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn said(
    selector: &Value,
    name: &str,
    understood: impl Fn(&Value) -> bool,
    reads: impl Fn(&str) -> bool,
) -> Option<String> {
    let (raw, list) = (text(selector, "/rawSelector"), requirements(selector));
    let known = list.iter().filter(|requirement| understood(requirement)).count();
    let (faulty, some) = if list.is_empty() {
        (!raw.is_empty() && !reads(raw), false)
    } else {
        (known < list.len(), known > 0)
    };
    let partially = if some { "partially " } else { "" };
    faulty.then(|| format!("spec.resourceAttributes.{name} {partially}ignored due to parse error"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_are_checked() {
        let check = |attributes: Value| {
            let mut errors = FieldErrors::new();
            super::check(&attributes, &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let at = "spec.resourceAttributes";
        assert_eq!(
            check(json!({"labelSelector": {}, "fieldSelector": {"rawSelector": "a=b"}})),
            [format!(
                "{at}.labelSelector.requirements: Required value: when {at}.labelSelector is specified, requirements or rawSelector is required"
            )]
        );
        assert_eq!(
            check(json!({"fieldSelector": {"requirements": [{"operator": "In"}]}})),
            [
                format!("{at}.fieldSelector.requirements[0].key: Required value: must be specified"),
                format!(
                    "{at}.fieldSelector.requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                ),
            ]
        );
    }

    #[test]
    fn requirements_are_said_as_requests_say_them() {
        let requirement = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
        let attributes = json!({
            "fieldSelector": {"requirements": [requirement("a", "In", &["x,y"]), requirement("b", "NotIn", &["z"]),
                requirement("c", "In", &["1", "2"])]},
            "labelSelector": {"requirements": [requirement("a", "In", &["x", "y"]), requirement("b", "DoesNotExist", &[]),
                requirement("c", "Odd", &[])]},
        });
        assert_eq!(of_fields(&attributes), "a=x\\,y,b!=z");
        assert_eq!(of_labels(&attributes), "a in (x,y),!b");
        let raw = json!({"labelSelector": {"rawSelector": "a=b"}});
        assert_eq!((of_labels(&raw).as_str(), of_fields(&raw).as_str()), ("a=b", ""));
    }

    #[test]
    fn what_is_passed_over_is_told() {
        let attributes = json!({
            "labelSelector": {"rawSelector": "a in ("},
            "fieldSelector": {"requirements": [{"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Exists"}]},
        });
        assert_eq!(
            passed_over(&attributes),
            "spec.resourceAttributes.fieldSelector partially ignored due to parse error; spec.resourceAttributes.labelSelector ignored due to parse error"
        );
        assert_eq!(passed_over(&json!({"fieldSelector": {"rawSelector": "a=b"}})), "");
    }
}

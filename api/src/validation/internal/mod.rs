//! Values in the form in which upstream's messages show them: its internal Go structs as JSON, which have fields in another
//! order and case than the API, and all of them.
//!
//! Only what some message shows stands here.

use serde_json::Value;

use super::diff::unified;
use super::field::BadValue;
use crate::object::Fields;

/// How a field is shown, and what stands for one that is not there.
#[derive(Clone, Copy)]
pub(super) enum Form {
    /// Text; `""` when absent.
    Text,
    /// A number; `0` when absent.
    Number,
    /// As it is; `null` when absent: a pointer, a list or map of plain values.
    Plain,
    /// A struct; with all its fields when absent.
    Struct(Shape),
    /// A pointer to a struct; `null` when absent.
    Pointer(Shape),
    /// A list of structs; `null` when absent.
    List(Shape),
    /// A pointer to a label selector, which is the API's own.
    Selector,
}

use Form::{List, Number, Plain, Pointer, Selector, Struct, Text};

/// The fields of a struct in their order.
pub(super) type Shape = &'static [(&'static str, Form)];

/// The name of a field in the API: its Go name begins with a lower case letter, or is all initials.
fn api_name(name: &str) -> String {
    let known = match name {
        "APIGroup" => "apiGroup",
        "APIVersion" => "apiVersion",
        "UID" => "uid",
        "CEL" => "cel",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    let mut letters = name.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn write(out: &mut String, value: &Value, shape: Shape) {
    out.push('{');
    for (index, (name, form)) in shape.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(&format!("\"{name}\":"));
        let field = value.field(&api_name(name));
        match (form, field) {
            (Struct(shape), field) => write(out, field.unwrap_or(&Value::Null), shape),
            (Text, None) => out.push_str("\"\""),
            (Number, None) => out.push('0'),
            (_, None) => out.push_str("null"),
            (Text | Number | Plain, Some(value)) => out.push_str(&value.to_string()),
            (Selector, Some(value)) => out.push_str(&selector_text(value)),
            (Pointer(shape), Some(value)) => write(out, value, shape),
            (List(shape), Some(value)) => {
                out.push('[');
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write(out, item, shape);
                }
                out.push(']');
            }
        }
    }
    out.push('}');
}

/// The value as upstream shows a struct of this shape.
pub(super) fn shown(value: &Value, shape: Shape) -> BadValue {
    let mut out = String::new();
    write(&mut out, value, shape);
    BadValue::rendered(out)
}

/// As [`shown`], where upstream has a pointer, which may be `null`.
pub(super) fn shown_pointer(value: Option<&Value>, shape: Shape) -> BadValue {
    match value {
        Some(value) => shown(value, shape),
        None => BadValue::from(&Value::Null),
    }
}

/// A label selector with its fields in Go's order.
fn selector_text(selector: &Value) -> String {
    let labels = selector
        .field("matchLabels")
        .map(|labels| format!("\"matchLabels\":{labels}"));
    let expressions = selector
        .field("matchExpressions")
        .map(|list| format!("\"matchExpressions\":{list}"));
    let fields: Vec<String> = labels.into_iter().chain(expressions).collect();
    format!("{{{}}}", fields.join(","))
}

/// A label selector as upstream shows it.
pub(super) fn shown_selector(selector: &Value) -> BadValue {
    BadValue::rendered(selector_text(selector))
}

/// How two structs of this shape differ, as upstream shows it.
pub(super) fn difference(a: &Value, b: &Value, shape: Shape) -> String {
    let [a, b] = [a, b].map(|value| {
        let mut out = String::new();
        write(&mut out, value, shape);
        indented(&out)
    });
    unified(&a, &b)
}

/// JSON in lines, each field and item on one of its own.
fn indented(json: &str) -> String {
    let mut out = String::new();
    let (mut depth, mut in_text, mut escaped) = (0, false, false);
    let mut letters = json.chars().peekable();
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', depth));
    };
    while let Some(letter) = letters.next() {
        if in_text {
            out.push(letter);
            (in_text, escaped) = (escaped || letter != '"', !escaped && letter == '\\');
            continue;
        }
        match letter {
            '{' | '[' if letters.next_if(|next| matches!(next, '}' | ']')).is_some() => {
                out.push_str(if letter == '{' { "{}" } else { "[]" });
            }
            '{' | '[' => {
                depth += 1;
                out.push(letter);
                line(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                line(&mut out, depth);
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => {
                in_text = other == '"';
                out.push(other);
            }
        }
    }
    out
}

pub(super) const VOLUME_CLAIM: Shape = &[
    ("AccessModes", Plain),
    ("Selector", Selector),
    ("Resources", Struct(&[("Limits", Plain), ("Requests", Plain)])),
    ("VolumeName", Text),
    ("StorageClassName", Plain),
    ("VolumeMode", Plain),
    (
        "DataSource",
        Pointer(&[("APIGroup", Plain), ("Kind", Text), ("Name", Text)]),
    ),
    (
        "DataSourceRef",
        Pointer(&[
            ("APIGroup", Plain),
            ("Kind", Text),
            ("Name", Text),
            ("Namespace", Plain),
        ]),
    ),
    ("VolumeAttributesClassName", Plain),
];
pub(super) const ATTACHMENT: Shape = &[
    ("Attacher", Text),
    (
        "Source",
        Struct(&[("PersistentVolumeName", Plain), ("InlineVolumeSpec", Plain)]),
    ),
    ("NodeName", Text),
];
pub(super) const ROLE_REF: Shape = &[("APIGroup", Text), ("Kind", Text), ("Name", Text)];
pub(super) const PARENT: Shape = &[
    ("Group", Text),
    ("Resource", Text),
    ("Namespace", Text),
    ("Name", Text),
];
pub(super) const DISTINGUISHER: Shape = &[("Type", Text)];
pub(super) const DEPLOYMENT_STRATEGY: Shape = &[("Type", Text), ("RollingUpdate", Pointer(ROLLING))];
pub(super) const STATEFUL_STRATEGY: Shape = &[
    ("Type", Text),
    (
        "RollingUpdate",
        Pointer(&[("Partition", Number), ("MaxUnavailable", Plain)]),
    ),
];
const ROLLING: Shape = &[("MaxUnavailable", Plain), ("MaxSurge", Plain)];
pub(super) const OBJECT_REFERENCE: Shape = &[
    ("Kind", Text),
    ("Namespace", Text),
    ("Name", Text),
    ("UID", Text),
    ("APIVersion", Text),
    ("ResourceVersion", Text),
    ("FieldPath", Text),
];
pub(super) const TOLERATION: Shape = &[
    ("Key", Text),
    ("Operator", Text),
    ("Value", Text),
    ("Effect", Text),
    ("TolerationSeconds", Plain),
];
const REQUIREMENT: Shape = &[("Key", Text), ("Operator", Text), ("Values", Plain)];
const TERM: Shape = &[
    ("MatchExpressions", List(REQUIREMENT)),
    ("MatchFields", List(REQUIREMENT)),
];
pub(super) const VOLUME_AFFINITY: Shape = &[("Required", Pointer(&[("NodeSelectorTerms", List(TERM))]))];
pub(super) const POD_CLAIM: Shape = &[
    ("Name", Text),
    ("ResourceClaimName", Plain),
    ("ResourceClaimTemplateName", Plain),
];
pub(super) const CSI_NODE_DRIVER: Shape = &[
    ("Name", Text),
    ("NodeID", Text),
    ("TopologyKeys", Plain),
    ("Allocatable", Plain),
];
pub(super) const SUCCESS_POLICY: Shape = &[(
    "Rules",
    List(&[("SucceededIndexes", Plain), ("SucceededCount", Plain)]),
)];
pub(super) const FAILURE_POLICY: Shape = &[(
    "Rules",
    List(&[
        ("Action", Text),
        (
            "OnExitCodes",
            Pointer(&[("ContainerName", Plain), ("Operator", Text), ("Values", Plain)]),
        ),
        ("OnPodConditions", List(&[("Type", Text), ("Status", Text)])),
    ]),
)];
const SELECTORS: Form = List(&[("CEL", Pointer(&[("Expression", Text)]))]);
const CAPACITY: Form = Pointer(&[("Requests", Plain)]);
const EXACTLY: Shape = &[
    ("DeviceClassName", Text),
    ("Selectors", SELECTORS),
    ("AllocationMode", Text),
    ("Count", Number),
    ("AdminAccess", Plain),
    ("Tolerations", List(TOLERATION)),
    ("Capacity", CAPACITY),
];
const ALTERNATIVE: Shape = &[
    ("Name", Text),
    ("DeviceClassName", Text),
    ("Selectors", SELECTORS),
    ("AllocationMode", Text),
    ("Count", Number),
    ("Tolerations", List(TOLERATION)),
    ("Capacity", CAPACITY),
];
const REQUEST: Shape = &[
    ("Name", Text),
    ("Exactly", Pointer(EXACTLY)),
    ("FirstAvailable", List(ALTERNATIVE)),
];
const CONSTRAINT: Shape = &[
    ("Requests", Plain),
    ("MatchAttribute", Plain),
    ("DistinctAttribute", Plain),
];
const OPAQUE: Shape = &[("Driver", Text), ("Parameters", Plain)];
pub(super) const CLAIM_SPEC: Shape = &[(
    "Devices",
    Struct(&[
        ("Requests", List(REQUEST)),
        ("Constraints", List(CONSTRAINT)),
        (
            "Config",
            List(&[("Requests", Plain), ("Opaque", Pointer(OPAQUE))]),
        ),
    ]),
)];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_line_by_line() {
        let claim = |class: &str| json!({"accessModes": ["A: \"{"], "storageClassName": class});
        assert_eq!(
            difference(&claim("a"), &claim("b"), VOLUME_CLAIM),
            "@@ -8,7 +8,7 @@\n   \"Requests\": null\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"a\",\n+ \"StorageClassName\": \"b\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n"
        );
    }

    #[test]
    fn structs_are_shown_whole() {
        let strategy = json!({"type": "Other", "rollingUpdate": {"maxSurge": "25%"}});
        assert_eq!(
            shown(&strategy, DEPLOYMENT_STRATEGY),
            BadValue::rendered(
                r#"{"Type":"Other","RollingUpdate":{"MaxUnavailable":null,"MaxSurge":"25%"}}"#
            )
        );
        assert_eq!(
            shown(&json!({}), CLAIM_SPEC),
            BadValue::rendered(r#"{"Devices":{"Requests":null,"Constraints":null,"Config":null}}"#)
        );
        assert_eq!(shown_pointer(None, ROLE_REF), BadValue::rendered("null"));
    }
}

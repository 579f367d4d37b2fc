//! Values in the form in which upstream's messages show them: its internal Go structs as JSON, which have fields in another
//! order and case than the API, and all of them.
//!
//! Only what some message shows stands here.

mod pod;
mod shapes;
mod volumes;

use serde_json::Value;

use super::diff::unified;
use super::field::BadValue;
use crate::codec::raw;
use crate::object::Fields;

pub(in crate::validation) use self::pod::{
    EPHEMERAL_CONTAINER, POD_SPEC, SECURITY_CONTEXT, TEMPLATE, pod_spec, template,
};
pub(in crate::validation) use self::shapes::*;
pub(in crate::validation) use self::volumes::{PERSISTENT_VOLUME_CLAIM_SPEC, PERSISTENT_VOLUME_SOURCE};

/// How a field is shown, and what stands for one that is not there.
#[derive(Clone, Copy)]
pub(in crate::validation) enum Form {
    /// Text; `""` when absent.
    Text,
    /// A number, or a number or text; `0` when absent.
    Number,
    /// `false` when absent.
    Flag,
    /// An amount; `"0"` when absent.
    Quantity,
    /// As it is, and left out when absent: a field of the API's own structs.
    Given,
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
    /// An embedded struct, whose fields stand among the others.
    Inline(Shape),
    /// The object's metadata, which is the API's own and whose fields stand among the others.
    Metadata,
}

use Form::{Flag, Given, Inline, List, Metadata, Number, Plain, Pointer, Quantity, Selector, Struct, Text};

/// The fields of a struct in their order, by their Go names; where the API's name does not follow from that, it stands after
/// a colon.
pub(in crate::validation) type Shape = &'static [(&'static str, Form)];

/// The fields of metadata in Go's order; all but the given ones are left out.
pub(in crate::validation) const METADATA: [&str; 15] = [
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
];

/// The names of a field in Go and in the API, whose names begin in lower case, be it a word or initials (`APIGroup` is
/// `apiGroup`).
fn names(field: &'static str) -> (&'static str, String) {
    if let Some((go, api)) = field.split_once(':') {
        return (go, api.to_owned());
    }
    let capitals = field.bytes().take_while(u8::is_ascii_uppercase).count();
    let lower = if capitals > 1 && capitals < field.len() {
        capitals - 1
    } else {
        capitals
    };
    let (head, tail) = field.split_at(lower);
    (field, head.to_ascii_lowercase() + tail)
}

/// JSON as Go writes it: with what HTML gives a meaning escaped. A kept text is shown as one.
pub(in crate::validation) fn go_json(value: &Value) -> String {
    if let Some(kept) = raw::shown(value) {
        return kept;
    }
    let text = value.to_string();
    if !text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(letter)))
            }
            other => out.push(other),
        }
    }
    out
}

fn write(out: &mut String, value: &Value, shape: Shape) {
    out.push('{');
    write_fields(out, value, shape, &mut true);
    out.push('}');
}

fn write_fields(out: &mut String, value: &Value, shape: Shape, first: &mut bool) {
    for (name, form) in shape {
        match form {
            Metadata => write_metadata(out, &value["metadata"], first),
            Inline(shape) => write_fields(out, value, shape, first),
            Given if !value.has(names(name).1.as_str()) => {}
            form => {
                let (go, api) = names(name);
                write_name(out, go, first);
                write_field(out, value.field(&api), *form);
            }
        }
    }
}

fn write_name(out: &mut String, name: &str, first: &mut bool) {
    if !std::mem::take(first) {
        out.push(',');
    }
    out.push_str(&format!("\"{name}\":"));
}

fn write_metadata(out: &mut String, metadata: &Value, first: &mut bool) {
    for name in METADATA {
        let empty = |value: &&Value| !crate::object::is_zero(value);
        if let Some(value) = metadata.field(name).filter(empty) {
            write_name(out, name, first);
            out.push_str(&go_json(value));
        }
    }
}

fn write_field(out: &mut String, field: Option<&Value>, form: Form) {
    match (form, field) {
        (Metadata | Inline(_), _) => {}
        (Struct(shape), field) => write(out, field.unwrap_or(&Value::Null), shape),
        (Text, None) => out.push_str("\"\""),
        (Number, None) => out.push('0'),
        (Flag, None) => out.push_str("false"),
        (Quantity, None) => out.push_str("\"0\""),
        (_, None) => out.push_str("null"),
        (Text | Number | Flag | Quantity | Plain | Given, Some(value)) => out.push_str(&go_json(value)),
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

/// The value as upstream shows a struct of this shape.
pub(in crate::validation) fn shown(value: &Value, shape: Shape) -> BadValue {
    let mut out = String::new();
    write(&mut out, value, shape);
    BadValue::rendered(out)
}

/// Values as upstream shows a list of such structs.
pub(in crate::validation) fn shown_list(items: &[Value], shape: Shape) -> BadValue {
    let items = items.iter().map(|item| {
        let mut out = String::new();
        write(&mut out, item, shape);
        out
    });
    BadValue::rendered(format!("[{}]", items.collect::<Vec<_>>().join(",")))
}

/// The list that a field is, as upstream shows it: `null` where it is not there.
pub(in crate::validation) fn shown_items(of: &Value, name: &str, shape: Shape) -> BadValue {
    if of.has(name) {
        shown_list(of.items(name), shape)
    } else {
        BadValue::from(&Value::Null)
    }
}

/// As [`shown`], where upstream has a pointer, which may be `null`.
pub(in crate::validation) fn shown_pointer(value: Option<&Value>, shape: Shape) -> BadValue {
    match value {
        Some(value) => shown(value, shape),
        None => BadValue::from(&Value::Null),
    }
}

/// A label selector with its fields in Go's order.
fn selector_text(selector: &Value) -> String {
    let field = |name: &str| {
        let value = selector
            .field(name)
            .filter(|value| !crate::object::is_zero(value))?;
        Some(format!("\"{name}\":{}", go_json(value)))
    };
    let fields: Vec<String> = ["matchLabels", "matchExpressions"]
        .into_iter()
        .filter_map(field)
        .collect();
    format!("{{{}}}", fields.join(","))
}

/// A label selector as upstream shows it.
pub(in crate::validation) fn shown_selector(selector: &Value) -> BadValue {
    BadValue::rendered(selector_text(selector))
}

/// How two structs of this shape differ, as upstream shows it.
pub(in crate::validation) fn difference(a: &Value, b: &Value, shape: Shape) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_are_told_line_by_line() {
        let claim = |class: &str| json!({"accessModes": ["A: \"{"], "storageClassName": class});
        assert_eq!(
            difference(&claim("a"), &claim("b"), PERSISTENT_VOLUME_CLAIM_SPEC),
            "@@ -8,7 +8,7 @@\n   \"Requests\": null\n  },\n  \"VolumeName\": \"\",\n- \"StorageClassName\": \"a\",\n+ \"StorageClassName\": \"b\",\n  \"VolumeMode\": null,\n  \"DataSource\": null,\n  \"DataSourceRef\": null,\n"
        );
    }

    #[test]
    fn names_begin_in_lower_case() {
        let table = [
            ("Name", "name"),
            ("APIGroup", "apiGroup"),
            ("UID", "uid"),
            ("HostIP", "hostIP"),
            ("FSType", "fsType"),
            ("WWIDs:wwids", "wwids"),
        ];
        for (go, api) in table {
            assert_eq!(names(go).1, api);
        }
    }

    #[test]
    fn a_template_has_its_metadata_among_its_fields() {
        let given = json!({
            "metadata": {"labels": {"a": "<b>"}},
            "spec": {"hostNetwork": true, "containers": [{"name": "c"}]},
        });
        let text = format!("{:?}", shown(&template(&given), TEMPLATE)).replace('\\', "");
        for part in [
            r#"{"labels":{"a":"u003cbu003e"},"Spec":{"Volumes":null,"InitContainers":null,"Containers":[{"Name":"c","Image":"","#,
            r#""SecurityContext":{"HostNetwork":true,"HostPID":false,"#,
            r#""Stdin":false,"#,
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
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

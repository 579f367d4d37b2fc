//! From client-side to server-side apply, for kubectl: what it applied by itself before stands in an annotation.
//!
//! As upstream has it, what kubectl said so and nobody has changed since is no reason for a conflict, whoever it was written down
//! for; and the annotation goes on telling what was applied last, so that there is a way back.

use serde_json::{Map, Value};

use super::field_set::FieldSet;
use super::{Writer, typed};
use crate::object::Fields;

/// Where kubectl keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// The only manager that this is for; others keep no such annotation.
const KUBECTL: &str = "kubectl";
/// The most that annotations may be together, in bytes.
const ANNOTATIONS_MAX: usize = 256 << 10;

/// What the manager may take over without a conflict, for it applied that by itself before.
pub(super) fn own_before(live: Option<&Value>, writer: &Writer<'_>) -> FieldSet {
    allowed(live, writer).unwrap_or_default()
}

fn allowed(live: Option<&Value>, writer: &Writer<'_>) -> Option<FieldSet> {
    let live = live.filter(|_| writer.manager.name == KUBECTL)?;
    let said = last_applied(live)?;
    let last: Value = serde_json::from_str(said).ok()?;
    if last.text("apiVersion") != writer.manager.api_version {
        return None;
    }
    let schema = writer.model.schema();
    let set = typed::field_set(&last, schema).ok()?;
    let changed = typed::compare(Some(&last), Some(live), schema);
    Some(
        set.difference(&changed.modified)
            .difference(&changed.added)
            .difference(&changed.removed),
    )
}

/// Has the annotation tell what was applied now, where there is one.
pub(super) fn tell(object: &mut Value, config: &Value, writer: &Writer<'_>) {
    if writer.manager.name != KUBECTL || last_applied(object).is_none() {
        return;
    }
    let mut config = config.clone();
    if let Some(annotations) = annotations(&mut config) {
        annotations.remove(LAST_APPLIED);
    }
    let said = as_go_writes(&config);
    if let Some(annotations) = annotations(object) {
        annotations.insert(LAST_APPLIED.to_owned(), said.into());
        let text = |value: &Value| value.as_str().map_or(0, str::len);
        let size: usize = annotations
            .iter()
            .map(|(name, value)| name.len() + text(value))
            .sum();
        if size > ANNOTATIONS_MAX {
            annotations.remove(LAST_APPLIED);
        }
    }
}

/// A line of JSON in which nothing can be taken for HTML: what Go escapes can only stand within strings.
fn as_go_writes(config: &Value) -> String {
    let mut line = config.to_string();
    for escaped in ['<', '>', '&', '\u{2028}', '\u{2029}'] {
        if line.contains(escaped) {
            line = line.replace(escaped, &format!("\\u{:04x}", u32::from(escaped)));
        }
    }
    line + "\n"
}

fn last_applied(object: &Value) -> Option<&str> {
    let said = object["metadata"]["annotations"].text(LAST_APPLIED);
    (!said.is_empty()).then_some(said)
}

fn annotations(object: &mut Value) -> Option<&mut Map<String, Value>> {
    object
        .get_mut("metadata")?
        .get_mut("annotations")?
        .as_object_mut()
}

//! The `fieldPath` of a rule: which field its message is about.

use serde_json::Value as Json;

use crate::cel::escape::escape;
use crate::object::Fields;
use crate::validation::Path;

/// One step of a `fieldPath`.
enum Step {
    Field(String),
    Key(String),
}

/// Reads `.a.b['c']`; nothing of what cannot be read, since such rules are refused with their definition.
fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("['") {
            let Some((key, after)) = after.split_once("']") else {
                break;
            };
            steps.push(Step::Key(key.replace("\\'", "'").replace("\\\\", "\\")));
            rest = after;
        } else {
            let after = rest.strip_prefix('.').unwrap_or(rest);
            let end = after.find(['.', '[']).unwrap_or(after.len());
            steps.push(Step::Field(after[..end].to_owned()));
            rest = &after[end..];
            if end == 0 {
                break;
            }
        }
    }
    steps
}

/// Calls with the path of a field below another.
pub(super) fn tell_at(at: &Path<'_>, path: &str, tell: &mut dyn FnMut(&Path<'_>)) {
    fn go(at: &Path<'_>, steps: &[Step], tell: &mut dyn FnMut(&Path<'_>)) {
        match steps {
            [] => tell(at),
            [Step::Field(name), rest @ ..] => go(&at.child(name), rest, tell),
            // A key in brackets may as well be the name of a property.
            [Step::Key(key), rest @ ..] if escape(key).is_some() => go(&at.child(key), rest, tell),
            [Step::Key(key), rest @ ..] => go(&at.key(key), rest, tell),
        }
    }
    go(at, &steps(path), tell);
}

/// Whether a path leads to a part of what a schema describes.
pub(crate) fn leads_somewhere(schema: &Json, path: &str) -> bool {
    let Some(steps) = exactly(path) else {
        return false;
    };
    let mut schema = schema;
    for step in &steps {
        let (Step::Field(name) | Step::Key(name)) = step;
        let below = if schema.has("properties") {
            schema["properties"].get(name)
        } else {
            schema.get("additionalProperties").filter(|of| of.is_object())
        };
        let Some(below) = below else { return false };
        schema = below;
    }
    true
}

/// The steps of a path that can be read whole.
fn exactly(path: &str) -> Option<Vec<Step>> {
    let steps = steps(path);
    let written: String = steps
        .iter()
        .map(|step| match step {
            Step::Field(name) => format!(".{name}"),
            Step::Key(key) => format!("['{}']", key.replace('\\', "\\\\").replace('\'', "\\'")),
        })
        .collect();
    (!steps.is_empty() && written == path).then_some(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_that_lead_somewhere() {
        let schema = json!({"properties": {"a": {"properties": {"b": {}}}, "m": {"additionalProperties": {"properties": {"x": {}}}}}});
        for (path, wanted) in [
            (".a.b", true),
            (".a", true),
            ("['a'].b", true),
            (".m['key'].x", true),
            (".a.c", false),
            ("a.b", false),
            (".a[0]", false),
            (".a.", false),
            (".m['key", false),
        ] {
            assert_eq!(leads_somewhere(&schema, path), wanted, "{path}");
        }
    }
}

//! Values as Go's `%+v` prints them, where upstream's messages show a patch that way.

use serde_json::Value;

/// `map[a:1 b:[x y]]`; the keys of a map are sorted.
pub(super) fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", items.iter().map(printed).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let pairs: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{name}:{}", printed(value)))
                .collect();
            format!("map[{}]", pairs.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_go_prints_it() {
        let patch = json!({"b": [{"name": "x", "$patch": "delete"}], "a": null, "c": true});
        assert_eq!(
            printed(&patch),
            "map[a:<nil> b:[map[$patch:delete name:x]] c:true]"
        );
    }
}

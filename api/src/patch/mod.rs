//! Patches: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch, each a function from a
//! patch and an object to the patched object.

pub mod json;
pub mod merge;
mod spelling;
pub mod strategic;

use serde_json::Value;

use crate::status::ApiError;

/// Why a patch cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// The body is no patch of its media type.
    #[error("{0}")]
    Malformed(String),
    /// More operations than are allowed.
    #[error("The allowed maximum operations in a JSON patch is {most}, got {found}")]
    TooManyOperations {
        /// The limit.
        most: usize,
        /// How many there are.
        found: usize,
    },
    /// A well-formed patch does not fit the object: an operation failed. Upstream does not tell the client which.
    #[error("{0}")]
    DoesNotApply(String),
    /// A strategic merge patch asks for something its schema does not have; upstream answers 500 without a reason.
    #[error("{0}")]
    Schema(String),
}

impl From<PatchError> for ApiError {
    fn from(error: PatchError) -> Self {
        match error {
            PatchError::Malformed(message) => ApiError::bad_request(message),
            PatchError::TooManyOperations { .. } => ApiError::request_entity_too_large(&error.to_string()),
            PatchError::DoesNotApply(message) => ApiError::generic(422, &message),
            PatchError::Schema(message) => ApiError::unknown(message),
        }
    }
}

/// A value as Go's `%v` prints it, which is how upstream shows a strategic patch: `map[a:1 b:[x y]]`; the keys of a map are sorted.
pub fn printed(value: &Value) -> String {
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

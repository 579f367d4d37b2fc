//! Label selectors of typed objects, matched by the project's one matcher.

use coracle_api::selector::LabelSelector as Matcher;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use std::collections::BTreeMap;

/// A compiled selector, or nothing where the object's own does not compile: such a selector selects nothing.
pub(crate) fn compile(selector: &LabelSelector) -> Option<Matcher> {
    let value = serde_json::to_value(selector).ok()?;
    Matcher::from_object(Some(&value)).ok()
}

/// Whether a selector without any requirement stands there, which would select everything.
pub(crate) fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(BTreeMap::is_empty)
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Whether the selector matches these labels.
pub(crate) fn matches(selector: &Matcher, labels: Option<&BTreeMap<String, String>>) -> bool {
    selector.matches(|key| labels.and_then(|labels| labels.get(key)).map(String::as_str))
}

/// Whether every one of `wanted` stands in `labels` (a Service's selector).
pub(crate) fn contains_all(
    labels: Option<&BTreeMap<String, String>>,
    wanted: &BTreeMap<String, String>,
) -> bool {
    wanted
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

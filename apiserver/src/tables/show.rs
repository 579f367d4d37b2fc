//! How values are shown: ages, selectors, lists that are cut off.

use coracle_api::selector::LabelSelector;
use jiff::Timestamp;
use serde_json::{Map, Value};

/// What is shown where there is nothing.
pub(super) const NONE: &str = "<none>";
/// What is shown where a field is not set.
pub(super) const UNSET: &str = "<unset>";

/// A string at a JSON pointer; empty where there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A number at a JSON pointer; 0 where there is none.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or_default()
}

/// A truth at a JSON pointer; false where there is none.
pub(super) fn flag(object: &Value, pointer: &str) -> bool {
    object
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

/// The items of a list at a JSON pointer.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// The entries of a map at a JSON pointer.
pub(super) fn entries<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    object.pointer(pointer).and_then(Value::as_object)
}

/// The text, or something else where it is empty.
pub(super) fn or<'a>(text: &'a str, other: &'a str) -> &'a str {
    if text.is_empty() { other } else { text }
}

/// The texts with commas between, or `<none>`.
pub(super) fn list_or_none(texts: &[String]) -> String {
    if texts.is_empty() {
        NONE.to_owned()
    } else {
        texts.join(",")
    }
}

/// How long ago the object was made.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(since(text(object, "/metadata/creationTimestamp"), now))
}

/// How long ago a time was; `<unknown>` where it is none.
pub(super) fn since(time: &str, now: Timestamp) -> String {
    match time.parse::<Timestamp>() {
        Ok(then) => duration(now.duration_since(then).as_secs()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// A span as upstream's `HumanDuration` shows it: the larger the rougher.
pub(super) fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |whole: i64, unit: char, rest: i64, part: char| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{part}"),
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 192 => pair(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// A `metav1.LabelSelector`, or `<none>` where it selects everything.
pub(super) fn selector(selector: Option<&Value>) -> String {
    match selector.map(|selector| LabelSelector::from_object(Some(selector))) {
        None => NONE.to_owned(),
        Some(Ok(selector)) if selector.is_everything() => NONE.to_owned(),
        Some(Ok(selector)) => selector.to_string(),
        Some(Err(_)) => "<error>".to_owned(),
    }
}

/// Labels as `a=b,c=d`, or `<none>`.
pub(super) fn labels(labels: Option<&Map<String, Value>>) -> String {
    let pairs = labels.into_iter().flatten();
    list_or_none(
        &pairs
            .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
            .collect::<Vec<_>>(),
    )
}

/// The names and the images of a pod template's containers.
pub(super) fn containers(object: &Value, pointer: &str) -> [Value; 2] {
    let containers = items(object, pointer);
    ["name", "image"].map(|field| {
        let texts = containers
            .iter()
            .map(|container| container.get(field).and_then(Value::as_str));
        Value::from(texts.map(Option::unwrap_or_default).collect::<Vec<_>>().join(","))
    })
}

/// The first few texts, and how many more there are.
pub(super) fn first_few(texts: &[String], most: usize) -> String {
    match texts.len() {
        0 => NONE.to_owned(),
        count if count > most => format!("{} + {} more...", texts[..most].join(","), count - most),
        _ => texts.join(","),
    }
}

/// Access modes in their short form.
pub(super) fn access_modes(modes: &[Value]) -> String {
    let known = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let shown = known
        .iter()
        .filter(|(mode, _)| modes.iter().any(|other| other.as_str() == Some(mode)));
    shown.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_get_rougher() {
        for (seconds, want) in [
            (-5, "<invalid>"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (179, "2m59s"),
            (600, "10m"),
            (179 * 60, "179m"),
            (3 * 3600 + 5 * 60, "3h5m"),
            (9 * 3600, "9h"),
            (49 * 3600, "2d1h"),
            (48 * 3600, "2d"),
            (9 * 24 * 3600, "9d"),
            (3 * 365 * 24 * 3600 + 24 * 3600, "3y1d"),
            (9 * 365 * 24 * 3600, "9y"),
        ] {
            assert_eq!(duration(seconds), want);
        }
    }
}

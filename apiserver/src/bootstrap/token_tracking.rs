//! The ConfigMap that tells since which day the last use of tokens in secrets is written down, by which whoever cleans them away
//! knows of how long a time nobody's use says anything. Pure.

use coracle_api::object::Fields;
use jiff::Timestamp;
use jiff::civil::Date;
use serde_json::{Value, json};

const SINCE: &str = "since";

/// As upstream's legacy token tracking controller makes it on the first day.
pub(super) fn config_map(now: Timestamp) -> Value {
    let today = now.strftime("%Y-%m-%d").to_string();
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking", "namespace": "kube-system"},
        "data": {SINCE: today},
    })
}

/// The map with a day, where it has none.
pub(super) fn corrected(current: &Value, wanted: &Value) -> Option<Value> {
    if current["data"].text(SINCE).parse::<Date>().is_ok() {
        return None;
    }
    let mut next = current.clone();
    next["data"][SINCE] = wanted["data"][SINCE].clone();
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_day_stays() {
        let map = |time: &str| config_map(time.parse().unwrap());
        let (first, later) = (map("2026-01-02T23:00:00Z"), map("2026-05-06T00:00:00Z"));
        assert_eq!(first["data"], json!({"since": "2026-01-02"}));
        assert_eq!(corrected(&first, &later), None);
        let mut spoilt = first.clone();
        spoilt["data"] = json!({"since": "yesterday"});
        assert_eq!(corrected(&spoilt, &later).unwrap()["data"], later["data"]);
    }
}

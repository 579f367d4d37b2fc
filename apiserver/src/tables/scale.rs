//! Scales, which are no resource of their own and have a table all the same.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{described, show};
use crate::registry::negotiate::{Accepted, Include};

/// A table of one scale: how many there should be, and how many there are.
pub(crate) fn of_scale(scale: &Value, accepted: Accepted, now: Timestamp) -> Value {
    let version = format!("meta.k8s.io/{}", accepted.view_version);
    let columns = [
        ("Name", "string", described::common("Name")),
        ("Desired", "integer", described::of_scale("Desired")),
        ("Available", "integer", described::of_scale("Available")),
        ("Age", "string", described::common("Age")),
    ];
    let columns = columns.map(|(name, ty, description)| {
        json!({"name": name, "type": ty, "format": "", "description": description, "priority": 0})
    });
    let count = |pointer: &str| scale.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let object = match accepted.include {
        Include::None => Value::Null,
        Include::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": version, "metadata": scale["metadata"],
        }),
        Include::Object => scale.clone(),
    };
    let cells = json!([
        scale["metadata"]["name"],
        count("/spec/replicas"),
        count("/status/replicas"),
        show::age(scale, now)
    ]);
    json!({
        "kind": "Table",
        "apiVersion": version,
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": columns,
        "rows": [{"cells": cells, "object": object}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::negotiate::{Format, View};

    #[test]
    fn a_scale_shows_what_is_wanted_and_what_there_is() {
        let accepted = Accepted {
            format: Format::Json,
            view: View::Table,
            view_version: "v1",
            of_list: false,
            pretty: false,
            include: Include::None,
        };
        let scale = json!({
            "metadata": {"name": "web", "resourceVersion": "7", "creationTimestamp": "1970-01-01T00:00:00Z"},
            "spec": {"replicas": 3}, "status": {"replicas": 2},
        });
        let now = Timestamp::from_second(60).unwrap();
        let table = of_scale(&scale, accepted, now);
        assert_eq!(
            table["rows"],
            json!([{"cells": ["web", 3, 2, "60s"], "object": null}])
        );
        assert_eq!(table["metadata"], json!({"resourceVersion": "7"}));
    }
}

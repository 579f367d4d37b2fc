//! FlowSchemas and PriorityLevelConfigurations as they are stored, read into what is acted by. Pure.

use std::sync::Arc;

use coracle_api::object::Fields;
use serde_json::Value;

use super::queue_set::Queuing;
use super::rules::{Distinguisher, Rules};
use super::shares::Share;

/// The level and the schema that there always are, whatever is stored: who is never held up, and everybody else.
pub(super) const EXEMPT: &str = "exempt";
pub(super) const CATCH_ALL: &str = "catch-all";

/// A priority level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LevelSpec {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) queuing: Queuing,
    pub(super) share: Share,
}

/// A flow schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SchemaSpec {
    pub(super) name: String,
    pub(super) uid: String,
    pub(super) level: String,
    pub(super) rules: Rules,
    pub(super) distinguisher: Distinguisher,
    precedence: i64,
}

/// Everything that is acted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Specs {
    pub(super) levels: Vec<LevelSpec>,
    /// In the order in which they are tried.
    pub(super) schemas: Vec<SchemaSpec>,
}

/// Reads what is stored. What is missing of what there always is comes from `own`; schemas whose level is not there, and
/// levels that contradict themselves, are left out.
pub(super) fn read(levels: &[Arc<Value>], schemas: &[Arc<Value>], own: &[Value]) -> Specs {
    let mut levels: Vec<LevelSpec> = levels.iter().filter_map(|object| level(object)).collect();
    let mut schemas: Vec<SchemaSpec> = schemas.iter().map(|object| schema(object)).collect();
    let of_kind = |kind: &'static str, name: &'static str| {
        own.iter()
            .find(move |object| object.text("kind") == kind && object["metadata"].text("name") == name)
    };
    for name in [EXEMPT, CATCH_ALL] {
        if !levels.iter().any(|level| level.name == name) {
            levels.extend(of_kind("PriorityLevelConfiguration", name).and_then(level));
        }
        if !schemas.iter().any(|schema| schema.name == name) {
            schemas.extend(of_kind("FlowSchema", name).map(schema));
        }
    }
    schemas.retain(|schema| levels.iter().any(|level| level.name == schema.level));
    schemas.sort_by(|one, other| (one.precedence, &one.name).cmp(&(other.precedence, &other.name)));
    Specs { levels, schemas }
}

fn level(object: &Value) -> Option<LevelSpec> {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    let exempt = spec.text("type") == "Exempt";
    if exempt != (metadata.text("name") == EXEMPT) {
        return None;
    }
    let part = if exempt {
        &spec["exempt"]
    } else {
        spec.field("limited")?
    };
    let number = |value: &Value, name: &str| value.number(name).and_then(|number| u32::try_from(number).ok());
    let queuing = if exempt {
        Queuing::Exempt
    } else {
        let response = &part["limitResponse"];
        match (response.text("type"), response.field("queuing")) {
            ("Reject", None) => Queuing::Reject,
            ("Queue", Some(queuing)) => Queuing::Queues {
                queues: number(queuing, "queues")?.max(1),
                hand_size: number(queuing, "handSize")?.max(1),
                length_limit: number(queuing, "queueLengthLimit")?,
            },
            _ => return None,
        }
    };
    Some(LevelSpec {
        name: metadata.text("name").to_owned(),
        uid: metadata.text("uid").to_owned(),
        queuing,
        share: Share {
            exempt,
            shares: number(part, "nominalConcurrencyShares").unwrap_or_default(),
            lendable_percent: number(part, "lendablePercent").unwrap_or_default(),
            borrowing_percent: number(part, "borrowingLimitPercent"),
        },
    })
}

fn schema(object: &Value) -> SchemaSpec {
    let (metadata, spec) = (&object["metadata"], &object["spec"]);
    SchemaSpec {
        name: metadata.text("name").to_owned(),
        uid: metadata.text("uid").to_owned(),
        level: spec["priorityLevelConfiguration"].text("name").to_owned(),
        rules: Rules::read(spec),
        distinguisher: Distinguisher::read(spec),
        precedence: spec.number("matchingPrecedence").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::bootstrap::flow_control_objects;

    #[test]
    fn what_every_cluster_has_can_be_read_and_never_goes_missing() {
        let own = flow_control_objects();
        let kind = |kind: &str| {
            let found = own.iter().filter(|object| object.text("kind") == kind);
            found.cloned().map(Arc::new).collect::<Vec<_>>()
        };
        let (levels, schemas) = (kind("PriorityLevelConfiguration"), kind("FlowSchema"));
        let specs = read(&levels, &schemas, &own);
        assert_eq!(
            (specs.levels.len(), specs.schemas.len()),
            (levels.len(), schemas.len())
        );
        let names = |specs: &Specs| {
            specs
                .schemas
                .iter()
                .map(|schema| schema.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&specs).first().map(String::as_str), Some(EXEMPT));
        assert_eq!(names(&specs).last().map(String::as_str), Some(CATCH_ALL));
        let least = read(&[], &schemas, &own);
        assert_eq!(least.levels.len(), 2);
        assert_eq!(
            names(&least),
            [EXEMPT, "probes", CATCH_ALL],
            "the others have no level"
        );
    }

    #[test]
    fn levels_that_contradict_themselves_are_left_out() {
        let spec = |spec: Value| level(&json!({"metadata": {"name": "l"}, "spec": spec}));
        assert!(
            spec(json!({"type": "Exempt", "exempt": {}})).is_none(),
            "only one level is exempt"
        );
        assert!(spec(json!({"type": "Limited"})).is_none());
        assert!(spec(json!({"type": "Limited", "limited": {"limitResponse": {"type": "Queue"}}})).is_none());
        let found = spec(
            json!({"type": "Limited", "limited": {"nominalConcurrencyShares": 7, "borrowingLimitPercent": 10,
            "limitResponse": {"type": "Reject"}}}),
        );
        let found = found.unwrap();
        assert_eq!(
            (found.queuing, found.share.shares, found.share.borrowing_percent),
            (Queuing::Reject, 7, Some(10))
        );
    }
}

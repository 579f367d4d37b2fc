//! The condition `Dangling` of FlowSchemas: whether the priority level that one names is there. Upstream's apiserver writes
//! it while it takes in its configuration; so does this one, whether or not it acts by FlowSchemas itself.

use std::sync::Arc;

use coracle_api::object::Fields;
use http::{Request, header};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::reader::{GroupResource, ObjectReader};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
const PATH: &str = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas";
const MANAGER: &str = "api-priority-and-fairness-config-consumer-v1";

/// A condition that a FlowSchema should have and does not.
#[derive(Debug, PartialEq, Eq)]
struct Dangling {
    schema: String,
    status: &'static str,
    reason: &'static str,
    message: String,
}

impl Dangling {
    /// The configuration to be applied.
    fn configuration(&self, now: Timestamp) -> Value {
        json!({
            "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": "FlowSchema", "metadata": {"name": self.schema},
            "status": {"conditions": [{
                "type": "Dangling", "status": self.status, "reason": self.reason, "message": self.message,
                "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }]},
        })
    }
}

/// What is to be written.
fn plan(schemas: &[Arc<Value>], levels: &[Arc<Value>]) -> Vec<Dangling> {
    let named = |name: &str| levels.iter().any(|level| level["metadata"].text("name") == name);
    let mut writes = Vec::new();
    for schema in schemas {
        let level = schema["spec"]["priorityLevelConfiguration"].text("name");
        let (status, reason, end) = if named(level) {
            ("False", "Found", "and it exists")
        } else {
            ("True", "NotFound", "but there is no such object")
        };
        let message =
            format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}");
        let conditions = schema["status"].items("conditions");
        let stands = conditions.iter().any(|condition| {
            condition.text("type") == "Dangling"
                && condition.text("status") == status
                && condition.text("reason") == reason
                && condition.text("message") == message
        });
        if !stands {
            writes.push(Dangling {
                schema: schema["metadata"].text("name").to_owned(),
                status,
                reason,
                message,
            });
        }
    }
    writes
}

/// Keeps the conditions true until cancelled. What could not be written is tried again with the next change.
pub(crate) async fn keep_conditions(
    reader: Arc<dyn ObjectReader>,
    client: kube::Client,
    cancel: CancellationToken,
) {
    let [of_schemas, of_levels] =
        ["flowschemas", "prioritylevelconfigurations"].map(|resource| GroupResource::new(GROUP, resource));
    let (mut schemas, mut levels) = (reader.changes(&of_schemas), reader.changes(&of_levels));
    loop {
        schemas.borrow_and_update();
        levels.borrow_and_update();
        for write in plan(&reader.list(&of_schemas, ""), &reader.list(&of_levels, "")) {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = apply(&client, &write) => {}
            }
        }
        let ended = tokio::select! {
            () = cancel.cancelled() => return,
            changed = schemas.changed() => changed,
            changed = levels.changed() => changed,
        };
        if ended.is_err() {
            return;
        }
    }
}

async fn apply(client: &kube::Client, write: &Dangling) {
    let request = Request::patch(format!(
        "{PATH}/{}/status?fieldManager={MANAGER}&force=true",
        write.schema
    ))
    .header(header::CONTENT_TYPE, "application/apply-patch+yaml")
    .body(write.configuration(Timestamp::now()).to_string().into_bytes())
    .expect("a name that was stored makes a path");
    match client.request::<Value>(request).await {
        Ok(_) => {}
        // It went away meanwhile.
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => {
            tracing::warn!(schema = write.schema, %error, "a FlowSchema's condition was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(level: &str, status: Value) -> Arc<Value> {
        Arc::new(json!({
            "metadata": {"name": "s"}, "spec": {"priorityLevelConfiguration": {"name": level}}, "status": status,
        }))
    }

    #[test]
    fn a_schema_dangles_where_its_level_is_not_there() {
        let levels = [Arc::new(json!({"metadata": {"name": "low"}}))];
        let found = plan(&[schema("low", json!({}))], &levels);
        assert_eq!(
            found[0].message,
            "This FlowSchema references the PriorityLevelConfiguration object named \"low\" and it exists"
        );
        let lost = plan(&[schema("gone", json!({}))], &levels);
        assert_eq!((lost[0].status, lost[0].reason), ("True", "NotFound"));
        let written = found[0].configuration(Timestamp::UNIX_EPOCH)["status"].take();
        assert_eq!(plan(&[schema("low", written)], &levels), []);
    }
}

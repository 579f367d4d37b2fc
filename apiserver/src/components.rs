//! `componentstatuses`: how the other parts of the control plane are, asked when somebody asks.
//!
//! Nothing of it is stored. As upstream, it looks at the controllers and the scheduler of this machine, and at what stands
//! behind the store; parts of this very process are not called but say themselves whether they run. The kind is deprecated,
//! which everybody who asks is told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::resources::{self, Resource};
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::ApiError;
use coracle_api::warnings;
use coracle_store::Store;
use futures::future::join_all;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Limited};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;

use crate::http::document::{self, Wish};
use crate::outbound::{Place, Trust, client_config, connect};
use crate::reader::ObjectReader;
use crate::registry::negotiate::{Accepted, Purpose, View, accepted};
use crate::request::{RequestContext, ResponseBody, full_body};
use crate::tables;

/// The plural name of the resource.
pub(crate) const RESOURCE: &str = "componentstatuses";

/// How long a part may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 10 << 10;

/// A part of the control plane that is looked at.
#[derive(Clone, Debug)]
pub struct Component {
    /// What it is called there.
    pub name: String,
    /// How it is looked at.
    pub look: Look,
}

/// How a part is looked at.
#[derive(Clone, Debug)]
pub enum Look {
    /// It is asked at `/healthz` of this address, whatever its certificate says.
    Asked(SocketAddr),
    /// It runs in this process.
    Here(Alive),
}

/// Whether a part of this process runs. Clones are about the same part.
#[derive(Clone, Debug, Default)]
pub struct Alive(Arc<AtomicBool>);

impl Alive {
    /// Says that the part runs until its work ends, however that is.
    pub async fn during<T>(self, work: impl Future<Output = T>) -> T {
        struct Ends(Alive);
        impl Drop for Ends {
            fn drop(&mut self) {
                self.0.0.store(false, Ordering::Release);
            }
        }
        self.0.store(true, Ordering::Release);
        let _ends = Ends(self);
        work.await
    }

    /// Whether it runs.
    pub fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The parts that upstream looks at, at the ports that they have there.
pub fn elsewhere() -> Vec<Component> {
    [("controller-manager", 10257), ("scheduler", 10259)]
        .map(|(name, port)| Component {
            name: name.to_owned(),
            look: Look::Asked(SocketAddr::from(([127, 0, 0, 1], port))),
        })
        .to_vec()
}

/// What was seen of a part: what it says, or why it is not well.
type Seen = Result<String, String>;

/// Looks at parts.
pub(crate) struct Components {
    parts: Vec<Component>,
    store: Arc<dyn Store>,
    reader: Arc<dyn ObjectReader>,
    /// What drives connections.
    tasks: TaskTracker,
}

impl Components {
    pub(crate) fn new(
        parts: Vec<Component>,
        store: Arc<dyn Store>,
        reader: Arc<dyn ObjectReader>,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            parts,
            store,
            reader,
            tasks,
        }
    }

    /// Answers a request for the resource.
    ///
    /// # Errors
    /// 404 for a part that there is not, 405 for whatever is not reading.
    pub(crate) async fn answer(&self, context: &RequestContext) -> Result<Response<ResponseBody>, ApiError> {
        let info = &context.info;
        let resource = resources::find("", "v1", RESOURCE).filter(|_| info.subresource.is_empty());
        let resource = resource.ok_or_else(|| ApiError::generic(404, ""))?;
        if let Some(warning) = warnings::deprecated(resource.gvk()) {
            context.warnings.add(&warning);
            context.warnings.audit().annotate("k8s.io/deprecated", "true");
        }
        let now = Timestamp::now();
        let answer = match info.verb.as_str() {
            "get" => {
                let accepted = accepted(context, Purpose::Object)?;
                let seen = self.look_at(&info.name).await;
                let seen = seen.ok_or_else(|| ApiError::not_found("", "componentstatus", &info.name))?;
                shown(resource, &status(&info.name, &seen), accepted, now)
            }
            "list" => {
                let accepted = accepted(context, Purpose::List)?;
                let selected = Selected::read(context)?;
                let mut all = self.look_at_all().await;
                all.retain(|status| selected.takes(status));
                shown_list(resource, &all, accepted, now)
            }
            "watch" => return Err(ApiError::method_not_supported("", RESOURCE, "watch")),
            _ => return Err(ApiError::generic(405, "")),
        };
        Ok(document::answer(Wish::of(context), 200, answer, &[]))
    }

    async fn look_at_all(&self) -> Vec<Value> {
        let names = self.parts.iter().map(|part| part.name.as_str());
        let mut names: Vec<&str> = names.chain([STORE]).collect();
        names.sort_unstable();
        let looks = names.into_iter().map(|name| async move {
            let seen = self.look_at(name).await;
            seen.map(|seen| status(name, &seen))
        });
        join_all(looks).await.into_iter().flatten().collect()
    }

    /// What is seen of the part of a name; nothing where there is none.
    async fn look_at(&self, name: &str) -> Option<Seen> {
        if name == STORE {
            let asked = tokio::time::timeout(PATIENCE, self.store.revision()).await;
            return Some(match asked {
                Ok(Ok(_)) => Ok("ok".to_owned()),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("context deadline exceeded".to_owned()),
            });
        }
        let part = self.parts.iter().find(|part| part.name == name)?;
        Some(match &part.look {
            Look::Here(alive) if alive.get() => Ok("ok".to_owned()),
            Look::Here(_) => Err("it does not run".to_owned()),
            Look::Asked(address) => self.ask(*address).await,
        })
    }

    async fn ask(&self, address: SocketAddr) -> Seen {
        let failed = |why: &str| format!("Get \"https://{address}/healthz\": {why}");
        let place = Place::Host {
            host: address.ip().to_string(),
            port: address.port(),
        };
        let asked = async {
            let tls = client_config(&Trust::Nobody, None).map_err(|error| failed(&error.to_string()))?;
            let connected = connect(&place, tls, &*self.reader, &self.tasks).await;
            let mut connection = connected.map_err(|error| failed(&error.to_string()))?;
            let request = Request::get("/healthz")
                .header(header::HOST, place.authority())
                .header(header::CONNECTION, "close")
                .header(header::ACCEPT, "*/*")
                .body(full_body(Bytes::new()))
                .map_err(|error| failed(&error.to_string()))?;
            let answered = connection.send_request(request).await;
            let answer = answered.map_err(|error| failed(&error.to_string()))?;
            let status = answer.status();
            if !(200..400).contains(&status.as_u16()) {
                return Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()));
            }
            let read = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
            let said = read.map_err(|error| failed(&error.to_string()))?.to_bytes();
            Ok(String::from_utf8_lossy(&said).into_owned())
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_| Err(failed("context deadline exceeded")))
    }
}

/// What the store is called: upstream numbers the etcd clusters.
const STORE: &str = "etcd-0";

/// Which of the parts a list is to have.
struct Selected {
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selected {
    fn read(context: &RequestContext) -> Result<Self, ApiError> {
        let refused = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
        let labels = LabelSelector::parse(context.query("labelSelector").unwrap_or_default());
        let fields = FieldSelector::parse(context.query("fieldSelector").unwrap_or_default());
        let selected = Self {
            labels: labels.map_err(|error| refused(&error))?,
            fields: fields.map_err(|error| refused(&error))?,
        };
        let known = |field: &str| matches!(field, "metadata.name" | "metadata.namespace");
        match selected.fields.terms.iter().find(|term| !known(&term.field)) {
            Some(term) => Err(ApiError::bad_request(format!(
                "{} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
                quote(&term.field)
            ))),
            None => Ok(selected),
        }
    }

    fn takes(&self, status: &Value) -> bool {
        let metadata = &status["metadata"];
        self.labels.matches_labels(metadata.get("labels"))
            && self
                .fields
                .matches(|field| metadata.text(field.trim_start_matches("metadata.")))
    }
}

/// The object about a part.
fn status(name: &str, seen: &Seen) -> Value {
    let (status, message) = match seen {
        Ok(said) => ("True", said),
        Err(why) => ("False", why),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": {"name": name},
        "conditions": [{"type": "Healthy", "status": status, "message": message}],
    })
}

fn shown(resource: &Resource, object: &Value, accepted: Accepted, now: Timestamp) -> Value {
    match accepted.view {
        View::Object => object.clone(),
        View::Metadata => partial(object, accepted),
        View::Table => tables::of_answer(resource, std::slice::from_ref(object), accepted, now),
    }
}

fn shown_list(resource: &Resource, objects: &[Value], accepted: Accepted, now: Timestamp) -> Value {
    let (kind, api_version, items) = match accepted.view {
        View::Table => return tables::of_answer(resource, objects, accepted, now),
        View::Metadata => {
            let items = objects.iter().map(|object| partial(object, accepted));
            let api_version = format!("meta.k8s.io/{}", accepted.view_version);
            ("PartialObjectMetadataList", api_version, items.collect())
        }
        View::Object => {
            let items = objects.iter().map(headless).collect::<Vec<Value>>();
            ("ComponentStatusList", "v1".to_owned(), items)
        }
    };
    json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items})
}

/// Items of a list do not say again what they are.
fn headless(object: &Value) -> Value {
    json!({"metadata": object["metadata"], "conditions": object["conditions"]})
}

fn partial(object: &Value, accepted: Accepted) -> Value {
    json!({
        "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
        "metadata": object["metadata"],
    })
}

#[cfg(test)]
mod tests {
    use coracle_store::model::ModelStore;

    use super::*;
    use crate::reader::memory::MemoryReader;

    fn components(parts: Vec<Component>) -> Components {
        let store = Arc::new(ModelStore::new());
        let reader = Arc::new(MemoryReader::default());
        Components::new(parts, store, reader, TaskTracker::new())
    }

    #[tokio::test]
    async fn parts_say_how_they_are() {
        let (well, gone) = (Alive::default(), Alive::default());
        let here = |name: &str, alive: &Alive| Component {
            name: name.to_owned(),
            look: Look::Here(alive.clone()),
        };
        let nobody = Component {
            name: "nobody".to_owned(),
            // A port that nothing listens on.
            look: Look::Asked(SocketAddr::from(([127, 0, 0, 1], 1))),
        };
        let components = components(vec![here("scheduler", &well), here("gone", &gone), nobody]);
        gone.clone().during(async {}).await;
        let seen = well.clone().during(components.look_at_all()).await;
        let told: Vec<(&str, &str, &str)> = seen
            .iter()
            .map(|object| {
                let condition = &object["conditions"][0];
                (
                    object["metadata"].text("name"),
                    condition.text("status"),
                    condition.text("message"),
                )
            })
            .collect();
        let refused =
            "Get \"https://127.0.0.1:1/healthz\": dial tcp 127.0.0.1:1: connect: connection refused";
        assert_eq!(
            told,
            [
                ("etcd-0", "True", "ok"),
                ("gone", "False", "it does not run"),
                ("nobody", "False", refused),
                ("scheduler", "True", "ok"),
            ]
        );
        assert!(components.look_at("none").await.is_none());
    }
}

//! `metrics.k8s.io`: what nodes and pods use, for `kubectl top` and for whoever scales by it.
//!
//! Served here wherever an APIService says that this server does so itself; one that names a Service has its requests passed
//! on, as ever, so that a cluster can have metrics-server in place of this. The figures are those of the node agents'
//! `/metrics/resource`, and usage is what was used between two looks, as metrics-server has it. Nobody is looked at while
//! nobody asks: a question that finds no two looks young enough makes them. `text` reads what an agent says, `usage` what
//! two looks come to, `shown` makes the objects, `wire` their protobuf: all pure. This module asks and remembers.

mod shown;
mod text;
mod usage;
mod wire;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use coracle_api::codec::body::MediaType;
use coracle_api::object::Fields;
use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::ApiError;
use futures::future::join_all;
use http::{HeaderValue, Response};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tracing::debug;

use self::shown::Subject;
use self::usage::{Look, Looks};
use crate::discovery::{Entry, Group, Version};
use crate::http::document::{self, Wish};
use crate::http::respond;
use crate::node_proxy::NodeProxy;
use crate::reader::GroupResource;
use crate::registry::negotiate::{Format, Purpose, View, accepted};
use crate::request::{RequestContext, ResponseBody};

/// The group.
pub(crate) const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub(crate) const VERSION: &str = "v1beta1";

const AGENT_PATH: &str = "/metrics/resource";
/// A node is looked at no more often.
const RESOLUTION: SignedDuration = SignedDuration::from_secs(10);
/// What was used is told between looks that are no further apart.
const WINDOW_MAX: SignedDuration = SignedDuration::from_secs(120);
/// How far apart the two looks are that are made where there was none.
const FIRST_WINDOW: Duration = Duration::from_secs(1);
/// How long an agent has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is told of the group in discovery.
pub(crate) fn group() -> Group {
    let entry = |resource: &'static str, kind: &'static str, namespaced| Entry {
        resource: Cow::Borrowed(resource),
        singular: Cow::Borrowed(""),
        kind: Cow::Borrowed(kind),
        namespaced,
        verbs: vec![Cow::Borrowed("get"), Cow::Borrowed("list")],
        short_names: Vec::new(),
        categories: Vec::new(),
        subresources: Vec::new(),
        storage_version_hash: String::new(),
        of: None,
    };
    Group {
        name: Cow::Borrowed(GROUP),
        versions: vec![Version {
            version: Cow::Borrowed(VERSION),
            resources: vec![
                Arc::new(entry("nodes", "NodeMetrics", false)),
                Arc::new(entry("pods", "PodMetrics", true)),
            ],
        }],
    }
}

/// Remembers the last looks at each node.
#[derive(Default)]
pub(crate) struct ResourceMetrics {
    looks: Mutex<BTreeMap<String, Looks>>,
}

impl ResourceMetrics {
    /// Answers a request for the group, by what the agents say that `nodes` reaches.
    ///
    /// # Errors
    /// 404 for what has no figures, 405 for whatever is not reading.
    pub(crate) async fn answer(
        &self,
        nodes: &NodeProxy,
        context: &RequestContext,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let info = &context.info;
        let of_nodes = match info.resource.as_str() {
            _ if !info.subresource.is_empty() => return Err(ApiError::generic(404, "")),
            "nodes" if info.namespace.is_empty() => true,
            "pods" => false,
            _ => return Err(ApiError::generic(404, "")),
        };
        let purpose = match info.verb.as_str() {
            "get" => Purpose::Object,
            "list" => Purpose::List,
            _ => return Err(ApiError::generic(405, "")),
        };
        let accepted = accepted(context, purpose)?;
        let subjects = subjects(nodes, context, of_nodes)?;
        let looks = self.looks(nodes, &subjects, of_nodes).await;
        let now = Timestamp::now();
        let found: Vec<Value> = subjects
            .iter()
            .filter_map(|subject| shown::metrics(subject, &looks, of_nodes, now))
            .collect();
        let answer = match purpose {
            Purpose::Object => {
                let [object] = &found[..] else {
                    let named = match info.namespace.as_str() {
                        "" => info.name.clone(),
                        namespace => format!("{namespace}/{}", info.name),
                    };
                    return Err(ApiError::not_found(GROUP, &info.resource, &named));
                };
                shown::object(object, accepted)
            }
            _ => shown::list(&found, of_nodes, accepted),
        };
        if (accepted.format, accepted.view) == (Format::Protobuf, View::Object)
            && let Some(bytes) = wire::enveloped(&answer)
        {
            let media_type = HeaderValue::from_static(MediaType::Protobuf.name());
            return Ok(respond::bytes(200, media_type, bytes));
        }
        Ok(document::answer(Wish::of(context), 200, answer, &[]))
    }

    /// Looks at the nodes that the subjects are, or run on.
    async fn looks(
        &self,
        nodes: &NodeProxy,
        subjects: &[Subject],
        of_nodes: bool,
    ) -> BTreeMap<String, Looks> {
        let mut by_node: BTreeMap<&str, Vec<&Subject>> = BTreeMap::new();
        for subject in subjects {
            let node = shown::node_of(subject, of_nodes);
            by_node.entry(node).or_default().push(subject);
        }
        by_node.remove("");
        let looked = by_node.into_iter().map(|(name, subjects)| async move {
            let looks = self.look_at(nodes, name, &subjects).await;
            looks.map(|looks| (name.to_owned(), looks))
        });
        join_all(looked).await.into_iter().flatten().collect()
    }

    /// The last two looks at a node, made where they are too old or some of the subjects began to run after them. None where
    /// its agent does not answer.
    async fn look_at(&self, nodes: &NodeProxy, name: &str, subjects: &[&Subject]) -> Option<Looks> {
        let now = Timestamp::now();
        let known = self.known(name);
        let serves = |known: &&Looks| {
            now.duration_since(known.last.at) < RESOLUTION
                && subjects.iter().all(|subject| known.last.has_seen(subject))
        };
        if let Some(known) = known.as_ref().filter(serves) {
            return Some(known.clone());
        }
        let look = self.look(nodes, name).await?;
        let before = known.map(|known| known.last);
        let looks = match before.filter(|before| look.at.duration_since(before.at) <= WINDOW_MAX) {
            Some(before) => Looks { before, last: look },
            None => {
                tokio::time::sleep(FIRST_WINDOW).await;
                let last = self.look(nodes, name).await?;
                Looks { before: look, last }
            }
        };
        self.remember(name, &looks);
        Some(looks)
    }

    async fn look(&self, nodes: &NodeProxy, name: &str) -> Option<Look> {
        let asked = tokio::time::timeout(PATIENCE, nodes.read(name, AGENT_PATH)).await;
        let at = Timestamp::now();
        match asked {
            Ok(Ok(said)) => Some(Look::new(at, &text::read(&String::from_utf8_lossy(&said)))),
            Ok(Err(error)) => {
                debug!(
                    error = error.message(),
                    node = name,
                    "a node's figures cannot be read"
                );
                None
            }
            Err(_) => {
                debug!(node = name, "a node's figures are long in coming");
                None
            }
        }
    }

    fn known(&self, name: &str) -> Option<Looks> {
        let looks = self
            .looks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        looks.get(name).cloned()
    }

    /// Keeps looks, and forgets those that serve for nothing any more.
    fn remember(&self, name: &str, looks: &Looks) {
        let mut known = self
            .looks
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        known.retain(|_, known| looks.last.at.duration_since(known.last.at) <= WINDOW_MAX);
        known.insert(name.to_owned(), looks.clone());
    }
}

/// The nodes or pods that a request is about.
fn subjects(nodes: &NodeProxy, context: &RequestContext, of_nodes: bool) -> Result<Vec<Subject>, ApiError> {
    let info = &context.info;
    let resource = GroupResource::new("", &info.resource);
    if info.verb == "get" {
        let found = nodes.reader.get(&resource, &info.namespace, &info.name);
        return Ok(found.into_iter().collect());
    }
    let refused = |error: &dyn std::fmt::Display| ApiError::bad_request(error.to_string());
    let labels = LabelSelector::parse(context.query("labelSelector").unwrap_or_default());
    let labels = labels.map_err(|error| refused(&error))?;
    let fields = FieldSelector::parse(context.query("fieldSelector").unwrap_or_default());
    let fields = fields.map_err(|error| refused(&error))?;
    let known = |field: &str| field == "metadata.name" || field == "metadata.namespace" && !of_nodes;
    if let Some(term) = fields.terms.iter().find(|term| !known(&term.field)) {
        return Err(ApiError::bad_request(format!(
            "field label not supported: {}",
            term.field
        )));
    }
    let mut found = nodes.reader.list(&resource, &info.namespace);
    found.retain(|object| {
        let metadata = &object["metadata"];
        labels.matches_labels(metadata.get("labels"))
            && fields.matches(|field| metadata.text(field.trim_start_matches("metadata.")))
    });
    Ok(found)
}

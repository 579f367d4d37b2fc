//! Requests that are passed on: to a node's agent (logs, exec, attach, port-forward, a node's own paths), to a pod, to a
//! pod behind a Service.
//!
//! Where a request goes and with which options is decided purely: `container`, `log_options`, `stream_options`, `address`,
//! `destination`. `dial` and `relay` do the IO. Streams are passed on byte by byte once both sides agreed, save those in the
//! newer forms of WebSocket, which `translate` makes SPDY (`spdy`) for the node agent. When the node agent refuses, its answer
//! goes back as it is, so that a client can try its other protocol.

mod address;
mod container;
mod destination;
mod dial;
mod links;
mod log_options;
mod log_socket;
mod relay;
mod spdy;
mod stream_options;
mod translate;

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::quote::quote;
use coracle_api::status::ApiError;
use http::Response;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::address::{NodeAddress, ProxyName};
use self::destination::{Destination, Transport};
pub(crate) use self::dial::{Dialer, NodeTls};
pub use self::translate::{Translation, TranslationError};
use crate::authz::{Attributes, Authorizer};
use crate::http::respond;
use crate::http::router::Incoming;
use crate::outbound::raw_query;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::{RequestContext, ResponseBody};

type Answer = Result<Response<ResponseBody>, ApiError>;

/// Passes requests on.
pub(crate) struct NodeProxy {
    pub(crate) reader: Arc<dyn ObjectReader>,
    pub(crate) authorizer: Arc<Authorizer>,
    pub(crate) dialer: Dialer,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

/// The requests that are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passed {
    Log,
    Exec,
    Attach,
    PortForward,
    PodProxy,
    ServiceProxy,
    NodeProxy,
}

impl Passed {
    /// Whether a request of this group, resource and subresource is passed on.
    pub(crate) fn of(group: &str, resource: &str, subresource: &str) -> Option<Self> {
        Some(match (group, resource, subresource) {
            ("", "pods", "log") => Self::Log,
            ("", "pods", "exec") => Self::Exec,
            ("", "pods", "attach") => Self::Attach,
            ("", "pods", "portforward") => Self::PortForward,
            ("", "pods", "proxy") => Self::PodProxy,
            ("", "services", "proxy") => Self::ServiceProxy,
            ("", "nodes", "proxy") => Self::NodeProxy,
            _ => return None,
        })
    }
}

impl NodeProxy {
    pub(crate) async fn answer(&self, passed: Passed, incoming: Incoming) -> Answer {
        match passed {
            Passed::Log => self.log(incoming).await,
            Passed::Exec => self.stream("exec", incoming).await,
            Passed::Attach => self.stream("attach", incoming).await,
            Passed::PortForward => self.stream("portForward", incoming).await,
            Passed::PodProxy | Passed::ServiceProxy | Passed::NodeProxy => self.proxy(passed, incoming).await,
        }
    }

    /// What a node's agent says at a path of its own, to this server itself.
    ///
    /// # Errors
    /// Where there is no such node, or its agent cannot be reached or refuses.
    pub(crate) async fn read(&self, node: &str, path: &str) -> Result<Bytes, ApiError> {
        let destination = self.agent(node, "nodes")?.to(path, "");
        relay::read(&self.dialer, destination, &self.tasks).await
    }

    async fn log(&self, incoming: Incoming) -> Answer {
        let context = &incoming.context;
        if context.info.verb != "get" {
            return Err(ApiError::generic(405, ""));
        }
        let options = log_options::parse(&context.query)?;
        log_options::validate(&options, &context.info.name)?;
        let pod = self.pod(context)?;
        let container = container::choose(&pod, &options.container)?;
        // A pod that is nowhere yet has said nothing yet.
        let Some(node) = node_of(&pod) else {
            return Ok(respond::text(200, ""));
        };
        let path = format!(
            "/containerLogs/{}/{}/{container}",
            context.info.namespace, context.info.name
        );
        let destination = self.agent(node, "pods")?.to(&path, &log_options::query(&options));
        relay::logs(&self.dialer, destination, incoming, &self.tasks, &self.shutdown).await
    }

    async fn stream(&self, command: &str, incoming: Incoming) -> Answer {
        let context = &incoming.context;
        self.may_stream(context).await?;
        let pod = self.pod(context)?;
        let (namespace, name) = (&context.info.namespace, &context.info.name);
        let (path, query) = if command == "portForward" {
            (
                format!("/portForward/{namespace}/{name}"),
                stream_options::ports(&context.query),
            )
        } else {
            let container = container::choose(&pod, context.query("container").unwrap_or_default())?;
            let query = stream_options::query(&context.query, command == "exec");
            (format!("/{command}/{namespace}/{name}/{container}"), query)
        };
        let unassigned = || ApiError::bad_request(format!("pod {name} does not have a host assigned"));
        let node = node_of(&pod).ok_or_else(unassigned)?;
        let destination = self.agent(node, "pods")?.to(&path, &query);
        if incoming.upgrade.is_none() {
            return Err(ApiError::bad_request("Upgrade request required"));
        }
        let (headers, ports) = (&context.headers, command == "portForward");
        match Translation::wanted(headers, &context.query, ports) {
            Some(translation) => {
                relay::translated(
                    translation,
                    &self.dialer,
                    destination,
                    incoming,
                    &self.tasks,
                    &self.shutdown,
                )
                .await
            }
            None => relay::pass(&self.dialer, destination, incoming, &self.tasks, &self.shutdown).await,
        }
    }

    /// A WebSocket is opened by a GET, which anybody may who may look at things: running something asks for more
    /// (upstream's `AuthorizePodWebsocketUpgradeCreatePermission`).
    async fn may_stream(&self, context: &RequestContext) -> Result<(), ApiError> {
        match context.info.verb.as_str() {
            "create" => Ok(()),
            "get" => {
                let asked = Attributes {
                    verb: "create",
                    ..Attributes::of_context(context)
                };
                self.authorizer.require(&asked).await
            }
            _ => Err(ApiError::generic(405, "")),
        }
    }

    async fn proxy(&self, passed: Passed, incoming: Incoming) -> Answer {
        let context = &incoming.context;
        let name = ProxyName::parse(&context.info.name).ok_or_else(|| {
            let name = quote(&context.info.name);
            ApiError::bad_request(format!(
                "invalid {} request {name}",
                context.info.resource.trim_end_matches('s')
            ))
        })?;
        let destination = match passed {
            Passed::PodProxy => destination::pod(&*self.object("pods", context, &name.name)?, &name)?,
            Passed::ServiceProxy => {
                let service = self.object("services", context, &name.name)?;
                let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
                let slices = self.reader.list(&slices, &context.info.namespace);
                let slices: Vec<&Value> = slices.iter().map(AsRef::as_ref).collect();
                let chance = Uuid::new_v4().as_u64_pair().1 as usize;
                destination::service(&service, &slices, &name, chance)?
            }
            _ => destination::node(&*self.object("nodes", context, &name.name)?, &name)?,
        };
        if let Some(moved) = relay::redirect_to_slash(context) {
            return Ok(moved);
        }
        let destination = destination.to(&relay::rest_of_path(context), &raw_query(&context.query));
        relay::pass(&self.dialer, destination, incoming, &self.tasks, &self.shutdown).await
    }

    fn pod(&self, context: &RequestContext) -> Result<Arc<Value>, ApiError> {
        self.object("pods", context, &context.info.name)
    }

    fn object(&self, resource: &str, context: &RequestContext, name: &str) -> Result<Arc<Value>, ApiError> {
        let found = self
            .reader
            .get(&GroupResource::new("", resource), &context.info.namespace, name);
        found.ok_or_else(|| ApiError::not_found("", resource, name))
    }

    /// The agent of a node. One that is not there is told of as one of what was asked for, as upstream does.
    fn agent(&self, node: &str, asked: &str) -> Result<Destination, ApiError> {
        let found = self.reader.get(&GroupResource::new("", "nodes"), "", node);
        let found = found.ok_or_else(|| ApiError::not_found("", asked, node))?;
        let NodeAddress { host, port } = address::of_node(&found)?;
        Ok(Destination::new(Transport::NodeAgent, &host, port))
    }
}

fn node_of(pod: &Value) -> Option<&str> {
    pod.pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .filter(|node| !node.is_empty())
}

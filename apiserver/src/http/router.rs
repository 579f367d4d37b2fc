//! Who answers a request that may be made.
//!
//! Requests for group versions that other servers answer for are passed on to those. Other resource requests go to the registry, save the few that nothing is stored for: reviews, tokens, and streams to a node.
//! Other paths are few and fixed.

use std::sync::Arc;

use coracle_api::object::Fields;
use coracle_api::quote::quote;
use coracle_api::resources;
use coracle_api::status::ApiError;
use http::{HeaderValue, Method, Response, header};
use hyper::upgrade::OnUpgrade;
use serde_json::Value;

use super::catalogue::Catalogue;
use super::respond;
use crate::aggregation::Aggregator;
use crate::components::{self, Components};
use crate::flow_control::FlowControl;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::node_proxy::{NodeProxy, Passed};
use crate::registry::negotiate::check_routed;
use crate::request::{RequestBody, RequestContext, RequestInfo, ResourceHandler, ResponseBody};
use crate::resource_metrics::{self, ResourceMetrics};
use crate::reviews::{Review, Reviews};
use crate::tokens::{JWKS_PATH, OPENID_CONFIGURATION_PATH, TokenRequests};
use crate::version;
use crate::webhook::Webhooks;
use crate::zpages::{FLAGS_PATH, Pages, STATUS_PATH};

/// A request on its way to whoever answers it.
pub(crate) struct Incoming {
    pub(crate) context: RequestContext,
    pub(crate) body: RequestBody,
    /// How the connection can be taken over, where the client asked for that.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// Everybody who answers.
pub(crate) struct Router {
    pub(crate) resources: Arc<dyn ResourceHandler>,
    pub(crate) catalogue: Catalogue,
    pub(crate) health: Health,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reviews: Reviews,
    pub(crate) tokens: TokenRequests,
    pub(crate) node_proxy: NodeProxy,
    pub(crate) resource_metrics: ResourceMetrics,
    pub(crate) components: Components,
    pub(crate) pages: Pages,
    pub(crate) webhooks: Arc<Webhooks>,
    pub(crate) aggregator: Arc<Aggregator>,
    pub(crate) flow_control: Option<Arc<FlowControl>>,
    pub(crate) openid_configuration: Value,
    pub(crate) jwks: Value,
}

type Answer = Result<Response<ResponseBody>, ApiError>;

impl Router {
    pub(crate) async fn answer(&self, incoming: Incoming) -> Answer {
        if let Some(remote) = self.aggregator.remote(&incoming.context.info) {
            return self.aggregator.pass(&remote, incoming).await;
        }
        if incoming.context.info.is_resource_request {
            self.resource(incoming).await
        } else {
            self.path(incoming).await
        }
    }

    /// Whether what is asked for is a resource that is stored here, so that its names are none that somebody invented.
    pub(crate) fn serves(&self, info: &RequestInfo) -> bool {
        let stored = self.resources.stored_size(&info.api_group, &info.resource);
        stored.is_some()
    }

    async fn resource(&self, mut incoming: Incoming) -> Answer {
        let info = &incoming.context.info;
        // Whoever looks for what is asked goes by the path as it is; who judges it passes over slashes that are too many.
        if !info.path.starts_with(&format!("/{}/", info.api_prefix)) {
            return Ok(respond::page_not_found());
        }
        if is_misplaced(info) {
            return Err(ApiError::generic(404, ""));
        }
        // Upstream has no routes for HEAD, save those that are passed on.
        if incoming.context.method == Method::HEAD && info.subresource != "proxy" {
            return Err(ApiError::generic(405, ""));
        }
        if let Some(why) = path_segment_fault(&info.name).filter(|_| info.subresource != "proxy") {
            return Err(ApiError::bad_request(format!(
                "Name parameter invalid: {}: {why}",
                quote(&info.name)
            )));
        }
        if let Some(review) = Review::of(info) {
            return self
                .reviews
                .answer(review, &incoming.context, incoming.body)
                .await;
        }
        let (group, resource, subresource) = (
            info.api_group.as_str(),
            info.resource.as_str(),
            info.subresource.as_str(),
        );
        if let Some(passed) = Passed::of(group, resource, subresource) {
            // Logs are read; everything else that is passed on is a connection.
            if passed != Passed::Log {
                self.webhooks.connect(&mut incoming.context).await?;
            }
            return self.node_proxy.answer(passed, incoming).await;
        }
        if self.serves_figures(info) {
            return self
                .resource_metrics
                .answer(&self.node_proxy, &incoming.context)
                .await;
        }
        if !self.resources.serves_custom(info) && !self.catalogue.has_group(group) {
            return Ok(respond::page_not_found());
        }
        match (group, resource, subresource) {
            ("", components::RESOURCE, _) => self.components.answer(&incoming.context).await,
            ("", "serviceaccounts", "token") => self.tokens.answer(&incoming.context, incoming.body).await,
            _ => self.resources.serve(incoming.context, incoming.body).await,
        }
    }

    /// Whether a request is for figures of usage that this server has itself: no definition and no other server has them.
    fn serves_figures(&self, info: &RequestInfo) -> bool {
        let (group, version) = (resource_metrics::GROUP, resource_metrics::VERSION);
        info.api_group == group
            && info.api_version == version
            && !self.resources.serves_custom(info)
            && self.aggregator.is_local(group, version)
    }

    async fn path(&self, incoming: Incoming) -> Answer {
        let context = incoming.context;
        match context.info.path.as_str() {
            "/version" | "/version/" => read_only(&context, "application/json", || {
                Ok(respond::indented(200, &version::document()))
            }),
            "/metrics" => Ok(metrics(self.metrics.text())),
            SLIS_PATH if context.method == Method::DELETE => {
                self.health.slis().reset();
                let text_plain = HeaderValue::from_static("text/plain; charset=utf-8");
                Ok(respond::bytes(200, text_plain, "metrics reset\n"))
            }
            SLIS_PATH => Ok(metrics(self.health.slis().text())),
            OPENID_CONFIGURATION_PATH => read_only(&context, "application/json", || {
                Ok(kept(&self.openid_configuration, "application/json"))
            }),
            JWKS_PATH => read_only(&context, "application/jwk-set+json", || {
                Ok(kept(&self.jwks, "application/jwk-set+json"))
            }),
            "/" | "/index.html" => Ok(respond::indented(200, &self.root())),
            FLAGS_PATH => self.pages.flags(&context),
            STATUS_PATH => {
                let root = self.root();
                let paths: Vec<&str> = root.items("paths").iter().filter_map(Value::as_str).collect();
                self.pages.status(&context, &paths)
            }
            path => {
                let dumped = self.flow_control.as_ref();
                if let Some(dump) = dumped.and_then(|flow_control| flow_control.dump(path, &context.query)) {
                    return Ok(respond::text(200, &dump));
                }
                if let Some(response) = self.health.answer(path, &context.query).await {
                    return Ok(response);
                }
                let found = self.catalogue.answer(&context).await?;
                // Upstream's handler of the older documents does not look at the method.
                let any_method = path == "/openapi/v2";
                if found.is_some() && !any_method && !matches!(context.method, Method::GET | Method::HEAD) {
                    return Err(ApiError::generic(405, ""));
                }
                Ok(found.unwrap_or_else(respond::page_not_found))
            }
        }
    }

    fn root(&self) -> Value {
        let fixed = [
            OPENID_CONFIGURATION_PATH,
            JWKS_PATH,
            FLAGS_PATH,
            "/metrics",
            SLIS_PATH,
            STATUS_PATH,
            "/version",
        ]
        .map(str::to_owned);
        self.catalogue.paths(fixed.into_iter().chain(self.health.paths()))
    }
}

/// Where it is told how health checks came out.
const SLIS_PATH: &str = "/metrics/slis";

fn metrics(text: Vec<u8>) -> Response<ResponseBody> {
    respond::bytes(200, HeaderValue::from_static(Metrics::MEDIA_TYPE), text)
}

/// For how long what others verify tokens with may be kept.
const KEPT: HeaderValue = HeaderValue::from_static("public, max-age=3600");

/// A document that everybody may keep for a while.
fn kept(document: &Value, media_type: &'static str) -> Response<ResponseBody> {
    let media_type = HeaderValue::from_static(media_type);
    let mut response = respond::bytes(200, media_type, document.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, KEPT);
    response
}

/// Whether what belongs to the whole cluster is asked for below a namespace, where it was authorized by rights in that
/// namespace (CVE-2019-11247). A namespace itself stands below its own name. Custom resources are looked at by who serves them.
fn is_misplaced(info: &RequestInfo) -> bool {
    let resource = resources::find(&info.api_group, &info.api_version, &info.resource);
    let is_namespace =
        info.api_group.is_empty() && info.resource == "namespaces" && info.name == info.namespace;
    let of_cluster = resource.is_some_and(|resource| !resource.namespaced);
    of_cluster && !info.namespace.is_empty() && !is_namespace
}

/// Why a name cannot be part of a path.
fn path_segment_fault(name: &str) -> Option<String> {
    if name == "." || name == ".." {
        return Some(format!("may not be '{name}'"));
    }
    let wrong = ["/", "%"].into_iter().find(|part| name.contains(part));
    wrong.map(|part| format!("may not contain '{part}'"))
}

fn read_only(context: &RequestContext, produced: &'static str, answer: impl FnOnce() -> Answer) -> Answer {
    // Upstream has no routes for HEAD here either.
    if context.method == Method::GET {
        check_routed(&context.headers, produced)?;
        answer()
    } else {
        Err(ApiError::generic(405, ""))
    }
}

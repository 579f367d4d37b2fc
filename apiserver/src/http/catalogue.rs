//! What the server serves, told to clients: discovery, OpenAPI, and the list of paths at `/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use crate::aggregation::{Aggregator, Mark};
use crate::discovery::{Answer, Discovery, Group, built_in};
use crate::openapi::{OpenApi, Others, Wanted};
use crate::registry::negotiate::{is_routed_by, not_routed_to_answer, wants_pretty};
use crate::request::{RequestContext, ResourceHandler, ResponseBody, full_body};
use crate::resource_metrics;

/// Answers about what is served, by this server and by those that it passes requests on to.
pub(crate) struct Catalogue {
    resources: Arc<dyn ResourceHandler>,
    aggregator: Option<Arc<Aggregator>>,
    /// The groups of which anything is built in.
    built_in: Vec<Group>,
    published: ArcSwap<Published>,
    /// The documents, and the generation of custom resources that they are about.
    openapi: ArcSwap<(u64, Arc<OpenApi>)>,
}

/// What discovery tells, and what it was made of.
struct Published {
    /// Of custom resources.
    generation: u64,
    /// Of what other servers serve.
    made_of: Option<Mark>,
    discovery: Discovery,
}

impl Catalogue {
    /// About the built-in resources, and those that the handler brings, at a server with this address (`127.0.0.1:6443`).
    pub(crate) fn new(server_address: &str, resources: Arc<dyn ResourceHandler>) -> Self {
        let built_in = built_in();
        let published = Published {
            generation: 0,
            made_of: None,
            discovery: Discovery::new(built_in.clone(), server_address),
        };
        Self {
            resources,
            aggregator: None,
            built_in,
            published: ArcSwap::from_pointee(published),
            openapi: ArcSwap::default(),
        }
    }

    /// About what other servers serve, too.
    pub(crate) fn with(self, aggregator: Arc<Aggregator>) -> Self {
        Self {
            aggregator: Some(aggregator),
            ..self
        }
    }

    /// Whether anything of an API group is built in, or served by other servers; core has an empty name. What is said of a
    /// group of nothing but custom resources depends on the resource.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        let of_others = || {
            self.aggregator
                .as_ref()
                .is_some_and(|others| others.has_group(group))
        };
        let is_built_in = self.built_in.iter().any(|own| own.name == group);
        is_built_in || of_others() && !self.resources.has_custom_group(group)
    }

    /// What is told now: looked at anew by the first who asks after custom resources, or what other servers serve, have changed. Of
    /// groups that have not, what was made before is kept.
    fn published(&self) -> Arc<Published> {
        let (current, generation) = (self.published.load_full(), self.resources.generation());
        let mark = self.aggregator.as_ref().map(|aggregator| aggregator.mark());
        if current.generation == generation && same(current.made_of.as_ref(), mark.as_ref()) {
            return current;
        }
        let mut groups = with_customs(self.built_in.clone(), self.resources.custom_groups());
        if let Some(aggregator) = &self.aggregator {
            let figures = resource_metrics::group();
            let defined = groups.iter().any(|group| group.name == figures.name);
            if !defined && aggregator.is_local(resource_metrics::GROUP, resource_metrics::VERSION) {
                groups.push(figures);
            }
            groups = aggregator.groups(&groups);
        }
        let fresh = Arc::new(Published {
            generation,
            made_of: mark,
            discovery: current.discovery.with(groups),
        });
        self.published.store(fresh.clone());
        fresh
    }

    /// The documents of now: what they are about is looked at anew by the first who asks for one after a change.
    fn described(&self) -> Arc<OpenApi> {
        let (current, generation) = (self.openapi.load_full(), self.resources.generation());
        if current.0 == generation {
            return Arc::clone(&current.1);
        }
        let fresh = Arc::new(current.1.with(self.resources.custom_resources()));
        self.openapi.store(Arc::new((generation, Arc::clone(&fresh))));
        fresh
    }

    /// The answer at a path, where it is about what is served.
    pub(crate) async fn answer(
        &self,
        context: &RequestContext,
    ) -> Result<Option<Response<ResponseBody>>, ApiError> {
        let path = context.info.path.as_str();
        if path.starts_with("/openapi/") {
            return self.openapi(context).await;
        }
        let text = |name| text(&context.headers, name);
        let if_none_match = text(header::IF_NONE_MATCH);
        let published = self.published();
        if let Some(answer) = published.discovery.respond(
            path,
            &text(header::ACCEPT).unwrap_or_default(),
            if_none_match.as_deref(),
        ) {
            if answer.status == StatusCode::NOT_ACCEPTABLE && !is_routed_by(&context.headers) {
                return Err(not_routed_to_answer());
            }
            let pretty = wants_pretty(&context.headers, context.query("pretty"));
            return Ok(Some(response(if pretty { indented(answer) } else { answer })));
        }
        match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
            // A version that is not served, of a group that is: upstream's own router answers, and with a Status.
            ["apis", group, _] if self.has_group(group) => Err(ApiError::generic(404, "")),
            ["api", _] => Err(ApiError::generic(404, "")),
            _ => Ok(None),
        }
    }

    /// The documents are big and made when first asked for: not on a thread that others wait for.
    async fn openapi(&self, context: &RequestContext) -> Result<Option<Response<ResponseBody>>, ApiError> {
        let openapi = self.described();
        let figures_defined = self.resources.has_custom_group(resource_metrics::GROUP);
        let others = self.aggregator.as_ref().map(|aggregator| Others {
            figures: !figures_defined
                && aggregator.is_local(resource_metrics::GROUP, resource_metrics::VERSION),
            ..aggregator.schemas()
        });
        let (path, headers) = (context.info.path.clone(), context.headers.clone());
        let hash = context
            .query("hash")
            .map(|hash| format!("hash={hash}"))
            .unwrap_or_default();
        let made = tokio::task::spawn_blocking(move || {
            let accept = text(&headers, header::ACCEPT).unwrap_or_default();
            let accept_encoding = text(&headers, header::ACCEPT_ENCODING).unwrap_or_default();
            let if_none_match = text(&headers, header::IF_NONE_MATCH);
            let wanted = Wanted {
                accept: &accept,
                accept_encoding: &accept_encoding,
                if_none_match: if_none_match.as_deref(),
            };
            openapi.respond_along(&path, &hash, wanted, &others.unwrap_or_default())
        });
        Ok(made.await.map_err(ApiError::internal)?.map(response))
    }

    /// The document at `/`: every path that is served, sorted.
    pub(crate) fn paths(&self, others: impl Iterator<Item = String>) -> Value {
        let mut paths: BTreeSet<String> = others.collect();
        paths.extend(
            [
                "/api",
                "/apis",
                "/apis/",
                "/openapi/v2",
                "/openapi/v3",
                "/openapi/v3/",
            ]
            .map(str::to_owned),
        );
        for version in self.published().discovery.group_versions() {
            match group_of(&version) {
                "" => paths.extend([format!("/api/{version}")]),
                group => paths.extend([format!("/apis/{group}"), format!("/apis/{version}")]),
            }
        }
        json!({"paths": paths})
    }
}

/// The groups with those of custom resources. Of a group that is built in, versions may be defined that are not.
fn with_customs(mut groups: Vec<Group>, customs: Vec<Group>) -> Vec<Group> {
    for custom in customs {
        match groups.iter_mut().find(|group| group.name == custom.name) {
            None => groups.push(custom),
            Some(group) => {
                let known: BTreeSet<String> = group.versions.iter().map(|v| v.version.to_string()).collect();
                let new = custom.versions.into_iter();
                group
                    .versions
                    .extend(new.filter(|version| !known.contains(&*version.version)));
            }
        }
    }
    groups
}

fn same(one: Option<&Mark>, other: Option<&Mark>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(&one.0, &other.0) && Arc::ptr_eq(&one.1, &other.1),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn group_of(group_version: &str) -> &str {
    group_version.split_once('/').map_or("", |(group, _)| group)
}

/// All values of a header as one.
fn text(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The same for a person's eyes, where it is a document in plain JSON.
fn indented(mut answer: Answer) -> Answer {
    let is_json =
        answer.headers.get(header::CONTENT_TYPE) == Some(&HeaderValue::from_static("application/json"));
    if let Some(value) = is_json
        .then(|| serde_json::from_slice::<Value>(&answer.body).ok())
        .flatten()
    {
        answer.body = format!("{value:#}").into();
    }
    answer
}

fn response(answer: Answer) -> Response<ResponseBody> {
    let mut response = Response::new(full_body(answer.body));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    response
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http_body_util::BodyExt;

    use super::*;
    use crate::http::request_info::parse;
    use crate::request::{RequestBody, UserInfo};

    /// Has no resources of its own.
    struct Nothing;

    #[async_trait::async_trait]
    impl ResourceHandler for Nothing {
        async fn serve(
            &self,
            _context: RequestContext,
            _body: RequestBody,
        ) -> Result<Response<ResponseBody>, ApiError> {
            Err(ApiError::generic(404, ""))
        }
    }

    async fn get(path: &str) -> (u16, Value) {
        let context = RequestContext {
            info: parse(&Method::GET, path, &[]).unwrap(),
            user: UserInfo::default(),
            method: Method::GET,
            query: Vec::new(),
            headers: HeaderMap::new(),
            warnings: Default::default(),
        };
        match Catalogue::new("127.0.0.1:6443", Arc::new(Nothing))
            .answer(&context)
            .await
        {
            Ok(Some(response)) => {
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                (status, serde_json::from_slice(&body).unwrap())
            }
            Ok(None) => (0, Value::Null),
            Err(error) => (error.code(), error.to_status()),
        }
    }

    #[tokio::test]
    async fn groups_versions_and_schemas_are_told() {
        assert_eq!(get("/api").await.1["kind"], "APIVersions");
        assert_eq!(get("/apis/apps").await.1["kind"], "APIGroup");
        assert_eq!(get("/apis/apps/v1").await.1["groupVersion"], "apps/v1");
        assert_eq!(get("/openapi/v3").await.0, 200);
        assert_eq!(
            get("/apis/apps/v9").await,
            (404, ApiError::generic(404, "").to_status())
        );
        assert_eq!(get("/apis/none.example.com").await.0, 0);
    }

    #[test]
    fn the_root_lists_every_path() {
        let paths = Catalogue::new("", Arc::new(Nothing)).paths(["/version".to_owned()].into_iter());
        let paths: Vec<_> = paths["paths"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        for want in [
            "/api/v1",
            "/apis/apps/v1",
            "/apis/rbac.authorization.k8s.io",
            "/openapi/v2",
            "/version",
        ] {
            assert!(paths.contains(&want), "{want} is not in {paths:?}");
        }
        assert!(paths.is_sorted());
    }
}

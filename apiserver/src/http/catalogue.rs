//! What the server serves, told to clients: discovery, OpenAPI, and the list of paths at `/`.

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use coracle_api::status::ApiError;
use http::{HeaderMap, HeaderName, Response, header};
use serde_json::{Value, json};

use crate::discovery::{Answer, Discovery, built_in};
use crate::openapi::{OpenApi, Wanted};
use crate::request::{RequestContext, ResourceHandler, ResponseBody, full_body};

/// Answers about what is served.
pub(crate) struct Catalogue {
    server_address: String,
    resources: Arc<dyn ResourceHandler>,
    told: ArcSwap<Told>,
    /// What is built in.
    groups: BTreeSet<String>,
}

/// The documents as of one generation of custom resources.
struct Told {
    generation: u64,
    discovery: Discovery,
    openapi: Arc<OpenApi>,
}

impl Catalogue {
    /// About the built-in resources, and those that the handler brings, at a server with this address (`127.0.0.1:6443`).
    pub(crate) fn new(server_address: &str, resources: Arc<dyn ResourceHandler>) -> Self {
        let built_in = built_in();
        let groups = built_in.iter().map(|group| group.name.to_string()).collect();
        let told = Told {
            generation: 0,
            discovery: Discovery::new(built_in, server_address),
            openapi: Arc::default(),
        };
        Self {
            server_address: server_address.to_owned(),
            resources,
            told: ArcSwap::from_pointee(told),
            groups,
        }
    }

    /// The documents about what is served now.
    fn told(&self) -> Arc<Told> {
        let (told, generation) = (self.told.load_full(), self.resources.generation());
        if told.generation == generation {
            return told;
        }
        let mut groups = built_in();
        for custom in self.resources.custom_groups() {
            // Of a group that is built in, versions may be defined that are not.
            match groups.iter_mut().find(|group| group.name == custom.name) {
                None => groups.push(custom),
                Some(group) => {
                    let known: BTreeSet<String> =
                        group.versions.iter().map(|v| v.version.to_string()).collect();
                    let new = custom.versions.into_iter();
                    group
                        .versions
                        .extend(new.filter(|version| !known.contains(&*version.version)));
                }
            }
        }
        let fresh = Arc::new(Told {
            generation,
            discovery: Discovery::new(groups, &self.server_address),
            openapi: Arc::new(told.openapi.with(self.resources.custom_resources())),
        });
        self.told.store(fresh.clone());
        fresh
    }

    /// Whether anything of an API group is built in; core has an empty name.
    pub(crate) fn has_group(&self, group: &str) -> bool {
        self.groups.contains(group)
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
        if let Some(answer) = self.told().discovery.respond(
            path,
            &text(header::ACCEPT).unwrap_or_default(),
            if_none_match.as_deref(),
        ) {
            return Ok(Some(response(answer)));
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
        let openapi = self.told().openapi.clone();
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
            openapi.respond(&path, &hash, wanted)
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
        for version in self.told().discovery.group_versions() {
            match group_of(&version) {
                "" => paths.extend([format!("/api/{version}")]),
                group => paths.extend([format!("/apis/{group}"), format!("/apis/{version}")]),
            }
        }
        json!({"paths": paths})
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

//! The registry: every stored resource, served by one implementation that the tables of types and resources drive.
//!
//! A request comes in through [`Registry::serve`] after its sender is known and allowed to ask. Reads are answered from
//! the watch cache. Writes are decoded, admitted, checked and committed with the revision they were made from, and
//! answered once the cache shows them; so whoever was answered sees the write, and so does everybody who asks later.

mod admit;
mod body;
mod configuration;
mod continuation;
mod conversion;
mod create;
mod custom;
mod definitions;
mod delete;
mod deletion;
mod device_claims;
mod encode;
mod ensure;
mod expiry;
mod fields;
mod frames;
mod list;
mod meta;
pub(crate) mod negotiate;
mod options;
mod ownership;
mod patch;
mod pieces;
mod pretty;
mod quota;
mod raw_parts;
mod read;
mod requester;
mod respond;
mod rules;
mod select;
mod served;
pub mod services;
mod shapes;
mod subresource;
mod update;
mod versions;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_api::warnings;
use coracle_store::{ReadError, Store};
use futures::future::BoxFuture;
use http::Response;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::admission::{Chain, Cluster};
use crate::authz::Authorizer;
use crate::cache::{Cache, LoadError};
use crate::discovery::Group;
use crate::encryption::{EncryptedStore, Encryption};
use crate::openapi::CustomResource;
use crate::reader::{CacheReader, ObjectReader};
use crate::request::{RequestBody, RequestContext, RequestInfo, ResourceHandler, ResponseBody, StoredSize};
use crate::webhook::Webhooks;
pub(crate) use encode::shown;
pub(crate) use negotiate::check_acceptable;
pub(crate) use ownership::track_answered;
pub(crate) use rules::without_foreign_annotations;
pub(crate) use served::{Catalog, Served};
use services::{ServiceConfig, Services};

/// What the registry must be told.
#[derive(Clone, Default)]
pub struct Config {
    /// Cluster addresses and node ports.
    pub services: ServiceConfig,
    /// The admission plugins that run.
    pub(crate) admission: Arc<Chain>,
    /// How values are encrypted before they are stored.
    pub(crate) encryption: Option<Arc<Encryption>>,
}

/// Why the registry did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is stored could not be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Serves every stored resource.
pub struct Registry {
    cache: Arc<Cache>,
    catalog: Arc<Catalog>,
    reader: Arc<CacheReader>,
    services: Services,
    plugins: Arc<Chain>,
    /// What stands between the cache and the store, where values are encrypted.
    encrypted: Option<Arc<EncryptedStore>>,
    webhooks: Arc<Webhooks>,
    cancel: CancellationToken,
    /// The revision up to which changes of custom resource definitions have taken effect.
    settled: tokio::sync::watch::Sender<u64>,
    /// Says whether a role or binding grants more than its writer holds. Set once, before anybody asks.
    grants: OnceLock<Arc<Authorizer>>,
    /// Ends with the registry, after everything that waits for the cache.
    _following: DropGuard,
}

impl Registry {
    /// Reads what is stored and begins to follow the store, which ends when the registry is dropped. Watches end with
    /// `cancel`.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub async fn start(
        store: Arc<dyn Store>,
        config: Config,
        cancel: CancellationToken,
    ) -> Result<Arc<Self>, StartError> {
        let encrypted = config.encryption.as_ref();
        let encrypted =
            encrypted.map(|encryption| Arc::new(EncryptedStore::new(store.clone(), encryption.clone())));
        let store = encrypted
            .clone()
            .map_or(store, |encrypted| encrypted as Arc<dyn Store>);
        let cache = Cache::start(store, served::stored_kinds()).await?;
        let following = CancellationToken::new();
        if let Some(encryption) = &config.encryption {
            let again = Arc::clone(&cache).read_again(encryption.generation(), following.clone());
            TaskTracker::new().spawn(again);
        }
        TaskTracker::new().spawn(Arc::clone(&cache).follow(following.clone()));
        let catalog = Arc::new(Catalog::new(&cache));
        let reader = Arc::new(CacheReader::new(Arc::clone(&catalog)));
        let services = Services::new(&config.services, &catalog, &*reader);
        let plugins = config.admission;
        let webhooks = Webhooks::with(Arc::clone(&reader) as _, Arc::clone(&plugins));
        let webhooks = Arc::new(webhooks);
        let registry = Arc::new(Self {
            cache,
            catalog,
            reader,
            services,
            plugins,
            encrypted,
            webhooks,
            cancel,
            settled: tokio::sync::watch::Sender::new(0),
            grants: OnceLock::new(),
            _following: following.clone().drop_guard(),
        });
        let definitions = definitions::Follower::start(&registry).await?;
        let changes = registry.definitions().cache.changes();
        TaskTracker::new().spawn(definitions.follow(changes, following));
        Ok(registry)
    }

    /// Has roles and bindings looked at before they are stored, and answers what admission's expressions ask about users.
    pub(crate) fn guard_grants(&self, authorizer: Arc<Authorizer>) {
        self.webhooks.answer_with(Arc::clone(&authorizer));
        // Only the first guard counts: there is one authorizer in a server.
        let _ = self.grants.set(authorizer);
    }

    /// What admission plugins may look at.
    fn cluster(&self) -> Cluster<'_> {
        Cluster::new(&*self.reader, self.grants.get().map(AsRef::as_ref))
    }

    async fn check_grant(
        &self,
        ctx: &RequestContext,
        served: &Served,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        match self.grants.get() {
            Some(grants) if served.resource.group == "rbac.authorization.k8s.io" => {
                grants
                    .check_grant(&ctx.user, served.resource.resource, object, old)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// The webhooks that are asked about writes.
    pub(crate) fn webhooks(&self) -> Arc<Webhooks> {
        Arc::clone(&self.webhooks)
    }

    /// Reads current objects, for authentication, authorization and admission.
    pub fn reader(&self) -> Arc<dyn ObjectReader> {
        Arc::clone(&self.reader) as Arc<dyn ObjectReader>
    }

    /// Answers a request for a stored resource, or for the part of one that the registry itself serves.
    ///
    /// # Errors
    /// Every failure, as the status that goes to the client.
    pub async fn serve(
        &self,
        ctx: RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let info = &ctx.info;
        if info.resource == "bindings" && info.api_group.is_empty() {
            return self.bind_by_body(&ctx, body).await;
        }
        let found = self
            .catalog
            .find(&info.api_group, &info.api_version, &info.resource);
        let served = found.filter(|served| served.is_served());
        let served = served.ok_or_else(|| ApiError::generic(404, ""))?;
        self.warn_of_deprecation(&ctx, &served);
        let answer = self.serve_version(&ctx, &served, body).await?;
        if served.is("apiextensions.k8s.io", "customresourcedefinitions")
            && !matches!(info.verb.as_str(), "get" | "list" | "watch")
        {
            self.definitions_settled().await;
        }
        Ok(answer)
    }

    /// Whatever comes of a request, its sender is told, unless no handler sees it at all.
    fn warn_of_deprecation(&self, ctx: &RequestContext, served: &Served) {
        let warning = match &served.custom {
            None => warnings::deprecated(served.resource.gvk()).filter(|_| is_handled(ctx, served)),
            Some(custom) => custom.version.warning.clone(),
        };
        if let Some(warning) = warning {
            ctx.warnings.add(&warning);
            ctx.warnings.audit().annotate("k8s.io/deprecated", "true");
        }
    }

    async fn serve_version(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let info = &ctx.info;
        if !info.subresource.is_empty() {
            return self.serve_subresource(ctx, served, body).await;
        }
        let item = info.parts.len() > 1;
        if !served.resource.has_verb(&info.verb) {
            return Err(not_allowed(served, &info.verb));
        }
        match (info.verb.as_str(), item) {
            ("get", true) => self.get(ctx, served).await,
            ("list", false) => self.list(ctx, served).await,
            ("watch", _) => self.watch(ctx, served).await,
            // Whoever posts to an object's own address makes what the body names, if it is a custom resource.
            ("create", item) if !item || served.custom.is_some() => {
                self.create(ctx, served, read(body).await?).await
            }
            ("update", true) => self.update(ctx, served, read(body).await?).await,
            ("patch", true) => self.patch(ctx, served, read(body).await?).await,
            ("delete", true) => self.delete(ctx, served, read(body).await?).await,
            ("deletecollection", false) => self.delete_collection(ctx, served, read(body).await?).await,
            _ => Err(not_allowed(served, &info.verb)),
        }
    }

    /// Now. The registry's only clock.
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn new_uid(&self) -> String {
        Uuid::new_v4().to_string()
    }

    /// Something random.
    fn chance(&self) -> u64 {
        Uuid::new_v4().as_u64_pair().1 & (u64::MAX >> 2)
    }

    fn chance_bytes<const N: usize>(&self) -> [u8; N] {
        let random = Uuid::new_v4().into_bytes();
        // The bytes of a random uuid that are not random (its version and variant) stand at 6 and 8.
        std::array::from_fn(|i| random[i])
    }
}

#[async_trait]
impl ResourceHandler for Registry {
    async fn serve(
        &self,
        context: RequestContext,
        body: RequestBody,
    ) -> Result<Response<ResponseBody>, ApiError> {
        Registry::serve(self, context, body).await
    }

    fn generation(&self) -> u64 {
        self.catalog.customs().generation
    }

    fn custom_groups(&self) -> Vec<Group> {
        self.catalog.customs().groups()
    }

    fn has_custom_group(&self, group: &str) -> bool {
        self.catalog.customs().has_group(group)
    }

    fn custom_resources(&self) -> Vec<CustomResource> {
        self.catalog.customs().described()
    }

    fn stored_size(&self, group: &str, resource: &str) -> Option<StoredSize> {
        let (objects, bytes) = self.catalog.stored(group, resource)?.cache.size();
        Some(StoredSize { objects, bytes })
    }

    fn serves_custom(&self, info: &RequestInfo) -> bool {
        let customs = self.catalog.customs();
        let served = customs.served(&info.api_group, &info.api_version, &info.resource);
        let everywhere = matches!(info.verb.as_str(), "list" | "watch");
        served.is_some_and(
            |served| match (served.resource.namespaced, info.namespace.is_empty()) {
                (true, true) => everywhere,
                (false, false) => false,
                _ => true,
            },
        )
    }
}

/// Whether upstream's REST framework has a route for a request for a built-in resource, by what is done, in what form it is sent and
/// in what form it is to be answered.
fn is_handled(ctx: &RequestContext, served: &Served) -> bool {
    let (verb, subresource) = (ctx.info.verb.as_str(), ctx.info.subresource.as_str());
    let of_item = matches!(verb, "get" | "update" | "patch" | "delete");
    let is_item = ctx.info.parts.len() > 1;
    let does = match subresource {
        "" => served.resource.has_verb(verb) && (of_item == is_item || verb == "watch"),
        name => served
            .subresource(name)
            .is_some_and(|part| part.verbs.contains(&verb)),
    };
    does && negotiate::is_routed_by(&ctx.headers) && (verb != "patch" || patch::is_known_type(ctx))
}

/// The status for what cannot be done with a resource at all.
fn not_allowed(served: &Served, verb: &str) -> ApiError {
    match served.custom {
        None => ApiError::generic(405, ""),
        Some(_) => ApiError::method_not_supported(served.resource.group, served.resource.resource, verb),
    }
}

/// Reads a body. Boxed, because the compiler cannot see that a boxed error inside the future is `'static`.
fn read(body: RequestBody) -> BoxFuture<'static, Result<Bytes, ApiError>> {
    Box::pin(async move { Ok(body.read().await?) })
}

/// The status for a store that did not answer a read.
fn read_error(error: &ReadError) -> ApiError {
    tracing::error!(%error, "the store did not answer a read");
    ApiError::internal(error)
}

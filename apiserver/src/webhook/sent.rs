//! Objects that are created and not kept: reviews, tokens, bindings, evictions. Webhooks see them as they were sent.

use async_trait::async_trait;
use coracle_api::codec::conform::conform;
use coracle_api::defaults;
use coracle_api::object::Fields;
use coracle_api::resources;
use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Asked, Rounds, Shapes, Version, Webhooks};
use crate::admission::{Attributes, Operation};
use crate::request::RequestContext;

/// Objects that have one version.
pub(crate) struct AsSent;

#[async_trait]
impl Shapes for AsSent {
    async fn shown(&self, object: &Value, _: &Version) -> Result<Value, ApiError> {
        Ok(object.clone())
    }

    async fn taken(&self, _: &Value, mut shown: Value, version: &Version) -> Result<Value, ApiError> {
        let ty = table::by_gvk(&version.kind_group, &version.kind_version, &version.kind)
            .ok_or_else(|| ApiError::internal(format!("{} is no known kind", version.kind)))?;
        conform(&mut shown, ty).map_err(ApiError::internal)?;
        if let Some(kind) = ty.gvk {
            defaults::apply(kind, &mut shown);
        }
        Ok(shown)
    }
}

impl Webhooks {
    /// Asks about an object of a kind that a request creates at the resource, or the part of one, that it names.
    ///
    /// # Errors
    /// A refusal, or the failure of a webhook that must not fail.
    pub(crate) async fn create(
        &self,
        context: &RequestContext,
        kind: Gvk,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        let info = &context.info;
        let own_name = object["metadata"].text("name").to_owned();
        let name = if info.name.is_empty() {
            &own_name
        } else {
            &info.name
        };
        let dry_run = context.query("dryRun").is_some();
        let write = resources::find(&info.api_group, &info.api_version, &info.resource);
        let write = write.map(|resource| Attributes {
            operation: Operation::Create,
            resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name,
            generate_name: "",
            chance: 0,
            user: &context.user,
            warnings: &context.warnings,
            dry_run,
            now: Timestamp::now(),
        });
        if self.is_idle(kind.group, kind.kind) {
            return self.ask_plugins(write.as_ref(), object).await;
        }
        let asked = Asked {
            operation: Operation::Create,
            versions: vec![Version {
                group: info.api_group.clone(),
                version: info.api_version.clone(),
                resource: info.resource.clone(),
                kind_group: kind.group.to_owned(),
                kind_version: kind.version.to_owned(),
                kind: kind.kind.to_owned(),
            }],
            subresource: &info.subresource,
            namespace: &info.namespace,
            name,
            dry_run,
            options: query_options(context, "CreateOptions"),
            user: &context.user,
            warnings: &context.warnings,
        };
        self.settle(&asked, &AsSent, object, write.as_ref()).await
    }

    /// Asks the plugins alone.
    async fn ask_plugins(&self, write: Option<&Attributes<'_>>, object: &mut Value) -> Result<(), ApiError> {
        self.change_by_plugins(write, object).await?;
        self.check_by_plugins(write, object).await
    }

    async fn change_by_plugins(
        &self,
        write: Option<&Attributes<'_>>,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        match write.filter(|write| write.operation == Operation::Create) {
            Some(write) => self.plugins.mutate(write, object, None, self.cluster()).await,
            None => Ok(()),
        }
    }

    /// Asks the plugins that only refuse.
    pub(super) async fn check_by_plugins(
        &self,
        write: Option<&Attributes<'_>>,
        object: &Value,
    ) -> Result<(), ApiError> {
        match write {
            Some(write) => {
                self.plugins
                    .validate(write, Some(object), None, self.cluster())
                    .await
            }
            None => Ok(()),
        }
    }

    /// Asks everybody about an object that is not stored: the plugins in the tree, where they are told what is written, and
    /// whatever is configured.
    ///
    /// # Errors
    /// A refusal, or the failure of a webhook that must not fail.
    pub(super) async fn settle(
        &self,
        asked: &Asked<'_>,
        shapes: &dyn Shapes,
        object: &mut Value,
        write: Option<&Attributes<'_>>,
    ) -> Result<(), ApiError> {
        let mut rounds = Rounds::default();
        self.change_by_plugins(write, object).await?;
        self.mutate(asked, shapes, Some(object), None, &mut rounds)
            .await?;
        if rounds.is_due() {
            self.change_by_plugins(write, object).await?;
            rounds.begin_again(object);
            self.mutate(asked, shapes, Some(object), None, &mut rounds)
                .await?;
        }
        self.check_by_plugins(write, object).await?;
        self.validate(asked, shapes, Some(object), None).await
    }
}

/// `CreateOptions` or `UpdateOptions`, as the query has them.
pub(crate) fn query_options(context: &RequestContext, kind: &str) -> Value {
    let mut options = options_head(kind);
    let dry_run: Vec<&str> = context
        .query
        .iter()
        .filter(|(name, _)| name == "dryRun")
        .map(|(_, value)| value.as_str())
        .collect();
    if !dry_run.is_empty() {
        options.insert("dryRun".to_owned(), json!(dry_run));
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(value) = context.query(field).filter(|value| !value.is_empty()) {
            options.insert(field.to_owned(), json!(value));
        }
    }
    Value::Object(options)
}

/// Options of a kind in which nothing is said.
pub(crate) fn options_head(kind: &str) -> Map<String, Value> {
    let fields = [("kind", kind), ("apiVersion", "meta.k8s.io/v1")];
    fields
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .into_iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::reader::GroupResource;
    use crate::reader::memory::MemoryReader;
    use crate::webhook::stand_in::{HookServer, context, denied, patched};

    const TOKEN: Gvk = Gvk {
        group: "authentication.k8s.io",
        version: "v1",
        kind: "TokenRequest",
    };

    #[tokio::test]
    async fn a_token_is_asked_about_before_it_is_made() {
        let server = HookServer::start(|_, request| match request["name"].as_str() {
            Some("bot") => {
                patched(&json!([{"op": "replace", "path": "/spec/expirationSeconds", "value": 600}]))
            }
            _ => denied("only bots"),
        })
        .await;
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["serviceaccounts/token"]});
        let hook = json!({"name": "m.example.com", "rules": [rule], "sideEffects": "None",
            "clientConfig": server.client_config("/"), "admissionReviewVersions": ["v1"],
            "namespaceSelector": {}, "objectSelector": {}});
        let reader = Arc::new(MemoryReader::default());
        let namespaces = GroupResource::new("", "namespaces");
        reader.put(&namespaces, json!({"metadata": {"name": "n"}}));
        let webhooks = Webhooks::new(reader.clone());
        let asked = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {},
            "spec": {"audiences": null, "expirationSeconds": 3600, "boundObjectRef": null}});
        let of = |name: &str| {
            context(&format!(
                "/api/v1/namespaces/n/serviceaccounts/{name}/token?fieldManager=me"
            ))
        };
        let mut token = asked.clone();
        webhooks.create(&of("bot"), TOKEN, &mut token).await.unwrap();
        assert_eq!(token, asked, "nobody is asked where nothing is configured");
        let resource = GroupResource::new(super::super::GROUP, "mutatingwebhookconfigurations");
        reader.put(&resource, json!({"metadata": {"name": "c"}, "webhooks": [hook]}));
        webhooks.create(&of("bot"), TOKEN, &mut token).await.unwrap();
        assert_eq!(token["spec"]["expirationSeconds"], 600);
        let refused = webhooks.create(&of("jane"), TOKEN, &mut token).await.unwrap_err();
        assert_eq!(refused.code(), 403);
        let request = &server.calls()[0].1["request"];
        assert_eq!(
            request["resource"],
            json!({"group": "", "version": "v1", "resource": "serviceaccounts"})
        );
        assert_eq!(
            (request["kind"]["kind"].as_str(), request["subResource"].as_str()),
            (Some("TokenRequest"), Some("token"))
        );
        assert_eq!(request["options"]["fieldManager"], "me");
    }
}

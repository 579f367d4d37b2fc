//! Admission of a write: the plugins in the tree, and then the webhooks, in upstream's order.
//!
//! Mutation goes through everybody a second time where a webhook changed something. What is charged to quotas comes after
//! all of this, when the write is sure to be allowed otherwise.

use coracle_api::codec::raw;
use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::options::DeleteOptions;
use super::served::Served;
use super::shapes::{of_kind, versions};
use super::{Registry, meta, raw_parts};
use crate::admission::{Attributes, Operation};
use crate::request::RequestContext;
use crate::webhook::{Asked, Rounds, Shapes, Webhooks, options_head, query_options};

/// One write on its way through admission.
pub(super) struct Admission<'a> {
    pub(super) ctx: &'a RequestContext,
    pub(super) served: &'a Served,
    pub(super) attributes: Attributes<'a>,
    pub(super) dry_run: bool,
}

/// The options that webhooks are told of.
enum Options<'a> {
    Query(&'static str),
    Delete(&'a DeleteOptions),
}

impl Registry {
    /// Lets everybody change a new or changed object who may.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) async fn admit(
        &self,
        write: &Admission<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        match write.served.raw {
            None => self.admit_opened(write, object, old).await?,
            Some(ty) => {
                let old = old.map(|old| raw::opened(old, ty));
                let texts = raw::open(object, ty);
                self.admit_opened(write, object, old.as_deref()).await?;
                raw_parts::put_back(write.served, texts, object);
            }
        }
        let doubled = meta::single_owners(object, " after mutating admission happens");
        write.ctx.warnings.extend(&doubled);
        Ok(())
    }

    async fn admit_opened(
        &self,
        write: &Admission<'_>,
        object: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        self.plugins
            .mutate(&write.attributes, object, old, self.cluster())
            .await?;
        if write.is_nobodys_business(&self.webhooks) {
            return Ok(());
        }
        let (asked, shapes) = (self.asked(write), self.shapes(write));
        let mut rounds = Rounds::default();
        self.webhooks
            .mutate(&asked, &*shapes, Some(object), old, &mut rounds)
            .await?;
        if rounds.is_due() {
            self.plugins
                .mutate(&write.attributes, object, old, self.cluster())
                .await?;
            rounds.begin_again(object);
            self.webhooks
                .mutate(&asked, &*shapes, Some(object), old, &mut rounds)
                .await?;
        }
        Ok(())
    }

    /// Asks everybody who may refuse the object as it is going to be stored.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) async fn admit_finally(
        &self,
        write: &Admission<'_>,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let object = &*raw_parts::opened(write.served, object);
        let old = old.map(|old| raw_parts::opened(write.served, old));
        let old = old.as_deref();
        self.plugins
            .validate(&write.attributes, Some(object), old, self.cluster())
            .await?;
        if write.is_nobodys_business(&self.webhooks) {
            return Ok(());
        }
        let (asked, shapes) = (self.asked(write), self.shapes(write));
        self.webhooks.validate(&asked, &*shapes, Some(object), old).await
    }

    /// Asks webhooks whether an object may be deleted.
    ///
    /// # Errors
    /// The first refusal.
    pub(super) async fn admit_deletion(
        &self,
        write: &Admission<'_>,
        options: &DeleteOptions,
        old: &Value,
    ) -> Result<(), ApiError> {
        if write.is_nobodys_business(&self.webhooks) {
            return Ok(());
        }
        let old = &*raw_parts::opened(write.served, old);
        let shapes = self.shapes(write);
        let asked = self.asked_with(write, Options::Delete(options));
        self.webhooks
            .mutate(&asked, &*shapes, None, Some(old), &mut Rounds::default())
            .await?;
        self.webhooks.validate(&asked, &*shapes, None, Some(old)).await
    }

    fn asked<'a>(&self, write: &'a Admission<'_>) -> Asked<'a> {
        let options = match write.attributes.operation {
            Operation::Create => "CreateOptions",
            _ => "UpdateOptions",
        };
        self.asked_with(write, Options::Query(options))
    }

    fn asked_with<'a>(&self, write: &'a Admission<'_>, options: Options<'_>) -> Asked<'a> {
        let attributes = &write.attributes;
        let in_itself = write.served.is("", "namespaces");
        Asked {
            operation: attributes.operation,
            versions: versions(&self.catalog, write.served, attributes.subresource),
            subresource: attributes.subresource,
            namespace: if in_itself {
                attributes.name
            } else {
                attributes.namespace
            },
            name: attributes.name,
            dry_run: write.dry_run,
            options: match options {
                Options::Query(kind) => query_options(write.ctx, kind),
                Options::Delete(options) => delete_options(options),
            },
            user: &write.ctx.user,
            warnings: &write.ctx.warnings,
        }
    }

    fn shapes<'a>(&'a self, write: &'a Admission<'_>) -> Box<dyn Shapes + 'a> {
        of_kind(
            &self.webhooks,
            &self.catalog,
            write.served,
            write.attributes.subresource,
        )
    }
}

impl Admission<'_> {
    fn is_nobodys_business(&self, webhooks: &Webhooks) -> bool {
        webhooks.is_idle(self.served.resource.group, self.served.resource.kind)
    }
}

fn delete_options(options: &DeleteOptions) -> Value {
    let mut written = options_head("DeleteOptions");
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            written.insert(name.to_owned(), value);
        }
    };
    let mut preconditions = Map::new();
    for (name, value) in [
        ("uid", &options.uid),
        ("resourceVersion", &options.resource_version),
    ] {
        if let Some(value) = value {
            preconditions.insert(name.to_owned(), json!(value));
        }
    }
    put(
        "gracePeriodSeconds",
        options.grace_period_seconds.map(Value::from),
    );
    put(
        "preconditions",
        (!preconditions.is_empty()).then_some(Value::Object(preconditions)),
    );
    put("orphanDependents", options.orphan_dependents.map(Value::from));
    put(
        "propagationPolicy",
        options.propagation.map(|policy| json!(policy.as_str())),
    );
    put("dryRun", options.dry_run.then(|| json!(["All"])));
    Value::Object(written)
}

//! Objects in the versions that webhooks want to see, and back.

use async_trait::async_trait;
use coracle_api::codec::FieldValidation;
use coracle_api::codec::conform::conform;
use coracle_api::custom::decode;
use coracle_api::status::ApiError;
use serde_json::Value;
use std::sync::Arc;

use super::served::{Catalog, Served};
use super::subresource::scale;
use super::{body, conversion, rules};
use crate::webhook::{AsSent, Shapes, Version, Webhooks};

/// The version that a request names, and then the others in which the same objects are served.
pub(super) fn versions(catalog: &Catalog, served: &Served, subresource: &str) -> Vec<Version> {
    let others = catalog.served_alike(served);
    let all = std::iter::once(served).chain(others.iter().map(AsRef::as_ref));
    all.filter_map(|served| version(served, subresource)).collect()
}

/// A resource, or a part of it, as webhooks name it.
fn version(served: &Served, subresource: &str) -> Option<Version> {
    let resource = &served.resource;
    let kind = match subresource {
        "" => resource.gvk(),
        name => served.subresource(name)?.gvk,
    };
    Some(Version {
        group: resource.group.to_owned(),
        version: resource.version.to_owned(),
        resource: resource.resource.to_owned(),
        kind_group: kind.group.to_owned(),
        kind_version: kind.version.to_owned(),
        kind: kind.kind.to_owned(),
    })
}

/// How the objects of a resource, or of a part of it, are shown.
pub(super) fn of_kind<'a>(
    webhooks: &'a Webhooks,
    catalog: &'a Catalog,
    served: &'a Served,
    subresource: &str,
) -> Box<dyn Shapes + 'a> {
    match subresource {
        "scale" => Box::new(Scaled { served }),
        _ => Box::new(Stored {
            webhooks,
            catalog,
            served,
        }),
    }
}

/// Stored objects, in any version of their resource.
struct Stored<'a> {
    webhooks: &'a Webhooks,
    catalog: &'a Catalog,
    served: &'a Served,
}

impl Stored<'_> {
    fn find(&self, version: &Version) -> Result<Arc<Served>, ApiError> {
        let found = self
            .catalog
            .find(&version.group, &version.version, &version.resource);
        let unknown = || {
            let (group, version, resource) = (&version.group, &version.version, &version.resource);
            ApiError::internal(format!(
                "unable to convert to {group}/{version}, Resource={resource}: unknown kind"
            ))
        };
        found.ok_or_else(unknown)
    }
}

#[async_trait]
impl Shapes for Stored<'_> {
    async fn shown(&self, object: &Value, version: &Version) -> Result<Value, ApiError> {
        let wanted = self.find(version)?;
        match &wanted.custom {
            None => rules::convert(object.clone(), &self.served.stored, &wanted.resource),
            Some(custom) => conversion::to_version(self.webhooks, custom, object.clone()).await,
        }
    }

    async fn taken(&self, _: &Value, mut shown: Value, version: &Version) -> Result<Value, ApiError> {
        let wanted = self.find(version)?;
        if let (Some(theirs), Some(ours)) = (&wanted.custom, &self.served.custom) {
            let (shown, _) = decode::patched(shown, &theirs.schema(), FieldValidation::Ignore)
                .map_err(ApiError::internal)?;
            return conversion::to_version(self.webhooks, ours, shown).await;
        }
        conform(&mut shown, wanted.resource.ty()).map_err(ApiError::internal)?;
        body::to_storage(&wanted, shown)
    }
}

/// Objects whose `scale` is written: only that is shown and taken.
struct Scaled<'a> {
    served: &'a Served,
}

#[async_trait]
impl Shapes for Scaled<'_> {
    async fn shown(&self, object: &Value, _: &Version) -> Result<Value, ApiError> {
        Ok(scale::scale_of(self.served, object)?.0)
    }

    async fn taken(&self, object: &Value, shown: Value, version: &Version) -> Result<Value, ApiError> {
        let scale = AsSent.taken(object, shown, version).await?;
        scale::with_replicas(self.served, object.clone(), &scale)
    }
}

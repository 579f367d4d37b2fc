//! Objects in the versions that webhooks want to see, and back. Pure.

use coracle_api::codec::conform::conform;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::served::{Catalog, Served};
use super::subresource::scale;
use super::{body, rules};
use crate::webhook::{AsSent, Shapes, Version};

/// The version that a request names, and then the others in which the same objects are served.
pub(super) fn versions(catalog: &Catalog, served: &Served, subresource: &str) -> Vec<Version> {
    let others = catalog.served_alike(served);
    let all = std::iter::once(served).chain(others.iter().map(AsRef::as_ref));
    all.filter_map(|served| version(served, subresource)).collect()
}

/// A resource, or a part of it, as webhooks name it.
fn version(served: &Served, subresource: &str) -> Option<Version> {
    let resource = served.resource;
    let kind = match subresource {
        "" => resource.gvk(),
        name => resource.subresource(name)?.gvk,
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
    catalog: &'a Catalog,
    served: &'a Served,
    subresource: &str,
) -> Box<dyn Shapes + 'a> {
    match subresource {
        "scale" => Box::new(Scaled),
        _ => Box::new(Stored { catalog, served }),
    }
}

/// Stored objects, in any version of their resource.
struct Stored<'a> {
    catalog: &'a Catalog,
    served: &'a Served,
}

impl Stored<'_> {
    fn find(&self, version: &Version) -> Result<&Served, ApiError> {
        let found = self
            .catalog
            .find(&version.group, &version.version, &version.resource);
        let unknown = || {
            let (group, version, resource) = (&version.group, &version.version, &version.resource);
            ApiError::internal(format!(
                "unable to convert to {group}/{version}, Resource={resource}: unknown kind"
            ))
        };
        found.map(AsRef::as_ref).ok_or_else(unknown)
    }
}

impl Shapes for Stored<'_> {
    fn shown(&self, object: &Value, version: &Version) -> Result<Value, ApiError> {
        let wanted = self.find(version)?;
        rules::convert(object.clone(), self.served.stored, wanted.resource)
    }

    fn taken(&self, _: &Value, mut shown: Value, version: &Version) -> Result<Value, ApiError> {
        let wanted = self.find(version)?;
        conform(&mut shown, wanted.resource.ty()).map_err(ApiError::internal)?;
        body::to_storage(wanted, shown)
    }
}

/// Objects whose `scale` is written: only that is shown and taken.
struct Scaled;

impl Shapes for Scaled {
    fn shown(&self, object: &Value, _: &Version) -> Result<Value, ApiError> {
        Ok(scale::scale_of(object))
    }

    fn taken(&self, object: &Value, shown: Value, version: &Version) -> Result<Value, ApiError> {
        let scale = AsSent.taken(object, shown, version)?;
        Ok(scale::with_replicas(object.clone(), &scale))
    }
}

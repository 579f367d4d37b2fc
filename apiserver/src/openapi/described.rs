//! A custom resource and its entries in each document, made when first asked for.

use std::sync::{Arc, OnceLock};

use sha2::{Digest, Sha512};

use super::entries::Parts;
use super::{CustomResource, Form, Opened, chunk, v2, v3};

/// A custom resource in a version. Clones share what is made.
#[derive(Clone, Debug)]
pub(super) struct Described {
    resource: CustomResource,
    made: Arc<Made>,
}

#[derive(Debug, Default)]
struct Made {
    v2: OnceLock<Parts>,
    gnostic: OnceLock<Parts>,
    v3: OnceLock<Parts>,
}

impl Described {
    pub(super) fn new(resource: CustomResource) -> Self {
        Self {
            resource,
            made: Arc::default(),
        }
    }

    pub(super) fn resource(&self) -> &CustomResource {
        &self.resource
    }

    /// Whether this is what would be made of a resource.
    pub(super) fn is_of(&self, other: &CustomResource) -> bool {
        let name = |custom: &CustomResource| custom.version.resource.resource;
        self.resource.mark == other.mark && name(&self.resource) == name(other)
    }

    pub(super) fn is_scaled(&self) -> bool {
        self.resource.version.subresource("scale").is_some()
    }

    /// What it adds to OpenAPI 2.
    pub(super) fn v2(&self, form: Form, descriptions: &Opened) -> &Parts {
        let entries = || v2::custom(&self.resource, descriptions.get());
        match form {
            Form::Json => self.made.v2.get_or_init(|| entries().in_json()),
            Form::Protobuf => self.made.gnostic.get_or_init(|| entries().in_gnostic()),
        }
    }

    /// What it adds to the document of its group and version.
    pub(super) fn v3(&self, descriptions: &Opened) -> &Parts {
        let made = || v3::custom(&self.resource, descriptions.get()).in_json();
        self.made.v3.get_or_init(made)
    }
}

/// The `ETag` of the document of some custom resources, which changes when one of them does.
pub(super) fn etag_of(customs: &[Described]) -> String {
    let mut digest = Sha512::new();
    customs
        .iter()
        .for_each(|custom| digest.update(custom.resource.mark));
    chunk::hexadecimal(&digest.finalize())
}

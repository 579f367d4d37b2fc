//! The words that the generated table of resources is written in.

use super::{Column, Resource, Subresource};
use crate::table::Gvk;

/// A resource with nothing but its names.
pub(super) const fn resource(
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    singular: &'static str,
    kind: &'static str,
    namespaced: bool,
) -> Resource {
    Resource {
        group,
        version,
        resource,
        singular,
        kind,
        namespaced,
        verbs: &[],
        short_names: &[],
        categories: &[],
        subresources: &[],
        columns: &[],
    }
}

pub(super) const fn sub(
    name: &'static str,
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> Subresource {
    Subresource {
        name,
        gvk: Gvk { group, version, kind },
        verbs,
    }
}

pub(super) const fn column(name: &'static str, ty: &'static str) -> Column {
    Column {
        name,
        ty,
        format: "",
        priority: 0,
    }
}

impl Column {
    pub(super) const fn format(mut self, format: &'static str) -> Self {
        self.format = format;
        self
    }

    pub(super) const fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

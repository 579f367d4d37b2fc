//! Whether an object is as its kind's rules want it. Every fault is gathered, with its path, in upstream's words.
//!
//! The rules of a kind stand in the module of its group; [`rules`] finds them. A rule reads a dynamic object that has been
//! decoded (so that types are right) and filled in with defaults; an absent field is its zero value, as in Go.
//! A kind without rules of its own still has its metadata checked.

mod core;
pub mod field;
pub mod meta;

use serde_json::Value;

pub use field::{BadValue, ErrorKind, FieldError, FieldErrors, Path};

use self::core::config;
use crate::names;
use crate::resources;
use crate::table::Gvk;

/// What a name may look like: its faults, or none.
pub(crate) type NameRule = fn(&str) -> Vec<String>;

/// The rules of a kind. Those for updates see the new and the old object.
#[derive(Clone, Copy)]
pub(crate) struct Rules {
    name: NameRule,
    create: fn(&Value, &mut FieldErrors),
    update: fn(&Value, &Value, &mut FieldErrors),
    status: fn(&Value, &Value, &mut FieldErrors),
}

impl Rules {
    /// Metadata only, with names that are DNS subdomains.
    const META: Rules = Rules {
        name: names::dns1123_subdomain,
        create: |_, _| {},
        update: |_, _, _| {},
        status: |_, _, _| {},
    };

    /// A kind whose updates obey the same rules as new objects.
    const fn new(create: fn(&Value, &mut FieldErrors)) -> Self {
        Self { create, ..Self::META }
    }

    const fn named(self, name: NameRule) -> Self {
        Self { name, ..self }
    }

    const fn on_update(self, update: fn(&Value, &Value, &mut FieldErrors)) -> Self {
        Self { update, ..self }
    }

    const fn on_status(self, status: fn(&Value, &Value, &mut FieldErrors)) -> Self {
        Self { status, ..self }
    }
}

/// The rules of a kind, where it has some of its own.
fn rules(gvk: Gvk) -> Option<Rules> {
    Some(match (gvk.group, gvk.kind) {
        ("", "ConfigMap") => Rules::new(config::config_map).on_update(config::config_map_update),
        ("", "Secret") => Rules::new(config::secret).on_update(config::secret_update),
        ("", "Namespace") => Rules::new(config::namespace)
            .named(names::dns1123_label)
            .on_status(config::namespace_status),
        _ => return None,
    })
}

fn is_namespaced(gvk: Gvk) -> bool {
    resources::by_kind(gvk.group, gvk.version, gvk.kind).is_some_and(|resource| resource.namespaced)
}

/// The faults of a new object, with its name and namespace set and its defaults filled in.
pub fn create(gvk: Gvk, object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let rules = rules(gvk).unwrap_or(Rules::META);
    meta::object_meta(
        &object["metadata"],
        is_namespaced(gvk),
        rules.name,
        &Path::new("metadata"),
        &mut errors,
    );
    (rules.create)(object, &mut errors);
    errors
}

/// The faults of an update through the main resource. Metadata that the client may leave out has been filled in from `old`.
pub fn update(gvk: Gvk, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    meta::object_meta_update(
        &new["metadata"],
        &old["metadata"],
        &Path::new("metadata"),
        &mut errors,
    );
    (rules(gvk).unwrap_or(Rules::META).update)(new, old, &mut errors);
    errors
}

/// The faults of an update through `/status`.
pub fn update_status(gvk: Gvk, new: &Value, old: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    meta::object_meta_update(
        &new["metadata"],
        &old["metadata"],
        &Path::new("metadata"),
        &mut errors,
    );
    (rules(gvk).unwrap_or(Rules::META).status)(new, old, &mut errors);
    errors
}

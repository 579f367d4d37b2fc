//! Custom resources whose versions a webhook converts.
//!
//! Everything else here converts in code, at once. A webhook is asked beforehand: [`ahead`] has the objects that are going to be
//! shown converted, many with one question, and each keeps what came of it beside its other encodings; so whoever shows an
//! object finds it made, and an object is converted once for each version, however many look at it.

use std::sync::Arc;

use coracle_api::custom::decode;
use coracle_api::object::Fields as _;
use coracle_api::resources::Resource;
use coracle_api::status::ApiError;
use serde_json::Value;

use super::custom::Custom;
use super::negotiate::{Format, View};
use super::served::Served;
use super::{Registry, encode};
use crate::cache::entry::{Entry, Representation, headed};
use crate::cache::selection::{FieldTerm, Selection};
use crate::webhook::Webhooks;

/// A webhook is asked about no more objects at once than these,
const MOST_OBJECTS: usize = 500;
/// and about no more than fit in this many bytes, unless a single one is larger.
const MOST_BYTES: usize = 2 << 20;

/// Whether a resource is one that a webhook converts.
pub(super) fn asks(served: &Served) -> bool {
    let custom = served.custom.as_ref();
    custom.is_some_and(|custom| custom.definition.conversion.is_some())
}

/// An object in the version of `custom`.
///
/// # Errors
/// Where it cannot be converted.
pub(super) async fn to_version(
    webhooks: &Webhooks,
    custom: &Custom,
    object: Value,
) -> Result<Value, ApiError> {
    to(webhooks, custom, &custom.version.resource, object).await
}

/// An object in a version of a custom resource.
///
/// # Errors
/// Where it cannot be converted.
pub(super) async fn to(
    webhooks: &Webhooks,
    custom: &Custom,
    wanted: &Resource,
    object: Value,
) -> Result<Value, ApiError> {
    if object.text("apiVersion") == wanted.api_version() {
        return Ok(object);
    }
    let made = all_to(webhooks, custom, wanted, vec![object]).await?;
    let [object] =
        <[Value; 1]>::try_from(made).map_err(|_| ApiError::internal("an object was not converted"))?;
    Ok(object)
}

/// Objects of other versions in the version that is wanted.
async fn all_to(
    webhooks: &Webhooks,
    custom: &Custom,
    wanted: &Resource,
    mut objects: Vec<Value>,
) -> Result<Vec<Value>, ApiError> {
    if let Some(conversion) = &custom.definition.conversion {
        for object in &objects {
            check_version(custom, object.text("apiVersion"))?;
        }
        let made = webhooks
            .convert(conversion, &wanted.api_version(), &objects)
            .await;
        objects = made.map_err(ApiError::unknown)?;
    }
    let schema = custom.schemas.get(wanted.version);
    for object in &mut objects {
        decode::converted(object, wanted, &schema);
    }
    Ok(objects)
}

fn check_version(custom: &Custom, version: &str) -> Result<(), ApiError> {
    let mut versions = custom.definition.versions.iter();
    if versions.any(|other| other.resource.api_version() == version) {
        return Ok(());
    }
    Err(ApiError::unknown(format!(
        "request to convert CR from an invalid group/version: {version}"
    )))
}

/// Has entries converted that are kept in another version than they are going to be shown in.
///
/// # Errors
/// Where they cannot be.
pub(super) async fn ahead(
    webhooks: &Webhooks,
    served: &Served,
    entries: &[Arc<Entry>],
) -> Result<(), ApiError> {
    let Some(custom) = served.custom.as_ref().filter(|_| asks(served)) else {
        return Ok(());
    };
    let mut waiting: Vec<&Arc<Entry>> = entries
        .iter()
        .filter(|entry| !encode::is_kept_as_shown(served, entry) && !entry.has(representation(served)))
        .collect();
    while !waiting.is_empty() {
        let rest = waiting.split_off(first_batch(&waiting));
        let objects = waiting.iter().map(|entry| Value::clone(&entry.value()));
        let made = all_to(webhooks, custom, &served.resource, objects.collect()).await?;
        for (entry, object) in waiting.iter().zip(made) {
            keep(served, entry, object)?;
        }
        waiting = rest;
    }
    Ok(())
}

/// How many of the entries fit into one question.
fn first_batch(entries: &[&Arc<Entry>]) -> usize {
    let mut bytes = 0;
    let fitting = entries.iter().take(MOST_OBJECTS).take_while(|entry| {
        bytes += entry.json().len();
        bytes <= MOST_BYTES
    });
    fitting.count().max(1)
}

fn keep(served: &Served, entry: &Entry, mut object: Value) -> Result<(), ApiError> {
    if let Some(fields) = object.as_object_mut() {
        fields.remove("apiVersion");
        fields.remove("kind");
    }
    let bytes = encode::value(&object, Format::Json)?;
    entry.encoded(representation(served), |_| Ok::<_, ApiError>(bytes))?;
    Ok(())
}

/// What became of an entry that was converted ahead.
///
/// # Errors
/// Where it was not.
pub(super) fn made(served: &Served, entry: &Entry) -> Result<Value, ApiError> {
    let bare = entry.encoded(representation(served), |_| {
        Err(ApiError::internal("an object is shown that was not converted"))
    })?;
    serde_json::from_slice(&headed(&served.head, &bare)).map_err(ApiError::internal)
}

fn representation(served: &Served) -> Representation {
    Representation {
        version: served.version,
        format: Format::Json,
        view: View::Object,
    }
}

/// A selection by fields that objects have only once a webhook has converted them.
pub(super) struct ByShown {
    /// What can be told of an object as it is kept.
    pub(super) coarse: Arc<Selection>,
    terms: Vec<FieldTerm>,
}

impl ByShown {
    /// What a selection asks of converted objects; nothing where it asks for no such field.
    pub(super) fn of(served: &Served, selection: &Selection) -> Option<Self> {
        if !asks(served) {
            return None;
        }
        let of_kept = |term: &FieldTerm| term.name.starts_with("metadata.");
        let (kept, terms): (Vec<_>, Vec<_>) = selection.fields.iter().cloned().partition(of_kept);
        let coarse = Arc::new(Selection {
            fields: kept,
            ..selection.clone()
        });
        (!terms.is_empty()).then_some(Self { coarse, terms })
    }

    /// Whether an entry that was converted ahead is selected.
    pub(super) fn selects(&self, served: &Served, entry: &Entry) -> bool {
        if !self.coarse.matches(entry) {
            return false;
        }
        let (Some(custom), Ok(object)) = (&served.custom, encode::in_version(served, entry)) else {
            return false;
        };
        let value = |name| {
            let mut fields = custom.version.selectable.iter();
            let field = fields.find(|field| field.name == name);
            field.map(|field| field.value(&object)).unwrap_or_default()
        };
        self.terms
            .iter()
            .all(|term| (value(term.name) == term.value) == term.equal)
    }
}

impl Registry {
    /// See [`ahead`].
    ///
    /// # Errors
    /// Where entries cannot be converted.
    pub(super) async fn convert_ahead(
        &self,
        served: &Served,
        entries: &[Arc<Entry>],
    ) -> Result<(), ApiError> {
        ahead(&self.webhooks, served, entries).await
    }

    /// An object as it is to be stored.
    ///
    /// # Errors
    /// Where it cannot be converted.
    pub(super) async fn storable(&self, served: &Served, object: Value) -> Result<Value, ApiError> {
        match &served.custom {
            Some(custom) if asks(served) => to(&self.webhooks, custom, &served.stored, object).await,
            _ => Ok(object),
        }
    }
}

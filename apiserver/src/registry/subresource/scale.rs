//! `scale`: how many replicas there are and should be, in the same words for every kind that has them.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::custom;
use coracle_api::quote::quote;
use coracle_api::selector::LabelSelector;
use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk};
use coracle_api::validation::{FieldErrors, Path};
use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::cache::entry::Entry;
use crate::http::respond::with_warnings;
use crate::registry::negotiate::{Accepted, Purpose, View, accepted, check_shape};
use crate::registry::options::WriteOptions;
use crate::registry::ownership::{APPLY, require_manager};
use crate::registry::patch::{Patch, Patched, Sent, media_type, patch_type};
use crate::registry::served::Served;
use crate::registry::update::{Tried, check_same};
use crate::registry::{Registry, body, configuration, encode, meta, respond, rules};
use crate::request::{RequestContext, ResponseBody};
use crate::tables;

const TRIES: usize = 100;

impl Registry {
    pub(super) async fn get_scale(
        &self,
        ctx: &RequestContext,
        served: &Served,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = accepted(ctx, Purpose::Object)?;
        let current = self.current(served, &ctx.info.namespace, &ctx.info.name).await?;
        let current = current.ok_or_else(|| self.not_found(served, &ctx.info.name))?;
        let (scale, found) = shown_scale(served, &current)?;
        if let (false, Some(scale)) = (found, custom_scale(served)) {
            let path = quote(&scale.spec);
            return Err(ApiError::internal(format!(
                "the spec replicas field {path} does not exist"
            )));
        }
        answered(&scale, accepted)
    }

    pub(super) async fn update_scale(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let options = WriteOptions::read(ctx, "UpdateOptions")?;
        let (scale, warnings) = body::of_kind(ctx, &bytes, SCALE, options.field_validation)?;
        ctx.warnings.extend(&warnings);
        check_place(ctx, &scale)?;
        let current = self.current(served, &ctx.info.namespace, &ctx.info.name).await?;
        if let Some(current) = current {
            check_same(served, &scale, &current)?;
        }
        self.set_scale(ctx, served, &options, |_| Ok(scale.clone())).await
    }

    pub(super) async fn patch_scale(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        if media_type(ctx) == APPLY {
            return self.apply_scale(ctx, served, bytes).await;
        }
        let options = WriteOptions::read(ctx, "PatchOptions")?;
        let sent = Sent {
            kind: patch_type(ctx, served.custom.is_none())?,
            bytes: &bytes,
            validation: options.field_validation,
        };
        let ty = table::by_gvk(SCALE.group, SCALE.version, SCALE.kind).expect("the table has Scale");
        self.set_scale(ctx, served, &options, |scale| {
            let of = Patched::Kind(SCALE, ty);
            let (scale, findings) = Patch::read(sent)?.patched(of, &scale, sent.validation)?;
            ctx.warnings.extend(&findings);
            check_place(ctx, &scale)?;
            Ok(scale)
        })
        .await
    }

    /// Applies a scale: its manager comes to own the replicas of the object itself, as far as the scale names them.
    async fn apply_scale(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "PatchOptions")?;
        require_manager(ctx)?;
        let (scale, warnings) = configuration::read(&bytes, options.field_validation)?;
        let (namespace, name) = (&ctx.info.namespace, &ctx.info.name);
        check_kind(&scale)?;
        for _ in 0..TRIES {
            let current = self.current(served, namespace, name).await?;
            let current = current.ok_or_else(|| self.not_found(served, name))?;
            // It is the scale whose type and whose owners count; what it says is then said of the object.
            let before = owned_scale(served, &current)?;
            let applied = self.applied_to_scale(ctx, SCALE, &before, &scale)?;
            check_place(ctx, &applied)?;
            check_scale(served, &applied, &before)?;
            let mut named = scale.clone();
            rules::name_config(&mut named, name, namespace);
            let config = configured(served, &named)?;
            let object = self.applied(ctx, served, Some(&current), &config).await?;
            let (object, _) = body::patched(served, object, options.field_validation)
                .map_err(|error| ApiError::bad_request(error.to_string()))?;
            let object = body::to_storage(served, object)?;
            if let Tried::Done(entry) = self.try_apply(ctx, served, &current, object, &options).await? {
                let answer = answered(&shown_scale(served, &entry)?.0, accepted)?;
                return Ok(with_warnings(answer, &warnings));
            }
        }
        Err(self.modified(served, name))
    }

    async fn set_scale(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        options: &WriteOptions,
        change: impl Fn(Value) -> Result<Value, ApiError> + Send + Sync,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = accepted(ctx, Purpose::Object)?;
        for _ in 0..TRIES {
            let current = self.current(served, &ctx.info.namespace, &ctx.info.name).await?;
            let current = current.ok_or_else(|| self.not_found(served, &ctx.info.name))?;
            let before = owned_scale(served, &current)?;
            let scale = change(before.clone())?;
            check_scale(served, &scale, &before)?;
            let mut object = scaled(served, &current, &before, &scale)?;
            self.track(ctx, served, Some(&current), &mut object).await;
            let fixed = meta::text(&scale, "resourceVersion") != meta::text(&before, "resourceVersion")
                && !meta::text(&scale, "resourceVersion").is_empty();
            match self.try_update(ctx, served, &current, object, options).await {
                Ok(Tried::Done(entry)) => {
                    self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
                    return answered(&shown_scale(served, &entry)?.0, accepted);
                }
                Ok(Tried::Overtaken) => {}
                Err(error) if error.code() == 409 && !fixed => {}
                Err(error) => return Err(error),
            }
        }
        Err(self.modified(served, &ctx.info.name))
    }
}

const SCALE: Gvk = Gvk {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
};

/// A scale in the view that was asked for.
fn answered(scale: &Value, accepted: Accepted) -> Result<Response<ResponseBody>, ApiError> {
    check_shape(accepted, false, || "*autoscaling.Scale".to_owned())?;
    let shown = match accepted.view {
        View::Object => return respond::value(scale, accepted, StatusCode::OK),
        View::Table => tables::of_scale(scale, accepted, jiff::Timestamp::now()),
        View::Metadata => json!({
            "kind": "PartialObjectMetadata", "apiVersion": format!("meta.k8s.io/{}", accepted.view_version),
            "metadata": scale["metadata"],
        }),
    };
    respond::value(&shown, accepted, StatusCode::OK)
}

/// Whether a scale is of the object that the path names.
fn check_place(ctx: &RequestContext, scale: &Value) -> Result<(), ApiError> {
    let namespace = meta::text(scale, "namespace");
    if !namespace.is_empty() && namespace != ctx.info.namespace {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(why));
    }
    meta::check_name(scale, &ctx.info.name, "")
}

fn check_kind(scale: &Value) -> Result<(), ApiError> {
    let text = |name: &str| scale.get(name).and_then(Value::as_str).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if (version, kind) == ("autoscaling/v1", SCALE.kind) {
        return Ok(());
    }
    let slash = if version.contains('/') { "" } else { "/" };
    Err(ApiError::bad_request(format!(
        "invalid object type: {slash}{version}, Kind={kind}"
    )))
}

/// Whether a scale is in order, and means the object that is there.
fn check_scale(served: &Served, scale: &Value, before: &Value) -> Result<(), ApiError> {
    let name = meta::text(before, "name");
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64);
    if let Some(replicas) = replicas.filter(|replicas| *replicas < 0 && served.custom.is_none()) {
        let mut errors = FieldErrors::new();
        let spec = Path::new("spec");
        errors.invalid(
            &spec.child("replicas"),
            replicas,
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid(SCALE.group, SCALE.kind, name, &errors));
    }
    let (meant, found) = (meta::text(scale, "uid"), meta::text(before, "uid"));
    if meant.is_empty() || meant == found {
        return Ok(());
    }
    let why = format!("Precondition failed: UID in precondition: {meant}, UID in object meta: {found}");
    let resource = format!("{}/scale", served.resource.resource);
    Err(ApiError::conflict(served.resource.group, &resource, name, &why))
}

/// The scale of an object with those who own how many replicas there should be: as such of the scale.
fn owned_scale(served: &Served, entry: &Entry) -> Result<Value, ApiError> {
    let (mut scale, _) = shown_scale(served, entry)?;
    if served.custom.is_some() {
        return Ok(scale);
    }
    let object = entry.value();
    let entries = object["metadata"]["managedFields"].as_array();
    let owners = entries.into_iter().flatten().filter(|entry| {
        let fields = &entry["fieldsV1"]["f:spec"];
        fields.get("f:replicas").is_some()
    });
    let owners: Vec<Value> = owners
        .map(|entry| {
            let mut owner = entry.clone();
            owner["apiVersion"] = SCALE.api_version().into();
            owner["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
            owner
        })
        .collect();
    if !owners.is_empty() {
        meta::set(&mut scale, "managedFields", owners.into());
    }
    Ok(scale)
}

/// The object with the replicas of a scale; its revision is the one that the scale names.
fn scaled(served: &Served, current: &Entry, before: &Value, scale: &Value) -> Result<Value, ApiError> {
    let worked_on = Arc::unwrap_or_clone(encode::worked_on(served, current)?);
    let mut object = with_replicas(served, worked_on, scale)?;
    let revision = match meta::text(scale, "resourceVersion") {
        "" => meta::text(before, "resourceVersion"),
        revision => revision,
    };
    meta::set(&mut object, "resourceVersion", Value::from(revision));
    Ok(object)
}

/// What a scale that is applied says of the object whose scale it is.
///
/// # Errors
/// Where a custom resource has no place for its replicas.
fn configured(served: &Served, scale: &Value) -> Result<Value, ApiError> {
    let mut config = json!({
        "apiVersion": served.resource.api_version(), "kind": served.resource.kind, "metadata": scale["metadata"],
    });
    if scale.pointer("/spec/replicas").is_none() {
        return Ok(config);
    }
    config["spec"] = json!({});
    with_replicas(served, config, scale)
}

/// Where a custom resource has its replicas.
fn custom_scale(served: &Served) -> Option<&custom::Scale> {
    served.custom.as_ref()?.version.scale.as_ref()
}

/// The scale of an object, and whether the object says how many replicas are wanted.
fn shown_scale(served: &Served, entry: &Entry) -> Result<(Value, bool), ApiError> {
    match custom_scale(served) {
        None => scale_of(served, &entry.value()),
        Some(_) => scale_of(served, &*encode::in_version(served, entry)?),
    }
}

/// The object with the replicas of a scale.
///
/// # Errors
/// Where a custom resource has no place for them.
pub(in crate::registry) fn with_replicas(
    served: &Served,
    mut object: Value,
    scale: &Value,
) -> Result<Value, ApiError> {
    let replicas = scale
        .pointer("/spec/replicas")
        .cloned()
        .unwrap_or_else(|| json!(0));
    if let Some(paths) = custom_scale(served) {
        custom::scale::set(&mut object, &paths.spec, replicas.as_i64().unwrap_or_default())
            .map_err(ApiError::unknown)?;
    } else if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("replicas".to_owned(), replicas);
    }
    Ok(object)
}

/// The scale of an object, and whether the object says how many replicas are wanted.
///
/// # Errors
/// Where a custom resource has something else in their place.
pub(in crate::registry) fn scale_of(served: &Served, object: &Value) -> Result<(Value, bool), ApiError> {
    match custom_scale(served) {
        None => Ok((built_in_scale(object), true)),
        Some(paths) => custom::scale::of(object, paths).map_err(ApiError::unknown),
    }
}

fn built_in_scale(object: &Value) -> Value {
    let mut metadata = Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = meta::get(object, field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let mut spec = Map::new();
    if number("/spec/replicas") != 0 {
        spec.insert("replicas".to_owned(), Value::from(number("/spec/replicas")));
    }
    let mut status = json!({"replicas": number("/status/replicas")});
    let selector = selector_text(object);
    if !selector.is_empty() {
        status["selector"] = Value::from(selector);
    }
    json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status})
}

fn selector_text(object: &Value) -> String {
    let Some(selector) = object.pointer("/spec/selector") else {
        return String::new();
    };
    let plain = object.get("kind").and_then(Value::as_str) == Some("ReplicationController");
    let parsed = match selector.as_object() {
        Some(labels) if plain => Ok(LabelSelector::from_map(labels)),
        _ => LabelSelector::from_object(Some(selector)),
    };
    parsed.map(|selector| selector.to_string()).unwrap_or_default()
}

//! Who owns which field: `metadata.managedFields` on every write, and server-side apply.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::apply::{self, Manager, Model, Operation, Versions, Writer};
use coracle_api::codec::DecodeError;
use coracle_api::codec::conform::conform;
use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk, Type};
use coracle_api::validation::{FieldErrors, Path};
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::negotiate::Purpose;
use super::options::{WriteOptions, is_true};
use super::served::Served;
use super::update::Tried;
use super::versions::{Known, QUESTIONS_MAX};
use super::{Registry, body, configuration, conversion, encode, meta, raw_parts, respond, rules};
use crate::cache::entry::Entry;
use crate::request::{RequestContext, ResponseBody};

/// The media type of an applied configuration.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

const TRIES: usize = 100;
/// The longest name of a manager.
const MANAGER_MAX: usize = 128;

impl Registry {
    /// Writes into `object` who owns what now that this request has changed `live` into it. Where that cannot be found out, nobody
    /// owns anything, as upstream has it.
    pub(super) async fn track(
        &self,
        ctx: &RequestContext,
        served: &Served,
        live: Option<&Entry>,
        object: &mut Value,
    ) {
        let versions = Known::new(served, &self.catalog);
        // A webhook may have to be asked on the way.
        let before = conversion::asks(served).then(|| object.clone());
        for _ in 0..QUESTIONS_MAX {
            let Err(error) = self.track_by(ctx, served, live, object, &versions) else {
                return;
            };
            let failed = match (&before, versions.lacking()) {
                (Some(before), Some(question)) => {
                    object.clone_from(before);
                    versions.learn(&self.webhooks, question).await.err()
                }
                _ => Some(error),
            };
            if let Some(error) = failed {
                tracing::warn!(%error, "it could not be found out who owns what of an object");
                break;
            }
        }
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
    }

    fn track_by(
        &self,
        ctx: &RequestContext,
        served: &Served,
        live: Option<&Entry>,
        object: &mut Value,
        versions: &dyn Versions,
    ) -> Result<(), ApiError> {
        if served.custom.is_some() {
            let live = live.map(|entry| encode::in_version(served, entry)).transpose()?;
            return self.with_writer(ctx, served, Operation::Update, versions, |writer| {
                apply::track_update(live.as_deref(), object, writer)
            });
        }
        if served.version == 0 {
            let live = live.map(Entry::value);
            return self.with_writer(ctx, served, Operation::Update, versions, |writer| {
                apply::track_update(live.as_deref(), object, writer)
            });
        }
        // Ownership is of fields of the version that the client wrote.
        let live = live.map(|entry| encode::in_version(served, entry)).transpose()?;
        let mut shown = rules::convert(object.clone(), &served.stored, &served.resource)?;
        // An empty list says something, and conversion takes empty lists away.
        if let Some(asked) = meta::get(object, "managedFields") {
            meta::set(&mut shown, "managedFields", asked.clone());
        }
        self.with_writer(ctx, served, Operation::Update, versions, |writer| {
            apply::track_update(live.as_deref(), &mut shown, writer)
        })?;
        match shown["metadata"]["managedFields"].take() {
            Value::Null => meta::remove(object, "managedFields"),
            owners => meta::set(object, "managedFields", owners),
        }
        Ok(())
    }

    /// The same for the server itself under this name.
    pub(super) fn track_as(&self, served: &Served, name: &str, live: Option<&Value>, object: &mut Value) {
        let manager = Manager {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: served.resource.api_version(),
            subresource: String::new(),
        };
        let now = meta::time(self.now());
        served.with_model(|model| {
            let writer = Writer {
                manager: &manager,
                model,
                resets: rules::resets(served, ""),
                now: now.as_str().unwrap_or_default(),
                versions: None,
            };
            // Only conversions fail.
            let _ = apply::track_update(live, object, writer);
        });
    }

    pub(super) async fn apply(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "PatchOptions")?;
        require_manager(ctx)?;
        let (sent, findings) = configuration::read(&bytes, options.field_validation)?;
        let namespace = if served.resource.namespaced {
            ctx.info.namespace.as_str()
        } else {
            ""
        };
        for _ in 0..TRIES {
            let current = self.current(served, namespace, &ctx.info.name).await?;
            if current.is_none() && !ctx.info.subresource.is_empty() {
                return Err(self.not_found(served, &ctx.info.name));
            }
            // Held, so that it is parsed once for all that looks at it.
            let old = current.as_ref().map(|current| current.value());
            let object = self.applied(ctx, served, current.as_deref(), &sent).await?;
            if current.is_none() && !meta::text(&object, "uid").is_empty() {
                return Err(self.uid_of_nothing(served, &object, &ctx.info.name));
            }
            let (object, unknown) = body::patched(served, object, options.field_validation)
                .map_err(|error| unconvertible(served, &sent, &error))?;
            ctx.warnings.extend(&unknown);
            ctx.warnings.extend(&findings);
            let mut object = body::to_storage(served, object)?;
            let texts = raw_parts::left_by_configuration(served, current.as_deref(), &object);
            raw_parts::put_back(served, texts, &mut object);
            let object = meta::in_namespace(served, namespace, object)?;
            meta::check_name(&object, &ctx.info.name, "")?;
            let Some(current) = current else {
                let entry = self.create_object(ctx, served, object, &options).await?;
                ctx.warnings
                    .extend(&rules::warnings(served, "", &entry.value(), None));
                self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
                return respond::object(served, &entry, accepted, StatusCode::CREATED);
            };
            if let Tried::Done(entry) = self.try_apply(ctx, served, &current, object, &options).await? {
                let subresource = &ctx.info.subresource;
                let warnings = rules::warnings(served, subresource, &entry.value(), old.as_deref());
                ctx.warnings.extend(&warnings);
                self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
                return respond::object(served, &entry, accepted, StatusCode::OK);
            }
        }
        Err(self.modified(served, &ctx.info.name))
    }

    /// The failure of a configuration that means an object which is not there any more.
    fn uid_of_nothing(&self, served: &Served, object: &Value, name: &str) -> ApiError {
        let uid = meta::text(object, "uid");
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        ApiError::conflict(served.resource.group, served.resource.resource, name, &why)
    }

    /// A configuration names no revision, so being overtaken means to apply it anew.
    pub(super) async fn try_apply(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        current: &Arc<Entry>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Tried, ApiError> {
        let sent = meta::text(&object, "resourceVersion").to_owned();
        match self.try_update(ctx, served, current, object, options).await {
            Err(error) if error.code() == 409 && sent == current.revision().to_string() => {
                Ok(Tried::Overtaken)
            }
            other => other,
        }
    }

    /// The object as it is once this configuration is applied to it.
    ///
    /// # Errors
    /// The conflicts with other managers, and conversions that fail.
    pub(super) async fn applied(
        &self,
        ctx: &RequestContext,
        served: &Served,
        current: Option<&Entry>,
        config: &Value,
    ) -> Result<Value, ApiError> {
        // Who merges has read the object, so that the texts in it are written anew.
        let live = current
            .map(|entry| encode::in_version(served, entry).map(|live| raw_parts::open(served, live).0))
            .transpose()?;
        let force = ctx.query("force").is_some_and(is_true);
        let versions = Known::new(served, &self.catalog);
        for _ in 0..QUESTIONS_MAX {
            let applied = self.with_writer(ctx, served, Operation::Apply, &versions, |writer| {
                apply::apply(live.as_deref(), config, force, writer).map(|applied| applied.object)
            });
            match (applied, versions.lacking()) {
                (Err(_), Some(question)) => versions.learn(&self.webhooks, question).await?,
                (applied, _) => return applied,
            }
        }
        Err(ApiError::internal("the object's versions never came to an end"))
    }

    /// The same for an object of a kind that no resource stores: the scale of another one.
    ///
    /// # Errors
    /// The conflicts with other managers.
    pub(super) fn applied_to_scale(
        &self,
        ctx: &RequestContext,
        kind: Gvk,
        live: &Value,
        config: &Value,
    ) -> Result<Value, ApiError> {
        let ty = table::by_gvk(kind.group, kind.version, kind.kind)
            .ok_or_else(|| ApiError::internal("the table has no scales"))?;
        let manager = Manager {
            name: manager_name(ctx),
            operation: Operation::Apply,
            api_version: kind.api_version(),
            subresource: ctx.info.subresource.clone(),
        };
        let now = meta::time(self.now());
        let writer = Writer {
            manager: &manager,
            model: Model::Type(ty),
            resets: &[],
            now: now.as_str().unwrap_or_default(),
            versions: None,
        };
        let force = ctx.query("force").is_some_and(is_true);
        apply::apply(Some(live), config, force, writer).map(|applied| applied.object)
    }

    fn with_writer<T>(
        &self,
        ctx: &RequestContext,
        served: &Served,
        operation: Operation,
        versions: &dyn Versions,
        act: impl FnOnce(Writer<'_>) -> T,
    ) -> T {
        let manager = Manager {
            name: manager_name(ctx),
            operation,
            api_version: served.resource.api_version(),
            subresource: ctx.info.subresource.clone(),
        };
        let now = meta::time(self.now());
        let resets = rules::resets(served, &ctx.info.subresource);
        served.with_model(|model| {
            act(Writer {
                manager: &manager,
                model,
                resets,
                now: now.as_str().unwrap_or_default(),
                versions: Some(versions),
            })
        })
    }
}

/// Upstream merges before it converts to the kind's own type, and calls it the server's failure when that cannot be done.
fn unconvertible(served: &Served, config: &Value, error: &DecodeError) -> ApiError {
    if matches!(error, DecodeError::Strict(_)) {
        return ApiError::bad_request(error.to_string());
    }
    let resource = &served.resource;
    let kind = format!("{}/{}, Kind={}", resource.group, resource.version, resource.kind);
    let (namespace, name) = (meta::text(config, "namespace"), meta::text(config, "name"));
    let fault = format!(
        "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured object to {kind}: "
    );
    let error = error.to_string();
    let decoder = if error.starts_with("illegal base64 data") {
        "error decoding from json: "
    } else {
        ""
    };
    ApiError::unknown(format!("{fault}{decoder}{error}"))
}

/// Whoever applies says who they are.
pub(super) fn require_manager(ctx: &RequestContext) -> Result<(), ApiError> {
    if ctx
        .query("fieldManager")
        .is_some_and(|manager| !manager.is_empty())
    {
        return Ok(());
    }
    let mut errors = FieldErrors::new();
    errors.required(&Path::new("fieldManager"), "is required for apply patch");
    Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &errors))
}

/// The `managedFields` of an object that is answered and not stored. Nobody owns a status that is as
/// empty as that of an empty object.
pub(crate) fn track_answered(ctx: &RequestContext, ty: &'static Type, object: &mut Value, now: &str) {
    let manager = Manager {
        name: manager_name(ctx),
        operation: Operation::Update,
        api_version: object["apiVersion"].as_str().unwrap_or_default().to_owned(),
        subresource: ctx.info.subresource.clone(),
    };
    let mut empty = json!({"apiVersion": object["apiVersion"], "kind": object["kind"]});
    if let Err(error) = conform(&mut empty, ty) {
        tracing::error!(%error, "an empty object is not of its type");
    }
    let writer = Writer {
        manager: &manager,
        model: Model::Type(ty),
        resets: if object["status"] == empty["status"] {
            &["status"]
        } else {
            &[]
        },
        now,
        versions: None,
    };
    // Only conversions fail.
    let _ = apply::track_update(None, object, writer);
}

/// The manager that the request names, or the program that sent it.
fn manager_name(ctx: &RequestContext) -> String {
    if let Some(named) = ctx.query("fieldManager").filter(|named| !named.is_empty()) {
        return named.to_owned();
    }
    let agent = ctx
        .headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok());
    let program = agent.unwrap_or_default().split('/').next().unwrap_or_default();
    let shown: String = program
        .chars()
        .filter(|letter| !letter.is_control())
        .take(MANAGER_MAX)
        .collect();
    if shown.is_empty() {
        "unknown".to_owned()
    } else {
        shown
    }
}

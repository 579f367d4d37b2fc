//! `update` and `patch`: a new object made of the current one, admitted, checked, and committed if nobody was faster.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_api::validation::{FieldErrors, Path};
use http::{Response, StatusCode};
use serde_json::Value;

use super::admit::Admission;
use super::body;
use super::list::wait_error;
use super::negotiate::Purpose;
use super::options::WriteOptions;
use super::served::Served;
use super::services::Held;
use super::write::Written;
use super::{Registry, encode, meta, respond, rules};
use crate::admission::{Attributes, Operation};
use crate::cache::entry::Entry;
use crate::request::{RequestContext, ResponseBody};

/// How often a write without a revision of its own is tried again when others are faster.
const TRIES: usize = 100;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// What came of one try.
pub(super) enum Tried {
    /// It is done.
    Done(Arc<Entry>),
    /// Somebody else was faster.
    Overtaken,
}

impl Registry {
    pub(super) async fn update(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "UpdateOptions")?;
        let object = body::object(served, ctx, &bytes, options.field_validation)?;
        let namespace = if served.resource.namespaced {
            ctx.info.namespace.as_str()
        } else {
            ""
        };
        let mut object = meta::in_namespace(served, namespace, object)?;
        meta::check_name(&object, &ctx.info.name, namespace)?;
        ctx.warnings.extend(&meta::single_owners(&mut object, ""));
        let (entry, old) = self.update_object(ctx, served, &object, &options).await?;
        let status = if old.is_none() {
            StatusCode::CREATED
        } else {
            StatusCode::OK
        };
        let subresource = &ctx.info.subresource;
        ctx.warnings.extend(&rules::warnings(
            served,
            subresource,
            &entry.value(),
            old.as_deref(),
        ));
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, status)
    }

    /// What is stored now, and the object as it was where there was one.
    async fn update_object(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        object: &Value,
        options: &WriteOptions,
    ) -> Result<(Arc<Entry>, Option<Arc<Value>>), ApiError> {
        for _ in 0..TRIES {
            let Some(current) = self.current(served, &ctx.info.namespace, &ctx.info.name).await? else {
                if !rules::creates_on_update(served) || !ctx.info.subresource.is_empty() {
                    return Err(self.not_found(served, &ctx.info.name));
                }
                let key = served.key(&ctx.info.namespace, &ctx.info.name);
                check_uid(served, &key, &ctx.info.name, meta::text(object, "uid"), "")?;
                revision_in(object)?;
                let mut object = object.clone();
                self.track(ctx, served, None, &mut object).await;
                return Ok((self.create_object(ctx, served, object, options).await?, None));
            };
            // Held, so that it is parsed once for all that looks at it.
            let old = current.value();
            check_same(served, object, &current)?;
            let mut object = object.clone();
            self.track(ctx, served, Some(&current), &mut object).await;
            if let Tried::Done(entry) = self.try_update(ctx, served, &current, object, options).await? {
                return Ok((entry, Some(old)));
            }
        }
        Err(self.modified(served, &ctx.info.name))
    }

    /// The object as it is now, ready to be shown in the version asked for.
    pub(super) async fn current(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Entry>>, ApiError> {
        let current = self.latest(served, namespace, name).await?;
        if let Some(entry) = &current {
            self.convert_ahead(served, std::slice::from_ref(entry)).await?;
        }
        Ok(current)
    }

    /// The object as it is now, in the cache that has every answered write.
    pub(super) async fn latest(
        &self,
        served: &Served,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Entry>>, ApiError> {
        self.cache.current(PATIENCE).await.map_err(wait_error)?;
        self.cached(served, &served.key(namespace, name))
    }

    /// One try to put `object` in place of `current`.
    pub(super) async fn try_update(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        current: &Arc<Entry>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Tried, ApiError> {
        let old = &*encode::worked_on(served, current)?;
        let attributes = Attributes {
            operation: Operation::Update,
            resource: &served.resource,
            subresource: &ctx.info.subresource,
            namespace: current.namespace(),
            name: current.name(),
            generate_name: "",
            chance: self.chance(),
            user: &ctx.user,
            warnings: &ctx.warnings,
            dry_run: options.dry_run,
            now: self.now(),
        };
        let admission = Admission {
            ctx,
            served,
            attributes,
            dry_run: options.dry_run,
        };
        self.admit(&admission, &mut object, Some(old)).await?;
        self.check_grant(ctx, served, &object, Some(old)).await?;
        let unconditional = self.check_revision(served, &object, current)?;
        meta::prepare_update(&mut object, old);
        rules::prepare_update(served, &ctx.info.subresource, &mut object, old, self.now());
        // What cannot be allocated is told before what is wrong otherwise.
        let verdict = self.judge(ctx, served, &object, old).await;
        let held = Held {
            old: Some(old),
            dry_run: options.dry_run,
        };
        let reservation = self.reserve(served, &mut object, held).await?;
        verdict?;
        self.admit_finally(&admission, &object, Some(old)).await?;
        rules::settle_change(served, &ctx.info.subresource, &mut object);
        let charges = self.charges(&attributes, &object, Some(old))?;
        let key = served.key(current.namespace(), current.name());
        if object == *old && !self.is_due(served, current, &key, options.dry_run).await? {
            return Ok(Tried::Done(Arc::clone(current)));
        }
        if options.dry_run {
            rules::canonical(served, &mut object)?;
            return Ok(Tried::Done(served.entry(&key, current.revision(), object)));
        }
        if super::delete::is_finished(served, &object) {
            return self.finish(served, (current, old), object, unconditional).await;
        }
        let also = self.with_addresses(&reservation, &object, charges.txn())?;
        let Some((also, turn)) = self.with_ports(&reservation, also).await? else {
            return Ok(Tried::Overtaken);
        };
        let written = self.put(served, &key, object, current.revision(), also).await?;
        drop(turn);
        match written {
            Written::Done(entry) => {
                reservation.keep();
                Ok(Tried::Done(entry))
            }
            Written::Conflict => {
                // Where the object is as it was, it is a quota that others charged meanwhile, or an address, or a port.
                let shares = !charges.is_empty() || reservation.shares();
                let again = unconditional || shares && self.is_as_it_was(served, current).await?;
                self.overtaken(served, current.name(), again)
            }
        }
    }

    /// An object that was only waiting for its finalizers goes, and what it holds with it.
    async fn finish(
        &self,
        served: &Arc<Served>,
        (current, old): (&Entry, &Value),
        object: Value,
        unconditional: bool,
    ) -> Result<Tried, ApiError> {
        let key = served.key(current.namespace(), current.name());
        match self.remove_and_free(served, current, old).await? {
            Some(revision) => Ok(Tried::Done(served.entry(&key, revision, object))),
            None => {
                // What changed meanwhile may be something that goes along.
                let again = unconditional || self.is_as_it_was(served, current).await?;
                self.overtaken(served, current.name(), again)
            }
        }
    }

    /// Whether a change is one that the kind allows, and its writer may make.
    async fn judge(
        &self,
        ctx: &RequestContext,
        served: &Served,
        object: &Value,
        old: &Value,
    ) -> Result<(), ApiError> {
        let denied = self.check_devices(ctx, served, object, old).await;
        rules::validate_update(served, &ctx.info.subresource, object, old, denied)
    }

    /// Whether what is stored is to be written anew though nothing changes, because its version or its encryption is an
    /// older one: so storage is migrated.
    async fn is_due(
        &self,
        served: &Served,
        current: &Entry,
        key: &str,
        dry_run: bool,
    ) -> Result<bool, ApiError> {
        Ok(current.is_stale() || (!dry_run && self.is_stale(served, key).await?))
    }

    /// Whether nobody has changed an object, so that it is something else that has changed with a conflict.
    async fn is_as_it_was(&self, served: &Served, current: &Entry) -> Result<bool, ApiError> {
        let now = self.current(served, current.namespace(), current.name()).await?;
        Ok(now.is_some_and(|now| now.revision() == current.revision()))
    }

    fn overtaken(&self, served: &Served, name: &str, unconditional: bool) -> Result<Tried, ApiError> {
        if unconditional {
            Ok(Tried::Overtaken)
        } else {
            Err(self.modified(served, name))
        }
    }

    /// Whether the write goes through whatever the current revision is; an error where it asked for another one.
    fn check_revision(&self, served: &Served, object: &Value, current: &Entry) -> Result<bool, ApiError> {
        match revision_in(object)? {
            None | Some(0) if rules::updates_unconditionally(served) => Ok(true),
            None | Some(0) => {
                let mut errors = FieldErrors::new();
                let metadata = Path::new("metadata");
                errors.invalid(
                    &metadata.child("resourceVersion"),
                    0,
                    "must be specified for an update",
                );
                let (group, resource) = (served.resource.group, served.resource.resource);
                Err(ApiError::invalid(group, resource, current.name(), &errors))
            }
            Some(revision) if revision == current.revision() => Ok(false),
            Some(_) => Err(self.modified(served, current.name())),
        }
    }

    pub(super) fn not_found(&self, served: &Served, name: &str) -> ApiError {
        ApiError::not_found(served.resource.group, served.resource.resource, name)
    }

    pub(super) fn modified(&self, served: &Served, name: &str) -> ApiError {
        ApiError::modified(served.resource.group, served.resource.resource, name)
    }
}

/// Whether what is sent means the object that is there: of the same uid, where it names one.
///
/// # Errors
/// 409 in the words of upstream's storage.
pub(super) fn check_same(served: &Served, sent: &Value, current: &Entry) -> Result<(), ApiError> {
    let key = served.key(current.namespace(), current.name());
    let (uid, value) = (meta::text(sent, "uid"), current.value());
    check_uid(served, &key, current.name(), uid, meta::text(&value, "uid"))
}

fn check_uid(served: &Served, key: &str, name: &str, sent: &str, found: &str) -> Result<(), ApiError> {
    if sent.is_empty() || sent == found {
        return Ok(());
    }
    let path = format!("{}{key}", served.prefix);
    let path = path.strip_prefix("/registry").unwrap_or(&path);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {sent}, UID in object meta: {found}"
    );
    let (group, resource) = (served.resource.group, served.resource.resource);
    Err(ApiError::conflict(group, resource, name, &why))
}

/// The revision that an object was made from. Upstream's storage says what is wrong with it, and calls it the server's failure.
fn revision_in(object: &Value) -> Result<Option<u64>, ApiError> {
    match meta::text(object, "resourceVersion") {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let text = coracle_api::quote::quote(text);
            ApiError::unknown(format!("strconv.ParseUint: parsing {text}: invalid syntax"))
        }),
    }
}

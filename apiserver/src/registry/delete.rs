//! `delete` and `deletecollection`: at once, after a grace period, or once every finalizer is gone.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::status::ApiError;
use coracle_store::Txn;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admit::Admission;
use super::body;
use super::deletion::{self, Decision};
use super::list;
use super::negotiate::Purpose;
use super::options::{DeleteOptions, ListOptions};
use super::served::Served;
use super::write::Written;
use super::{Registry, conversion, encode, meta, respond, select};
use crate::admission::{Attributes, Operation};
use crate::cache::entry::Entry;
use crate::request::{RequestContext, ResponseBody};

const TRIES: usize = 100;
/// How many objects of a collection are deleted at a time; they share the store's commits.
const AT_ONCE: usize = 16;

/// Whom a deletion asks, as what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Webhooks, about the object that the request names.
    Named,
    /// Webhooks, about one object of those that the request does not name.
    Collection,
    /// Nobody: they were asked about what brought it about.
    Nobody,
}

/// What is left of an object that was asked to go.
pub(super) struct Deleted {
    /// What it looks like now, or looked like last.
    pub entry: Arc<Entry>,
    /// Whether it is gone.
    pub gone: bool,
}

/// Whoever deletes a Job and does not say what becomes of its pods is told that they stay.
fn warn_of_orphans(ctx: &RequestContext, served: &Served, options: &DeleteOptions) {
    let says = options.propagation.is_some() || options.orphan_dependents.is_some();
    if served.is("batch", "jobs") && !says {
        ctx.warnings.add(
            "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
             set propagationPolicy=Orphan to suppress this warning",
        );
    }
}

impl Registry {
    pub(super) async fn delete(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        let options = DeleteOptions::read(ctx, body::delete_options(ctx, &bytes)?.as_ref())?;
        warn_of_orphans(ctx, served, &options);
        let deleted = self
            .delete_object(ctx, served, &ctx.info.name, &options, Asks::Named)
            .await?;
        let accepted_later = !deleted.gone && options.orphan_dependents == Some(false);
        let status = if accepted_later {
            StatusCode::ACCEPTED
        } else {
            StatusCode::OK
        };
        if deleted.gone && !deletion::shows_deleted(&served.resource) {
            let value = deleted.entry.value();
            let mut details = json!({"name": ctx.info.name, "kind": served.resource.resource, "uid": meta::text(&value, "uid")});
            if !served.resource.group.is_empty() {
                details["group"] = Value::from(served.resource.group);
            }
            return respond::success(accepted, status, details);
        }
        self.convert_ahead(served, std::slice::from_ref(&deleted.entry))
            .await?;
        respond::object(served, &deleted.entry, accepted, status)
    }

    /// Deletes one object of the request's namespace.
    pub(super) async fn delete_object(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        name: &str,
        options: &DeleteOptions,
        asks: Asks,
    ) -> Result<Deleted, ApiError> {
        let namespace = if served.resource.namespaced {
            ctx.info.namespace.as_str()
        } else {
            ""
        };
        let attributes = Attributes {
            operation: Operation::Delete,
            resource: &served.resource,
            subresource: "",
            namespace,
            name,
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
            attributes: Attributes {
                name: if asks == Asks::Collection { "" } else { name },
                ..attributes
            },
            dry_run: options.dry_run,
        };
        for _ in 0..TRIES {
            let current = match asks {
                Asks::Nobody => self.latest(served, namespace, name).await?,
                Asks::Named | Asks::Collection => self.current(served, namespace, name).await?,
            };
            let Some(current) = current else {
                return Err(self.not_found(served, name));
            };
            let old = if asks != Asks::Nobody && conversion::asks(served) {
                encode::in_version(served, &current)?
            } else {
                current.value()
            };
            if asks != Asks::Nobody {
                self.plugins
                    .validate(&attributes, None, Some(&old), self.cluster())
                    .await?;
            }
            check_preconditions(served, options, &old)?;
            if asks != Asks::Nobody {
                self.admit_deletion(&admission, options, &old).await?;
            }
            let decision = deletion::decide(&served.resource, &old, options, self.now());
            if let Some(deleted) = self
                .carry_out(served, &current, decision, options.dry_run)
                .await?
            {
                return Ok(deleted);
            }
        }
        Err(self.modified(served, name))
    }

    /// None where somebody else was faster.
    async fn carry_out(
        &self,
        served: &Arc<Served>,
        current: &Arc<Entry>,
        decision: Decision,
        dry_run: bool,
    ) -> Result<Option<Deleted>, ApiError> {
        let key = served.key(current.namespace(), current.name());
        let shown = |object: Value, revision| served.entry(&key, revision, object);
        match decision {
            Decision::AlreadyGoing => Ok(Some(Deleted {
                entry: Arc::clone(current),
                gone: false,
            })),
            Decision::Keep(object) if dry_run => Ok(Some(Deleted {
                entry: shown(object, current.revision()),
                gone: false,
            })),
            Decision::Remove(object) if dry_run => Ok(Some(Deleted {
                entry: shown(object, current.revision()),
                gone: true,
            })),
            Decision::Keep(object) => {
                match self
                    .put(served, &key, object, current.revision(), Txn::new())
                    .await?
                {
                    Written::Done(entry) => Ok(Some(Deleted { entry, gone: false })),
                    Written::Conflict => Ok(None),
                }
            }
            Decision::Remove(object) => {
                let Some(revision) = self.remove_and_free(served, current, &object).await? else {
                    return Ok(None);
                };
                let revision = if deletion::shows_old_revision(&served.resource) {
                    current.revision()
                } else {
                    revision
                };
                Ok(Some(Deleted {
                    entry: shown(object, revision),
                    gone: true,
                }))
            }
        }
    }

    /// Removes an object, and frees the addresses and ports that it holds if it is a service. Answers the revision of the removal;
    /// none where somebody else was faster.
    pub(super) async fn remove_and_free(
        &self,
        served: &Served,
        current: &Entry,
        object: &Value,
    ) -> Result<Option<u64>, ApiError> {
        let key = served.key(current.namespace(), current.name());
        let also = self.without_addresses(served, object)?;
        let (also, _turn) = self.without_ports(served, object, also).await?;
        let removed = self.remove(served, &key, current.revision(), also).await?;
        if removed.is_some() {
            self.services.release(served, object);
        }
        Ok(removed)
    }

    pub(super) async fn delete_collection(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::List)?;
        let options = DeleteOptions::read(ctx, body::delete_options(ctx, &bytes)?.as_ref())?;
        let list_options = ListOptions::read(ctx, false)?;
        let selection = select::selection(served, &ctx.info.namespace, &list_options)?;
        warn_of_orphans(ctx, served, &options);
        // What is answered is what was listed, as it was then.
        let page = self.page(served, &selection, &list_options).await?;
        let deletions: Vec<_> = page
            .entries
            .iter()
            .map(|entry| self.delete_listed(ctx, served, entry.clone(), &options))
            .collect();
        let _done: Vec<()> = stream::iter(deletions).buffered(AT_ONCE).try_collect().await?;
        self.convert_ahead(served, &page.entries).await?;
        list::write(served, page, accepted)
    }

    /// One object of a collection, if it has not gone away in the meantime.
    async fn delete_listed(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        entry: Arc<Entry>,
        options: &DeleteOptions,
    ) -> Result<(), ApiError> {
        let mut ctx = ctx.clone();
        ctx.info.namespace = entry.namespace().to_owned();
        let deleted = self.delete_object(&ctx, served, entry.name(), options, Asks::Collection);
        match deleted.await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == 404 => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Whether an update leaves an object that was only waiting for its finalizers.
pub(super) fn is_finished(served: &Served, object: &Value) -> bool {
    let grace = meta::get(object, "deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let namespace_finalizers = object.pointer("/spec/finalizers").and_then(Value::as_array);
    let is_namespace = served.is("", "namespaces");
    meta::is_deleting(object)
        && meta::finalizers(object).is_empty()
        && grace == 0
        && (!is_namespace || namespace_finalizers.is_none_or(Vec::is_empty))
}

fn check_preconditions(served: &Served, options: &DeleteOptions, object: &Value) -> Result<(), ApiError> {
    let name = meta::text(object, "name");
    let (group, resource, kind) = (
        served.resource.group,
        served.resource.resource,
        served.stored.kind,
    );
    let of_kind = |why: &str| ApiError::conflict(served.stored.group, kind, name, why);
    // Namespaces and definitions are deleted by code of their own upstream, which words it otherwise.
    let own_words =
        served.is("", "namespaces") || served.is("apiextensions.k8s.io", "customresourcedefinitions");
    let (found_uid, found_revision) = (meta::text(object, "uid"), meta::text(object, "resourceVersion"));
    if let Some(uid) = options.uid.as_deref().filter(|uid| *uid != found_uid) {
        return Err(if own_words {
            let why =
                format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found_uid}");
            ApiError::conflict(group, resource, name, &why)
        } else {
            let why = format!(
                "the UID in the precondition ({uid}) does not match the UID in record ({found_uid}). The object might \
                 have been deleted and then recreated"
            );
            of_kind(&why)
        });
    }
    if let Some(revision) = options
        .resource_version
        .as_deref()
        .filter(|revision| *revision != found_revision)
    {
        return Err(if own_words {
            let why = format!(
                "Precondition failed: ResourceVersion in precondition: {revision}, ResourceVersion in object meta: \
                 {found_revision}"
            );
            ApiError::conflict(group, resource, name, &why)
        } else {
            of_kind(&format!(
                "the ResourceVersion in the precondition ({revision}) does not match the ResourceVersion in record \
                 ({found_revision}). The object might have been modified"
            ))
        });
    }
    Ok(())
}

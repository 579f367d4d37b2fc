//! `create`: a name, a uid, defaults, admission, the kind's rules, and one transaction that wants the key to be free.

use std::sync::Arc;

use bytes::Bytes;
use coracle_api::names;
use coracle_api::status::ApiError;
use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admit::Admission;
use super::body;
use super::negotiate::Purpose;
use super::options::WriteOptions;
use super::served::Served;
use super::services::{self, Held, Reservation};
use super::write::Written;
use super::{Registry, meta, quota, requester, respond, rules};
use crate::admission::{Attributes, Operation};
use crate::cache::entry::Entry;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::{RequestContext, ResponseBody};

/// How many generated names are tried before the client is told to.
const NAMES_TRIED: usize = 8;

/// How long a pod waits for the default account of its namespace.
const ACCOUNT_PATIENCE: std::time::Duration = std::time::Duration::from_millis(1500);

/// What came of committing a new object.
enum Made {
    /// It is there.
    Done(Arc<Entry>),
    /// There is one of that name.
    NameTaken,
    /// Somebody else has got an address or a port that it was to have.
    Forestalled,
}

/// Nothing is created of a custom resource whose definition is on its way out.
fn refuse_if_terminating(served: &Served, attributes: &Attributes<'_>) -> Result<(), ApiError> {
    let custom = served.custom.as_ref();
    if custom.is_some_and(|custom| custom.definition.is_terminating) {
        return Err(
            attributes.forbidden("create not allowed while custom resource definition is terminating")
        );
    }
    Ok(())
}

impl Registry {
    pub(super) async fn create(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        bytes: Bytes,
    ) -> Result<Response<ResponseBody>, ApiError> {
        let accepted = served.accepted(ctx, Purpose::Object)?;
        let options = WriteOptions::read(ctx, "CreateOptions")?;
        let object = body::object(served, ctx, &bytes, options.field_validation)?;
        let mut object = meta::in_namespace(served, &ctx.info.namespace, object)?;
        meta::wipe(&mut object);
        ctx.warnings.extend(&meta::single_owners(&mut object, ""));
        self.track(ctx, served, None, &mut object).await;
        let entry = self.create_object(ctx, served, object, &options).await?;
        ctx.warnings
            .extend(&rules::warnings(served, "", &entry.value(), None));
        self.convert_ahead(served, std::slice::from_ref(&entry)).await?;
        respond::object(served, &entry, accepted, StatusCode::CREATED)
    }

    /// Creates an object that was decoded, in the version it is stored in.
    pub(super) async fn create_object(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Arc<Entry>, ApiError> {
        let (group, resource) = (served.resource.group, served.resource.resource);
        let object = self.admit_new(ctx, served, object, options).await?;
        let generate = meta::text(&object, "generateName").to_owned();
        let name = meta::text(&object, "name").to_owned();
        if !name.is_empty() || generate.is_empty() {
            let created = self.create_named(ctx, served, object, options).await?;
            return created.ok_or_else(|| ApiError::already_exists(group, resource, &name));
        }
        for _ in 0..NAMES_TRIED {
            let mut object = object.clone();
            let name = names::generated_name(&generate, self.chance_bytes());
            meta::set(&mut object, "name", Value::from(name));
            if let Some(entry) = self.create_named(ctx, served, object, options).await? {
                return Ok(entry);
            }
        }
        Err(ApiError::generate_name_conflict(group, resource, &generate))
    }

    /// The object as everybody leaves it who may change it. Once for all the names that may be tried.
    async fn admit_new(
        &self,
        ctx: &RequestContext,
        served: &Served,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Value, ApiError> {
        let (name, generate_name) = (
            meta::text(&object, "name").to_owned(),
            meta::text(&object, "generateName").to_owned(),
        );
        let admission = self.creation(ctx, served, (&name, &generate_name), options);
        self.provide_namespace(&admission.attributes).await?;
        self.await_default_account(&admission.attributes, &object).await;
        refuse_if_terminating(served, &admission.attributes)?;
        self.admit(&admission, &mut object, None).await?;
        self.check_grant(ctx, served, &object, None).await?;
        Ok(object)
    }

    fn creation<'a>(
        &self,
        ctx: &'a RequestContext,
        served: &'a Served,
        (name, generate_name): (&'a str, &'a str),
        options: &WriteOptions,
    ) -> Admission<'a> {
        let namespace = if served.resource.namespaced {
            ctx.info.namespace.as_str()
        } else {
            ""
        };
        let attributes = Attributes {
            operation: Operation::Create,
            resource: &served.resource,
            subresource: "",
            namespace,
            name,
            generate_name,
            chance: self.chance(),
            user: &ctx.user,
            warnings: &ctx.warnings,
            dry_run: options.dry_run,
            now: self.now(),
        };
        Admission {
            ctx,
            served,
            attributes,
            dry_run: options.dry_run,
        }
    }

    /// None where the name is taken.
    async fn create_named(
        &self,
        ctx: &RequestContext,
        served: &Arc<Served>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Option<Arc<Entry>>, ApiError> {
        let name = meta::text(&object, "name").to_owned();
        let admission = self.creation(ctx, served, (&name, ""), options);
        meta::prepare_create(&mut object, self.now(), self.new_uid());
        rules::prepare_create(served, &mut object, self.now());
        requester::stamp(served, &mut object, &ctx.user);
        // What cannot be allocated is told before what is wrong otherwise.
        let denied = self.check_new_devices(served, &object);
        let verdict = rules::validate_create(served, &object, denied);
        let mut verdict = Some(verdict);
        // Where somebody else is faster at an address or a port, another is looked for.
        let spare = services::concern(served).then(|| object.clone());
        let held = Held {
            old: None,
            dry_run: options.dry_run,
        };
        for _ in 0..quota::TRIES {
            let reservation = self.reserve(served, &mut object, held).await?;
            verdict.take().unwrap_or(Ok(()))?;
            self.admit_finally(&admission, &object, None).await?;
            rules::settle(served, &mut object);
            // What was set since may have defaults of its own, which upstream fills in whenever it reads the object.
            rules::default_again(served, &mut object);
            let made = self
                .commit_new(served, &admission.attributes, object, &reservation, options)
                .await?;
            match (made, &spare) {
                (Made::Done(entry), _) => {
                    reservation.keep();
                    return Ok(Some(entry));
                }
                (Made::Forestalled, Some(again)) => object = again.clone(),
                (Made::NameTaken | Made::Forestalled, _) => return Ok(None),
            }
        }
        Err(self.modified(served, &name))
    }

    /// Charges a new object to the quotas of its namespace and commits both, with the addresses and ports it has got.
    async fn commit_new(
        &self,
        served: &Arc<Served>,
        attributes: &Attributes<'_>,
        mut object: Value,
        reservation: &Reservation,
        options: &WriteOptions,
    ) -> Result<Made, ApiError> {
        let key = served.key(attributes.namespace, attributes.name);
        let mut charges = self.charges(attributes, &object, None)?;
        for _ in 0..quota::TRIES {
            if served.cache.get(&key).is_some() {
                return Ok(Made::NameTaken);
            }
            if self.is_forestalled(reservation) {
                return Ok(Made::Forestalled);
            }
            let named = meta::text(&object, "resourceVersion").parse::<u64>();
            if !options.dry_run && named.is_ok_and(|revision| revision != 0) {
                return Err(ApiError::unknown(
                    "resourceVersion should not be set on objects to be created",
                ));
            }
            if options.dry_run {
                rules::canonical(served, &mut object)?;
                let entry = Entry::unversioned(&key, &object, served.cache.kind());
                return Ok(Made::Done(Arc::new(entry)));
            }
            // Only what is charged to a quota or has an address or a port may have to be tried again.
            let shares = !charges.is_empty() || reservation.shares();
            let kept = shares.then(|| object.clone());
            let also = self.with_addresses(reservation, &object, charges.txn())?;
            let Some((also, _turn)) = self.with_ports(reservation, also).await? else {
                return Ok(Made::Forestalled);
            };
            match (self.put(served, &key, object, 0, also).await?, kept) {
                (Written::Done(entry), _) => return Ok(Made::Done(entry)),
                (Written::Conflict, None) => return Ok(Made::NameTaken),
                // It is the name that is taken, or an address, or ports or a quota that others changed meanwhile.
                (Written::Conflict, Some(kept)) => object = kept,
            }
            self.current(served, attributes.namespace, attributes.name)
                .await?;
            charges = self.charges(attributes, &object, None)?;
        }
        Err(charges.overtaken())
    }

    /// `NamespaceAutoProvision`: whoever writes into a namespace that is not there makes it, where that is switched on.
    async fn provide_namespace(&self, attributes: &Attributes<'_>) -> Result<(), ApiError> {
        let name = attributes.namespace;
        let wanted = self.plugins.is_enabled("NamespaceAutoProvision") && !attributes.dry_run;
        let namespaces = GroupResource::new("", "namespaces");
        if !wanted || name.is_empty() || self.reader.get(&namespaces, "", name).is_some() {
            return Ok(());
        }
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        self.ensure(vec![namespace], |_, _| None).await
    }

    /// A namespace's default account is made by a controller a moment after the namespace: a pod waits for it a little.
    async fn await_default_account(&self, attributes: &Attributes<'_>, pod: &Value) {
        let named = pod
            .pointer("/spec/serviceAccountName")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let awaited = self.plugins.is_enabled("ServiceAccount") && attributes.is("", "pods");
        if !awaited || !matches!(named, "" | "default") {
            return;
        }
        let accounts = GroupResource::new("", "serviceaccounts");
        let namespaces = GroupResource::new("", "namespaces");
        if self.reader.get(&namespaces, "", attributes.namespace).is_none() {
            return;
        }
        let mut changes = self.reader.changes(&accounts);
        let appears = async {
            while self
                .reader
                .get(&accounts, attributes.namespace, "default")
                .is_none()
            {
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Admission says what is wrong where it does not appear.
        let _ = tokio::time::timeout(ACCOUNT_PATIENCE, appears).await;
    }
}

//! What a writer of a ResourceClaim needs rights to beyond the one to write it: access to devices of others' pods, the binding of
//! a claim, and what each driver says of its devices (KEPs 5018 and 4817). Told among the faults of the object, as upstream.

use std::collections::{BTreeMap, BTreeSet};

use coracle_api::codec::equality::equal_named;
use coracle_api::names;
use coracle_api::object::{Fields, same};
use coracle_api::validation::{FieldErrors, Path};
use serde_json::Value;

use super::Registry;
use super::served::Served;
use crate::authn::split_service_account;
use crate::authz::Attributes;
use crate::reader::{GroupResource, ObjectReader};
use crate::request::{RequestContext, UserInfo};

const GROUP: &str = "resource.k8s.io";
/// What a namespace is labelled with in which claims may ask for access to devices that are in use.
const ADMIN_LABEL: &str = "resource.kubernetes.io/admin-access";
/// Where a service account's extra values say on which node its pod runs.
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const DEVICE_STATUS: &str = "io.k8s.api.resource.v1.AllocatedDeviceStatus";

impl Registry {
    /// What of a new claim, or template of claims, its writer may not ask for.
    pub(super) fn check_new_devices(&self, served: &Served, object: &Value) -> FieldErrors {
        let mut errors = FieldErrors::new();
        let spec = &object["spec"];
        let devices = if served.is(GROUP, "resourceclaims") {
            &spec["devices"]
        } else if served.is(GROUP, "resourceclaimtemplates") {
            &spec["spec"]["devices"]
        } else {
            return errors;
        };
        let requests = devices.items("requests").iter();
        let wanting = requests
            .enumerate()
            .find(|(_, one)| one["exactly"].flag("adminAccess"));
        if let Some((index, _)) = wanting {
            let list = Path::new("spec.devices.requests");
            self.require_admin(object, &list.index(index).child("adminAccess"), &mut errors);
        }
        errors
    }

    /// What of a claim's new status its writer may not change.
    pub(super) async fn check_devices(
        &self,
        ctx: &RequestContext,
        served: &Served,
        object: &Value,
        old: &Value,
    ) -> FieldErrors {
        let mut errors = FieldErrors::new();
        if ctx.info.subresource != "status" || !served.is(GROUP, "resourceclaims") {
            return errors;
        }
        let (new, old) = (&object["status"], &old["status"]);
        let admin = |status: &Value| {
            let results = status["allocation"]["devices"].items("results");
            results.iter().position(|one| one.flag("adminAccess"))
        };
        if let (Some(index), None) = (admin(new), admin(old)) {
            let list = Path::new("status.allocation.devices.results");
            self.require_admin(object, &list.index(index).child("adminAccess"), &mut errors);
        }
        self.require_binding(ctx, new, old, &mut errors).await;
        if new.has("allocation") {
            self.require_drivers(ctx, new, old, &mut errors).await;
        }
        errors
    }

    fn require_admin(&self, object: &Value, at: &Path<'_>, errors: &mut FieldErrors) {
        let namespace = object["metadata"].text("namespace");
        let found = self
            .reader
            .get(&GroupResource::new("", "namespaces"), "", namespace);
        let Some(found) = found else {
            let why = "could not retrieve namespace to verify admin access: namespaces";
            return errors.internal(at, format!("{why} {namespace:?} not found"));
        };
        if found["metadata"]["labels"].text(ADMIN_LABEL) != "true" {
            errors.forbidden(
                at,
                format!(
                    "admin access to devices requires the `{ADMIN_LABEL}: true` label on the containing namespace"
                ),
            );
        }
    }

    /// Who says which devices a claim has, and for whom, has to be let to bind claims anywhere.
    async fn require_binding(
        &self,
        ctx: &RequestContext,
        new: &Value,
        old: &Value,
        errors: &mut FieldErrors,
    ) {
        let unchanged = |field: &str| same(new.field(field), old.field(field));
        if unchanged("allocation") && unchanged("reservedFor") {
            return;
        }
        let asked = Attributes {
            subresource: "binding",
            namespace: "",
            name: "",
            ..Attributes::of_context(ctx)
        };
        if let Err(why) = self.is_let(&asked).await {
            let verb = asked.verb;
            let told = format!(
                "changing status.allocation or status.reservedFor requires resource=\"resourceclaims/binding\", verb=\"{verb}\" \
                 permission: {why}"
            );
            errors.forbidden(&Path::new("status.allocation"), told);
        }
    }

    /// Who says how devices are has to be let to speak for their drivers: on their own node, or on any.
    async fn require_drivers(
        &self,
        ctx: &RequestContext,
        new: &Value,
        old: &Value,
        errors: &mut FieldErrors,
    ) {
        let drivers = changed_drivers(new, old);
        if drivers.is_empty() {
            return;
        }
        let base = Attributes::of_context(ctx);
        let mut verbs = vec![format!("arbitrary-node:{}", base.verb)];
        if let Some(node) = allocated_node(&new["allocation"])
            && runs_on(base.user) == Some(node)
        {
            verbs.insert(0, format!("associated-node:{}", base.verb));
        }
        for driver in drivers {
            let mut refusal = None;
            for verb in &verbs {
                let asked = Attributes {
                    verb,
                    subresource: "driver",
                    name: driver,
                    ..base
                };
                match self.is_let(&asked).await {
                    Ok(()) => {
                        refusal = None;
                        break;
                    }
                    Err(why) => refusal = refusal.or(Some(why)),
                }
            }
            if let Some(why) = refusal {
                let verbs = verbs.join(" ");
                let told = format!(
                    "changing status.devices requires resource=\"resourceclaims/driver\", verb=\"[{verbs}]\" permission: {why}"
                );
                errors.forbidden(&Path::new("status.devices"), told);
            }
        }
    }

    async fn is_let(&self, asked: &Attributes<'_>) -> Result<(), String> {
        let Some(authorizer) = self.grants.get() else {
            return Ok(());
        };
        let refused = authorizer.decide(asked).await.refusal();
        refused.map_or(Ok(()), |why| Err(asked.forbidden(&why).to_string()))
    }
}

/// The drivers of whose devices something else is said than before.
fn changed_drivers<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    let key = |device: &'a Value| ["driver", "pool", "device", "shareID"].map(|part| device.text(part));
    let listed = |status: &'a Value| status.items("devices").iter();
    let mut before: BTreeMap<_, _> = listed(old).map(|device| (key(device), device)).collect();
    let mut drivers = BTreeSet::new();
    for device in listed(new) {
        let was = before.remove(&key(device));
        if !equal_named(Some(device), was, DEVICE_STATUS) || was.is_none() {
            drivers.insert(device.text("driver"));
        }
    }
    drivers.extend(before.values().map(|device| device.text("driver")));
    drivers
}

/// The node whose devices alone a claim has.
fn allocated_node(allocation: &Value) -> Option<&str> {
    let [term] = allocation["nodeSelector"].items("nodeSelectorTerms") else {
        return None;
    };
    let [field] = term.items("matchFields") else {
        return None;
    };
    let [node] = field.items("values") else {
        return None;
    };
    let by_name = field.text("key") == "metadata.name" && field.text("operator") == "In";
    let node = node
        .as_str()
        .filter(|_| by_name && term.count("matchExpressions") == 0)?;
    (!node.is_empty()).then_some(node)
}

/// The node on which the pod of a service account runs.
fn runs_on(user: &UserInfo) -> Option<&str> {
    split_service_account(&user.name)?;
    match user.extra.get(NODE_NAME)?.as_slice() {
        [node] if names::dns1123_subdomain(node).is_empty() => Some(node),
        _ => None,
    }
}

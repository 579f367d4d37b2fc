//! What the server fills in where an object says nothing.
//!
//! An object is walked along the type table, outermost first, as upstream's generated `SetObjectDefaults_*` functions do.
//! At each type its rule runs, if it has one (see [`core`], [`workloads`] and [`groups`]), then the defaults that the
//! table states for single fields. Types below which there is no default are not walked.

mod core;
mod groups;
mod workloads;

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use serde_json::{Map, Value};

use crate::object::{is_zero, set_if_absent, set_if_empty};
use crate::quantity::Quantity;
use crate::table::{self, Field, Gvk, Outer, Shape, Type};

pub(crate) use groups::stored_version;

/// The finest resource amounts that are stored, as a power of ten.
const MILLI: i32 = -3;

/// What fills in an object of one type.
type Rule = fn(&mut Map<String, Value>);

/// What there is to fill in at a type and below it.
struct Plan {
    rule: Option<Rule>,
    /// Defaults that the table states; for a pointer, only absence counts, else any zero value.
    values: Vec<(&'static Field, Value)>,
    amounts: Vec<&'static str>,
    below: Vec<(&'static Field, &'static Type)>,
}

/// The plans of all types with a default of their own or below them, by the types' names.
static PLANS: LazyLock<HashMap<&'static str, Plan>> = LazyLock::new(|| {
    let mut filled: HashSet<&str> = table::all()
        .iter()
        .filter(|ty| has_own(ty))
        .map(|ty| ty.name)
        .collect();
    loop {
        let below = |ty: &&&Type| {
            ty.fields
                .iter()
                .filter_map(|f| f.ty.type_of_item())
                .any(|t| filled.contains(t.name))
        };
        let more: Vec<&str> = table::all()
            .iter()
            .filter(|ty| !filled.contains(ty.name))
            .filter(below)
            .map(|ty| ty.name)
            .collect();
        if more.is_empty() {
            break;
        }
        filled.extend(more);
    }
    let plan = |ty: &&'static Type| Plan {
        rule: rule_of(ty),
        values: ty
            .fields
            .iter()
            .filter_map(|field| Some((field, default_of(field)?)))
            .collect(),
        amounts: ty
            .fields
            .iter()
            .filter(|field| is_resource_list(field))
            .map(|field| field.name)
            .collect(),
        below: ty
            .fields
            .iter()
            .filter_map(|field| Some((field, field.ty.type_of_item()?)))
            .filter(|(_, inner)| filled.contains(inner.name))
            .collect(),
    };
    table::all()
        .iter()
        .filter(|ty| filled.contains(ty.name))
        .map(|ty| (ty.name, plan(ty)))
        .collect()
});

/// The annotation that carries a DaemonSet's generation of its template.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Fills in all that `object`, an object of this kind, leaves open. Doing it twice changes nothing more.
///
/// A kind that the table does not know (a custom resource) stays as it is.
pub fn apply(gvk: Gvk, object: &mut Value) {
    let (Some(ty), Value::Object(fields)) = (table::by_gvk(gvk.group, gvk.version, gvk.kind), object) else {
        return;
    };
    fill(ty, fields);
}

fn rule_of(ty: &Type) -> Option<Rule> {
    let prefixes = [
        "io.k8s.api.",
        "io.k8s.apiextensions-apiserver.pkg.apis.",
        "io.k8s.kube-aggregator.pkg.apis.",
    ];
    let name = prefixes.iter().find_map(|prefix| ty.name.strip_prefix(prefix))?;
    let (group, rest) = name.split_once('.')?;
    let (version, kind) = rest.split_once('.')?;
    match group {
        "core" => core::rule(kind),
        "apps" | "batch" => workloads::rule(kind),
        _ => groups::rule(group, version, kind),
    }
}

fn default_of(field: &Field) -> Option<Value> {
    field.default_value().filter(|value| !is_zero(value))
}

fn is_resource_list(field: &Field) -> bool {
    field.ty.outer == Outer::Map
        && field
            .ty
            .type_of_item()
            .is_some_and(|ty| ty.shape == Shape::Quantity)
}

fn has_own(ty: &Type) -> bool {
    rule_of(ty).is_some()
        || ty
            .fields
            .iter()
            .any(|field| default_of(field).is_some() || is_resource_list(field))
}

fn fill(ty: &'static Type, object: &mut Map<String, Value>) {
    let Some(plan) = PLANS.get(ty.name) else { return };
    if let Some(rule) = plan.rule {
        rule(object);
    }
    for (field, value) in &plan.values {
        match field.pointer {
            true => set_if_absent(object, field.name, value.clone()),
            false => set_if_empty(object, field.name, value.clone()),
        }
    }
    for name in &plan.amounts {
        round_amounts(object.get_mut(*name));
    }
    for (field, inner) in &plan.below {
        fill_field(field, inner, object);
    }
}

fn fill_field(field: &Field, inner: &'static Type, object: &mut Map<String, Value>) {
    match (object.get_mut(field.name), field.ty.outer) {
        (Some(Value::Object(fields)), Outer::Value) => fill(inner, fields),
        (Some(Value::Array(items)), Outer::List) => {
            items
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| fill(inner, item));
        }
        (Some(Value::Object(map)), Outer::Map) => {
            map.values_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| fill(inner, item));
        }
        // A struct that is no pointer is always there in Go, so its defaults apply although nothing was said.
        (None | Some(Value::Null), Outer::Value) if !field.pointer && inner.shape == Shape::Struct => {
            let mut made = Map::new();
            fill(inner, &mut made);
            if !made.is_empty() {
                object.insert(field.name.to_owned(), Value::Object(made));
            }
        }
        _ => {}
    }
}

/// Amounts finer than a thousandth are rounded up to thousandths.
fn round_amounts(amounts: Option<&mut Value>) {
    for amount in amounts
        .and_then(Value::as_object_mut)
        .into_iter()
        .flat_map(|map| map.values_mut())
    {
        if let Some(Ok(quantity)) = amount.as_str().map(str::parse::<Quantity>)
            && !quantity.is_multiple_of(MILLI)
        {
            *amount = quantity.rounded_up(MILLI).to_string().into();
        }
    }
}

#[cfg(test)]
mod tests;

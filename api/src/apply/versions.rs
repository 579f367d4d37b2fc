//! Ownership across the versions of a resource: every manager owns fields of the version that it wrote in.
//!
//! As upstream's structured-merge-diff has it: what a write changed is looked at in the version of each owner, for which what
//! was and what is are converted; and what is pruned is pruned in the version in which it was applied.

use std::collections::BTreeMap;

use serde_json::Value;

use super::field_set::FieldSet;
use super::managed::Managed;
use super::typed::{self, Difference};
use super::{Model, Writer};
use crate::object::Fields;
use crate::status::ApiError;

/// The versions in which a resource is known. Pure for whoever uses it: the same question has the same answer.
pub trait Versions: std::fmt::Debug {
    /// What is known of the resource's objects in a version (`example.com/v1`); nothing where there is no such version.
    fn model(&self, api_version: &str) -> Option<Model<'_>>;

    /// An object in one of the versions.
    ///
    /// # Errors
    /// Where it cannot be converted.
    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ApiError>;
}

/// An object in a version, and what is known of it there. Nothing where there is no such version.
///
/// # Errors
/// Where it cannot be converted, or has something that the version does not know; `failed` says what came of that.
fn seen<'a>(
    object: &Value,
    api_version: &str,
    writer: &Writer<'a>,
    failed: &str,
) -> Result<Option<(Value, Model<'a>)>, ApiError> {
    let Some(versions) = writer.versions else {
        return Ok(Some((object.clone(), writer.model)));
    };
    let model = if api_version == writer.manager.api_version {
        Some(writer.model)
    } else {
        versions.model(api_version)
    };
    let Some(model) = model else {
        return Ok(None);
    };
    if object.text("apiVersion") == api_version {
        return Ok(Some((object.clone(), model)));
    }
    let failed = |why: &str| ApiError::unknown(format!("{failed}: {why}"));
    let here = versions
        .convert(object, api_version)
        .map_err(|error| failed(error.message()))?;
    typed::field_set(&here, model.schema()).map_err(|error| failed(&error.to_string()))?;
    Ok(Some((here, model)))
}

/// What a write changed, by the version that it is looked at in.
pub(super) struct Differences {
    /// In the writer's own version.
    pub(super) own: Difference,
    /// In others; nothing for those that there are no more.
    others: BTreeMap<String, Option<Difference>>,
}

impl Differences {
    /// Those between two objects in the writer's version, for all versions in which somebody owns something.
    ///
    /// # Errors
    /// Where an object cannot be converted.
    pub(super) fn between(
        old: Option<&Value>,
        new: &Value,
        managed: &Managed,
        writer: &Writer<'_>,
    ) -> Result<Self, ApiError> {
        let mut own = typed::compare(old, Some(new), writer.model.schema());
        own.leave_out(writer.resets);
        let mut others = BTreeMap::new();
        if writer.versions.is_none() {
            return Ok(Self { own, others });
        }
        for entry in &managed.0 {
            let version = &entry.manager.api_version;
            if *version == writer.manager.api_version || others.contains_key(version) {
                continue;
            }
            let difference = match seen(new, version, writer, "failed to convert new object")? {
                None => None,
                Some((new, model)) => {
                    let failed = "failed to convert old object";
                    let old = old.map(|old| seen(old, version, writer, failed));
                    let old = old.transpose()?.flatten().map(|(old, _)| old);
                    let mut difference = typed::compare(old.as_ref(), Some(&new), model.schema());
                    difference.leave_out(writer.resets);
                    Some(difference)
                }
            };
            others.insert(version.clone(), difference);
        }
        Ok(Self { own, others })
    }

    /// What was changed as a version has it; nothing where there is no such version any more.
    pub(super) fn at(&self, api_version: &str) -> Option<&Difference> {
        match self.others.get(api_version) {
            Some(other) => other.as_ref(),
            None => Some(&self.own),
        }
    }
}

const PRUNED: &str = "failed to prune fields: failed to convert merged object to last applied version";

/// What a manager applied last, and in which version.
pub(super) struct Last {
    pub(super) api_version: String,
    pub(super) set: FieldSet,
}

/// Takes away what the manager applied last and nobody wants now, where versions differ.
///
/// # Errors
/// Where an object cannot be converted, or does not fit its version.
pub(super) fn prune(
    merged: Value,
    last: &Last,
    managed: &Managed,
    writer: &Writer<'_>,
) -> Result<Value, ApiError> {
    let Some((there, model)) = seen(&merged, &last.api_version, writer, PRUNED)? else {
        return Ok(merged);
    };
    let applied = last.set.with_named_fields();
    let mut pruned = typed::remove(&there, &applied, model.schema());
    for (version, owned) in owned_by_version(managed, &last.api_version) {
        pruned = add_back(&merged, pruned, version, &owned, writer)?;
    }
    // What the manager did not apply is not its to take away.
    let pruned = at(&pruned, &last.api_version, writer)?;
    let (all, left) = (members(&there, model)?, members(&pruned, model)?);
    let gone = all.difference(&left).intersection(&applied);
    let result = typed::remove(&there, &gone, model.schema());
    at(&result, &writer.manager.api_version, writer)
}

/// What is owned in each version, that version first in which things are pruned: what is needed to convert the rest is back by then.
fn owned_by_version<'m>(managed: &'m Managed, first: &str) -> Vec<(&'m str, FieldSet)> {
    let mut owned: BTreeMap<&str, FieldSet> = BTreeMap::new();
    for entry in &managed.0 {
        let all = owned.entry(&entry.manager.api_version).or_default();
        *all = all.union(&entry.set);
    }
    let mut owned: Vec<(&str, FieldSet)> = owned.into_iter().collect();
    owned.sort_by_key(|(version, _)| *version != first);
    owned
}

/// What is left with what is owned in a version; both come in any version and leave in that one, where there still is one.
fn add_back(
    merged: &Value,
    pruned: Value,
    api_version: &str,
    owned: &FieldSet,
    writer: &Writer<'_>,
) -> Result<Value, ApiError> {
    let Some((merged, model)) = seen(merged, api_version, writer, PRUNED)? else {
        return Ok(pruned);
    };
    let pruned = at(&pruned, api_version, writer)?;
    let kept = members(&pruned, model)?.union(&owned.with_named_fields());
    let gone = members(&merged, model)?.difference(&kept);
    Ok(typed::remove(&merged, &gone, model.schema()))
}

fn at(object: &Value, api_version: &str, writer: &Writer<'_>) -> Result<Value, ApiError> {
    let seen = seen(object, api_version, writer, PRUNED)?;
    Ok(seen.map_or_else(|| object.clone(), |(object, _)| object))
}

/// Every field of an object.
fn members(object: &Value, model: Model<'_>) -> Result<FieldSet, ApiError> {
    let set = typed::field_set(object, model.schema());
    set.map(|set| set.with_named_fields())
        .map_err(|error| ApiError::unknown(format!("failed to create typed object: {error}")))
}

//! Server-side apply (KEP-555): who owns which field, merging what a manager applies, and the conflicts of owners.
//!
//! All functions are pure. Every write keeps `metadata.managedFields`: an ordinary one through [`track_update`], an application
//! through [`apply`]. How parts are owned and merged is the affair of the type table, or of a custom resource's schema.

mod client_side;
mod field_set;
mod managed;
mod schema;
mod typed;
mod validate;
mod versions;

use std::borrow::Cow;

use serde_json::{Value, json};

pub use field_set::FieldSet;
pub use managed::{Manager, Operation};
pub use versions::Versions;

use self::managed::Managed;
use self::schema::Schema;
use self::versions::{Differences, Last};
use crate::codec;
use crate::object::Fields;
use crate::schema as structural;
use crate::status::{ApiError, Cause};
use crate::table::{Gvk, Type};

/// The most managers that own something by updating; the oldest are then put together.
const UPDATERS_MAX: usize = 10;
const ANCIENT: &str = "ancient-changes";
const BEFORE_FIRST_APPLY: &str = "before-first-apply";
/// What the server itself sets, which nobody owns.
const UNOWNED: [&[&str]; 11] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// What is known of an object: its type, or a custom resource's schema.
#[derive(Debug, Clone, Copy)]
pub enum Model<'a> {
    /// A type of the table.
    Type(&'static Type),
    /// The schema of a custom resource, and its kind.
    Custom(&'a structural::Schema, Gvk),
}

impl<'a> Model<'a> {
    fn schema(self) -> Schema<'a> {
        match self {
            Model::Type(ty) => Schema::of_type(ty),
            Model::Custom(schema, _) => Schema::of_resource(schema),
        }
    }

    fn gvk(self) -> Option<Gvk> {
        match self {
            Model::Type(ty) => ty.gvk,
            Model::Custom(_, gvk) => Some(gvk),
        }
    }

    /// An object before anything was said about it: what a first write is compared with.
    fn empty(self) -> Value {
        match self {
            Model::Type(ty) => empty(ty),
            Model::Custom(_, gvk) => json!({"apiVersion": gvk.api_version(), "kind": gvk.kind}),
        }
    }
}

/// Who writes, what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The manager.
    pub manager: &'a Manager,
    /// What the object is.
    pub model: Model<'a>,
    /// The fields that this way of writing resets, and so does not own: see `strategy::resets`.
    pub resets: &'a [&'a str],
    /// Now, in RFC 3339 with whole seconds.
    pub now: &'a str,
    /// The resource's versions, where managers may have written in several; without, all are taken for one.
    pub versions: Option<&'a dyn Versions>,
}

/// What came of an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object with the configuration merged in and its managed fields; not yet filled in with defaults.
    pub object: Value,
    /// Whether anything but the ownership of fields has changed.
    pub changed: bool,
}

/// An object of a type before anything was said about it: what a first write is compared with.
pub fn empty(ty: &'static Type) -> Value {
    let mut object = json!({});
    if let Some(gvk) = ty.gvk {
        object = json!({"apiVersion": gvk.api_version(), "kind": gvk.kind});
    }
    // An object of nothing but its type conforms to it.
    let _ = codec::conform::conform(&mut object, ty);
    object
}

/// Takes `metadata.managedFields` off and says whether there were any.
fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

fn without_unowned(mut set: FieldSet, resets: &[&str]) -> FieldSet {
    for place in UNOWNED {
        set.cut(place.iter().copied());
    }
    for place in resets {
        let path: Vec<String> = place.split('.').map(|name| format!("f:{name}")).collect();
        set.cut(path.iter().map(String::as_str));
    }
    set.member = false;
    if let Some(metadata) = set.children.get_mut("f:metadata") {
        metadata.member = false;
    }
    set.children.retain(|_, child| !child.is_empty());
    set
}

/// Takes what others wrote from them: fields that were changed now, or are gone. Whoever wrote in a version that there is no more
/// owns nothing.
fn dispossess(managed: &mut Managed, but: Option<&Manager>, differences: &Differences) {
    if managed.0.is_empty() {
        return;
    }
    let keep = but.and_then(|manager| managed.position(manager));
    for (at, entry) in managed.0.iter_mut().enumerate() {
        if Some(at) == keep {
            continue;
        }
        match differences.at(&entry.manager.api_version) {
            Some(difference) => {
                let changed = difference.changed();
                entry.set = entry.set.difference(&changed).difference(&difference.removed);
            }
            None => entry.set = FieldSet::EMPTY,
        }
    }
    managed.0.retain(|entry| !entry.set.is_empty());
}

/// Records in `new` that a manager changed `live` into it by any write but an application.
///
/// The client's own `managedFields` count as far as upstream lets them: an empty list resets all ownership, a list that can
/// be read replaces it. A live object that nobody ever applied to and that has no managed fields gets none.
/// Nor does an object with an item that lacks its list's keys; its validation will say so where that is a fault.
///
/// It is for the object with its defaults, before admission and before `strategy` takes fields away.
///
/// # Errors
/// Where what others own is of another version, into which the object cannot be converted; it has no managed fields then.
pub fn track_update(live: Option<&Value>, new: &mut Value, writer: Writer<'_>) -> Result<(), ApiError> {
    let asked = new["metadata"].get("managedFields").cloned();
    let reset = asked.as_ref().and_then(Value::as_array).is_some_and(|list| {
        list.is_empty() || list.len() == 1 && list[0].as_object().is_some_and(serde_json::Map::is_empty)
    });
    let mut managed = match live {
        _ if reset => Managed::default(),
        Some(live) if !writer.manager.subresource.is_empty() => Managed::of(live),
        live => {
            let own = Managed::of(new);
            if own.0.is_empty() || !Managed::is_sound(new) {
                live.map(Managed::of).unwrap_or_default()
            } else {
                own
            }
        }
    };
    strip(new);
    let schema = writer.model.schema();
    if managed.0.is_empty() && live.is_some() || !typed::has_all_keys(new, schema) {
        return Ok(());
    }
    let written = match writer.model {
        Model::Type(ty) => codec::conform::written(new, ty),
        Model::Custom(..) => Cow::Borrowed(&*new),
    };
    let blank = live.is_none().then(|| writer.model.empty());
    // That the live object has managed fields and the new one none now is a difference that nobody owns.
    let differences = Differences::between(live.or(blank.as_ref()), &written, &managed, &writer)?;
    dispossess(&mut managed, None, &differences);
    let mut own = without_unowned(differences.own.into_changed(), writer.resets);
    if !own.is_empty() {
        own.absorb(managed.set_of(writer.manager));
        managed.put(writer.manager, own, Some(writer.now));
    }
    cap_updaters(&mut managed);
    managed.write(new);
    Ok(())
}

/// Puts the fields of the oldest updaters of a version together when there are too many of them.
fn cap_updaters(managed: &mut Managed) {
    let updaters = |managed: &Managed| {
        managed
            .0
            .iter()
            .filter(|entry| entry.manager.operation == Operation::Update)
            .count()
    };
    while updaters(managed) > UPDATERS_MAX {
        let oldest = (0..managed.0.len())
            .filter(|&at| {
                managed.0[at].manager.operation == Operation::Update && managed.0[at].manager.name != ANCIENT
            })
            .min_by_key(|&at| (managed.0[at].time.clone(), managed.0[at].manager.clone()));
        let Some(at) = oldest else { return };
        let entry = managed.0.remove(at);
        let manager = Manager {
            name: ANCIENT.into(),
            subresource: String::new(),
            ..entry.manager
        };
        let all = managed.set_of(&manager).union(&entry.set);
        managed.put(&manager, all, entry.time.as_deref());
    }
}

/// Applies a configuration to a live object, or makes one of it.
///
/// What the manager applied before and leaves out now is taken away unless another manager owns it.
///
/// # Errors
/// 409 with the fields that others own and the configuration would change, unless `force` takes them over; 400 when the
/// configuration brings managed fields or another version; 500, as upstream answers, when it does not fit its type.
pub fn apply(
    live: Option<&Value>,
    config: &Value,
    force: bool,
    writer: Writer<'_>,
) -> Result<Applied, ApiError> {
    check(config, &writer)?;
    let schema = writer.model.schema();
    let mut managed = live.map(Managed::of).unwrap_or_default();
    let mut before = live.cloned().unwrap_or_else(|| writer.model.empty());
    strip(&mut before);
    if managed.0.is_empty() && live.is_some() {
        first_apply(&mut managed, &before, &writer);
    }
    let untyped = |fault: &str| {
        let metadata = &config["metadata"];
        let (name, namespace) = (metadata.text("name"), metadata.text("namespace"));
        ApiError::unknown(format!(
            "failed to create typed patch object ({namespace}/{name}; {}): {fault}",
            shown(writer.model)
        ))
    };
    if let Model::Type(ty) = writer.model {
        validate::check(config, ty).map_err(|faults| untyped(&faults))?;
    }
    let wanted = typed::field_set(config, schema).map_err(|error| untyped(&error.to_string()))?;
    let last = last_applied(&managed, writer.manager);
    managed.put(writer.manager, filtered(&wanted, writer.resets), None);
    let merged = typed::merge(Some(&before), config, schema);
    let mut object = prune(merged, &last, &managed, &writer)?;
    let differences = Differences::between(Some(&before), &object, &managed, &writer)?;
    if !force {
        let before = || client_side::own_before(live, &writer);
        refuse_conflicts(&managed, writer.manager, &differences, before)?;
    }
    dispossess(&mut managed, Some(writer.manager), &differences);
    let changed = object != before || live.is_none();
    let own = without_unowned(managed.set_of(writer.manager), writer.resets);
    managed.put(writer.manager, own, changed.then_some(writer.now));
    managed.write(&mut object);
    client_side::tell(&mut object, config, &writer);
    Ok(Applied { object, changed })
}

/// The live object with a configuration laid over it, and nobody's ownership kept: what a mutating admission policy does.
///
/// # Errors
/// The configuration does not fit its type, or has something in it that is owned as a whole and so cannot be merged.
pub fn merge(live: &Value, config: &Value, ty: &'static Type) -> Result<Value, String> {
    let schema = Schema::of_type(ty);
    typed::field_set(config, schema)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let mut atomic = Vec::new();
    wholes(config, schema, &mut String::new(), &mut atomic);
    if !atomic.is_empty() {
        let atomic = atomic.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {atomic}"
        ));
    }
    Ok(typed::merge(Some(live), config, schema))
}

/// The lists and objects in a configuration that are owned as a whole.
fn wholes(config: &Value, schema: Schema, path: &mut String, found: &mut Vec<String>) {
    if matches!(schema, Schema::Atomic) {
        if config.is_object() || config.is_array() {
            found.push(path.clone());
        }
        return;
    }
    let length = path.len();
    match config {
        Value::Object(fields) => {
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                wholes(value, schema.child(name).unwrap_or(Schema::Atomic), path, found);
                path.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                wholes(item, schema.item(), path, found);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn check(config: &Value, writer: &Writer<'_>) -> Result<(), ApiError> {
    let expected = &writer.manager.api_version;
    let (said, kind) = (config.text("apiVersion"), config.text("kind"));
    if said != expected || writer.model.gvk().is_some_and(|gvk| gvk.kind != kind) {
        let (group, version) = match said.split_once('/') {
            Some((group, version)) if !version.contains('/') => (group, version),
            Some(_) => ("", ""),
            None => ("", said),
        };
        return Err(ApiError::bad_request(format!(
            "invalid object type: {group}/{version}, Kind={kind}"
        )));
    }
    if config["metadata"].has("managedFields") {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    Ok(())
}

/// What stood in the object before anybody applied belongs to a manager of that name.
fn first_apply(managed: &mut Managed, before: &Value, writer: &Writer<'_>) {
    let manager = Manager {
        name: BEFORE_FIRST_APPLY.into(),
        operation: Operation::Update,
        subresource: String::new(),
        ..writer.manager.clone()
    };
    let blank = writer.model.empty();
    let difference = typed::compare(Some(&blank), Some(before), writer.model.schema());
    let own = without_unowned(difference.into_changed(), writer.resets);
    managed.put(&manager, own, Some(writer.now));
}

fn filtered(set: &FieldSet, resets: &[&str]) -> FieldSet {
    let mut places = FieldSet::EMPTY;
    for name in resets {
        *places.below(format!("f:{name}")) = FieldSet::leaf();
    }
    set.without(&places)
}

/// What a manager applied last, in whichever version that was.
fn last_applied(managed: &Managed, manager: &Manager) -> Last {
    match managed.position(manager) {
        Some(at) => Last {
            api_version: managed.0[at].manager.api_version.clone(),
            set: managed.0[at].set.clone(),
        },
        None => Last {
            api_version: manager.api_version.clone(),
            set: FieldSet::EMPTY,
        },
    }
}

/// Takes away what the manager applied last and nobody wants now.
fn prune(merged: Value, last: &Last, managed: &Managed, writer: &Writer<'_>) -> Result<Value, ApiError> {
    if last.set.is_empty() {
        return Ok(merged);
    }
    let here = |version: &String| *version == writer.manager.api_version;
    let elsewhere =
        !here(&last.api_version) || managed.0.iter().any(|entry| !here(&entry.manager.api_version));
    if writer.versions.is_some() && elsewhere {
        return versions::prune(merged, last, managed, writer);
    }
    let owned = managed
        .0
        .iter()
        .fold(FieldSet::EMPTY, |all, entry| all.union(&entry.set));
    let gone = last
        .set
        .with_named_fields()
        .difference(&owned.with_named_fields());
    Ok(typed::remove(&merged, &gone, writer.model.schema()))
}

/// Refuses what would change fields of others, save those that the manager may take over.
fn refuse_conflicts(
    managed: &Managed,
    manager: &Manager,
    differences: &Differences,
    allowed: impl FnOnce() -> FieldSet,
) -> Result<(), ApiError> {
    let own = managed.position(manager);
    let mut found: Vec<(&Manager, FieldSet)> = Vec::new();
    for (_, entry) in managed.0.iter().enumerate().filter(|(at, _)| Some(*at) != own) {
        let difference = differences.at(&entry.manager.api_version);
        let changed = difference.map(typed::Difference::changed).unwrap_or_default();
        let set = entry.set.intersection(&changed);
        if !set.is_empty() {
            found.push((&entry.manager, set));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let allowed = allowed();
    let mut conflicts: Vec<(&Manager, String)> = Vec::new();
    for (manager, set) in found {
        let paths = set.difference(&allowed).paths();
        conflicts.extend(paths.into_iter().map(|path| (manager, path)));
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    conflicts.sort_by(|a, b| (&a.0.name, a.0, &a.1).cmp(&(&b.0.name, b.0, &b.1)));
    let causes = conflicts.iter().map(|(manager, path)| Cause {
        reason: "FieldManagerConflict".into(),
        message: format!("conflict with {}", manager.shown()),
        field: path.clone(),
    });
    Err(ApiError::apply_conflict(
        conflict_message(&conflicts),
        causes.collect(),
    ))
}

fn conflict_message(conflicts: &[(&Manager, String)]) -> String {
    if let [(manager, path)] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {path}",
            manager.shown()
        );
    }
    let mut lines = Vec::new();
    let mut last = None;
    for (manager, path) in conflicts {
        if last != Some(manager) {
            lines.push(format!("conflicts with {}:", manager.shown()));
            last = Some(manager);
        }
        lines.push(format!("- {path}"));
    }
    format!(
        "Apply failed with {} conflicts: {}",
        conflicts.len(),
        lines.join("\n")
    )
}

fn shown(model: Model<'_>) -> String {
    model.gvk().map_or_else(String::new, |gvk| {
        format!("{}/{}, Kind={}", gvk.group, gvk.version, gvk.kind)
    })
}

#[cfg(test)]
mod tests;

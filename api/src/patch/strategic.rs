//! Strategic merge patch: a merge patch that knows, from the type table, which lists merge and by which key.
//!
//! Directives: `$patch: replace | delete | merge` in an object or in an item of a merging list, `$retainKeys`,
//! `$deleteFromPrimitiveList/<field>` and `$setElementOrder/<field>`. Documented in Kubernetes'
//! `contributors/devel/sig-api-machinery/strategic-merge-patch.md`.

use serde_json::{Map, Value};

use super::{PatchError, printed};
use crate::quote::quote;
use crate::table::{Field, Item, Outer, PatchStrategy, Shape, Ty, Type};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Applies `patch` to `object`, an object of the type `ty`.
///
/// # Errors
/// When the patch is no object, uses a directive wrongly, leaves out a merge key, or descends where the type has nothing.
pub fn apply(object: &mut Value, patch: &Value, ty: &'static Type) -> Result<(), PatchError> {
    let Value::Object(changes) = patch else {
        return malformed("Invalid JSON document");
    };
    let fields = match object.take() {
        Value::Object(fields) => fields,
        _ => Map::new(),
    };
    *object = Value::Object(merge_objects(fields, changes.clone(), Schema::Type(ty))?);
    Ok(())
}

/// What the table says about a place in an object.
#[derive(Clone, Copy)]
enum Schema {
    Type(&'static Type),
    /// A map (or what is in it) with values of this type.
    Container(Ty),
}

/// How a field is patched, and the schema of what is in it (for lists: of its items).
struct Patched {
    schema: Schema,
    strategy: PatchStrategy,
    merge_key: &'static str,
}

impl Schema {
    fn lookup(self, name: &str) -> Result<Patched, PatchError> {
        match self {
            Schema::Type(ty) => match ty.field(name) {
                Some(field) if ty.shape == Shape::Struct => Ok(Patched::of(field)),
                _ => Err(PatchError::Schema(format!(
                    "unable to find api field in struct {} for the json field {}",
                    ty.short_name(),
                    quote(name)
                ))),
            },
            Schema::Container(ty) => Ok(Patched {
                schema: Schema::inside(ty.element()),
                strategy: PatchStrategy::default(),
                merge_key: "",
            }),
        }
    }

    fn inside(ty: Ty) -> Schema {
        match (ty.outer, ty.item) {
            (Outer::Value | Outer::List, Item::Type(item)) => Schema::Type(item),
            _ => Schema::Container(ty),
        }
    }
}

impl Patched {
    fn of(field: &'static Field) -> Self {
        Self {
            schema: Schema::inside(field.ty),
            strategy: field.patch_strategy,
            merge_key: field.patch_merge_key,
        }
    }
}

fn malformed<T>(message: impl Into<String>) -> Result<T, PatchError> {
    Err(PatchError::Malformed(message.into()))
}

fn merge_objects(
    mut object: Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: Schema,
) -> Result<Map<String, Value>, PatchError> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(word)) if word == "replace" => {
            patch.remove(DIRECTIVE);
            return Ok(patch);
        }
        Some(Value::String(word)) if word == "delete" => return Ok(Map::new()),
        Some(other) => return Err(unknown_directive(other, &patch)),
    }
    retain_keys(&mut object, &mut patch)?;
    set_orders(&mut object, &mut patch, schema)?;
    for (name, change) in patch {
        match name.strip_prefix(DELETE_FROM_LIST) {
            Some(field) => delete_from_list(&mut object, field, &change),
            None => merge_field(&mut object, name, change, schema)?,
        }
    }
    Ok(object)
}

fn merge_field(
    object: &mut Map<String, Value>,
    name: String,
    change: Value,
    schema: Schema,
) -> Result<(), PatchError> {
    if change.is_null() {
        object.remove(&name);
        return Ok(());
    }
    let merged = match (object.remove(&name), change) {
        (Some(Value::Object(old)), Value::Object(change)) => {
            let inner = schema.lookup(&name)?;
            Some(Value::Object(if inner.strategy.replace {
                change
            } else {
                merge_objects(old, change, inner.schema)?
            }))
        }
        (Some(Value::Array(old)), Value::Array(change)) => {
            let inner = schema.lookup(&name)?;
            let merges = inner.strategy.merge;
            Some(Value::Array(if merges {
                merge_lists(old, change, &inner)?
            } else {
                change
            }))
        }
        (_, change) => plain(change),
    };
    if let Some(merged) = merged {
        object.insert(name, merged);
    }
    Ok(())
}

/// A patch's value where there is nothing to merge it with: without nulls, and without what carries a directive, for there is
/// nothing to replace or to delete. Other words that begin with a dollar sign stay, and fit no type.
fn plain(change: Value) -> Option<Value> {
    match change {
        Value::Object(fields) if fields.contains_key(DIRECTIVE) => None,
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            let kept = kept.filter_map(|(name, value)| Some((name, plain(value)?)));
            Some(Value::Object(kept.collect()))
        }
        Value::Array(items) => Some(Value::Array(items.into_iter().filter_map(plain).collect())),
        other => Some(other),
    }
}

/// The failure of a word that is no directive where it stands.
fn unknown_directive(word: &Value, of: &Map<String, Value>) -> PatchError {
    let fields = printed(&Value::Object(of.clone()));
    PatchError::Schema(format!("unknown patch type: {} in map: {fields}", printed(word)))
}

fn retain_keys(object: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let wrong = "invalid patch format of retainKeys";
    let Value::Array(keys) = keys else {
        return malformed(wrong);
    };
    let kept = |name: &str| keys.iter().any(|key| key.as_str() == Some(name));
    let stray = patch.iter().any(|(name, change)| {
        !change.is_null()
            && !name.starts_with(DELETE_FROM_LIST)
            && !name.starts_with(SET_ORDER)
            && !kept(name)
    });
    if stray {
        return malformed(wrong);
    }
    object.retain(|name, _| kept(name));
    Ok(())
}

/// Where one of the two is no list there is nothing to delete.
fn delete_from_list(object: &mut Map<String, Value>, field: &str, gone: &Value) {
    if let (Some(Value::Array(items)), Value::Array(gone)) = (object.get_mut(field), gone) {
        items.retain(|item| !gone.contains(item));
    }
}

/// Merges the lists whose order the patch sets, and puts them in that order.
fn set_orders(
    object: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: Schema,
) -> Result<(), PatchError> {
    let orders: Vec<String> = patch
        .keys()
        .filter_map(|name| name.strip_prefix(SET_ORDER))
        .map(str::to_owned)
        .collect();
    for name in orders {
        let Some(Value::Array(order)) = patch.remove(&format!("{SET_ORDER}{name}")) else {
            return malformed("invalid patch format of setElementOrder list");
        };
        let inner = schema.lookup(&name)?;
        let (old, change) = (taken_list(object, &name)?, taken_list(patch, &name)?);
        require_order_of_all(change.as_deref().unwrap_or_default(), &order, inner.merge_key)?;
        let before = old.clone().unwrap_or_default();
        let merged = match (old, change) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(change)) => change.into_iter().filter_map(plain).collect(),
            (Some(old), Some(change)) if inner.strategy.merge => merge_lists(old, change, &inner)?,
            (Some(_), Some(change)) => change,
        };
        object.insert(
            name,
            Value::Array(ordered(merged, &order, &before, inner.merge_key)),
        );
    }
    Ok(())
}

fn taken_list(fields: &mut Map<String, Value>, name: &str) -> Result<Option<Vec<Value>>, PatchError> {
    match fields.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => malformed("invalid patch format of setElementOrder list"),
    }
}

fn require_order_of_all(change: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    if change.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut kept = change
        .iter()
        .filter(|item| item.get(DIRECTIVE).is_none())
        .peekable();
    for one in order {
        if kept
            .peek()
            .is_some_and(|item| place(std::slice::from_ref(one), item, merge_key).is_some())
        {
            kept.next();
        }
    }
    if kept.peek().is_none() {
        return Ok(());
    }
    let list = |items: &[Value]| printed(&Value::Array(items.to_vec()));
    Err(PatchError::Schema(format!(
        "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
        list(change),
        list(order)
    )))
}

fn merge_lists(old: Vec<Value>, change: Vec<Value>, inner: &Patched) -> Result<Vec<Value>, PatchError> {
    if old.is_empty() && change.is_empty() {
        return Ok(old);
    }
    let objects = old.iter().chain(&change).filter(|item| item.is_object()).count();
    if objects == 0 {
        let merged = old.iter().chain(&change).fold(Vec::new(), |mut merged, item| {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
            merged
        });
        return Ok(ordered(merged, &change, &old, ""));
    }
    if objects < old.len() + change.len() {
        let lists = printed(&Value::Array(vec![old.into(), change.into()]));
        return Err(PatchError::Schema(format!(
            "list element types are not identical: {lists}"
        )));
    }
    if inner.merge_key.is_empty() {
        return Err(PatchError::Schema("cannot merge lists without merge key".into()));
    }
    merge_keyed(old, change, inner)
}

/// Merges lists of objects by the value of their merge key.
fn merge_keyed(mut old: Vec<Value>, change: Vec<Value>, inner: &Patched) -> Result<Vec<Value>, PatchError> {
    let key = inner.merge_key;
    let mut replaced = false;
    let mut plain_changes = Vec::new();
    for item in change {
        match item.get(DIRECTIVE).map(|word| word.as_str().unwrap_or_default()) {
            None => plain_changes.push(item),
            Some("replace") => replaced = true,
            Some("delete") => {
                let gone = key_of(&item, key)?.clone();
                old.retain(|one| one.get(key) != Some(&gone));
            }
            Some("merge") => {
                return Err(PatchError::Schema(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            Some(_) => {
                let fields = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(&item[DIRECTIVE], &fields));
            }
        }
    }
    if replaced {
        return Ok(plain_changes.into_iter().filter_map(plain).collect());
    }
    let before = old.clone();
    for item in plain_changes.iter().cloned() {
        let wanted = key_of(&item, key)?;
        match old.iter().position(|one| one.get(key) == Some(wanted)) {
            None => old.extend(plain(item)),
            Some(at) => {
                let (Value::Object(fields), Value::Object(changes)) = (old[at].take(), item) else {
                    continue;
                };
                old[at] = Value::Object(merge_objects(fields, changes, inner.schema)?);
            }
        }
    }
    Ok(ordered(old, &plain_changes, &before, key))
}

fn key_of<'a>(item: &'a Value, key: &str) -> Result<&'a Value, PatchError> {
    match item.get(key) {
        Some(value) => Ok(value),
        None => Err(PatchError::Schema(format!(
            "map: {} does not contain declared merge key: {key}",
            printed(item)
        ))),
    }
}

/// Where `item` stands in `list`: by the merge key for objects, by itself for scalars.
fn place(list: &[Value], item: &Value, merge_key: &str) -> Option<usize> {
    if merge_key.is_empty() {
        return list.iter().position(|one| one == item);
    }
    let wanted = item.get(merge_key)?;
    list.iter().position(|one| one.get(merge_key) == Some(wanted))
}

/// Items of `order` in that order, and the others in the order they had `before`, each before the first item that
/// stood behind it.
fn ordered(items: Vec<Value>, order: &[Value], before: &[Value], merge_key: &str) -> Vec<Value> {
    let (mut patched, mut others): (Vec<Value>, Vec<Value>) = items
        .into_iter()
        .partition(|item| place(order, item, merge_key).is_some());
    patched.sort_by_key(|item| place(order, item, merge_key));
    others.sort_by_key(|item| place(before, item, merge_key).unwrap_or(usize::MAX));
    let mut out = Vec::with_capacity(patched.len() + others.len());
    let (mut patched, mut others) = (patched.into_iter().peekable(), others.into_iter().peekable());
    while let (Some(one), Some(other)) = (patched.peek(), others.peek()) {
        let first = matches!(
            (place(before, other, merge_key), place(before, one, merge_key)),
            (Some(left), Some(right)) if left < right
        );
        out.extend(if first { others.next() } else { patched.next() });
    }
    out.extend(patched);
    out.extend(others);
    out
}

#[cfg(test)]
mod tests {
    use super::super::merge::tests::any_json;
    use super::*;
    use crate::table;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(kind: &str, mut object: Value, patch: Value) -> Result<Value, PatchError> {
        let ty = table::all()
            .iter()
            .find(|ty| ty.gvk.is_some_and(|gvk| gvk.kind == kind && gvk.version == "v1"))
            .unwrap();
        apply(&mut object, &patch, ty)?;
        Ok(object)
    }

    fn containers(names: &[&str]) -> Value {
        json!({"spec": {"containers": names.iter().map(|name| json!({"name": name, "image": "i"})).collect::<Vec<_>>()}})
    }

    fn names(pod: &Value) -> Vec<&str> {
        pod["spec"]["containers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|c| c["name"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn lists_merge_by_their_key() {
        let pod = patched(
            "Pod",
            containers(&["a", "b"]),
            json!({"spec": {"containers": [{"name": "b", "image": "j"}]}}),
        )
        .unwrap();
        assert_eq!(
            pod,
            json!({"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "j"}]}})
        );
        let cases = [
            (json!([{"name": "c"}]), vec!["c", "a", "b"]),
            (json!([{"name": "a", "$patch": "delete"}]), vec!["b"]),
            (json!([{"$patch": "replace"}, {"name": "z"}]), vec!["z"]),
        ];
        for (change, want) in cases {
            let pod = patched(
                "Pod",
                containers(&["a", "b"]),
                json!({"spec": {"containers": change}}),
            )
            .unwrap();
            assert_eq!(names(&pod), want);
        }
    }

    #[test]
    fn directives_find_nothing_in_a_list_that_is_not_there() {
        for directive in ["replace", "delete"] {
            let change = json!([{"$patch": directive, "name": "a"}, {"name": "z"}]);
            let pod = patched("Pod", json!({}), json!({"spec": {"containers": change}})).unwrap();
            assert_eq!(names(&pod), ["z"], "{directive}");
        }
    }

    #[test]
    fn directives_steer_objects_and_scalars() {
        let cases = [
            (
                "Deployment",
                json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
                json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
                json!({"spec": {"strategy": {"type": "Recreate"}}}),
            ),
            (
                "Pod",
                json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x", "y"]}}),
                json!({"metadata": {"labels": {"$patch": "replace", "b": "2"}, "$deleteFromPrimitiveList/finalizers": ["x"]}}),
                json!({"metadata": {"labels": {"b": "2"}, "finalizers": ["y"]}}),
            ),
            (
                "Pod",
                json!({"metadata": {"labels": {"a": "1"}, "finalizers": ["x"]}}),
                json!({"metadata": {"labels": {"$patch": "delete"}, "finalizers": ["x", "z"]}}),
                json!({"metadata": {"labels": {}, "finalizers": ["x", "z"]}}),
            ),
            (
                "Pod",
                json!({"spec": {"nodeName": "n"}}),
                json!({"spec": {"nodeName": null}}),
                json!({"spec": {}}),
            ),
            (
                "Pod",
                json!({}),
                json!({"spec": {"affinity": {"podAffinity": null}}}),
                json!({"spec": {"affinity": {}}}),
            ),
        ];
        for (kind, object, patch, want) in cases {
            assert_eq!(patched(kind, object, patch.clone()), Ok(want), "{patch}");
        }
    }

    #[test]
    fn an_order_is_kept_around_what_only_the_server_has() {
        let patch = json!({"spec": {"$setElementOrder/containers": [{"name": "c"}, {"name": "a"}], "containers": [{"name": "c"}]}});
        let pod = patched("Pod", containers(&["a", "x", "c"]), patch).unwrap();
        assert_eq!(names(&pod), ["x", "c", "a"]);
        let stray =
            json!({"spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "c"}]}});
        assert!(patched("Pod", containers(&["a"]), stray).is_err());
    }

    #[test]
    fn faults_are_told_apart() {
        let deep = json!({"data": {"spec": {"a": null}}});
        let error = patched("ControllerRevision", json!({"data": {"spec": {"a": 1}}}), deep).unwrap_err();
        let message = "unable to find api field in struct RawExtension for the json field \"spec\"";
        assert_eq!(error, PatchError::Schema(message.into()));
        let no_key = json!({"spec": {"containers": [{"image": "j"}]}});
        assert!(matches!(
            patched("Pod", containers(&["a"]), no_key),
            Err(PatchError::Schema(_))
        ));
        for (patch, message) in [
            (
                json!({"metadata": {"$patch": "merge"}}),
                "unknown patch type: merge in map: map[$patch:merge]",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "$patch": "x"}]}}),
                "unknown patch type: x in map: map[$patch:x name:a]",
            ),
            (
                json!({"metadata": {"$setElementOrder/finalizers": ["a", "b"], "finalizers": ["b", "a"]}}),
                "The order in patch list:\n[b a]\n doesn't match $setElementOrder list:\n[a b]\n",
            ),
        ] {
            let pod = json!({"metadata": {"finalizers": ["a"]}, "spec": {"containers": [{"name": "a"}]}});
            assert_eq!(
                patched("Pod", pod, patch),
                Err(PatchError::Schema(message.into()))
            );
        }
    }

    #[test]
    fn what_has_nothing_to_steer_comes_to_nothing() {
        let patch = json!({"metadata": {"labels": {"$patch": "replace", "x": "y"}}});
        assert_eq!(
            patched("Pod", json!({"metadata": {}}), patch),
            Ok(json!({"metadata": {}}))
        );
        let patch = json!({"metadata": {"labels": {"$retainKeys": ["x"], "x": "y"}}});
        assert_eq!(patched("Pod", json!({"metadata": {}}), patch.clone()), Ok(patch));
    }

    proptest! {
        #[test]
        fn without_directives_and_lists_it_is_a_merge_patch(a in "[a-c]{1}", b in "[a-c]{1}", value in "[x-z]{0,2}") {
            let mut fields = Map::new();
            fields.insert(b, if value.is_empty() { Value::Null } else { value.into() });
            let patch = json!({"metadata": {"labels": fields}});
            let mut merged = json!({"metadata": {"labels": {a: "1"}}});
            let strategic = patched("Pod", merged.clone(), patch.clone()).unwrap();
            super::super::merge::apply(&mut merged, &patch).unwrap();
            prop_assert_eq!(strategic, merged);
        }

        #[test]
        fn applying_twice_is_applying_once(have in prop::collection::btree_set("[a-e]", 0..5), want in prop::collection::btree_set("[a-e]", 1..5)) {
            let have: Vec<&str> = have.iter().map(String::as_str).collect();
            let change: Vec<Value> = want.iter().map(|name| json!({"name": name, "image": "new"})).collect();
            let patch = json!({"spec": {"containers": change}});
            let once = patched("Pod", containers(&have), patch.clone()).unwrap();
            prop_assert_eq!(patched("Pod", once.clone(), patch).unwrap(), once);
        }

        #[test]
        fn no_patch_panics(object in any_json(), patch in any_json()) {
            let _ = patched("Pod", json!({"metadata": object, "spec": {"containers": [{"name": "a"}]}}), json!({"metadata": patch, "spec": {"containers": patch}}));
        }
    }
}

//! Ownership across versions: `v1` has sizes as `spec.size`, `v2` as `spec.dimension.size`.

use super::*;
use crate::schema;

#[derive(Debug)]
struct Widgets {
    v1: schema::Schema,
    v2: schema::Schema,
}

const V1: &str = "example.com/v1";
const V2: &str = "example.com/v2";

fn gvk(version: &'static str) -> Gvk {
    Gvk {
        group: "example.com",
        version,
        kind: "Widget",
    }
}

impl Widgets {
    fn new() -> Self {
        let of_spec = |spec: Value| {
            let json =
                json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
            schema::Schema::served(&json)
        };
        let others = |mut spec: Value| {
            spec["color"] = json!({"type": "string"});
            spec["parts"] =
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}});
            spec
        };
        Self {
            v1: of_spec(others(json!({"size": {"type": "integer"}}))),
            v2: of_spec(others(json!({
                "dimension": {"type": "object", "properties": {"size": {"type": "integer"}}},
                "weight": {"type": "integer"},
            }))),
        }
    }
}

impl Versions for Widgets {
    fn model(&self, api_version: &str) -> Option<Model<'_>> {
        match api_version {
            V1 => Some(Model::Custom(&self.v1, gvk("v1"))),
            V2 => Some(Model::Custom(&self.v2, gvk("v2"))),
            _ => None,
        }
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, ApiError> {
        let mut object = object.clone();
        let from = object.text("apiVersion").to_owned();
        object["apiVersion"] = api_version.into();
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            match (from.as_str(), api_version) {
                (V1, V2) => {
                    if let Some(size) = spec.remove("size") {
                        spec.insert("dimension".to_owned(), json!({ "size": size }));
                    }
                }
                (V2, V1) => {
                    if let Some(size) = spec
                        .remove("dimension")
                        .and_then(|mut d| d["size"].as_i64().map(|_| d["size"].take()))
                    {
                        spec.insert("size".to_owned(), size);
                    }
                }
                _ => {}
            }
        }
        Ok(object)
    }
}

fn by(name: &str, operation: Operation, api_version: &str) -> Manager {
    Manager {
        api_version: api_version.to_owned(),
        ..manager(name, operation)
    }
}

fn widget(api_version: &str, spec: Value) -> Value {
    json!({"apiVersion": api_version, "kind": "Widget", "metadata": {"name": "w"}, "spec": spec})
}

fn write<T>(manager: &Manager, act: impl FnOnce(Writer<'_>) -> T) -> T {
    let widgets = Widgets::new();
    act(Writer {
        manager,
        model: widgets.model(&manager.api_version).unwrap(),
        resets: &[],
        now: NOW,
        versions: Some(&widgets),
    })
}

/// The live object with a configuration of a version applied, as that version has it.
fn applied_in(
    api_version: &str,
    live: Option<&Value>,
    spec: Value,
    name: &str,
    force: bool,
) -> Result<Value, ApiError> {
    let live = live.map(|live| Widgets::new().convert(live, api_version).unwrap());
    let manager = by(name, Operation::Apply, api_version);
    write(&manager, |writer| {
        apply(live.as_ref(), &widget(api_version, spec), force, writer).map(|applied| applied.object)
    })
}

fn in_v1(object: &Value) -> Value {
    Widgets::new().convert(object, V1).unwrap()["spec"].clone()
}

/// Manager, version and what is owned.
fn owners(object: &Value) -> Vec<(String, String, Value)> {
    let entries = object["metadata"].items("managedFields").iter();
    entries
        .map(|entry| {
            let text = |name: &str| entry.text(name).to_owned();
            (text("manager"), text("apiVersion"), entry["fieldsV1"].clone())
        })
        .collect()
}

#[test]
fn an_applier_goes_on_in_another_version() {
    let first = applied_in(V1, None, json!({"size": 3, "color": "red"}), "one", false).unwrap();
    let next = applied_in(V2, Some(&first), json!({"dimension": {"size": 4}}), "one", false).unwrap();
    assert_eq!(
        next["spec"],
        json!({"dimension": {"size": 4}}),
        "the colour is applied no more"
    );
    let owned = json!({"f:spec": {"f:dimension": {"f:size": {}}}});
    assert_eq!(owners(&next), [("one".to_owned(), V2.to_owned(), owned)]);
}

#[test]
fn what_another_applied_in_another_version_is_a_conflict() {
    let live = applied_in(V1, None, json!({"size": 3, "color": "red"}), "one", false).unwrap();
    let same = applied_in(V2, Some(&live), json!({"dimension": {"size": 3}}), "two", false).unwrap();
    assert_eq!(owners(&same).len(), 2, "the same value is shared");
    let error = applied_in(V2, Some(&live), json!({"dimension": {"size": 4}}), "two", false).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"one\": .spec.size",
        "it is told as its owner wrote it"
    );
    let forced = applied_in(V2, Some(&live), json!({"dimension": {"size": 4}}), "two", true).unwrap();
    let of_one = json!({"f:spec": {"f:color": {}}});
    assert!(
        owners(&forced).contains(&("one".to_owned(), V1.to_owned(), of_one)),
        "{forced}"
    );
}

#[test]
fn what_another_wants_in_another_version_stays() {
    let live = applied_in(V1, None, json!({"size": 3, "parts": ["a", "b"]}), "one", false).unwrap();
    let both = applied_in(
        V2,
        Some(&live),
        json!({"dimension": {"size": 3}, "parts": ["b"]}),
        "two",
        false,
    );
    let less = applied_in(V1, Some(&both.unwrap()), json!({}), "one", false).unwrap();
    assert_eq!(less["spec"], json!({"size": 3, "parts": ["b"]}));
    let none = applied_in(V1, Some(&less), json!({}), "two", false).unwrap();
    assert_eq!(none["spec"], json!({}));
}

#[test]
fn an_update_takes_fields_from_owners_in_other_versions() {
    let live = applied_in(V1, None, json!({"size": 3, "color": "red"}), "one", false).unwrap();
    let live = Widgets::new().convert(&live, V2).unwrap();
    let mut new = live.clone();
    new["spec"]["dimension"]["size"] = json!(5);
    let manager = by("two", Operation::Update, V2);
    write(&manager, |writer| track_update(Some(&live), &mut new, writer)).unwrap();
    let (of_one, of_two) = (
        json!({"f:spec": {"f:color": {}}}),
        json!({"f:spec": {"f:dimension": {"f:size": {}}}}),
    );
    assert_eq!(
        owners(&new),
        [
            ("one".to_owned(), V1.to_owned(), of_one),
            ("two".to_owned(), V2.to_owned(), of_two)
        ]
    );
}

#[test]
fn what_the_version_of_another_does_not_know_is_refused() {
    let live = applied_in(V1, None, json!({"size": 3}), "one", false).unwrap();
    let refused = applied_in(V2, Some(&live), json!({"weight": 1}), "two", false).unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (
            500,
            "failed to convert new object: .spec.weight: field not declared in schema"
        )
    );
}

#[test]
fn whoever_wrote_in_a_version_that_is_gone_owns_nothing() {
    let mut live = applied_in(V1, None, json!({"size": 3}), "one", false).unwrap();
    live["metadata"]["managedFields"][0]["apiVersion"] = json!("example.com/v0");
    let next = applied_in(V1, Some(&live), json!({"size": 4}), "two", false).unwrap();
    let names: Vec<String> = owners(&next).into_iter().map(|(name, ..)| name).collect();
    assert_eq!(names, ["two"]);
}

fn any_widget() -> impl Strategy<Value = (Option<i64>, Option<String>, Vec<String>)> {
    let parts = prop::collection::btree_set("[a-c]", 0..3);
    (prop::option::of(0i64..3), prop::option::of("[r-s]"), parts)
        .prop_map(|(size, color, parts)| (size, color, parts.into_iter().collect()))
}

/// What a manager wants, in the words of a version.
fn spec(api_version: &str, wanted: &(Option<i64>, Option<String>, Vec<String>)) -> Value {
    let (size, color, parts) = wanted;
    let mut spec = json!({});
    match (size, api_version) {
        (Some(size), V1) => spec["size"] = json!(size),
        (Some(size), _) => spec["dimension"] = json!({ "size": size }),
        (None, _) => {}
    }
    if let Some(color) = color {
        spec["color"] = json!(color);
    }
    if !parts.is_empty() {
        spec["parts"] = json!(parts);
    }
    spec
}

fn any_version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![V1, V2])
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(
        a in any_widget(), b in any_widget(), first in any_version(), second in any_version(),
    ) {
        let live = applied_in(first, None, spec(first, &a), "one", true).unwrap();
        let once = applied_in(second, Some(&live), spec(second, &b), "two", true).unwrap();
        let twice = applied_in(second, Some(&once), spec(second, &b), "two", true).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn the_version_that_one_applies_in_makes_no_difference(
        a in any_widget(), b in any_widget(), first in any_version(), second in any_version(),
    ) {
        let one = |version| applied_in(version, None, spec(version, &a), "one", true).unwrap();
        let then = |live: &Value, version| applied_in(version, Some(live), spec(version, &b), "two", true).unwrap();
        let (here, there) = (then(&one(first), second), then(&one(V1), V1));
        prop_assert_eq!(in_v1(&here), in_v1(&there));
    }

    #[test]
    fn when_everybody_lets_go_nothing_is_left(
        wanted in prop::collection::vec((any_widget(), any_version()), 1..4), last in any_version(),
    ) {
        let mut live: Option<Value> = None;
        for (number, (one, version)) in wanted.iter().enumerate() {
            let name = format!("m{number}");
            live = Some(applied_in(version, live.as_ref(), spec(version, one), &name, true).unwrap());
        }
        for number in 0..wanted.len() {
            let name = format!("m{number}");
            live = Some(applied_in(last, live.as_ref(), json!({}), &name, true).unwrap());
        }
        let left = in_v1(&live.unwrap());
        for field in ["size", "color"] {
            prop_assert_eq!(left.get(field), None, "{}", &left);
        }
        prop_assert!(left.items("parts").is_empty(), "{}", &left);
    }
}

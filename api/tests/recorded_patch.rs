//! Holds the three patches, and the ownership of fields that writes leave behind, against a kube-apiserver's recorded answers.
//!
//! `RECORDED_SHOW=1` prints what differs. Without the recording the test says so and passes.

mod recording;

use std::collections::BTreeMap;

use coracle_api::apply::{self, Manager, Operation, Writer};
use coracle_api::status::ApiError;
use coracle_api::table::{self, Gvk, Type};
use coracle_api::{codec, defaults, patch, strategy, validation};
use recording::{gvk_of, path, recording, stored};
use serde_json::{Value, json};

const NOW: &str = "2026-01-01T00:00:00Z";

/// How many cases of a group may differ: strict decoding of what is left of directives, values that the codec drops.
const MISSES: &[(&str, usize)] = &[("json-patch", 3), ("merge-patch", 4), ("strategic-patch", 20)];
/// How many new objects may have other owners than recorded: those with lists that are there but empty.
const OWNERS_MISSES: usize = 8;

fn type_of(gvk: Gvk) -> &'static Type {
    table::by_gvk(gvk.group, gvk.version, gvk.kind).expect("the kind was found in the table")
}

fn patched(case: &Value, live: &Value, ty: &'static Type) -> Result<Value, ApiError> {
    let mut object = live.clone();
    let body = &case["body"];
    match case["group"].as_str() {
        Some("json-patch") => patch::json::apply(&mut object, body)?,
        Some("merge-patch") => patch::merge::apply(&mut object, body)?,
        _ => patch::strategic::apply(&mut object, body, ty)?,
    }
    let findings =
        codec::conform::conform(&mut object, ty).map_err(|error| ApiError::bad_request(error.to_string()))?;
    if findings.is_empty() {
        Ok(object)
    } else {
        Err(ApiError::bad_request(findings.join(", ")))
    }
}

/// What a patch of the live object comes to: the object as it would be stored, or the failure.
fn outcome(case: &Value, live: &Value, gvk: Gvk) -> Result<Value, ApiError> {
    let ty = type_of(gvk);
    let mut object = patched(case, live, ty)?;
    defaults::apply(gvk, &mut object);
    strategy::prepare_update(gvk, &mut object, live);
    let errors = validation::update(gvk, &object, live);
    if !errors.is_empty() {
        return Err(ApiError::invalid(gvk.group, gvk.kind, "", &errors));
    }
    let _ = codec::conform::conform(&mut object, ty);
    Ok(object)
}

/// An object without what is made afresh, and without fields that admission and allocators set.
fn comparable(object: &Value) -> Value {
    let mut object = object.clone();
    for name in ["managedFields", "resourceVersion"] {
        object["metadata"][name] = Value::Null;
    }
    object
}

fn agrees(case: &Value, outcome: &Result<Value, ApiError>) -> bool {
    let answer = &case["answer"];
    match outcome {
        Ok(object) => answer["code"] == 200 && comparable(object) == comparable(&answer["body"]),
        Err(error) => answer["code"] == error.code(),
    }
}

#[test]
fn patches_come_to_what_is_recorded() {
    let Some(cases) = recording() else {
        println!("no recording at {}: skipped", path().display());
        return;
    };
    let stored = stored(&cases);
    let mut scores: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for case in &cases {
        let group = case["group"].as_str().unwrap_or_default();
        let path = case["path"]
            .as_str()
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default();
        let Some(live) = stored.get(path).filter(|_| group.ends_with("-patch")) else {
            continue;
        };
        let Some(gvk) = gvk_of(live) else { continue };
        let outcome = outcome(case, live, gvk);
        let score = scores.entry(group).or_default();
        score.1 += 1;
        score.0 += usize::from(agrees(case, &outcome));
        if std::env::var("RECORDED_SHOW").is_ok() && !agrees(case, &outcome) {
            let shown = outcome
                .map(|object| comparable(&object).to_string())
                .unwrap_or_else(|e| e.message().to_owned());
            println!(
                "{} {}\n   want {}\n   have {shown}",
                case["id"],
                case["answer"]["code"],
                comparable(&case["answer"]["body"])
            );
        }
    }
    for (group, (agree, of)) in &scores {
        println!("{group:20} {agree:4} of {of:4} agree");
    }
    let misses = |group: &str| scores[group].1 - scores[group].0;
    for (group, most) in MISSES {
        assert!(misses(group) <= *most, "{group}: {} cases differ", misses(group));
    }
}

/// Who owns what, without times.
fn owners(object: &Value) -> Vec<String> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let mut owners: Vec<String> = entries
        .map(|entry| {
            json!({"m": entry["manager"], "o": entry["operation"], "f": entry["fieldsV1"]}).to_string()
        })
        .collect();
    owners.sort();
    owners
}

#[test]
fn owners_of_new_objects_are_those_recorded() {
    let Some(cases) = recording() else {
        println!("no recording at {}: skipped", path().display());
        return;
    };
    let (mut of, mut agree) = (0, 0);
    for case in cases
        .iter()
        .filter(|case| case["group"] == "create" && case["answer"]["code"] == 201)
    {
        let Some(gvk) = gvk_of(&case["body"]) else {
            continue;
        };
        let bytes = case["body"].to_string();
        let Ok(decoded) = codec::json::decode(bytes.as_bytes(), type_of(gvk)) else {
            continue;
        };
        let mut object = decoded.value;
        defaults::apply(gvk, &mut object);
        let manager = Manager {
            name: "unknown".into(),
            operation: Operation::Update,
            api_version: gvk.api_version(),
            subresource: String::new(),
        };
        apply::track_update(
            None,
            &mut object,
            Writer {
                manager: &manager,
                model: apply::Model::Type(type_of(gvk)),
                resets: strategy::resets(gvk, ""),
                now: NOW,
                versions: None,
            },
        )
        .expect("nothing is converted");
        of += 1;
        let same = owners(&object) == owners(&case["answer"]["body"]);
        agree += usize::from(same);
        if std::env::var("RECORDED_SHOW").is_ok() && !same {
            println!(
                "{}\n   want {:?}\n   have {:?}",
                case["id"],
                owners(&case["answer"]["body"]),
                owners(&object)
            );
        }
    }
    println!("{agree} of {of} new objects have the recorded owners");
    assert!(of - agree <= OWNERS_MISSES, "{} new objects differ", of - agree);
}

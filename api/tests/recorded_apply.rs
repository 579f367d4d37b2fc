//! Holds server-side apply against the recorded answers of a kube-apiserver: the conflicts, and who owns what afterwards.
//!
//! `RECORDED_SHOW=1` prints what differs. Without the recording the test says so and passes.

mod recording;

use coracle_api::apply::{self, Applied, Manager, Operation, Writer};
use coracle_api::status::ApiError;
use coracle_api::table;
use recording::{gvk_of, path, recording, stored};
use serde_json::{Value, json};

fn applied(case: &Value, live: &Value) -> Option<Result<Applied, ApiError>> {
    let config = &case["body"];
    let gvk = gvk_of(config)?;
    let ty = table::by_gvk(gvk.group, gvk.version, gvk.kind)?;
    let manager = Manager {
        name: "other".into(),
        operation: Operation::Apply,
        api_version: gvk.api_version(),
        subresource: String::new(),
    };
    let writer = Writer {
        manager: &manager,
        model: apply::Model::Type(ty),
        resets: &["status"],
        now: "2026-01-01T00:00:00Z",
        versions: None,
    };
    let force = case["path"].as_str()?.contains("force=true");
    let mut config = config.clone();
    if let Some(namespace) = live["metadata"].get("namespace") {
        config["metadata"]["namespace"] = namespace.clone();
    }
    Some(apply::apply(Some(live), &config, force, writer))
}

/// Who owns what, without times.
fn owners(object: &Value) -> Vec<Value> {
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .into_iter()
        .flatten();
    let mut owners: Vec<Value> = entries
        .map(|entry| json!({"m": entry["manager"], "o": entry["operation"], "f": entry["fieldsV1"]}))
        .collect();
    owners.sort_by_key(Value::to_string);
    owners
}

#[test]
fn conflicts_and_owners_are_those_recorded() {
    let Some(cases) = recording() else {
        println!("no recording at {}: skipped", path().display());
        return;
    };
    let stored = stored(&cases);
    let show = std::env::var("RECORDED_SHOW").is_ok();
    let (mut of, mut agree) = (0, 0);
    for case in cases.iter().filter(|case| case["group"] == "apply") {
        let answer = &case["answer"];
        let path = case["path"]
            .as_str()
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default();
        // What a merged object breaks is judged by the rules of its kind, not here.
        if !matches!(answer["code"].as_u64(), Some(200 | 409)) {
            continue;
        }
        let Some(outcome) = stored.get(path).and_then(|live| applied(case, live)) else {
            continue;
        };
        let (have, want) = match (&outcome, answer["code"] == 200) {
            (Ok(applied), true) => (json!(owners(&applied.object)), json!(owners(&answer["body"]))),
            (Err(error), _) => (json!(error.message()), answer["body"]["message"].clone()),
            (Ok(_), false) => (Value::Null, answer["body"]["message"].clone()),
        };
        of += 1;
        agree += usize::from(have == want);
        if show && have != want {
            println!("{}\n   want {want}\n   have {have}", case["id"]);
        }
    }
    println!("{agree} of {of} applications agree");
    assert_eq!(agree, of, "RECORDED_SHOW=1 prints what differs");
}

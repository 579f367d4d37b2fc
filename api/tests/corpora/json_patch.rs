//! The two files of json-patch/json-patch-tests: what RFC 6902 asks for.

use coracle_api::patch;
use serde_json::Value;

use crate::archive::file;
use crate::outcome::Outcome;

/// What is wrong with the answer to a case, if anything.
fn wrong(case: &Value) -> Option<String> {
    let mut object = case["doc"].clone();
    let result = patch::json::apply(&mut object, &case["patch"]);
    match (result, case.get("expected"), case.get("error")) {
        (Ok(()), Some(expected), None) if object != *expected => Some(format!("gives {object}")),
        (Ok(()), _, None) | (Err(_), None, Some(_)) => None,
        (Ok(()), _, Some(error)) => Some(format!("is accepted, although {error}")),
        (Err(error), ..) => Some(format!("is refused: {error}")),
    }
}

fn suite(name: &str, at_least: usize, known: &[&str]) {
    let Some(bytes) = file(name) else { return };
    let cases: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
    let mut outcome = Outcome::default();
    for (at, case) in cases.iter().enumerate() {
        let comment = case["comment"].as_str().unwrap_or_default();
        let label = format!("{at}: {comment}").trim_end_matches([':', ' ']).to_owned();
        // A record without a patch is a remark of its authors.
        if case.get("patch").is_some() {
            outcome.count(&label, wrong(case));
        }
    }
    outcome.conclude(&format!("JSON patch, {name}"), at_least, known);
}

#[test]
fn the_specification() {
    suite("json-patch-spec_tests.json", 16, &[]);
}

#[test]
fn beyond_the_specification() {
    // A member that stands twice is a matter of reading JSON, where the last one counts, as upstream; its authors have
    // disabled the case themselves. A value that is missing is null to upstream's library, and so to a kube-apiserver.
    let known = [
        "77: missing 'value' parameter to add",
        "78: missing 'value' parameter to replace",
        "79: missing 'value' parameter to test",
        "85: duplicate ops",
    ];
    suite("json-patch-tests.json", 90, &known);
}

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
    // disabled the case themselves. To upstream's library, and so to a kube-apiserver, a value that is missing is null, and so
    // is a member that is not there when it is copied; an index is a number as Go reads it, from the end where it is negative;
    // and a document gives way to another only by `replace`.
    let known = [
        "10: Toplevel scalar values OK?",
        "11: replace object document with array document?",
        "12: replace array document with object document?",
        "19",
        "63: replacing the root of the document is possible with add",
        "77: missing 'value' parameter to add",
        "78: missing 'value' parameter to replace",
        "79: missing 'value' parameter to test",
        "82: missing from location to copy",
        "85: duplicate ops",
        "87: test with bad array number that has leading zeros",
        "88: test with bad array number that has leading zeros",
    ];
    suite("json-patch-tests.json", 90, &known);
}

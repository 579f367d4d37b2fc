//! The requests recorded with a kube-apiserver's answers, which lie beside the project or not at all.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use coracle_api::table::{self, Gvk};
use serde_json::Value;

/// Where the recording is: what `RECORDED` says, or in `$SHARED`, or beside the project.
pub(crate) fn path() -> PathBuf {
    if let Some(path) = std::env::var_os("RECORDED") {
        return path.into();
    }
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared");
    let shared = std::env::var_os("SHARED").map_or(beside, PathBuf::from);
    shared.join("wire/recorded.jsonl.gz")
}

/// Every line of the recording; none when it is not there.
pub(crate) fn recording() -> Option<Vec<Value>> {
    let file = std::fs::File::open(path()).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .expect("the recording is gzip");
    Some(
        text.lines()
            .map(|line| serde_json::from_str(line).expect("each line is JSON"))
            .collect(),
    )
}

/// The kind of an object, where the table knows it.
pub(crate) fn gvk_of(object: &Value) -> Option<Gvk> {
    table::by_api_version(object["apiVersion"].as_str()?, object["kind"].as_str()?)?.gvk
}

/// What stands in the server for each item path, from the recorded plain reads.
pub(crate) fn stored(cases: &[Value]) -> BTreeMap<&str, &Value> {
    let reads = cases
        .iter()
        .filter(|case| case["id"].as_str().is_some_and(|id| id.ends_with(" read get")));
    reads
        .filter_map(|case| Some((case["path"].as_str()?, &case["answer"]["body"])))
        .collect()
}

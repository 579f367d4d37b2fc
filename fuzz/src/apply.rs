//! Server-side apply: a live object, with whatever it says of its managers, and on a second line a configuration of the
//! same kind.

use coracle_api::apply::{Manager, Model, Operation, Writer, apply, track_update};
use coracle_api::codec::conform::conform;

use serde_json::Value;

use crate::{two_documents, type_of};

/// Whoever applies the same again changes nothing but by whom it is owned.
pub fn check(input: &[u8]) -> bool {
    let Some((mut live, mut config)) = two_documents(input) else {
        return false;
    };
    let Some(ty) = type_of(&live).filter(|ty| type_of(&config).is_some_and(|other| other.name == ty.name))
    else {
        return false;
    };
    if conform(&mut live, ty).is_err() || conform(&mut config, ty).is_err() {
        return false;
    }
    let Some(gvk) = ty.gvk else { return false };
    let manager = |operation| Manager {
        name: "kubectl".to_owned(),
        operation,
        api_version: gvk.api_version(),
        subresource: String::new(),
    };
    let (applier, updater) = (manager(Operation::Apply), manager(Operation::Update));
    let writer = |manager| Writer {
        manager,
        model: Model::Type(ty),
        resets: &["status"],
        now: "2026-01-01T00:00:00Z",
        versions: None,
    };
    let _ = apply(Some(&live), &config, false, writer(&applier));
    let mut new = config.clone();
    track_update(Some(&live), &mut new, writer(&updater)).expect("nothing is converted");
    let Ok(once) = apply(Some(&live), &config, true, writer(&applier)) else {
        return false;
    };
    if !could_be_applied(&once.object, writer(&applier)) {
        return true;
    }
    let twice =
        apply(Some(&once.object), &config, true, writer(&applier)).expect("what was applied applies again");
    assert!(!twice.changed, "{}\n{}", once.object, twice.object);
    true
}

/// Whether an object could be a configuration itself. One could not that has two items of one key: who owns the name of an item and
/// not the item, and applies without it, leaves an item without a name, here as upstream, which no validation lets pass.
fn could_be_applied(object: &Value, writer: Writer<'_>) -> bool {
    let mut config = object.clone();
    if let Some(metadata) = config["metadata"].as_object_mut() {
        metadata.remove("managedFields");
    }
    apply(None, &config, true, writer).is_ok()
}

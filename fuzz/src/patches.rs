//! The three patches: an object and, on a second line, what is to be done to it.

use coracle_api::{patch, table};

use crate::{two_documents, type_of};

/// Patches of what says no type are tried on these.
const KINDS: [(&str, &str); 3] = [("", "Pod"), ("", "Service"), ("apps", "Deployment")];

/// A merge patch has nothing to do the second time; whatever patch it is, nothing panics.
pub fn check(input: &[u8]) -> bool {
    let Some((object, patch)) = two_documents(input) else {
        return false;
    };
    let mut taken = patch::json::apply(&mut object.clone(), &patch).is_ok();
    let mut once = object.clone();
    if patch::merge::apply(&mut once, &patch).is_ok() {
        taken = true;
        let mut twice = once.clone();
        patch::merge::apply(&mut twice, &patch).expect("a merge patch that applied applies again");
        assert_eq!(twice, once, "a merge patch has nothing to do the second time");
    }
    let types = match type_of(&object) {
        Some(ty) => vec![ty],
        None => KINDS
            .iter()
            .filter_map(|(group, kind)| table::by_gvk(group, "v1", kind))
            .collect(),
    };
    for ty in types {
        taken |= patch::strategic::apply(&mut object.clone(), &patch, ty).is_ok();
    }
    taken
}

//! Names that live as long as the process: of groups, versions, kinds and resources.
//!
//! The built-in ones are constants. Those that custom resource definitions bring are kept here, each once, so that a name
//! costs its bytes the first time it is seen and nothing after that, however often definitions come, change and go; and a
//! name is one pointer wherever it is used.

use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

static SYMBOLS: RwLock<BTreeSet<&'static str>> = RwLock::new(BTreeSet::new());

/// The name that reads like this text.
pub fn symbol(text: &str) -> &'static str {
    if let Some(known) = SYMBOLS.read().unwrap_or_else(PoisonError::into_inner).get(text) {
        return known;
    }
    let mut symbols = SYMBOLS.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = symbols.get(text) {
        return known;
    }
    let kept: &'static str = Box::leak(text.to_owned().into_boxed_str());
    symbols.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once() {
        let text = String::from("widgets.symbols.test");
        assert!(std::ptr::eq(symbol(&text), symbol("widgets.symbols.test")));
    }
}

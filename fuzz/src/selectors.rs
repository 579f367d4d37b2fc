//! Label and field selectors, as they come in a query.

use coracle_api::selector::{FieldSelector, LabelSelector};

/// A selector is read back from how it is shown.
pub fn check(input: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(input) else {
        return false;
    };
    let labels = LabelSelector::parse(text).ok().inspect(|selector| {
        let again = LabelSelector::parse(&selector.to_string()).expect("what was shown can be read");
        let label = |key: &str| key.len().is_multiple_of(2).then_some("value");
        assert_eq!(again.matches(label), selector.matches(label), "{selector}");
    });
    let fields = FieldSelector::parse(text).ok().inspect(|selector| {
        let again = FieldSelector::parse(&selector.to_string()).expect("what was shown can be read");
        for value in ["", "value"] {
            assert_eq!(
                again.matches(|_| value),
                selector.matches(|_| value),
                "{selector}"
            );
        }
    });
    labels.is_some() || fields.is_some()
}

//! From the words of a request to what it selects.

use coracle_api::selector::{FieldSelector, LabelSelector};
use coracle_api::status::ApiError;

use super::options::ListOptions;
use super::served::Served;
use crate::cache::selection::{FieldTerm, Selection};

/// What a list or watch of a resource selects.
///
/// # Errors
/// 400 where a selector cannot be read, or names a field that the resource does not offer.
pub(super) fn selection(
    served: &Served,
    namespace: &str,
    options: &ListOptions,
) -> Result<Selection, ApiError> {
    let labels = LabelSelector::parse(&options.label_selector).map_err(bad_selector)?;
    let fields = FieldSelector::parse(&options.field_selector).map_err(bad_selector)?;
    let terms = fields.terms.into_iter().map(|term| {
        let name = served.field(&term.field).map_err(ApiError::bad_request)?;
        Ok(FieldTerm {
            name,
            equal: term.equal,
            value: term.value,
        })
    });
    Ok(Selection {
        namespace: namespace.to_owned(),
        labels: (!labels.is_everything()).then_some(labels),
        fields: terms.collect::<Result<_, ApiError>>()?,
    })
}

fn bad_selector(error: impl std::fmt::Display) -> ApiError {
    ApiError::bad_request(error.to_string())
}

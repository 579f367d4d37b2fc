//! What types and fields are for, as the build script wrote it down.
//!
//! It lies compressed in the binary and is opened only while documents are made: an idle server holds none of it.

use std::collections::HashMap;

use coracle_api::table::Type;
use flate2::read::DeflateDecoder;
use serde::Deserialize;

static WRITTEN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptions.json.deflate"));

/// Descriptions of types and their fields.
#[derive(Deserialize)]
pub(crate) struct Descriptions {
    texts: Vec<String>,
    /// By type and field the place among the texts; a type itself is its field without a name.
    types: HashMap<String, HashMap<String, usize>>,
}

impl Descriptions {
    /// Reads them, which takes a few milliseconds.
    pub(crate) fn open() -> Self {
        serde_json::from_reader(std::io::BufReader::new(DeflateDecoder::new(WRITTEN)))
            .expect("the build script wrote what this reads")
    }

    /// What a type is for.
    pub(super) fn of_type(&self, ty: &Type) -> Option<&str> {
        self.text(ty.name, "")
    }

    /// What a field is for of a type that is named as in OpenAPI.
    pub(crate) fn text(&self, ty: &str, field: &str) -> Option<&str> {
        let place = *self.types.get(ty)?.get(field)?;
        self.texts.get(place).map(String::as_str)
    }

    /// What a field is for. Lists, of which nothing is written, have `apiVersion` and `kind` for the same as what they list.
    pub(super) fn of_field(&self, ty: &Type, field: &str) -> Option<&str> {
        self.text(ty.name, field).or_else(|| {
            let listed = ty.gvk.and(ty.field("items"))?.ty.type_of_item()?;
            matches!(field, "apiVersion" | "kind")
                .then(|| self.text(listed.name, field))
                .flatten()
        })
    }
}

#[cfg(test)]
mod tests {
    use coracle_api::table;

    use super::*;

    /// Whether a type is the list of a kind, which is one generic type for all in `k8s-openapi`.
    fn is_list(ty: &Type) -> bool {
        ty.gvk.is_some() && ty.field("items").is_some()
    }

    #[test]
    fn every_type_but_lists_is_described() {
        let descriptions = Descriptions::open();
        let (mut types, mut fields) = (0, 0);
        for ty in table::all() {
            types += usize::from(descriptions.of_type(ty).is_some());
            let described = ty
                .fields
                .iter()
                .filter(|field| descriptions.of_field(ty, field.name).is_some());
            fields += described.count();
        }
        println!(
            "{types} types and {fields} fields are described in {} bytes",
            WRITTEN.len()
        );
        assert!(types >= 520, "only {types} types");
        assert!(fields >= 2280, "only {fields} fields");
        let bare: Vec<&str> = coracle_api::resources::all()
            .iter()
            .map(coracle_api::resources::Resource::ty)
            .filter(|ty| !is_list(ty) && descriptions.of_type(ty).is_none())
            .map(|ty| ty.name)
            .collect();
        assert_eq!(bare, [""; 0], "kinds without a description");
    }

    #[test]
    fn lists_borrow_what_is_the_same() {
        let descriptions = Descriptions::open();
        let list = table::by_gvk("", "v1", "PodList").unwrap();
        let pod = table::by_gvk("", "v1", "Pod").unwrap();
        for field in ["apiVersion", "kind"] {
            let text = descriptions.of_field(list, field);
            assert!(text.is_some());
            assert_eq!(text, descriptions.of_field(pod, field));
        }
        assert_eq!(descriptions.of_field(list, "items"), None);
    }
}

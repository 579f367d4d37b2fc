//! Writes the list of types from which the build script of `apiserver` reaches every type that has descriptions.
//!
//! Those are the types that no other type has a field of. `k8s-openapi` has them all under their OpenAPI names, but for
//! lists, which are one generic type there and have no schema.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use super::HEADER;
use super::facts::{Facts, Type, is_beyond_openapi};

/// Types that are generic in `k8s-openapi`; what of does not matter for their schemas.
const GENERIC: &[&str] = &["io.k8s.apimachinery.pkg.apis.meta.v1.WatchEvent"];

/// The file of the list by path.
pub(super) fn files(facts: &Facts) -> BTreeMap<PathBuf, String> {
    let mut text = format!(
        "{HEADER}\nuse k8s_openapi::schemars::SchemaGenerator;\nuse k8s_openapi::*;\n\n\
         /// Has every type described that the API server publishes.\n\
         #[expect(clippy::too_many_lines, reason = \"a table, a line a type\")]\n\
         pub(super) fn describe(generator: &mut SchemaGenerator) {{\n"
    );
    for name in roots(&facts.types) {
        let argument = if GENERIC.contains(&name) { "<()>" } else { "" };
        let _ = writeln!(text, "    generator.subschema_for::<{}{argument}>();", path(name));
    }
    text.push_str("}\n");
    BTreeMap::from([(PathBuf::from("apiserver/build/roots.rs"), text)])
}

/// The types that are reached from no other.
fn roots(types: &BTreeMap<String, Type>) -> Vec<&str> {
    let described = || {
        types
            .iter()
            .filter(|(name, ty)| !is_list(ty) && !is_beyond_openapi(name))
    };
    let mut reached = BTreeSet::new();
    for (name, ty) in described() {
        let refers_to = ty.fields.values().map(|field| item(&field.ty));
        reached.extend(refers_to.filter(|other| *other != name.as_str()));
    }
    let names = described().map(|(name, _)| name.as_str());
    names.filter(|name| !reached.contains(name)).collect()
}

/// Whether a type is the list of a kind.
fn is_list(ty: &Type) -> bool {
    ty.gvk.is_some() && ty.fields.contains_key("items")
}

/// What a field's type is in the end, without the lists and maps around it.
fn item(ty: &str) -> &str {
    ty.trim_matches(['[', ']', '{', '}'])
}

/// The path of a type in `k8s-openapi`.
fn path(name: &str) -> String {
    let name = name.strip_prefix("io.k8s.").unwrap_or(name);
    name.replace('-', "_").replace('.', "::")
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Field, Gvk};
    use super::*;

    fn ty(kind: &str, fields: &[(&str, &str)]) -> Type {
        let gvk = Gvk {
            group: String::new(),
            version: "v1".to_owned(),
            kind: kind.to_owned(),
        };
        let fields = fields.iter().map(|(name, ty)| {
            let field = serde_json::from_value::<Field>(serde_json::json!({ "type": ty }));
            ((*name).to_owned(), field.expect("a field of facts"))
        });
        Type {
            gvk: (!kind.is_empty()).then_some(gvk),
            fields: fields.collect(),
            ..Type::default()
        }
    }

    #[test]
    fn roots_are_what_nothing_refers_to() {
        let types = BTreeMap::from([
            ("io.k8s.Pod".to_owned(), ty("Pod", &[("spec", "io.k8s.Spec")])),
            ("io.k8s.Spec".to_owned(), ty("", &[("all", "[io.k8s.Container]")])),
            ("io.k8s.Container".to_owned(), ty("", &[("env", "{[string]}")])),
            (
                "io.k8s.PodList".to_owned(),
                ty("PodList", &[("items", "[io.k8s.Pod]")]),
            ),
            ("io.k8s.Tree".to_owned(), ty("", &[("below", "{io.k8s.Tree}")])),
        ]);
        assert_eq!(roots(&types), ["io.k8s.Pod", "io.k8s.Tree"]);
    }

    #[test]
    fn paths_are_those_of_the_library() {
        assert_eq!(
            path("io.k8s.kube-aggregator.pkg.apis.apiregistration.v1.APIService"),
            "kube_aggregator::pkg::apis::apiregistration::v1::APIService"
        );
    }
}

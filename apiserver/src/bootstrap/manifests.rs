//! The embedded manifests.

use coracle_api::codec::yaml;
use serde_json::Value;

const FILES: [&str; 9] = [
    include_str!("../../../manifests/bootstrap/namespaces.yaml"),
    include_str!("../../../manifests/bootstrap/cluster-roles.yaml"),
    include_str!("../../../manifests/bootstrap/cluster-role-bindings.yaml"),
    include_str!("../../../manifests/bootstrap/roles.yaml"),
    include_str!("../../../manifests/bootstrap/role-bindings.yaml"),
    include_str!("../../../manifests/bootstrap/priority-classes.yaml"),
    include_str!("../../../manifests/bootstrap/priority-levels.yaml"),
    include_str!("../../../manifests/bootstrap/flow-schemas.yaml"),
    include_str!("../../../manifests/bootstrap/api-services.yaml"),
];

/// Every object, namespaces first.
pub(super) fn objects() -> Vec<Value> {
    let documents = FILES.iter().flat_map(|file| file.split("\n---\n"));
    let parsed = documents.map(|text| {
        yaml::parse(text.as_bytes())
            .expect("the manifests are YAML")
            .value
    });
    parsed.filter(Value::is_object).collect()
}

#[cfg(test)]
mod tests {
    use coracle_api::codec::conform::conform;
    use coracle_api::table;

    use super::*;

    #[test]
    fn every_manifest_is_an_object_of_a_known_kind() {
        let objects = objects();
        assert!(objects.len() > 170, "{}", objects.len());
        for mut object in objects {
            let (api_version, kind) = (
                object["apiVersion"].as_str().unwrap(),
                object["kind"].as_str().unwrap(),
            );
            let ty = table::by_api_version(api_version, kind).expect("a known kind");
            assert_eq!(
                conform(&mut object, ty).unwrap(),
                Vec::<String>::new(),
                "{object}"
            );
        }
    }
}

use super::*;

#[test]
fn finds_types() {
    let pod = by_gvk("", "v1", "Pod").unwrap();
    assert_eq!(pod.name, "io.k8s.api.core.v1.Pod");
    assert_eq!(by_name(pod.name).unwrap().message, "k8s.io.api.core.v1.Pod");
    assert_eq!(
        by_api_version("apps/v1", "Deployment").unwrap().short_name(),
        "Deployment"
    );
    assert!(by_gvk("", "v2", "Pod").is_none());
    assert!(by_name("io.k8s.api.core.v1.Nothing").is_none());
    for group in ["", "apps", "policy"] {
        assert_eq!(
            by_gvk(group, "v1", "DeleteOptions").unwrap().short_name(),
            "DeleteOptions"
        );
    }
}

#[test]
fn every_type_is_found_by_its_names() {
    for ty in all() {
        assert!(std::ptr::eq(by_name(ty.name).unwrap(), *ty), "{}", ty.name);
        if let Some(gvk) = ty.gvk {
            assert!(
                std::ptr::eq(by_gvk(gvk.group, gvk.version, gvk.kind).unwrap(), *ty),
                "{}",
                ty.name
            );
        }
    }
}

#[test]
fn fields_are_in_order() {
    for ty in all() {
        assert!(ty.fields.is_sorted_by(|a, b| a.name < b.name), "{}", ty.name);
        let paths: Vec<Vec<u32>> = ty.in_number_order().map(|field| field.path().collect()).collect();
        assert!(paths.is_sorted_by(|a, b| a < b), "{}", ty.name);
        let numbered = ty.fields.iter().filter(|field| field.number != 0).count();
        assert_eq!(paths.len(), numbered, "{}", ty.name);
        for field in ty.fields {
            if let Some(other) = field.ty.type_of_item() {
                assert!(by_name(other.name).is_some(), "{}", other.name);
            }
            assert_eq!(
                field.default.is_some(),
                field.default_value().is_some(),
                "{}.{}",
                ty.name,
                field.name
            );
        }
    }
}

#[test]
fn facts_of_a_field() {
    let spec = by_name("io.k8s.api.core.v1.PodSpec").unwrap();
    let containers = spec.field("containers").unwrap();
    assert_eq!(containers.list_type, ListType::Map);
    assert_eq!(containers.list_map_keys, ["name"]);
    assert!(containers.patch_strategy.merge && containers.required);
    assert_eq!(containers.patch_merge_key, "name");
    assert_eq!(containers.go_type(), "[]v1.Container");
    assert_eq!(spec.field("restartPolicy").unwrap().go_type(), "v1.RestartPolicy");
    assert_eq!(spec.field("hostNetwork").unwrap().omit, Omit::Empty);
    assert!(spec.field("priority").unwrap().pointer);
    assert!(spec.field("Containers").is_none());

    let port = by_name("io.k8s.api.core.v1.ContainerPort")
        .unwrap()
        .field("protocol")
        .unwrap();
    assert_eq!(port.default_value(), Some(serde_json::json!("TCP")));
    assert_eq!(port.enum_values, ["SCTP", "TCP", "UDP"]);

    let volume = by_name("io.k8s.api.core.v1.Volume")
        .unwrap()
        .field("secret")
        .unwrap();
    assert_eq!(volume.path().collect::<Vec<_>>(), [2, 6]);
    assert_eq!(volume.go_at, "VolumeSource");
}

mod customs;
mod operations;
mod usage;

use std::io::Read;

use serde_json::{Value, json};

use super::*;

/// How upstream describes `pod.spec.containers`.
const CONTAINERS: &str = "List of containers belonging to the pod. Containers cannot currently be added or removed. \
                          There must be at least one container in a Pod. Cannot be updated.";

fn get(path: &str, accept: &str) -> Answer {
    OpenApi::default()
        .respond(
            path,
            "",
            Wanted {
                accept,
                ..Wanted::default()
            },
        )
        .unwrap()
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&get(path, "application/json").body).unwrap()
}

/// Every `$ref` in a document leads somewhere.
fn check_references(document: &Value, value: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(place)) = map.get("$ref") {
                assert!(
                    document.pointer(place.strip_prefix('#').unwrap()).is_some(),
                    "{place}"
                );
            }
            map.values().for_each(|value| check_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|value| check_references(document, value)),
        _ => {}
    }
}

#[test]
fn v2_says_what_patches_need() {
    let document = read("/openapi/v2");
    check_references(&document, &document);
    let spec = &document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"];
    assert_eq!(
        spec["containers"],
        json!({"type": "array", "description": CONTAINERS, "items": {"$ref": "#/definitions/io.k8s.api.core.v1.Container"},
            "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "x-kubernetes-patch-strategy": "merge", "x-kubernetes-patch-merge-key": "name"})
    );
    assert_eq!(
        document["definitions"]["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"],
        json!([{"group": "apps", "version": "v1", "kind": "Deployment"}])
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(patch["operationId"], "patchAppsV1NamespacedDeployment");
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(
        parameters
            .iter()
            .any(|parameter| parameter["name"] == "fieldValidation")
    );
}

#[test]
fn defaults_and_enums_stand_where_upstream_has_them() {
    let v2 = read("/openapi/v2");
    let v3 = read("/openapi/v3/api/v1");
    let property = |document: &Value, place: &str| {
        let mut schema = document.pointer(place).unwrap().clone();
        schema.as_object_mut().unwrap().remove("description");
        schema
    };
    let in_v2 = |place: &str| property(&v2, &format!("/definitions/io.k8s.api.core.v1.{place}"));
    let in_v3 = |place: &str| property(&v3, &format!("/components/schemas/io.k8s.api.core.v1.{place}"));
    assert_eq!(
        in_v3("Capabilities/properties/add"),
        json!({"type": "array", "items": {"type": "string", "default": ""}, "x-kubernetes-list-type": "atomic"})
    );
    let policies = json!(["Always", "IfNotPresent", "Never"]);
    assert_eq!(in_v2("Container/properties/imagePullPolicy")["enum"], policies);
    assert_eq!(
        in_v2("AzureDiskVolumeSource/properties/fsType"),
        json!({"type": "string"})
    );
    assert_eq!(
        in_v3("AzureDiskVolumeSource/properties/fsType"),
        json!({"type": "string", "default": "ext4"})
    );
    assert_eq!(
        in_v3("Container/properties/name"),
        json!({"type": "string", "default": ""})
    );
    assert_eq!(in_v3("Container/properties/image"), json!({"type": "string"}));
}

#[test]
fn v3_documents_are_found_through_the_index() {
    let open_api = OpenApi::default();
    let respond = |path: &str, query: &str| open_api.respond(path, query, Wanted::default()).unwrap();
    let index: Value = serde_json::from_slice(&respond("/openapi/v3", "").body).unwrap();
    for (place, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let (path, query) = url.split_once('?').unwrap();
        assert_eq!(path, format!("/openapi/v3/{place}"));
        let answer = respond(path, query);
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["cache-control"]),
            (200, &http::HeaderValue::from_static("public, immutable"))
        );
        let document: Value = serde_json::from_slice(&answer.body).unwrap();
        check_references(&document, &document);
    }
    let moved = respond("/openapi/v3/api/v1", "hash=OLD");
    assert_eq!(moved.status.as_u16(), 301);
    assert_eq!(
        moved.headers["location"],
        index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap()
    );
}

#[test]
fn v3_schemas() {
    let document = read("/openapi/v3/apis/apps/v1");
    let spec = &document["components"]["schemas"]["io.k8s.api.apps.v1.DeploymentSpec"];
    assert_eq!(
        spec["properties"]["template"],
        json!({"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodTemplateSpec"}], "default": {},
            "description": "Template describes the pods that will be created. The only allowed \
                            template.spec.restartPolicy value is \"Always\"."})
    );
    assert_eq!(spec["required"], json!(["selector", "template"]));
    assert_eq!(
        spec["properties"]["strategy"]["x-kubernetes-patch-strategy"],
        "retainKeys"
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "apps", "version": "v1", "kind": "Deployment"})
    );
    assert!(
        patch["parameters"]
            .as_array()
            .unwrap()
            .iter()
            .any(|p| p["name"] == "fieldValidation")
    );
    assert!(patch["requestBody"]["content"]["application/apply-patch+yaml"].is_object());
}

/// What `kubectl explain` shows, in the words of upstream's types.
#[test]
fn types_and_fields_are_described() {
    let core = read("/openapi/v3/api/v1");
    let apps = read("/openapi/v3/apis/apps/v1");
    let batch = read("/openapi/v3/apis/batch/v1");
    let table = [
        (
            &core,
            "io.k8s.api.core.v1.Pod",
            "Pod is a collection of containers that can run on a host. This resource is created by clients and scheduled \
             onto hosts.",
        ),
        (
            &core,
            "io.k8s.api.core.v1.PodSpec/properties/containers",
            CONTAINERS,
        ),
        (
            &core,
            "io.k8s.api.core.v1.Container/properties/name",
            "Name of the container specified as a DNS_LABEL. Each container in a pod must have a unique name (DNS_LABEL). \
             Cannot be updated.",
        ),
        (
            &apps,
            "io.k8s.api.apps.v1.DeploymentStrategy",
            "DeploymentStrategy describes how to replace existing pods with new ones.",
        ),
        (
            &apps,
            "io.k8s.api.apps.v1.DeploymentSpec/properties/replicas",
            "Number of desired pods. This is a pointer to distinguish between explicit zero and not specified. Defaults \
             to 1.",
        ),
        (
            &batch,
            "io.k8s.api.batch.v1.JobSpec/properties/template",
            "Describes the pod that will be created when executing a job. The only allowed template.spec.restartPolicy \
             values are \"Never\" or \"OnFailure\". More info: \
             https://kubernetes.io/docs/concepts/workloads/controllers/jobs-run-to-completion/",
        ),
    ];
    for (document, place, description) in table {
        let schema = document.pointer(&format!("/components/schemas/{place}")).unwrap();
        assert_eq!(schema["description"], description, "{place}");
    }
}

/// client-go reads version 2 as protobuf only: what JSON says of a type must be there too.
#[test]
fn gnostic_has_descriptions() {
    let message = get("/openapi/v2", V2_PROTOBUF).body;
    let has = |text: &str| {
        message
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    assert!(has(CONTAINERS));
    assert!(!has("a text that no type has"));
}

#[test]
fn forms_and_encodings() {
    for (accept, status, content_type) in [
        ("", 200, "application/json"),
        (V2_PROTOBUF, 200, V2_PROTOBUF),
        (
            "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
            200,
            V2_PROTOBUF,
        ),
        ("text/html", 406, "application/json"),
    ] {
        let answer = get("/openapi/v2", accept);
        assert_eq!(
            (answer.status.as_u16(), &answer.headers["content-type"]),
            (status, &http::HeaderValue::from_static(content_type))
        );
    }
    let open_api = OpenApi::default();
    let zipped = Wanted {
        accept_encoding: "gzip, deflate",
        ..Wanted::default()
    };
    let answer = open_api.respond("/openapi/v3/api/v1", "", zipped).unwrap();
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&answer.body[..])
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(
        plain,
        open_api
            .respond("/openapi/v3/api/v1", "", Wanted::default())
            .unwrap()
            .body
    );

    let etag = answer.headers["etag"].to_str().unwrap();
    let known = Wanted {
        if_none_match: Some(etag),
        ..Wanted::default()
    };
    assert_eq!(
        open_api
            .respond("/openapi/v3/api/v1", "", known)
            .unwrap()
            .status
            .as_u16(),
        304
    );
    assert!(
        open_api
            .respond("/openapi/v3/apis/none/v1", "", Wanted::default())
            .is_none()
    );
    assert!(open_api.respond("/openapi/v4", "", Wanted::default()).is_none());
}

#[test]
fn gnostic_has_the_numbers_of_its_proto() {
    let document = json!({
        "swagger": "2.0",
        "info": {"title": "T", "version": "v"},
        "definitions": {"A": {"type": "string", "x-k": [1]}},
    });
    let wanted = b"\x0a\x032.0\x12\x06\x0a\x01T\x12\x01vJ!\x0a\x1f\x0a\x01A\x12\x1a\xb2\x01\x08\x0a\x06string\xfa\x01\x0c\x0a\x03x-k\x12\x05\x12\x03[1]";
    let definitions = gnostic::definitions(&document["definitions"]);
    let field = coracle_api::codec::protobuf::field_head(gnostic::DEFINITIONS, definitions.len()).to_vec();
    assert_eq!([gnostic::before(&document), field, definitions].concat(), wanted);
}

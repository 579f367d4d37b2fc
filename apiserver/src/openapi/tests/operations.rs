use serde_json::Value;

use super::read;

#[test]
fn operations_have_names_of_their_own() {
    let document = read("/openapi/v2");
    let mut names = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if method != "parameters" {
                let name = operation["operationId"].as_str().unwrap();
                assert!(
                    names.insert(name.to_owned()),
                    "{name} of {method} {path} is not the first"
                );
            }
        }
    }
    assert!(names.len() > 500);
}

/// Path, method, name, words, parameters and codes of operations, as a kube-apiserver 1.36.3 tells them.
const TOLD: [[&str; 6]; 7] = [
    [
        "/api/v1/namespaces/{namespace}/pods",
        "delete",
        "deleteCoreV1CollectionNamespacedPod",
        "delete collection of Pod",
        "body continue dryRun fieldSelector gracePeriodSeconds ignoreStoreReadErrorWithClusterBreakingPotential \
         labelSelector limit orphanDependents propagationPolicy resourceVersion resourceVersionMatch \
         sendInitialEvents shardSelector timeoutSeconds",
        "200 401",
    ],
    [
        "/api/v1/namespaces/{namespace}/pods/{name}",
        "patch",
        "patchCoreV1NamespacedPod",
        "partially update the specified Pod",
        "body dryRun fieldManager fieldValidation force",
        "200 201 401",
    ],
    [
        "/api/v1/namespaces/{namespace}/pods/{name}/exec",
        "post",
        "connectCoreV1PostNamespacedPodExec",
        "connect POST requests to exec of Pod",
        "",
        "200 401",
    ],
    [
        "/api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}",
        "head",
        "connectCoreV1HeadNamespacedPodProxyWithPath",
        "connect HEAD requests to proxy of Pod",
        "",
        "200 401",
    ],
    [
        "/api/v1/pods",
        "get",
        "listCoreV1PodForAllNamespaces",
        "list or watch objects of kind Pod",
        "",
        "200 401",
    ],
    [
        "/api/v1/namespaces/{namespace}/endpoints",
        "post",
        "createCoreV1NamespacedEndpoints",
        "create Endpoints",
        "body dryRun fieldManager fieldValidation",
        "200 201 202 401",
    ],
    [
        "/apis/rbac.authorization.k8s.io/v1/",
        "get",
        "getRbacAuthorizationV1APIResources",
        "get available resources",
        "",
        "200 401",
    ],
];

fn parameters(value: &Value) -> String {
    let parameters = value["parameters"].as_array().into_iter().flatten();
    let names: Vec<&str> = parameters
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    names.join(" ")
}

fn codes(operation: &Value) -> String {
    let codes = operation["responses"].as_object().unwrap().keys();
    codes.map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn operations_are_upstream_s() {
    let document = read("/openapi/v2");
    let paths = document["paths"].as_object().unwrap();
    assert_eq!(paths.len(), 408, "as many as upstream has");
    for [path, method, id, description, wanted, answers] in TOLD {
        let operation = &paths[path][method];
        assert_eq!(operation["operationId"], id, "{path}");
        assert_eq!(operation["description"], description, "{path}");
        assert_eq!(
            (parameters(operation), codes(operation)),
            (wanted.to_owned(), answers.to_owned()),
            "{path}"
        );
    }
    let shared = "allowWatchBookmarks continue fieldSelector labelSelector limit pretty resourceVersion \
                  resourceVersionMatch sendInitialEvents shardSelector timeoutSeconds watch";
    assert_eq!(parameters(&paths["/api/v1/watch/pods"]), shared);
    let of_pod = parameters(&paths["/api/v1/namespaces/{namespace}/pods/{name}"]);
    assert_eq!(of_pod, "name namespace pretty");
}

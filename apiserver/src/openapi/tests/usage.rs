//! `metrics.k8s.io`, where this server has it itself.

use super::*;

fn respond(path: &str, others: &Others) -> Option<Value> {
    let wanted = Wanted {
        accept: "application/json",
        ..Wanted::default()
    };
    let answer = OpenApi::default().respond_along(path, "", wanted, others)?;
    serde_json::from_slice(&answer.body).ok()
}

#[test]
fn figures_are_described_where_they_are_served() {
    let here = Others {
        figures: true,
        ..Others::default()
    };
    let index = respond("/openapi/v3", &here).unwrap();
    for place in figures::DOCUMENTS {
        assert!(index["paths"][place].is_object(), "{place}");
        assert!(respond(&format!("/openapi/v3/{place}"), &Others::default()).is_none());
    }
    let elsewhere = respond("/openapi/v3", &Others::default()).unwrap();
    assert!(elsewhere["paths"].get(figures::DOCUMENTS[1]).is_none());

    let three = respond("/openapi/v3/apis/metrics.k8s.io/v1beta1", &here).unwrap();
    check_references(&three, &three);
    let one = &three["paths"]["/apis/metrics.k8s.io/v1beta1/nodes/{name}"]["get"];
    assert_eq!(one["operationId"], "readMetricsV1beta1NodeMetrics");
    assert_eq!(
        one["x-kubernetes-group-version-kind"],
        json!({"group": "metrics.k8s.io", "version": "v1beta1", "kind": "NodeMetrics"})
    );
    let all = &three["paths"]["/apis/metrics.k8s.io/v1beta1/pods"]["get"];
    assert_eq!(all["operationId"], "listMetricsV1beta1PodMetricsForAllNamespaces");
    assert_eq!(all["description"], "list objects of kind PodMetrics");
    let node = &three["components"]["schemas"]["io.k8s.metrics.pkg.apis.metrics.v1beta1.NodeMetrics"];
    assert_eq!(node["required"], json!(["timestamp", "window", "usage"]));
    assert_eq!(
        node["properties"]["usage"]["additionalProperties"]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"
    );

    let two = respond("/openapi/v2", &here).unwrap();
    check_references(&two, &two);
    assert!(two["paths"]["/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}"].is_object());
    let meta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    assert!(
        two["definitions"].get(format!("{meta}_v2")).is_none(),
        "what is the same is shared"
    );
}

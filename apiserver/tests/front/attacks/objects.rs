//! Objects that mean harm.

use std::sync::Arc;

use coracle_apiserver::Running;
use coracle_apiserver::request::UserInfo;
use coracle_store::model::ModelStore;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::stand_in::{Answer, client_of, get, post, send, start_whole_with};

const DEFAULT: &str = "/api/v1/namespaces/default";
const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

struct Cluster {
    running: Running,
    admin: kube::Client,
    _home: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let (running, home) = start_whole_with(Arc::new(ModelStore::new()), |config| {
            config.admission.enable = vec!["DenyServiceExternalIPs".to_owned()];
        })
        .await;
        let admin = client_of(&running).await;
        Self {
            running,
            admin,
            _home: home,
        }
    }

    async fn make(&self, path: &str, object: Value) {
        let answer = post(&self.admin, path, &object).await;
        assert_eq!(answer.code, 201, "{}", answer.text);
    }

    async fn patch(&self, path: &str, kind: &str, body: Vec<u8>) -> Answer {
        let request = Request::patch(path).header("content-type", kind);
        send(&self.admin, request.body(Body::from(body)).unwrap()).await
    }
}

fn rbac(kind: &str, name: &str, fields: Value) -> Value {
    let mut object =
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
    for (field, value) in fields.as_object().into_iter().flatten() {
        object[field] = value.clone();
    }
    object
}

/// CVE-2019-11247: rights in a namespace reached objects of the whole cluster through the namespace's paths.
#[tokio::test]
async fn what_belongs_to_the_cluster_is_not_found_below_a_namespace() {
    let cluster = Cluster::start().await;
    let definition = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "wholes.example.com"}, "spec": {"group": "example.com", "scope": "Cluster",
        "names": {"plural": "wholes", "kind": "Whole"}, "versions": [{"name": "v1", "served": true, "storage": true,
        "schema": {"openAPIV3Schema": {"type": "object"}}}]}});
    cluster
        .make(
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
            definition,
        )
        .await;
    let everything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
    let roles = format!("{RBAC}/namespaces/default/roles");
    cluster
        .make(&roles, rbac("Role", "all", json!({ "rules": everything })))
        .await;
    let binding = json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "all"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}]});
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    cluster.make(&bindings, rbac("RoleBinding", "all", binding)).await;
    let jane = cluster.running.client(UserInfo {
        name: "jane".to_owned(),
        ..UserInfo::default()
    });
    assert_eq!(get(&jane, &format!("{DEFAULT}/configmaps")).await.code, 200);
    for path in [
        format!("{DEFAULT}/nodes"),
        format!("{DEFAULT}/persistentvolumes"),
        format!("{DEFAULT}/namespaces"),
        format!("{DEFAULT}/namespaces/kube-system"),
        format!("{DEFAULT}/nodes/n1/proxy/pods"),
        format!("{RBAC}/namespaces/default/clusterroles"),
        "/apis/example.com/v1/namespaces/default/wholes".to_owned(),
        "/apis/example.com/v1/namespaces/default/wholes/a".to_owned(),
    ] {
        assert_eq!(get(&jane, &path).await.code, 404, "{path}");
    }
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "root",
        "resourceAttributes": {"verb": "get", "resource": "secrets"}}});
    let path = "/apis/authorization.k8s.io/v1/namespaces/default/subjectaccessreviews";
    assert_eq!(post(&jane, path, &review).await.code, 404);
    let whole = json!({"apiVersion": "example.com/v1", "kind": "Whole", "metadata": {"name": "a"}});
    let sneaked = post(&jane, "/apis/example.com/v1/namespaces/default/wholes", &whole).await;
    assert_eq!(sneaked.code, 404, "{}", sneaked.text);
    assert_eq!(get(&jane, "/apis/example.com/v1/wholes").await.code, 403);
    cluster.running.stop().await;
}

#[tokio::test]
async fn no_name_climbs_out_of_its_place() {
    let cluster = Cluster::start().await;
    for name in [".", "..", "a/b", "a%b", "../../pods/default/web"] {
        let role = rbac("ClusterRole", name, json!({"rules": []}));
        let answer = post(&cluster.admin, &format!("{RBAC}/clusterroles"), &role).await;
        assert_eq!(answer.code, 422, "{name}: {}", answer.text);
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
        let answer = post(&cluster.admin, &format!("{DEFAULT}/configmaps"), &map).await;
        assert_eq!(answer.code, 422, "{name}: {}", answer.text);
    }
    for name in ["%2e", "%2e%2e", "..", "a%2fb"] {
        let answer = get(&cluster.admin, &format!("{DEFAULT}/configmaps/{name}")).await;
        assert!(matches!(answer.code, 400 | 404), "{name}: {}", answer.code);
    }
    cluster.running.stop().await;
}

#[tokio::test]
async fn a_patch_has_bounds() {
    let cluster = Cluster::start().await;
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x"}});
    cluster.make(&format!("{DEFAULT}/configmaps"), map).await;
    let path = format!("{DEFAULT}/configmaps/a");
    let tests: Vec<_> = (0..10_001)
        .map(|_| json!({"op": "test", "path": "/data/a", "value": "x"}))
        .collect();
    let many = cluster
        .patch(
            &path,
            "application/json-patch+json",
            json!(tests).to_string().into_bytes(),
        )
        .await;
    assert_eq!(many.code, 413, "{}", many.text);
    // Each copy doubles what the next one copies.
    let copies: Vec<_> = (0..40)
        .map(|i| json!({"op": "copy", "from": "/data", "path": format!("/data/{i}")}))
        .collect();
    let doubling = cluster
        .patch(
            &path,
            "application/json-patch+json",
            json!(copies).to_string().into_bytes(),
        )
        .await;
    assert!(
        matches!(doubling.code, 413 | 422),
        "{} {}",
        doubling.code,
        doubling.text
    );
    let huge = vec![b' '; 4 << 20];
    let huge = cluster.patch(&path, "application/merge-patch+json", huge).await;
    assert_eq!(huge.code, 413, "{}", huge.text);
    let kept = get(&cluster.admin, &path).await.json();
    assert_eq!(kept["data"], json!({"a": "x"}));
    cluster.running.stop().await;
}

#[tokio::test]
async fn endpoints_lead_to_no_ones_own_machine() {
    let cluster = Cluster::start().await;
    for address in ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1"] {
        let family = if address.contains(':') { "IPv6" } else { "IPv4" };
        let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "a"}}, "addressType": family,
            "endpoints": [{"addresses": [address]}], "ports": [{"port": 80}]});
        let path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
        let answer = post(&cluster.admin, path, &slice).await;
        assert_eq!(answer.code, 422, "{address}: {}", answer.text);
        let endpoints = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"},
            "subsets": [{"addresses": [{"ip": address}], "ports": [{"port": 80}]}]});
        let answer = post(&cluster.admin, &format!("{DEFAULT}/endpoints"), &endpoints).await;
        assert_eq!(answer.code, 422, "{address}: {}", answer.text);
    }
    cluster.running.stop().await;
}

#[tokio::test]
async fn a_service_takes_no_address_of_somebody_else() {
    let cluster = Cluster::start().await;
    let service = |name: &str, spec: Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec});
    let hijack = json!({"ports": [{"port": 443}], "externalIPs": ["192.0.2.1"]});
    let path = format!("{DEFAULT}/services");
    let refused = post(&cluster.admin, &path, &service("hijack", hijack)).await;
    assert_eq!(refused.code, 403, "{}", refused.text);
    cluster
        .make(&path, service("plain", json!({"ports": [{"port": 443}]})))
        .await;
    let later = br#"{"spec": {"externalIPs": ["192.0.2.1"]}}"#.to_vec();
    let later = cluster
        .patch(&format!("{path}/plain"), "application/merge-patch+json", later)
        .await;
    assert_eq!(later.code, 403, "{}", later.text);
    let taken = get(&cluster.admin, &format!("{DEFAULT}/services/kubernetes"))
        .await
        .json();
    let same = json!({"ports": [{"port": 443}], "clusterIP": taken["spec"]["clusterIP"]});
    let same = post(&cluster.admin, &path, &service("same", same)).await;
    assert_eq!(same.code, 422, "{}", same.text);
    cluster.running.stop().await;
}

/// A policy on pods' containers counts for those that are not in `containers` and for those that come later.
#[tokio::test]
async fn a_policy_sees_every_container_of_a_pod() {
    let cluster = Cluster::start().await;
    let policies = "/apis/admissionregistration.k8s.io/v1";
    let resources = json!([{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
        "resources": ["pods", "pods/ephemeralcontainers"]}]);
    let no_privilege = |field: &str| {
        format!(
            "!has(object.spec.{field}) || object.spec.{field}.all(c, !has(c.securityContext) || \
            !has(c.securityContext.privileged) || !c.securityContext.privileged)"
        )
    };
    let validations: Vec<_> = ["containers", "initContainers", "ephemeralContainers"]
        .map(|field| json!({"expression": no_privilege(field)}))
        .into();
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "plain"}, "spec": {"matchConstraints": {"resourceRules": resources}, "validations": validations}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "plain"}, "spec": {"policyName": "plain", "validationActions": ["Deny"]}});
    cluster
        .make(&format!("{policies}/validatingadmissionpolicies"), policy)
        .await;
    cluster
        .make(&format!("{policies}/validatingadmissionpolicybindings"), binding)
        .await;
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
    cluster.make(&format!("{DEFAULT}/serviceaccounts"), account).await;
    let plain = json!({"name": "c", "image": "a"});
    let mighty = |name: &str| json!({"name": name, "image": "a", "securityContext": {"privileged": true}});
    let pod =
        |spec: Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec});
    let pods = format!("{DEFAULT}/pods");
    for spec in [
        json!({"containers": [mighty("c")]}),
        json!({"containers": [plain], "initContainers": [mighty("i")]}),
    ] {
        let answer = post(&cluster.admin, &pods, &pod(spec)).await;
        assert_eq!(answer.code, 422, "{}", answer.text);
    }
    cluster.make(&pods, pod(json!({"containers": [plain]}))).await;
    let debug = |container: Value| {
        json!({"spec": {"ephemeralContainers": [container]}})
            .to_string()
            .into_bytes()
    };
    let path = format!("{pods}/web/ephemeralcontainers");
    let kind = "application/strategic-merge-patch+json";
    let refused = cluster.patch(&path, kind, debug(mighty("d"))).await;
    assert_eq!(refused.code, 422, "{}", refused.text);
    let taken = cluster
        .patch(&path, kind, debug(json!({"name": "d", "image": "a"})))
        .await;
    assert_eq!(taken.code, 200, "{}", taken.text);
    cluster.running.stop().await;
}

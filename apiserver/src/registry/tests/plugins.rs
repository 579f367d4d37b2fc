//! Admission plugins that look at who asks, at namespaces, and at what they are told, as they show at the registry.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use super::{Fixture, SERVICES};
use crate::admission::AdmissionOptions;
use crate::authz::{AuthorizationMode, Authorizer};
use crate::request::UserInfo;

const PODS: &str = "/api/v1/namespaces/default/pods";
const NAMESPACE: &str = "/api/v1/namespaces/default";

fn pod(name: &str, spec: Value) -> Value {
    let mut pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let fields = pod["spec"].as_object_mut().unwrap();
    fields.extend(spec.as_object().unwrap().clone());
    pod
}

fn options(enable: &[&str], disable: &[&str]) -> AdmissionOptions {
    let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    AdmissionOptions {
        enable: owned(enable),
        disable: owned(disable),
        config_file: None,
    }
}

fn user(name: &str, groups: &[&str]) -> UserInfo {
    UserInfo {
        name: name.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        ..UserInfo::default()
    }
}

async fn label(fixture: &Fixture, labels: Value) -> super::Answer {
    let patch = json!({"metadata": {"labels": labels}});
    fixture
        .patch(NAMESPACE, "application/merge-patch+json", patch)
        .await
}

#[tokio::test]
async fn pods_are_held_to_the_standard_of_their_namespace() {
    let fixture = Fixture::new().await;
    fixture
        .create(PODS, pod("there", json!({"hostNetwork": true})))
        .await;
    let labelled = label(
        &fixture,
        json!({"pod-security.kubernetes.io/enforce": "baseline"}),
    )
    .await;
    assert_eq!(
        labelled.warnings(),
        [
            "existing pods in namespace \"default\" violate the new PodSecurity enforce level \"baseline:latest\"",
            "there: host namespaces",
        ]
    );
    let refused = fixture
        .ask(Method::POST, PODS, Some(pod("a", json!({"hostPID": true}))))
        .await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            403,
            "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)".to_owned()
        )
    );
    fixture.create(PODS, pod("b", json!({}))).await;
    let template =
        json!({"metadata": {"labels": {"app": "a"}}, "spec": pod("x", json!({"hostIPC": true}))["spec"]});
    let spec = json!({"selector": {"matchLabels": {"app": "a"}}, "template": template});
    let deployment = json!({"metadata": {"name": "d"}, "spec": spec});
    let warned = fixture
        .create("/apis/apps/v1/namespaces/default/deployments", deployment)
        .await;
    assert_eq!(
        warned.warnings(),
        ["would violate PodSecurity \"baseline:latest\": host namespaces (hostIPC=true)"]
    );
    // What does not change what the standards look at goes through.
    let patch = json!({"metadata": {"labels": {"x": "y"}}});
    let touched = fixture
        .patch(&format!("{PODS}/there"), "application/merge-patch+json", patch)
        .await;
    assert_eq!(touched.code, 200);
}

#[tokio::test]
async fn debugging_does_not_go_round_the_standard() {
    let fixture = Fixture::new().await;
    label(
        &fixture,
        json!({"pod-security.kubernetes.io/enforce": "baseline"}),
    )
    .await;
    fixture.create(PODS, pod("a", json!({}))).await;
    let debugger = json!({"name": "d", "image": "i", "securityContext": {"privileged": true}});
    let patch = json!({"spec": {"ephemeralContainers": [debugger]}});
    let refused = fixture
        .patch(
            &format!("{PODS}/a/ephemeralcontainers"),
            "application/strategic-merge-patch+json",
            patch,
        )
        .await;
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: violates PodSecurity \"baseline:latest\": privileged (container \"d\" must not set \
         securityContext.privileged=true)"
    );
}

#[tokio::test]
async fn labels_of_namespaces_say_what_is_known() {
    let fixture = Fixture::new().await;
    let refused = label(&fixture, json!({"pod-security.kubernetes.io/enforce": "strict"})).await;
    assert_eq!(
        (refused.code, refused.message()),
        (
            422,
            "Namespace \"default\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \
             \"strict\": must be one of privileged, baseline, restricted"
                .to_owned()
        )
    );
}

#[tokio::test]
async fn exemptions_and_defaults_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admission.yaml");
    let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins:\n- name: PodSecurity\n  \
                configuration:\n    apiVersion: pod-security.admission.config.k8s.io/v1\n    kind: \
                PodSecurityConfiguration\n    defaults: {enforce: baseline}\n    exemptions: {usernames: [jane]}\n";
    std::fs::write(&path, text).unwrap();
    let told = AdmissionOptions {
        config_file: Some(path),
        ..Default::default()
    };
    let fixture = Fixture::admitting(told).await;
    let host = |name| pod(name, json!({"hostNetwork": true}));
    let refused = fixture.ask(Method::POST, PODS, Some(host("a"))).await;
    assert!(
        refused.message().contains("violates PodSecurity"),
        "{}",
        refused.message()
    );
    let jane = user("jane", &[]);
    let made = fixture.ask_as(&jane, Method::POST, PODS, host("b")).await;
    assert_eq!(made.code, 201, "{}", made.message());
}

#[tokio::test]
async fn plugins_are_switched() {
    let on = [
        "DenyServiceExternalIPs",
        "AlwaysPullImages",
        "NamespaceAutoProvision",
    ];
    let fixture = Fixture::admitting(options(&on, &["PodSecurity", "ResourceQuota"])).await;
    let made = fixture.create(PODS, pod("a", json!({}))).await.json();
    assert_eq!(made["spec"]["containers"][0]["imagePullPolicy"], "Always");
    let service =
        json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 1}], "externalIPs": ["192.0.2.1"]}});
    let refused = fixture.ask(Method::POST, SERVICES, Some(service.clone())).await;
    assert_eq!(
        refused.message(),
        "services \"s\" is forbidden: Use of external IPs is denied by admission control"
    );
    let map = json!({"metadata": {"name": "a"}});
    fixture.create("/api/v1/namespaces/new/configmaps", map).await;
    let namespace = fixture.get("/api/v1/namespaces/new").await.json();
    assert_eq!(namespace["status"]["phase"], "Active");
    label(
        &fixture,
        json!({"pod-security.kubernetes.io/enforce": "baseline"}),
    )
    .await;
    fixture.create(PODS, pod("b", json!({"hostNetwork": true}))).await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}, "status": {"hard": {"pods": "0"}, "used": {"pods": "0"}}});
    let quotas = "/api/v1/namespaces/default/resourcequotas";
    let made = fixture.create(quotas, quota.clone()).await.json();
    let mut with_status = made.clone();
    with_status["status"] = quota["status"].clone();
    fixture.put(&format!("{quotas}/q/status"), with_status).await;
    fixture.create(PODS, pod("c", json!({}))).await;
    let fixture = Fixture::new().await;
    fixture.create(SERVICES, service).await;
}

#[tokio::test]
async fn a_node_is_held_to_what_is_its_own() {
    let fixture = Fixture::admitting(options(&["NodeRestriction"], &[])).await;
    let node = user("system:node:n1", &["system:nodes"]);
    let of = |name: &str, labels: Value| json!({"metadata": {"name": name, "labels": labels}});
    let nodes = "/api/v1/nodes";
    let table = [
        (of("n1", json!({"node-role.kubernetes.io/x": ""})), 403),
        (of("n2", json!({})), 403),
        (of("n1", json!({"kubernetes.io/os": "linux"})), 201),
    ];
    for (object, code) in table {
        let answer = fixture.ask_as(&node, Method::POST, nodes, object).await;
        assert_eq!(answer.code, code, "{}", answer.message());
    }
    fixture.create(PODS, pod("a", json!({"nodeName": "n2"}))).await;
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}});
    let target = format!("{PODS}/a/eviction");
    let refused = fixture
        .ask_as(&node, Method::POST, &target, eviction.clone())
        .await;
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: node n1 can only evict pods with spec.nodeName set to itself"
    );
    let refused = fixture
        .ask_as(&node, Method::DELETE, &format!("{PODS}/a"), json!({}))
        .await;
    assert_eq!(
        refused.message(),
        "pods \"a\" is forbidden: node \"n1\" can only delete pods with spec.nodeName set to itself"
    );
    let other = user("system:node:n2", &["system:nodes"]);
    assert_eq!(
        fixture.ask_as(&other, Method::POST, &target, eviction).await.code,
        201
    );
}

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

fn signing_request(name: &str, signer: &str, organization: &str) -> Value {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "jane");
    params
        .distinguished_name
        .push(DnType::OrganizationName, organization);
    let pem = params
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap();
    json!({"metadata": {"name": name}, "spec": {"signerName": signer, "request": STANDARD.encode(pem),
        "usages": ["digital signature", "client auth"]}})
}

#[tokio::test]
async fn certificates_are_approved_and_signed_by_those_who_may() {
    let fixture = Fixture::new().await;
    let role = json!({"metadata": {"name": "signers"}, "rules": [
        {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "resourceNames": ["example.com/*"],
            "verbs": ["approve", "sign"]}]});
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    fixture.create(&format!("{rbac}/clusterroles"), role).await;
    let binding = json!({"metadata": {"name": "signers"}, "subjects": [{"kind": "User", "name": "signer",
        "apiGroup": "rbac.authorization.k8s.io"}],
        "roleRef": {"kind": "ClusterRole", "name": "signers", "apiGroup": "rbac.authorization.k8s.io"}});
    fixture
        .create(&format!("{rbac}/clusterrolebindings"), binding)
        .await;
    let authorizer = Authorizer::new(vec![AuthorizationMode::Rbac], fixture.registry.reader());
    fixture.registry.guard_grants(Arc::new(authorizer));
    let signer = user("signer", &[]);
    for (name, of, code) in [("a", "example.com/x", 200), ("b", "example.org/x", 403)] {
        let mut request = fixture
            .create(REQUESTS, signing_request(name, of, "o"))
            .await
            .json();
        let condition = json!({"type": "Approved", "status": "True", "reason": "r", "message": "m"});
        request["status"] = json!({"conditions": [condition]});
        let path = format!("{REQUESTS}/{name}");
        let answer = fixture
            .ask_as(&signer, Method::PUT, &format!("{path}/approval"), request)
            .await;
        assert_eq!(answer.code, code, "{}", answer.message());
        if code == 403 {
            assert_eq!(
                answer.message(),
                "certificatesigningrequests.certificates.k8s.io \"b\" is forbidden: user not permitted to approve requests \
                 with signerName \"example.org/x\""
            );
        }
        let mut request = fixture.get(&path).await.json();
        let failed = json!({"type": "Failed", "status": "True", "reason": "r", "message": "m"});
        let mut conditions = request["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.push(failed);
        request["status"]["conditions"] = conditions.into();
        let answer = fixture
            .ask_as(&signer, Method::PUT, &format!("{path}/status"), request)
            .await;
        assert_eq!(answer.code, code, "{}", answer.message());
    }
}

#[tokio::test]
async fn nobody_asks_for_a_certificate_of_the_masters() {
    let fixture = Fixture::new().await;
    let asked = |organization| signing_request("m", "kubernetes.io/kube-apiserver-client", organization);
    let refused = fixture
        .ask(Method::POST, REQUESTS, Some(asked("system:masters")))
        .await;
    assert_eq!(
        refused.message(),
        "certificatesigningrequests.certificates.k8s.io \"m\" is forbidden: use of kubernetes.io/kube-apiserver-client \
         signer with system:masters group is not allowed"
    );
    fixture.create(REQUESTS, asked("staff")).await;
}

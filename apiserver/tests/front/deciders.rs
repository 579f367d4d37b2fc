//! Who decides what is allowed, besides roles: policies of a file, and services elsewhere.

use std::sync::Arc;
use std::time::Duration;

use coracle_apiserver::authz::AuthorizationMode;
use coracle_apiserver::authz::config::{AuthorizationFlags, AuthorizerConfig, parse};
use coracle_store::model::ModelStore;
use futures::future::join_all;
use http::Request;
use kube::client::Body;
use serde_json::{Value, json};

use crate::https::Elsewhere;
use crate::stand_in::{Server, client_of, get, post, send, start_whole_with};

/// Says yes to what is about the namespace `yes`, no to `no`, breaks at `broken`, and has no opinion about the rest.
async fn webhook() -> Elsewhere {
    Elsewhere::start(|_, _, review| {
        let namespace = &review["spec"]["resourceAttributes"]["namespace"];
        let status = match namespace.as_str() {
            Some("yes") => json!({"allowed": true, "reason": "as you like"}),
            Some("no") => json!({"allowed": false, "denied": true, "reason": "never"}),
            Some("broken") => return (403, json!({"kind": "Status", "message": "out of order"})),
            _ => json!({"allowed": false}),
        };
        (
            200,
            json!({"apiVersion": review["apiVersion"], "kind": "SubjectAccessReview", "status": status}),
        )
    })
    .await
}

async fn code(server: &Server, path: &str) -> u16 {
    get(&server.with_token(Some("jane-token")).await, path).await.code
}

fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

#[tokio::test]
async fn a_file_of_policies_allows() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policies.jsonl");
    let policy = json!({"apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy",
        "spec": {"user": "jane", "namespace": "b", "resource": "pods", "apiGroup": "", "readonly": true}});
    std::fs::write(&file, format!("# jane looks\n{policy}\n")).unwrap();
    let server = Server::start_with(|config| {
        config.authorization = vec![AuthorizerConfig::Abac(file)];
    })
    .await;
    assert_eq!(code(&server, &pods("b")).await, 200);
    let refused = get(&server.with_token(Some("jane-token")).await, &pods("a")).await;
    assert_eq!(refused.code, 403, "roles do not count");
    assert_eq!(
        refused.json()["message"],
        "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"a\": \
         No policy matched."
    );
    let rules = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "b"}}});
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = post(&server.admin().await, path, &rules).await.json();
    assert_eq!(asked["status"]["allowed"], true, "masters are asked nothing");
}

#[tokio::test]
async fn a_webhook_decides_in_its_turn_and_is_asked_once() {
    let webhook = webhook().await;
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("webhook.conf");
    std::fs::write(&kubeconfig, webhook.kubeconfig("/authorize")).unwrap();
    let flags = AuthorizationFlags {
        modes: ["Webhook", "RBAC"].map(str::to_owned).to_vec(),
        webhook: Some(kubeconfig),
        webhook_version: "v1".to_owned(),
        webhook_ttls: (
            std::time::Duration::from_secs(300),
            std::time::Duration::from_secs(30),
        ),
        ..AuthorizationFlags::default()
    };
    let chain = flags.chain().unwrap();
    let server = Server::start_with(|config| config.authorization = chain).await;
    for _ in 0..2 {
        assert_eq!(code(&server, &pods("yes")).await, 200);
        assert_eq!(code(&server, &pods("no")).await, 403);
        assert_eq!(code(&server, &pods("a")).await, 200, "roles are asked after it");
        assert_eq!(code(&server, &pods("b")).await, 403);
    }
    let asked = webhook.asked("/authorize");
    assert_eq!(asked.len(), 4, "each question once: {asked:?}");
    assert_eq!(asked[0]["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(
        asked[0]["spec"],
        json!({"user": "jane", "uid": "2", "groups": ["system:authenticated"],
            "resourceAttributes": {"namespace": "yes", "verb": "list", "version": "v1", "resource": "pods"}})
    );
    let selected = "?labelSelector=app%3Dweb&fieldSelector=spec.nodeName%3Dn1";
    assert_eq!(code(&server, &format!("{}{selected}", pods("yes"))).await, 200);
    let last = webhook.asked("/authorize").pop().unwrap();
    let requirement =
        |key: &str, value: &str| json!({"requirements": [{"key": key, "operator": "In", "values": [value]}]});
    let about = &last["spec"]["resourceAttributes"];
    assert_eq!(about["labelSelector"], requirement("app", "web"));
    assert_eq!(about["fieldSelector"], requirement("spec.nodeName", "n1"));
    // Without an answer the next is asked; who has no more to ask is told what went wrong.
    let broken = get(&server.with_token(Some("jane-token")).await, &pods("broken")).await;
    assert_eq!(broken.code, 500);
    assert!(broken.text.contains("out of order"), "{}", broken.text);
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "joe",
        "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "broken"}}});
    let path = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    let told = post(&server.admin().await, path, &review).await.json();
    assert_eq!(
        told["status"],
        json!({"allowed": false, "evaluationError": "out of order"})
    );
    let act_as_joe = Request::get(pods("yes")).header("impersonate-user", "joe");
    let jane = server.with_token(Some("jane-token")).await;
    let refused = send(&jane, act_as_joe.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.code, 403, "it is asked about impersonation, too");
}

#[tokio::test]
async fn a_file_names_who_decides_under_which_conditions() {
    let webhook = webhook().await;
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("webhook.conf");
    std::fs::write(&kubeconfig, webhook.kubeconfig("/authorize")).unwrap();
    let one = |name: &str, policy: &str, condition: &str| {
        json!({"type": "Webhook", "name": name, "webhook": {
            "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": policy,
            "matchConditionSubjectAccessReviewVersion": "v1", "matchConditions": [{"expression": condition}],
            "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig}}})
    };
    let file = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": [
        one("strict", "Deny", "has(request.resourceAttributes) && request.resourceAttributes.namespace in ['broken', 'no']"),
        {"type": "RBAC", "name": "rbac"},
        one("late", "NoOpinion", "request.resourceAttributes.namespace == 'yes'"),
    ]});
    let chain = parse(file.to_string().as_bytes(), None).unwrap();
    assert_eq!(chain[1], AuthorizerConfig::Mode(AuthorizationMode::Rbac));
    let server = Server::start_with(|config| config.authorization = chain).await;
    assert_eq!(code(&server, &pods("a")).await, 200);
    assert_eq!(webhook.asked("/authorize").len(), 0, "nobody else was concerned");
    assert_eq!(code(&server, &pods("yes")).await, 200);
    assert_eq!(code(&server, &pods("no")).await, 403);
    assert_eq!(
        code(&server, &pods("broken")).await,
        500,
        "no answer is a no there"
    );
    let namespaces: Vec<Value> = webhook
        .asked("/authorize")
        .iter()
        .map(|review| review["spec"]["resourceAttributes"]["namespace"].clone())
        .collect();
    assert_eq!(namespaces, [json!("yes"), json!("no"), json!("broken")]);
    // The second condition cannot be evaluated where no resource is asked for, which fails open.
    assert_eq!(code(&server, "/version").await, 200);
}

/// How many wait at once.
const MANY: usize = 40;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn as_jane(client: &kube::Client, map: &Value) -> u16 {
    let request = Request::post(MAPS)
        .header("content-type", "application/json")
        .header("impersonate-user", "jane");
    let body = Body::from(map.to_string().into_bytes());
    send(client, request.body(body).unwrap()).await.code
}

/// Whoever asks in the middle of something (an expression of a policy, a plugin) holds nobody up while a service thinks: on one
/// thread, none of these is answered before all of them have been asked.
#[tokio::test]
async fn those_who_wait_for_a_slow_decider_hold_nobody_up() {
    let webhook = webhook().await;
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("webhook.conf");
    std::fs::write(&kubeconfig, webhook.kubeconfig("/authorize")).unwrap();
    let flags = AuthorizationFlags {
        modes: ["RBAC", "Webhook"].map(str::to_owned).to_vec(),
        webhook: Some(kubeconfig),
        webhook_version: "v1".to_owned(),
        ..AuthorizationFlags::default()
    };
    let chain = flags.chain().unwrap();
    let (running, _home) = start_whole_with(Arc::new(ModelStore::new()), |config| {
        config.authorization = chain;
        config.admission.enable = vec!["OwnerReferencesPermissionEnforcement".to_owned()];
    })
    .await;
    let client = client_of(&running).await;
    let made = async |path: &str, object: Value| {
        let made = post(&client, path, &object).await;
        assert_eq!(made.code, 201, "{}", made.text);
    };
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let everything =
        json!([{"verbs": ["create", "update", "delete"], "apiGroups": [""], "resources": ["configmaps"]}]);
    made(
        &format!("{rbac}/clusterroles"),
        json!({"metadata": {"name": "maps"}, "rules": everything}),
    )
    .await;
    let binding = json!({"metadata": {"name": "maps"}, "subjects": [{"kind": "User", "name": "jane"}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "maps"}});
    made(&format!("{rbac}/clusterrolebindings"), binding).await;
    let admission = "/apis/admissionregistration.k8s.io/v1";
    let may = "authorizer.group('').resource('pods').namespace('yes').check('use').allowed()";
    let policy = json!({"metadata": {"name": "slow"}, "spec": {"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["configmaps"]}]},
        "validations": [{"expression": format!("object.metadata.name == 'free' || {may}")}]}});
    made(&format!("{admission}/validatingadmissionpolicies"), policy).await;
    let binding =
        json!({"metadata": {"name": "slow"}, "spec": {"policyName": "slow", "validationActions": ["Deny"]}});
    made(&format!("{admission}/validatingadmissionpolicybindings"), binding).await;
    let verb = |review: &Value| review["spec"]["resourceAttributes"]["verb"].clone();
    webhook.gather(MANY, move |review| verb(review) == "use");
    let maps = (0..MANY).map(|number| json!({"metadata": {"name": format!("m{number}")}}));
    let writing = maps.map(|map| {
        let client = client.clone();
        async move { as_jane(&client, &map).await }
    });
    let codes = tokio::time::timeout(Duration::from_secs(60), join_all(writing)).await;
    assert_eq!(codes.expect("somebody is held up"), vec![201; MANY]);
    let asked = webhook.asked("/authorize");
    let asked = asked.iter().filter(|review| verb(review) == "use").count();
    assert_eq!(asked, MANY, "each is asked about once");

    // Plugins ask as well: whether an owner's finalizers may be set, which roles do not say.
    let owned = json!({"metadata": {"name": "free", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p",
        "uid": "u", "blockOwnerDeletion": true}]}});
    assert_eq!(as_jane(&client, &owned).await, 403);
    let asked = webhook.asked("/authorize");
    let finalizers = asked
        .iter()
        .filter(|review| review["spec"]["resourceAttributes"]["subresource"] == "finalizers");
    assert_eq!(finalizers.count(), 2);
    running.stop().await;
}

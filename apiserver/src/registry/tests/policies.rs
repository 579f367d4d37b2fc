//! Admission policies as they show at the registry.

use http::Method;
use serde_json::{Value, json};

use super::{Answer, Fixture, config_map};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

fn rules(operations: &[&str], group: &str, resource: &str) -> Value {
    json!({"resourceRules": [
        {"operations": operations, "apiGroups": [group], "apiVersions": ["v1"], "resources": [resource]}]})
}

fn deployment(name: &str, replicas: i64) -> Value {
    let labels = json!({"app": name});
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": "b"}]}}}})
}

impl Fixture {
    async fn policy(&self, sort: &str, name: &str, spec: Value, binding: Value) {
        let policy = json!({"metadata": {"name": name}, "spec": spec});
        self.create(&format!("{GROUP}/{sort}admissionpolicies"), policy)
            .await;
        let mut spec = json!({"policyName": name});
        if sort == "validating" {
            spec["validationActions"] = json!(["Deny"]);
        }
        for (field, value) in binding.as_object().unwrap() {
            spec[field] = value.clone();
        }
        let binding = json!({"metadata": {"name": format!("{name}-binding")}, "spec": spec});
        self.create(&format!("{GROUP}/{sort}admissionpolicybindings"), binding)
            .await;
    }

    async fn refused(&self, target: &str, object: Value) -> Answer {
        let answer = self.ask(Method::POST, target, Some(object)).await;
        assert_ne!(answer.code, 201);
        answer
    }
}

#[tokio::test]
async fn a_policy_refuses_in_upstreams_words() {
    let fixture = Fixture::new().await;
    let validations = json!([
        {"expression": "variables.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(variables.replicas)"},
        {"expression": "namespaceObject.metadata.name == 'default'", "message": "wrong namespace"}]);
    let variables = json!([{"name": "replicas", "expression": "object.spec.replicas"}]);
    let spec = json!({"matchConstraints": rules(&["CREATE", "UPDATE"], "apps", "deployments"),
        "variables": variables, "validations": validations});
    fixture.policy("validating", "replicas", spec, json!({})).await;
    let refused = fixture.refused(DEPLOYMENTS, deployment("one", 1)).await;
    let why = "ValidatingAdmissionPolicy 'replicas' with binding 'replicas-binding' denied request: wants replicas > 1, got 1";
    assert_eq!(refused.code, 422);
    assert_eq!(
        refused.message(),
        format!("deployments.apps \"one\" is forbidden: {why}")
    );
    let status = refused.json();
    assert_eq!(status["reason"], "Invalid");
    assert_eq!(status["details"]["causes"], json!([{"message": why}]));
    fixture.create(DEPLOYMENTS, deployment("two", 2)).await;
    fixture.create(MAPS, config_map("other", "x")).await;
}

#[tokio::test]
async fn a_policy_counts_from_the_first_request_after_it_was_bound() {
    let fixture = Fixture::new().await;
    let validations = json!([{"expression": "object.data.key != 'bad'", "reason": "Forbidden"}]);
    let spec = json!({"matchConstraints": rules(&["*"], "", "configmaps"), "validations": validations});
    fixture.create(MAPS, config_map("before", "bad")).await;
    let binding = json!({"matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}}}});
    fixture.policy("validating", "maps", spec, binding).await;
    let refused = fixture.refused(MAPS, config_map("a", "bad")).await;
    assert_eq!(
        (refused.code, refused.json()["reason"].clone()),
        (403, json!("Forbidden"))
    );
    assert!(
        refused
            .message()
            .ends_with("denied request: failed expression: object.data.key != 'bad'")
    );
    // Where it is deleted, there is no object: what fails counts as a no.
    let kept = fixture.delete(&format!("{MAPS}/before"), None).await;
    assert!(
        kept.message().contains("resulted in error: no such key: data"),
        "{}",
        kept.message()
    );
    let gone = fixture
        .delete(
            &format!("{GROUP}/validatingadmissionpolicybindings/maps-binding"),
            None,
        )
        .await;
    assert_eq!(gone.code, 200);
    fixture.create(MAPS, config_map("a", "bad")).await;
}

#[tokio::test]
async fn conditions_exceptions_and_failures() {
    let fixture = Fixture::new().await;
    let mut constraints = rules(&["CREATE"], "", "configmaps");
    constraints["excludeResourceRules"] = json!([{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"],
        "resources": ["configmaps"], "resourceNames": ["free"]}]);
    constraints["objectSelector"] =
        json!({"matchExpressions": [{"key": "skip", "operator": "DoesNotExist"}]});
    let spec = json!({"matchConstraints": constraints, "failurePolicy": "Ignore",
        "matchConditions": [{"name": "not-me", "expression": "object.metadata.name != 'me'"}],
        "validations": [{"expression": "false", "message": "no"}, {"expression": "object.none.none == 1"}]});
    fixture.policy("validating", "never", spec, json!({})).await;
    fixture.create(MAPS, config_map("free", "x")).await;
    fixture.create(MAPS, config_map("me", "x")).await;
    let mut skipped = config_map("skipped", "x");
    skipped["metadata"]["labels"] = json!({"skip": "1"});
    fixture.create(MAPS, skipped).await;
    fixture.refused(MAPS, config_map("other", "x")).await;
}

#[tokio::test]
async fn warnings_are_sent_instead() {
    let fixture = Fixture::new().await;
    let spec = json!({"matchConstraints": rules(&["CREATE"], "", "configmaps"),
        "validations": [{"expression": "false", "message": "no"}]});
    let binding = json!({"validationActions": ["Warn", "Audit"]});
    fixture.policy("validating", "warns", spec, binding).await;
    let answer = fixture.create(MAPS, config_map("a", "x")).await;
    let warning = answer.headers.get("warning").unwrap().to_str().unwrap();
    let told = "Validation failed for ValidatingAdmissionPolicy 'warns' with binding 'warns-binding': no";
    assert!(warning.contains(told), "{warning}");
}

#[tokio::test]
async fn parameters_are_looked_up() {
    let fixture = Fixture::new().await;
    let spec = json!({"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": rules(&["CREATE"], "apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas <= int(params.data.key)"}]});
    let reference = json!({"name": "most", "namespace": "default", "parameterNotFoundAction": "Deny"});
    fixture
        .policy("validating", "most", spec, json!({"paramRef": reference}))
        .await;
    let refused = fixture.refused(DEPLOYMENTS, deployment("a", 3)).await;
    assert!(
        refused
            .message()
            .ends_with("failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"),
        "{}",
        refused.message()
    );
    fixture.create(MAPS, config_map("most", "2")).await;
    fixture.refused(DEPLOYMENTS, deployment("a", 3)).await;
    fixture.create(DEPLOYMENTS, deployment("a", 2)).await;
}

#[tokio::test]
async fn expressions_have_to_compile() {
    let fixture = Fixture::new().await;
    let spec = json!({"matchConstraints": rules(&["CREATE"], "apps", "deployments"),
        "validations": [{"expression": "object.spec.replicas"}, {"expression": "x > 1"}]});
    let policy = json!({"metadata": {"name": "wrong"}, "spec": spec});
    let refused = fixture
        .refused(&format!("{GROUP}/validatingadmissionpolicies"), policy)
        .await;
    assert_eq!(refused.code, 422);
    let message = refused.message();
    for part in [
        "spec.validations[0].expression: Invalid value: \"object.spec.replicas\": must evaluate to bool but got dyn",
        "spec.validations[1].expression: Invalid value: \"x > 1\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'x' (in container '')",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn policies_change_what_is_written() {
    let fixture = Fixture::new().await;
    let mutate = |patch: Value| {
        json!({"matchConstraints": rules(&["CREATE"], "apps", "deployments"), "failurePolicy": "Fail",
            "reinvocationPolicy": "Never", "mutations": [patch]})
    };
    let merge = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{metadata: Object.metadata{labels: {'merged': 'yes'}}, spec: Object.spec{replicas: object.spec.replicas + 1}}"}});
    fixture
        .policy("mutating", "merges", mutate(merge), json!({}))
        .await;
    let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression":
        "[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/patched'), value: 'after-' + object.metadata.labels.merged}]"}});
    fixture
        .policy("mutating", "patches", mutate(patch), json!({}))
        .await;
    let made = fixture.create(DEPLOYMENTS, deployment("a", 1)).await.json();
    assert_eq!(made["spec"]["replicas"], 2);
    assert_eq!(
        made["metadata"]["labels"],
        json!({"merged": "yes", "example.com/patched": "after-yes"})
    );
}

#[tokio::test]
async fn mutations_that_cannot_be_refuse() {
    let fixture = Fixture::new().await;
    let wrong = json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression":
        "Object{spec: Object.spec{replicas: object.spec.none}}"}});
    let spec = json!({"matchConstraints": rules(&["CREATE"], "apps", "deployments"), "failurePolicy": "Fail",
        "reinvocationPolicy": "Never", "mutations": [wrong]});
    fixture.policy("mutating", "wrong", spec, json!({})).await;
    let refused = fixture.refused(DEPLOYMENTS, deployment("a", 1)).await;
    assert!(
        refused
            .message()
            .starts_with("policy 'wrong' with binding 'wrong-binding' denied request: expression 'Object{"),
        "{}",
        refused.message()
    );
}

use serde_json::{Value, json};

use super::*;

fn flags(modes: &[&str]) -> AuthorizationFlags {
    AuthorizationFlags {
        modes: modes.iter().map(|mode| (*mode).to_owned()).collect(),
        ..AuthorizationFlags::default()
    }
}

#[test]
fn flags_make_a_chain() {
    let mode = AuthorizerConfig::Mode;
    assert_eq!(
        flags(&["Node", "RBAC"]).chain(),
        Ok(vec![mode(AuthorizationMode::Node), mode(AuthorizationMode::Rbac)])
    );
    let fault = |flags: AuthorizationFlags| flags.chain().unwrap_err();
    assert_eq!(
        fault(flags(&["Odd"])),
        "authorization-mode \"Odd\" is not a valid mode"
    );
    assert_eq!(
        fault(flags(&["RBAC", "RBAC"])),
        "authorization-mode [\"RBAC\" \"RBAC\"] has mode specified more than once"
    );
    assert_eq!(
        fault(flags(&["ABAC"])),
        "authorization-mode ABAC's authorization policy file not passed"
    );
    let stray = AuthorizationFlags {
        webhook: Some("f".into()),
        ..flags(&["RBAC"])
    };
    assert_eq!(
        fault(stray),
        "cannot specify --authorization-webhook-config-file without mode Webhook"
    );
}

fn file(authorizers: Value) -> Result<Vec<AuthorizerConfig>, String> {
    let text = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration", "authorizers": authorizers});
    parse(text.to_string().as_bytes(), None)
}

fn webhook(kubeconfig: &str) -> Value {
    json!({"type": "Webhook", "name": "w", "webhook": {
        "authorizedTTL": "1m", "unauthorizedTTL": "5s", "timeout": "3s", "subjectAccessReviewVersion": "v1",
        "matchConditionSubjectAccessReviewVersion": "v1", "failurePolicy": "Deny",
        "connectionInfo": {"type": "KubeConfigFile", "kubeConfigFile": kubeconfig},
        "matchConditions": [{"expression": "has(request.resourceAttributes)"}]}})
}

#[test]
fn a_file_makes_a_chain() {
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let path = kubeconfig.path().to_str().unwrap();
    let chain = file(json!([webhook(path), {"type": "RBAC", "name": "rbac"}])).unwrap();
    let AuthorizerConfig::Webhook(settings, connection) = &chain[0] else {
        panic!("{chain:?}");
    };
    assert!(settings.deny_on_failure);
    assert_eq!(settings.authorized_ttl, Duration::from_secs(60));
    assert_eq!(*connection, Connection::Kubeconfig(path.into()));
    assert_eq!(chain[1], AuthorizerConfig::Mode(AuthorizationMode::Rbac));
}

#[test]
fn what_cannot_be_meant_is_told() {
    let fault = |authorizers: Value| file(authorizers).unwrap_err();
    assert_eq!(
        fault(json!([])),
        "authorizers: Required value: at least one authorization mode must be defined"
    );
    assert_eq!(
        fault(json!([{"type": "RBAC", "name": "mine"}])),
        "expected name rbac for authorizer RBAC instead of mine"
    );
    assert!(
        fault(json!([{"type": "Odd", "name": "odd"}]))
            .starts_with("authorizers[0].type: Unsupported value: \"Odd\": supported values: ")
    );
    let told = fault(json!([webhook("relative")]));
    assert!(told.ends_with("must be an absolute path"), "{told}");
    let mut odd = webhook("/");
    odd["webhook"]["timeout"] = json!("31s");
    odd["webhook"]["failurePolicy"] = json!("Maybe");
    odd["webhook"]["matchConditions"] = json!([{"expression": "request.user"}]);
    let told = fault(json!([odd]));
    for want in [
        "must be > 0s and <= 30s",
        "authorizers[0].failurePolicy: Unsupported value: \"Maybe\"",
        "must be a regular file",
        "authorizers[0].matchConditions[0].expression: Invalid value: \"request.user\": must evaluate to bool",
    ] {
        assert!(told.contains(want), "{told}");
    }
}

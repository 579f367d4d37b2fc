//! SubjectAccessReview and its kin: may somebody do something?

use std::collections::BTreeMap;

use coracle_api::codec::go_order;
use coracle_api::status::ApiError;
use coracle_api::table;
use coracle_api::validation::{BadValue, FieldErrors, Path};
use serde_json::{Map, Value};

use super::{selectors, text, texts};
use crate::authz::{Attributes, Authorizer, Decision};
use crate::request::UserInfo;

/// The `status` of a SubjectAccessReview.
pub(super) async fn of_subject(authorizer: &Authorizer, asked: &Value) -> Result<Value, ApiError> {
    let mut errors = FieldErrors::new();
    check_attributes(asked, &mut errors);
    let user = subject(asked, &mut errors);
    check_selectors(asked, &mut errors);
    check_metadata(asked, "must be empty", &mut errors);
    finish(&errors)?;
    Ok(decide(authorizer, asked, &user).await)
}

/// The `status` of a LocalSubjectAccessReview made in a namespace.
pub(super) async fn of_local_subject(
    authorizer: &Authorizer,
    asked: &Value,
    namespace: &str,
) -> Result<Value, ApiError> {
    let mut errors = FieldErrors::new();
    check_attributes(asked, &mut errors);
    let user = subject(asked, &mut errors);
    check_selectors(asked, &mut errors);
    check_metadata(asked, "must be empty except for namespace", &mut errors);
    let spec = Path::new("spec");
    let stands = |field: &str| asked.pointer(field).is_some_and(|value| !value.is_null());
    let own = text(asked, "/spec/resourceAttributes/namespace");
    if stands("/spec/resourceAttributes") && own != namespace {
        let attributes = spec.child("resourceAttributes");
        errors.invalid(
            &attributes.child("namespace"),
            own,
            "must match metadata.namespace",
        );
    }
    if stands("/spec/nonResourceAttributes") {
        errors.invalid(
            &spec.child("nonResourceAttributes"),
            shown_path(asked),
            "disallowed on this kind of request",
        );
    }
    finish(&errors)?;
    Ok(decide(authorizer, asked, &user).await)
}

/// The `status` of a SelfSubjectAccessReview made by a user.
pub(super) async fn of_self(
    authorizer: &Authorizer,
    asked: &Value,
    user: &UserInfo,
) -> Result<Value, ApiError> {
    let mut errors = FieldErrors::new();
    check_attributes(asked, &mut errors);
    check_selectors(asked, &mut errors);
    check_metadata(asked, "must be empty", &mut errors);
    finish(&errors)?;
    Ok(decide(authorizer, asked, user).await)
}

fn check_attributes(asked: &Value, errors: &mut FieldErrors) {
    let spec = Path::new("spec");
    let stands = |field: &str| asked.pointer(field).is_some_and(|value| !value.is_null());
    match (
        stands("/spec/resourceAttributes"),
        stands("/spec/nonResourceAttributes"),
    ) {
        (true, true) => errors.invalid(
            &spec.child("nonResourceAttributes"),
            shown_path(asked),
            "cannot be specified in combination with resourceAttributes",
        ),
        (false, false) => errors.invalid(
            &spec.child("resourceAttributes"),
            &Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
}

/// A path and what is done there, as upstream's own struct for it is shown.
fn shown_path(asked: &Value) -> BadValue {
    let of = |name: &str| {
        let at = format!("/spec/nonResourceAttributes/{name}");
        Value::from(text(asked, &at)).to_string()
    };
    BadValue::rendered(format!("{{\"Path\":{},\"Verb\":{}}}", of("path"), of("verb")))
}

/// A question has no metadata of its own, but for who asked it and where.
fn check_metadata(asked: &Value, rule: &str, errors: &mut FieldErrors) {
    let metadata = &asked["metadata"];
    let except: &[&str] = if rule.ends_with("namespace") {
        &["managedFields", "namespace"]
    } else {
        &["managedFields"]
    };
    let is_there = |value: &Value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        _ => true,
    };
    let mut fields = metadata.as_object().into_iter().flatten();
    if fields.any(|(name, value)| !except.contains(&name.as_str()) && is_there(value)) {
        let ty = table::by_name("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta");
        let shown = ty.map_or_else(
            || metadata.to_string(),
            |ty| go_order::json(metadata, ty, &Value::Null),
        );
        errors.invalid(&Path::new("metadata"), BadValue::rendered(shown), rule);
    }
}

fn check_selectors(asked: &Value, errors: &mut FieldErrors) {
    if let Some(attributes) = asked
        .pointer("/spec/resourceAttributes")
        .filter(|value| value.is_object())
    {
        selectors::check(attributes, errors);
    }
}

fn subject(asked: &Value, errors: &mut FieldErrors) -> UserInfo {
    let groups = texts(asked, "/spec/groups");
    let name = text(asked, "/spec/user").to_owned();
    if name.is_empty() && groups.is_empty() {
        errors.invalid(
            &Path::new("spec").child("user"),
            "",
            "at least one of user or group must be specified",
        );
    }
    let extra = asked.pointer("/spec/extra").and_then(Value::as_object);
    let extra: BTreeMap<_, _> = extra
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.to_lowercase(), texts(values, "")))
        .collect();
    UserInfo {
        name,
        groups,
        uid: text(asked, "/spec/uid").to_owned(),
        extra,
    }
}

/// Upstream names no kind here: its internal objects carry none.
fn finish(errors: &FieldErrors) -> Result<(), ApiError> {
    if errors.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid("authorization.k8s.io", "", "", errors))
    }
}

async fn decide(authorizer: &Authorizer, asked: &Value, user: &UserInfo) -> Value {
    let resource = asked
        .pointer("/spec/resourceAttributes")
        .filter(|value| !value.is_null());
    let fields = resource.map(selectors::of_fields).unwrap_or_default();
    let labels = resource.map(selectors::of_labels).unwrap_or_default();
    let attributes = match resource {
        Some(resource) => Attributes {
            field_selector: &fields,
            label_selector: &labels,
            version: text(resource, "/version"),
            ..Attributes::resource(
                user,
                text(resource, "/verb"),
                text(resource, "/group"),
                text(resource, "/resource"),
            )
            .in_namespace(text(resource, "/namespace"))
            .named(text(resource, "/name"))
            .subresource(text(resource, "/subresource"))
        },
        None => {
            let other = &asked["spec"]["nonResourceAttributes"];
            Attributes::path(user, text(other, "/verb"), text(other, "/path"))
        }
    };
    let verdict = authorizer.decide(&attributes).await;
    let mut status = Map::new();
    status.insert("allowed".to_owned(), verdict.is_allowed().into());
    if verdict.decision == Decision::Deny {
        status.insert("denied".to_owned(), true.into());
    }
    if !verdict.reason.is_empty() {
        status.insert("reason".to_owned(), verdict.reason.into());
    }
    let passed_over = resource.map(selectors::passed_over).unwrap_or_default();
    let faults: Vec<_> = [verdict.error, passed_over]
        .into_iter()
        .filter(|fault| !fault.is_empty())
        .collect();
    if !faults.is_empty() {
        status.insert("evaluationError".to_owned(), faults.join("; ").into());
    }
    Value::Object(status)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::authz::AuthorizationMode;
    use crate::reader::GroupResource;
    use crate::reader::memory::MemoryReader;

    fn authorizer() -> Authorizer {
        let reader = MemoryReader::default();
        let resource = |name| GroupResource::new("rbac.authorization.k8s.io", name);
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        reader.put(
            &resource("clusterroles"),
            json!({"metadata": {"name": "pods"}, "rules": rules}),
        );
        let binding = json!({"metadata": {"name": "jane"}, "roleRef": {"kind": "ClusterRole", "name": "pods"},
            "subjects": [{"kind": "User", "name": "jane"}]});
        reader.put(&resource("clusterrolebindings"), binding);
        Authorizer::new(
            vec![AuthorizationMode::Node, AuthorizationMode::Rbac],
            Arc::new(reader),
        )
    }

    fn pods(verb: &str) -> Value {
        json!({"verb": verb, "resource": "pods", "namespace": "a"})
    }

    #[tokio::test]
    async fn the_verdict_and_its_reason_are_told() {
        let asked = json!({"spec": {"user": "jane", "resourceAttributes": pods("get")}});
        let reason = "RBAC: allowed by ClusterRoleBinding \"jane\" of ClusterRole \"pods\" to User \"jane\"";
        assert_eq!(
            of_subject(&authorizer(), &asked).await,
            Ok(json!({"allowed": true, "reason": reason}))
        );
        let asked = json!({"spec": {"user": "jane", "resourceAttributes": pods("delete")}});
        assert_eq!(
            of_subject(&authorizer(), &asked).await,
            Ok(json!({"allowed": false}))
        );
        let masters = json!({"spec": {"groups": ["system:masters"], "nonResourceAttributes": {"path": "/x", "verb": "get"}}});
        assert_eq!(
            of_subject(&authorizer(), &masters).await,
            Ok(json!({"allowed": true}))
        );
    }

    #[tokio::test]
    async fn a_question_must_be_one() {
        let refusal = async |spec: Value| {
            of_subject(&authorizer(), &json!({"spec": spec}))
                .await
                .unwrap_err()
                .message()
                .to_owned()
        };
        let want = ".authorization.k8s.io \"\" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of \
                    nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: \"\": at least one \
                    of user or group must be specified]";
        assert_eq!(refusal(json!({})).await, want);
        let both = json!({"user": "jane", "resourceAttributes": pods("get"), "nonResourceAttributes": {"path": "/"}});
        assert!(
            refusal(both)
                .await
                .contains("cannot be specified in combination with resourceAttributes")
        );
    }

    #[tokio::test]
    async fn a_local_question_stays_in_its_namespace() {
        let asked = json!({"spec": {"user": "jane", "resourceAttributes": pods("get")}});
        assert_eq!(
            of_local_subject(&authorizer(), &asked, "a").await.unwrap()["allowed"],
            true
        );
        let refused = of_local_subject(&authorizer(), &asked, "b").await.unwrap_err();
        assert!(
            refused.message().contains("must match metadata.namespace"),
            "{refused}"
        );
    }

    #[tokio::test]
    async fn selectors_reach_the_node_authorizer() {
        let node = json!({"user": "system:node:n1", "groups": ["system:nodes"]});
        let ask = async |selector: Value| {
            let mut spec = node.clone();
            spec["resourceAttributes"] =
                json!({"verb": "list", "resource": "pods", "fieldSelector": selector});
            of_subject(&authorizer(), &json!({"spec": spec})).await.unwrap()["allowed"].clone()
        };
        assert_eq!(ask(json!({"rawSelector": "spec.nodeName=n1"})).await, true);
        let requirement = json!({"key": "spec.nodeName", "operator": "In", "values": ["n1"]});
        assert_eq!(ask(json!({"requirements": [requirement]})).await, true);
        assert_eq!(ask(Value::Null).await, false);
    }
}

//! SelfSubjectRulesReview: what all may I do in a namespace?

use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};

use super::text;
use crate::authz::{Authorizer, PolicyRule, Resolved};
use crate::request::UserInfo;

/// The `status` of a SelfSubjectRulesReview.
pub(super) fn of_self(authorizer: &Authorizer, asked: &Value, user: &UserInfo) -> Result<Value, ApiError> {
    let namespace = text(asked, "/spec/namespace");
    if namespace.is_empty() {
        return Err(ApiError::bad_request("no namespace on request"));
    }
    let Resolved {
        rules,
        errors,
        incomplete,
    } = authorizer.rules_for(user, namespace);
    let resources: Vec<_> = rules
        .iter()
        .filter(|rule| !rule.resources.is_empty())
        .map(|rule| resource(rule))
        .collect();
    let paths: Vec<_> = rules
        .iter()
        .filter(|rule| !rule.non_resource_urls.is_empty())
        .map(|rule| path(rule))
        .collect();
    let mut status = json!({"resourceRules": resources, "nonResourceRules": paths, "incomplete": incomplete});
    let mut distinct: Vec<String> = Vec::new();
    for error in errors {
        if !distinct.contains(&error) {
            distinct.push(error);
        }
    }
    match distinct.as_slice() {
        [] => {}
        [only] => status["evaluationError"] = only.as_str().into(),
        several => status["evaluationError"] = format!("[{}]", several.join(", ")).into(),
    }
    Ok(status)
}

fn resource(rule: &PolicyRule) -> Value {
    object(&[
        ("verbs", &rule.verbs),
        ("apiGroups", &rule.api_groups),
        ("resources", &rule.resources),
        ("resourceNames", &rule.resource_names),
    ])
}

fn path(rule: &PolicyRule) -> Value {
    object(&[
        ("verbs", &rule.verbs),
        ("nonResourceURLs", &rule.non_resource_urls),
    ])
}

fn object(fields: &[(&str, &Vec<String>)]) -> Value {
    let stated = fields.iter().filter(|(_, values)| !values.is_empty());
    Value::Object(
        stated
            .map(|(name, values)| ((*name).to_owned(), json!(values)))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::authz::AuthorizationMode;
    use crate::reader::GroupResource;
    use crate::reader::memory::MemoryReader;

    #[test]
    fn what_cannot_be_told_is_said() {
        let reader = MemoryReader::default();
        let group = GroupResource::new("rbac.authorization.k8s.io", "clusterrolebindings");
        let binding = json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "none"},
            "subjects": [{"kind": "Group", "name": "system:nodes"}, {"kind": "User", "name": "jane"}]});
        reader.put(&group, binding);
        let modes = vec![AuthorizationMode::Node, AuthorizationMode::Rbac];
        let authorizer = Authorizer::new(modes, Arc::new(reader));
        let ask = |name: &str, groups: &[&str]| {
            let user = UserInfo {
                name: name.to_owned(),
                groups: groups.iter().map(|group| (*group).to_owned()).collect(),
                ..UserInfo::default()
            };
            let status = of_self(&authorizer, &json!({"spec": {"namespace": "a"}}), &user).unwrap();
            (status["incomplete"].clone(), status["evaluationError"].clone())
        };
        let missing = "clusterrole.rbac.authorization.k8s.io \"none\" not found";
        assert_eq!(ask("jane", &[]), (json!(false), json!(missing)));
        let node = "node authorizer does not support user rule resolution";
        assert_eq!(
            ask("system:node:n1", &["system:nodes"]),
            (json!(true), json!(format!("[{node}, {missing}]")))
        );
        assert_eq!(ask("joe", &[]), (json!(false), Value::Null));
    }

    #[test]
    fn rules_are_listed_by_what_they_are_about() {
        let authorizer = Authorizer::new(
            vec![AuthorizationMode::AlwaysAllow],
            Arc::new(MemoryReader::default()),
        );
        let asked = json!({"spec": {"namespace": "a"}});
        let want = json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        });
        assert_eq!(of_self(&authorizer, &asked, &UserInfo::default()), Ok(want));
        let missing = of_self(&authorizer, &json!({"spec": {}}), &UserInfo::default()).unwrap_err();
        assert_eq!(missing.message(), "no namespace on request");
    }
}

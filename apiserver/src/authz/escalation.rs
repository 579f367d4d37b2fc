//! Nobody may grant rights that they do not hold.
//!
//! Two checks that the registry makes before it stores a role or a binding. Who may `escalate` roles, or `bind` the role
//! in question, is excepted, and so are members of `system:masters`.

use coracle_api::status::ApiError;
use serde_json::Value;

use super::index::RBAC_GROUP;
use super::rules::{missing, quote_list};
use super::{Attributes, Authorizer, PolicyRule, is_master};
use crate::reader::GroupResource;
use crate::request::UserInfo;

/// The `roleRef` of a binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// `Role` or `ClusterRole`.
    pub kind: String,
    /// The role's name.
    pub name: String,
}

impl RoleRef {
    /// Reads the `roleRef` of a RoleBinding or ClusterRoleBinding.
    pub fn of_binding(binding: &Value) -> Self {
        let text = |pointer| {
            binding
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            kind: text("/roleRef/kind"),
            name: text("/roleRef/name"),
        }
    }

    fn resource(&self) -> &'static str {
        if self.kind == "ClusterRole" {
            "clusterroles"
        } else {
            "roles"
        }
    }
}

impl Authorizer {
    /// Whether a user may store this object of the RBAC group, in place of `old` where there was one. What grants no more
    /// than before is not looked at, as upstream.
    ///
    /// # Errors
    /// Forbidden, in upstream's words.
    pub async fn check_grant(
        &self,
        user: &UserInfo,
        resource: &str,
        object: &Value,
        old: Option<&Value>,
    ) -> Result<(), ApiError> {
        let decisive: &[&str] = match resource {
            "roles" | "clusterroles" => &["rules", "aggregationRule"],
            "rolebindings" | "clusterrolebindings" => &["subjects", "roleRef"],
            _ => return Ok(()),
        };
        if old.is_some_and(|old| decisive.iter().all(|field| old.get(field) == object.get(field))) {
            return Ok(());
        }
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let checked = match resource {
            "roles" | "clusterroles" => {
                let rules = PolicyRule::from_role(object);
                match self.check_role(user, namespace, name, &rules).await {
                    Ok(()) => self.check_aggregation(user, name, object).await,
                    refused => refused,
                }
            }
            _ => {
                self.check_binding(user, namespace, &RoleRef::of_binding(object))
                    .await
            }
        };
        checked.map_err(|why| ApiError::forbidden(RBAC_GROUP, resource, name, &why))
    }

    /// An aggregated role may come to hold anything.
    async fn check_aggregation(&self, user: &UserInfo, name: &str, role: &Value) -> Result<(), String> {
        if role.get("aggregationRule").is_none_or(Value::is_null) {
            return Ok(());
        }
        self.check_role(user, "", name, &PolicyRule::everything())
            .await
            .map_err(|_| "must have cluster-admin privileges to use an aggregationRule".to_owned())
    }

    /// Whether a user may store a Role (`namespace` not empty) or ClusterRole with these rules. The error is upstream's
    /// message, to be told as a Forbidden of that object.
    pub async fn check_role(
        &self,
        user: &UserInfo,
        namespace: &str,
        name: &str,
        rules: &[PolicyRule],
    ) -> Result<(), String> {
        let resource = if namespace.is_empty() {
            "clusterroles"
        } else {
            "roles"
        };
        let escalate = Attributes::resource(user, "escalate", RBAC_GROUP, resource)
            .in_namespace(namespace)
            .named(name);
        if is_master(user) || self.decide(&escalate).await.is_allowed() {
            return Ok(());
        }
        self.check_rules(user, namespace, rules)
    }

    /// Whether a user may store a binding in a namespace (empty for a ClusterRoleBinding) to this role. The error is
    /// upstream's message, to be told as a Forbidden of that object.
    pub async fn check_binding(
        &self,
        user: &UserInfo,
        namespace: &str,
        role: &RoleRef,
    ) -> Result<(), String> {
        let resource = role.resource();
        let bind = Attributes::resource(user, "bind", RBAC_GROUP, resource)
            .in_namespace(namespace)
            .named(&role.name);
        if is_master(user) || self.decide(&bind).await.is_allowed() {
            return Ok(());
        }
        let home = if resource == "roles" { namespace } else { "" };
        let Some(found) = self
            .reader
            .get(&GroupResource::new(RBAC_GROUP, resource), home, &role.name)
        else {
            let singular = resource.trim_end_matches('s');
            return Err(format!("{singular}.{RBAC_GROUP} {:?} not found", role.name));
        };
        self.check_rules(user, namespace, &PolicyRule::from_role(&found))
    }

    fn check_rules(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Result<(), String> {
        let (owned, errors) = self.rbac_rules(user, namespace);
        let missing = missing(owned.iter().map(AsRef::as_ref), rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.name,
            quote_list(&user.groups),
            missing.join("\n"),
        );
        if !errors.is_empty() {
            message.push_str(&format!("; resolution errors: [{}]", errors.join(" ")));
        }
        Err(message)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::authz::AuthorizationMode;
    use crate::reader::memory::MemoryReader;

    fn cluster_role(name: &str, rules: &Value) -> Value {
        json!({"metadata": {"name": name}, "rules": rules})
    }

    /// `jane` holds get on pods, `eve` may escalate and bind anything.
    fn authorizer() -> Authorizer {
        let reader = MemoryReader::default();
        let roles = GroupResource::new(RBAC_GROUP, "clusterroles");
        let bindings = GroupResource::new(RBAC_GROUP, "clusterrolebindings");
        let pods = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]);
        reader.put(&roles, cluster_role("pods", &pods));
        let secrets = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
        reader.put(&roles, cluster_role("secrets", &secrets));
        let grant = json!([{"verbs": ["escalate", "bind"], "apiGroups": [RBAC_GROUP], "resources": ["*"]}]);
        reader.put(&roles, cluster_role("grant", &grant));
        for (role, user) in [("pods", "jane"), ("grant", "eve")] {
            let binding = json!({"metadata": {"name": role}, "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": user}]});
            reader.put(&bindings, binding);
        }
        Authorizer::new(vec![AuthorizationMode::Rbac], Arc::new(reader))
    }

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        UserInfo {
            name: name.to_owned(),
            groups,
            ..UserInfo::default()
        }
    }

    #[tokio::test]
    async fn a_role_may_hold_no_more_than_its_writer() {
        let authorizer = authorizer();
        let rules = [PolicyRule::from_value(
            &json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}),
        )];
        let jane = user("jane", &["system:authenticated"]);
        let want = "user \"jane\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
                    {APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"list\"]}";
        assert_eq!(
            authorizer.check_role(&jane, "a", "x", &rules).await,
            Err(want.to_owned())
        );
        let held = [PolicyRule {
            verbs: vec!["get".to_owned()],
            ..rules[0].clone()
        }];
        assert_eq!(authorizer.check_role(&jane, "a", "x", &held).await, Ok(()));
        assert_eq!(
            authorizer.check_role(&user("eve", &[]), "a", "x", &rules).await,
            Ok(())
        );
        assert_eq!(
            authorizer
                .check_role(&user("root", &["system:masters"]), "", "x", &rules)
                .await,
            Ok(())
        );
    }

    #[tokio::test]
    async fn a_binding_may_give_no_more_than_its_writer_holds() {
        let authorizer = authorizer();
        let to = |name: &str| RoleRef {
            kind: "ClusterRole".to_owned(),
            name: name.to_owned(),
        };
        let jane = user("jane", &[]);
        assert_eq!(authorizer.check_binding(&jane, "a", &to("pods")).await, Ok(()));
        let refused = authorizer
            .check_binding(&jane, "", &to("secrets"))
            .await
            .expect_err("jane cannot read secrets");
        assert!(
            refused.contains("{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"),
            "{refused}"
        );
        assert_eq!(
            authorizer
                .check_binding(&user("eve", &[]), "", &to("secrets"))
                .await,
            Ok(())
        );
        let missing = "clusterrole.rbac.authorization.k8s.io \"none\" not found";
        assert_eq!(
            authorizer.check_binding(&jane, "a", &to("none")).await,
            Err(missing.to_owned())
        );
    }

    #[tokio::test]
    async fn what_grants_no_more_than_before_is_not_looked_at() {
        let authorizer = authorizer();
        let jane = user("jane", &[]);
        let rules = json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}]);
        let old = cluster_role("x", &rules);
        let mut labelled = old.clone();
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(
            authorizer
                .check_grant(&jane, "clusterroles", &labelled, Some(&old))
                .await,
            Ok(())
        );
        let refused = authorizer
            .check_grant(&jane, "clusterroles", &labelled, None)
            .await
            .unwrap_err();
        let want = "clusterroles.rbac.authorization.k8s.io \"x\" is forbidden: user \"jane\" (groups=[]) is attempting to";
        assert!(refused.message().starts_with(want), "{refused}");
        let aggregated = json!({"metadata": {"name": "x"}, "aggregationRule": {"clusterRoleSelectors": []}});
        let refused = authorizer
            .check_grant(&jane, "clusterroles", &aggregated, None)
            .await
            .unwrap_err();
        assert!(
            refused
                .message()
                .ends_with("must have cluster-admin privileges to use an aggregationRule"),
            "{refused}"
        );
        assert_eq!(
            authorizer
                .check_grant(&user("eve", &[]), "clusterroles", &aggregated, None)
                .await,
            Ok(())
        );
    }
}

//! Which FlowSchema a request belongs to (`flowcontrol.apiserver.k8s.io/v1` `PolicyRulesWithSubjects`; upstream's `rule.go`). Pure.

use coracle_api::object::Fields;
use serde_json::Value;

use crate::request::{RequestInfo, UserInfo};

/// Whoever matches a rule of these belongs to the schema.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rules(Vec<Rule>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<ResourceRule>,
    paths: Vec<PathRule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Anybody,
    User(String),
    Group(String),
    /// Every service account of a namespace, as the beginning of their names.
    Accounts(String),
}

/// Names, or all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Names(Option<Vec<String>>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct ResourceRule {
    verbs: Names,
    groups: Names,
    resources: Names,
    namespaces: Names,
    cluster_scope: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct PathRule {
    verbs: Names,
    paths: Vec<String>,
}

/// What tells the flows of a schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguisher {
    Nothing,
    User,
    Namespace,
}

impl Distinguisher {
    pub(super) fn read(spec: &Value) -> Self {
        match spec["distinguisherMethod"].text("type") {
            "ByUser" => Self::User,
            "ByNamespace" => Self::Namespace,
            _ => Self::Nothing,
        }
    }

    /// The flow of a request.
    pub(super) fn flow<'a>(self, info: &'a RequestInfo, user: &'a UserInfo) -> &'a str {
        match self {
            Self::Nothing => "",
            Self::User => &user.name,
            Self::Namespace => &info.namespace,
        }
    }
}

impl Rules {
    /// The rules of a FlowSchema's specification.
    pub(super) fn read(spec: &Value) -> Self {
        let rules = spec.items("rules").iter().map(|rule| Rule {
            subjects: rule.items("subjects").iter().filter_map(Subject::read).collect(),
            resources: rule
                .items("resourceRules")
                .iter()
                .map(ResourceRule::read)
                .collect(),
            paths: rule
                .items("nonResourceRules")
                .iter()
                .map(PathRule::read)
                .collect(),
        });
        Self(rules.collect())
    }

    pub(super) fn match_request(&self, info: &RequestInfo, user: &UserInfo) -> bool {
        self.0.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && if info.is_resource_request {
                    rule.resources.iter().any(|rule| rule.matches(info))
                } else {
                    rule.paths.iter().any(|rule| rule.matches(info))
                }
        })
    }
}

impl Subject {
    fn read(subject: &Value) -> Option<Self> {
        let named = |field: &str| subject[field].text("name").to_owned();
        match subject.text("kind") {
            "User" if named("user") == "*" => Some(Self::Anybody),
            "User" => Some(Self::User(named("user"))),
            "Group" if named("group") == "*" => Some(Self::Anybody),
            "Group" => Some(Self::Group(named("group"))),
            "ServiceAccount" => {
                let start = format!(
                    "system:serviceaccount:{}:",
                    subject["serviceAccount"].text("namespace")
                );
                Some(match named("serviceAccount").as_str() {
                    "*" => Self::Accounts(start),
                    name => Self::User(start + name),
                })
            }
            _ => None,
        }
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::Anybody => true,
            Self::User(name) => *name == user.name,
            Self::Group(name) => user.groups.contains(name),
            Self::Accounts(start) => user.name.starts_with(start),
        }
    }
}

impl Names {
    fn read(rule: &Value, field: &str) -> Self {
        let names: Vec<String> = texts(rule, field);
        if names == ["*"] {
            Self(None)
        } else {
            Self(Some(names))
        }
    }

    fn have(&self, mut is: impl FnMut(&str) -> bool) -> bool {
        self.0
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| is(name)))
    }
}

fn texts(rule: &Value, field: &str) -> Vec<String> {
    let items = rule.items(field).iter().filter_map(Value::as_str);
    items.map(str::to_owned).collect()
}

impl ResourceRule {
    fn read(rule: &Value) -> Self {
        Self {
            verbs: Names::read(rule, "verbs"),
            groups: Names::read(rule, "apiGroups"),
            resources: Names::read(rule, "resources"),
            namespaces: Names::read(rule, "namespaces"),
            cluster_scope: rule["clusterScope"].as_bool().unwrap_or_default(),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let named = |name: &str| match info.subresource.as_str() {
            "" => name == info.resource,
            subresource => name.split_once('/') == Some((info.resource.as_str(), subresource)),
        };
        let here = match info.namespace.as_str() {
            "" => self.cluster_scope,
            namespace => self.namespaces.have(|name| name == namespace),
        };
        here && self.verbs.have(|verb| verb == info.verb)
            && self.resources.have(named)
            && self.groups.have(|group| group == info.api_group)
    }
}

impl PathRule {
    fn read(rule: &Value) -> Self {
        Self {
            verbs: Names::read(rule, "verbs"),
            paths: texts(rule, "nonResourceURLs"),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let path = info.path.as_str();
        let below = |rule: &str| {
            let start = rule.strip_suffix('*').unwrap_or(rule);
            let rest = path.strip_prefix(start);
            rest.is_some_and(|rest| start.ends_with('/') || rest.starts_with('/'))
        };
        let named = self
            .paths
            .iter()
            .any(|rule| rule == "*" || rule == path || below(rule));
        named && self.verbs.have(|verb| verb == info.verb)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let account = |name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "a", "name": name}});
        let table = [
            (json!({"kind": "User", "user": {"name": "jane"}}), true),
            (json!({"kind": "User", "user": {"name": "joe"}}), false),
            (json!({"kind": "User", "user": {"name": "*"}}), true),
            (json!({"kind": "Group", "group": {"name": "devs"}}), true),
            (json!({"kind": "Group", "group": {"name": "ops"}}), false),
            (account("*"), false),
        ];
        for (subject, expected) in table {
            let is = Subject::read(&subject).unwrap().is(&user("jane", &["devs"]));
            assert_eq!(is, expected, "{subject}");
        }
        let bot = user("system:serviceaccount:a:bot", &[]);
        for (name, expected) in [("*", true), ("bot", true), ("other", false)] {
            assert_eq!(
                Subject::read(&account(name)).unwrap().is(&bot),
                expected,
                "{name}"
            );
        }
        assert!(
            !Subject::read(&account("*"))
                .unwrap()
                .is(&user("system:serviceaccount:ab:bot", &[]))
        );
    }

    #[test]
    fn requests_match_by_verb_resource_group_and_namespace() {
        let info = |namespace: &str, subresource: &str| RequestInfo {
            is_resource_request: true,
            verb: "get".to_owned(),
            resource: "pods".to_owned(),
            subresource: subresource.to_owned(),
            namespace: namespace.to_owned(),
            ..RequestInfo::default()
        };
        let rule = |change: Value| {
            let mut rule =
                json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]});
            for (key, value) in change.as_object().unwrap() {
                rule[key] = value.clone();
            }
            ResourceRule::read(&rule)
        };
        let table = [
            (rule(json!({})), info("a", ""), true),
            (rule(json!({})), info("b", ""), false),
            (rule(json!({})), info("", ""), false),
            (rule(json!({"clusterScope": true})), info("", ""), true),
            (rule(json!({"namespaces": ["*"]})), info("b", ""), true),
            (rule(json!({"verbs": ["list"]})), info("a", ""), false),
            (rule(json!({"apiGroups": ["apps"]})), info("a", ""), false),
            (rule(json!({})), info("a", "status"), false),
            (
                rule(json!({"resources": ["pods/status"]})),
                info("a", "status"),
                true,
            ),
            (rule(json!({"resources": ["*"]})), info("a", "status"), true),
        ];
        for (rule, info, expected) in table {
            assert_eq!(rule.matches(&info), expected, "{rule:?} {info:?}");
        }
    }

    #[test]
    fn paths_match_whole_or_below() {
        let matches = |rule: &str, path: &str| {
            let info = RequestInfo {
                verb: "get".to_owned(),
                path: path.to_owned(),
                ..RequestInfo::default()
            };
            PathRule::read(&json!({"verbs": ["*"], "nonResourceURLs": [rule]})).matches(&info)
        };
        for (rule, path, expected) in [
            ("*", "/x", true),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", true),
            ("/healthz", "/healthzz", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/apis", false),
        ] {
            assert_eq!(matches(rule, path), expected, "{rule} {path}");
        }
    }
}

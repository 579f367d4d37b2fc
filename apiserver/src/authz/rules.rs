//! Policy rules: which requests one covers, and which other rules.

use serde_json::Value;

use super::Attributes;

/// One rule of a Role or ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PolicyRule {
    /// Verbs; `*` stands for all.
    pub verbs: Vec<String>,
    /// API groups; the empty string is core, `*` stands for all.
    pub api_groups: Vec<String>,
    /// `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub resource_names: Vec<String>,
    /// Paths, `*` at the end for all below.
    pub non_resource_urls: Vec<String>,
}

impl PolicyRule {
    /// Reads a rule; what is not a list of strings counts as empty, since validation keeps such objects out.
    pub fn from_value(value: &Value) -> Self {
        let strings = |field: &str| -> Vec<String> {
            let items = value.get(field).and_then(Value::as_array).into_iter().flatten();
            items.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Self {
            verbs: strings("verbs"),
            api_groups: strings("apiGroups"),
            resources: strings("resources"),
            resource_names: strings("resourceNames"),
            non_resource_urls: strings("nonResourceURLs"),
        }
    }

    /// The `rules` of a Role or ClusterRole.
    pub fn from_role(role: &Value) -> Vec<Self> {
        role.get("rules")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(Self::from_value)
            .collect()
    }

    /// The two rules that allow everything.
    pub fn everything() -> [Self; 2] {
        let all = || vec!["*".to_owned()];
        [
            Self {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Self::default()
            },
            Self {
                verbs: all(),
                non_resource_urls: all(),
                ..Self::default()
            },
        ]
    }

    /// Whether the rule allows the request.
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if !attributes.is_resource {
            return self
                .non_resource_urls
                .iter()
                .any(|url| url_covers(url, attributes.path));
        }
        has(&self.api_groups, attributes.group)
            && self
                .resources
                .iter()
                .any(|own| resource_matches(own, attributes.resource, attributes.subresource))
            && (self.resource_names.is_empty()
                || self.resource_names.iter().any(|name| name == attributes.name))
    }

    /// Whether everything that `other` allows is allowed by this rule alone. `other` must be elementary, as
    /// [`PolicyRule::elements`] makes them.
    fn covers(&self, other: &Self) -> bool {
        let all = |own: &[String], asked: &[String]| asked.iter().all(|item| has(own, item));
        let names = if other.resource_names.is_empty() {
            self.resource_names.is_empty()
        } else {
            self.resource_names.is_empty()
                || other
                    .resource_names
                    .iter()
                    .all(|name| self.resource_names.contains(name))
        };
        let urls = other
            .non_resource_urls
            .iter()
            .all(|asked| self.non_resource_urls.iter().any(|own| url_covers(own, asked)));
        let resources = other.resources.iter().all(|asked| {
            let (resource, subresource) = asked.split_once('/').unwrap_or((asked, ""));
            self.resources
                .iter()
                .any(|own| resource_matches(own, resource, subresource))
        });
        all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && resources
            && names
            && urls
    }

    /// The rule as the set of its smallest parts: one group, resource, name and verb, or one path and verb, each.
    fn elements(&self) -> Vec<Self> {
        let mut out = Vec::new();
        let names: Vec<Vec<String>> = if self.resource_names.is_empty() {
            vec![Vec::new()]
        } else {
            self.resource_names
                .iter()
                .map(|name| vec![name.clone()])
                .collect()
        };
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    out.extend(names.iter().map(|name| Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        resource_names: name.clone(),
                        non_resource_urls: Vec::new(),
                    }));
                }
            }
        }
        for url in &self.non_resource_urls {
            out.extend(self.verbs.iter().map(|verb| Self {
                verbs: vec![verb.clone()],
                non_resource_urls: vec![url.clone()],
                ..Self::default()
            }));
        }
        out
    }

    /// The rule as upstream prints it in messages.
    fn describe(&self) -> String {
        let fields = [
            ("APIGroups", &self.api_groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.non_resource_urls),
            ("ResourceNames", &self.resource_names),
            ("Verbs", &self.verbs),
        ];
        let shown: Vec<_> = fields
            .iter()
            .filter(|(_, values)| !values.is_empty())
            .map(|(name, values)| format!("{name}:{}", quote_list(values)))
            .collect();
        format!("{{{}}}", shown.join(", "))
    }
}

/// What of `asked` is not covered by `owned`, one line a rule, in upstream's order and form. Empty when all is covered.
pub(super) fn missing<'r>(
    owned: impl Iterator<Item = &'r PolicyRule> + Clone,
    asked: &[PolicyRule],
) -> Vec<String> {
    let mut missing: Vec<PolicyRule> = Vec::new();
    for element in asked.iter().flat_map(PolicyRule::elements) {
        if owned.clone().any(|own| own.covers(&element)) {
            continue;
        }
        // Parts that differ in nothing but the verb are shown as one.
        let same = missing.iter_mut().find(|seen| {
            seen.api_groups == element.api_groups
                && seen.resources == element.resources
                && seen.resource_names == element.resource_names
                && seen.non_resource_urls.is_empty()
                && element.non_resource_urls.is_empty()
        });
        match same {
            Some(seen) if !seen.verbs.contains(&element.verbs[0]) => seen.verbs.extend(element.verbs),
            Some(_) => {}
            None => missing.push(element),
        }
    }
    let mut lines: Vec<String> = missing.iter().map(PolicyRule::describe).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// Strings as upstream quotes them in messages: `["a" "b"]`.
pub(super) fn quote_list(values: &[String]) -> String {
    let quoted: Vec<_> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

fn has(own: &[String], asked: &str) -> bool {
    own.iter().any(|item| item == "*" || item == asked)
}

fn resource_matches(own: &str, resource: &str, subresource: &str) -> bool {
    if own == "*" {
        return true;
    }
    match own.split_once('/') {
        None => subresource.is_empty() && own == resource,
        Some(("*", own_subresource)) => !subresource.is_empty() && own_subresource == subresource,
        Some((own_resource, own_subresource)) => own_resource == resource && own_subresource == subresource,
    }
}

fn url_covers(own: &str, asked: &str) -> bool {
    own == "*" || own == asked || (own.ends_with('*') && asked.starts_with(own.trim_end_matches('*')))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::request::UserInfo;

    fn rule(value: serde_json::Value) -> PolicyRule {
        PolicyRule::from_value(&value)
    }

    #[test]
    fn a_rule_allows_by_verb_group_resource_and_name() {
        let user = UserInfo::default();
        let pods =
            rule(json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods", "pods/log"]}));
        let named =
            rule(json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]}));
        let scale = rule(json!({"verbs": ["get"], "apiGroups": ["*"], "resources": ["*/scale"]}));
        let ask =
            |verb: &'static str, group: &'static str, resource: &'static str, sub: &'static str, name| {
                Attributes::resource(&user, verb, group, resource)
                    .subresource(sub)
                    .named(name)
            };
        let cases = [
            (&pods, ask("get", "", "pods", "", "x"), true),
            (&pods, ask("get", "", "pods", "log", "x"), true),
            (&pods, ask("get", "", "pods", "exec", "x"), false),
            (&pods, ask("delete", "", "pods", "", "x"), false),
            (&pods, ask("get", "apps", "pods", "", "x"), false),
            (&named, ask("delete", "apps", "deployments", "scale", "a"), true),
            (&named, ask("delete", "apps", "deployments", "", "b"), false),
            (&named, ask("list", "apps", "deployments", "", ""), false),
            (&scale, ask("get", "apps", "deployments", "scale", ""), true),
            (&scale, ask("get", "apps", "deployments", "", ""), false),
            (&scale, Attributes::path(&user, "get", "/scale"), false),
        ];
        for (rule, attributes, want) in cases {
            assert_eq!(
                rule.allows(&attributes),
                want,
                "{} {attributes:?}",
                rule.describe()
            );
        }
    }

    #[test]
    fn a_rule_allows_paths_by_prefix() {
        let user = UserInfo::default();
        let health = rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/healthz/*"]}));
        let cases = [
            ("get", "/healthz", true),
            ("get", "/healthz/etcd", true),
            ("get", "/healthzz", false),
            ("post", "/healthz", false),
        ];
        for (verb, path, want) in cases {
            assert_eq!(
                health.allows(&Attributes::path(&user, verb, path)),
                want,
                "{verb} {path}"
            );
        }
    }

    #[test]
    fn missing_rights_are_compacted_and_sorted() {
        let owned = [
            rule(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz*"]})),
        ];
        let asked = [
            rule(
                json!({"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods", "secrets"]}),
            ),
            rule(json!({"verbs": ["get"], "nonResourceURLs": ["/healthz/x", "/metrics"]})),
        ];
        let want = [
            r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#,
            r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list" "watch"]}"#,
            r#"{NonResourceURLs:["/metrics"], Verbs:["get"]}"#,
        ];
        assert_eq!(missing(owned.iter(), &asked), want);
        assert!(missing(PolicyRule::everything().iter(), &asked).is_empty());
    }

    #[test]
    fn a_right_to_named_objects_does_not_cover_all_of_them() {
        let named = [rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["a", "b"]}),
        )];
        let all = [rule(
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}),
        )];
        assert!(!missing(named.iter(), &all).is_empty());
        assert!(missing(all.iter(), &named).is_empty());
        assert!(missing(named.iter(), &named).is_empty());
    }
}

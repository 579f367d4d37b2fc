//! Attribute-based access control: the policies of a file, one a line (`--authorization-policy-file`). Pure.

use coracle_api::object::Fields;
use serde_json::Value;

use super::{Attributes, Decision, PolicyRule, Verdict};
use crate::authn::AUTHENTICATED;
use crate::request::UserInfo;

const VERSION: &str = "abac.authorization.kubernetes.io/v1beta1";
const KIND: &str = "Policy";

/// The policies of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies(Vec<Policy>);

/// What is allowed to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Policy {
    user: String,
    group: String,
    read_only: bool,
    api_group: String,
    resource: String,
    namespace: String,
    path: String,
}

impl Policies {
    /// Reads a file's contents; `path` is for messages.
    ///
    /// # Errors
    /// Names the first line that is no policy.
    pub fn parse(path: &str, contents: &str) -> Result<Self, String> {
        let mut policies = Vec::new();
        for (at, text) in contents.lines().enumerate() {
            if text.trim().is_empty() || text.trim_start().starts_with('#') {
                continue;
            }
            let policy = Policy::parse(text)
                .map_err(|why| format!("error reading policy file {path}, line {}: {text}: {why}", at + 1))?;
            policies.push(policy);
        }
        Ok(Self(policies))
    }

    /// Allows what any policy allows; never denies.
    pub(super) fn authorize(&self, asked: &Attributes<'_>) -> Verdict {
        if self.0.iter().any(|policy| policy.allows(asked)) {
            Verdict::new(Decision::Allow, "")
        } else {
            Verdict::new(Decision::NoOpinion, "No policy matched.")
        }
    }

    /// What is allowed to a user in a namespace.
    pub(super) fn rules_for(&self, user: &UserInfo, namespace: &str) -> Vec<PolicyRule> {
        let applies = |policy: &&Policy| policy.is_for(user) && matches(&policy.namespace, namespace);
        self.0
            .iter()
            .filter(applies)
            .flat_map(|policy| {
                let verbs: &[&str] = if policy.read_only {
                    &["get", "list", "watch"]
                } else {
                    &["*"]
                };
                let verbs: Vec<String> = verbs.iter().map(|verb| (*verb).to_owned()).collect();
                let resource = (!policy.resource.is_empty()).then(|| PolicyRule {
                    verbs: verbs.clone(),
                    api_groups: vec![policy.api_group.clone()],
                    resources: vec![policy.resource.clone()],
                    ..PolicyRule::default()
                });
                let path = (!policy.path.is_empty()).then(|| PolicyRule {
                    verbs,
                    non_resource_urls: vec![policy.path.clone()],
                    ..PolicyRule::default()
                });
                resource.into_iter().chain(path)
            })
            .collect()
    }
}

impl Policy {
    fn parse(text: &str) -> Result<Self, String> {
        let object: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if !object.is_object() {
            return Err(format!("unrecognized object: {object}"));
        }
        if object.text("kind").is_empty() || object.text("apiVersion").is_empty() {
            return Ok(Self::of_the_first_form(&object));
        }
        if (object.text("apiVersion"), object.text("kind")) != (VERSION, KIND) {
            return Err(format!(
                "no kind {:?} is registered for version {:?}",
                object.text("kind"),
                object.text("apiVersion")
            ));
        }
        let spec = &object["spec"];
        let mut policy = Self {
            user: spec.text("user").to_owned(),
            group: spec.text("group").to_owned(),
            read_only: spec.flag("readonly"),
            api_group: spec.text("apiGroup").to_owned(),
            resource: spec.text("resource").to_owned(),
            namespace: spec.text("namespace").to_owned(),
            path: spec.text("nonResourcePath").to_owned(),
        };
        policy.everybody_is_known();
        Ok(policy)
    }

    /// Lines without a version: what is left out there stands for all.
    fn of_the_first_form(object: &Value) -> Self {
        let all = |text: &str| if text.is_empty() { "*" } else { text }.to_owned();
        let (namespace, resource) = (object.text("namespace"), object.text("resource"));
        let mut policy = Self {
            user: object.text("user").to_owned(),
            group: object.text("group").to_owned(),
            read_only: object.flag("readonly"),
            api_group: "*".to_owned(),
            resource: all(resource),
            namespace: all(namespace),
            path: if namespace.is_empty() && resource.is_empty() {
                all("")
            } else {
                String::new()
            },
        };
        if policy.user.is_empty() && policy.group.is_empty() {
            AUTHENTICATED.clone_into(&mut policy.group);
        }
        policy.everybody_is_known();
        policy
    }

    /// `*` is everybody who says who they are, and not the anonymous.
    fn everybody_is_known(&mut self) {
        if self.user == "*" || self.group == "*" {
            AUTHENTICATED.clone_into(&mut self.group);
            self.user.clear();
        }
    }

    fn allows(&self, asked: &Attributes<'_>) -> bool {
        if !self.is_for(asked.user) || (self.read_only && !asked.is_read_only()) {
            return false;
        }
        if asked.is_resource {
            return matches(&self.namespace, asked.namespace)
                && matches(&self.resource, asked.resource)
                && matches(&self.api_group, asked.group);
        }
        let below = self.path.ends_with('*').then(|| self.path.trim_end_matches('*'));
        self.path == asked.path || below.is_some_and(|start| asked.path.starts_with(start))
    }

    /// Whoever a policy names by user and by group has to be both; one that names nobody is for nobody.
    fn is_for(&self, user: &UserInfo) -> bool {
        let by_user = self.user.is_empty() || self.user == user.name;
        let by_group = self.group.is_empty() || user.groups.contains(&self.group);
        by_user && by_group && !(self.user.is_empty() && self.group.is_empty())
    }
}

fn matches(own: &str, asked: &str) -> bool {
    own == "*" || own == asked
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
# everybody may look at what the server says of itself
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"group":"*","readonly":true,"nonResourcePath":"/version*"}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"jane","namespace":"a","resource":"pods","apiGroup":""}}
{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":{"user":"joe","group":"devs","namespace":"*","resource":"*","apiGroup":"*","readonly":true}}
{"user":"root"}
{"namespace":"open","readonly":true}
"#;

    fn user(name: &str, groups: &[&str]) -> UserInfo {
        UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        }
    }

    #[test]
    fn policies_allow_what_they_say() {
        let policies = Policies::parse("f", FILE).unwrap();
        let known = |name: &str| user(name, &["system:authenticated"]);
        let (jane, joe, dev, root) = (
            known("jane"),
            known("joe"),
            user("joe", &["devs"]),
            user("root", &[]),
        );
        let nobody = user("system:anonymous", &["system:unauthenticated"]);
        let pods =
            |user, verb, namespace| Attributes::resource(user, verb, "", "pods").in_namespace(namespace);
        for (asked, want) in [
            (pods(&jane, "delete", "a"), true),
            (pods(&jane, "get", "b"), false),
            (
                Attributes::resource(&jane, "get", "apps", "pods").in_namespace("a"),
                false,
            ),
            (pods(&dev, "list", "b"), true),
            (pods(&dev, "create", "b"), false),
            (pods(&joe, "list", "b"), false),
            (pods(&root, "create", "b"), true),
            (Attributes::path(&root, "post", "/x"), true),
            (Attributes::path(&jane, "get", "/version/x"), true),
            (Attributes::path(&jane, "post", "/version"), false),
            (Attributes::path(&nobody, "get", "/version"), false),
            (pods(&jane, "get", "open"), true),
            (pods(&nobody, "get", "open"), false),
        ] {
            let verdict = policies.authorize(&asked);
            assert_eq!(verdict.is_allowed(), want, "{asked:?}");
            assert_eq!(verdict.reason.is_empty(), want);
        }
        let rules = policies.rules_for(&jane, "a");
        assert_eq!(rules.len(), 1, "the path is for another namespace: {rules:?}");
    }

    #[test]
    fn lines_that_are_no_policies_are_told() {
        let fault = |text: &str| Policies::parse("f", text).unwrap_err();
        assert!(fault("\n{").starts_with("error reading policy file f, line 2: {: "));
        let other = r#"{"apiVersion":"v1","kind":"Policy"}"#;
        assert!(fault(other).ends_with("no kind \"Policy\" is registered for version \"v1\""));
    }
}

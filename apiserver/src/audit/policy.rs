//! The audit policy (`audit.k8s.io/v1` `Policy`): how much is recorded of which requests. Pure.

use coracle_api::codec::yaml;
use coracle_api::names;
use coracle_api::validation::{FieldErrors, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::event::Stage;
use crate::request::{RequestInfo, UserInfo};

/// How much is recorded, each including what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Level {
    /// Nothing.
    None,
    /// Who asked for what, and what came of it.
    Metadata,
    /// And what they sent.
    Request,
    /// And what they got.
    RequestResponse,
}

impl Level {
    const ALL: [(Self, &'static str); 4] = [
        (Self::None, "None"),
        (Self::Metadata, "Metadata"),
        (Self::Request, "Request"),
        (Self::RequestResponse, "RequestResponse"),
    ];

    fn of(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(_, own)| *own == name)
            .map(|(level, _)| *level)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<String>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    level: String,
    users: Vec<String>,
    user_groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<GroupResources>,
    namespaces: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    non_resource_urls: Vec<String>,
    omit_stages: Vec<String>,
    omit_managed_fields: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GroupResources {
    group: String,
    resources: Vec<String>,
    resource_names: Vec<String>,
}

/// What a policy wants of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) level: Level,
    pub(super) omit_stages: Vec<Stage>,
    pub(super) omit_managed_fields: bool,
}

/// Rules, of which the first that matches counts.
pub(super) struct Policy {
    rules: Vec<(Rule, Wanted)>,
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// What keeps it from being one.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut parsed = yaml::parse(bytes).map_err(|error| format!("failed decoding: {error}"))?;
        without_nulls(&mut parsed.value);
        let field = |name: &str| parsed.value.get(name).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (field("apiVersion").to_owned(), field("kind").to_owned());
        if version != "audit.k8s.io/v1" || kind != "Policy" {
            return Err(format!(
                "failed decoding: no kind {kind:?} is registered for version {version:?}"
            ));
        }
        let written: Written =
            serde_json::from_value(parsed.value).map_err(|error| format!("failed decoding: {error}"))?;
        let errors = validate(&written);
        if !errors.is_empty() {
            return Err(errors.aggregate());
        }
        if written.rules.is_empty() {
            return Err("loaded illegal policy with 0 rules".to_owned());
        }
        let rules = written.rules.into_iter().map(|rule| {
            let omitted = written.omit_stages.iter().chain(&rule.omit_stages);
            let wanted = Wanted {
                level: Level::of(&rule.level).unwrap_or(Level::None),
                omit_stages: omitted.filter_map(|name| stage(name)).collect(),
                omit_managed_fields: rule.omit_managed_fields.unwrap_or(written.omit_managed_fields),
            };
            (rule, wanted)
        });
        Ok(Self {
            rules: rules.collect(),
        })
    }

    /// What is wanted of a request: nothing where no rule matches.
    pub(super) fn evaluate(&self, info: &RequestInfo, sender: Option<&UserInfo>) -> Wanted {
        let found = self.rules.iter().find(|(rule, _)| rule.matches(info, sender));
        found.map_or_else(
            || Wanted {
                level: Level::None,
                omit_stages: Vec::new(),
                omit_managed_fields: false,
            },
            |(_, wanted)| wanted.clone(),
        )
    }
}

/// What is null is what is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn stage(name: &str) -> Option<Stage> {
    Stage::ALL
        .iter()
        .find(|(_, own)| *own == name)
        .map(|(stage, _)| *stage)
}

impl Rule {
    fn matches(&self, info: &RequestInfo, sender: Option<&UserInfo>) -> bool {
        let names = |list: &[String], name: &str| list.is_empty() || list.iter().any(|own| own == name);
        if !self.users.is_empty() && !sender.is_some_and(|user| names(&self.users, &user.name)) {
            return false;
        }
        let in_group = |user: &UserInfo| user.groups.iter().any(|group| self.user_groups.contains(group));
        if !self.user_groups.is_empty() && !sender.is_some_and(in_group) {
            return false;
        }
        if !names(&self.verbs, &info.verb) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            let inside = info.is_resource_request && names(&self.namespaces, &info.namespace);
            return inside
                && (self.resources.is_empty() || self.resources.iter().any(|own| own.matches(info)));
        }
        if !self.non_resource_urls.is_empty() {
            let path = |spec: &String| {
                let below = spec.strip_suffix('*').map(|start| start.trim_end_matches('*'));
                *spec == info.path || below.is_some_and(|start| info.path.starts_with(start))
            };
            return !info.is_resource_request && self.non_resource_urls.iter().any(path);
        }
        true
    }
}

impl GroupResources {
    fn matches(&self, info: &RequestInfo) -> bool {
        if self.group != "*" && self.group != info.api_group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.resource_names.is_empty() && !self.resource_names.contains(&info.name) {
            return false;
        }
        self.resources.iter().any(|spec| {
            let exact = match info.subresource.as_str() {
                "" => *spec == info.resource,
                subresource => spec.split_once('/') == Some((info.resource.as_str(), subresource)),
            };
            let any_resource = spec
                .strip_prefix("*/")
                .is_some_and(|subresource| !info.subresource.is_empty() && subresource == info.subresource);
            let any_subresource = spec
                .strip_suffix("/*")
                .is_some_and(|resource| resource == info.resource);
            spec == "*" || exact || any_resource || any_subresource
        })
    }
}

fn validate(policy: &Written) -> FieldErrors {
    let mut errors = FieldErrors::new();
    validate_stages(&mut errors, &Path::new("omitStages"), &policy.omit_stages);
    let rules = Path::new("rules");
    for (i, rule) in policy.rules.iter().enumerate() {
        let at = rules.index(i);
        validate_rule(&mut errors, &at, rule);
        validate_stages(&mut errors, &at.child("omitStages"), &rule.omit_stages);
        let both = !rule.resources.is_empty() || !rule.namespaces.is_empty();
        if !rule.non_resource_urls.is_empty() && both {
            let why = "rules cannot apply to both regular resources and non-resource URLs";
            let urls = Value::from(rule.non_resource_urls.clone());
            errors.invalid(&at.child("nonResourceURLs"), &urls, why);
        }
    }
    errors
}

fn validate_rule(errors: &mut FieldErrors, at: &Path<'_>, rule: &Rule) {
    match rule.level.as_str() {
        "" => errors.required(&at.child("level"), ""),
        level if Level::of(level).is_none() => {
            let known: Vec<&str> = Level::ALL.iter().map(|(_, name)| *name).collect();
            errors.not_supported(&at.child("level"), level, &known);
        }
        _ => {}
    }
    let urls = at.child("nonResourceURLs");
    for (i, url) in rule
        .non_resource_urls
        .iter()
        .enumerate()
        .filter(|(_, url)| *url != "*")
    {
        if !url.starts_with('/') {
            let why = "non-resource URL rules must begin with a '/' character";
            errors.invalid(&urls.index(i), url, why);
        }
        if url.char_indices().any(|(at, c)| c == '*' && at + 1 != url.len()) {
            let why = "non-resource URL wildcards '*' must be the final character of the rule";
            errors.invalid(&urls.index(i), url, why);
        }
    }
    let resources = at.child("resources");
    for own in &rule.resources {
        if !own.group.is_empty() && own.group != "*" {
            let faults = names::dns1123_subdomain(&own.group);
            if !faults.is_empty() {
                errors.invalid(&resources.child("group"), &own.group, faults.join(","));
            }
        }
        if !own.resource_names.is_empty() && own.resources.is_empty() {
            let why = "using resourceNames requires at least one resource";
            let given = Value::from(own.resource_names.clone());
            errors.invalid(&resources.child("resourceNames"), &given, why);
        }
    }
}

fn validate_stages(errors: &mut FieldErrors, at: &Path<'_>, stages: &[String]) {
    for (i, name) in stages
        .iter()
        .enumerate()
        .filter(|(_, name)| stage(name).is_none())
    {
        let known: Vec<&str> = Stage::ALL.iter().map(|(_, name)| *name).collect();
        errors.invalid(
            &at.index(i),
            name,
            format!("allowed stages are {}", known.join(",")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::read(format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}").as_bytes())
    }

    fn info(verb: &str, group: &str, resource: &str, name: &str) -> RequestInfo {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        RequestInfo {
            is_resource_request: true,
            verb: verb.to_owned(),
            api_group: group.to_owned(),
            namespace: "a".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..RequestInfo::default()
        }
    }

    #[test]
    fn the_first_rule_that_matches_counts() {
        let jane = UserInfo {
            name: "jane".to_owned(),
            groups: vec!["devs".to_owned()],
            ..UserInfo::default()
        };
        let path = |path: &str| RequestInfo {
            verb: "get".to_owned(),
            path: path.to_owned(),
            ..RequestInfo::default()
        };
        let pod = |verb: &str| info(verb, "", "pods", "p");
        let table = [
            ("{users: [jane]}", pod("get"), true),
            ("{users: [joe]}", pod("get"), false),
            ("{userGroups: [devs]}", pod("get"), true),
            ("{userGroups: [ops]}", pod("get"), false),
            ("{verbs: [list]}", pod("get"), false),
            ("{namespaces: [a]}", pod("get"), true),
            ("{namespaces: [b]}", pod("get"), false),
            ("{namespaces: ['']}", path("/version"), false),
            ("{resources: [{group: ''}]}", pod("get"), true),
            ("{resources: [{group: apps}]}", pod("get"), false),
            ("{resources: [{group: '*', resources: [pods]}]}", pod("get"), true),
            (
                "{resources: [{resources: [pods]}]}",
                info("get", "", "pods/log", "p"),
                false,
            ),
            (
                "{resources: [{resources: [pods/log]}]}",
                info("get", "", "pods/log", "p"),
                true,
            ),
            (
                "{resources: [{resources: ['pods/*']}]}",
                info("get", "", "pods/log", "p"),
                true,
            ),
            (
                "{resources: [{resources: ['*/log']}]}",
                info("get", "", "pods/log", "p"),
                true,
            ),
            (
                "{resources: [{resources: ['*']}]}",
                info("get", "", "pods/log", "p"),
                true,
            ),
            (
                "{resources: [{resources: [pods], resourceNames: [p]}]}",
                pod("get"),
                true,
            ),
            (
                "{resources: [{resources: [pods], resourceNames: [q]}]}",
                pod("get"),
                false,
            ),
            ("{nonResourceURLs: ['/version']}", path("/version"), true),
            ("{nonResourceURLs: ['/healthz*']}", path("/healthz/ping"), true),
            ("{nonResourceURLs: ['/healthz*']}", path("/livez"), false),
            ("{nonResourceURLs: ['*']}", pod("get"), false),
        ];
        for (rule, info, matches) in table {
            let rule = rule.replacen('{', "{level: Metadata, ", 1);
            let level = policy(&format!("- {rule}\n- {{level: None}}"))
                .unwrap()
                .evaluate(&info, Some(&jane))
                .level;
            assert_eq!(level == Level::Metadata, matches, "{rule}");
        }
    }

    #[test]
    fn stages_and_managed_fields_are_left_out_by_rule_or_for_all() {
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nomitManagedFields: true\n\
                    rules: [{level: Request, omitStages: [Panic], omitManagedFields: false}]";
        let wanted = Policy::read(text.as_bytes())
            .unwrap()
            .evaluate(&RequestInfo::default(), None);
        assert_eq!(wanted.omit_stages, [Stage::RequestReceived, Stage::Panic]);
        assert!(!wanted.omit_managed_fields);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let table = [
            ("", "loaded illegal policy with 0 rules"),
            ("- {}", "rules[0].level: Required value"),
            (
                "- {level: Much}",
                "rules[0].level: Unsupported value: \"Much\": supported values: \"None\", \"Metadata\", \"Request\", \
                 \"RequestResponse\"",
            ),
            (
                "- {level: None, nonResourceURLs: [a]}",
                "rules[0].nonResourceURLs[0]: Invalid value: \"a\": non-resource URL rules must begin with a '/' character",
            ),
            (
                "- {level: None, omitStages: [Later]}",
                "rules[0].omitStages[0]: Invalid value: \"Later\": allowed stages are \
                 RequestReceived,ResponseStarted,ResponseComplete,Panic",
            ),
        ];
        for (rules, message) in table {
            assert_eq!(policy(rules).err().as_deref(), Some(message), "{rules}");
        }
    }
}

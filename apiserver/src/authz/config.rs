//! Who decides what is allowed, in which order: by flags, or by an `AuthorizationConfiguration` of
//! `apiserver.config.k8s.io`. Pure but for the look whether a kubeconfig stands.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};
use std::time::Duration;

use coracle_api::names;
use coracle_api::validation::{BadValue, FieldErrors, Path};
use serde::Deserialize;

use super::AuthorizationMode;
use super::review;
use super::webhook::AccessWebhookSettings;
use crate::authn::jwt::of_kind;
use crate::http::go_duration;

/// All there are, as upstream lists them.
const MODES: [&str; 6] = ["ABAC", "AlwaysAllow", "AlwaysDeny", "Node", "RBAC", "Webhook"];
const CONDITIONS_MAX: usize = 64;
const TIMEOUT_MAX: Duration = Duration::from_secs(30);

/// One who decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthorizerConfig {
    /// One that needs nothing.
    Mode(AuthorizationMode),
    /// The policies of a file.
    Abac(PathBuf),
    /// A service elsewhere.
    Webhook(AccessWebhookSettings, Connection),
}

/// How a service is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection {
    /// As a kubeconfig says.
    Kubeconfig(PathBuf),
    /// It is the API of the cluster in which this server is a pod.
    InCluster,
}

/// The flags `--authorization-*`.
#[derive(Clone, Debug, Default)]
pub struct AuthorizationFlags {
    /// The modes in order.
    pub modes: Vec<String>,
    /// The policies of ABAC.
    pub policy_file: Option<PathBuf>,
    /// The service of Webhook.
    pub webhook: Option<PathBuf>,
    /// The version of SubjectAccessReview by which it is asked.
    pub webhook_version: String,
    /// For how long its yes and its no count.
    pub webhook_ttls: (Duration, Duration),
}

impl AuthorizationFlags {
    /// What the flags say.
    ///
    /// # Errors
    /// Where they contradict each other, in upstream's words.
    pub fn chain(&self) -> Result<Vec<AuthorizerConfig>, String> {
        if self.modes.is_empty() {
            return Err("at least one authorization-mode must be passed".to_owned());
        }
        let distinct: BTreeSet<&String> = self.modes.iter().collect();
        if distinct.len() != self.modes.len() {
            let modes: Vec<_> = self.modes.iter().map(|mode| format!("{mode:?}")).collect();
            return Err(format!(
                "authorization-mode [{}] has mode specified more than once",
                modes.join(" ")
            ));
        }
        let has = |mode: &str| self.modes.iter().any(|own| own == mode);
        if self.policy_file.is_some() && !has("ABAC") {
            return Err("cannot specify --authorization-policy-file without mode ABAC".to_owned());
        }
        if self.webhook.is_some() && !has("Webhook") {
            return Err("cannot specify --authorization-webhook-config-file without mode Webhook".to_owned());
        }
        self.modes.iter().map(|mode| self.one(mode)).collect()
    }

    fn one(&self, mode: &str) -> Result<AuthorizerConfig, String> {
        match mode {
            "ABAC" => {
                let file = self.policy_file.clone();
                let file = file.ok_or("authorization-mode ABAC's authorization policy file not passed")?;
                Ok(AuthorizerConfig::Abac(file))
            }
            "Webhook" => {
                let file = self.webhook.clone();
                let file = file.ok_or("authorization-mode Webhook's authorization config file not passed")?;
                let settings = AccessWebhookSettings {
                    version: self.webhook_version.clone(),
                    authorized_ttl: self.webhook_ttls.0,
                    unauthorized_ttl: self.webhook_ttls.1,
                    timeout: TIMEOUT_MAX,
                    deny_on_failure: false,
                    conditions: Vec::new(),
                };
                Ok(AuthorizerConfig::Webhook(settings, Connection::Kubeconfig(file)))
            }
            other => match other.parse() {
                Ok(mode) => Ok(AuthorizerConfig::Mode(mode)),
                Err(_) => Err(format!("authorization-mode {other:?} is not a valid mode")),
            },
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct AuthorizationConfiguration {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    authorizers: Vec<Entry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Entry {
    #[serde(rename = "type")]
    mode: String,
    name: String,
    webhook: Option<WebhookEntry>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct WebhookEntry {
    #[serde(rename = "authorizedTTL")]
    authorized_ttl: Option<String>,
    cache_authorized_requests: Option<bool>,
    #[serde(rename = "unauthorizedTTL")]
    unauthorized_ttl: Option<String>,
    cache_unauthorized_requests: Option<bool>,
    timeout: String,
    subject_access_review_version: String,
    match_condition_subject_access_review_version: String,
    failure_policy: String,
    connection_info: ConnectionInfo,
    match_conditions: Vec<Condition>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct ConnectionInfo {
    #[serde(rename = "type")]
    sort: String,
    kube_config_file: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Condition {
    expression: String,
}

/// Reads an `AuthorizationConfiguration`; `policy_file` is ABAC's.
///
/// # Errors
/// All that is wrong with it, in upstream's words.
pub fn parse(contents: &[u8], policy_file: Option<&FilePath>) -> Result<Vec<AuthorizerConfig>, String> {
    let told = |why: String| format!("failed to load AuthorizationConfiguration from file: {why}");
    let value = of_kind(contents, "AuthorizationConfiguration").map_err(told)?;
    let read: AuthorizationConfiguration =
        serde_json::from_value(value).map_err(|error| told(format!("strict decoding error: {error}")))?;
    let mut errors = FieldErrors::new();
    let list = Path::new("authorizers");
    if read.authorizers.is_empty() {
        errors.required(&list, "at least one authorization mode must be defined");
    }
    let (mut modes, mut seen_names) = (BTreeSet::new(), BTreeSet::new());
    let mut chain = Vec::new();
    let mut misnamed = Vec::new();
    for (index, entry) in read.authorizers.iter().enumerate() {
        let at = list.index(index);
        let kind = at.child("type");
        let mode = entry.mode.as_str();
        if mode.is_empty() {
            errors.required(&kind, "");
            continue;
        }
        if !MODES.contains(&mode) {
            errors.not_supported(&kind, mode, &MODES);
            continue;
        }
        if !modes.insert(mode) && mode != "Webhook" {
            errors.duplicate(&kind, mode);
            continue;
        }
        check_name(&entry.name, &mut seen_names, &at.child("name"), &mut errors);
        if mode != "Webhook" && entry.name != mode.to_lowercase() {
            let want = mode.to_lowercase();
            misnamed.push(format!(
                "expected name {want} for authorizer {mode} instead of {}",
                entry.name
            ));
        }
        chain.extend(entry.read(policy_file, &at, &mut errors));
    }
    if !errors.is_empty() {
        return Err(errors.aggregate());
    }
    match misnamed.as_slice() {
        [] => Ok(chain),
        [only] => Err(only.clone()),
        several => Err(format!("[{}]", several.join(", "))),
    }
}

fn check_name<'e>(name: &'e str, seen: &mut BTreeSet<&'e str>, at: &Path<'_>, errors: &mut FieldErrors) {
    let faults = names::dns1123_subdomain(name);
    if name.is_empty() {
        errors.required(at, "");
    } else if !seen.insert(name) {
        errors.duplicate(at, name);
    } else if !faults.is_empty() {
        errors.invalid(
            at,
            name,
            format!("authorizer name is invalid: {}", faults.join(", ")),
        );
    }
}

impl Entry {
    fn read(
        &self,
        policy_file: Option<&FilePath>,
        at: &Path<'_>,
        errors: &mut FieldErrors,
    ) -> Option<AuthorizerConfig> {
        let place = at.child("webhook");
        match (self.mode.as_str(), &self.webhook) {
            ("Webhook", None) => {
                errors.required(&place, "required when type=Webhook");
                None
            }
            ("Webhook", Some(webhook)) => webhook.read(at, errors),
            (_, Some(_)) => {
                errors.invalid(&place, "non-null", "may only be specified when type=Webhook");
                None
            }
            ("ABAC", None) => match policy_file {
                Some(file) => Some(AuthorizerConfig::Abac(file.to_owned())),
                None => {
                    errors.required(
                        at,
                        "authorization-mode ABAC's authorization policy file not passed",
                    );
                    None
                }
            },
            (mode, None) => mode.parse().ok().map(AuthorizerConfig::Mode),
        }
    }
}

impl WebhookEntry {
    fn read(&self, at: &Path<'_>, errors: &mut FieldErrors) -> Option<AuthorizerConfig> {
        let before = errors.len();
        let timeout = duration(&self.timeout, &at.child("timeout"), errors);
        if timeout > TIMEOUT_MAX {
            let told = "must be > 0s and <= 30s";
            errors.invalid(&at.child("timeout"), self.timeout.as_str(), told);
        }
        // Upstream's defaults, which are the flags'.
        let authorized = self.authorized_ttl.as_deref().unwrap_or("5m");
        let unauthorized = self.unauthorized_ttl.as_deref().unwrap_or("30s");
        let authorized = duration(authorized, &at.child("authorizedTTL"), errors);
        let unauthorized = duration(unauthorized, &at.child("unauthorizedTTL"), errors);
        self.check_versions(at, errors);
        match self.failure_policy.as_str() {
            "" => errors.required(&at.child("failurePolicy"), ""),
            "NoOpinion" | "Deny" => {}
            other => errors.not_supported(&at.child("failurePolicy"), other, &["NoOpinion", "Deny"]),
        }
        let connection = self.connection_info.read(&at.child("connectionInfo"), errors);
        self.check_conditions(&at.child("matchConditions"), errors);
        if errors.len() > before {
            return None;
        }
        let kept = |flag: Option<bool>, life| {
            if flag.unwrap_or(true) {
                life
            } else {
                Duration::ZERO
            }
        };
        let settings = AccessWebhookSettings {
            version: self.subject_access_review_version.clone(),
            authorized_ttl: kept(self.cache_authorized_requests, authorized),
            unauthorized_ttl: kept(self.cache_unauthorized_requests, unauthorized),
            timeout,
            deny_on_failure: self.failure_policy == "Deny",
            conditions: self
                .match_conditions
                .iter()
                .map(|condition| condition.expression.clone())
                .collect(),
        };
        Some(AuthorizerConfig::Webhook(settings, connection?))
    }

    fn check_versions(&self, at: &Path<'_>, errors: &mut FieldErrors) {
        let place = at.child("subjectAccessReviewVersion");
        match self.subject_access_review_version.as_str() {
            "" => errors.required(&place, ""),
            "v1" | "v1beta1" => {}
            other => errors.not_supported(&place, other, &["v1", "v1beta1"]),
        }
        let place = at.child("matchConditionSubjectAccessReviewVersion");
        match self.match_condition_subject_access_review_version.as_str() {
            "" if self.match_conditions.is_empty() => {}
            "" => errors.required(&place, "required if match conditions are specified"),
            "v1" => {}
            other => errors.not_supported(&place, other, &["v1"]),
        }
    }

    fn check_conditions(&self, list: &Path<'_>, errors: &mut FieldErrors) {
        if self.match_conditions.len() > CONDITIONS_MAX {
            errors.too_many(list, self.match_conditions.len(), CONDITIONS_MAX);
            return;
        }
        let environment = review::environment();
        let mut seen = BTreeSet::new();
        for (index, condition) in self.match_conditions.iter().enumerate() {
            let source = condition.expression.as_str();
            let place = list.index(index);
            let at = place.child("expression");
            if source.trim().is_empty() {
                errors.required(&at, "");
            } else if !seen.insert(source) {
                errors.duplicate(&at, source);
            } else if let Err(why) = review::compile(source, &environment) {
                errors.invalid(&at, source, why);
            }
        }
    }
}

impl ConnectionInfo {
    fn read(&self, at: &Path<'_>, errors: &mut FieldErrors) -> Option<Connection> {
        let place = at.child("kubeConfigFile");
        let file = self.kube_config_file.as_deref();
        match (self.sort.as_str(), file) {
            ("", _) => errors.required(&at.child("type"), ""),
            ("InClusterConfig", None) => return Some(Connection::InCluster),
            ("InClusterConfig", Some(file)) => {
                errors.invalid(&place, file, "can only be set when type=KubeConfigFile");
            }
            ("KubeConfigFile", None | Some("")) => errors.required(&place, ""),
            ("KubeConfigFile", Some(file)) => {
                let path = FilePath::new(file);
                if !path.is_absolute() {
                    errors.invalid(&place, file, "must be an absolute path");
                } else if !path.is_file() {
                    errors.invalid(&place, file, "must be a regular file");
                } else {
                    return Some(Connection::Kubeconfig(path.to_owned()));
                }
            }
            (other, _) => {
                let known = ["InClusterConfig", "KubeConfigFile"];
                errors.not_supported(&at.child("type"), BadValue::from(other), &known);
            }
        }
        None
    }
}

/// A duration that is more than nothing.
fn duration(text: &str, at: &Path<'_>, errors: &mut FieldErrors) -> Duration {
    match go_duration::parse(text) {
        _ if text.is_empty() => errors.required(at, ""),
        Some(Duration::ZERO) => errors.required(at, ""),
        Some(duration) => return duration,
        None => errors.invalid(at, text, "must be > 0s"),
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests;

//! What a webhook configuration says, read once and ready to be asked. Pure.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::object::Fields;
use coracle_api::selector::LabelSelector;
use serde_json::Value;

use super::conditions::Conditions;
use crate::outbound::{Place, Trust};
use crate::reader::GroupResource;

/// The two kinds of webhooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// May change the object.
    Mutating,
    /// May only refuse.
    Validating,
}

/// The versions in which reviews are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReviewVersion {
    V1,
    V1beta1,
}

/// `RuleWithOperations`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rule {
    pub(super) operations: Vec<String>,
    pub(super) groups: Vec<String>,
    pub(super) versions: Vec<String>,
    /// With subresources: `pods`, `pods/*`, `*/scale`.
    pub(super) resources: Vec<String>,
    /// `*`, `Cluster` or `Namespaced`.
    pub(super) scope: String,
}

/// Where a webhook is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) place: Place,
    pub(super) trust: Trust,
    /// Begins with a slash.
    pub(super) path: String,
}

/// One webhook of a configuration.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(super) sort: Sort,
    /// Differs from that of every other webhook of its kind.
    pub(super) id: String,
    pub(super) configuration: String,
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
    /// Whether only the version that the request names counts.
    pub(super) exact: bool,
    /// A selector that cannot be read is an error for the requests that it is about.
    pub(super) namespace_selector: Result<LabelSelector, String>,
    pub(super) object_selector: Result<LabelSelector, String>,
    /// Whether a failure to ask it counts as a yes.
    pub(super) fails_open: bool,
    /// Whether it may be asked where nothing is to come of it; none where that is not said.
    pub(super) dry_runs: Option<bool>,
    pub(super) timeout: Option<Duration>,
    /// Whether it wants to be asked again about what others changed after it.
    pub(super) reinvoked: bool,
    /// The first that is known of those it takes.
    pub(super) review: Option<ReviewVersion>,
    pub(super) conditions: Arc<Conditions>,
    /// What is wrong where it cannot be reached by its configuration.
    pub(super) target: Result<Target, String>,
}

impl Sort {
    /// The plugin that has to be on for them to count.
    pub(super) fn plugin(self) -> &'static str {
        match self {
            Self::Mutating => "MutatingAdmissionWebhook",
            Self::Validating => "ValidatingAdmissionWebhook",
        }
    }

    /// The resource that configures such webhooks.
    pub(super) fn resource(self) -> GroupResource {
        let resource = match self {
            Self::Mutating => "mutatingwebhookconfigurations",
            Self::Validating => "validatingwebhookconfigurations",
        };
        GroupResource::new(super::GROUP, resource)
    }
}

impl Hook {
    /// The webhooks of a configuration, in its order.
    pub(super) fn all_of(sort: Sort, configuration: &Value) -> Vec<Self> {
        let name = configuration["metadata"].text("name");
        let hooks = configuration.items("webhooks").iter().enumerate();
        hooks
            .map(|(index, hook)| Self::read(sort, name, index, hook))
            .collect()
    }

    fn read(sort: Sort, configuration: &str, index: usize, hook: &Value) -> Self {
        let name = hook.text("name");
        let selector =
            |field| LabelSelector::from_object(hook.field(field)).map_err(|error| error.to_string());
        let seconds = hook
            .number("timeoutSeconds")
            .and_then(|seconds| u64::try_from(seconds).ok());
        Self {
            sort,
            id: format!("{configuration}/{name}/{index}"),
            configuration: configuration.to_owned(),
            name: name.to_owned(),
            rules: hook.items("rules").iter().map(Rule::read).collect(),
            exact: hook.text("matchPolicy") == "Exact",
            namespace_selector: selector("namespaceSelector"),
            object_selector: selector("objectSelector"),
            fails_open: hook.text("failurePolicy") == "Ignore",
            dry_runs: match hook.text("sideEffects") {
                "" => None,
                effects => Some(matches!(effects, "None" | "NoneOnDryRun")),
            },
            timeout: seconds.map(Duration::from_secs),
            reinvoked: hook.text("reinvocationPolicy") == "IfNeeded",
            review: words(hook, "admissionReviewVersions").iter().find_map(|version| {
                match version.as_str() {
                    "v1" => Some(ReviewVersion::V1),
                    "v1beta1" => Some(ReviewVersion::V1beta1),
                    _ => None,
                }
            }),
            conditions: Arc::new(Conditions::read(hook)),
            target: Target::read(&hook["clientConfig"]),
        }
    }
}

impl Rule {
    /// Reads a rule.
    pub(crate) fn read(rule: &Value) -> Self {
        Self {
            operations: words(rule, "operations"),
            groups: words(rule, "apiGroups"),
            versions: words(rule, "apiVersions"),
            resources: words(rule, "resources"),
            scope: match rule.text("scope") {
                "" => "*".to_owned(),
                scope => scope.to_owned(),
            },
        }
    }
}

impl Target {
    /// Reads a `clientConfig`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(client: &Value) -> Result<Self, String> {
        let trust = match client.text("caBundle") {
            "" => Trust::Machine,
            text => Trust::Bundle(STANDARD.decode(text).map_err(|error| error.to_string())?),
        };
        let (place, path) = match client.field("service") {
            Some(service) => of_service(service),
            None => of_url(client.text("url"))?,
        };
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        Ok(Self { place, trust, path })
    }

    /// The URL under which it stands in messages.
    pub(super) fn url(&self) -> String {
        format!("https://{}{}", self.place.authority(), self.path)
    }
}

const HTTPS: u16 = 443;

fn of_service(service: &Value) -> (Place, String) {
    let port = service
        .number("port")
        .and_then(|port| u16::try_from(port).ok())
        .filter(|port| *port != 0);
    let place = Place::Service {
        namespace: service.text("namespace").to_owned(),
        name: service.text("name").to_owned(),
        port: port.unwrap_or(HTTPS),
    };
    (place, service.text("path").to_owned())
}

fn of_url(url: &str) -> Result<(Place, String), String> {
    if url.is_empty() {
        return Err("webhook configuration must have either service or URL".to_owned());
    }
    let read: http::Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
    let host = read.host().unwrap_or_default();
    if read.scheme_str() != Some("https") || host.is_empty() {
        return Err(format!(
            "Unparsable URL: {url} is not of the form https://host/path"
        ));
    }
    let place = Place::Host {
        host: host.trim_matches(['[', ']']).to_owned(),
        port: read.port_u16().unwrap_or(HTTPS),
    };
    Ok((place, read.path().to_owned()))
}

fn words(object: &Value, field: &str) -> Vec<String> {
    let words = object.items(field).iter().filter_map(Value::as_str);
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_webhook_is_reached_by_service_or_url() {
        let url = |client: Value| Target::read(&client).map(|target| target.url());
        let table = [
            (
                json!({"service": {"namespace": "n", "name": "s"}}),
                Ok("https://s.n.svc:443/"),
            ),
            (
                json!({"service": {"namespace": "n", "name": "s", "port": 8443, "path": "/mutate"}}),
                Ok("https://s.n.svc:8443/mutate"),
            ),
            (
                json!({"url": "https://hooks.example.com/a/b"}),
                Ok("https://hooks.example.com:443/a/b"),
            ),
            (json!({"url": "https://[::1]:8443"}), Ok("https://[::1]:8443/")),
            (
                json!({"url": "http://hooks.example.com"}),
                Err("Unparsable URL: http://hooks.example.com is not of the form https://host/path"),
            ),
            (
                json!({}),
                Err("webhook configuration must have either service or URL"),
            ),
        ];
        for (client, want) in table {
            let got = url(client);
            assert_eq!(got.as_deref().map_err(String::as_str), want);
        }
    }

    #[test]
    fn what_is_not_said_is_as_upstream_has_it() {
        let configuration = json!({"metadata": {"name": "c"}, "webhooks": [
            {"name": "a.example.com", "admissionReviewVersions": ["v2", "v1beta1", "v1"], "sideEffects": "Some"},
            {"name": "b.example.com", "sideEffects": "None", "timeoutSeconds": 3}]});
        let hooks = Hook::all_of(Sort::Mutating, &configuration);
        let shown: Vec<_> = hooks
            .iter()
            .map(|hook| (hook.id.as_str(), hook.review, hook.dry_runs, hook.timeout))
            .collect();
        assert_eq!(
            shown,
            [
                (
                    "c/a.example.com/0",
                    Some(ReviewVersion::V1beta1),
                    Some(false),
                    None
                ),
                (
                    "c/b.example.com/1",
                    None,
                    Some(true),
                    Some(Duration::from_secs(3))
                ),
            ]
        );
        assert!(!hooks[0].fails_open && !hooks[0].exact && !hooks[0].reinvoked);
    }
}

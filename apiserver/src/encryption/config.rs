//! An `EncryptionConfiguration` (`apiserver.config.k8s.io/v1`): its shape and what is wrong with it, as upstream words it
//! (`apis/apiserver/validation`). Pure.

use std::collections::HashSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_api::codec::yaml;
use coracle_api::validation::{BadValue, FieldErrors, Path};
use serde::Deserialize;
use serde_json::Value;

use super::Named;
use crate::http::go_duration;

const GROUP: &str = "apiserver.config.k8s.io/";
const AES_KEYS: &[usize] = &[16, 24, 32];
const SECRETBOX_KEYS: &[usize] = &[32];
const NO_PROVIDER: &str =
    "provider does not contain any of the expected providers: KMS, AESGCM, AESCBC, Secretbox, Identity";

/// The whole.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EncryptionConfiguration {
    api_version: String,
    kind: String,
    #[serde(default)]
    pub(super) resources: Vec<ResourceConfiguration>,
}

/// Which resources are encrypted how.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResourceConfiguration {
    #[serde(default)]
    pub(super) resources: Vec<String>,
    #[serde(default)]
    pub(super) providers: Vec<ProviderConfiguration>,
}

/// One of five.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProviderConfiguration {
    pub(super) aesgcm: Option<Keys>,
    pub(super) aescbc: Option<Keys>,
    pub(super) secretbox: Option<Keys>,
    pub(super) identity: Option<Identity>,
    pub(super) kms: Option<KmsConfiguration>,
}

/// No encryption.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {}

/// The keys of a cipher; the first writes.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) keys: Vec<Key>,
}

/// A key, of whose secret nothing is ever shown.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Key {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    secret: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The key itself.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.secret).ok()
    }
}

/// A key service.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KmsConfiguration {
    #[serde(default = "first_version")]
    pub(super) api_version: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(rename = "cachesize")]
    cache_size: Option<i64>,
    #[serde(default)]
    pub(super) endpoint: String,
    #[serde(default = "three_seconds")]
    timeout: String,
}

fn first_version() -> String {
    "v1".to_owned()
}

fn three_seconds() -> String {
    "3s".to_owned()
}

impl KmsConfiguration {
    /// How long one call may take.
    pub(super) fn timeout(&self) -> Duration {
        go_duration::parse(&self.timeout).unwrap_or_default()
    }

    /// The path of the socket, where the endpoint is one; with a leading NUL where it is an abstract one.
    pub(super) fn socket(&self) -> Option<String> {
        let path = self.endpoint.strip_prefix("unix://")?;
        let path = &path[path.find('/')?..];
        Some(match path.strip_prefix("/@") {
            Some(name) => format!("\0{name}"),
            None => path.to_owned(),
        })
    }
}

/// Reads a configuration.
///
/// # Errors
/// What keeps it from being one.
pub(super) fn read(bytes: &[u8]) -> Result<EncryptionConfiguration, String> {
    let parsed = yaml::parse(bytes).map_err(|error| error.to_string())?;
    if let Some(duplicate) = parsed.duplicates.first() {
        return Err(format!("strict decoding error: {duplicate}"));
    }
    let configuration: EncryptionConfiguration =
        serde_json::from_value(parsed.value).map_err(|error| format!("strict decoding error: {error}"))?;
    let version = configuration.api_version.strip_prefix(GROUP);
    if version != Some("v1") || configuration.kind != "EncryptionConfiguration" {
        return Err(format!(
            "no kind {:?} is registered for version {:?}",
            configuration.kind, configuration.api_version
        ));
    }
    Ok(configuration)
}

/// `secrets`, `deployments.apps`, `*.apps`, `*.` and `*.*`, as group and plural name.
pub(super) fn named(resource: &str) -> Named {
    let (resource, group) = resource.split_once('.').unwrap_or((resource, ""));
    (group.to_owned(), resource.to_owned())
}

/// Everything that is wrong.
pub(super) fn validate(configuration: &EncryptionConfiguration, reload: bool) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let root = Path::new("resources");
    if configuration.resources.is_empty() {
        errors.required(&root, "at least one resources is required");
    }
    let mut services = HashSet::new();
    for (i, entry) in configuration.resources.iter().enumerate() {
        let at = root.index(i);
        let (resources, providers) = (at.child("resources"), at.child("providers"));
        if entry.resources.is_empty() {
            errors.required(&resources, format!("at least one {resources} is required"));
        }
        overlaps(&mut errors, &resources, &entry.resources);
        for (j, resource) in entry.resources.iter().enumerate() {
            if let Some(why) = misnamed(resource) {
                errors.invalid(&resources.index(j), resource, why);
            }
        }
        if entry.providers.is_empty() {
            errors.required(&providers, format!("at least one {providers} is required"));
        }
        for (j, provider) in entry.providers.iter().enumerate() {
            validate_provider(&mut errors, &providers.index(j), provider, &mut services, reload);
        }
    }
    errors
}

fn overlaps(errors: &mut FieldErrors, at: &Path<'_>, resources: &[String]) {
    let named: Vec<Named> = resources.iter().map(|resource| named(resource)).collect();
    let pairs = || {
        let indexed = named.iter().enumerate();
        indexed.flat_map(|(i, a)| {
            named
                .iter()
                .enumerate()
                .filter(move |(j, _)| *j != i)
                .map(move |(_, b)| (a, b))
        })
    };
    let shown = Value::from(resources.to_vec());
    if pairs().any(|(a, b)| a == b) {
        errors.invalid(at, &shown, "the same resource cannot be specified multiple times");
    }
    let masks = |(a, b): (&Named, &Named)| {
        a != b && ((a.0 == "*" && a.1 == "*") || (a.0 == b.0 && (a.1 == "*" || b.1 == "*")))
    };
    if pairs().any(masks) {
        let why = "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as \
                   they will be masked";
        errors.invalid(at, &shown, why);
    }
}

fn misnamed(resource: &str) -> Option<&'static str> {
    let (group, plural) = named(resource);
    if resource.to_lowercase() != resource {
        return Some("resource name should not contain capital letters");
    }
    match resource {
        "*" => {
            return Some(
                "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources",
            );
        }
        "apiserveripinfo" | "serviceipallocations" | "servicenodeportallocations" => {
            return Some("resources which do not have REST API/s cannot be encrypted");
        }
        _ => {}
    }
    match group.as_str() {
        "events.k8s.io" => Some(
            "'*.events.k8s.io' objects are stored using the 'events' API group in etcd. Use 'events' instead in the \
             config file",
        ),
        "extensions" => Some("'extensions' group has been removed and cannot be used for encryption"),
        "*" if plural != "*" => Some("encrypting the same resource across groups is not supported"),
        _ => None,
    }
}

fn validate_provider(
    errors: &mut FieldErrors,
    at: &Path<'_>,
    provider: &ProviderConfiguration,
    services: &mut HashSet<String>,
    reload: bool,
) {
    let given = [
        provider.kms.is_some(),
        provider.aesgcm.is_some(),
        provider.aescbc.is_some(),
        provider.secretbox.is_some(),
        provider.identity.is_some(),
    ];
    match given.into_iter().filter(|given| *given).count() {
        0 => errors.invalid(at, BadValue::rendered("{}"), NO_PROVIDER),
        1 => {}
        _ => errors.invalid(
            at,
            BadValue::rendered("REDACTED"),
            "more than one provider specified in a single element, should split into different list elements",
        ),
    }
    if let Some(service) = &provider.kms {
        validate_service(errors, &at.child("kms"), service, services, reload);
        services.insert(service.name.clone());
    } else if let Some(keys) = &provider.aesgcm {
        validate_keys(errors, &at.child("aesgcm"), keys, AES_KEYS);
    } else if let Some(keys) = &provider.aescbc {
        validate_keys(errors, &at.child("aescbc"), keys, AES_KEYS);
    } else if let Some(keys) = &provider.secretbox {
        validate_keys(errors, &at.child("secretbox"), keys, SECRETBOX_KEYS);
    }
}

fn validate_keys(errors: &mut FieldErrors, at: &Path<'_>, keys: &Keys, lengths: &[usize]) {
    let at = at.child("keys");
    if keys.keys.is_empty() {
        errors.required(&at, "at least one keys is required");
    }
    for (i, key) in keys.keys.iter().enumerate() {
        let at = at.index(i);
        if key.name.is_empty() {
            errors.required(&at.child("name"), "name is a mandatory field for a key");
        }
        let secret = at.child("secret");
        if key.secret.is_empty() {
            errors.required(&secret, "secret is a mandatory field for a key");
            continue;
        }
        match key.bytes() {
            None => errors.invalid(&secret, "REDACTED", "secrets must be base64 encoded"),
            Some(bytes) if !lengths.contains(&bytes.len()) => {
                let known: Vec<String> = lengths.iter().map(usize::to_string).collect();
                let why = format!(
                    "secret is not of the expected length, got {}, expected one of [{}]",
                    bytes.len(),
                    known.join(" ")
                );
                errors.invalid(&secret, "REDACTED", why);
            }
            Some(_) => {}
        }
    }
}

fn validate_service(
    errors: &mut FieldErrors,
    at: &Path<'_>,
    service: &KmsConfiguration,
    known: &HashSet<String>,
    reload: bool,
) {
    let (name, second) = (&service.name, service.api_version != "v1");
    let at_name = at.child("name");
    if name.is_empty() {
        errors.required(&at_name, "name is a mandatory field for a provider");
    }
    if second && name.contains(':') {
        errors.invalid(
            &at_name,
            name,
            format!("invalid KMS provider name {name}, must not contain ':'"),
        );
    }
    if (reload || second) && known.contains(name) {
        errors.invalid(
            &at_name,
            name,
            format!("duplicate KMS provider name {name}, names must be unique"),
        );
    }
    if service.timeout().is_zero() {
        errors.invalid(
            &at.child("timeout"),
            &service.timeout,
            "timeout should be a positive value",
        );
    }
    let endpoint = at.child("endpoint");
    let scheme = service.endpoint.split_once(':').map_or("", |(scheme, _)| scheme);
    if service.endpoint.is_empty() {
        errors.invalid(&endpoint, "", "endpoint is a mandatory field for a kms");
    } else if scheme != "unix" {
        let why = format!("unsupported scheme {scheme:?} for KMS provider, only unix is supported");
        errors.invalid(&endpoint, &service.endpoint, why);
    } else if service.socket().is_none() {
        let why = "invalid endpoint for kms provider, error: the path of a socket is missing";
        errors.invalid(&endpoint, &service.endpoint, why);
    }
    match service.cache_size {
        Some(size) if second => {
            errors.invalid(&at.child("cachesize"), size, "cachesize is not supported in v2");
        }
        Some(0) => {
            let why = "cachesize should be a positive value, or negative to disable";
            errors.invalid(&at.child("cachesize"), 0, why);
        }
        _ => {}
    }
    if !matches!(service.api_version.as_str(), "v1" | "v2") {
        let why = "unsupported apiVersion apiVersion for KMS provider, only v1 and v2 are supported";
        errors.invalid(&at.child("apiVersion"), &service.api_version, why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(resources: &str, reload: bool) -> String {
        let text = format!("apiVersion: {GROUP}v1\nkind: EncryptionConfiguration\nresources:\n{resources}");
        validate(&read(text.as_bytes()).unwrap(), reload).aggregate()
    }

    #[test]
    fn what_may_not_be_is_named() {
        let kms = "kms: {apiVersion: v2, name: a, endpoint: 'unix:///x'}";
        let table = [
            ("- {resources: [secrets], providers: [{identity: {}}]}", "[]"),
            (
                "- {resources: [secrets], providers: [{aesgcm: {keys: [{name: a, secret: YWJj}]}}]}",
                "resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected \
                 length, got 3, expected one of [16 24 32]",
            ),
            (
                "- {resources: [secrets, '*.'], providers: [{identity: {}}]}",
                "resources[0].resources: Invalid value: [\"secrets\",\"*.\"]: using overlapping resources such as 'secrets' \
                 and '*.' in the same resource list is not allowed as they will be masked",
            ),
            (
                "- {resources: ['*'], providers: [{identity: {}}]}",
                "resources[0].resources[0]: Invalid value: \"*\": use '*.' to encrypt all the resources from core API group \
                 or *.* to encrypt all resources",
            ),
            (
                &format!("- {{resources: [secrets], providers: [{{{kms}}}, {{{kms}}}]}}"),
                "resources[0].providers[1].kms.name: Invalid value: \"a\": duplicate KMS provider name a, names must be \
                 unique",
            ),
            (
                "- {resources: [secrets], providers: []}",
                "resources[0].providers: Required value: at least one resources[0].providers is required",
            ),
        ];
        for (resources, expected) in table {
            assert_eq!(faults(resources, false), expected, "{resources}");
        }
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        let other = read(b"apiVersion: v1\nkind: Pod").unwrap_err();
        assert_eq!(other, "no kind \"Pod\" is registered for version \"v1\"");
        let unknown =
            read(b"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nextra: 1");
        assert!(unknown.unwrap_err().contains("unknown field `extra`"));
    }

    #[test]
    fn sockets_have_paths_or_abstract_names() {
        let socket = |endpoint: &str| {
            let service = KmsConfiguration {
                api_version: "v2".to_owned(),
                name: String::new(),
                cache_size: None,
                endpoint: endpoint.to_owned(),
                timeout: three_seconds(),
            };
            service.socket()
        };
        assert_eq!(socket("unix:///run/a.sock").as_deref(), Some("/run/a.sock"));
        assert_eq!(socket("unix:///@a").as_deref(), Some("\0a"));
        assert_eq!(socket("tcp://a/b"), None);
    }
}

//! Which logins the pull secrets of a pod hold for an image. Pure.
//!
//! As the kubelet's keyring does: a secret's servers are patterns of host, port and path
//! (<https://kubernetes.io/docs/concepts/containers/images/#config-json>), and the more particular are tried first.

use std::collections::BTreeMap;

use glob::Pattern;
use k8s_cri::v1::AuthConfig;
use k8s_openapi::api::core::v1::Secret;
use serde_json::Value;

/// Under which name Docker's own registry stands in a secret.
const DOCKER_HUB: &str = "index.docker.io";

/// The logins for an image whose name is complete, in the order in which they are to be tried.
///
/// No login names its server: the runtime would give it to no mirror then, nor to Docker's registry, which goes by several names.
pub(super) fn logins(image: &str, secrets: &[Secret]) -> Vec<AuthConfig> {
    let repository = repository(image);
    let mut by_server: BTreeMap<String, Vec<AuthConfig>> = BTreeMap::new();
    for (server, login) in secrets.iter().flat_map(entries) {
        by_server
            .entry(pattern(&server))
            .or_default()
            .push(auth_config(&login));
    }
    let mut found: Vec<AuthConfig> = by_server
        .iter()
        .rev()
        .filter(|(server, _)| matches(server, repository))
        .flat_map(|(_, logins)| logins.iter().cloned())
        .collect();
    if found.is_empty() && repository.starts_with("docker.io/") {
        found = by_server.remove(DOCKER_HUB).unwrap_or_default();
    }
    found
}

/// The name without tag and digest.
fn repository(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

/// The servers and logins that a secret holds, in either of its two forms.
fn entries(secret: &Secret) -> Vec<(String, Value)> {
    let read = |key: &str| -> Option<Value> {
        let bytes = secret.data.as_ref()?.get(key)?;
        serde_json::from_slice(&bytes.0).ok()
    };
    let servers = read(".dockerconfigjson").map(|config| config["auths"].clone());
    match servers.or_else(|| read(".dockercfg")) {
        Some(Value::Object(servers)) => servers.into_iter().collect(),
        _ => Vec::new(),
    }
}

fn auth_config(login: &Value) -> AuthConfig {
    let text = |key: &str| login[key].as_str().unwrap_or_default().to_owned();
    AuthConfig {
        username: text("username"),
        password: text("password"),
        auth: text("auth"),
        identity_token: text("identitytoken"),
        registry_token: text("registrytoken"),
        server_address: String::new(),
    }
}

/// Host, port and path of a server; Docker's clients write the versions of its API where others write a path.
fn pattern(server: &str) -> String {
    let server = server.strip_prefix("https://").unwrap_or(server);
    let server = server.strip_prefix("http://").unwrap_or(server);
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path
        .strip_prefix("v2/")
        .or_else(|| path.strip_prefix("v1/"))
        .unwrap_or(path);
    if path.is_empty() {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

/// Whether a server's pattern is that of the repository: as many labels, each of which matches, the same port, and the
/// beginning of its path.
fn matches(server: &str, repository: &str) -> bool {
    let ((host, path), (its_host, its_path)) = (split(server), split(repository));
    let ((host, port), (its_host, its_port)) = (split_port(host), split_port(its_host));
    let labels: Vec<_> = host.split('.').collect();
    let its_labels: Vec<_> = its_host.split('.').collect();
    let label_matches =
        |(label, its): (&&str, &&str)| Pattern::new(label).is_ok_and(|pattern| pattern.matches(its));
    port == its_port
        && its_path.starts_with(path)
        && labels.len() == its_labels.len()
        && labels.iter().zip(&its_labels).all(label_matches)
}

fn split(name: &str) -> (&str, &str) {
    name.split_once('/').unwrap_or((name, ""))
}

fn split_port(host: &str) -> (&str, &str) {
    host.rsplit_once(':').unwrap_or((host, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;

    /// A secret whose user at each server is the server's name.
    fn secret(servers: &[&str]) -> Secret {
        let auths: serde_json::Map<_, _> = servers
            .iter()
            .map(|server| ((*server).to_owned(), json!({"username": server, "password": "p"})))
            .collect();
        let text = json!({ "auths": auths }).to_string();
        Secret {
            data: Some([(".dockerconfigjson".to_owned(), ByteString(text.into()))].into()),
            ..Secret::default()
        }
    }

    fn users(image: &str, servers: &[&str]) -> Vec<String> {
        let found = logins(image, &[secret(servers)]);
        found.into_iter().map(|login| login.username).collect()
    }

    #[test]
    fn servers_are_patterns() {
        for (server, image, matches) in [
            ("reg.example", "reg.example/a:1", true),
            ("https://reg.example/v2/", "reg.example/a:1", true),
            ("https://reg.example/v1/", "reg.example/a@sha256:0", true),
            ("reg.example/a", "reg.example/a/b:1", true),
            ("reg.example/b", "reg.example/a/b:1", false),
            ("*.example", "reg.example/a:1", true),
            ("*.example", "a.reg.example/a:1", false),
            ("reg.*.example", "reg.eu.example/a:1", true),
            ("re[fg].example", "reg.example/a:1", true),
            ("reg.example:5000", "reg.example:5000/a:1", true),
            ("reg.example", "reg.example:5000/a:1", false),
            ("127.0.0.1:5000", "127.0.0.1:5000/work:1", true),
            ("https://index.docker.io/v1/", "docker.io/library/a:1", true),
            ("https://index.docker.io/v1/", "reg.example/a:1", false),
            ("docker.io", "docker.io/library/a:1", true),
        ] {
            assert_eq!(
                users(image, &[server]).len(),
                usize::from(matches),
                "{server} {image}"
            );
        }
    }

    #[test]
    fn the_particular_comes_first_and_all_are_tried() {
        let servers = [
            "reg.example",
            "reg.example/team/app",
            "*.example",
            "reg.example/team",
        ];
        assert_eq!(
            users("reg.example/team/app:1", &servers),
            [
                "reg.example/team/app",
                "reg.example/team",
                "reg.example",
                "*.example"
            ]
        );
    }

    #[test]
    fn the_older_form_counts_and_nonsense_does_not() {
        let data = |key: &str, text: &str| Secret {
            data: Some([(key.to_owned(), ByteString(text.into()))].into()),
            ..Secret::default()
        };
        let older = data(".dockercfg", r#"{"reg.example": {"auth": "dTpw"}}"#);
        let found = logins(
            "reg.example/a:1",
            &[older, data(".dockerconfigjson", "{"), Secret::default()],
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].auth, "dTpw");
        assert_eq!(found[0].server_address, "");
    }
}

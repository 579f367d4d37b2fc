//! Kubeconfigs with a client certificate in them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::Leaf;

/// One cluster, one user, one context. `Display` writes it as YAML that kubectl reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubeconfig {
    /// The name of cluster and context.
    pub cluster: String,
    /// The server's URL.
    pub server: String,
    /// PEM of the authority that vouches for the server.
    pub certificate_authority: String,
    /// Who calls.
    pub user: KubeconfigUser,
}

/// The user of a [`Kubeconfig`].
#[derive(Clone, PartialEq, Eq)]
pub struct KubeconfigUser {
    /// A name within the file.
    pub name: String,
    /// PEM of the client certificate.
    pub certificate: String,
    /// PEM of its key.
    pub key: String,
}

impl Kubeconfig {
    /// Whether a kubeconfig that was written before still leads to this server, by a certificate that is not due yet.
    pub fn is_current(written: &str, server: &str, certificate_authority: &str, now: Timestamp) -> bool {
        let value = |name: &str| {
            written
                .lines()
                .find_map(|line| line.trim().strip_prefix(name))
                .map(str::trim)
        };
        let decoded = |name: &str| {
            let bytes = STANDARD.decode(value(name)?).ok()?;
            String::from_utf8(bytes).ok()
        };
        let server = Value::from(server).to_string();
        let (Some(certificate), Some(key)) =
            (decoded("client-certificate-data:"), decoded("client-key-data:"))
        else {
            return false;
        };
        value("server:") == Some(server.as_str())
            && decoded("certificate-authority-data:").as_deref() == Some(certificate_authority)
            && Leaf::from_pem(certificate, key).is_ok_and(|leaf| !leaf.is_due(now))
    }
}

impl fmt::Debug for KubeconfigUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubeconfigUser")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Kubeconfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A JSON string is a YAML string: names cannot break out of their place.
        let quote = |text: &str| Value::from(text).to_string();
        let (cluster, user) = (quote(&self.cluster), quote(&self.user.name));
        writeln!(
            f,
            "apiVersion: v1\nkind: Config\ncurrent-context: {cluster}\npreferences: {{}}"
        )?;
        writeln!(f, "clusters:\n- name: {cluster}\n  cluster:")?;
        writeln!(
            f,
            "    certificate-authority-data: {}",
            STANDARD.encode(&self.certificate_authority)
        )?;
        writeln!(f, "    server: {}", quote(&self.server))?;
        writeln!(
            f,
            "contexts:\n- name: {cluster}\n  context:\n    cluster: {cluster}\n    user: {user}"
        )?;
        writeln!(f, "users:\n- name: {user}\n  user:")?;
        writeln!(
            f,
            "    client-certificate-data: {}",
            STANDARD.encode(&self.user.certificate)
        )?;
        writeln!(f, "    client-key-data: {}", STANDARD.encode(&self.user.key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_read_what_is_written() {
        let written = Kubeconfig {
            cluster: "coracle: odd".to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            certificate_authority: "CA".to_owned(),
            user: KubeconfigUser {
                name: "a\"b".to_owned(),
                certificate: "C".to_owned(),
                key: "SECRET".to_owned(),
            },
        };
        let read = kube::config::Kubeconfig::from_yaml(&written.to_string()).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("coracle: odd"));
        let context = read.contexts[0].context.as_ref().unwrap();
        assert_eq!(
            (context.cluster.as_str(), context.user.as_deref()),
            ("coracle: odd", Some("a\"b"))
        );
        let cluster = read.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        assert!(
            !format!("{written:?}").contains("SECRET"),
            "keys stay out of logs"
        );
    }
}

//! The certificates and kubeconfigs of a node, signed by the cluster's authority while the node is made.

use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result};
use coracle_apiserver::pki::{Identity, Pki, ServerNames, write_private};
use jiff::Timestamp;

use crate::parts::NodeFiles;

/// The name under which a node's DNS speaks to the API: a service account, so that RBAC for it reads as usual.
const DNS_USER: &str = "system:serviceaccount:kube-system:coracle-dns";

/// Who a node's DNS is.
pub(crate) fn dns_identity() -> Identity {
    Identity::new(DNS_USER, &["system:serviceaccounts"])
}

/// Writes what the node's agent, proxy and DNS need to speak to the API at `server`, and to be spoken to.
///
/// # Errors
/// When the control plane's keys cannot be read or a file cannot be written.
pub(crate) fn write_for_node(
    data_dir: &Path,
    node: &str,
    address: IpAddr,
    server: &str,
    files: &NodeFiles,
) -> Result<()> {
    let now = Timestamp::now();
    let pki = Pki::read(&data_dir.join("pki")).context("cannot read the cluster's keys")?;
    let identities = [
        (&files.kubelet, Identity::node(node)),
        (&files.proxy, Identity::proxy()),
        (&files.dns, dns_identity()),
    ];
    for (file, identity) in identities {
        let kubeconfig = pki.kubeconfig(&identity, "default", server, now)?;
        write(file, &kubeconfig.to_string())?;
    }
    let mut names = ServerNames::default();
    names.add(node);
    names.add_address(address);
    let serving = pki.issue_node_server(node, &names, now)?;
    write(&files.serving_certificate, serving.certificate_pem())?;
    write(&files.serving_key, serving.key_pem())?;
    write(&files.client_ca, pki.ca().certificate_pem())
}

fn write(file: &Path, contents: &str) -> Result<()> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    write_private(file, contents).with_context(|| format!("cannot write {}", file.display()))
}

//! The certificates of parts, renewed by the Certificates API before they end: those with which they call the API server
//! (`kubernetes.io/kube-apiserver-client-kubelet` a node's agent, `kubernetes.io/kube-apiserver-client` its proxy and DNS, and
//! controllers and scheduler where they are processes of their own) and the one with which an agent is called
//! (`kubernetes.io/kubelet-serving`).
//!
//! As upstream's kubelet: a key of its own for each, which never leaves the node. What was renewed is written where it was read
//! from, so that it outlives the process, and is used from the next request and connection on.

mod caller;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use coracle_apiserver::pki::{Identity, Leaf, write_private};
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::caller::{Caller, Wanted};
use super::node::read;
use crate::cli::Node;

const AGENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// How often it is looked whether a certificate is due. They are due months before they end.
const PAUSE: Duration = Duration::from_secs(60 * 60);

/// What keeps the certificates of a part of a node fresh.
pub(super) struct Rotation {
    caller: Caller,
    /// Of what serves.
    serving: Option<Serving>,
}

/// Files of a serving certificate and its key, and for what names it is.
struct Serving {
    certificate: PathBuf,
    key: PathBuf,
    node: String,
    addresses: Vec<IpAddr>,
    renewed: watch::Sender<(String, String)>,
}

impl Rotation {
    /// Of a node's agent: with the client that it is to use, which has whatever certificate is the current one, and news of its
    /// serving certificate.
    ///
    /// # Errors
    /// Where the kubeconfig cannot be used.
    pub(super) async fn of_node(
        flags: &Node,
        name: &str,
    ) -> Result<(Self, Client, watch::Receiver<(String, String)>)> {
        let (caller, client) = Caller::open(&flags.kubeconfig, "kubelet", AGENT_SIGNER).await?;
        let (renewed, renewals) = watch::channel(Default::default());
        let files = flags
            .tls_cert_file
            .clone()
            .zip(flags.tls_private_key_file.clone());
        let serving = files.map(|(certificate, key)| Serving {
            certificate,
            key,
            node: name.to_owned(),
            addresses: flags.node_ip.clone(),
            renewed,
        });
        Ok((Self { caller, serving }, client, renewals))
    }

    /// Of a part that is no node's agent, by the name that it tells: with the client that it is to use.
    ///
    /// # Errors
    /// Where the kubeconfig cannot be used.
    pub(super) async fn of_part(kubeconfig: &Path, component: &'static str) -> Result<(Self, Client)> {
        let (caller, client) = Caller::open(kubeconfig, component, CLIENT_SIGNER).await?;
        let rotation = Self {
            caller,
            serving: None,
        };
        Ok((rotation, client))
    }

    /// Renews what is due until the part ends.
    ///
    /// # Errors
    /// None: what cannot be renewed is tried again later, and certificates are due long before they end.
    pub(super) async fn keep(self, shutdown: CancellationToken) -> Result<()> {
        loop {
            let looking = async {
                if let Err(error) = self.look(Timestamp::now()).await {
                    tracing::warn!(
                        "a certificate of this part was not renewed, and will be tried again: {error:#}"
                    );
                }
                tokio::time::sleep(PAUSE).await;
            };
            tokio::select! {
                () = looking => {}
                () = shutdown.cancelled() => return Ok(()),
            }
        }
    }

    async fn look(&self, now: Timestamp) -> Result<()> {
        self.caller.look(now).await.context("the one to call with")?;
        let Some(serving) = &self.serving else {
            return Ok(());
        };
        let leaf = Leaf::from_pem(read(&serving.certificate)?, read(&serving.key)?);
        if leaf.map_err(anyhow::Error::msg)?.is_due(now) {
            self.renew(serving).await.context("the one to be called with")?;
        }
        Ok(())
    }

    async fn renew(&self, serving: &Serving) -> Result<()> {
        let addresses = serving.addresses.iter().map(IpAddr::to_string);
        let leaf = self
            .caller
            .certified(&Wanted {
                identity: Identity::node(&serving.node),
                signer: SERVING_SIGNER,
                usage: "server auth",
                names: std::iter::once(serving.node.clone()).chain(addresses).collect(),
            })
            .await?;
        write_private(&serving.key, leaf.key_pem())?;
        write_private(&serving.certificate, leaf.certificate_pem())?;
        let pair = (leaf.certificate_pem().to_owned(), leaf.key_pem().to_owned());
        serving.renewed.send_replace(pair);
        tracing::info!("the certificate with which this node is called was renewed");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use coracle_apiserver::pki::ServerNames;
    use jiff::ToSpan;
    use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    use kube::api::{Api, PostParams};
    use kube::runtime::wait::await_condition;
    use serde_json::json;

    use super::super::fixture::ControlPlane;
    use super::caller::leaf_of;
    use super::*;
    use crate::cli::{Cli, Command};
    use crate::credentials;

    fn node_flags(folder: &Path) -> Node {
        let file = |name: &str| folder.join(name).display().to_string();
        let (kubeconfig, certificate, key) = (file("node.conf"), file("node.crt"), file("node.key"));
        let arguments = [
            "coracle",
            "node",
            "--hostname-override=n1",
            "--node-ip=10.0.0.1",
            "--kubeconfig",
            &kubeconfig,
            "--tls-cert-file",
            &certificate,
            "--tls-private-key-file",
            &key,
            "--client-ca-file",
            &certificate,
        ];
        match Cli::try_parse_from(arguments).unwrap().command {
            Command::Node(flags) => flags,
            other => panic!("{other:?}"),
        }
    }

    /// Credentials of a node that were issued so long ago that they are due.
    async fn write_old_credentials(running: &coracle_apiserver::Running, flags: &Node) {
        let long_ago = Timestamp::now() - (300 * 24).hours();
        let pki = running.pki();
        let pki = pki.lock().await;
        let authorities = pki.authorities();
        let kubeconfig = authorities.kubeconfig(&Identity::node("n1"), "default", &running.url(), long_ago);
        std::fs::write(&flags.kubeconfig, kubeconfig.unwrap().to_string()).unwrap();
        let mut names = ServerNames::default();
        names.add("n1");
        let leaf = authorities.issue_node_server("n1", &names, long_ago).unwrap();
        std::fs::write(flags.tls_cert_file.as_ref().unwrap(), leaf.certificate_pem()).unwrap();
        std::fs::write(flags.tls_private_key_file.as_ref().unwrap(), leaf.key_pem()).unwrap();
    }

    /// A kubeconfig that was issued so long ago that its certificate is due.
    async fn old_kubeconfig(running: &coracle_apiserver::Running, identity: &Identity, file: &Path) {
        let long_ago = Timestamp::now() - (300 * 24).hours();
        let pki = running.pki();
        let pki = pki.lock().await;
        let kubeconfig = pki
            .authorities()
            .kubeconfig(identity, "default", &running.url(), long_ago);
        std::fs::write(file, kubeconfig.unwrap().to_string()).unwrap();
    }

    async fn who_is(client: Client) -> UserInfo {
        let reviews: Api<SelfSubjectReview> = Api::all(client);
        let asked = SelfSubjectReview::default();
        let me = reviews.create(&PostParams::default(), &asked).await.unwrap();
        me.status.unwrap().user_info.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn certificates_that_are_due_are_renewed_and_used() {
        let home = tempfile::tempdir().unwrap();
        let control_plane = ControlPlane::start(home.path()).await;
        let (running, admin) = (&control_plane.running, &control_plane.admin);
        let flags = node_flags(home.path());
        write_old_credentials(running, &flags).await;
        let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
        let last = "coracle:node-certificate-approver";
        let is_there = |binding: Option<&ClusterRoleBinding>| binding.is_some();
        await_condition(bindings, last, is_there).await.unwrap();
        let node = json!({"metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin.clone());
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
            .await
            .unwrap();

        let (rotation, client, mut renewals) = Rotation::of_node(&flags, "n1").await.unwrap();
        let now = Timestamp::now();
        rotation.look(now).await.unwrap();
        let leaf = leaf_of(&flags.kubeconfig).unwrap().unwrap();
        assert!(!leaf.is_due(now));
        assert_eq!(who_is(client).await.username.as_deref(), Some("system:node:n1"));
        assert!(renewals.has_changed().unwrap());
        let (certificate, key) = renewals.borrow_and_update().clone();
        let serving = Leaf::from_pem(certificate.clone(), key).unwrap();
        assert!(!serving.is_due(now));
        assert_eq!(read(flags.tls_cert_file.as_ref().unwrap()).unwrap(), certificate);
        rotation.look(now).await.unwrap();
        assert!(!renewals.has_changed().unwrap(), "what is fresh is left alone");

        // The other parts are who they were, and are let do as much.
        for (component, identity) in [
            ("kube-proxy", Identity::proxy()),
            ("coracle-dns", credentials::dns_identity()),
            ("kube-controller-manager", Identity::controller_manager()),
            ("kube-scheduler", Identity::scheduler()),
        ] {
            let file = home.path().join(component);
            old_kubeconfig(running, &identity, &file).await;
            let (rotation, client) = Rotation::of_part(&file, component).await.unwrap();
            let before = who_is(client.clone()).await;
            rotation.look(now).await.unwrap();
            let leaf = leaf_of(&file).unwrap().unwrap();
            assert!(!leaf.is_due(now));
            assert_eq!(leaf.identity(), Ok(identity));
            let after = who_is(client).await;
            assert_eq!((after.username, after.groups), (before.username, before.groups));
        }
    }

    /// Whoever writes a part's kubeconfig may renew what is in it.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_somebody_else_has_renewed_is_used() {
        let home = tempfile::tempdir().unwrap();
        let control_plane = ControlPlane::start(home.path()).await;
        let file = home.path().join("scheduler.conf");
        let write = async |identity: Identity| {
            let pki = control_plane.running.pki();
            let pki = pki.lock().await;
            let url = control_plane.running.url();
            let kubeconfig = pki
                .authorities()
                .kubeconfig(&identity, "default", &url, Timestamp::now());
            std::fs::write(&file, kubeconfig.unwrap().to_string()).unwrap();
        };
        write(Identity::scheduler()).await;
        let (rotation, client) = Rotation::of_part(&file, "kube-scheduler").await.unwrap();
        for identity in [Identity::scheduler(), Identity::new("jane", &[])] {
            write(identity.clone()).await;
            rotation.look(Timestamp::now()).await.unwrap();
            let user = who_is(client.clone()).await;
            assert_eq!(user.username, Some(identity.name));
        }
    }
}

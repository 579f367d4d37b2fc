//! A node's certificates, renewed by the Certificates API before they end: the one with which its agent calls the API server
//! (`kubernetes.io/kube-apiserver-client-kubelet`) and the one with which it is called (`kubernetes.io/kubelet-serving`).
//!
//! As upstream's kubelet: a key of its own for each, which never leaves the node. What was renewed is written where it was read
//! from, so that it outlives the process, and is used from the next request and connection on.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_apiserver::pki::{Leaf, write_private};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::client_from;
use super::node::read;
use crate::cli::Node;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// How often it is looked whether a certificate is due. They are due months before they end.
const PAUSE: Duration = Duration::from_secs(60 * 60);
/// How long a request may wait for its approval (upstream's kubelet waits as long).
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// What keeps a node's certificates fresh.
pub(super) struct Rotation {
    node: String,
    kubeconfig: PathBuf,
    /// Files of the serving certificate and its key, where the agent serves.
    serving: Option<(PathBuf, PathBuf)>,
    addresses: Vec<IpAddr>,
    current: Arc<ArcSwap<Client>>,
    renewed: watch::Sender<(String, String)>,
}

/// What a certificate is to say.
struct Wanted<'w> {
    signer: &'static str,
    usage: &'static str,
    /// DNS names and addresses.
    names: Vec<String>,
    node: &'w str,
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
        let first = client_from(&flags.kubeconfig, "kubelet").await?;
        let namespace = first.default_namespace().to_owned();
        let current = Arc::new(ArcSwap::from_pointee(first));
        let used = current.clone();
        let service = tower::service_fn(move |request| {
            let client = used.load_full();
            async move { client.send(request).await }
        });
        let (renewed, renewals) = watch::channel(Default::default());
        let rotation = Self {
            node: name.to_owned(),
            kubeconfig: flags.kubeconfig.clone(),
            serving: flags
                .tls_cert_file
                .clone()
                .zip(flags.tls_private_key_file.clone()),
            addresses: flags.node_ip.clone(),
            current,
            renewed,
        };
        Ok((rotation, Client::new(service, namespace), renewals))
    }

    /// Renews what is due until the node ends.
    ///
    /// # Errors
    /// None: what cannot be renewed is tried again later, and certificates are due long before they end.
    pub(super) async fn keep(self, shutdown: CancellationToken) -> Result<()> {
        loop {
            let looking = async {
                if let Err(error) = self.look(Timestamp::now()).await {
                    tracing::warn!(
                        "a certificate of this node was not renewed, and will be tried again: {error:#}"
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
        if client_leaf(&self.kubeconfig)?.is_some_and(|leaf| leaf.is_due(now)) {
            self.renew_client().await.context("the one to call with")?;
        }
        let Some((certificate, key)) = &self.serving else {
            return Ok(());
        };
        let leaf = Leaf::from_pem(read(certificate)?, read(key)?).map_err(anyhow::Error::msg)?;
        if leaf.is_due(now) {
            self.renew_serving(certificate, key)
                .await
                .context("the one to be called with")?;
        }
        Ok(())
    }

    async fn renew_client(&self) -> Result<()> {
        let leaf = self
            .certified(&Wanted {
                signer: CLIENT_SIGNER,
                usage: "client auth",
                names: Vec::new(),
                node: &self.node,
            })
            .await?;
        let mut file = Kubeconfig::read_from(&self.kubeconfig)?;
        let user = file
            .auth_infos
            .first_mut()
            .and_then(|user| user.auth_info.as_mut());
        let user = user.context("the kubeconfig has no user")?;
        user.client_certificate_data = Some(STANDARD.encode(leaf.certificate_pem()));
        user.client_key_data = Some(STANDARD.encode(leaf.key_pem()).into());
        write_private(&self.kubeconfig, &serde_yaml_ng::to_string(&file)?)?;
        let fresh = client_from(&self.kubeconfig, "kubelet").await?;
        self.current.store(Arc::new(fresh));
        tracing::info!("the certificate with which this node calls the API server was renewed");
        Ok(())
    }

    async fn renew_serving(&self, certificate: &Path, key: &Path) -> Result<()> {
        let addresses = self.addresses.iter().map(IpAddr::to_string);
        let leaf = self
            .certified(&Wanted {
                signer: SERVING_SIGNER,
                usage: "server auth",
                names: std::iter::once(self.node.clone()).chain(addresses).collect(),
                node: &self.node,
            })
            .await?;
        write_private(key, leaf.key_pem())?;
        write_private(certificate, leaf.certificate_pem())?;
        let pair = (leaf.certificate_pem().to_owned(), leaf.key_pem().to_owned());
        self.renewed.send_replace(pair);
        tracing::info!("the certificate with which this node is called was renewed");
        Ok(())
    }

    /// A new key and the certificate for it.
    async fn certified(&self, wanted: &Wanted<'_>) -> Result<Leaf> {
        let key = KeyPair::generate()?;
        let requests: Api<CertificateSigningRequest> = Api::all((**self.current.load()).clone());
        let asked = requests
            .create(&PostParams::default(), &request(wanted, &key)?)
            .await?;
        let is_decided = |request: Option<&CertificateSigningRequest>| {
            request.is_none_or(|request| certificate(request).is_some() || is_refused(request))
        };
        let name = asked.name_any();
        let decided = timeout(PATIENCE, await_condition(requests, &name, is_decided)).await;
        let decided = decided.with_context(|| format!("nobody approved {name}"))??;
        let Some(pem) = decided.as_ref().and_then(certificate) else {
            bail!("{name} was refused");
        };
        Leaf::from_pem(pem, key.serialize_pem()).map_err(anyhow::Error::msg)
    }
}

/// The certificate of a kubeconfig's first user; none where it has none in itself.
fn client_leaf(kubeconfig: &Path) -> Result<Option<Leaf>> {
    let file = Kubeconfig::read_from(kubeconfig)?;
    let Some(user) = file.auth_infos.first().and_then(|user| user.auth_info.as_ref()) else {
        return Ok(None);
    };
    // A kubeconfig hides keys from whoever prints it, not from whoever writes it.
    let user = serde_json::to_value(user)?;
    let field = |name: &str| user.get(name).and_then(serde_json::Value::as_str);
    let Some((certificate, key)) = field("client-certificate-data").zip(field("client-key-data")) else {
        return Ok(None);
    };
    let text = |encoded: &str| -> Result<String> { Ok(String::from_utf8(STANDARD.decode(encoded)?)?) };
    let leaf = Leaf::from_pem(text(certificate)?, text(key)?);
    leaf.map(Some).map_err(anyhow::Error::msg)
}

fn request(wanted: &Wanted<'_>, key: &KeyPair) -> Result<CertificateSigningRequest> {
    let mut params = CertificateParams::new(wanted.names.clone())?;
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "system:nodes");
    params
        .distinguished_name
        .push(DnType::CommonName, format!("system:node:{}", wanted.node));
    let pem = params.serialize_request(key)?.pem()?;
    Ok(CertificateSigningRequest {
        metadata: ObjectMeta {
            generate_name: Some("csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(pem.into_bytes()),
            signer_name: wanted.signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), wanted.usage.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    })
}

fn certificate(request: &CertificateSigningRequest) -> Option<String> {
    let bytes = request.status.as_ref()?.certificate.as_ref()?.0.clone();
    String::from_utf8(bytes).ok().filter(|pem| !pem.is_empty())
}

fn is_refused(request: &CertificateSigningRequest) -> bool {
    let conditions = request
        .status
        .as_ref()
        .and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use coracle_apiserver::pki::{Identity, ServerNames};
    use coracle_apiserver::request::UserInfo;
    use coracle_apiserver::{ApiServer, Config};
    use coracle_store::model::ModelStore;
    use jiff::ToSpan;
    use k8s_openapi::api::authentication::v1::SelfSubjectReview;
    use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
    use serde_json::json;

    use super::super::server::InProcess;
    use super::super::{addons, clients, signer};
    use super::*;
    use crate::cli::{Cli, Command};

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

    #[tokio::test(flavor = "multi_thread")]
    async fn certificates_that_are_due_are_renewed_and_used() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            ..Config::new(&data)
        };
        let running = ApiServer::start(config, Arc::new(ModelStore::new()))
            .await
            .unwrap();
        let running = Arc::new(running);
        let flags = node_flags(home.path());
        write_old_credentials(&running, &flags).await;

        let shutdown = running.shutdown_token().clone();
        let Command::Server(server) = Cli::try_parse_from(["coracle", "server"]).unwrap().command else {
            panic!("it is a server");
        };
        let signer = signer::open(&server.controllers, Some(&data.join("pki"))).unwrap();
        let controllers = clients::controllers_config(&server.controllers, None, signer).unwrap();
        let factory = Arc::new(InProcess {
            running: running.clone(),
        });
        tokio::spawn(coracle_controllers::run(factory, controllers, shutdown.clone()));
        let admin = running.client(UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        });
        tokio::spawn(addons::keep(admin.clone(), shutdown.clone()));
        let bindings: Api<ClusterRoleBinding> = Api::all(admin.clone());
        let last = "coracle:node-certificate-approver";
        let is_there = |binding: Option<&ClusterRoleBinding>| binding.is_some();
        await_condition(bindings, last, is_there).await.unwrap();
        let node = json!({"metadata": {"name": "n1"},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}});
        let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(admin);
        nodes
            .create(&PostParams::default(), &serde_json::from_value(node).unwrap())
            .await
            .unwrap();

        let (rotation, client, mut renewals) = Rotation::of_node(&flags, "n1").await.unwrap();
        let now = Timestamp::now();
        rotation.look(now).await.unwrap();
        let leaf = client_leaf(&flags.kubeconfig).unwrap().unwrap();
        assert!(!leaf.is_due(now));
        let reviews: Api<SelfSubjectReview> = Api::all(client);
        let asked = SelfSubjectReview::default();
        let me = reviews.create(&PostParams::default(), &asked).await.unwrap();
        let user = me.status.unwrap().user_info.unwrap();
        assert_eq!(user.username.as_deref(), Some("system:node:n1"));
        assert!(renewals.has_changed().unwrap());
        let (certificate, key) = renewals.borrow_and_update().clone();
        let serving = Leaf::from_pem(certificate.clone(), key).unwrap();
        assert!(!serving.is_due(now));
        assert_eq!(read(flags.tls_cert_file.as_ref().unwrap()).unwrap(), certificate);
        rotation.look(now).await.unwrap();
        assert!(!renewals.has_changed().unwrap(), "what is fresh is left alone");
        shutdown.cancel();
    }
}

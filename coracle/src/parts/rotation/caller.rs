//! A client of the API server whose certificate is renewed, by the part itself or by whoever writes its kubeconfig, and used from
//! the next request on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use arc_swap::ArcSwap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use coracle_apiserver::pki::{Identity, Leaf, write_private};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, PostParams};
use kube::config::Kubeconfig;
use kube::runtime::wait::await_condition;
use kube::{Client, ResourceExt};
use rcgen::{CertificateParams, KeyPair};
use tokio::time::timeout;

use crate::parts::client_from;

/// How long a request may wait for its approval (upstream's kubelet waits as long).
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// Who calls, and by what it is known.
pub(crate) struct Caller {
    component: &'static str,
    /// Who signs what it calls with.
    signer: &'static str,
    kubeconfig: PathBuf,
    current: Arc<ArcSwap<Client>>,
    /// The certificate that is called with, in PEM, where the kubeconfig has it in itself.
    certificate: Mutex<Option<String>>,
}

/// What a certificate is to say.
pub(super) struct Wanted {
    pub(super) identity: Identity,
    pub(super) signer: &'static str,
    pub(super) usage: &'static str,
    /// DNS names and addresses.
    pub(super) names: Vec<String>,
}

impl Caller {
    /// By the certificate in a kubeconfig, with the client that has whatever certificate is the current one.
    ///
    /// # Errors
    /// Where the kubeconfig cannot be used.
    pub(crate) async fn open(
        kubeconfig: &Path,
        component: &'static str,
        signer: &'static str,
    ) -> Result<(Self, Client)> {
        let certificate = leaf_of(kubeconfig).ok().flatten();
        let certificate = certificate.map(|leaf| leaf.certificate_pem().to_owned());
        let first = client_from(kubeconfig, component).await?;
        let namespace = first.default_namespace().to_owned();
        let current = Arc::new(ArcSwap::from_pointee(first));
        let used = current.clone();
        let service = tower::service_fn(move |request| {
            let client = used.load_full();
            async move { client.send(request).await }
        });
        let caller = Self {
            component,
            signer,
            kubeconfig: kubeconfig.to_owned(),
            current,
            certificate: Mutex::new(certificate),
        };
        Ok((caller, Client::new(service, namespace)))
    }

    /// Renews the certificate where it is due, and takes another where somebody else has written it to the kubeconfig. One that is
    /// kept in a file of its own is somebody else's to renew.
    ///
    /// # Errors
    /// Why it could not be.
    pub(super) async fn look(&self, now: Timestamp) -> Result<()> {
        let Some(leaf) = leaf_of(&self.kubeconfig)? else {
            return Ok(());
        };
        if leaf.is_due(now) {
            let leaf = self.renewed(&leaf).await?;
            self.write(&leaf)?;
            self.take(leaf.certificate_pem()).await
        } else if self.certificate().as_deref() != Some(leaf.certificate_pem()) {
            self.take(leaf.certificate_pem()).await
        } else {
            Ok(())
        }
    }

    /// A certificate that says the same for a new key.
    async fn renewed(&self, leaf: &Leaf) -> Result<Leaf> {
        let identity = leaf.identity().map_err(anyhow::Error::msg)?;
        self.certified(&Wanted {
            identity,
            signer: self.signer,
            usage: "client auth",
            names: Vec::new(),
        })
        .await
    }

    /// Writes a certificate to the kubeconfig.
    fn write(&self, leaf: &Leaf) -> Result<()> {
        let mut file = Kubeconfig::read_from(&self.kubeconfig)?;
        let user = file
            .auth_infos
            .first_mut()
            .and_then(|user| user.auth_info.as_mut());
        let user = user.context("the kubeconfig has no user")?;
        user.client_certificate_data = Some(STANDARD.encode(leaf.certificate_pem()));
        user.client_key_data = Some(STANDARD.encode(leaf.key_pem()).into());
        Ok(write_private(
            &self.kubeconfig,
            &serde_yaml_ng::to_string(&file)?,
        )?)
    }

    /// Calls with what stands in the kubeconfig from now on.
    async fn take(&self, certificate: &str) -> Result<()> {
        let fresh = client_from(&self.kubeconfig, self.component).await?;
        self.current.store(Arc::new(fresh));
        *self.certificate.lock().unwrap_or_else(PoisonError::into_inner) = Some(certificate.to_owned());
        tracing::info!(
            component = self.component,
            "the certificate with which the API server is called was renewed"
        );
        Ok(())
    }

    fn certificate(&self) -> Option<String> {
        self.certificate
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A new key and the certificate for it.
    ///
    /// # Errors
    /// Where nobody approves it in time, or it is refused.
    pub(super) async fn certified(&self, wanted: &Wanted) -> Result<Leaf> {
        let key = KeyPair::generate()?;
        let requests: Api<CertificateSigningRequest> = Api::all((**self.current.load()).clone());
        let request = request(wanted, &key)?;
        let asked = requests.create(&PostParams::default(), &request).await?;
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
pub(super) fn leaf_of(kubeconfig: &Path) -> Result<Option<Leaf>> {
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

fn request(wanted: &Wanted, key: &KeyPair) -> Result<CertificateSigningRequest> {
    let mut params = CertificateParams::new(wanted.names.clone())?;
    params.distinguished_name = wanted.identity.subject().map_err(anyhow::Error::msg)?;
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

//! What signs the certificates and the tokens that the controllers order.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use coracle_apiserver::authn::LegacySigner;
use coracle_apiserver::pki::Authority;
use coracle_controllers::{CertificateSigner, SigningOrder, TokenOrder, TokenSigner};

use crate::cli::ControllerFlags;

struct Signer(Authority);

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signer")
    }
}

impl CertificateSigner for Signer {
    fn sign(&self, order: &SigningOrder) -> Result<String, String> {
        let signed = self
            .0
            .sign_request(&order.request, &order.usages, order.not_before, order.not_after);
        signed.map_err(|error| error.to_string())
    }
}

/// The signer that the flags name, or else the cluster's own authority where its folder is at hand.
///
/// # Errors
/// When only half of it is named, or it cannot be used.
pub(crate) fn open(
    flags: &ControllerFlags,
    own: Option<&Path>,
) -> Result<Option<Arc<dyn CertificateSigner>>> {
    let files = match (
        &flags.cluster_signing_cert_file,
        &flags.cluster_signing_key_file,
        own,
    ) {
        (Some(certificate), Some(key), _) => (certificate.clone(), key.clone()),
        (None, None, Some(folder)) => (folder.join("ca.crt"), folder.join("ca.key")),
        (None, None, None) => return Ok(None),
        _ => bail!("--cluster-signing-cert-file and --cluster-signing-key-file go together"),
    };
    let authority = Authority::from_files(&files.0, &files.1).context("cannot sign certificates")?;
    Ok(Some(Arc::new(Signer(authority))))
}

struct Tokens(LegacySigner);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tokens")
    }
}

impl TokenSigner for Tokens {
    fn sign(&self, order: &TokenOrder) -> String {
        let account = (order.account.as_str(), order.account_uid.as_str());
        self.0.sign(&order.namespace, &order.secret, account)
    }
}

/// The key that signs tokens in secrets: that which the flags name, or else the API server's where it is at hand.
///
/// # Errors
/// When it cannot be used.
pub(crate) fn tokens(flags: &ControllerFlags, own: Option<&Path>) -> Result<Option<Arc<dyn TokenSigner>>> {
    let Some(file) = flags.service_account_private_key_file.as_deref().or(own) else {
        return Ok(None);
    };
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let signer = LegacySigner::from_pem(&text).with_context(|| format!("cannot use {}", file.display()))?;
    Ok(Some(Arc::new(Tokens(signer))))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
    use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
    use kube::api::{Api, DeleteParams, PostParams};
    use kube::runtime::wait::await_condition;
    use serde_json::json;

    use super::super::fixture::ControlPlane;

    /// From the secret that names an account to a token that counts, until the account goes and takes the secret with it.
    #[tokio::test(flavor = "multi_thread")]
    async fn secrets_of_accounts_are_filled_and_honoured() {
        let home = tempfile::tempdir().unwrap();
        let control_plane = ControlPlane::start(home.path()).await;
        let admin = &control_plane.admin;
        let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), "default");
        let secrets: Api<Secret> = Api::namespaced(admin.clone(), "default");
        let object = json!({"metadata": {"name": "bot"}});
        let params = PostParams::default();
        let account = accounts
            .create(&params, &serde_json::from_value(object).unwrap())
            .await;
        let secret = json!({"type": "kubernetes.io/service-account-token", "metadata": {"name": "bot-token",
            "annotations": {"kubernetes.io/service-account.name": "bot"}}});
        secrets
            .create(&params, &serde_json::from_value(secret).unwrap())
            .await
            .unwrap();
        let is_filled = |secret: Option<&Secret>| {
            secret.is_some_and(|secret| {
                secret
                    .data
                    .as_ref()
                    .is_some_and(|data| data.contains_key("token"))
            })
        };
        let filled = await_condition(secrets.clone(), "bot-token", is_filled)
            .await
            .unwrap()
            .unwrap();
        let data = filled.data.unwrap();
        assert_eq!(
            (data["namespace"].0.as_slice(), data["ca.crt"].0.as_slice()),
            (&b"default"[..], &b"AUTHORITY"[..])
        );
        let annotations = filled.metadata.annotations.unwrap();
        let uid = account.unwrap().metadata.uid.unwrap();
        assert_eq!(annotations["kubernetes.io/service-account.uid"], uid);

        let token = String::from_utf8(data["token"].0.clone()).unwrap();
        let reviewed = async || {
            let review = TokenReview {
                spec: TokenReviewSpec {
                    token: token.clone(),
                    ..TokenReviewSpec::default()
                },
                ..TokenReview::default()
            };
            let reviews: Api<TokenReview> = Api::all(admin.clone());
            reviews.create(&params, &review).await.unwrap().status.unwrap()
        };
        let status = reviewed().await;
        assert_eq!(
            status.user.unwrap().username.as_deref(),
            Some("system:serviceaccount:default:bot")
        );
        let is_used = |secret: Option<&Secret>| {
            let labels = secret.and_then(|secret| secret.metadata.labels.as_ref());
            labels.is_some_and(|labels| labels.contains_key("kubernetes.io/legacy-token-last-used"))
        };
        await_condition(secrets.clone(), "bot-token", is_used)
            .await
            .unwrap();

        accounts.delete("bot", &DeleteParams::default()).await.unwrap();
        let is_gone = |secret: Option<&Secret>| secret.is_none();
        await_condition(secrets, "bot-token", is_gone).await.unwrap();
        assert_ne!(reviewed().await.authenticated, Some(true));
    }
}

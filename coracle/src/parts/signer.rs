//! The authority that signs the certificates which the controllers order.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use coracle_apiserver::pki::Authority;
use coracle_controllers::{CertificateSigner, SigningOrder};

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

//! The kubeconfigs beside the certificates: for the administrator and for parts that run as processes of their own.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::pki::{Identity, Kubeconfig, Pki, PkiError, write_private};

/// The administrator's kubeconfig, in the data directory.
pub(super) const ADMIN: &str = "admin.conf";

/// Writes what is missing, close to its end, or about another server.
pub(super) fn keep(directory: &Path, pki: &Pki, server: &str, now: Timestamp) -> Result<(), PkiError> {
    let identities = [
        (ADMIN, Identity::admin()),
        ("controller-manager.conf", Identity::controller_manager()),
        ("scheduler.conf", Identity::scheduler()),
    ];
    for (name, identity) in identities {
        let path: PathBuf = directory.join(name);
        let standing = std::fs::read_to_string(&path).unwrap_or_default();
        if Kubeconfig::is_current(&standing, server, pki.ca().certificate_pem(), now) {
            continue;
        }
        let fresh = pki.authorities().kubeconfig(&identity, "coracle", server, now)?;
        write_private(&path, &fresh.to_string())?;
    }
    Ok(())
}

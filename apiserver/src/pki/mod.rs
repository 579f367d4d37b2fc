//! The cluster's keys and certificates: made at the first start, kept under one directory, renewed while the server runs.
//!
//! The files are named as kubeadm names them. Authorities and the service account key are never made anew once they
//! stand: everybody's credentials hang on them, so a directory that lacks one is an error and not a first start. What they
//! sign (the leaves) is issued again whenever it is missing, damaged, close to its end, or no longer says what it should.
//! Always holds: the directory appears whole, by one rename; a file is replaced whole; keys are readable by their owner only.
//!
//! Time is an argument everywhere. IO is done by [`Pki`] alone, through `files`.

mod authorities;
mod authority;
mod files;
mod kubeconfig;
mod leaf;
mod names;
mod serving;
mod signing;

use std::path::{Path, PathBuf};

use jiff::Timestamp;

pub use self::authorities::Authorities;
pub use self::authority::Authority;
pub use self::kubeconfig::{Kubeconfig, KubeconfigUser};
pub use self::leaf::{Leaf, LeafSpec, Usage};
pub use self::names::{Identity, ServerNames};
pub use self::serving::ServingCertificate;
pub use self::signing::SigningError;

/// Why keys and certificates could not be made, read or renewed.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// A file or directory could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory holds some of the files that must stand together, but not all.
    #[error(
        "{} is incomplete: {} is missing; restore it from a backup, or remove the whole directory to start with new \
         certificates (every kubeconfig and token issued so far becomes invalid)",
        directory.display(), missing.join(", ")
    )]
    Incomplete {
        /// The directory.
        directory: PathBuf,
        /// Names of the files.
        missing: Vec<String>,
    },
    /// A file does not hold what its name says.
    #[error("{} is damaged: {reason}; restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A name that is to stand in a certificate cannot.
    #[error("cannot issue a certificate for {subject:?}: {reason}")]
    Unissuable {
        /// The common name.
        subject: String,
        /// What is wrong.
        reason: String,
    },
}

/// All keys and certificates of a cluster, as they stand in one directory.
pub struct Pki {
    directory: PathBuf,
    authorities: Authorities,
    serving: Leaf,
    kubelet_client: Leaf,
    front_proxy_client: Leaf,
    serving_spec: LeafSpec,
}

const SERVING: &str = "apiserver";
const KUBELET_CLIENT: &str = "apiserver-kubelet-client";
const FRONT_PROXY_CLIENT: &str = "front-proxy-client";

impl Pki {
    /// Reads the directory, making it first where there is none, and renews what needs it.
    pub fn open(directory: &Path, names: &ServerNames, now: Timestamp) -> Result<Self, PkiError> {
        if files::is_absent_or_empty(directory)? {
            create(directory, names, now)?;
        }
        let authorities = Authorities::read(directory)?;
        let (ca, front) = (authorities.ca(), authorities.front_proxy_ca());
        let serving_spec = serving_spec(names);
        let (kubelet, front_client) = (kubelet_client_spec(), front_proxy_client_spec());
        Ok(Self {
            serving: Leaf::load_or_issue(directory, SERVING, ca, &serving_spec, now)?,
            kubelet_client: Leaf::load_or_issue(directory, KUBELET_CLIENT, ca, &kubelet, now)?,
            front_proxy_client: Leaf::load_or_issue(
                directory,
                FRONT_PROXY_CLIENT,
                front,
                &front_client,
                now,
            )?,
            directory: directory.to_owned(),
            serving_spec,
            authorities,
        })
    }

    /// Reads what signs, of a directory that stands already. Nothing is written.
    pub fn read(directory: &Path) -> Result<Authorities, PkiError> {
        Authorities::read(directory)
    }

    /// Issues again every leaf that is due, and says whether there was one.
    pub fn renew(&mut self, now: Timestamp) -> Result<bool, PkiError> {
        let directory = &self.directory;
        let (ca, front) = (self.authorities.ca(), self.authorities.front_proxy_ca());
        let (kubelet, front_client) = (kubelet_client_spec(), front_proxy_client_spec());
        let mut renewed = self
            .serving
            .renew(directory, SERVING, ca, &self.serving_spec, now)?;
        renewed |= self
            .kubelet_client
            .renew(directory, KUBELET_CLIENT, ca, &kubelet, now)?;
        renewed |= self
            .front_proxy_client
            .renew(directory, FRONT_PROXY_CLIENT, front, &front_client, now)?;
        Ok(renewed)
    }

    /// What signs.
    pub fn authorities(&self) -> &Authorities {
        &self.authorities
    }

    /// The authority that signs servers' and clients' certificates.
    pub fn ca(&self) -> &Authority {
        self.authorities.ca()
    }

    /// The certificate under which this server is reached.
    pub fn serving(&self) -> &Leaf {
        &self.serving
    }

    /// The certificate under which this server calls node agents.
    pub fn kubelet_client(&self) -> &Leaf {
        &self.kubelet_client
    }

    /// The certificate under which this server calls extension apiservers.
    pub fn front_proxy_client(&self) -> &Leaf {
        &self.front_proxy_client
    }
}

/// Replaces a file of secrets (a kubeconfig, say) whole, readable by its owner only.
pub fn write_private(path: &Path, contents: &str) -> Result<(), PkiError> {
    files::write(path, contents.as_bytes())
}

fn kubelet_client_spec() -> LeafSpec {
    LeafSpec::client(&Identity::new(
        "kube-apiserver-kubelet-client",
        &["system:masters"],
    ))
}

fn front_proxy_client_spec() -> LeafSpec {
    LeafSpec::client(&Identity::new("front-proxy-client", &[]))
}

/// Makes everything beside the directory, and moves it there in one step.
fn create(directory: &Path, names: &ServerNames, now: Timestamp) -> Result<(), PkiError> {
    let authorities = Authorities::create(now)?;
    let (ca, front) = (authorities.ca(), authorities.front_proxy_ca());
    let mut files = authorities.files();
    files.extend(Leaf::issue(ca, &serving_spec(names), now)?.files(SERVING));
    files.extend(Leaf::issue(ca, &kubelet_client_spec(), now)?.files(KUBELET_CLIENT));
    files.extend(Leaf::issue(front, &front_proxy_client_spec(), now)?.files(FRONT_PROXY_CLIENT));
    files::create_whole(directory, &files)
}

fn serving_spec(names: &ServerNames) -> LeafSpec {
    LeafSpec::server("kube-apiserver", names)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::os::unix::fs::PermissionsExt;

    use jiff::ToSpan;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    fn names() -> ServerNames {
        ServerNames::of_cluster("cluster.local", IpAddr::from([10, 96, 0, 1]))
    }

    fn later(days: i64) -> Timestamp {
        "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap() + (days * 24).hours()
    }

    #[test]
    fn a_first_start_makes_everything_and_the_second_reads_it() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("pki");
        let first = Pki::open(&directory, &names(), later(0)).unwrap();
        let second = Pki::open(&directory, &names(), later(1)).unwrap();
        assert_eq!(
            first.serving().certificate_pem(),
            second.serving().certificate_pem()
        );
        assert_eq!(first.ca().certificate_pem(), second.ca().certificate_pem());
        assert_eq!(
            first.authorities().service_account_key().serialize_pem(),
            second.authorities().service_account_key().serialize_pem()
        );
        for entry in std::fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        }
        assert_eq!(
            std::fs::read_dir(home.path()).unwrap().count(),
            1,
            "nothing is left beside the directory"
        );
    }

    #[test]
    fn leaves_are_renewed_well_before_they_end() {
        let home = tempfile::tempdir().unwrap();
        let mut pki = Pki::open(&home.path().join("pki"), &names(), later(0)).unwrap();
        let first = pki.serving().certificate_pem().to_owned();
        assert!(!pki.renew(later(240)).unwrap());
        assert_eq!(pki.serving().certificate_pem(), first);
        assert!(pki.renew(later(250)).unwrap());
        assert_ne!(pki.serving().certificate_pem(), first);
        assert!(pki.serving().not_after() > later(600));
        let again = Pki::open(&home.path().join("pki"), &names(), later(250)).unwrap();
        assert_eq!(again.serving().certificate_pem(), pki.serving().certificate_pem());
    }

    #[test]
    fn a_new_name_or_a_damaged_leaf_is_issued_again() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("pki");
        let first = Pki::open(&directory, &names(), later(0))
            .unwrap()
            .serving()
            .certificate_pem()
            .to_owned();
        let mut more = names();
        more.add("api.example.com");
        more.add("192.0.2.7");
        let second = Pki::open(&directory, &more, later(0)).unwrap();
        assert_ne!(second.serving().certificate_pem(), first);
        // The key of another pair: what a crash between the two files of one leaf leaves behind.
        std::fs::copy(
            directory.join("apiserver-kubelet-client.key"),
            directory.join("apiserver.key"),
        )
        .unwrap();
        let third = Pki::open(&directory, &more, later(0)).unwrap();
        assert_ne!(
            third.serving().certificate_pem(),
            second.serving().certificate_pem()
        );
        std::fs::write(directory.join("apiserver.crt"), "half").unwrap();
        Pki::open(&directory, &more, later(0)).unwrap();
    }

    #[test]
    fn a_directory_without_its_authority_is_an_error_that_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("pki");
        Pki::open(&directory, &names(), later(0)).unwrap();
        std::fs::write(directory.join("ca.crt"), "half a certifi").unwrap();
        let damaged = Pki::open(&directory, &names(), later(0))
            .err()
            .expect("a damaged authority")
            .to_string();
        assert!(
            damaged.contains("ca.crt is damaged") && damaged.contains("restore it"),
            "{damaged}"
        );
        std::fs::remove_file(directory.join("ca.crt")).unwrap();
        let missing = Pki::open(&directory, &names(), later(0))
            .err()
            .expect("no authority")
            .to_string();
        assert!(missing.contains("is incomplete: ca.crt is missing"), "{missing}");
    }

    #[test]
    fn what_an_interrupted_first_start_left_is_swept_away() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("pki.new")).unwrap();
        std::fs::write(home.path().join("pki.new/ca.key"), "half").unwrap();
        Pki::open(&home.path().join("pki"), &names(), later(0)).unwrap();
        assert!(!home.path().join("pki.new").exists());
    }

    #[test]
    fn a_kubeconfig_is_written_again_when_it_leads_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let pki = Pki::open(&home.path().join("pki"), &names(), later(0)).unwrap();
        let url = "https://127.0.0.1:6443";
        let written = pki
            .authorities()
            .kubeconfig(&Identity::admin(), "coracle", url, later(0))
            .unwrap()
            .to_string();
        let current = |server, authority, now| Kubeconfig::is_current(&written, server, authority, now);
        let authority = pki.ca().certificate_pem();
        assert!(current(url, authority, later(1)));
        assert!(!current("https://127.0.0.1:7443", authority, later(1)));
        assert!(!current(
            url,
            pki.authorities().front_proxy_ca().certificate_pem(),
            later(1)
        ));
        assert!(!current(url, authority, later(250)));
        assert!(!Kubeconfig::is_current("", url, authority, later(1)));
    }

    #[test]
    fn certificates_say_who_and_where() {
        let home = tempfile::tempdir().unwrap();
        let pki = Pki::open(&home.path().join("pki"), &names(), later(0)).unwrap();
        let leaf = pki
            .authorities()
            .issue_client(&Identity::node("n1"), later(0))
            .unwrap();
        let (_, certificate) = X509Certificate::from_der(leaf.certificate_der()).unwrap();
        assert_eq!(
            certificate.subject().to_string(),
            "O=system:nodes, CN=system:node:n1"
        );
        let (_, serving) = X509Certificate::from_der(pki.serving().certificate_der()).unwrap();
        let names = serving.subject_alternative_name().unwrap().unwrap();
        let shown: Vec<_> = names
            .value
            .general_names
            .iter()
            .map(ToString::to_string)
            .collect();
        assert!(
            shown
                .iter()
                .any(|name| name.contains("kubernetes.default.svc.cluster.local")),
            "{shown:?}"
        );
        assert_eq!(shown.len(), 8, "{shown:?}");
    }
}

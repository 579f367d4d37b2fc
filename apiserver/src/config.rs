//! What an apiserver is told at start. Plain data, with upstream's defaults; flags and files become this elsewhere.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::admission::AdmissionOptions;
use crate::audit::AuditFlags;
use crate::authn::FrontProxyHeaders;
use crate::authn::jwt::JwtIssuer;
use crate::authz::AuthorizationMode;
use crate::authz::config::AuthorizerConfig;
use crate::components::{self, Component};
use crate::encryption::EncryptionFlags;
use crate::http::{FrontLimits, ListenerLimits};
use crate::pki::ServerNames;
use crate::registry::services::addresses::CidrError;
use crate::registry::services::ranges::ClusterRanges;

/// How an apiserver is set up.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where keys and certificates are kept: under `pki` in here.
    pub data_dir: PathBuf,
    /// Where it listens; port 0 takes any free one.
    pub listen: Vec<SocketAddr>,
    /// The address that others reach it at, told in discovery and in the endpoints of the Service `kubernetes`. Without
    /// it, the first listening address that is not "all addresses".
    pub advertise_address: Option<IpAddr>,
    /// From which addresses Services get theirs; the first goes to the Service `kubernetes`. Two ranges of different families,
    /// separated by a comma, make a cluster of both.
    pub service_cidr: String,
    /// Which ports Services of type NodePort may have, as `FIRST-LAST`.
    pub service_node_ports: String,
    /// The domain of Services' names.
    pub cluster_domain: String,
    /// Names and addresses besides the usual ones that the serving certificate is to hold.
    pub extra_names: Vec<String>,
    /// A serving certificate and key of somebody else's making, in place of our own.
    pub serving_certificate: Option<CertificateFiles>,
    /// Authorities besides the cluster's own that may vouch for clients, as a PEM file.
    pub client_ca_file: Option<PathBuf>,
    /// Static tokens.
    pub token_auth_file: Option<PathBuf>,
    /// Who else can say who somebody is.
    pub authentication: AuthenticationConfig,
    /// Whether requests without credentials are taken, as `system:anonymous`.
    pub anonymous: bool,
    /// Whether `anonymous` was said, so that no file may say something else.
    pub anonymous_by_flag: bool,
    /// Who decides what is allowed, in this order.
    pub authorization: Vec<AuthorizerConfig>,
    /// Which admission plugins run, and what they are told.
    pub admission: AdmissionOptions,
    /// The file that `authorization` was read from, and that of ABAC's policies, where they name some: what it says from now on
    /// counts, too.
    pub authorization_file: Option<(PathBuf, Option<PathBuf>)>,
    /// How often the files of authentication and authorization are looked at for changes.
    pub look_every: Duration,
    /// Files with keys in PEM that service account tokens are verified with, besides the one that signs.
    pub service_account_key_files: Vec<PathBuf>,
    /// The file with the key that signs service account tokens, in PEM; the server's own where none is named.
    pub service_account_signing_key_file: Option<PathBuf>,
    /// In whose name service account tokens are issued; the Service's URL where empty.
    pub service_account_issuer: String,
    /// The audiences this server counts for; the issuer where empty.
    pub api_audiences: Vec<String>,
    /// The longest life of a token that is asked for; no limit where None.
    pub service_account_max_expiration: Option<Duration>,
    /// Whether pods' hourly tokens go on counting for a year, with a warning (upstream's default).
    pub extend_token_expiration: bool,
    /// The authority that vouches for node agents, as a PEM file. As upstream, they are taken at their word without it.
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// How often it is looked whether a certificate is due. Certificates are due months before they end.
    pub look_at_certificates: Duration,
    /// How values are encrypted before they are stored; not at all where None.
    pub encryption: Option<EncryptionFlags>,
    /// What is recorded of requests, and where; nothing where there is no policy.
    pub audit: AuditFlags,
    /// How much is done at once.
    pub limits: FrontLimits,
    /// How patient the server is with connections.
    pub listener_limits: ListenerLimits,
    /// How long events are kept after they were last written (`--event-ttl`); for ever where zero.
    pub event_ttl: Duration,
    /// How long requests may go on after the server was asked to stop.
    pub shutdown_grace: Duration,
    /// The parts of the control plane that `componentstatuses` tells of, besides the store.
    pub components: Vec<Component>,
    /// What `/flagz` tells: the flags of the process by name, without dashes.
    pub flags: BTreeMap<String, String>,
}

/// Ways to say who somebody is that are off unless asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthenticationConfig {
    /// Passwords, in a file like that of static tokens.
    pub basic_auth_file: Option<PathBuf>,
    /// Whether bootstrap tokens count.
    pub bootstrap_tokens: bool,
    /// A proxy in front of the server that says on whose behalf it asks.
    pub front_proxy: Option<FrontProxy>,
    /// An `AuthenticationConfiguration`, in place of `jwt`; what it says of the anonymous takes the place of `anonymous`.
    pub file: Option<PathBuf>,
    /// Issuers of tokens elsewhere.
    pub jwt: Vec<JwtIssuer>,
    /// By which algorithms their signatures count where no file names the issuers.
    pub signing_algorithms: Vec<String>,
    /// A service that knows whose tokens are.
    pub webhook: Option<TokenWebhookConfig>,
}

/// A service that knows whose tokens are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWebhookConfig {
    /// How it is reached.
    pub kubeconfig: PathBuf,
    /// `v1` or `v1beta1`.
    pub version: String,
    /// For how long its answers count.
    pub cache_ttl: Duration,
}

/// A proxy in front of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// Who vouches for it, as a PEM file.
    pub client_ca_file: PathBuf,
    /// Which headers say on whose behalf it asks.
    pub headers: FrontProxyHeaders,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Config {
    /// Upstream's defaults, listening on loopback.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 6443))],
            advertise_address: None,
            service_cidr: "10.96.0.0/12".to_owned(),
            service_node_ports: "30000-32767".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            extra_names: Vec::new(),
            serving_certificate: None,
            client_ca_file: None,
            token_auth_file: None,
            authentication: AuthenticationConfig::default(),
            anonymous: true,
            anonymous_by_flag: false,
            admission: AdmissionOptions::default(),
            authorization: [AuthorizationMode::Node, AuthorizationMode::Rbac]
                .map(AuthorizerConfig::Mode)
                .to_vec(),
            authorization_file: None,
            look_every: Duration::from_secs(5),
            service_account_key_files: Vec::new(),
            service_account_signing_key_file: None,
            service_account_issuer: String::new(),
            api_audiences: Vec::new(),
            service_account_max_expiration: None,
            extend_token_expiration: true,
            kubelet_certificate_authority: None,
            look_at_certificates: Duration::from_secs(60 * 60),
            encryption: None,
            audit: AuditFlags::default(),
            limits: FrontLimits::default(),
            listener_limits: ListenerLimits::default(),
            event_ttl: Duration::from_secs(60 * 60),
            shutdown_grace: Duration::from_secs(10),
            components: components::elsewhere(),
            flags: BTreeMap::new(),
        }
    }

    /// The address of the Service `kubernetes`: the first that Services can have.
    pub fn first_service_address(&self) -> Result<IpAddr, CidrError> {
        Ok(self.service_cidr.parse::<ClusterRanges>()?.primary().first())
    }

    /// Where others reach the server. `bound` is where it listens in fact.
    pub fn advertised(&self, bound: &[SocketAddr]) -> SocketAddr {
        let first = bound
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 6443)));
        let usable = bound
            .iter()
            .find(|address| !address.ip().is_unspecified())
            .copied();
        match self.advertise_address {
            Some(address) => SocketAddr::new(address, first.port()),
            None => usable.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], first.port()))),
        }
    }

    /// In whose name tokens are issued.
    pub fn issuer(&self) -> String {
        match self.service_account_issuer.as_str() {
            "" => format!("https://kubernetes.default.svc.{}", self.cluster_domain),
            issuer => issuer.to_owned(),
        }
    }

    /// The audiences this server counts for.
    pub fn audiences(&self) -> Vec<String> {
        if self.api_audiences.is_empty() {
            vec![self.issuer()]
        } else {
            self.api_audiences.clone()
        }
    }

    /// What the serving certificate is to say.
    pub(crate) fn server_names(&self) -> Result<ServerNames, CidrError> {
        let mut names = ServerNames::of_cluster(&self.cluster_domain, self.first_service_address()?);
        for address in self
            .listen
            .iter()
            .map(SocketAddr::ip)
            .chain(self.advertise_address)
        {
            names.add_address(address);
        }
        for name in &self.extra_names {
            names.add(name);
        }
        Ok(names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advertised_address_is_one_that_can_be_dialled() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let config = Config::new("");
        assert_eq!(
            config.advertised(&[at("0.0.0.0:6443"), at("192.0.2.1:6443")]),
            at("192.0.2.1:6443")
        );
        assert_eq!(config.advertised(&[at("0.0.0.0:6443")]), at("127.0.0.1:6443"));
        let told = Config {
            advertise_address: Some([198, 51, 100, 1].into()),
            ..config
        };
        assert_eq!(told.advertised(&[at("0.0.0.0:7443")]), at("198.51.100.1:7443"));
    }
}

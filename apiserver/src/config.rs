//! What an apiserver is told at start. Plain data, with upstream's defaults; flags and files become this elsewhere.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::authz::AuthorizationMode;
use crate::http::{FrontLimits, ListenerLimits};
use crate::pki::ServerNames;

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
    /// From which addresses Services get theirs; the first goes to the Service `kubernetes`.
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
    /// Whether requests without credentials are taken, as `system:anonymous`.
    pub anonymous: bool,
    /// Who decides what is allowed, in this order.
    pub authorization_modes: Vec<AuthorizationMode>,
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
    /// How much is done at once.
    pub limits: FrontLimits,
    /// How patient the server is with connections.
    pub listener_limits: ListenerLimits,
    /// How long requests may go on after the server was asked to stop.
    pub shutdown_grace: Duration,
}

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// A network that cannot hold Services.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not a network that Services can have addresses of; give one such as 10.96.0.0/12")]
pub struct BadServiceCidr(pub String);

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
            anonymous: true,
            authorization_modes: vec![AuthorizationMode::Node, AuthorizationMode::Rbac],
            service_account_issuer: String::new(),
            api_audiences: Vec::new(),
            service_account_max_expiration: None,
            extend_token_expiration: true,
            kubelet_certificate_authority: None,
            limits: FrontLimits::default(),
            listener_limits: ListenerLimits::default(),
            shutdown_grace: Duration::from_secs(10),
        }
    }

    /// The address of the Service `kubernetes`.
    pub fn first_service_address(&self) -> Result<IpAddr, BadServiceCidr> {
        let bad = || BadServiceCidr(self.service_cidr.clone());
        let (address, bits) = self.service_cidr.split_once('/').ok_or_else(bad)?;
        let bits: u32 = bits.parse().map_err(|_| bad())?;
        match address.parse().map_err(|_| bad())? {
            IpAddr::V4(address) if (1..=30).contains(&bits) => {
                let network = u32::from(address) & (u32::MAX << (32 - bits));
                Ok(IpAddr::V4((network + 1).into()))
            }
            IpAddr::V6(address) if (1..=126).contains(&bits) => {
                let network = u128::from(address) & (u128::MAX << (128 - bits));
                Ok(IpAddr::V6((network + 1).into()))
            }
            _ => Err(bad()),
        }
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
    pub(crate) fn server_names(&self) -> Result<ServerNames, BadServiceCidr> {
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
    fn the_first_service_address_follows_the_network() {
        let first = |cidr: &str| {
            let config = Config {
                service_cidr: cidr.to_owned(),
                ..Config::new("")
            };
            config
                .first_service_address()
                .map(|address| address.to_string())
                .ok()
        };
        let cases = [
            ("10.96.0.0/12", Some("10.96.0.1")),
            ("10.97.3.4/12", Some("10.96.0.1")),
            ("fd00:1::/108", Some("fd00:1::1")),
            ("10.96.0.0/31", None),
            ("10.96.0.0/0", None),
            ("10.96.0.0/40", None),
            ("10.96.0.0", None),
            ("x/12", None),
        ];
        for (cidr, want) in cases {
            assert_eq!(first(cidr).as_deref(), want, "{cidr}");
        }
    }

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

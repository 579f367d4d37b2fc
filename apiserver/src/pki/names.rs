//! Names: of a server, as its certificate holds them, and of a client.

use std::net::IpAddr;

use rcgen::{DistinguishedName, DnType};

/// Under which names and addresses the server is reached: what its serving certificate must say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerNames {
    /// DNS names.
    pub dns: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl ServerNames {
    /// The names every apiserver has: those of the Service `kubernetes` and of the local host.
    pub fn of_cluster(cluster_domain: &str, service_address: IpAddr) -> Self {
        let dns = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "localhost",
        ]
        .map(str::to_owned);
        let mut dns = Vec::from(dns);
        dns.push(format!("kubernetes.default.svc.{cluster_domain}"));
        let loopback = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        let mut addresses = Vec::from(loopback);
        addresses.push(service_address);
        Self { dns, addresses }
    }

    /// Adds an address, unless it stands for all addresses or is there already.
    pub fn add_address(&mut self, address: IpAddr) {
        if !address.is_unspecified() && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// Adds a name that may be an address or a DNS name.
    pub fn add(&mut self, name: &str) {
        match name.parse() {
            Ok(address) => self.add_address(address),
            Err(_) if !self.dns.iter().any(|own| own == name) => self.dns.push(name.to_owned()),
            Err(_) => {}
        }
    }
}

/// Whom a client certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user name: the certificate's common name.
    pub name: String,
    /// The groups: its organizations.
    pub groups: Vec<String>,
}

impl Identity {
    /// Any user.
    pub fn new(name: impl Into<String>, groups: &[&str]) -> Self {
        Self {
            name: name.into(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        }
    }

    /// The subject of a certificate for it.
    ///
    /// # Errors
    /// Where it is in several groups: of each sort of name one value can be written.
    pub fn subject(&self) -> Result<DistinguishedName, String> {
        if self.groups.len() > 1 {
            return Err("more than one group".to_owned());
        }
        let mut subject = DistinguishedName::new();
        for group in &self.groups {
            subject.push(DnType::OrganizationName, group.as_str());
        }
        subject.push(DnType::CommonName, self.name.as_str());
        Ok(subject)
    }

    /// The administrator, whom no policy binds.
    pub fn admin() -> Self {
        Self::new("kubernetes-admin", &["system:masters"])
    }

    /// The controller manager.
    pub fn controller_manager() -> Self {
        Self::new("system:kube-controller-manager", &[])
    }

    /// The scheduler.
    pub fn scheduler() -> Self {
        Self::new("system:kube-scheduler", &[])
    }

    /// The node agent of one node.
    pub fn node(name: &str) -> Self {
        Self::new(format!("system:node:{name}"), &["system:nodes"])
    }

    /// The service proxy of one node.
    pub fn proxy() -> Self {
        Self::new("system:kube-proxy", &["system:node-proxier"])
    }
}

//! Kubernetes' own values, and whom they ask.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::library::formats::NamedFormat;
use super::library::semver::Semver;
use super::library::urls::Url;
use crate::quantity::Quantity;

/// A value that CEL itself does not know.
#[derive(Clone, Debug)]
pub enum Opaque<'v> {
    /// `ip('10.0.0.1')`.
    Ip(IpAddr),
    /// `cidr('10.0.0.0/8')`.
    Cidr(IpAddr, u8),
    /// `url('https://example.com')`.
    Url(Arc<Url>),
    /// `quantity('1Gi')`.
    Quantity(Arc<Quantity>),
    /// `semver('1.2.3')`.
    Semver(Arc<Semver>),
    /// `format.dns1123Label()`.
    Format(&'static NamedFormat),
    /// `authorizer`.
    Authorizer(Asker<'v>),
    /// `authorizer.path('/healthz')`.
    PathCheck(Asker<'v>, Arc<str>),
    /// `authorizer.group('apps')`.
    GroupCheck(Asker<'v>, Arc<str>),
    /// `authorizer.group('apps').resource('deployments')`.
    ResourceCheck(Asker<'v>, Arc<ResourceCheck>),
    /// What the authorizer said.
    Decision(Arc<Decision>),
}

impl Opaque<'_> {
    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Opaque::Ip(_) => IP,
            Opaque::Cidr(..) => CIDR,
            Opaque::Url(_) => URL,
            Opaque::Quantity(_) => QUANTITY,
            Opaque::Semver(_) => SEMVER,
            Opaque::Format(_) => FORMAT,
            Opaque::Authorizer(_) => AUTHORIZER,
            Opaque::PathCheck(..) => PATH_CHECK,
            Opaque::GroupCheck(..) => GROUP_CHECK,
            Opaque::ResourceCheck(..) => RESOURCE_CHECK,
            Opaque::Decision(_) => DECISION,
        }
    }

    /// The bytes of an address; 1 for everything else.
    pub(super) fn size(&self) -> u64 {
        match self {
            Opaque::Ip(ip) | Opaque::Cidr(ip, _) => {
                if ip.is_ipv4() {
                    4
                } else {
                    16
                }
            }
            _ => 1,
        }
    }

    /// Whether two values are one; those of different types are not, and neither are questions to an authorizer.
    pub(super) fn same(&self, other: &Opaque<'_>) -> bool {
        match (self, other) {
            (Opaque::Ip(a), Opaque::Ip(b)) => a == b,
            (Opaque::Cidr(a, n), Opaque::Cidr(b, m)) => a == b && n == m,
            (Opaque::Url(a), Opaque::Url(b)) => a.text == b.text,
            (Opaque::Quantity(a), Opaque::Quantity(b)) => a.as_ref().cmp(b.as_ref()).is_eq(),
            (Opaque::Semver(a), Opaque::Semver(b)) => a.compare(b).is_eq(),
            (Opaque::Format(a), Opaque::Format(b)) => a.name == b.name,
            _ => false,
        }
    }
}

/// The type of IP addresses.
pub(super) const IP: &str = "net.IP";
/// The type of blocks of IP addresses.
pub(super) const CIDR: &str = "net.CIDR";
/// The type of URLs.
pub(super) const URL: &str = "kubernetes.URL";
/// The type of quantities.
pub(super) const QUANTITY: &str = "kubernetes.Quantity";
/// The type of semantic versions.
pub(super) const SEMVER: &str = "kubernetes.Semver";
/// The type of named formats.
pub(super) const FORMAT: &str = "kubernetes.NamedFormat";
/// The type of `authorizer`.
pub(super) const AUTHORIZER: &str = "kubernetes.authorization.Authorizer";
/// The type of a question about a path.
pub(super) const PATH_CHECK: &str = "kubernetes.authorization.PathCheck";
/// The type of a question about a group.
pub(super) const GROUP_CHECK: &str = "kubernetes.authorization.GroupCheck";
/// The type of a question about a resource.
pub(super) const RESOURCE_CHECK: &str = "kubernetes.authorization.ResourceCheck";
/// The type of an answer.
pub(super) const DECISION: &str = "kubernetes.authorization.Decision";

/// All of them.
pub(super) const NAMES: [&str; 11] = [
    IP,
    CIDR,
    URL,
    QUANTITY,
    SEMVER,
    FORMAT,
    AUTHORIZER,
    PATH_CHECK,
    GROUP_CHECK,
    RESOURCE_CHECK,
    DECISION,
];

/// For whom an authorizer is asked.
#[derive(Clone)]
pub struct Asker<'v> {
    /// Who answers.
    pub authorizer: &'v dyn Authorizer,
    /// Namespace and name of the service account that is asked about; whoever sent the request where there is none.
    pub service_account: Option<Arc<(String, String)>>,
}

impl fmt::Debug for Asker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asker")
            .field("service_account", &self.service_account)
            .finish_non_exhaustive()
    }
}

/// What is asked about a resource.
#[derive(Clone, Debug, Default)]
pub struct ResourceCheck {
    /// The API group.
    pub group: String,
    /// The resource.
    pub resource: String,
    /// The part of it; empty for the whole.
    pub subresource: String,
    /// The namespace; empty for all.
    pub namespace: String,
    /// The object; empty for all.
    pub name: String,
    /// The field selector of a list.
    pub field_selector: String,
    /// The label selector of a list.
    pub label_selector: String,
}

/// A question to an authorizer.
#[derive(Clone, Copy, Debug)]
pub enum Question<'q> {
    /// May a path be asked for?
    Path(&'q str),
    /// May something be done to a resource?
    Resource(&'q ResourceCheck),
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    /// Whether it may be done.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
    /// What went wrong while finding out.
    pub error: Option<String>,
}

/// Who can tell what users may do.
pub trait Authorizer: Send + Sync {
    /// Whether `verb` is allowed to whoever sent the request, or to a service account (its namespace and name).
    fn check(&self, service_account: Option<(&str, &str)>, verb: &str, question: Question<'_>) -> Decision;
}

//! Service account tokens: what they say (`claims`), the keys that sign them (`keys`, read from `pem`), how they are asked for
//! (`request`), and what strangers need to verify them (`discovery`); and the signatures of any token (`signatures`).
//!
//! Follows KEP-1205 (bound tokens) and KEP-1393 (issuer discovery). Everything here is pure but the handler of the `token`
//! subresource, which reads the clock and makes a token's id.

mod claims;
mod discovery;
mod keys;
mod pem;
mod request;
mod signatures;

pub use self::claims::{Claims, KubernetesClaims, ObjectClaim};
pub use self::discovery::{JWKS_PATH, OPENID_CONFIGURATION_PATH, openid_configuration};
pub(crate) use self::keys::untrusted_issuer;
pub use self::keys::{KeyError, TokenKeys, VerifyError};
pub use self::request::{TokenLimits, TokenRequests};
pub use self::signatures::ALGORITHMS;
pub(crate) use self::signatures::{Key, Signed};

//! What others need to verify this cluster's tokens (OpenID Connect Discovery 1.0, the part upstream serves).

use serde_json::{Value, json};

/// Where the issuer's configuration stands.
pub const OPENID_CONFIGURATION_PATH: &str = "/.well-known/openid-configuration";

/// Where the issuer's keys stand.
pub const JWKS_PATH: &str = "/openid/v1/jwks";

/// The issuer's configuration. `server` is the URL under which the keys can be fetched, `algorithms` what they sign with.
pub fn openid_configuration(issuer: &str, server: &str, algorithms: &[&str]) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{server}{JWKS_PATH}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}

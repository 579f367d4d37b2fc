//! What issuers of tokens there are and what their tokens say: `AuthenticationConfiguration` of `apiserver.config.k8s.io`.
//!
//! Plain data, read strictly. `rules` compiles and checks it.

use coracle_api::codec::yaml;
use coracle_api::object::Fields;
use serde::Deserialize;
use serde_json::Value;

const GROUP: &str = "apiserver.config.k8s.io";
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];
const KIND: &str = "AuthenticationConfiguration";

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AuthenticationConfiguration {
    #[serde(rename = "apiVersion")]
    api_version: String,
    kind: String,
    /// Issuers, each at most once.
    pub jwt: Vec<JwtIssuer>,
    /// Who may do without saying who they are; whatever the flag says where absent.
    pub anonymous: Option<AnonymousConfig>,
}

/// Who may do without saying who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AnonymousConfig {
    /// Whether anybody may.
    pub enabled: bool,
    /// Where they may; everywhere where empty.
    pub conditions: Vec<AnonymousCondition>,
}

/// A path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct AnonymousCondition {
    /// The path, to the letter.
    pub path: String,
}

/// An issuer, and what its tokens say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct JwtIssuer {
    /// Who it is.
    pub issuer: Issuer,
    /// What has to be true of a token.
    pub claim_validation_rules: Vec<ClaimValidationRule>,
    /// How a token says who somebody is.
    pub claim_mappings: ClaimMappings,
    /// What has to be true of the user.
    pub user_validation_rules: Vec<UserValidationRule>,
}

/// Who an issuer is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Issuer {
    /// Its name in tokens, and where it is asked.
    pub url: String,
    /// Where its keys are told, where that is not below `url`.
    #[serde(rename = "discoveryURL")]
    pub discovery_url: String,
    /// Who vouches for it, in PEM; whom the machine trusts where empty.
    pub certificate_authority: String,
    /// Tokens have to be meant for one of these.
    pub audiences: Vec<String>,
    /// `MatchAny`, or empty.
    pub audience_match_policy: String,
    /// By which network it is reached; there is but one here.
    pub egress_selector_type: String,
}

/// Either a claim and its value, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClaimValidationRule {
    /// The claim.
    pub claim: String,
    /// Its value.
    pub required_value: String,
    /// What has to be true of `claims`.
    pub expression: String,
    /// What is said where it is not.
    pub message: String,
}

/// Which claims say what of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ClaimMappings {
    /// The name.
    pub username: Mapping,
    /// The groups.
    pub groups: Mapping,
    /// The uid.
    pub uid: Mapping,
    /// More.
    pub extra: Vec<ExtraMapping>,
}

/// Either a claim, or an expression.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Mapping {
    /// The claim.
    pub claim: String,
    /// What is put before its value.
    pub prefix: Option<String>,
    /// The expression.
    pub expression: String,
}

/// More of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ExtraMapping {
    /// Under which key.
    pub key: String,
    /// What.
    pub value_expression: String,
}

/// What has to be true of a user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct UserValidationRule {
    /// What has to be true of `user`.
    pub expression: String,
    /// What is said where it is not.
    pub message: String,
}

impl AuthenticationConfiguration {
    /// Reads a file's contents.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(contents: &[u8]) -> Result<Self, String> {
        if contents.is_empty() {
            return Err("empty config data".to_owned());
        }
        let value = of_kind(contents, KIND)?;
        serde_json::from_value(value).map_err(|error| format!("strict decoding error: {error}"))
    }
}

/// The object of a configuration file, whose kind is looked at.
///
/// # Errors
/// Where it is of another kind, or no object.
pub(crate) fn of_kind(contents: &[u8], kind: &str) -> Result<Value, String> {
    let parsed = yaml::parse(contents).map_err(|error| error.to_string())?;
    if let Some(duplicate) = parsed.duplicates.first() {
        return Err(format!("strict decoding error: {duplicate}"));
    }
    let value = parsed.value;
    let (version, found) = (value.text("apiVersion"), value.text("kind"));
    if found.is_empty() {
        return Err("Object 'Kind' is missing".to_owned());
    }
    let known = version
        .split_once('/')
        .is_some_and(|(group, version)| group == GROUP && VERSIONS.contains(&version));
    if !known || found != kind {
        return Err(format!("no kind {found:?} is registered for version {version:?}"));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_strictly() {
        let text = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt:\n- issuer:\n    url: https://a\n    \
                    discoveryURL: https://b\n    audiences: [x]\n  claimMappings:\n    username: {claim: sub, prefix: ''}\nanonymous:\n  \
                    enabled: true\n  conditions: [{path: /livez}]\n";
        let read = AuthenticationConfiguration::parse(text.as_bytes()).unwrap();
        assert_eq!(read.jwt[0].issuer.discovery_url, "https://b");
        assert_eq!(read.jwt[0].claim_mappings.username.prefix.as_deref(), Some(""));
        assert_eq!(read.anonymous.unwrap().conditions[0].path, "/livez");
        let fault = |text: &str| AuthenticationConfiguration::parse(text.as_bytes()).unwrap_err();
        assert_eq!(fault(""), "empty config data");
        let odd = text.replace("discoveryURL", "discovery");
        assert!(
            fault(&odd).contains("unknown field `discovery`"),
            "{}",
            fault(&odd)
        );
        let other = text.replace("AuthenticationC", "C");
        assert_eq!(
            fault(&other),
            "no kind \"Configuration\" is registered for version \"apiserver.config.k8s.io/v1\""
        );
    }
}

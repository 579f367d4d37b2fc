//! Flags of the apiserver about who is let in and who may do what, as kube-apiserver's.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use coracle_apiserver::authn::FrontProxyHeaders;
use coracle_apiserver::authn::jwt::{ClaimMappings, ClaimValidationRule, Issuer, JwtIssuer, Mapping};
use coracle_apiserver::authz::config::{self, AuthorizationFlags, AuthorizerConfig};
use coracle_apiserver::config::{AuthenticationConfig, FrontProxy, TokenWebhookConfig};

/// Who is let in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Access {
    /// Whether requests without credentials are taken [default: true]
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_missing_value = "true")]
    anonymous_auth: Option<bool>,
    /// A file with an AuthenticationConfiguration: issuers of tokens, and what may be done without one
    #[arg(long)]
    authentication_config: Option<PathBuf>,
    /// In whose name service account tokens are issued; the URL of the Service kubernetes by default
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) service_account_issuer: String,
    /// A file with keys in PEM, public or private, that service account tokens are verified with besides the one that signs;
    /// may be given several times
    #[arg(long)]
    pub(crate) service_account_key_file: Vec<PathBuf>,
    /// The key that signs service account tokens, in PEM; the cluster's own by default
    #[arg(long)]
    pub(crate) service_account_signing_key_file: Option<PathBuf>,
    /// The audiences that this server counts for; the issuer by default
    #[arg(long, value_delimiter = ',')]
    pub(crate) api_audiences: Vec<String>,
    /// A CSV file of passwords: password,user,uid,"group1,group2"
    #[arg(long)]
    basic_auth_file: Option<PathBuf>,
    /// Let machines join with secrets of type bootstrap.kubernetes.io/token in kube-system
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = false, default_missing_value = "true")]
    enable_bootstrap_token_auth: bool,
    /// The authority of proxies in front of the server that say in headers on whose behalf they ask, in PEM
    #[arg(long)]
    requestheader_client_ca_file: Option<PathBuf>,
    /// Common names of such proxies' certificates; any by default
    #[arg(long, value_delimiter = ',')]
    requestheader_allowed_names: Vec<String>,
    /// Headers in which they say the user's name, such as X-Remote-User
    #[arg(long, value_delimiter = ',')]
    requestheader_username_headers: Vec<String>,
    /// Headers in which they say the user's uid, such as X-Remote-Uid
    #[arg(long, value_delimiter = ',')]
    requestheader_uid_headers: Vec<String>,
    /// Headers in which they say the user's groups, such as X-Remote-Group
    #[arg(long, value_delimiter = ',')]
    requestheader_group_headers: Vec<String>,
    /// Beginnings of headers in which they say more of the user, such as X-Remote-Extra-
    #[arg(long, value_delimiter = ',')]
    requestheader_extra_headers_prefix: Vec<String>,
    #[command(flatten)]
    oidc: Oidc,
    #[command(flatten)]
    authorization: Authorization,
    /// A kubeconfig of a service that knows whose bearer tokens are
    #[arg(long)]
    authentication_token_webhook_config_file: Option<PathBuf>,
    /// The version of TokenReview by which that service is asked
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    authentication_token_webhook_version: String,
    /// For how long its answers count
    #[arg(long, default_value = "2m", value_parser = super::duration)]
    authentication_token_webhook_cache_ttl: Duration,
}

/// Who decides what is allowed.
#[derive(Clone, Debug, Args)]
struct Authorization {
    /// Who decides, in order: ABAC, AlwaysAllow, AlwaysDeny, Node, RBAC, Webhook [default: Node,RBAC]
    #[arg(long, value_delimiter = ',')]
    authorization_mode: Vec<String>,
    /// A file with an AuthorizationConfiguration, in place of the other flags
    #[arg(long, conflicts_with_all = ["authorization_mode", "authorization_webhook_config_file",
        "authorization_webhook_version", "authorization_webhook_cache_authorized_ttl",
        "authorization_webhook_cache_unauthorized_ttl"])]
    authorization_config: Option<PathBuf>,
    /// The policies of mode ABAC, one a line
    #[arg(long)]
    authorization_policy_file: Option<PathBuf>,
    /// A kubeconfig of the service that decides in mode Webhook
    #[arg(long)]
    authorization_webhook_config_file: Option<PathBuf>,
    /// The version of SubjectAccessReview by which it is asked
    #[arg(long, default_value = "v1beta1", value_parser = ["v1", "v1beta1"])]
    authorization_webhook_version: String,
    /// For how long its yes counts
    #[arg(long, default_value = "5m", value_parser = super::duration)]
    authorization_webhook_cache_authorized_ttl: Duration,
    /// For how long its no counts
    #[arg(long, default_value = "30s", value_parser = super::duration)]
    authorization_webhook_cache_unauthorized_ttl: Duration,
}

impl Authorization {
    fn chain(&self) -> Result<Vec<AuthorizerConfig>> {
        if let Some(file) = &self.authorization_config {
            let contents = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            let chain = config::parse(&contents, self.authorization_policy_file.as_deref());
            return chain
                .map_err(anyhow::Error::msg)
                .with_context(|| format!("cannot use {}", file.display()));
        }
        let mut modes = self.authorization_mode.clone();
        if modes.is_empty() {
            modes = ["Node", "RBAC"].map(str::to_owned).to_vec();
        }
        let flags = AuthorizationFlags {
            modes,
            policy_file: self.authorization_policy_file.clone(),
            webhook: self.authorization_webhook_config_file.clone(),
            webhook_version: self.authorization_webhook_version.clone(),
            webhook_ttls: (
                self.authorization_webhook_cache_authorized_ttl,
                self.authorization_webhook_cache_unauthorized_ttl,
            ),
        };
        flags.chain().map_err(anyhow::Error::msg)
    }
}

/// An issuer of tokens elsewhere.
#[derive(Clone, Debug, Args)]
struct Oidc {
    /// The URL of an OpenID issuer whose tokens count
    #[arg(long)]
    oidc_issuer_url: Option<String>,
    /// For whom its tokens have to be meant
    #[arg(long)]
    oidc_client_id: Option<String>,
    /// Who vouches for it, in PEM; whom this machine trusts by default
    #[arg(long)]
    oidc_ca_file: Option<PathBuf>,
    /// The claim that is the user's name [default: sub]
    #[arg(long)]
    oidc_username_claim: Option<String>,
    /// What is put before the name; the issuer's URL for claims other than email by default, nothing for -
    #[arg(long)]
    oidc_username_prefix: Option<String>,
    /// The claim that is the user's groups
    #[arg(long)]
    oidc_groups_claim: Option<String>,
    /// What is put before groups
    #[arg(long)]
    oidc_groups_prefix: Option<String>,
    /// By which algorithms its signatures count [default: RS256]
    #[arg(long, value_delimiter = ',')]
    oidc_signing_algs: Vec<String>,
    /// A claim that tokens must have, as CLAIM=VALUE; may be repeated
    #[arg(long)]
    oidc_required_claim: Vec<String>,
}

impl Oidc {
    fn is_set(&self) -> bool {
        let one = [
            &self.oidc_issuer_url,
            &self.oidc_client_id,
            &self.oidc_username_claim,
            &self.oidc_username_prefix,
            &self.oidc_groups_claim,
            &self.oidc_groups_prefix,
        ];
        one.iter().any(|flag| flag.is_some())
            || self.oidc_ca_file.is_some()
            || !self.oidc_signing_algs.is_empty()
            || !self.oidc_required_claim.is_empty()
    }

    /// The issuer that these flags name, where they name one.
    fn issuer(&self) -> Result<Option<JwtIssuer>> {
        if !self.is_set() {
            return Ok(None);
        }
        let filled = |flag: &Option<String>| flag.clone().filter(|text| !text.is_empty());
        let (Some(url), Some(client)) = (filled(&self.oidc_issuer_url), filled(&self.oidc_client_id)) else {
            bail!(
                "oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set"
            );
        };
        let claim = self
            .oidc_username_claim
            .clone()
            .unwrap_or_else(|| "sub".to_owned());
        let prefix = match self.oidc_username_prefix.as_deref() {
            Some("-") => String::new(),
            None | Some("") if claim != "email" => format!("{url}#"),
            other => other.unwrap_or_default().to_owned(),
        };
        let groups = match filled(&self.oidc_groups_claim) {
            None => Mapping::default(),
            Some(claim) => Mapping {
                claim,
                prefix: Some(self.oidc_groups_prefix.clone().unwrap_or_default()),
                ..Mapping::default()
            },
        };
        let certificate_authority = match &self.oidc_ca_file {
            None => String::new(),
            Some(file) => {
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?
            }
        };
        let mut required = Vec::new();
        for pair in &self.oidc_required_claim {
            let (claim, value) = pair
                .split_once('=')
                .with_context(|| format!("malformed pair {pair:?}, expect string=string"))?;
            required.push(ClaimValidationRule {
                claim: claim.to_owned(),
                required_value: value.to_owned(),
                ..ClaimValidationRule::default()
            });
        }
        Ok(Some(JwtIssuer {
            issuer: Issuer {
                url,
                audiences: vec![client],
                certificate_authority,
                ..Issuer::default()
            },
            claim_validation_rules: required,
            claim_mappings: ClaimMappings {
                username: Mapping {
                    claim,
                    prefix: Some(prefix),
                    ..Mapping::default()
                },
                groups,
                ..ClaimMappings::default()
            },
            user_validation_rules: Vec::new(),
        }))
    }
}

impl Access {
    /// What these flags say of who can say who somebody is.
    ///
    /// # Errors
    /// Where they contradict each other, in upstream's words.
    pub(crate) fn authentication(&self, client_ca_file: Option<&PathBuf>) -> Result<AuthenticationConfig> {
        let headers = FrontProxyHeaders {
            allowed_names: self.requestheader_allowed_names.clone(),
            username: self.requestheader_username_headers.clone(),
            uid: self.requestheader_uid_headers.clone(),
            group: self.requestheader_group_headers.clone(),
            extra_prefix: self.requestheader_extra_headers_prefix.clone(),
        };
        headers.check()?;
        let authority = self.requestheader_client_ca_file.as_ref();
        if authority.is_some() && authority == client_ca_file && headers.allowed_names.is_empty() {
            bail!(
                "--requestheader-client-ca-file and --client-ca-file contain overlapping certificates; \
                 --requestheader-allowed-names must be specified to ensure regular client certificates cannot set \
                 authenticating proxy headers for arbitrary users"
            );
        }
        if self.authentication_config.is_some() && self.oidc.is_set() {
            bail!("authentication-config file and oidc-* flags are mutually exclusive");
        }
        let webhook = self.authentication_token_webhook_config_file.as_ref();
        Ok(AuthenticationConfig {
            file: self.authentication_config.clone(),
            jwt: self.oidc.issuer()?.into_iter().collect(),
            signing_algorithms: self.oidc.oidc_signing_algs.clone(),
            webhook: webhook.map(|kubeconfig| TokenWebhookConfig {
                kubeconfig: kubeconfig.clone(),
                version: self.authentication_token_webhook_version.clone(),
                cache_ttl: self.authentication_token_webhook_cache_ttl,
            }),
            basic_auth_file: self.basic_auth_file.clone(),
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            front_proxy: authority.map(|file| FrontProxy {
                client_ca_file: file.clone(),
                headers,
            }),
        })
    }
    /// The file that says who decides, and that of ABAC's policies, where there are such.
    pub(crate) fn authorization_file(&self) -> Option<(PathBuf, Option<PathBuf>)> {
        let file = self.authorization.authorization_config.clone()?;
        Some((file, self.authorization.authorization_policy_file.clone()))
    }

    /// Who decides what is allowed, in order.
    ///
    /// # Errors
    /// Where the flags contradict each other, or the file cannot be meant.
    pub(crate) fn authorization(&self) -> Result<Vec<AuthorizerConfig>> {
        self.authorization.chain()
    }

    /// Whether requests without credentials are taken, where that was said.
    pub(crate) fn anonymous(&self) -> Option<bool> {
        self.anonymous_auth
    }
}

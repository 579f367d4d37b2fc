//! Flags of the apiserver about who is let in and who may do what, as kube-apiserver's.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgAction, Args};
use coracle_apiserver::authn::FrontProxyHeaders;
use coracle_apiserver::config::{AuthenticationConfig, FrontProxy};

/// Who is let in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Access {
    /// Whether requests without credentials are taken
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true,
        default_value_t = true, default_missing_value = "true")]
    pub(crate) anonymous_auth: bool,
    /// In whose name service account tokens are issued; the URL of the Service kubernetes by default
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) service_account_issuer: String,
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
        Ok(AuthenticationConfig {
            basic_auth_file: self.basic_auth_file.clone(),
            bootstrap_tokens: self.enable_bootstrap_token_auth,
            front_proxy: authority.map(|file| FrontProxy {
                client_ca_file: file.clone(),
                headers,
            }),
        })
    }
}

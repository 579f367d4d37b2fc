//! The token controller: secrets of type `kubernetes.io/service-account-token` hold a token of the account that they name, and
//! what its holder needs besides; they go when the account does.
//!
//! Follows upstream's `TokensController`. Such tokens have no end: who can asks for one that has (TokenRequest).

use crate::run::{Context, Informers};
use crate::runtime::{Cache, Change, ObjectKey, Queue, Reconcile, ReconcileError, write};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use std::fmt::{self, Debug, Display};
use std::sync::Arc;
use std::time::Duration;

/// Of the secret: the account's name and uid.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";
const TOKEN: &str = "token";
const NAMESPACE: &str = "namespace";
const CA: &str = "ca.crt";

/// What a token is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOrder {
    /// The namespace of account and secret.
    pub namespace: String,
    /// The secret that holds it.
    pub secret: String,
    /// The account's name.
    pub account: String,
    /// The account's uid.
    pub account_uid: String,
}

/// Signs tokens with the cluster's key.
pub trait TokenSigner: Debug + Send + Sync {
    /// The token, which has no end.
    fn sign(&self, order: &TokenOrder) -> String;
}

pub(crate) struct Tokens {
    client: kube::Client,
    signer: Arc<dyn TokenSigner>,
    root_ca: Option<String>,
    secrets: Arc<Cache<Secret>>,
}

/// A secret, and the account that it named when it was seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TokenKey {
    namespace: String,
    secret: String,
    uid: String,
    account: String,
    /// Empty where the secret does not name it.
    account_uid: String,
}

impl Display for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.secret)
    }
}

impl TokenKey {
    /// None where the secret names no account.
    fn of(secret: &Secret) -> Option<Self> {
        let meta = &secret.metadata;
        let annotation = |name: &str| meta.annotations.as_ref()?.get(name).cloned();
        Some(Self {
            namespace: meta.namespace.clone()?,
            secret: meta.name.clone()?,
            uid: meta.uid.clone()?,
            account: annotation(ACCOUNT).filter(|name| !name.is_empty())?,
            account_uid: annotation(ACCOUNT_UID).unwrap_or_default(),
        })
    }

    fn names(&self, account: &ServiceAccount) -> bool {
        let uid = account.metadata.uid.as_deref().unwrap_or_default();
        self.account_uid.is_empty() || self.account_uid == uid
    }
}

/// Builds the controller and its queue, fed by the informers. None without a key to sign with.
pub(crate) fn start(context: &Context, informers: &Informers) -> Option<(Arc<Tokens>, Arc<Queue<TokenKey>>)> {
    let signer = context.config.token_signer.clone()?;
    let queue = Arc::new(Queue::new());
    let own = queue.clone();
    informers.token_secrets.subscribe(move |change| {
        if let Some(key) = TokenKey::of(change.object()) {
            own.add(key);
        }
    });
    let (own, secrets) = (queue.clone(), informers.token_secrets.cache().clone());
    informers.service_accounts.subscribe(move |change| {
        if let Change::Deleted(account) = change {
            for key in tokens_of(account, &secrets) {
                own.add(key);
            }
        }
    });
    let controller = Tokens {
        client: context.client.clone(),
        signer,
        root_ca: context.config.root_ca.clone(),
        secrets: informers.token_secrets.cache().clone(),
    };
    Some((Arc::new(controller), queue))
}

/// The secrets that an account's tokens are in.
fn tokens_of(account: &ServiceAccount, secrets: &Cache<Secret>) -> Vec<TokenKey> {
    let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
    let secrets = secrets.in_namespace(namespace);
    let keys = secrets.iter().filter_map(|secret| TokenKey::of(secret));
    keys.filter(|key| account.metadata.name.as_ref() == Some(&key.account) && key.names(account))
        .collect()
}

/// The secret with all that it should hold, where it does not hold that.
fn plan(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca: Option<&str>,
    signer: &dyn TokenSigner,
) -> Option<Secret> {
    let held = |key: &str| {
        secret
            .data
            .as_ref()
            .and_then(|data| data.get(key))
            .filter(|value| !value.0.is_empty())
    };
    let authority = root_ca.filter(|ca| held(CA).is_none_or(|held| held.0 != ca.as_bytes()));
    let (named, signed) = (held(NAMESPACE).is_some(), held(TOKEN).is_some());
    if authority.is_none() && named && signed {
        return None;
    }
    let mut wanted = secret.clone();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let namespace = text(&secret.metadata.namespace);
    let data = wanted.data.get_or_insert_default();
    if let Some(authority) = authority {
        data.insert(CA.to_owned(), ByteString(authority.as_bytes().to_vec()));
    }
    if !named {
        data.insert(NAMESPACE.to_owned(), ByteString(namespace.clone().into_bytes()));
    }
    let (name, uid) = (text(&account.metadata.name), text(&account.metadata.uid));
    if !signed {
        let token = signer.sign(&TokenOrder {
            namespace,
            secret: text(&secret.metadata.name),
            account: name.clone(),
            account_uid: uid.clone(),
        });
        data.insert(TOKEN.to_owned(), ByteString(token.into_bytes()));
    }
    let annotations = wanted.metadata.annotations.get_or_insert_default();
    annotations.insert(ACCOUNT.to_owned(), name);
    annotations.insert(ACCOUNT_UID.to_owned(), uid);
    Some(wanted)
}

/// The account without its reference to a secret, where it has one.
fn without_reference(account: &ServiceAccount, secret: &str) -> Option<ServiceAccount> {
    let is_it = |name: &Option<String>| name.as_deref() == Some(secret);
    let listed = account.secrets.as_ref()?;
    if !listed.iter().any(|reference| is_it(&reference.name)) {
        return None;
    }
    let mut wanted = account.clone();
    if let Some(listed) = &mut wanted.secrets {
        listed.retain(|reference| !is_it(&reference.name));
    }
    Some(wanted)
}

impl Tokens {
    async fn account(&self, key: &TokenKey) -> Result<Option<ServiceAccount>, ReconcileError> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = accounts.get_opt(&key.account).await;
        let found = found.map_err(ReconcileError::request(format!(
            "looking for the account of {key}"
        )))?;
        Ok(found.filter(|account| key.names(account)))
    }

    async fn fill(&self, key: &TokenKey, account: &ServiceAccount) -> Result<(), ReconcileError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let found = secrets.get_opt(&key.secret).await;
        let found = found.map_err(ReconcileError::request(format!("reading {key}")))?;
        let is_same = |secret: &Secret| secret.metadata.uid.as_deref() == Some(&*key.uid);
        let Some(secret) = found.filter(is_same) else {
            return Ok(());
        };
        let Some(wanted) = plan(&secret, account, self.root_ca.as_deref(), &*self.signer) else {
            return Ok(());
        };
        match secrets
            .replace(&key.secret, &PostParams::default(), &wanted)
            .await
        {
            Ok(_) => Ok(()),
            // It changed or went meanwhile, which is told.
            Err(error) if write::is_conflict(&error) || write::is_gone(&error) => Ok(()),
            Err(error) => Err(ReconcileError::request(format!("filling {key}"))(error)),
        }
    }

    async fn delete(&self, key: &TokenKey) -> Result<(), ReconcileError> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        let params = DeleteParams::default().preconditions(Preconditions {
            uid: Some(key.uid.clone()),
            ..Preconditions::default()
        });
        match secrets.delete(&key.secret, &params).await {
            Ok(_) => Ok(()),
            Err(error) if write::is_conflict(&error) || write::is_gone(&error) => Ok(()),
            Err(error) => Err(ReconcileError::request(format!("deleting {key}"))(error)),
        }
    }

    async fn forget(&self, key: &TokenKey, account: &ServiceAccount) -> Result<(), ReconcileError> {
        let Some(wanted) = without_reference(account, &key.secret) else {
            return Ok(());
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), &key.namespace);
        match accounts
            .replace(&key.account, &PostParams::default(), &wanted)
            .await
        {
            Ok(_) => Ok(()),
            Err(error) if write::is_gone(&error) => Ok(()),
            Err(error) => {
                let doing = format!("taking {key} off its account");
                Err(ReconcileError::request(doing)(error))
            }
        }
    }
}

impl Reconcile for Tokens {
    type Key = TokenKey;

    async fn reconcile(&self, key: &TokenKey) -> Result<Option<Duration>, ReconcileError> {
        let seen = self.secrets.get(&ObjectKey::new(&key.namespace, &key.secret));
        let there = seen.is_some_and(|secret| secret.metadata.uid.as_deref() == Some(&*key.uid));
        match (there, self.account(key).await?) {
            (true, Some(account)) => self.fill(key, &account).await?,
            (true, None) => self.delete(key).await?,
            (false, Some(account)) => self.forget(key, &account).await?,
            (false, None) => {}
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Debug)]
    struct Stamp;

    impl TokenSigner for Stamp {
        fn sign(&self, order: &TokenOrder) -> String {
            let TokenOrder {
                namespace,
                secret,
                account,
                account_uid,
            } = order;
            format!("{namespace}/{secret} of {account} ({account_uid})")
        }
    }

    fn secret(data: Value) -> Secret {
        let secret = json!({"metadata": {"namespace": "a", "name": "bot-token", "uid": "s1", "annotations": {ACCOUNT: "bot"}},
            "type": "kubernetes.io/service-account-token", "data": data});
        serde_json::from_value(secret).unwrap()
    }

    fn account(secrets: Value) -> ServiceAccount {
        let account = json!({"metadata": {"namespace": "a", "name": "bot", "uid": "u1"}, "secrets": secrets});
        serde_json::from_value(account).unwrap()
    }

    fn filled(from: &Secret, root_ca: Option<&str>) -> Option<Secret> {
        plan(from, &account(json!([])), root_ca, &Stamp)
    }

    #[test]
    fn what_is_missing_is_filled_in_and_nothing_else() {
        let made = filled(&secret(json!({"extra": "eA=="})), Some("PEM")).unwrap();
        let data = made.data.as_ref().unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        assert_eq!(text(TOKEN), "a/bot-token of bot (u1)");
        assert_eq!(
            (text(NAMESPACE), text(CA), text("extra")),
            ("a".to_owned(), "PEM".to_owned(), "x".to_owned())
        );
        assert_eq!(made.metadata.annotations.as_ref().unwrap()[ACCOUNT_UID], "u1");
        assert_eq!(filled(&made, Some("PEM")), None);
        // The authority may change; the token stays, for it is in use.
        let renewed = filled(&made, Some("NEW")).unwrap();
        assert_eq!(renewed.data.as_ref().unwrap()[CA].0, b"NEW");
        assert_eq!(renewed.data.unwrap()[TOKEN], data[TOKEN]);
        assert_eq!(filled(&made, None), None);
    }

    #[test]
    fn a_secret_belongs_to_the_account_that_it_names() {
        let mut named = secret(json!({}));
        let key = TokenKey::of(&named).unwrap();
        assert!(key.names(&account(json!([]))));
        let annotations = named.metadata.annotations.as_mut().unwrap();
        annotations.insert(ACCOUNT_UID.to_owned(), "another".to_owned());
        assert!(!TokenKey::of(&named).unwrap().names(&account(json!([]))));
        named.metadata.annotations = None;
        assert_eq!(TokenKey::of(&named), None);
    }

    #[test]
    fn references_to_a_secret_that_is_gone_are_taken_away() {
        let both = account(json!([{"name": "bot-token"}, {"name": "other"}]));
        let left = without_reference(&both, "bot-token").unwrap();
        assert_eq!(left, account(json!([{"name": "other"}])));
        assert_eq!(without_reference(&left, "bot-token"), None);
    }
}

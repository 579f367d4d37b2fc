//! Clients for controllers that run as a process of their own: from a kubeconfig, with a token of each controller's service
//! account that is renewed in time (upstream's `--use-service-account-credentials`).

use crate::clients::{ClientError, ClientFactory};
use async_trait::async_trait;
use http::header::{AUTHORIZATION, HeaderValue};
use http::{Request, Response};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::client::{Body, ClientBuilder};
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service};

const NAMESPACE: &str = "kube-system";
/// How long a token is asked to last.
const LIFETIME_SECONDS: i64 = 3600;
/// The pause before a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// Makes clients from one kubeconfig, whose user may request tokens for the controllers' service accounts.
pub struct KubeconfigClients {
    config: kube::Config,
    process: kube::Client,
    renewals: TaskTracker,
    shutdown: CancellationToken,
}

impl KubeconfigClients {
    /// Clients for the cluster of `config`, whose tokens are asked for by a client of the process itself. Renewals end with the
    /// token.
    pub fn new(config: kube::Config, process: kube::Client, shutdown: CancellationToken) -> Self {
        Self {
            config,
            process,
            renewals: TaskTracker::new(),
            shutdown,
        }
    }

    /// Waits until no renewal runs any more; they end with the token given at the start.
    pub async fn finished(&self) {
        self.renewals.close();
        self.renewals.wait().await;
    }

    /// A service account must be there before it can have tokens.
    async fn ensure_account(&self, controller: &str) -> Result<(), kube::Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.process.clone(), NAMESPACE);
        if accounts.get_opt(controller).await?.is_some() {
            return Ok(());
        }
        let mut account = ServiceAccount::default();
        account.metadata.name = Some(controller.to_owned());
        match accounts.create(&PostParams::default(), &account).await {
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            other => other.map(drop),
        }
    }
}

#[async_trait]
impl ClientFactory for KubeconfigClients {
    async fn shared(&self) -> Result<kube::Client, ClientError> {
        Ok(self.process.clone())
    }

    async fn client(&self, controller: &str) -> Result<kube::Client, ClientError> {
        let failed = |source| ClientError::Token {
            controller: controller.to_owned(),
            source: Box::new(source),
        };
        self.ensure_account(controller).await.map_err(failed)?;
        let (header, expires) = request(&self.process, controller).await?;
        let bearer = Bearer {
            header: Arc::new(RwLock::new(header)),
        };
        let mut config = self.config.clone();
        config.auth_info = kube::config::AuthInfo::default();
        let builder = ClientBuilder::try_from(config).map_err(|error| build(controller, error))?;
        let client = builder.with_layer(&bearer).build();
        let renewal = renew(self.process.clone(), controller.to_owned(), bearer, expires);
        let shutdown = self.shutdown.clone();
        self.renewals
            .spawn(async move { shutdown.run_until_cancelled(renewal).await });
        Ok(client)
    }
}

fn build(controller: &str, source: impl std::error::Error + Send + Sync + 'static) -> ClientError {
    ClientError::Build {
        controller: controller.to_owned(),
        source: Box::new(source),
    }
}

/// A token as a header, and when it expires.
async fn request(process: &kube::Client, controller: &str) -> Result<(HeaderValue, Timestamp), ClientError> {
    let accounts: Api<ServiceAccount> = Api::namespaced(process.clone(), NAMESPACE);
    let spec = TokenRequestSpec {
        expiration_seconds: Some(LIFETIME_SECONDS),
        ..TokenRequestSpec::default()
    };
    let request = TokenRequest {
        spec: Some(spec),
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(controller, &PostParams::default(), &request)
        .await;
    let failed = |source| ClientError::Token {
        controller: controller.to_owned(),
        source: Box::new(source),
    };
    let unusable = || ClientError::UnusableToken(controller.to_owned());
    let status = answer.map_err(failed)?.status.ok_or_else(unusable)?;
    let token = status.token.ok_or_else(unusable)?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| unusable())?;
    header.set_sensitive(true);
    Ok((header, status.expiration_timestamp.ok_or_else(unusable)?.0))
}

/// Asks for a new token when four fifths of the old one's time have passed, for as long as it runs.
async fn renew(process: kube::Client, controller: String, bearer: Bearer, mut expires: Timestamp) {
    loop {
        let left = Duration::try_from(expires.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep((left * 4 / 5).max(RETRY)).await;
        match request(&process, &controller).await {
            Ok((header, until)) => {
                *bearer.header.write().expect("no holder of the lock panics") = header;
                expires = until;
            }
            Err(error) => tracing::warn!(controller, %error, "could not renew a service account token"),
        }
    }
}

/// Puts the token of the hour into every request.
#[derive(Clone)]
struct Bearer {
    header: Arc<RwLock<HeaderValue>>,
}

impl<S> Layer<S> for Bearer {
    type Service = WithBearer<S>;

    fn layer(&self, inner: S) -> WithBearer<S> {
        WithBearer {
            inner,
            bearer: self.clone(),
        }
    }
}

#[derive(Clone)]
struct WithBearer<S> {
    inner: S,
    bearer: Bearer,
}

impl<S, B> Service<Request<Body>> for WithBearer<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> S::Future {
        let header = self
            .bearer
            .header
            .read()
            .expect("no holder of the lock panics")
            .clone();
        request.headers_mut().insert(AUTHORIZATION, header);
        self.inner.call(request)
    }
}

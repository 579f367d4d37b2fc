//! `ImagePolicyWebhook`: a service elsewhere says which images may be run (`imagepolicy.k8s.io/v1alpha1` `ImageReview`).
//!
//! What it is asked and what its answer means is pure; asking is [`Remote`]'s. Answers are remembered for a while. That nobody
//! was asked is told to the audit log alone: the annotation that upstream's plugin puts on the pod besides is lost there, for
//! validating plugins are shown a copy of the object.

use std::path::PathBuf;
use std::time::Duration;

use coracle_api::object::Fields;
use coracle_api::status::ApiError;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use super::configuration::only;
use super::{Attributes, Operation};
use crate::outbound::{Expiring, Remote};

pub(super) const NAME: &str = "ImagePolicyWebhook";
/// What its annotations in the audit log begin with.
const AUDIT: &str = "imagepolicywebhook.image-policy.k8s.io/";
const REMEMBERED: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// The plugin, as it was told.
pub(crate) struct ImagePolicy {
    kubeconfig: PathBuf,
    /// The pause after the first failure.
    pause: Duration,
    /// For how long a yes and a no are remembered.
    lives: (Duration, Duration),
    /// Whether images may be run while the service does not answer.
    default_allow: bool,
    /// The service, from when it is first asked.
    remote: OnceCell<Remote>,
    known: Expiring<String, Value>,
}

impl std::fmt::Debug for ImagePolicy {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "ImagePolicy({})", self.kubeconfig.display())
    }
}

impl ImagePolicy {
    /// Reads the configuration.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn new(told: Option<&Value>) -> Result<Self, String> {
        let told = told.ok_or("no config specified")?;
        only(told, &["imagePolicy"], "")?;
        let policy = &told["imagePolicy"];
        let fields = [
            "kubeConfigFile",
            "allowTTL",
            "denyTTL",
            "retryBackoff",
            "defaultAllow",
        ];
        if policy.is_object() {
            only(policy, &fields, "imagePolicy.")?;
        }
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        let time = |name: &str, unit, usual, bounds| duration(policy.number(name), unit, usual, bounds);
        let kubeconfig = PathBuf::from(policy.text("kubeConfigFile"));
        std::fs::metadata(&kubeconfig).map_err(|error| format!("stat {}: {error}", kubeconfig.display()))?;
        let millisecond = Duration::from_millis(1);
        Ok(Self {
            kubeconfig,
            pause: time(
                "retryBackoff",
                millisecond,
                millisecond * 500,
                (Duration::from_nanos(1), 5 * minute),
            )?,
            lives: (
                time("allowTTL", second, 5 * minute, (second, 30 * minute))?,
                time("denyTTL", second, 30 * second, (second, 30 * minute))?,
            ),
            default_allow: policy.flag("defaultAllow"),
            remote: OnceCell::new(),
            known: Expiring::new(REMEMBERED),
        })
    }

    /// Asks about the images of a pod that is written.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) async fn validate(&self, attributes: &Attributes<'_>, pod: &Value) -> Result<(), ApiError> {
        let Some(spec) = asked(attributes, pod) else {
            return Ok(());
        };
        let status = match self.answer(&spec, attributes).await {
            Ok(status) => status,
            Err(why) if self.default_allow => {
                tracing::debug!(why, "images are allowed though nobody was asked");
                attributes.annotate(&format!("{AUDIT}failed-open"), "true");
                return Ok(());
            }
            Err(why) => return Err(attributes.forbidden(&why)),
        };
        for (key, value) in status.entries("auditAnnotations") {
            attributes.annotate(&format!("{AUDIT}{key}"), value.as_str().unwrap_or_default());
        }
        refusal(&status).map_or(Ok(()), |why| Err(attributes.forbidden(&why)))
    }

    async fn answer(&self, spec: &Value, attributes: &Attributes<'_>) -> Result<Value, String> {
        let key = spec.to_string();
        if let Some(status) = self.known.get(&key, attributes.now) {
            return Ok(status);
        }
        let open = async || {
            let remote = Remote::from_kubeconfig(&self.kubeconfig).await;
            let remote = remote.map_err(|error| error.to_string())?;
            Ok::<_, String>(remote.pausing(self.pause))
        };
        let remote = self.remote.get_or_try_init(open).await?;
        let review = json!({
            "kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "metadata": {},
            "spec": spec, "status": {"allowed": false},
        });
        let status = remote.ask(&review, PATIENCE).await?["status"].take();
        let life = if status.flag("allowed") {
            self.lives.0
        } else {
            self.lives.1
        };
        self.known.put(key, status.clone(), life, attributes.now);
        Ok(status)
    }
}

/// A time of the configuration: -1 is none, and 0 the usual one.
fn duration(
    told: Option<i64>,
    unit: Duration,
    usual: Duration,
    (least, most): (Duration, Duration),
) -> Result<Duration, String> {
    match told.unwrap_or(0) {
        -1 => Ok(Duration::ZERO),
        0 => Ok(usual),
        units => {
            let units = u32::try_from(units).unwrap_or(u32::MAX);
            let value = unit.saturating_mul(units);
            if told.is_some_and(|told| told < 0) || value < least || value > most {
                return Err(format!(
                    "valid value is between {least:?} and {most:?}, got {value:?}"
                ));
            }
            Ok(value)
        }
    }
}

/// What the service is asked about a write; none where it is no pod's, or of a part that has no images.
fn asked(attributes: &Attributes<'_>, pod: &Value) -> Option<Value> {
    let is_write = matches!(attributes.operation, Operation::Create | Operation::Update);
    let lists: &[&str] = match attributes.subresource {
        "" => &["containers", "initContainers"],
        "ephemeralcontainers" => &["ephemeralContainers"],
        _ => return None,
    };
    if !is_write || !attributes.is_of("", "pods") {
        return None;
    }
    let containers = lists.iter().flat_map(|list| pod["spec"].items(list));
    let containers: Vec<Value> = containers
        .map(|container| json!({"image": container.text("image")}))
        .collect();
    let annotations = pod["metadata"].entries("annotations");
    let annotations: Map<String, Value> = annotations
        .filter(|(name, _)| name.contains(".image-policy.k8s.io/"))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect();
    let mut spec = json!({"containers": containers, "namespace": attributes.namespace});
    if !annotations.is_empty() {
        spec["annotations"] = Value::Object(annotations);
    }
    Some(spec)
}

/// Why an answer keeps a pod from being written.
fn refusal(status: &Value) -> Option<String> {
    match (status.flag("allowed"), status.text("reason")) {
        (true, _) => None,
        (false, "") => Some("one or more images rejected by webhook backend".to_owned()),
        (false, reason) => Some(format!(
            "image policy webhook backend denied one or more images: {reason}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use coracle_api::resources;
    use http::Response;
    use http_body_util::Full;

    use super::*;
    use crate::admission::tests::attributes;
    use crate::webhook::stand_in::{HookServer, Reply};

    fn pod(image: &str) -> Value {
        json!({"metadata": {"annotations": {"team.image-policy.k8s.io/ticket": "7", "other": "x"}},
            "spec": {"containers": [{"image": image}], "initContainers": [{"image": "init"}],
                "ephemeralContainers": [{"image": "debug"}]}})
    }

    /// Told where the service is, and what to do while it does not answer.
    fn told(folder: &std::path::Path, config: &Value, default_allow: bool) -> Value {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": config["url"], "certificate-authority-data": config["caBundle"]}}],
            "users": [{"name": "c", "user": {}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        });
        let file = folder.join("kubeconfig");
        std::fs::write(&file, kubeconfig.to_string()).unwrap();
        json!({"imagePolicy": {"kubeConfigFile": file, "allowTTL": 60, "denyTTL": -1, "defaultAllow": default_allow}})
    }

    #[tokio::test]
    async fn images_are_run_that_the_service_allows() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = HookServer::start(|path, _| {
            let status = match path {
                "/no" => json!({"allowed": false, "reason": "not scanned"}),
                _ => json!({"allowed": true}),
            };
            let answer =
                json!({"kind": "ImageReview", "apiVersion": "imagepolicy.k8s.io/v1alpha1", "status": status});
            Reply::Raw(Response::new(Full::new(Bytes::from(answer.to_string()))))
        });
        let server = server.await;
        let folder = tempfile::tempdir().unwrap();
        let pods = resources::find("", "v1", "pods").unwrap();
        let create = attributes(Operation::Create, pods);
        let policy = |path: &str| {
            let told = told(folder.path(), &server.client_config(path), false);
            ImagePolicy::new(Some(&told)).unwrap()
        };
        let yes = policy("/yes");
        yes.validate(&create, &pod("a")).await.unwrap();
        yes.validate(&create, &pod("a")).await.unwrap();
        let calls = server.take_calls();
        assert_eq!(calls.len(), 1, "a yes is remembered");
        assert_eq!(
            calls[0].1["spec"],
            json!({"containers": [{"image": "a"}, {"image": "init"}], "namespace": "",
                "annotations": {"team.image-policy.k8s.io/ticket": "7"}})
        );
        let no = policy("/no");
        let refused = no.validate(&create, &pod("a")).await.unwrap_err();
        let why = "image policy webhook backend denied one or more images: not scanned";
        assert!(refused.message().ends_with(why), "{}", refused.message());
        let mut part = create;
        part.subresource = "status";
        no.validate(&part, &pod("a")).await.unwrap();
    }

    #[tokio::test]
    async fn while_nobody_answers_the_configuration_decides() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        // Nobody listens there.
        let nowhere = json!({"url": "https://127.0.0.1:1/"});
        let pods = resources::find("", "v1", "pods").unwrap();
        let create = attributes(Operation::Create, pods);
        for allowed in [true, false] {
            let policy = ImagePolicy::new(Some(&told(folder.path(), &nowhere, allowed))).unwrap();
            assert_eq!(policy.validate(&create, &pod("a")).await.is_ok(), allowed);
        }
    }

    #[test]
    fn times_have_bounds() {
        let second = Duration::from_secs(1);
        let time = |told| duration(Some(told), second, 9 * second, (second, 20 * second));
        assert_eq!(
            (time(0), time(-1), time(5)),
            (Ok(9 * second), Ok(Duration::ZERO), Ok(5 * second))
        );
        assert!(time(21).is_err() && time(-2).is_err());
        assert!(ImagePolicy::new(None).is_err());
    }
}

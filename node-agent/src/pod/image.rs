//! Having a container's image, by its pull policy.

use k8s_openapi::api::core::v1::{Container, ObjectReference, Secret};

use super::context::Context;
use super::pull_secrets::logins;
use crate::clock;
use crate::cri::ImageInfo;
use crate::events::Severity;

/// Why a container has no image, as its waiting state words it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageFault {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// An image that a container or a volume asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) image: &'a str,
    /// The pull policy, where one is given.
    pub(super) policy: Option<&'a str>,
}

impl<'a> Wanted<'a> {
    pub(super) fn of(container: &'a Container) -> Self {
        Self {
            image: container.image.as_deref().unwrap_or_default(),
            policy: container.image_pull_policy.as_deref(),
        }
    }
}

/// The pull policy, by default `Always` for `:latest` or no tag, else `IfNotPresent`. Pure.
fn policy<'a>(wanted: &Wanted<'a>) -> &'a str {
    if let Some(policy) = wanted.policy {
        return policy;
    }
    let image = wanted.image;
    let name = image.rsplit('/').next().unwrap_or(image);
    let latest = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    if latest { "Always" } else { "IfNotPresent" }
}

/// The name with its registry and tag, as the runtime knows it. Pure.
pub(super) fn normalized(image: &str) -> String {
    let (name, suffix) = match image.split_once('@') {
        Some((name, digest)) => (name, format!("@{digest}")),
        None => (image, String::new()),
    };
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let registry = first.contains(['.', ':']) || first == "localhost";
    let full = match (registry, first) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{name}"),
    };
    let last = full.rsplit('/').next().unwrap_or_default();
    let tagged = last.contains(':') || !suffix.is_empty();
    if tagged { full + &suffix } else { full + ":latest" }
}

/// Finds or fetches the image and tells events of it.
pub(super) async fn ensure(
    context: &Context,
    wanted: &Wanted<'_>,
    object: &ObjectReference,
    pull_secrets: &[Secret],
) -> Result<ImageInfo, ImageFault> {
    let image = wanted.image;
    let name = normalized(image);
    let inspect = |e: crate::cri::CriError| ImageFault {
        reason: "ImageInspectError",
        message: e.message(),
    };
    let present = context.cri.image(&name).await.map_err(inspect)?;
    let event = |severity, reason, message: String| {
        context.recorder.record(object.clone(), severity, reason, message)
    };
    match (policy(wanted), present) {
        ("IfNotPresent" | "Never", Some(info)) => {
            event(
                Severity::Normal,
                "Pulled",
                format!("Container image \"{image}\" already present on machine"),
            );
            Ok(info)
        }
        ("Never", None) => {
            let message = format!("Container image \"{image}\" is not present with pull policy of Never");
            event(Severity::Warning, "ErrImageNeverPull", message.clone());
            Err(ImageFault {
                reason: "ErrImageNeverPull",
                message,
            })
        }
        _ => pull(context, image, &name, object, pull_secrets).await,
    }
}

async fn pull(
    context: &Context,
    image: &str,
    name: &str,
    object: &ObjectReference,
    pull_secrets: &[Secret],
) -> Result<ImageInfo, ImageFault> {
    let event = |severity, reason, message: String| {
        context.recorder.record(object.clone(), severity, reason, message)
    };
    event(Severity::Normal, "Pulling", format!("Pulling image \"{image}\""));
    let asked = clock::now();
    let slot = context.slots.pulls.acquire().await;
    let begun = clock::now();
    let mut logins = logins(name, pull_secrets)
        .into_iter()
        .map(Some)
        .collect::<Vec<_>>();
    if logins.is_empty() {
        logins.push(None);
    }
    let mut result = Err(String::new());
    for login in logins {
        result = context.cri.pull(name, login).await.map_err(|e| e.message());
        if result.is_ok() {
            break;
        }
    }
    drop(slot);
    if let Err(fault) = result {
        event(
            Severity::Warning,
            "Failed",
            format!("Failed to pull image \"{image}\": {fault}"),
        );
        event(Severity::Warning, "Failed", "Error: ErrImagePull".into());
        return Err(ImageFault {
            reason: "ErrImagePull",
            message: fault,
        });
    }
    let info = match context.cri.image(name).await {
        Ok(Some(info)) => info,
        Ok(None) => {
            return Err(ImageFault {
                reason: "ErrImagePull",
                message: "image vanished after its pull".into(),
            });
        }
        Err(e) => {
            return Err(ImageFault {
                reason: "ImageInspectError",
                message: e.message(),
            });
        }
    };
    let seconds = |since: jiff::Timestamp| clock::now().duration_since(since).as_millis() as f64 / 1000.0;
    let (took, waited) = (seconds(begun), seconds(asked));
    let message = format!(
        "Successfully pulled image \"{image}\" in {took}s ({waited}s including waiting). Image size: {} bytes.",
        info.size
    );
    event(Severity::Normal, "Pulled", message);
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed() {
        for (image, want) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:1", "docker.io/library/busybox:1"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost/a:1", "localhost/a:1"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
            ("host:5000/a", "host:5000/a:latest"),
            ("a@sha256:0", "docker.io/library/a@sha256:0"),
        ] {
            assert_eq!(normalized(image), want);
        }
    }

    #[test]
    fn policies_by_tag() {
        for (image, want) in [
            ("a", "Always"),
            ("a:latest", "Always"),
            ("a:1", "IfNotPresent"),
            ("h:5000/a", "Always"),
            ("a@sha256:0", "IfNotPresent"),
        ] {
            assert_eq!(policy(&Wanted { image, policy: None }), want, "{image}");
        }
    }
}

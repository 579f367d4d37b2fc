//! Images in the runtime: looking, pulling, listing.

use std::time::Duration;

use k8s_cri::v1 as cri;

use super::{Cri, CriError, SHORT, timed};
use crate::spec::security::ImageUser;

/// Upstream sets none; this only ends a pull that hangs for ever.
const PULL: Duration = Duration::from_secs(30 * 60);

/// An image that the runtime has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ImageInfo {
    pub(crate) id: String,
    /// Tags and digests.
    pub(crate) names: Vec<String>,
    pub(crate) size: u64,
    pub(crate) user: ImageUser,
}

fn spec(image: &str) -> Option<cri::ImageSpec> {
    Some(cri::ImageSpec {
        image: image.into(),
        ..cri::ImageSpec::default()
    })
}

fn info(image: cri::Image) -> ImageInfo {
    let names = image.repo_digests.into_iter().chain(image.repo_tags).collect();
    let user = ImageUser {
        uid: image.uid.map(|u| u.value),
        name: image.username,
    };
    ImageInfo {
        id: image.id,
        names,
        size: image.size,
        user,
    }
}

impl Cri {
    /// The image of this name, if it is there.
    pub(crate) async fn image(&self, image: &str) -> Result<Option<ImageInfo>, CriError> {
        let request = timed(
            cri::ImageStatusRequest {
                image: spec(image),
                verbose: false,
            },
            SHORT,
        );
        let answer = self
            .images
            .clone()
            .image_status(request)
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().image.map(info))
    }

    /// Fetches an image; `auth` is who to be at the registry.
    pub(crate) async fn pull(&self, image: &str, auth: Option<cri::AuthConfig>) -> Result<String, CriError> {
        let request = cri::PullImageRequest {
            image: spec(image),
            auth,
            sandbox_config: None,
        };
        let answer = self
            .images
            .clone()
            .pull_image(timed(request, PULL))
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().image_ref)
    }

    pub(crate) async fn list_images(&self) -> Result<Vec<ImageInfo>, CriError> {
        let request = timed(cri::ListImagesRequest { filter: None }, SHORT);
        let answer = self
            .images
            .clone()
            .list_images(request)
            .await
            .map_err(|s| self.fault(s))?;
        Ok(answer.into_inner().images.into_iter().map(info).collect())
    }
}

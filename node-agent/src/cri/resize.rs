//! Changing the resources of running containers.

use k8s_cri::v1 as cri;

use super::{Cri, CriError, SHORT, timed};

impl Cri {
    /// Gives a container other limits while it runs.
    pub(crate) async fn update_resources(
        &self,
        id: &str,
        limits: cri::LinuxContainerResources,
    ) -> Result<(), CriError> {
        let request = cri::UpdateContainerResourcesRequest {
            container_id: id.into(),
            linux: Some(limits),
            ..cri::UpdateContainerResourcesRequest::default()
        };
        self.runtime
            .clone()
            .update_container_resources(timed(request, SHORT))
            .await
            .map(drop)
            .map_err(|s| self.fault(s))
    }
}

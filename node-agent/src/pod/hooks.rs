//! postStart and preStop handlers.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use crate::cri::Cri;
use crate::probe::{HttpTarget, http_get, resolve_port, tcp_connect};

/// Longest time for a hook that nothing else limits.
const UNLIMITED: Duration = Duration::from_secs(24 * 3600);

/// Runs a handler to its end; the error says what went wrong.
pub(super) async fn run(
    cri: &Cri,
    handler: &LifecycleHandler,
    container: &Container,
    container_id: &str,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(exec) = &handler.exec {
        let command = exec.command.as_deref().unwrap_or_default();
        let done = cri
            .exec_sync(container_id, command, UNLIMITED)
            .await
            .map_err(|e| e.message())?;
        return match done.exit_code {
            0 => Ok(()),
            code => Err(format!(
                "command '{}' exited with {code}: {}",
                command.join(" "),
                done.output
            )),
        };
    }
    if let Some(action) = &handler.http_get {
        let target = HttpTarget::of(action, container, pod_ip)?;
        // Whoever answers has heard of it: unlike a probe, a hook does not look at what is answered.
        return http_get(&target).await.map(drop);
    }
    if let Some(action) = &handler.tcp_socket {
        let port = resolve_port(&action.port, container)?;
        return tcp_connect(action.host.as_deref().unwrap_or(pod_ip), port).await;
    }
    if let Some(action) = &handler.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(action.seconds).unwrap_or(0))).await;
    }
    Ok(())
}

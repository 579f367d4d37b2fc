//! What all workers of a node share.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Allocations;
use crate::api_cache::ApiCache;
use crate::cgroup::Cgroups;
use crate::config::Config;
use crate::cri::Cri;
use crate::events::Recorder;
use crate::plan::NodeView;
use crate::spec::dns::Resolver;

/// Sizes and limits of the machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) memory_bytes: i64,
    pub(crate) milli_cpu: i64,
    /// The lowest OOM score that this process may give away; 0 without CAP_SYS_RESOURCE.
    pub(crate) min_oom_score_adj: i64,
}

/// How much may go on at once on the whole node.
#[derive(Clone)]
pub(crate) struct Slots {
    pub(crate) sandboxes: Arc<Semaphore>,
    pub(crate) containers: Arc<Semaphore>,
    pub(crate) pulls: Arc<Semaphore>,
    pub(crate) probes: Arc<Semaphore>,
    pub(crate) api_writes: Arc<Semaphore>,
}

impl Default for Slots {
    fn default() -> Self {
        let slots = |n| Arc::new(Semaphore::new(n));
        Self {
            sandboxes: slots(10),
            containers: slots(10),
            pulls: slots(4),
            probes: slots(64),
            api_writes: slots(16),
        }
    }
}

/// The surroundings of every pod.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) client: kube::Client,
    pub(crate) cri: Cri,
    pub(crate) cache: ApiCache,
    pub(crate) recorder: Recorder,
    pub(crate) cgroups: Cgroups,
    pub(crate) node: NodeView,
    /// The node as the API had it last; without a name before that.
    pub(crate) node_object: watch::Receiver<Node>,
    pub(crate) machine: Machine,
    pub(crate) allocations: Allocations,
    pub(crate) resolver: Resolver,
    pub(crate) slots: Slots,
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
}

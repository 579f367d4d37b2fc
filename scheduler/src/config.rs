//! What the scheduler is told at start.

use std::time::Duration;

/// What the scheduler is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pods whose `spec.schedulerName` is this are scheduled.
    pub scheduler_name: String,
    /// Tells this process from others: the host name, usually.
    pub identity: String,
    /// Bindings under way at once, at most.
    pub most_bindings: usize,
    /// How leadership is won, where several processes stand by. None where there is only one.
    pub leader_election: Option<LeaderElection>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
            identity: "coracle".to_owned(),
            most_bindings: 64,
            leader_election: None,
        }
    }
}

/// Which Lease is held and for how long (`--leader-elect-*`).
#[derive(Clone, Debug)]
pub struct LeaderElection {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who holds it; unique per process.
    pub identity: String,
    /// How long others wait after the last renewal before they take over.
    pub lease_duration: Duration,
    /// How long the holder tries to renew before it gives up; less than `lease_duration`.
    pub renew_deadline: Duration,
    /// The pause between tries.
    pub retry_period: Duration,
}

impl LeaderElection {
    /// Upstream's namespace and times: 15 s, 10 s, 2 s.
    #[must_use]
    pub fn new(name: &str, identity: &str) -> Self {
        Self {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            identity: identity.to_owned(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }
}

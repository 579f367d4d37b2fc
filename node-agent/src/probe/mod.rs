//! Startup, liveness and readiness probes: a pure state machine per probe and the shell that sends them.

mod run;
mod state;

use std::collections::BTreeMap;

pub(crate) use run::{HttpTarget, ProbeReport, ProbeTarget, Probes, http_get, resolve_port, tcp_connect};
pub(crate) use state::{Kind, Outcome, Verdict};

/// What probes have found, by container id; a container without an entry was not probed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProbeResults {
    verdicts: BTreeMap<(String, Kind), Verdict>,
}

impl ProbeResults {
    pub(crate) fn get(&self, container_id: &str, kind: Kind) -> Option<Verdict> {
        self.verdicts.get(&(container_id.to_owned(), kind)).copied()
    }

    /// Notes a verdict and says whether it is news.
    pub(crate) fn set(&mut self, container_id: &str, kind: Kind, verdict: Verdict) -> bool {
        self.verdicts.insert((container_id.to_owned(), kind), verdict) != Some(verdict)
    }

    /// Forgets containers that are gone.
    pub(crate) fn retain(&mut self, alive: impl Fn(&str) -> bool) {
        self.verdicts.retain(|(id, _), _| alive(id));
    }
}

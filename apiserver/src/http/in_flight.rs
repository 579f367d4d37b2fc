//! What a request holds on to while it is answered, and how many are answered at once where priority and fairness is off:
//! reads and writes apart, as `--max-requests-inflight` and `--max-mutating-requests-inflight` say. Streams and members of
//! `system:masters` are counted but never turned away.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::flow_control::{Place, Watching};
use crate::metrics::{InFlightGauge, Metrics};
use crate::request::RequestInfo;

pub(super) struct InFlight {
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// There is no room; the sender may ask again in a moment.
#[derive(Debug)]
pub(super) struct TooMany;

/// A request's place, given back when it is dropped.
pub(super) struct Ticket {
    _permit: Option<OwnedSemaphorePermit>,
    _gauge: Option<InFlightGauge>,
    _place: Option<Place>,
    _watching: Option<Watching>,
}

impl Ticket {
    /// Also holds on to a place, and to the count of a watch.
    pub(super) fn with(self, place: Option<Place>, watching: Option<Watching>) -> Self {
        Self {
            _place: place,
            _watching: watching,
            ..self
        }
    }
}

impl InFlight {
    pub(super) fn new(reads: usize, writes: usize, metrics: Arc<Metrics>) -> Self {
        Self {
            reads: Arc::new(Semaphore::new(reads)),
            writes: Arc::new(Semaphore::new(writes)),
            metrics,
        }
    }

    pub(super) fn enter(&self, info: &RequestInfo) -> Result<Ticket, TooMany> {
        let reads = is_read(info);
        let semaphore = if reads { &self.reads } else { &self.writes };
        let permit = semaphore.clone().try_acquire_owned().map_err(|_| TooMany)?;
        Ok(Ticket {
            _permit: Some(permit),
            _gauge: Some(self.metrics.in_flight(reads)),
            _place: None,
            _watching: None,
        })
    }

    pub(super) fn count_only(&self, info: &RequestInfo, streams: bool) -> Ticket {
        let gauge = if streams {
            self.metrics.long_running(info)
        } else {
            self.metrics.in_flight(is_read(info))
        };
        Ticket {
            _permit: None,
            _gauge: Some(gauge),
            _place: None,
            _watching: None,
        }
    }
}

fn is_read(info: &RequestInfo) -> bool {
    matches!(info.verb.as_str(), "get" | "list" | "watch" | "head")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_have_room_of_their_own() {
        let verb = |verb: &str| RequestInfo {
            verb: verb.to_owned(),
            ..RequestInfo::default()
        };
        let in_flight = InFlight::new(1, 1, Arc::new(Metrics::new()));
        let read = in_flight.enter(&verb("get"));
        assert!(read.is_ok());
        assert!(in_flight.enter(&verb("list")).is_err());
        assert!(
            in_flight.enter(&verb("create")).is_ok(),
            "writes do not wait for reads"
        );
        drop(read);
        assert!(in_flight.enter(&verb("list")).is_ok());
    }
}

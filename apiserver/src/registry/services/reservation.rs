//! What writes under way are about to take, kept aside until they are done.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a service holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
}

impl Holdings {
    pub(super) fn without(self, others: &Self) -> Self {
        let Self {
            mut addresses,
            mut ports,
        } = self;
        addresses.retain(|address| !others.addresses.contains(address));
        ports.retain(|port| !others.ports.contains(port));
        Self { addresses, ports }
    }
}

/// What is held though nothing that is stored says so.
#[derive(Debug, Default)]
pub(super) struct Aside {
    pub addresses: BTreeSet<IpAddr>,
    pub ports: BTreeSet<u16>,
}

impl Aside {
    fn remove(&mut self, holdings: &Holdings) {
        for address in &holdings.addresses {
            self.addresses.remove(address);
        }
        for port in &holdings.ports {
            self.ports.remove(port);
        }
    }
}

/// See [`Aside`]; what is stored is not here.
#[derive(Debug, Default)]
pub(super) struct State {
    /// What writes under way are about to take.
    pub pending: Aside,
    /// What stored services had at the start and of which nothing said so, until it is put right.
    pub unlisted: Aside,
}

impl State {
    pub(super) fn with_unlisted(addresses: BTreeSet<IpAddr>, ports: BTreeSet<u16>) -> Self {
        Self {
            pending: Aside::default(),
            unlisted: Aside { addresses, ports },
        }
    }

    pub(super) fn give_back(&mut self, holdings: &Holdings) {
        self.pending.remove(holdings);
    }

    pub(super) fn forget(&mut self, holdings: &Holdings) {
        self.unlisted.remove(holdings);
    }
}

pub(super) fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a write under way has taken, and what it will give back.
#[derive(Debug, Default)]
pub struct Reservation {
    state: Option<Arc<Mutex<State>>>,
    pub(super) taken: Holdings,
    pub(super) freed: Holdings,
    is_kept: bool,
}

impl Reservation {
    pub(super) fn new(state: Arc<Mutex<State>>, taken: Holdings, freed: Holdings) -> Self {
        Self {
            state: Some(state),
            taken,
            freed,
            is_kept: false,
        }
    }

    /// The write succeeded: what is no longer needed is free.
    pub(in crate::registry) fn keep(mut self) {
        self.is_kept = true;
    }

    /// Whether something is written along with the service that others may write as well.
    pub(in crate::registry) fn shares(&self) -> bool {
        self.taken != Holdings::default() || self.freed != Holdings::default()
    }

    /// The ports that are taken, and those that are given back.
    pub(super) fn ports(&self) -> (&[u16], &[u16]) {
        (&self.taken.ports, &self.freed.ports)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let Some(state) = &self.state else {
            return;
        };
        let mut state = lock(state);
        // What is stored says from here on who has what: the cache shows a write before it is answered.
        state.give_back(&self.taken);
        if self.is_kept {
            state.forget(&self.freed);
        }
    }
}

//! What all controllers share: informers, caches, queues, workers, events, and writes with preconditions.
//!
//! This is the only place in the room that follows watches or keeps time.

pub(crate) mod cache;
pub(crate) mod clock;
pub(crate) mod discovery;
pub(crate) mod events;
pub(crate) mod informer;
pub(crate) mod key;
pub(crate) mod queue;
pub(crate) mod worker;
pub(crate) mod write;

pub(crate) use cache::Cache;
pub(crate) use events::{Note, Recorder};
pub(crate) use informer::{Change, Informer};
pub(crate) use key::ObjectKey;
pub(crate) use queue::Queue;
pub(crate) use worker::{Reconcile, ReconcileError, work};

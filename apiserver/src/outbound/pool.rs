//! Connections that are kept between requests, for places that are reached alike.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use hyper::client::conn::http1::SendRequest;

use super::{Place, Trust};
use crate::request::ResponseBody;

/// How many connections without a request are kept for each place.
const IDLE_MAX: usize = 16;
/// How many places connections are kept for.
const PLACES_MAX: usize = 200;

/// A connection that takes one request at a time.
pub(crate) type Connection = SendRequest<ResponseBody>;
/// Whom a connection leads to, and who vouched for them.
pub(crate) type Reached = (Place, Trust);

/// See the module.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<HashMap<Reached, Vec<Connection>>>,
}

impl Pool {
    /// A kept connection, the one used last first.
    pub(crate) fn take(&self, reached: &Reached) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle.get_mut(reached)?;
        while let Some(connection) = kept.pop() {
            if !connection.is_closed() {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection that has no request, where there is room.
    pub(crate) fn keep(&self, reached: &Reached, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() >= PLACES_MAX && !idle.contains_key(reached) {
            idle.retain(|_, kept| {
                kept.retain(|connection| !connection.is_closed());
                !kept.is_empty()
            });
            if idle.len() >= PLACES_MAX {
                return;
            }
        }
        let kept = idle.entry(reached.clone()).or_default();
        if kept.len() < IDLE_MAX {
            kept.push(connection);
        }
    }
}

//! Who is watching a resource, found through an index of what they select.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::event::{Event, EventType};
use super::ordered::Keyed;
use super::selection::{Scope, Selection};

/// How far a watcher may fall behind before it is cut off.
pub(super) const BACKLOG: usize = 1024;

/// A change, and what it is to the watcher that receives it.
pub(super) type Notice = (EventType, Arc<Event>);

/// The watchers of one resource.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    by_scope: HashMap<Scope, Vec<Watcher>>,
}

#[derive(Debug)]
struct Watcher {
    selection: Arc<Selection>,
    sender: mpsc::Sender<Notice>,
}

impl Watchers {
    /// Adds a watcher. It is told of every change from now on until it drops the receiver, or until it has
    /// [`BACKLOG`] changes waiting: then its channel ends.
    pub(super) fn add(&mut self, selection: Arc<Selection>) -> mpsc::Receiver<Notice> {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        let watchers = self.by_scope.entry(selection.scope()).or_default();
        watchers.retain(|watcher| !watcher.sender.is_closed());
        watchers.push(Watcher { selection, sender });
        receiver
    }

    /// Tells everybody whom a change concerns. Never waits.
    pub(super) fn notify(&mut self, event: &Arc<Event>) {
        for scope in scopes_of(event) {
            let Some(watchers) = self.by_scope.get_mut(&scope) else {
                continue;
            };
            watchers.retain(|watcher| watcher.notify(event));
            if watchers.is_empty() {
                self.by_scope.remove(&scope);
            }
        }
    }
}

impl Watcher {
    /// False where it is to be forgotten: it went away, or it is too slow.
    fn notify(&self, event: &Arc<Event>) -> bool {
        match event.seen_by(&self.selection) {
            Some(kind) => self.sender.try_send((kind, Arc::clone(event))).is_ok(),
            None => !self.sender.is_closed(),
        }
    }
}

/// Each scope that holds watchers whom the change may concern, once.
fn scopes_of(event: &Event) -> Vec<Scope> {
    let entry = event.entry();
    let mut scopes = vec![Scope::Everything, Scope::Object(entry.key().to_owned())];
    if !entry.namespace().is_empty() {
        scopes.push(Scope::Namespace(entry.namespace().to_owned()));
    }
    for entry in event.previous().into_iter().chain([entry]) {
        let node = entry.field(Scope::NODE_FIELD);
        let scope = Scope::Node(node.to_owned());
        if !node.is_empty() && !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    scopes
}

//! Which dead containers and sandboxes of a pod may go.
//!
//! The newest dead container of each name stays, for its logs and exit code; a sandbox stays as long as a container
//! of it does, and the newest one always.

use std::collections::BTreeSet;

use super::Action;
use crate::runtime::PodRuntime;

/// Removals that free the runtime of what nobody can ask for any more.
pub(super) fn removals(runtime: &PodRuntime) -> Vec<Action> {
    let mut kept_dead = BTreeSet::new();
    let mut actions = Vec::new();
    let mut used_sandboxes = BTreeSet::new();
    for container in &runtime.containers {
        let keep = !container.has_exited() || kept_dead.insert(container.name.as_str());
        if keep {
            used_sandboxes.insert(container.sandbox_id.as_str());
        } else {
            actions.push(Action::RemoveContainer {
                id: container.id.clone(),
                name: container.name.clone(),
            });
        }
    }
    let old = runtime
        .sandboxes
        .iter()
        .skip(1)
        .filter(|s| !s.ready && !used_sandboxes.contains(s.id.as_str()));
    actions.extend(old.map(|s| Action::RemoveSandbox { id: s.id.clone() }));
    actions
}

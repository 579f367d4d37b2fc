//! Doing something for every node of a cluster, side by side.

use std::thread;

use anyhow::{Context, Result};

use super::state::Node;

/// Does the same for each node on a thread of its own, and gives what came out in the nodes' order.
///
/// # Errors
/// The first fault in the nodes' order, once all have ended: nothing goes on behind the caller's back.
pub(crate) fn on_each<T: Send>(
    nodes: &[Node],
    act: impl Fn(usize, &Node) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let act = &act;
    thread::scope(|scope| {
        let running: Vec<_> = nodes
            .iter()
            .enumerate()
            .map(|(index, node)| scope.spawn(move || act(index, node)))
            .collect();
        let ended: Vec<_> = running.into_iter().map(thread::ScopedJoinHandle::join).collect();
        ended
            .into_iter()
            .zip(nodes)
            .map(|(outcome, node)| {
                match outcome {
                    Ok(outcome) => outcome,
                    Err(_) => Err(anyhow::anyhow!("a fault of coracle's own")),
                }
                .with_context(|| node.name.clone())
            })
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    fn nodes(count: usize) -> Vec<Node> {
        let node = |index: usize| Node {
            name: format!("node-{index}"),
            address: [10, 89, 0, 10].into(),
            sandbox: None,
        };
        (0..count).map(node).collect()
    }

    #[test]
    fn all_are_under_way_at_once_and_told_in_order() {
        let barrier = Barrier::new(3);
        let names = on_each(&nodes(3), |index, node| {
            barrier.wait();
            Ok(format!("{index} {}", node.name))
        });
        assert_eq!(names.unwrap(), ["0 node-0", "1 node-1", "2 node-2"]);
    }

    #[test]
    fn a_fault_names_its_node() {
        let outcome = on_each(&nodes(3), |index, _| {
            anyhow::ensure!(index != 1, "no room");
            Ok(())
        });
        assert_eq!(format!("{:#}", outcome.unwrap_err()), "node-1: no room");
    }
}

//! The pods of this node: one worker each, fed by a watch of the API and by what the runtime is seen to hold.

mod allocation;
mod claims;
mod context;
mod directory;
mod hooks;
mod image;
mod operation;
mod pull_secrets;
mod relist;
mod resize;
mod source;
mod start;
mod stop;
mod token;
mod worker;
mod write;

pub(crate) use allocation::Allocations;
pub(crate) use context::{Context, Machine, Slots};
pub(crate) use directory::{Directory, Known};
pub(crate) use relist::RuntimeWatch;

use std::sync::Arc;

/// Starts everything that runs pods.
pub(crate) fn start(context: &Arc<Context>, directory: &Directory) -> RuntimeWatch {
    let runtime = RuntimeWatch::default();
    context
        .tasks
        .spawn(source::follow(context.clone(), directory.clone()));
    context.tasks.spawn(relist::follow(
        context.clone(),
        directory.clone(),
        runtime.clone(),
    ));
    runtime
}

//! The kubelet: runs the pods of one node through a CRI runtime and tells the API what became of them.
//!
//! Deciding and doing are kept apart. Pure modules (`plan`, `probe::state`, `env`, `spec`, `resources`, `volume::content`,
//! `logs::line`, `node::facts`) take pods, observations and the time as arguments and answer with plans and statuses;
//! `cri`, `pod`, `node`, `volume`, `server` and `events` are the shells that observe, act and talk to the API.
//!
//! What always holds: the plan decides and the CRI adapter only does; a container that runs is never restarted because
//! the agent or the API was away; every task belongs to a tracker and ends with the shutdown token.

mod agent;
mod api_cache;
mod cgroup;
mod clock;
mod config;
mod cri;
mod env;
mod events;
mod logs;
mod node;
mod plan;
mod pod;
mod pod_level;
mod probe;
mod resources;
mod routes;
mod runtime;
mod server;
mod spec;
mod volume;

pub use agent::{RunError, run};
pub use config::{Config, Serving};
pub use routes::run_routes;
pub use server::ServerError;

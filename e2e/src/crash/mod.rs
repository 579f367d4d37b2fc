//! Crash tests: an apiserver that is killed again and again under writers, readers and watchers, and a history of what they
//! were told that has to be one that a correct server could have made.
//!
//! | module | what it does |
//! |---|---|
//! | [`history`] | what was asked and answered (pure) |
//! | [`check`] | whether that can be (pure) |
//! | [`observer`] | writes the history down |
//! | [`client`], [`workload`], [`watcher`] | ask and listen |
//! | [`server`], [`ending`] | start, and kill |
//! | [`disk`], [`power`] | a disk that loses what was not synced |
//! | [`campaign`] | one life after the other, from a seed |
//! | [`hostile`] | one life among clients that mean no good |

pub mod campaign;
pub mod check;
pub mod client;
pub mod disk;
pub mod ending;
pub mod history;
pub mod hostile;
pub mod observer;
pub mod power;
pub mod server;
pub mod watcher;
pub mod workload;

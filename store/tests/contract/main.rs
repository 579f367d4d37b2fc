//! The store's contract, held against every backend.
//!
//! `random` compares a backend with the model over random operations; `concurrent`, `watches` and `checkpoints` hold what
//! the model cannot show; `crash`, `failpoints`, `disk` and `damage` do to the durable backend what the world does to it, and `size`
//! watches how much it keeps.

mod backend;
mod checkpoints;
mod concurrent;
mod crash;
mod damage;
mod disk;
#[cfg(feature = "failpoints")]
mod failpoints;
mod history;
mod random;
mod size;
mod watches;

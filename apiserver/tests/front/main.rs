//! The front over real TLS on loopback: who is let in, how refusals look, what bounds there are. What answers behind it is
//! a stand-in, so that only the way there is looked at.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on stops there and says where"
)]

mod access;
mod aggregation;
mod attacks;
mod audit;
mod bad_input;
mod bounds;
mod certificates;
mod credentials;
mod deciders;
mod encryption;
mod fairness;
mod https;
mod in_process;
mod issuers;
mod kubelet;
mod nodes;
mod reviews;
mod stand_in;
mod whole;

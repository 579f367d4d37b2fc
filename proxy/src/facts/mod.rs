//! What the API says, turned into facts that rules are made from. Pure.

pub mod cidr;
pub mod endpoint;
pub mod service;

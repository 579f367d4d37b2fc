//! Custom resources: what a `CustomResourceDefinition` says, and what follows for its objects.
//!
//! [`Definition`] reads a definition's facts; [`naming`], [`approval`] and [`conditions`] decide about its status. What its objects must
//! be like is [`Version`]'s: how they are decoded ([`decode`]), and converted by webhook ([`conversion`]), what a write may not change ([`strategy`]), and whether they
//! are in order ([`validate`]). All of it is pure.

pub mod approval;
pub mod conditions;
pub mod conversion;
pub mod decode;
mod definition;
pub mod naming;
pub mod scale;
pub mod strategy;
pub mod validate;

pub use definition::{Column, Definition, Scale, SelectableField, Version, kube_aware};

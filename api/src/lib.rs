//! What an object is: the type table of Kubernetes 1.36 and all that follows from it. Pure: no IO, no tokio, no clock.

pub mod amounts;
pub mod apply;
pub mod cel;
pub mod codec;
pub mod convert;
pub mod cron;
pub mod custom;
pub mod defaults;
pub mod jsonpath;
pub mod names;
pub mod object;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod quote;
pub mod resources;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod symbols;
pub mod table;
pub mod taints;
pub mod validation;
pub mod warnings;

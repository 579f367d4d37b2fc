//! The Pod Security Standards: what a pod may ask of its node, by level and by version of the standards.
//!
//! [`Policy`] is what a namespace's labels say, [`evaluate`] judges a pod by one level in one version. Levels, versions, rules
//! and wording follow upstream's `pod-security-admission`: each rule knows the versions in which it changed, so that a
//! namespace pinned to an old version is judged as it was then.

mod baseline;
mod check;
mod level;
mod policy;
mod restricted;
mod subject;

pub use check::{Verdict, evaluate};
pub use level::{Level, LevelVersion, Version};
pub use policy::Policy;

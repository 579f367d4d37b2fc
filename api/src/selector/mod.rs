//! Which objects a request asks for: by their labels and by a few of their fields.

pub mod field;
pub mod label;
pub mod node;

pub use field::FieldSelector;
pub use label::LabelSelector;

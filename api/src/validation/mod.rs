//! Whether an object is as its kind's rules want it. Every fault is gathered, with its path, in upstream's words.

pub mod field;

pub use field::{BadValue, ErrorKind, FieldError, FieldErrors, Path};

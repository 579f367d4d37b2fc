//! Attacks that were tried on apiservers before, and what comes of them here: the rows of `docs/security.md` that need a
//! whole server. Each test is named by what must hold.

mod objects;
mod raw;
mod rights;
mod secrets;
mod streams;
mod wire;

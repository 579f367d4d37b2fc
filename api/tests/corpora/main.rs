//! Test data that others publish, when it lies beside the repository: round trips of API objects, JSON patches, pods that
//! Pod Security passes and refuses, CEL's conformance files.
//!
//! Each test prints a line for its corpus, `corpus | cases | passed | what fails`, which `make corpora` shows and collects. A
//! corpus that is not there is said to be absent, and its test passes; with `CORPORA=required` it fails.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]
#![allow(clippy::print_stdout, reason = "the counts are what the tests are run for")]

mod archive;
mod cel;
mod json_patch;
mod outcome;
mod pod_security;
mod round_trips;
mod text_proto;

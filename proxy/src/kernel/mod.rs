//! The kernel's side: programs that are run and settings that are written. No decisions here.

use std::ffi::OsString;

pub mod conntrack;
pub mod iptables;
pub(crate) mod sysctl;

/// Where administrators' programs lie, should `PATH` not say so.
const SYSTEM_PATHS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// `PATH` and, after it, the places where a system keeps such programs.
fn search_path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    if !path.is_empty() {
        path.push(":");
    }
    path.push(SYSTEM_PATHS);
    path
}

//! A local cluster as things on this machine: folders, processes, a bridge, cgroups, and a context in the kubeconfig.
//!
//! Always holds: everything that is started has a name that follows from the cluster's name, or stands in its state file
//! before it is used, so that `down` finds it also after a failure in the middle. [`state`], [`network`] and [`kubeconfig`]
//! decide purely what is to be; the functions that act say so.

pub(crate) mod cgroups;
pub(crate) mod containerd;
pub(crate) mod images;
pub(crate) mod kubeconfig;
pub(crate) mod network;
pub(crate) mod nodes;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod state;

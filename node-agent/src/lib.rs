//! The kubelet: runs the pods of one node.

//! Cluster DNS: services and pods to answers.

//! The cluster's controllers: each a pure plan and a thin shell that acts.

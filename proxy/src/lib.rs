//! Services to kernel rules.

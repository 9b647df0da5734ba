//! What several test suites share. Each uses its part.
#![expect(dead_code, reason = "each suite uses its part")]

pub(crate) mod probe;
pub(crate) mod shim;

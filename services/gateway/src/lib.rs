//! The gateway of a stack: the data plane behind its published ports.

pub mod protocol;

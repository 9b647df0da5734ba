//! Nodes, and what pods ask of them.

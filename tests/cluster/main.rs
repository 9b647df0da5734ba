//! Whole commands against a real Kubernetes control plane, whose nodes are pretended: its
//! API server, scheduler and controllers are what they are everywhere, and no container
//! runs.
//!
//! `SHOPCTL_TEST_KUBECONFIG` names the cluster, `SHOPCTL_TEST_VIEWER` a kubeconfig of
//! somebody who may only read; `tests/run.sh` sets both.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod capacity;
mod deploy;
mod killed;
mod others;
mod release;
mod support;

//! The client of a cluster against a real one, the kubeconfig of which
//! `SHOPCTL_TEST_KUBECONFIG` names. Run with
//! `cargo nextest run --run-ignored all -E 'binary(kubernetes_cluster)'`.

#![cfg(feature = "kubernetes")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

/// Makes tests of cases, which run against the server in memory too.
macro_rules! cases {
    ($($case:ident,)*) => {
        mod cluster {
            $(
                #[tokio::test]
                #[ignore = "needs a cluster"]
                async fn $case() {
                    super::$case(crate::world::World::new().await).await;
                }
            )*
        }
    };
}

mod commands;
mod events;
mod lease;
mod rights;
mod store;
mod world;

use std::path::PathBuf;

use world::World;

impl World {
    /// At the cluster that is there for tests.
    async fn new() -> Self {
        Self::at(kubeconfig(), None).await
    }
}

/// What leads to the cluster for tests.
fn kubeconfig() -> PathBuf {
    let path = std::env::var_os("SHOPCTL_TEST_KUBECONFIG").map(PathBuf::from);
    let path = path.expect(
        "SHOPCTL_TEST_KUBECONFIG names the kubeconfig of a cluster for tests; tests/run.sh sets it",
    );
    assert!(path.is_file(), "no kubeconfig at {}", path.display());
    path
}

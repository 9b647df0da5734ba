//! The client of a cluster against a small server in memory that breaks calls, and the same
//! cases there as at a real one (`kubernetes_cluster`).

#![cfg(feature = "kubernetes")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

/// Makes tests of cases.
macro_rules! cases {
    ($($case:ident,)*) => {
        mod fake {
            $(
                #[tokio::test]
                async fn $case() {
                    super::$case(crate::world::World::new().await).await;
                }
            )*
        }
    };
}

#[path = "../support/cluster.rs"]
#[expect(unreachable_pub, reason = "one module of several test binaries")]
mod cluster;
#[path = "../kubernetes_cluster/events.rs"]
mod events;
mod faults;
#[path = "../kubernetes_cluster/lease.rs"]
mod lease;
#[path = "../kubernetes_cluster/store.rs"]
mod store;
#[path = "../kubernetes_cluster/world.rs"]
#[expect(dead_code, reason = "each test binary uses its own part of this")]
mod world;

use std::sync::Arc;

use cluster::FakeCluster;
use world::World;

impl World {
    /// At a server of its own.
    async fn new() -> Self {
        Self::with_server().await.0
    }

    /// With what breaks its calls.
    async fn with_server() -> (Self, Arc<FakeCluster>) {
        let server = Arc::new(FakeCluster::start());
        let world = Self::at(server.kubeconfig(), Some(Box::new(Arc::clone(&server)))).await;
        (world, server)
    }
}

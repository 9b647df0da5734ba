//! One look.

use super::Cluster;
use crate::backend::Capabilities;
use crate::backend::Observe;
use crate::backend::Pending;
use crate::backend::Query;
use crate::state::observed::ObservedState;

impl Observe for Cluster {
    fn observe<'a>(&'a self, _query: &'a Query) -> Pending<'a, ObservedState> {
        Box::pin(async { Ok(ObservedState::default()) })
    }

    fn reach(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let version = self.client().apiserver_version().await;
            version
                .map(drop)
                .map_err(|error| self.failed("reach the server", error))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { is_cluster: true }
    }
}

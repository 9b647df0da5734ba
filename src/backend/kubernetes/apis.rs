//! Which kinds a cluster serves beyond those that all of them do.

use std::collections::BTreeSet;

/// Counts follow the load.
pub(super) const AUTOSCALING: &str = "autoscaling/v2";
/// How many pods may be away at a time.
pub(super) const POLICY: &str = "policy/v1";
/// Counts follow the clock too.
pub(super) const KEDA: &str = "keda.sh/v1alpha1";
/// Ways into `OpenShift`, which has its own rules for pods too.
pub(super) const ROUTE: &str = "route.openshift.io/v1";
/// What a mesh does with requests.
pub(super) const ISTIO: &str = "networking.istio.io/v1";
/// The same.
pub(super) const CONSUL: &str = "consul.hashicorp.com/v1alpha1";

/// Groups of kinds with their versions, as a cluster names them: `keda.sh/v1alpha1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Apis(BTreeSet<String>);

impl Default for Apis {
    /// Those of a current server, and those of the mesh that the file names: it would not
    /// be named if it were not there.
    fn default() -> Self {
        [AUTOSCALING, POLICY, ISTIO, CONSUL].into_iter().collect()
    }
}

impl<S: Into<String>> FromIterator<S> for Apis {
    fn from_iter<I: IntoIterator<Item = S>>(all: I) -> Self {
        Self(all.into_iter().map(Into::into).collect())
    }
}

impl Apis {
    /// These and KEDA's, which follows the clock too.
    #[must_use]
    pub fn with_keda(mut self) -> Self {
        self.0.insert(KEDA.to_owned());
        self
    }

    /// These and the Routes of `OpenShift`, which say that it is one.
    #[must_use]
    pub fn with_openshift(mut self) -> Self {
        self.0.insert(ROUTE.to_owned());
        self
    }

    /// Whether one is served.
    pub(super) fn has(&self, api: &str) -> bool {
        self.0.contains(api)
    }
}

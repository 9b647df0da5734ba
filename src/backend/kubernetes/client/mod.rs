//! A cluster that is reached: Kubernetes 1.20 and newer, OpenShift among them.
//!
//! It looks and it does single actions; it decides nothing. In reading order:
//!
//! * [`connect`]: which cluster, and the words for what goes wrong there
//! * [`kinds`]: the kinds of objects that a stack becomes, and which of them are served
//! * [`observe`], [`compare`], [`stages`], [`pods`], [`trouble`], [`nodes`], [`quantity`], [`progress`]:
//!   one look
//! * [`apply`], [`retry`], [`rollout`]: one action, and what comes of it
//! * [`space`], [`lease`], [`holding`], [`store`]: the stack's namespace, and the lock and the
//!   records in it
//! * [`inside`], [`logs`], [`usage`]: what goes on in pods
//! * [`one_off`], [`follow`], [`stage`], [`attach`], [`overlap`]: a command in a pod of its own
//! * [`events`], [`whose`]: what happens to all of it
//! * [`rights`]: what we may do
//! * [`images`]: images are built by an engine and pulled by the cluster's nodes
//!
//! `tests/kubernetes_cluster` runs all of it against a real control plane.

mod apply;
mod arrival;
mod attach;
mod compare;
mod connect;
mod events;
mod follow;
mod holding;
mod images;
mod inside;
pub(super) mod kinds;
mod lease;
mod logs;
mod nodes;
mod observe;
mod one_off;
mod overlap;
mod pods;
mod progress;
mod quantity;
mod retry;
mod rights;
mod rollout;
mod space;

mod stages;
mod store;
mod trouble;
mod usage;
mod whose;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::OnceCell;

pub use connect::Settings;

use super::Rendering;
use super::names::dns;
use crate::backend::docker::Docker;

/// Who changes objects, as a cluster notes it down field by field.
const MANAGER: &str = "shopctl";

/// A cluster that answers; clones share the connection.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    /// The connection.
    client: kube::Client,
    /// Name of the kubeconfig's context, for messages.
    context: String,
    /// URL of the server, for messages.
    target: String,
    /// What the server is and serves.
    server: kinds::Server,
    /// Registry of the images that are built.
    registry: String,
    /// The engine that builds.
    engine: crate::backend::docker::Settings,
    /// That, once it was needed.
    docker: OnceCell<Docker>,
    /// Digests of the images that were pushed since, by name.
    pushed: Mutex<BTreeMap<String, String>>,
    /// How long a lock outlives its holder, where it is not the default.
    lease: Option<Duration>,
    /// Version of another's lock, and since when we have seen that.
    lock_seen: Mutex<(String, Duration)>,
    /// Namespace of the stack that was looked at last: pods are named without theirs.
    namespace: Mutex<String>,
}

impl Cluster {
    fn client(&self) -> kube::Client {
        self.inner.client.clone()
    }

    /// Namespace of a stack, which pods are looked for in from now on.
    fn enter(&self, stack: &str) -> String {
        let namespace = dns(stack);
        let known = self.inner.namespace.lock();
        known
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&namespace);
        namespace
    }

    /// Namespace that pods are looked for in.
    fn namespace(&self) -> String {
        let known = self.inner.namespace.lock();
        known.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How a stack is rendered for this cluster.
    fn rendering(&self, digests: BTreeMap<String, String>) -> Rendering {
        Rendering {
            registry: String::new(),
            digests,
            secrets: true,
            apis: self.inner.server.apis(),
        }
    }

    /// Name of the kubeconfig's context, for messages.
    pub fn context(&self) -> &str {
        &self.inner.context
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Cluster({})", self.inner.target)
    }
}

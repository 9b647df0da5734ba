//! Whose an object is that events are about: they name it, and say nothing of its labels.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use futures_util::stream;
use futures_util::stream::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;

use super::Cluster;
use super::kinds::KINDS;
use super::kinds::Kind;
use super::kinds::POD;
use super::observe::PARALLEL;
use super::retry::patiently;
use crate::backend::kubernetes::names;
use crate::backend::kubernetes::names::dns;

/// Kind and name of an object.
pub(super) type Named = (String, String);

/// The objects that events were about so far.
pub(super) struct Whose {
    cluster: Cluster,
    namespace: String,
    /// Services of the file by what they are called there.
    services: BTreeMap<String, String>,
    /// Their service, empty for the stack's own; `None` for what is somebody else's.
    known: BTreeMap<Named, Option<String>>,
}

impl Whose {
    pub(super) fn new(cluster: Cluster, namespace: String, services: &BTreeSet<String>) -> Self {
        let services = services.iter();
        Self {
            cluster,
            namespace,
            services: services.map(|name| (dns(name), name.clone())).collect(),
            known: BTreeMap::new(),
        }
    }

    /// The service of an object that was learnt of.
    pub(super) fn service(&self, object: &Named) -> Option<&str> {
        self.known.get(object)?.as_deref()
    }

    /// Looks at those that are not known yet.
    pub(super) async fn learn(&mut self, objects: impl Iterator<Item = Named>) {
        let new = objects.filter(|object| !self.known.contains_key(object));
        let new: BTreeSet<Named> = new.collect();
        let known = &*self;
        let found: Vec<(Named, Option<String>)> = stream::iter(new)
            .map(async |object| {
                let service = known.look(&object).await;
                (object, service)
            })
            .buffer_unordered(PARALLEL)
            .collect()
            .await;
        self.known.extend(found);
    }

    async fn look(&self, (kind, name): &Named) -> Option<String> {
        // What a Deployment keeps between itself and its pods has its name and a digest.
        let (kind, name) = match (kind.as_str(), name.rsplit_once('-')) {
            ("ReplicaSet", Some((deployment, _))) => ("Deployment", deployment),
            (kind, _) => (kind, name.as_str()),
        };
        let mut kinds = KINDS.into_iter().chain([POD]);
        let Some(kind) = kinds.find(|it| it.name == kind && it.namespaced) else {
            return self.by_name(name);
        };
        match self.labels(kind, name).await {
            Some(labels) => self.by_labels(&labels),
            None => self.by_name(name),
        }
    }

    /// `None` for what is gone, or may not be looked at.
    async fn labels(&self, kind: Kind, name: &str) -> Option<names::Labels> {
        let api = kind.api(self.cluster.client(), &self.namespace);
        let found = patiently(|| api.get_metadata(name)).await.ok()?;
        Some(found.metadata.labels.unwrap_or_default())
    }

    fn by_labels(&self, labels: &names::Labels) -> Option<String> {
        let label = |name: &str| labels.get(name).map(String::as_str);
        let ours = label(names::MANAGED_BY) == Some("shopctl")
            && label(names::PART_OF) == Some(self.namespace.as_str());
        let service = label(names::NAME).or(label(names::RUN_OF));
        let service = service.unwrap_or_default();
        let known = self.services.get(service).map(String::as_str);
        ours.then(|| known.unwrap_or(service).to_owned())
    }

    /// The service that it was called by: as that, or that and something behind it.
    fn by_name(&self, object: &str) -> Option<String> {
        let of = |service: &str| {
            let rest = object.strip_prefix(service)?;
            (rest.is_empty() || rest.starts_with('-')).then_some(service.len())
        };
        let services = self.services.iter();
        // Of two, one of which begins as the other does, it is the longer one's.
        let found = services.filter_map(|(called, name)| Some((of(called)?, name)));
        found.max().map(|(_, name)| name.clone())
    }
}

/// Kind and name of what an event is about.
pub(super) fn named(object: &ObjectReference) -> Named {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    (text(&object.kind), text(&object.name))
}

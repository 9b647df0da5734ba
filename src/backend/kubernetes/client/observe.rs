//! One look: what is in the stack's namespace, what its nodes have, and what the cluster
//! would make of what should be.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use futures_util::stream::StreamExt as _;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use kube::api::ListParams;
use serde_json::Value;

use super::Cluster;
use super::compare;
use super::compare::Comparison;
use super::connect::is_missing;
use super::kinds::Kind;
use super::nodes;
use super::one_off;
use super::pods;
use super::retry::patiently;
use super::stages;
use crate::backend::BackendError;
use crate::backend::Capabilities;
use crate::backend::Observe;
use crate::backend::Pending;
use crate::backend::Query;
use crate::backend::kubernetes;
use crate::backend::kubernetes::Rendered;
use crate::backend::kubernetes::names;
use crate::backend::kubernetes::names::dns;
use crate::state::cluster::ClusterState;
use crate::state::cluster::Left;
use crate::state::cluster::Manifest;
use crate::state::cluster::ObjectRef;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::observed::Engine;
use crate::state::observed::ImageInfo;
use crate::state::observed::Instance;
use crate::state::observed::ObservedState;

/// Questions to the server in flight at a time.
pub(super) const PARALLEL: usize = 16;
/// Objects that are listed at a time.
const PAGE: u32 = 500;

/// All that is in a namespace, by name.
pub(super) type Inventory = BTreeMap<ObjectRef, Value>;

impl Observe for Cluster {
    fn observe<'a>(&'a self, query: &'a Query) -> Pending<'a, ObservedState> {
        Box::pin(self.look(query))
    }

    fn reach(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let version = self.client().apiserver_version().await;
            version
                .map(drop)
                .map_err(|error| self.failed("reach the server", error))
        })
    }

    fn forbidden<'a>(&'a self, stack: &'a str) -> Pending<'a, Vec<String>> {
        Box::pin(self.missing_rights(stack))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { is_cluster: true }
    }
}

impl Cluster {
    async fn look(&self, query: &Query) -> Result<ObservedState, BackendError> {
        let namespace = self.enter(&query.stack);
        let desired = query.desired.as_deref();
        let (exists, mut inventory, (all_nodes, all_pods), store, images) = tokio::try_join!(
            self.namespace_exists(&namespace),
            self.inventory(&namespace),
            self.nodes_and_pods(&namespace, query.foreign),
            self.snapshot(&namespace),
            self.images_of(desired),
        )?;
        let (own, others): (Vec<Pod>, Vec<Pod>) = all_pods
            .into_iter()
            .partition(|pod| pod.metadata.namespace.as_ref() == Some(&namespace));
        let nodes = nodes::nodes(&all_nodes, &own, &others);
        let commands = own.iter().filter(|pod| one_off::is_one_off(pod));
        inventory.extend(commands.map(one_off::listed));
        let mut cluster = ClusterState {
            namespace,
            exists,
            nodes,
            ..ClusterState::default()
        };
        if let Some(desired) = desired {
            let named = images
                .iter()
                .filter(|(_, image)| !image.repo_digests.is_empty());
            let digests = named.map(|(tag, image)| (tag.clone(), image.id.clone()));
            let rendered = kubernetes::render(desired, &self.rendering(digests.collect()));
            self.compare(desired, rendered, &inventory, &mut cluster)
                .await?;
        }
        Ok(ObservedState {
            engine: Engine {
                name: self.context().to_owned(),
                version: self.inner.server.version.clone(),
                ..Engine::default()
            },
            instances: instances(&own, desired),
            images,
            store,
            cluster: Some(cluster),
            ..ObservedState::default()
        })
    }

    /// Whether a namespace is there and stays. Who may not ask is taken to know.
    pub(super) async fn namespace_exists(&self, namespace: &str) -> Result<bool, BackendError> {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client());
        match patiently(|| api.get_opt(namespace)).await {
            Ok(found) => Ok(found.is_some_and(|it| it.metadata.deletion_timestamp.is_none())),
            Err(kube::Error::Api(status)) if status.code == 403 => Ok(true),
            Err(error) => Err(self.failed(format!("look at namespace {namespace}"), error)),
        }
    }

    /// All that is in the namespace of the kinds that a stack may become: one list for each.
    async fn inventory(&self, namespace: &str) -> Result<Inventory, BackendError> {
        let kinds = self.inner.server.kinds().filter(|kind| kind.namespaced);
        let lists = try_join_all(kinds.map(|kind| self.list(kind, namespace))).await?;
        Ok(lists.into_iter().flatten().collect())
    }

    async fn list(
        &self,
        kind: Kind,
        namespace: &str,
    ) -> Result<Vec<(ObjectRef, Value)>, BackendError> {
        let api = kind.api(self.client(), namespace);
        let doing = || format!("list {} in namespace {namespace}", kind.plural);
        let found = match self.pages(&api).await {
            Ok(found) => found,
            // A group that is served need not serve this kind.
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(self.failed(doing(), error)),
        };
        let objects = found.into_iter().filter_map(|one| {
            let mut value = serde_json::to_value(one).ok()?;
            // A list does not repeat for each what all of it are.
            value["apiVersion"] = kind.api_version.into();
            value["kind"] = kind.name.into();
            Some((ObjectRef::of(&value), value))
        });
        Ok(objects.collect())
    }

    async fn pages<K>(&self, api: &Api<K>) -> Result<Vec<K>, kube::Error>
    where
        K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
    {
        let mut params = ListParams::default().limit(PAGE);
        let mut all = Vec::new();
        loop {
            let page = patiently(|| api.list(&params)).await?;
            all.extend(page.items);
            match page.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => params = params.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// All nodes and all pods; where that is forbidden, the pods of the namespace alone.
    async fn nodes_and_pods(
        &self,
        namespace: &str,
        foreign: bool,
    ) -> Result<(Vec<Node>, Vec<Pod>), BackendError> {
        if foreign {
            let nodes: Api<Node> = Api::all(self.client());
            let pods: Api<Pod> = Api::all(self.client());
            let all = tokio::try_join!(self.pages(&nodes), self.pages(&pods));
            match all {
                Ok(all) => return Ok(all),
                Err(kube::Error::Api(status)) if status.code == 403 => {}
                Err(error) => return Err(self.failed("list nodes and pods", error)),
            }
        }
        let pods: Api<Pod> = Api::namespaced(self.client(), namespace);
        let found = self.pages(&pods).await;
        let found = found
            .map_err(|error| self.failed(format!("list pods in namespace {namespace}"), error))?;
        Ok((Vec::new(), found))
    }

    /// Of the images that are built, those that the registry has. Without a registry the
    /// nodes are taken to have them when the engine that builds has.
    async fn images_of(
        &self,
        desired: Option<&DesiredState>,
    ) -> Result<BTreeMap<String, ImageInfo>, BackendError> {
        let mut tags = Vec::new();
        for service in desired.into_iter().flat_map(|it| it.services.values()) {
            if let ImageSource::Build { tag: Some(tag) } = &service.image {
                tags.push(tag.clone());
            }
        }
        let asked = futures_util::stream::iter(tags)
            .map(async |tag| self.pushed(&tag).await.map(|found| (tag, found)))
            .buffered(PARALLEL);
        let found: Vec<Result<(String, Option<ImageInfo>), BackendError>> = asked.collect().await;
        let mut images = BTreeMap::new();
        for one in found {
            let (tag, info) = one?;
            images.extend(info.map(|info| (tag, info)));
        }
        Ok(images)
    }

    /// Holds what should be against what is there.
    async fn compare(
        &self,
        desired: &DesiredState,
        rendered: Rendered,
        inventory: &Inventory,
        cluster: &mut ClusterState,
    ) -> Result<(), BackendError> {
        let told = rendered.findings.into_iter();
        for finding in told.filter(|finding| !finding.elsewhere) {
            let text = format!("{}: {}", finding.key, finding.text);
            if finding.refused {
                let whose = match finding.service.as_str() {
                    "" => String::new(),
                    service => format!("{service}: "),
                };
                cluster.refused.push(format!("{whose}{text}"));
            } else {
                cluster.notes.push((finding.service, text));
            }
        }
        let server = &self.inner.server;
        let mut objects = Vec::new();
        for object in rendered.objects {
            match server.fitted(object) {
                Ok((object, lost)) => {
                    cluster.notes.extend(lost.map(|text| (String::new(), text)));
                    objects.push(object);
                }
                Err(text) => cluster.notes.push((String::new(), text)),
            }
        }
        // What a server lacks was said of the services.
        cluster.tasks = rendered
            .tasks
            .into_iter()
            .filter_map(|mut task| {
                let (mut object, _) = server.fitted(task.manifest.0).ok()?;
                task.digest = compare::stamp(&mut object);
                task.manifest = Manifest(object);
                Some(task)
            })
            .collect();
        cluster.notes.dedup();
        let comparison = Comparison {
            cluster: self,
            desired,
            inventory,
            exists: cluster.exists,
        };
        let wanted = futures_util::stream::iter(objects)
            .map(|object| comparison.wanted(object))
            .buffered(PARALLEL);
        let wanted: Vec<_> = wanted.collect().await;
        cluster.wanted = wanted.into_iter().collect::<Result<_, _>>()?;
        cluster.next = comparison.next(rendered.next, &cluster.wanted).await?;
        cluster.switched = stages::switched(inventory, desired);
        let ours = inventory.iter().filter(|(object, live)| {
            let known = cluster.wanted.iter().any(|one| one.object == **object);
            !known && is_ours(live, desired)
        });
        cluster.left = ours
            .map(|(object, live)| left(object, live, desired))
            .collect();
        Ok(())
    }
}

/// Whether an object is one that we made for the stack, and that goes with it.
pub(super) fn is_ours(live: &Value, desired: &DesiredState) -> bool {
    let label = |name: &str| {
        live["metadata"]["labels"][name]
            .as_str()
            .unwrap_or_default()
    };
    let made =
        label(names::PART_OF) == dns(&desired.stack) && label(names::MANAGED_BY) == "shopctl";
    let leaves = !live["metadata"]["deletionTimestamp"].is_null();
    // What another object has made goes with that, whatever labels it was given.
    let owners = live["metadata"]["ownerReferences"].as_array();
    let owned = owners.is_some_and(|all| !all.is_empty());
    made && !leaves && !owned && label(names::KEEPS).is_empty()
}

fn left(object: &ObjectRef, live: &Value, desired: &DesiredState) -> Left {
    let label = |name: &str| {
        live["metadata"]["labels"][name]
            .as_str()
            .unwrap_or_default()
    };
    let made_at = live["metadata"]["creationTimestamp"].as_str();
    let made_at = made_at.and_then(|text| text.parse::<k8s_openapi::jiff::Timestamp>().ok());
    Left {
        object: object.clone(),
        service: service_of(
            match label(names::RUN_OF) {
                "" => label(names::NAME),
                service => service,
            },
            desired,
        ),
        set: label(names::SET).to_owned(),
        task: !label(names::TASK).is_empty(),
        next: stages::is_next(live),
        made_at: made_at.map_or(0, |at| u64::try_from(at.as_second()).unwrap_or(0)),
        runs: object.kind == "Pod" && !one_off::is_over(live),
    }
}

/// The service that a label names, as the file does; the label where the file knows none.
pub(super) fn service_of(label: &str, desired: &DesiredState) -> String {
    let mut services = desired.services.keys();
    let known = services.find(|service| dns(service) == label);
    known.map_or_else(|| label.to_owned(), Clone::clone)
}

/// The pods of the stack, numbered by service in the order of their names.
fn instances(pods: &[Pod], desired: Option<&DesiredState>) -> Vec<Instance> {
    let mut all: Vec<Instance> = pods
        .iter()
        .filter(|pod| !pods::is_leaving(pod))
        .filter_map(|pod| {
            let labels = pod.metadata.labels.as_ref()?;
            (labels.get(names::MANAGED_BY)? == "shopctl").then_some(())?;
            let label = labels.get(names::NAME)?;
            let service = match desired {
                Some(desired) => service_of(label, desired),
                None => label.clone(),
            };
            Some(pods::instance(pod, service))
        })
        .collect();
    all.sort_by(|a, b| (&a.service, &a.name).cmp(&(&b.service, &b.name)));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for one in &mut all {
        let count = counts.entry(one.service.clone()).or_default();
        *count += 1;
        one.slot = *count;
    }
    all
}

/// An object as a server gives it.
pub(super) fn plain(object: DynamicObject) -> Value {
    serde_json::to_value(object).unwrap_or_default()
}

//! The kinds of objects that a stack becomes, and which of them a server serves.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIGroupList;
use kube::Api;
use kube::Client;
use kube::api::ApiResource;
use kube::api::DynamicObject;
use serde_json::Value;

use crate::backend::kubernetes::Apis;
use crate::state::cluster::ObjectRef;

/// From this minor version on, a pod can sleep before it is told to end.
const SLEEPS: u32 = 30;

/// From this minor version on, a stateful set has `minReadySeconds`.
const WATCHES_STATEFUL: u32 = 22;

/// A kind of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind {
    /// `apps/v1`.
    pub(super) api_version: &'static str,
    /// `Deployment`.
    pub(super) name: &'static str,
    /// `deployments`.
    pub(super) plural: &'static str,
    /// Its objects are in namespaces.
    pub(super) namespaced: bool,
}

const fn kind(api_version: &'static str, name: &'static str, plural: &'static str) -> Kind {
    Kind {
        api_version,
        name,
        plural,
        namespaced: true,
    }
}

/// All kinds that a stack may become, in the order in which they are removed.
pub(super) const KINDS: [Kind; 19] = [
    kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    kind("route.openshift.io/v1", "Route", "routes"),
    kind(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
    kind("keda.sh/v1alpha1", "ScaledObject", "scaledobjects"),
    kind(
        "networking.istio.io/v1",
        "DestinationRule",
        "destinationrules",
    ),
    kind(
        "networking.istio.io/v1",
        "VirtualService",
        "virtualservices",
    ),
    kind(
        "consul.hashicorp.com/v1alpha1",
        "ServiceRouter",
        "servicerouters",
    ),
    kind(
        "consul.hashicorp.com/v1alpha1",
        "ServiceDefaults",
        "servicedefaults",
    ),
    kind("apps/v1", "Deployment", "deployments"),
    kind("apps/v1", "StatefulSet", "statefulsets"),
    kind("batch/v1", "Job", "jobs"),
    kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("v1", "Service", "services"),
    kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    kind("v1", "ServiceAccount", "serviceaccounts"),
    kind("v1", "ConfigMap", "configmaps"),
    kind("v1", "Secret", "secrets"),
    kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind {
        api_version: "v1",
        name: "Namespace",
        plural: "namespaces",
        namespaced: false,
    },
];

/// What workloads make, and commands run in. No stack becomes one, so it is none of the above.
pub(super) const POD: Kind = kind("v1", "Pod", "pods");

/// Versions and plurals of the kinds in namespaces: what a rule of rights names.
pub(in super::super) fn resources() -> impl Iterator<Item = (&'static str, &'static str)> {
    let within = KINDS.into_iter().filter(|kind| kind.namespaced);
    within.map(|kind| (kind.api_version, kind.plural))
}

impl Kind {
    /// The kind of an object.
    pub(super) fn of(object: &ObjectRef) -> Option<Self> {
        let mut kinds = KINDS.into_iter().chain([POD]);
        kinds.find(|kind| kind.name == object.kind && kind.api_version == object.api_version)
    }

    /// Objects of it in a namespace.
    pub(super) fn api(self, client: Client, namespace: &str) -> Api<DynamicObject> {
        let resource = self.resource();
        if self.namespaced {
            Api::namespaced_with(client, namespace, &resource)
        } else {
            Api::all_with(client, &resource)
        }
    }

    fn resource(self) -> ApiResource {
        let (group, version) = match self.api_version.split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", self.api_version),
        };
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.to_owned(),
            kind: self.name.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

/// What a server is and serves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Server {
    /// `v1.36.2`.
    pub(super) version: String,
    /// 36 of that.
    pub(super) minor: u32,
    /// Versions of its groups, `apps/v1`.
    groups: BTreeSet<String>,
}

impl Server {
    /// Asks it, by two calls.
    pub(super) async fn ask(client: &Client) -> Result<Self, kube::Error> {
        let (version, groups): (_, APIGroupList) =
            tokio::try_join!(client.apiserver_version(), client.list_api_groups())?;
        // Some providers write `27+`.
        let digits = version
            .minor
            .trim_end_matches(|it: char| !it.is_ascii_digit());
        let groups = groups.groups.into_iter().flat_map(|group| group.versions);
        Ok(Self {
            minor: digits.parse().unwrap_or(0),
            version: version.git_version,
            groups: groups.map(|version| version.group_version).collect(),
        })
    }

    /// Whether it serves objects of a kind.
    pub(super) fn serves(&self, kind: Kind) -> bool {
        kind.api_version == "v1" || self.groups.contains(kind.api_version)
    }

    /// An object as this server takes it, with what had to be left out; or why it takes
    /// none of its kind.
    pub(super) fn fitted(&self, mut object: Value) -> Result<(Value, Option<String>), String> {
        let reference = ObjectRef::of(&object);
        match Kind::of(&reference) {
            Some(kind) if self.serves(kind) => {}
            _ => {
                let version = &reference.api_version;
                return Err(format!(
                    "{reference} is left out: the server serves no {version}"
                ));
            }
        }
        if self.minor < WATCHES_STATEFUL && reference.kind == "StatefulSet" {
            // Its replicas count as soon as they are ready.
            object["spec"]
                .as_object_mut()
                .map(|spec| spec.remove("minReadySeconds"));
        }
        if self.minor >= SLEEPS {
            return Ok((object, None));
        }
        let containers = object.pointer_mut("/spec/template/spec/containers");
        let containers = containers.and_then(Value::as_array_mut);
        let mut lost = None;
        for container in containers.into_iter().flatten() {
            let Some(lifecycle) = container.get_mut("lifecycle") else {
                continue;
            };
            if lifecycle["preStop"].get("sleep").is_some() {
                lifecycle.as_object_mut().map(|it| it.remove("preStop"));
                lost = Some(format!(
                    "servers before 1.{SLEEPS} let no pod linger before it ends: requests may be lost in a rollout"
                ));
            }
        }
        Ok((object, lost))
    }

    /// What a stack is rendered for.
    pub(super) fn apis(&self) -> Apis {
        self.groups.iter().map(String::as_str).collect()
    }

    /// The kinds of a stack that it serves.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> + '_ {
        KINDS.into_iter().filter(|kind| self.serves(*kind))
    }
}

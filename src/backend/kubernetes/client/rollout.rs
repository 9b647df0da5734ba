//! How workloads come along: their own status, and what keeps their pods.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Cluster;
use super::kinds::Kind;
use super::observe::plain;
use super::pods;
use super::pods::Trouble;
use super::progress;
use super::retry::patiently;
use crate::backend::BackendError;
use crate::backend::Pending;
use crate::backend::Rolling;
use crate::backend::Rollouts;
use crate::backend::kubernetes::names;
use crate::state::cluster::ObjectRef;

/// What keeps a pod may pass by itself: a registry that is slow, a secret that comes late.
const GRACE: Duration = Duration::from_secs(20);
/// How often is looked whether that time has passed.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a job has failed its pod may say why: the two are watched side by side.
const REASON: Duration = Duration::from_secs(3);

impl Rollouts for Cluster {
    fn rollout<'a>(
        &'a self,
        stack: &'a str,
        workload: &'a ObjectRef,
    ) -> Pending<'a, mpsc::Receiver<Rolling>> {
        Box::pin(async move {
            let namespace = self.enter(stack);
            let kind = Kind::of(workload)
                .ok_or_else(|| BackendError::Unsupported(workload.to_string()))?;
            let following = Following {
                cluster: self.clone(),
                kind,
                namespace,
                workload: workload.clone(),
                pods: BTreeMap::new(),
                is_listed: false,
                live: Value::Null,
                said_at: None,
                failed: None,
                troubles: BTreeMap::new(),
                ended: None,
            };
            let (sender, receiver) = mpsc::channel(16);
            tokio::spawn(following.run(sender));
            Ok(receiver)
        })
    }
}

struct Following {
    cluster: Cluster,
    kind: Kind,
    namespace: String,
    workload: ObjectRef,
    /// Its pods by name, old ones among them.
    pods: BTreeMap<String, Pod>,
    /// All of them are known.
    is_listed: bool,
    /// The workload as it was seen last.
    live: Value,
    /// When it had said how it comes along, as it was seen first.
    said_at: Option<Value>,
    /// Since when it has failed, where no pod has said why.
    failed: Option<Instant>,
    /// Since when a pod has been kept, by name.
    troubles: BTreeMap<String, Instant>,
    /// How often containers had ended when all was done first, by pod.
    ended: Option<BTreeMap<String, i32>>,
}

impl Following {
    /// By what its pods are found; all pods of the stack where the workload does not say.
    async fn selector(&self, api: &Api<DynamicObject>) -> String {
        let found = patiently(|| api.get_opt(&self.workload.name)).await;
        let live = found.ok().flatten().map(plain).unwrap_or_default();
        let labels = live["spec"]["selector"]["matchLabels"].as_object();
        let pairs: Vec<String> = labels
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some(format!("{name}={}", value.as_str()?)))
            .collect();
        if pairs.is_empty() {
            return format!("{}=shopctl", names::MANAGED_BY);
        }
        pairs.join(",")
    }

    /// Until it has failed, or nobody listens.
    async fn run(mut self, sender: mpsc::Sender<Rolling>) {
        let field = format!("metadata.name={}", self.workload.name);
        let api = self.kind.api(self.cluster.client(), &self.namespace);
        // Its own pods: many workloads are followed at a time.
        let selector = self.selector(&api).await;
        let workloads = watcher::watcher(api, watcher::Config::default().fields(&field));
        let api: Api<Pod> = Api::namespaced(self.cluster.client(), &self.namespace);
        let pods = watcher::watcher(api, watcher::Config::default().labels(&selector));
        let mut workloads = workloads.default_backoff().boxed();
        let mut pods = pods.default_backoff().boxed();
        let mut looks = tokio::time::interval(LOOK);
        let mut told = None;
        loop {
            tokio::select! {
                event = workloads.try_next() => match event {
                    Ok(Some(event)) => self.workload_event(event),
                    // It is tried again, by itself.
                    Err(_) => continue,
                    Ok(None) => return,
                },
                event = pods.try_next() => match event {
                    Ok(Some(event)) => self.pod_event(event),
                    Err(_) => continue,
                    Ok(None) => return,
                },
                _ = looks.tick() => {}
                () = sender.closed() => return,
            }
            let state = self.state();
            let ends = matches!(state, Rolling::Failed { .. });
            if told.as_ref() != Some(&state) && sender.send(state.clone()).await.is_err() {
                return;
            }
            if ends {
                return;
            }
            told = Some(state);
        }
    }

    fn workload_event(&mut self, event: watcher::Event<kube::api::DynamicObject>) {
        use watcher::Event;
        match event {
            Event::Apply(live) | Event::InitApply(live) => {
                self.live = plain(live);
                self.live["kind"] = self.kind.name.into();
                if self.said_at.is_none() {
                    let said_at = progress::said_at(&self.live);
                    self.said_at = Some(said_at.cloned().unwrap_or_default());
                }
            }
            Event::Delete(_) | Event::Init => self.live = Value::Null,
            Event::InitDone => {}
        }
    }

    fn pod_event(&mut self, event: watcher::Event<Pod>) {
        use watcher::Event;
        match event {
            Event::Apply(pod) | Event::InitApply(pod) => {
                let name = pod.metadata.name.clone().unwrap_or_default();
                self.pods.insert(name, pod);
            }
            Event::Delete(pod) => {
                self.pods
                    .remove(pod.metadata.name.as_deref().unwrap_or_default());
            }
            Event::Init => {
                self.pods.clear();
                self.is_listed = false;
            }
            Event::InitDone => self.is_listed = true,
        }
    }

    /// How it stands.
    fn state(&mut self) -> Rolling {
        let Some(found) = progress::pods(&self.live) else {
            return Rolling::Waiting("the cluster to take note of it".to_owned());
        };
        // The pods of a job are meant to end.
        if self.kind.name != "Job"
            && let Some((pod, why)) = self.fallen()
        {
            let why = format!("{pod}: {why}");
            return Rolling::Failed {
                why,
                pod: Some(pod),
            };
        }
        let is_known = self.is_listed && !self.live["metadata"]["name"].is_null();
        if found.is_rolled_out() && is_known {
            if self.ended.is_none() {
                self.ended = Some(BTreeMap::new());
                // Those that are there count from here.
                let _ = self.fallen();
            }
            return Rolling::Done;
        }
        let keeps = self.trouble();
        if let Some((pod, trouble, since)) = &keeps
            && (trouble.is_final || (trouble.passes_seldom && since.elapsed() >= GRACE))
        {
            return Rolling::Failed {
                why: format!("{pod}: {}", trouble.words),
                pod: Some(pod.clone()),
            };
        }
        let words = keeps.map(|(pod, trouble, _)| (pod, trouble.words));
        if let Some(why) = found.failed.clone().filter(|_| self.is_news()) {
            let since = *self.failed.get_or_insert_with(Instant::now);
            if words.is_none() && self.kind.name == "Job" && since.elapsed() < REASON {
                return Rolling::Waiting("word of its pods".to_owned());
            }
            let (pod, words) = words.map_or((None, why), |(pod, words)| {
                (Some(pod.clone()), format!("{pod}: {words}"))
            });
            return Rolling::Failed { why: words, pod };
        }
        let count = found.replicas.unwrap_or(1);
        let missing = count.saturating_sub(found.ready);
        let mut text = match (missing, found.is_current) {
            _ if found.is_rolled_out() => "word of its pods".to_owned(),
            _ if self.kind.name == "Job" => "it to end".to_owned(),
            (_, false) => "the cluster to take note of it".to_owned(),
            (0, _) => format!("{} old replicas to end", found.all.saturating_sub(count)),
            (missing, _) => format!("{missing} of {count} replicas to be ready"),
        };
        if let Some((pod, words)) = words {
            text = format!("{text} ({pod}: {words})");
        }
        Rolling::Waiting(text)
    }

    /// Whether it has said how it comes along since it was seen first. What a Deployment says
    /// of another revision may stand there, or of a cluster that was mended meanwhile.
    fn is_news(&self) -> bool {
        let said_at = progress::said_at(&self.live);
        said_at.is_none() || said_at != self.said_at.as_ref()
    }

    /// Its pods of the newest revision; of a job all, which has no other.
    fn newest(&self) -> impl Iterator<Item = (&String, &Pod)> {
        let template = &self.live["spec"]["template"]["metadata"];
        // The revision among them, and whatever a restart has written.
        let notes = template["annotations"].as_object();
        let label = move |name: &str| template["labels"][name].as_str();
        let is_job = self.kind.name == "Job";
        let is_newest = move |pod: &Pod| {
            let meta = &pod.metadata;
            let of = |map: &Option<BTreeMap<String, String>>, key: &str| {
                map.as_ref().and_then(|map| map.get(key)).cloned()
            };
            // Another workload of the service may be of the same revision.
            let same = |key: &str| of(&meta.labels, key).as_deref() == label(key);
            let mut notes = notes.into_iter().flatten();
            is_job
                || notes.all(|(key, value)| of(&meta.annotations, key).as_deref() == value.as_str())
                    && label(names::NAME).is_some()
                    && same(names::NAME)
                    && same(names::STAGE)
        };
        let known = is_job || notes.is_some();
        let pods = self.pods.iter().filter(move |_| known);
        pods.filter(move |(_, pod)| is_newest(pod) && !pods::is_leaving(pod))
    }

    /// A pod of which a container has ended since all was done, and how. One that came
    /// later counts from when it was seen first.
    fn fallen(&mut self) -> Option<(String, String)> {
        let mut known = self.ended.take()?;
        let mut fallen = None;
        for (name, pod) in self.newest() {
            let count = pods::ends(pod);
            let before = *known.entry(name.clone()).or_insert(count);
            if count > before && fallen.is_none() {
                fallen = Some((name.clone(), pods::last_end(pod)));
            }
        }
        self.ended = Some(known);
        fallen
    }

    /// The first pod of the newest revision that something keeps from getting ready.
    fn trouble(&mut self) -> Option<(String, Trouble, Instant)> {
        let troubled = self
            .newest()
            .filter_map(|(name, pod)| Some((name.clone(), pods::trouble(pod)?)));
        let found: BTreeMap<String, Trouble> = troubled.collect();
        self.troubles.retain(|name, _| found.contains_key(name));
        let now = Instant::now();
        for name in found.keys() {
            self.troubles.entry(name.clone()).or_insert(now);
        }
        // What ends the rollout is told before what may pass.
        let (name, trouble) = found.into_iter().max_by_key(|(name, trouble)| {
            (
                trouble.is_final,
                trouble.passes_seldom,
                std::cmp::Reverse(name.clone()),
            )
        })?;
        let since = *self.troubles.get(&name)?;
        Some((name, trouble, since))
    }
}

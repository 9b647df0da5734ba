//! The cluster's own events about the objects of a stack.
//!
//! They are objects like others: one that happens again is changed and counted, and each is
//! removed after an hour.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ListParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Cluster;
use super::retry::patiently;
use super::whose::Named;
use super::whose::Whose;
use super::whose::named;
use crate::backend::BackendError;
use crate::backend::EventQuery;
use crate::backend::Events;
use crate::backend::Pending;
use crate::state::happening::Happening;

/// Happenings that may be waiting for a slow reader.
const BUFFERED: usize = 256;

impl Events for Cluster {
    fn events<'a>(&'a self, query: &'a EventQuery) -> Pending<'a, mpsc::Receiver<Happening>> {
        Box::pin(async move {
            let namespace = self.enter(&query.stack);
            let api: Api<Event> = Api::namespaced(self.client(), &namespace);
            // Who may not is told so at once; what fails later is tried again, by itself.
            let one = ListParams::default().limit(1);
            let asked = patiently(|| api.list(&one)).await;
            let doing = || format!("list events in namespace {namespace}");
            asked.map_err(|error| self.failed(doing(), error))?;
            let ends = match query.until {
                Some(until) => Some(Instant::now() + self.left(until).await?),
                None => None,
            };
            let stream = watcher::watcher(api, watcher::Config::default());
            let mut teller = Teller {
                stream: Box::pin(stream.default_backoff()),
                seen: BTreeMap::new(),
                listed: None,
                whose: Whose::new(self.clone(), namespace, &query.services),
                query: query.clone(),
                ends,
            };
            let past = teller.first().await;
            let (sender, receiver) = mpsc::channel(BUFFERED);
            tokio::spawn(teller.run(past, sender));
            Ok(receiver)
        })
    }
}

impl Cluster {
    /// How long it is until a time in seconds since the epoch, by the server's clock.
    async fn left(&self, until: i64) -> Result<Duration, BackendError> {
        let now = self.server_time().await?.unwrap_or_else(Timestamp::now);
        let left = until.saturating_sub(now.as_second());
        Ok(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }
}

type Changes = Pin<Box<dyn Stream<Item = watcher::Result<watcher::Event<Event>>> + Send>>;

struct Teller {
    stream: Changes,
    /// The version of each event that was told or is past, by its id: a stream that is
    /// begun anew repeats what is there.
    seen: BTreeMap<String, String>,
    /// Those of a list that has begun.
    listed: Option<Vec<Event>>,
    whose: Whose,
    query: EventQuery,
    ends: Option<Instant>,
}

impl Teller {
    /// What is there already.
    async fn first(&mut self) -> Vec<Event> {
        loop {
            match self.stream.next().await {
                Some(Ok(change)) => {
                    if let Some(events) = self.take(change) {
                        return events;
                    }
                }
                // It is tried again, by itself.
                Some(Err(_)) => {}
                None => return Vec::new(),
            }
        }
    }

    /// Until the time asked for, or until nobody listens.
    async fn run(mut self, past: Vec<Event>, sender: mpsc::Sender<Happening>) {
        let past = match self.query.since {
            Some(_) => past,
            None => Vec::new(),
        };
        if !self.tell(past, &sender).await {
            return;
        }
        loop {
            let change = tokio::select! {
                change = self.stream.next() => change,
                () = over(self.ends) => return,
                () = sender.closed() => return,
            };
            let events = match change {
                Some(Ok(change)) => self.take(change).unwrap_or_default(),
                Some(Err(_)) => continue,
                None => return,
            };
            if !self.tell(events, &sender).await {
                return;
            }
        }
    }

    /// The events of a change that were not seen yet; `None` in the middle of a list.
    fn take(&mut self, change: watcher::Event<Event>) -> Option<Vec<Event>> {
        match change {
            watcher::Event::Init => {
                self.listed = Some(Vec::new());
                None
            }
            watcher::Event::InitApply(event) => {
                self.listed.get_or_insert_default().push(event);
                None
            }
            watcher::Event::InitDone => {
                let listed = self.listed.take().unwrap_or_default();
                let there: BTreeSet<String> = listed.iter().map(id).collect();
                self.seen.retain(|id, _| there.contains(id));
                let mut new: Vec<Event> = listed
                    .into_iter()
                    .filter(|event| self.is_new(event))
                    .collect();
                new.sort_by_key(time);
                Some(new)
            }
            watcher::Event::Apply(event) => {
                let is_new = self.is_new(&event);
                Some(Vec::from_iter(is_new.then_some(event)))
            }
            watcher::Event::Delete(event) => {
                self.seen.remove(&id(&event));
                Some(Vec::new())
            }
        }
    }

    fn is_new(&mut self, event: &Event) -> bool {
        let version = event.metadata.resource_version.clone().unwrap_or_default();
        self.seen.insert(id(event), version.clone()) != Some(version)
    }

    /// Tells them; false when nobody listens.
    async fn tell(&mut self, events: Vec<Event>, sender: &mpsc::Sender<Happening>) -> bool {
        let asked = events.into_iter().filter(|event| self.is_asked_for(event));
        let asked: Vec<(Named, Event)> = asked
            .map(|event| (named(&event.involved_object), event))
            .collect();
        self.whose
            .learn(asked.iter().map(|(object, _)| object.clone()))
            .await;
        for (object, event) in asked {
            let Some(service) = self.whose.service(&object) else {
                continue;
            };
            let happening = happening(&object, service, event);
            if sender.send(happening).await.is_err() {
                return false;
            }
        }
        true
    }

    fn is_asked_for(&self, event: &Event) -> bool {
        let at = time(event).as_second();
        self.query.since.is_none_or(|since| at >= since)
            && self.query.until.is_none_or(|until| at <= until)
    }
}

/// Never, where no time is asked for.
async fn over(ends: Option<Instant>) {
    match ends {
        Some(ends) => tokio::time::sleep_until(ends).await,
        None => std::future::pending().await,
    }
}

fn id(event: &Event) -> String {
    event.metadata.uid.clone().unwrap_or_default()
}

/// When it happened last. Who writes it has two ways to say so.
fn time(event: &Event) -> Timestamp {
    let series = event.series.as_ref();
    let series = series.and_then(|it| it.last_observed_time.as_ref());
    let micro = [series, event.event_time.as_ref()];
    let meta = event.metadata.creation_timestamp.as_ref();
    let plain = [
        event.last_timestamp.as_ref(),
        event.first_timestamp.as_ref(),
    ];
    let said = micro.into_iter().flatten().map(|it| it.0);
    let said = said.chain(plain.into_iter().flatten().map(|it| it.0)).max();
    said.or(meta.map(|it| it.0)).unwrap_or_default()
}

fn happening((kind, name): &Named, service: &str, event: Event) -> Happening {
    let series = event.series.as_ref().and_then(|it| it.count);
    let count = series.or(event.count).filter(|count| *count > 1);
    let at = time(&event).as_millisecond();
    Happening {
        at: u64::try_from(at).unwrap_or(0),
        service: service.to_owned(),
        replica: None,
        object: format!("{kind} {name}"),
        action: event.reason.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
        message: event.message.unwrap_or_default(),
        details: count
            .map(|count| ("count".to_owned(), count.to_string()))
            .into_iter()
            .collect(),
    }
}

//! Keeping a lock: it is renewed, and watched for others who take it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;

use super::Cluster;
use super::lease::NAME;
use super::lease::held_by;
use crate::backend::BackendError;
use crate::backend::clock::now;

/// A renewal that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);
/// The clock is looked at so often: timers stand still while a machine sleeps.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Whether a lock is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As of this moment, at which its last renewal was asked for.
    Held(Duration),
    /// Somebody else has it, or it is gone.
    Lost,
}

/// What keeps a lock.
pub(super) struct Holding {
    pub(super) cluster: Cluster,
    pub(super) api: Api<Object>,
    pub(super) namespace: String,
    /// Who we are.
    pub(super) run: String,
    /// How long it outlives its last renewal.
    pub(super) duration: Duration,
    pub(super) state: watch::Sender<State>,
}

impl Holding {
    /// Renews it, until it is lost or nobody needs it any more.
    pub(super) async fn keep(self: Arc<Self>) {
        let third = self.duration / 3;
        let mut events = watched(&self.api);
        let mut due = match *self.state.borrow() {
            State::Held(asked) => asked + third,
            State::Lost => return,
        };
        loop {
            let left = due.saturating_sub(now());
            if left.is_zero() {
                let asked = now();
                // Where nothing comes back there must be time for another try.
                due = match timeout(third / 2, self.renew()).await {
                    Ok(Ok(true)) => {
                        self.state.send_replace(State::Held(asked));
                        asked + third
                    }
                    Ok(Ok(false)) => break,
                    Ok(Err(_)) | Err(_) => now() + AGAIN.min(third),
                };
                continue;
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => match self.seen(&event) {
                        Seen::Ours => {}
                        Seen::Taken => break,
                        // A renewal finds out why.
                        Seen::Gone => due = now(),
                    },
                    // It is watched anew, by itself; renewals tell too.
                    Some(Err(_)) => {}
                    None => events = watched(&self.api),
                },
                () = sleep(left.min(BEAT)) => {}
            }
        }
        self.state.send_replace(State::Lost);
    }

    fn seen(&self, event: &watcher::Event<Object>) -> Seen {
        match event {
            watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) => {
                if self.is_ours(lease) {
                    Seen::Ours
                } else {
                    Seen::Taken
                }
            }
            watcher::Event::Delete(_) => Seen::Gone,
            watcher::Event::Init | watcher::Event::InitDone => Seen::Ours,
        }
    }

    pub(super) fn is_ours(&self, lease: &Object) -> bool {
        held_by(lease).is_some_and(|by| by.run == self.run)
    }

    /// Whether it is still ours, and will be for its duration.
    async fn renew(&self) -> Result<bool, BackendError> {
        let failed = |error| self.cluster.failed("renew the lock", error);
        loop {
            let Some(mut found) = self.api.get_opt(NAME).await.map_err(failed)? else {
                return self.went_with_its_namespace().await;
            };
            if !self.is_ours(&found) {
                return Ok(false);
            }
            let time = self.cluster.server_time().await?;
            if let Some(spec) = &mut found.spec {
                spec.renew_time = Some(MicroTime(time.unwrap_or_else(Timestamp::now)));
            }
            let renewed = self.api.replace(NAME, &PostParams::default(), &found).await;
            match renewed {
                Ok(_) => return Ok(true),
                // Written or deleted meanwhile: look again.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// A run that removes its stack removes its lock too. Nobody else can have one then,
    /// until there is a namespace of that name again.
    async fn went_with_its_namespace(&self) -> Result<bool, BackendError> {
        Ok(!self.cluster.namespace_stays(&self.namespace).await?)
    }
}

/// What an event says of a lock.
enum Seen {
    Ours,
    Taken,
    Gone,
}

type Events = futures_util::stream::BoxStream<'static, watcher::Result<watcher::Event<Object>>>;

fn watched(api: &Api<Object>) -> Events {
    let only = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    watcher::watcher(api.clone(), only)
        .default_backoff()
        .boxed()
}

/// Ends when a lease has another holder than it has here.
pub(super) async fn changed(api: &Api<Object>, found: &Object) {
    let run = held_by(found).map(|by| by.run);
    let mut events = watched(api);
    while let Some(event) = events.next().await {
        let other = match event {
            Ok(watcher::Event::Apply(lease) | watcher::Event::InitApply(lease)) => {
                held_by(&lease).map(|by| by.run) != run
            }
            Ok(watcher::Event::Delete(_)) => true,
            _ => false,
        };
        if other {
            return;
        }
    }
}

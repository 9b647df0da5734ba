//! Keeping a lock: it is renewed, and watched for others who take it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::PostParams;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Cluster;
use super::lease::NAME;
use super::lease::held_by;
use crate::backend::BackendError;

/// A renewal that failed is tried again after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// Whether a lock is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// As of this moment, at which its last renewal was asked for.
    Held(Instant),
    /// Somebody else has it, or it is gone.
    Lost,
}

/// What keeps a lock.
pub(super) struct Holding {
    pub(super) cluster: Cluster,
    pub(super) api: Api<Object>,
    /// Who we are.
    pub(super) run: String,
    /// How long it outlives its last renewal.
    pub(super) duration: Duration,
    pub(super) state: watch::Sender<State>,
}

impl Holding {
    /// Renews it, until it is lost or nobody needs it any more.
    pub(super) async fn keep(self: Arc<Self>) {
        let mut events = watched(&self.api);
        let mut pause = self.duration / 3;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(event)) => if self.is_taken(&event) {
                        self.state.send_replace(State::Lost);
                        return;
                    },
                    // It is watched anew, by itself; renewals tell too.
                    Some(Err(_)) => {}
                    None => events = watched(&self.api),
                },
                () = tokio::time::sleep(pause) => {
                    let asked = Instant::now();
                    pause = match self.renew().await {
                        Ok(true) => {
                            self.state.send_replace(State::Held(asked));
                            self.duration / 3
                        }
                        Ok(false) => {
                            self.state.send_replace(State::Lost);
                            return;
                        }
                        Err(_) => AGAIN.min(self.duration / 3),
                    };
                }
            }
        }
    }

    fn is_taken(&self, event: &watcher::Event<Object>) -> bool {
        match event {
            watcher::Event::Apply(lease) | watcher::Event::InitApply(lease) => {
                held_by(lease).is_none_or(|by| by.run != self.run)
            }
            watcher::Event::Delete(_) => true,
            watcher::Event::Init | watcher::Event::InitDone => false,
        }
    }

    /// Whether it is still ours, and will be for its duration.
    async fn renew(&self) -> Result<bool, BackendError> {
        let failed = |error| self.cluster.failed("renew the lock", error);
        loop {
            let Some(mut found) = self.api.get_opt(NAME).await.map_err(failed)? else {
                return Ok(false);
            };
            if held_by(&found).is_none_or(|by| by.run != self.run) {
                return Ok(false);
            }
            let now = self.cluster.server_time().await?;
            if let Some(spec) = &mut found.spec {
                spec.renew_time = Some(MicroTime(now));
            }
            let renewed = self.api.replace(NAME, &PostParams::default(), &found).await;
            match renewed {
                Ok(_) => return Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
        }
    }
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

//! One pod as it comes along: what it was seen as last.

use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use tokio::sync::watch;
use tokio::task::AbortHandle;

/// A pod as it was seen last.
#[derive(Debug, Clone, Default)]
pub(super) enum Seen {
    /// Nobody has looked yet.
    #[default]
    Nothing,
    /// It is there.
    There(Box<Pod>),
    /// It is gone; as what it went, where that was seen.
    Gone(Option<Box<Pod>>),
}

/// Follows a pod until this is dropped.
pub(super) struct Follower {
    pub(super) seen: watch::Receiver<Seen>,
    task: AbortHandle,
}

impl Follower {
    pub(super) fn of(api: Api<Pod>, name: &str) -> Self {
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let (sender, seen) = watch::channel(Seen::Nothing);
        let task = tokio::spawn(async move {
            // A stream that is cut is taken up again by itself.
            let mut events = watcher::watcher(api, config).default_backoff().boxed();
            let mut listed = None;
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(pod)) => {
                        sender.send_replace(Seen::There(Box::new(pod)));
                    }
                    Ok(watcher::Event::Delete(pod)) => {
                        sender.send_replace(Seen::Gone(Some(Box::new(pod))));
                    }
                    Ok(watcher::Event::Init) => listed = None,
                    Ok(watcher::Event::InitApply(pod)) => listed = Some(pod),
                    Ok(watcher::Event::InitDone) => match listed.take() {
                        Some(pod) => {
                            sender.send_replace(Seen::There(Box::new(pod)));
                        }
                        None => sender.send_modify(lost),
                    },
                    Err(_) => {}
                }
            }
        });
        Self {
            seen,
            task: task.abort_handle(),
        }
    }
}

/// It went while nobody looked.
fn lost(seen: &mut Seen) {
    *seen = Seen::Gone(match std::mem::take(seen) {
        Seen::Nothing => None,
        Seen::There(pod) => Some(pod),
        Seen::Gone(pod) => pod,
    });
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.task.abort();
    }
}

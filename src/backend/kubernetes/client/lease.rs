//! The lock of a stack: a `Lease` in its namespace, renewed while its holder lives.
//!
//! Times in it are the server's, as its answers are dated: the clocks of two laptops may
//! differ, and a lock must neither be taken from one that is alive nor outlive one that is
//! not. Whether it is still ours is judged by this host's monotonic clock alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::Cluster;
use super::connect::is_missing;
use super::holding::Holding;
use super::holding::State;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Lease;
use crate::backend::Lock;
use crate::backend::Pending;
use crate::backend::kubernetes::names;
use crate::backend::kubernetes::names::dns;

/// Its name.
pub(super) const NAME: &str = "shopctl";
/// Others may take a lock that was not renewed for so long.
const DURATION: Duration = Duration::from_secs(30);
/// How much the server's time, which comes in whole seconds, may be off.
const SLACK: Duration = Duration::from_secs(2);
const HOST: &str = "shopctl.dev/host";
const SINCE: &str = "shopctl.dev/since";
const WHO: &str = "shopctl.dev/who";

impl Lease for Cluster {
    fn acquire<'a>(
        &'a self,
        context: &'a Context,
        holder: &'a Holder,
    ) -> Pending<'a, Box<dyn Lock>> {
        Box::pin(async move {
            let namespace = self.enter(&context.stack);
            self.make_namespace(&namespace).await?;
            let api: Api<Object> = Api::namespaced(self.client(), &namespace);
            let asked = Instant::now();
            let taken = self.take(&api, &dns(&context.stack), holder).await?;
            let spec = taken.spec.unwrap_or_default();
            let id = spec.lease_transitions.unwrap_or(0);
            let (state, known) = watch::channel(State::Held(asked));
            let holding = Arc::new(Holding {
                cluster: self.clone(),
                api,
                run: holder.run.clone(),
                duration: self.lease_duration(),
                state,
            });
            let keeping = tokio::spawn(Arc::clone(&holding).keep()).abort_handle();
            Ok(Box::new(Held {
                id: u64::try_from(id).unwrap_or(0),
                holding,
                known,
                keeping,
            }) as Box<dyn Lock>)
        })
    }

    fn freed<'a>(&'a self, stack: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let namespace = self.enter(stack);
            let api: Api<Object> = Api::namespaced(self.client(), &namespace);
            let failed = |error| self.failed("look at the lock", error);
            let Some(found) = api.get_opt(NAME).await.map_err(failed)? else {
                return Ok(());
            };
            let now = self.server_time().await?;
            let left = left(&found, now);
            let changed = super::holding::changed(&api, &found);
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left) => {}
            }
            Ok(())
        })
    }
}

impl Cluster {
    /// How long a lock outlives its holder.
    pub(super) fn lease_duration(&self) -> Duration {
        self.inner.lease.unwrap_or(DURATION)
    }

    /// Takes the lock, or says who holds it.
    async fn take(
        &self,
        api: &Api<Object>,
        stack: &str,
        holder: &Holder,
    ) -> Result<Object, BackendError> {
        let failed = |error| self.failed("take the lock", error);
        // Somebody else may be faster, each time.
        loop {
            let now = self.server_time().await?;
            let found = api.get_opt(NAME).await.map_err(failed)?;
            if let Some(found) = &found
                && let Some(by) = held_by(found)
                && !left(found, now).is_zero()
                && by.run != holder.run
            {
                return Err(BackendError::Locked(by));
            }
            let object = self.object(stack, holder, found.as_ref(), now);
            let params = PostParams::default();
            let taken = match found {
                Some(_) => api.replace(NAME, &params, &object).await,
                None => api.create(&params, &object).await,
            };
            match taken {
                Ok(taken) => return Ok(taken),
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    fn object(
        &self,
        stack: &str,
        holder: &Holder,
        found: Option<&Object>,
        now: Timestamp,
    ) -> Object {
        let spec = found.and_then(|it| it.spec.as_ref());
        let transitions = spec.and_then(|it| it.lease_transitions).unwrap_or(0);
        let seconds = i32::try_from(self.lease_duration().as_secs()).unwrap_or(i32::MAX);
        let annotations = [
            (WHO, holder.who.clone()),
            (HOST, holder.host.clone()),
            (SINCE, holder.since.to_string()),
        ];
        let labels = [
            (names::PART_OF, stack),
            (names::MANAGED_BY, "shopctl"),
            (names::KEEPS, "lock"),
        ];
        Object {
            metadata: ObjectMeta {
                name: Some(NAME.to_owned()),
                resource_version: found.and_then(|it| it.metadata.resource_version.clone()),
                annotations: Some(owned(annotations)),
                labels: Some(owned(labels)),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                acquire_time: Some(MicroTime(now)),
                renew_time: Some(MicroTime(now)),
                holder_identity: Some(holder.run.clone()),
                lease_duration_seconds: Some(seconds.max(1)),
                lease_transitions: Some(transitions.saturating_add(1)),
                ..LeaseSpec::default()
            }),
        }
    }
}

fn owned<const N: usize>(pairs: [(&str, impl Into<String>); N]) -> BTreeMap<String, String> {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// Who holds it, if anybody does.
pub(super) fn held_by(lease: &Object) -> Option<Holder> {
    let run = lease.spec.as_ref()?.holder_identity.clone()?;
    let annotations = lease.metadata.annotations.clone().unwrap_or_default();
    let text = |name: &str| annotations.get(name).cloned().unwrap_or_default();
    (!run.is_empty()).then(|| Holder {
        who: text(WHO),
        host: text(HOST),
        since: text(SINCE).parse().unwrap_or(0),
        run,
    })
}

/// How long it is still held if its holder is gone.
fn left(lease: &Object, now: Timestamp) -> Duration {
    let Some(spec) = &lease.spec else {
        return Duration::ZERO;
    };
    if held_by(lease).is_none() {
        return Duration::ZERO;
    }
    let Some(renewed) = &spec.renew_time else {
        return Duration::ZERO;
    };
    let seconds = spec.lease_duration_seconds.unwrap_or(0);
    let held = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + SLACK;
    let age = now.duration_since(renewed.0);
    let age = Duration::try_from(age).unwrap_or_default();
    held.saturating_sub(age)
}

/// A lock that is ours.
struct Held {
    id: u64,
    holding: Arc<Holding>,
    known: watch::Receiver<State>,
    keeping: AbortHandle,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl Lock for Held {
    fn id(&self) -> u64 {
        self.id
    }

    fn confirm(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            let mut known = self.known.clone();
            // Others may take it a moment after it has run out; we act no longer by then.
            let trusted = self.holding.duration * 2 / 3;
            loop {
                let State::Held(renewed) = *known.borrow_and_update() else {
                    return Err(BackendError::LockLost);
                };
                if renewed.elapsed() < trusted {
                    return Ok(());
                }
                let end = renewed + self.holding.duration;
                tokio::select! {
                    changed = known.changed() => if changed.is_err() {
                        return Err(BackendError::LockLost);
                    },
                    () = tokio::time::sleep_until(end) => return Err(BackendError::LockLost),
                }
            }
        })
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.keeping.abort();
            let holding = &self.holding;
            let failed = |error| holding.cluster.failed("free the lock", error);
            loop {
                let Some(mut found) = holding.api.get_opt(NAME).await.map_err(failed)? else {
                    return Ok(());
                };
                let ours = held_by(&found).is_some_and(|by| by.run == holding.run);
                if !ours {
                    return Ok(());
                }
                if let Some(spec) = &mut found.spec {
                    spec.holder_identity = None;
                }
                let freed = holding
                    .api
                    .replace(NAME, &PostParams::default(), &found)
                    .await;
                match freed {
                    Ok(_) => return Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    // Its namespace went with the stack.
                    Err(error) if is_missing(&error) => return Ok(()),
                    Err(error) => return Err(failed(error)),
                }
            }
        })
    }
}

//! The lock of a stack: a `Lease` in its namespace, renewed while its holder lives.
//!
//! Times in it are the server's, as its answers are dated: the clocks of two laptops may
//! differ, and a lock must neither be taken from one that is alive nor outlive one that is
//! not. Whether it is still ours is judged by a clock of this host that is never set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease as Object;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::SignedDuration;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Cluster;
use super::holding::BEAT;
use super::holding::Holding;
use super::holding::State;
use super::retry::patiently;
use super::space::by_hand;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::Holder;
use crate::backend::Lease;
use crate::backend::Lock;
use crate::backend::Pending;
use crate::backend::clock::now;
use crate::backend::kubernetes::names;

/// Its name.
pub(super) const NAME: &str = "shopctl";
/// Others may take a lock that was not renewed for so long.
const DURATION: Duration = Duration::from_secs(30);
/// How much the server's time, which comes in whole seconds, may be off.
const SLACK: Duration = Duration::from_secs(2);
/// How long taking or freeing it may take.
const LIMIT: Duration = Duration::from_secs(30);
const HOST: &str = "shopctl.dev/host";
const WHO: &str = "shopctl.dev/who";

impl Lease for Cluster {
    fn acquire<'a>(
        &'a self,
        context: &'a Context,
        holder: &'a Holder,
    ) -> Pending<'a, Box<dyn Lock>> {
        Box::pin(async move {
            let namespace = self.enter(&context.stack);
            let known = self.make_namespace(&namespace).await?;
            let api: Api<Object> = Api::namespaced(self.client(), &namespace);
            let asked = now();
            let taken = timeout(LIMIT, self.take(&api, &namespace, holder)).await;
            let taken = match taken {
                Ok(Ok(taken)) => taken,
                // A user of a project is told of a missing one that it is forbidden.
                Ok(Err(BackendError::Cluster {
                    doing,
                    status: status @ (403 | 404),
                    message,
                })) if !known => {
                    return Err(BackendError::Cluster {
                        doing: format!(
                            "{doing} (if there is no namespace {namespace}, {})",
                            by_hand(&namespace)
                        ),
                        status,
                        message,
                    });
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(self.late("taking the lock")),
            };
            let spec = taken.spec.unwrap_or_default();
            let id = spec.lease_transitions.unwrap_or(0);
            let (state, known) = watch::channel(State::Held(asked));
            let holding = Arc::new(Holding {
                cluster: self.clone(),
                api,
                namespace,
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
            let time = self.server_time().await?;
            let left = left(&found, time, self.stood_still(&found));
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

    /// A server from which nothing comes back is not there.
    fn late(&self, doing: &str) -> BackendError {
        let source = format!("{doing} took more than {} s", LIMIT.as_secs());
        BackendError::Unreachable {
            target: self.inner.target.clone(),
            source: source.into(),
        }
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
            let found = patiently(|| api.get_opt(NAME)).await.map_err(failed)?;
            let time = self.server_time().await?;
            if let Some(found) = &found
                && let Some(by) = held_by(found)
                && !left(found, time, self.stood_still(found)).is_zero()
                && by.run != holder.run
            {
                return Err(BackendError::Locked(by));
            }
            let time = time.unwrap_or_else(Timestamp::now);
            let object = self.object(stack, holder, found.as_ref(), time);
            let params = PostParams::default();
            let taken = match found {
                Some(_) => patiently(|| api.replace(NAME, &params, &object)).await,
                None => patiently(|| api.create(&params, &object)).await,
            };
            match taken {
                Ok(taken) => return Ok(taken),
                // Written, made or deleted meanwhile. One of ours may have been
                // whose answer was lost.
                Err(kube::Error::Api(status)) if status.code == 409 => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }

    /// For how long we have seen a lock as it is.
    fn stood_still(&self, lease: &Object) -> Duration {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let seen = self.inner.lock_seen.lock();
        let mut seen = seen.unwrap_or_else(PoisonError::into_inner);
        if seen.0 != version {
            *seen = (version, now());
        }
        now().saturating_sub(seen.1)
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
        let annotations = [(WHO, holder.who.clone()), (HOST, holder.host.clone())];
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
    let spec = lease.spec.as_ref()?;
    let run = spec.holder_identity.clone()?;
    let since = spec.acquire_time.as_ref();
    let since = since.map_or(0, |time| time.0.as_millisecond());
    let annotations = lease.metadata.annotations.clone().unwrap_or_default();
    let text = |name: &str| annotations.get(name).cloned().unwrap_or_default();
    (!run.is_empty()).then(|| Holder {
        who: text(WHO),
        host: text(HOST),
        since: u64::try_from(since).unwrap_or(0),
        run,
    })
}

/// How long it is still held if its holder is gone: by the server's time, where it tells
/// one, or by how long it stood still for us. A server's clock may have been set back.
fn left(lease: &Object, time: Option<Timestamp>, stood_still: Duration) -> Duration {
    if held_by(lease).is_none() {
        return Duration::ZERO;
    }
    let spec = lease.spec.as_ref();
    let seconds = spec.and_then(|it| it.lease_duration_seconds).unwrap_or(0);
    let held = Duration::from_secs(u64::try_from(seconds).unwrap_or(0)) + SLACK;
    let renewed = spec.and_then(|it| it.renew_time.as_ref());
    let age = match (time, renewed) {
        (Some(time), Some(renewed)) => time.duration_since(renewed.0),
        _ => SignedDuration::ZERO,
    };
    let age = Duration::try_from(age).unwrap_or_default();
    held.saturating_sub(age.max(stood_still))
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
            let duration = self.holding.duration;
            // Others may take it a moment after it has run out; we act no longer by then.
            let trusted = duration * 2 / 3;
            loop {
                let State::Held(renewed) = *known.borrow_and_update() else {
                    return Err(BackendError::LockLost);
                };
                let age = now().saturating_sub(renewed);
                if age < trusted {
                    return Ok(());
                }
                if age >= duration {
                    return Err(BackendError::LockLost);
                }
                tokio::select! {
                    changed = known.changed() => if changed.is_err() {
                        return Err(BackendError::LockLost);
                    },
                    () = tokio::time::sleep(duration.saturating_sub(age).min(BEAT)) => {}
                }
            }
        })
    }

    fn release(self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.keeping.abort();
            let holding = &self.holding;
            let freed = timeout(LIMIT, holding.free()).await;
            freed.map_err(|_| holding.cluster.late("freeing the lock"))?
        })
    }
}

impl Holding {
    /// Leaves it behind without a holder, so that nobody waits for it to run out.
    async fn free(&self) -> Result<(), BackendError> {
        let failed = |error| self.cluster.failed("free the lock", error);
        let params = PostParams::default();
        loop {
            let found = patiently(|| self.api.get_opt(NAME)).await;
            // It went with its namespace, or with the stack, or is another's.
            let Some(mut found) = found.map_err(failed)?.filter(|it| self.is_ours(it)) else {
                return Ok(());
            };
            if let Some(spec) = &mut found.spec {
                spec.holder_identity = None;
            }
            match patiently(|| self.api.replace(NAME, &params, &found)).await {
                Ok(_) => return Ok(()),
                // Written or deleted meanwhile: look again.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

//! Calls that are made again where the server asks for it, or was busy.

use std::fmt::Debug;
use std::time::Duration;

use kube::Api;
use kube::api::Patch;
use kube::api::PatchParams;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// So often at most.
const TRIES: u32 = 6;
/// Longest pause that a server may ask for.
const LONGEST: Duration = Duration::from_secs(10);

/// Makes a call that may be made twice, again while the server has too much to do.
pub(super) async fn patiently<T, F>(call: impl Fn() -> F) -> Result<T, kube::Error>
where
    F: Future<Output = Result<T, kube::Error>>,
{
    let mut tries = 1;
    loop {
        let error = match call().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(pause) = pause(&error, tries).filter(|_| tries < TRIES) else {
            return Err(error);
        };
        tokio::time::sleep(pause).await;
        tries += 1;
    }
}

/// Applies an object, patiently. Of two who make it at the same moment one is told that it is
/// there already, though what is applied is welcome to be there: that one asks again, and
/// changes what the other has made.
pub(super) async fn apply<K, P>(
    api: &Api<K>,
    name: &str,
    params: &PatchParams,
    object: &Patch<P>,
) -> Result<K, kube::Error>
where
    K: Clone + DeserializeOwned + Debug,
    P: Serialize + Debug,
{
    let mut tries = 1;
    loop {
        match patiently(|| api.patch(name, params, object)).await {
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" && tries < TRIES => {
                tries += 1;
            }
            applied => return applied,
        }
    }
}

/// How long to wait before the next try; `None` where it would be in vain.
fn pause(error: &kube::Error, tries: u32) -> Option<Duration> {
    let kube::Error::Api(status) = error else {
        return None;
    };
    if !matches!(status.code, 429 | 500 | 502..=504) {
        return None;
    }
    let asked = status
        .details
        .as_ref()
        .map_or(0, |it| it.retry_after_seconds);
    let own = Duration::from_millis(100 << tries.min(6));
    Some(own.max(Duration::from_secs(asked.into())).min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn refusal(code: u16) -> kube::Error {
        let mut status = kube::core::Status::failure("busy", "TooManyRequests");
        status.code = code;
        kube::Error::Api(status.boxed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_busy_server_is_asked_again_and_one_that_refuses_is_not() {
        let calls = Cell::new(0);
        let called = patiently(|| async {
            calls.set(calls.get() + 1);
            if calls.get() < 3 {
                Err(refusal(429))
            } else {
                Ok(())
            }
        });
        called.await.expect("the third call succeeds");
        assert_eq!(calls.get(), 3);
        calls.set(0);
        let called = patiently(|| async {
            calls.set(calls.get() + 1);
            Err::<(), _>(refusal(403))
        });
        called.await.expect_err("refused");
        assert_eq!(calls.get(), 1);
    }
}

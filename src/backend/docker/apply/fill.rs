//! Making containers that share a volume. The engine fills an empty volume with what the
//! image has at the mount's place while it makes the container, and two that it makes at
//! a time collide there ("file exists"). So the first container of a volume is made
//! alone; what comes after it finds the volume filled, or nothing to fill it with.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use bollard::models::ContainerCreateBody;
use bollard::models::MountType;

/// Whether a container was made with a volume; held by who makes the first.
type Filled = Arc<tokio::sync::Mutex<bool>>;

/// Volumes with which this process has made containers.
#[derive(Default)]
pub(in crate::backend::docker) struct Fills(Mutex<BTreeMap<String, Filled>>);

impl Fills {
    /// Does `make` at a time when nothing else fills one of these volumes.
    pub(super) async fn in_turn<T, E>(
        &self,
        volumes: BTreeSet<String>,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let mut firsts = Vec::new();
        // Always in the same order, so that two never wait for each other.
        for volume in volumes {
            let filled = self.of(volume).lock_owned().await;
            if !*filled {
                firsts.push(filled);
            }
        }
        let result = make.await;
        if result.is_ok() {
            for filled in &mut firsts {
                **filled = true;
            }
        }
        result
    }

    fn of(&self, volume: String) -> Filled {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(volume).or_default())
    }
}

/// The volumes of a container, in any form that a body has for them.
pub(super) fn volumes(body: &ContainerCreateBody) -> BTreeSet<String> {
    let host = body.host_config.as_ref();
    let mounts = host.and_then(|host| host.mounts.as_ref());
    let typed = mounts
        .into_iter()
        .flatten()
        .filter(|mount| mount.typ == Some(MountType::VOLUME))
        .filter_map(|mount| mount.source.clone());
    let binds = host.and_then(|host| host.binds.as_ref());
    let short = binds
        .into_iter()
        .flatten()
        .filter_map(|bind| Some(bind.split_once(':')?.0.to_owned()))
        .filter(|source| !source.starts_with('/'));
    typed.chain(short).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use bollard::models::HostConfig;
    use bollard::models::Mount;
    use futures_util::future::join_all;

    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// The most that were made at a time, of so many for the volumes.
    async fn most(fills: &Fills, volumes: &[&[&str]], works: bool) -> usize {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let make = || async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(10)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            works.then_some(()).ok_or(())
        };
        let all = volumes
            .iter()
            .map(|names| fills.in_turn(set(names), make()));
        let results = join_all(all).await;
        assert!(results.iter().all(|one| one.is_ok() == works));
        most.into_inner()
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_of_a_volume_is_made_alone_and_the_others_at_once() {
        let fills = Fills::default();
        let shared: &[&[&str]] = &[&["a"], &["a"], &["a"]];
        assert_eq!(
            most(&fills, shared, false).await,
            1,
            "one that failed filled nothing"
        );
        assert_eq!(most(&fills, &[&["a"]], true).await, 1);
        assert_eq!(most(&fills, shared, true).await, 3, "it is filled");
        assert_eq!(
            most(&fills, &[&["b"], &["c"], &[]], true).await,
            3,
            "they share nothing"
        );
        let crossed: &[&[&str]] = &[&["x", "y"], &["y", "x"], &["y"]];
        assert_eq!(most(&fills, crossed, false).await, 1);
    }

    #[test]
    fn volumes_are_found_in_every_form() {
        let mount = |typ, source: &str| Mount {
            typ: Some(typ),
            source: Some(source.to_owned()),
            ..Mount::default()
        };
        let body = ContainerCreateBody {
            host_config: Some(HostConfig {
                mounts: Some(vec![
                    mount(MountType::VOLUME, "typed"),
                    mount(MountType::BIND, "/srv"),
                ]),
                binds: Some(vec!["short:/data:ro".to_owned(), "/etc/x:/x".to_owned()]),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        };
        assert_eq!(volumes(&body), set(&["short", "typed"]));
    }
}

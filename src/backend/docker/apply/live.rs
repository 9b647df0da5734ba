//! Live changes. The engine answers 200 for fields that it ignores, so what it
//! says afterwards is what counts.

use bollard::models::ContainerUpdateBody;

use super::Docker;
use super::body::restart_policy;
use crate::backend::BackendError;
use crate::backend::docker::instance;
use crate::state::spec::LiveSpec;

impl Docker {
    pub(super) async fn update_live(
        &self,
        container: &str,
        live: &LiveSpec,
    ) -> Result<(), BackendError> {
        let subject = format!("container {container}");
        self.api()
            .update_container(container, update_body(live))
            .await
            .map_err(|error| self.fault("update", &subject, error))?;
        let found = self
            .inspect(container)
            .await?
            .ok_or_else(|| BackendError::NotFound {
                what: subject.clone(),
            })?;
        let ignored = ignored(
            live,
            &instance::live(&found.host_config.unwrap_or_default()),
        );
        if ignored.is_empty() {
            return Ok(());
        }
        Err(BackendError::Engine {
            doing: format!("update {subject}"),
            status: 200,
            message: format!("it ignored the change of {}", ignored.join(", ")),
        })
    }
}

/// Memory and swap go together: memory alone above the old swap limit is refused.
fn update_body(live: &LiveSpec) -> ContainerUpdateBody {
    ContainerUpdateBody {
        cpu_shares: live.cpu_shares,
        nano_cpus: live.nano_cpus,
        memory: live.memory,
        memory_swap: live.swap(),
        memory_reservation: live.memory_reservation,
        pids_limit: live.pids,
        restart_policy: Some(restart_policy(&live.restart)),
        ..ContainerUpdateBody::default()
    }
}

/// Fields that were asked for and are not there.
fn ignored(wanted: &LiveSpec, found: &LiveSpec) -> Vec<&'static str> {
    let numbers = [
        ("cpu weight", wanted.cpu_shares, found.cpu_shares),
        ("cpu limit", wanted.nano_cpus, found.nano_cpus),
        ("memory limit", wanted.memory, found.memory),
        (
            "memory reservation",
            wanted.memory_reservation,
            found.memory_reservation,
        ),
        ("process limit", wanted.pids, found.pids),
    ];
    let swap = wanted.memory_swap.is_some() && wanted.memory_swap != found.memory_swap;
    let mut names: Vec<&str> = numbers
        .into_iter()
        .filter(|(_, wanted, found)| wanted.is_some() && wanted != found)
        .map(|(name, ..)| name)
        .collect();
    if swap {
        names.push("memory and swap");
    }
    if wanted.restart != found.restart {
        names.push("restart policy");
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_never_goes_without_swap() {
        let live = LiveSpec {
            memory: Some(7),
            ..LiveSpec::default()
        };
        let body = update_body(&live);
        assert_eq!((body.memory, body.memory_swap), (Some(7), Some(7)));
        let live = LiveSpec {
            memory_swap: Some(-1),
            ..live
        };
        let body = update_body(&live);
        assert_eq!((body.memory, body.memory_swap), (Some(7), Some(-1)));
    }

    #[test]
    fn what_the_engine_ignored_is_named() {
        let wanted = LiveSpec {
            nano_cpus: Some(1),
            pids: Some(2),
            ..LiveSpec::default()
        };
        let found = LiveSpec {
            pids: Some(2),
            memory: Some(3),
            ..LiveSpec::default()
        };
        assert_eq!(ignored(&wanted, &found), ["cpu limit"]);
    }
}

//! What a failure report says beyond the name of what failed.

use shopctl::backend::memory::Behaviour;
use shopctl::exec::Failure;
use shopctl::exec::Verdict;
use shopctl::state::desired::DesiredState;
use shopctl::state::desired::ReadyGate;
use shopctl::state::spec::Healthcheck;

use super::deploy;
use super::desired;
use super::world;

/// `goods` alone, by its health check.
fn checked() -> DesiredState {
    let mut desired = desired("1");
    desired.services.remove("order");
    desired.ports.clear();
    if let Some(goods) = desired.services.get_mut("goods") {
        goods.replicas = 1;
        goods.container.healthcheck = Some(Healthcheck::default());
        goods.container.live.memory = Some(24 << 20);
        goods.ready = ReadyGate::Healthy {
            deadline_ms: 1000,
            interval_ms: 100,
        };
    }
    desired
}

/// The failure of a first deploy whose container behaves like this.
async fn failure(behaviour: Behaviour) -> Box<Failure> {
    let memory = world();
    let desired = checked();
    memory.world().behaviours.insert("goods".into(), behaviour);
    // Its name is known once it was there.
    deploy(&memory, &desired).await;
    let names: Vec<String> = memory.world().containers.keys().cloned().collect();
    let memory = world();
    memory.world().behaviours.insert("goods".into(), behaviour);
    for name in names {
        let said = vec![
            "health check: exit code 7".into(),
            "health check: refused by s3cret".into(),
        ];
        memory.world().checks.insert(name, said);
    }
    match deploy(&memory, &desired).await {
        (Verdict::Failed(failure), _) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_health_check_said_is_told_without_secrets() {
    let failure = failure(Behaviour::Unhealthy).await;
    let output = failure.output.join("\n");
    assert!(output.contains("health check: exit code 7"), "{failure:?}");
    assert!(output.contains("refused by ****"), "{failure:?}");
    assert_eq!(failure.advice, None);
}

#[tokio::test(start_paused = true)]
async fn for_want_of_memory_the_limit_is_the_advice() {
    let failure = failure(Behaviour::OutOfMemory).await;
    let advice = failure.advice.clone().unwrap_or_default();
    for words in ["deploy.resources.limits.memory", "above the 24 MiB"] {
        assert!(advice.contains(words), "{failure:?}");
    }
}

//! A shopctl with another data plane brings it into the gateways that run.

use shopctl::backend::memory::Memory;
use shopctl::event::Event;
use shopctl::event::EventKind;
use shopctl::exec::Verdict;

use super::NoBuilds;
use super::deploy;
use super::desired;
use super::released;
use super::with_data_plane;
use super::world;

async fn deploy_with(data_plane: &str, memory: &Memory, version: &str) -> (Verdict, Vec<Event>) {
    let mut seen = Vec::new();
    let desired = desired(version);
    let verdict = with_data_plane(data_plane, memory, &desired, &NoBuilds, None, &mut seen).await;
    (verdict, seen)
}

fn done(events: &[Event]) -> Vec<&str> {
    let finished = events.iter().filter_map(|event| match &event.kind {
        EventKind::StepFinished { what, .. } => Some(what.as_str()),
        _ => None,
    });
    finished.collect()
}

fn warnings(events: &[Event]) -> Vec<&str> {
    let warned = events.iter().filter_map(|event| match &event.kind {
        EventKind::Warning { message } => Some(message.as_str()),
        _ => None,
    });
    warned.collect()
}

#[tokio::test(start_paused = true)]
async fn a_gateway_runs_the_data_plane_of_who_deploys() {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    let (verdict, events) = deploy_with("helper:2", &memory, "1").await;
    assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
    assert_eq!(
        done(&events),
        [
            "store data plane 2",
            "upgrade shop-gateway-1 to data plane 2"
        ]
    );
    let (verdict, events) = deploy_with("helper:2", &memory, "1").await;
    assert!(
        matches!(verdict, Verdict::Done { steps: 0, .. }),
        "{verdict:?}"
    );
    assert_eq!(warnings(&events), Vec::<&str>::new());
}

/// A store that nothing can be started from is no reason not to deploy.
#[tokio::test(start_paused = true)]
async fn a_gateway_that_cannot_be_upgraded_goes_on_and_so_does_the_deploy() {
    let memory = world();
    deploy(&memory, &desired("1")).await;
    memory.world().noexec = true;
    let (verdict, events) = deploy_with("helper:2", &memory, "2").await;
    assert_eq!(released(&verdict), Some(2), "{verdict:?} {events:#?}");
    assert_eq!(
        warnings(&events),
        [
            "shop-gateway-1 goes on with the data plane that it has; when its ports may be silent for a second: docker rm -f shop-gateway-1; shopctl deploy (shop-gateway-1 refused: Permission denied)"
        ]
    );
    // It has said so itself: nothing is tried again for the same program.
    let (verdict, events) = deploy_with("helper:2", &memory, "2").await;
    assert!(
        matches!(verdict, Verdict::Done { steps: 0, .. }),
        "{verdict:?}"
    );
    assert!(done(&events).is_empty(), "{events:#?}");
    memory.world().noexec = false;
    let (verdict, events) = deploy_with("helper:3", &memory, "2").await;
    assert!(matches!(verdict, Verdict::Done { .. }), "{verdict:?}");
    assert_eq!(done(&events).len(), 2, "another program is");
}

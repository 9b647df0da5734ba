//! Calls that break: the same action again ends as if nothing had happened.

use shopctl::backend::BackendError;
use shopctl::plan::action::Action;
use shopctl::state::names;
use shopctl::state::observed::InstanceState;
use shopctl::state::observed::Role;

use crate::support::shim::Break;
use crate::support::shim::Shim;
use crate::world::World;
use crate::world::remove;
use crate::world::start;
use crate::world::stop;

/// A life of everything, as actions.
fn script(world: &World) -> Vec<Action> {
    let instance = world.instance("order", &["back", "default"], &["keep"]);
    let container = instance.name.clone();
    let keeper = names::keeper(&world.stack);
    let network = |key| Action::RemoveNetwork {
        name: world.name(key),
    };
    vec![
        world.create_store(),
        world.create_network("back", false),
        world.create_network("default", false),
        world.create_helper(&keeper, Role::Keeper, &[], &[]),
        Action::CreateInstance { instance },
        start(&container),
        stop(&container),
        remove(&container),
        remove(&keeper),
        network("back"),
        network("default"),
        Action::RemoveVolume {
            name: names::store(&world.stack),
        },
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "engine"]
async fn after_any_broken_call_the_action_can_be_done_again() {
    let shim = Shim::start();
    let world = World::at(Some(shim.host())).await;
    let mut broken = 0;
    for action in script(&world) {
        for how in [Break::Before, Break::After] {
            // Until the action makes fewer calls than that.
            for number in 1.. {
                shim.reset(Some((number, how)));
                let outcome = world.try_apply(&action).await;
                if shim.mutating().len() < number {
                    outcome.unwrap();
                    break;
                }
                broken += 1;
                match outcome {
                    // The transport may repeat a call that the engine never saw.
                    Ok(()) => {}
                    Err(BackendError::Unreachable { .. }) => {
                        shim.reset(None);
                        let again = world.try_apply(&action).await;
                        assert!(
                            again.is_ok(),
                            "{action:?} after {how:?} {number}: {again:?}"
                        );
                    }
                    Err(other) => panic!("{action:?} {how:?} {number}: {other}"),
                }
                assert!(number <= 20, "{action:?} never ends");
            }
        }
        if matches!(action, Action::StartContainer { .. }) {
            let found = world.observe().await;
            let running = |name: &str| {
                let mut all = found.instances.iter();
                all.any(|one| one.name == name && one.state == InstanceState::Running)
            };
            assert!(running(&names::keeper(&world.stack)));
            assert_eq!(found.instances.len(), 2);
            let order = found
                .instances
                .iter()
                .find(|one| one.service == "order")
                .unwrap();
            assert_eq!(order.networks.len(), 2);
        }
    }
    let left = world.observe().await;
    assert!(left.instances.is_empty() && left.networks.is_empty() && left.volumes.is_empty());
    println!("{broken} broken calls");
    assert!(broken > 20);
}

#[tokio::test]
#[ignore = "engine"]
async fn a_look_changes_nothing() {
    let shim = Shim::start();
    let world = World::at(Some(shim.host())).await;
    world.keeper().await;
    shim.reset(None);
    world.observe().await;
    assert_eq!(shim.mutating(), []);
    assert!(shim.calls().len() >= 5);
}

#[tokio::test]
#[ignore = "engine"]
async fn an_engine_that_is_not_there_is_named() {
    use shopctl::backend::docker::Docker;
    use shopctl::backend::docker::Settings;
    let connect = async |host: &str| {
        let settings = Settings {
            host: Some(host.to_owned()),
            ..Settings::default()
        };
        Docker::connect(&settings).await.unwrap_err()
    };
    for host in ["unix:///none.sock", "tcp://127.0.0.1:1"] {
        let error = connect(host).await;
        assert_eq!(error.to_string(), format!("cannot reach {host}"));
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("os error"), "{source}");
    }
}

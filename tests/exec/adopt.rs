//! A project of Docker Compose that becomes a stack: nothing stops, all is known from then on.

use std::collections::BTreeMap;

use shopctl::backend::Observe as _;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::Memory;
use shopctl::exec::Verdict;
use shopctl::plan::Goal;
use shopctl::plan::Options;
use shopctl::plan::PlanInput;
use shopctl::plan::action::Action;
use shopctl::state::desired::DesiredState;
use shopctl::state::history::Head;
use shopctl::state::hooks::Hooks;
use shopctl::state::records::HEAD;

use super::deploy;
use super::desired;
use super::migrates;
use super::query;
use super::released;
use super::steps_left;
use super::world;

/// What Docker Compose would know the services by.
fn known(version: &str) -> DesiredState {
    let mut desired = desired(version);
    for (name, service) in &mut desired.services {
        service.compose_hash = format!("{name} {:?}", service.container.environment);
        service.replicas = 1;
    }
    // Hooks are for revisions that come.
    let goods = desired.services.get_mut("goods").expect("it is there");
    goods.hooks = migrates();
    desired
}

/// Docker Compose runs what the file says.
fn composed(desired: &DesiredState) -> Memory {
    let memory = world();
    let mut world = memory.world();
    for (name, service) in &desired.services {
        let port = if name == "order" {
            "0.0.0.0:8000/tcp"
        } else {
            ""
        };
        world.add_compose_container("shop", name, 1, port);
        let id = world.images["app:1"].id.clone();
        let made = world.containers.get_mut(&format!("shop-{name}-1"));
        let made = &mut made.expect("it was made").instance;
        made.compose_hash.clone_from(&service.compose_hash);
        made.image_id = id;
    }
    drop(world);
    memory
}

/// Container to engine id and start, of the services.
fn replicas(memory: &Memory) -> BTreeMap<String, (String, u64)> {
    let world = memory.world();
    let replicas = world.containers.values().map(|one| &one.instance);
    replicas
        .filter(|one| !one.service.is_empty())
        .map(|one| (one.name.clone(), (one.id.clone(), one.started_at)))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_docker_compose_made_from_the_same_file_stays_until_something_changes() {
    let first = known("1");
    let memory = composed(&first);
    let before = replicas(&memory);
    let (verdict, events) = deploy(&memory, &first).await;
    assert_eq!(released(&verdict), Some(1), "{verdict:?} {events:#?}");
    assert_eq!(replicas(&memory), before);
    assert_eq!(steps_left(&memory, &first).await, 0);

    // A change that Docker Compose would not see: it is one of ours by now.
    let mut second = known("1");
    let order = second.services.get_mut("order").expect("it is there");
    order.container.stop_grace_secs = Some(3);
    let (verdict, events) = deploy(&memory, &second).await;
    assert_eq!(released(&verdict), Some(2), "{verdict:?} {events:#?}");
    let after = replicas(&memory);
    assert_eq!(after["shop-goods-1"], before["shop-goods-1"]);
    assert!(!after.contains_key("shop-order-1"), "{after:?}");
    assert_eq!(memory.world().answering("shop", "order"), 1);
    assert_eq!(steps_left(&memory, &second).await, 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_taken_over_goes_with_the_stack_and_what_was_not_stays() {
    let file = known("1");
    let memory = composed(&file);
    memory
        .world()
        .add_compose_container("shop", "stranger", 1, "");
    deploy(&memory, &file).await;
    let observed = memory.observe(&query()).await.expect("memory answers");
    let options = Options {
        goal: Goal::Down { volumes: false },
        ..Options::default()
    };
    let plan = shopctl::plan::plan(&PlanInput {
        desired: &file,
        observed: &observed,
        options: &options,
    });
    let steps = plan.expect("a plan").steps;
    let removed = steps.iter().filter_map(|step| match &step.action {
        Action::RemoveContainer { container } => Some(container.as_str()),
        _ => None,
    });
    let removed: Vec<&str> = removed.collect();
    assert_eq!(
        removed,
        ["shop-keeper", "shop-order-1", "shop-goods-1"],
        "of the services, who needs goes first"
    );
}

/// A run that was killed at its end may have done all there was to do but the writing.
#[tokio::test(start_paused = true)]
async fn what_was_not_written_down_is_written_by_the_next_run() {
    let file = known("1");
    let memory = composed(&file);
    deploy(&memory, &file).await;
    let head = || {
        let world = memory.world();
        let records = &world.records["shop"];
        serde_json::from_slice::<Head>(&records[HEAD]).expect("JSON")
    };
    let mut lost = head();
    assert_eq!(lost.taken_over.len(), 2);
    lost.taken_over.clear();
    let bytes = serde_json::to_vec(&lost).expect("JSON");
    if let Some(records) = memory.world().records.get_mut("shop") {
        records.insert(HEAD.to_owned(), bytes);
    }
    let before = replicas(&memory);
    let (again, events) = deploy(&memory, &file).await;
    assert_eq!(released(&again), Some(2), "{again:?} {events:#?}");
    assert_eq!(head().taken_over.len(), 2);
    assert_eq!(replicas(&memory), before);
    let (third, _) = deploy(&memory, &file).await;
    assert_eq!(released(&third), None, "{third:?}");
}

/// What ran before shopctl came is not removed on the way back, whatever replaced it.
#[tokio::test(start_paused = true)]
async fn a_way_back_keeps_what_ran_before() {
    let file = known("1");
    let memory = composed(&file);
    let mut first = file.clone();
    first.services.remove("goods");
    first
        .services
        .get_mut("order")
        .expect("it is there")
        .needs
        .clear();
    deploy(&memory, &first).await;
    // `goods` is replaced first, then a new `order` ends at once.
    let mut second = known("2");
    let goods = second.services.get_mut("goods").expect("it is there");
    goods.container.stop_grace_secs = Some(7);
    goods.compose_hash.clear();
    goods.hooks = Hooks::default();
    memory
        .world()
        .behaviours
        .insert("order".to_owned(), Behaviour::Exits(3));
    let (verdict, events) = deploy(&memory, &second).await;
    assert!(
        matches!(verdict, Verdict::RolledBack { to: 1, .. }),
        "{verdict:?} {events:#?}"
    );
    let runs = memory.world().running("shop", "goods");
    assert_eq!(runs, 1, "{:?}", replicas(&memory));
}

//! How long a look takes. The bound of the project is checked on a release build by
//! the benches; this one keeps the order of magnitude.

use std::time::Duration;
use std::time::Instant;

use shopctl::plan::action::Action;

use crate::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "engine"]
async fn a_look_at_forty_containers_is_cheap() {
    let world = World::new().await;
    let creates = (0..40).map(|number| {
        let mut instance = world.instance("order", &[], &["keep"]);
        instance.name = format!("{}-order-{number}", world.stack);
        let action = Action::CreateInstance { instance };
        let world = &world;
        async move { world.apply(action).await }
    });
    futures_util::future::join_all(creates).await;
    let without = median(&world).await;
    world.keeper().await;
    let with = median(&world).await;
    println!("p50 of 50: {without:?} without a store, {with:?} with one");
    assert!(without < Duration::from_millis(150) && with < Duration::from_millis(300));
}

async fn median(world: &World) -> Duration {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        let found = world.observe().await;
        times.push(start.elapsed());
        assert!(found.instances.len() >= 40);
    }
    times.sort();
    times[25]
}

//! Values of secrets stay out of all that is said (invariant I15), also on the way back,
//! where the file has other values by now.

use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::world::image;

use crate::support::Bench;
use crate::support::Ran;

const STACK: &str = "services:
  goods:
    image: goods:1
    secrets: [key]
    x-shop: { ready: { http: /readyz, port: 8001 } }
    deploy: { update_config: { monitor: 0s } }
  order:
    image: order:1
    depends_on: [goods]
    x-shop: { ready: { http: /readyz, port: 8000 } }
    deploy: { update_config: { monitor: 0s } }
secrets: { key: { file: key } }
";

/// Release 1, whose `goods` says its key and the second line of it.
fn bench() -> Bench {
    let bench = Bench::new(STACK);
    {
        let mut world = bench.memory.world();
        for image in ["goods:1", "goods:2", "order:1", "order:2"] {
            world.add_image(image, "");
        }
    }
    bench.write("key", "canary-of-one\nsecond-line-of-one\n");
    let first = bench.run(&["deploy", "--progress", "none"]);
    assert_eq!(first.code, 0, "{first}");
    let mut world = bench.memory.world();
    let mut names = world.containers.keys();
    let name = names.find(|name| name.contains("-goods-1-")).cloned();
    let said = ["my key is canary-of-one", "and second-line-of-one, too"];
    world
        .logs
        .insert(name.expect("a replica"), said.map(str::to_owned).into());
    drop(world);
    bench.write("key", "canary-of-two");
    bench.write("stack.yaml", &STACK.replace("goods:1", "goods:2"));
    bench
}

/// The replicas of release 1 fail from now on.
fn spoil(bench: &Bench, more: &str) {
    let mut world = bench.memory.world();
    let old = image("goods:1", "").id;
    for name in [old.as_str(), more] {
        world
            .behaviours
            .insert(name.to_owned(), Behaviour::Exits(3));
    }
}

#[track_caller]
fn silent(ran: &Ran) {
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("canary"), "{ran}");
        assert!(!text.contains("second-line"), "{ran}");
    }
    assert!(ran.stderr.contains("my key is ****"), "{ran}");
}

#[test]
fn a_rollback_that_fails_says_no_value_of_a_secret() {
    let bench = bench();
    let second = bench.run(&["deploy", "--progress", "none"]);
    assert_eq!(second.code, 0, "{second}");
    spoil(&bench, "nothing");
    let failed = bench.run(&["rollback", "-o", "json", "--progress", "plain"]);
    assert_eq!(failed.code, 51, "{failed}");
    silent(&failed);
}

#[test]
fn an_automatic_way_back_that_fails_says_no_value_of_a_secret() {
    let bench = bench();
    // Everything is replaced by the time the hook fails.
    let hook = "ready: { http: /readyz, port: 8001 }, hooks: { post_deploy: { command: [/warm] } }";
    let text = STACK
        .replace("goods:1", "goods:2")
        .replace("ready: { http: /readyz, port: 8001 }", hook);
    bench.write("stack.yaml", &text);
    spoil(&bench, "shop-goods-post-deploy");
    let failed = bench.run(&["deploy", "-o", "json", "--progress", "plain"]);
    assert_eq!(failed.code, 51, "{failed}");
    silent(&failed);
}

//! Releases: recorded, listed, gone back to, and compared with what runs.

use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::World;
use shopctl::state::observed::InstanceState;

use crate::support::Bench;
use crate::support::Ran;
use crate::support::valid;

pub(crate) const STACK: &str = "services:
  goods:
    image: goods:1
    environment: { TOKEN: s3cret }
    x-shop: { ready: { http: /readyz, port: 8001 } }
    deploy: { update_config: { monitor: 0s } }
  order:
    image: order:1
    depends_on: [goods]
    ports: [{ target: 8000, published: '8000', app_protocol: http }]
    x-shop: { ready: { http: /readyz, port: 8000 } }
    deploy: { replicas: 2, update_config: { monitor: 0s } }
";

pub(crate) fn bench() -> Bench {
    let bench = Bench::new(STACK);
    let mut world = World::default();
    for image in ["goods:1", "goods:2", "order:1", "order:2"] {
        world.add_image(image, "");
    }
    *bench.memory.world() = world;
    bench
}

fn deploy(bench: &Bench) -> Ran {
    bench.run(&["deploy", "--yes", "--progress", "plain"])
}

fn images(bench: &Bench) -> Vec<String> {
    let world = bench.memory.world();
    let services = world.containers.values().filter(|one| {
        !one.instance.service.is_empty() && one.instance.state == InstanceState::Running
    });
    services.map(|one| one.instance.image.clone()).collect()
}

/// Both services in their second version, order never ready.
fn second(bench: &Bench) {
    let text = STACK
        .replace("goods:1", "goods:2")
        .replace("order:1", "order:2");
    bench.write("stack.yaml", &text);
}

#[test]
fn a_stack_that_fails_goes_back_as_a_whole() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    second(&bench);
    let order = ("order".to_owned(), Behaviour::Exits(3));
    bench.memory.world().behaviours.extend([order]);
    let failed = deploy(&bench);
    assert_eq!(failed.code, 50, "{failed}");
    assert!(
        failed.stderr.contains("going back to release 1"),
        "{failed}"
    );
    assert!(failed.stderr.contains("release 1 serves"), "{failed}");
    assert_eq!(
        images(&bench),
        ["goods:1", "order:1", "order:1"],
        "goods went back too"
    );
    let status = bench.run(&["status", "-o", "json"]).json();
    valid("status.json", &status);
    assert_eq!(status["release"], 1);
    assert_eq!(status["deployment"]["release"], 2);
    assert_eq!(status["deployment"]["outcome"], "rolled_back");
    assert!(
        bench
            .run(&["status"])
            .stdout
            .contains("failed and was rolled back")
    );
    assert_eq!(
        bench
            .run(&["status", "--drift", "--check", "-f", "stack.yaml"])
            .code,
        3
    );
}

#[test]
fn nothing_goes_back_where_that_is_not_wanted() {
    let order = || ("order".to_owned(), Behaviour::Exits(3));
    for (flag, file) in [("--no-rollback", ""), ("--yes", ", failure_action: pause")] {
        let bench = bench();
        assert_eq!(deploy(&bench).code, 0);
        let text = STACK
            .replace("goods:1", "goods:2")
            .replace("order:1", "order:2")
            .replace("monitor: 0s", &format!("monitor: 0s{file}"));
        bench.write("stack.yaml", &text);
        bench.memory.world().behaviours.extend([order()]);
        let failed = bench.run(&["deploy", "--progress", "none", flag]);
        assert_eq!(failed.code, 52, "{failed}");
        let images = images(&bench);
        assert!(images.contains(&"goods:2".to_owned()), "{images:?}");
        assert!(
            images.ends_with(&["order:1".to_owned(), "order:1".to_owned()]),
            "{images:?}"
        );
        // What stands is no release, so the stable one is another.
        bench.memory.world().behaviours.remove("order");
        let back = bench.run(&["rollback", "--progress", "none"]);
        assert_eq!(back.code, 0, "{back}");
        assert_eq!(self::images(&bench), ["goods:1", "order:1", "order:1"]);
    }
}

#[test]
fn the_same_release_again_is_no_way_back() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    let name = {
        let mut world = bench.memory.world();
        world
            .behaviours
            .insert("order".to_owned(), Behaviour::Exits(3));
        let mut names = world
            .containers
            .keys()
            .filter(|name| name.contains("order"));
        names.next().unwrap().clone()
    };
    bench.memory.world().containers.remove(&name);
    let failed = deploy(&bench);
    assert_eq!(failed.code, 52, "{failed}");
}

#[test]
fn rollback_takes_the_last_stable_release_that_is_another() {
    let bench = bench();
    assert_eq!(bench.run(&["rollback"]).code, 41, "there is no release yet");
    assert_eq!(deploy(&bench).code, 0);
    assert_eq!(
        bench.run(&["rollback"]).code,
        41,
        "there is no other release"
    );
    second(&bench);
    assert_eq!(deploy(&bench).code, 0);
    let back = bench.run(&["rollback", "--progress", "none"]);
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(images(&bench), ["goods:1", "order:1", "order:1"]);
    assert_eq!(
        bench.run(&["status", "--drift", "--check"]).code,
        3,
        "the file is ahead"
    );
    assert!(
        bench
            .run(&["status", "--drift"])
            .stdout
            .contains("no drift")
    );
    let again = bench.run(&["rollback", "--to", "2", "--progress", "none"]);
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(images(&bench), ["goods:2", "order:2", "order:2"]);
    assert_eq!(bench.run(&["rollback", "--to", "9"]).code, 41);
    let history = bench.run(&["history", "-o", "json"]).json();
    valid("history.json", &history);
    let releases = history["releases"].as_array().unwrap();
    let line = |at: usize| (&releases[at]["number"], &releases[at]["back_to"]);
    assert_eq!(
        (releases.len(), line(0), line(1)),
        (4, (&4.into(), &2.into()), (&3.into(), &1.into()))
    );
    assert_eq!(history["serving"], 4);
}

#[test]
fn a_release_that_failed_is_never_gone_back_to() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    second(&bench);
    bench
        .memory
        .world()
        .behaviours
        .insert("order".to_owned(), Behaviour::Exits(3));
    assert_eq!(deploy(&bench).code, 50);
    let refused = bench.run(&["rollback", "--to", "2"]);
    assert_eq!(refused.code, 41, "{refused}");
    assert!(refused.stderr.contains("never stable"), "{refused}");
    assert_eq!(bench.run(&["rollback"]).code, 41, "1 stands already");
}

#[test]
fn what_a_release_needs_and_is_gone_is_named_before_anything_is_touched() {
    let bench = Bench::new("services:\n  web: { build: ., x-shop: { ready: { tcp: 80 } } }\n");
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /one\n");
    assert_eq!(deploy(&bench).code, 0);
    bench.write("Dockerfile", "FROM scratch\nCOPY Dockerfile /two\n");
    assert_eq!(deploy(&bench).code, 0);
    let before = bench.memory.world().journal.len();
    let old = images(&bench);
    bench
        .memory
        .world()
        .images
        .retain(|name, _| old.contains(name) || name.starts_with("shopctl"));
    let refused = bench.run(&["rollback"]);
    assert_eq!(refused.code, 22, "{refused}");
    assert!(refused.stderr.contains("image shop-web:"), "{refused}");
    assert_eq!(
        bench.memory.world().journal.len(),
        before,
        "nothing was changed"
    );
}

#[test]
fn a_count_brings_nothing_along_that_was_not_deployed() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    second(&bench);
    assert_eq!(
        bench.run(&["scale", "order=3", "--progress", "none"]).code,
        0
    );
    assert_eq!(images(&bench), ["goods:1", "order:1", "order:1", "order:1"]);
    assert_eq!(
        bench.run(&["history", "-o", "json"]).json()["releases"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn drift_names_what_differs() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    {
        let mut world = bench.memory.world();
        let name = |world: &World, part: &str| {
            let mut names = world.containers.keys();
            names.find(|name| name.contains(part)).unwrap().clone()
        };
        let lost = name(&world, "order-2");
        world.containers.remove(&lost);
        let slim = name(&world, "goods-1");
        world
            .containers
            .get_mut(&slim)
            .unwrap()
            .instance
            .live
            .cpu_shares = Some(2);
    }
    let drifted = bench.run(&["status", "--drift", "--check"]);
    assert_eq!(drifted.code, 3);
    insta::assert_snapshot!(
        drifted
            .stdout
            .lines()
            .take(7)
            .collect::<Vec<_>>()
            .join("\n")
    );
    assert_eq!(deploy(&bench).code, 0);
    assert_eq!(bench.run(&["status", "--drift", "--check"]).code, 0);
}

#[test]
fn no_value_of_the_environment_is_shown_by_any_of_it() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    for command in [
        &["history"][..],
        &["history", "-o", "json"],
        &["status", "--drift", "-o", "json"],
    ] {
        let ran = bench.run(command);
        assert!(
            !ran.stdout.contains("s3cret") && !ran.stderr.contains("s3cret"),
            "{ran}"
        );
    }
}

#[test]
fn what_no_release_that_is_kept_needs_is_removed() {
    let bench = Bench::new(
        "services:\n  web: { build: ., secrets: [key], x-shop: { ready: { tcp: 80 } }, deploy: { update_config: { monitor: 0s } } }\nsecrets: { key: { file: key } }\n",
    );
    bench.write(".dockerignore", "key\n");
    for version in 1..=6 {
        bench.write(
            "Dockerfile",
            &format!("FROM scratch\nCOPY Dockerfile /{version}\n"),
        );
        bench.write("key", &format!("secret {version}"));
        assert_eq!(deploy(&bench).code, 0);
    }
    bench.memory.world().add_image("shop-web:foreign", "");
    let count = |bench: &Bench| {
        let world = bench.memory.world();
        let secrets = world.volumes.keys().filter(|name| name.contains("-files-"));
        (world.built.len(), secrets.count())
    };
    assert_eq!(count(&bench), (3, 3), "those of the last three releases");
    for to in ["5", "4"] {
        assert_eq!(bench.run(&["rollback", "--to", to]).code, 0);
    }
    assert_eq!(bench.run(&["rollback", "--to", "2"]).code, 22);
    assert!(bench.memory.world().images.contains_key("shop-web:foreign"));
}

#[test]
fn after_a_down_nothing_is_brought_back() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    assert_eq!(bench.run(&["down", "--progress", "none"]).code, 0);
    second(&bench);
    bench
        .memory
        .world()
        .behaviours
        .insert("order".to_owned(), Behaviour::Exits(3));
    let failed = deploy(&bench);
    assert_eq!(failed.code, 52, "{failed}");
    assert!(!images(&bench).contains(&"goods:1".to_owned()));
}

#[test]
fn a_first_deploy_of_one_service_records_what_came_with_it_and_no_more() {
    let bench = bench();
    let more = format!("{STACK}  mail: {{ image: goods:1, x-shop: {{ ready: {{ tcp: 25 }} }} }}\n");
    bench.write("stack.yaml", &more);
    let ran = bench.run(&["deploy", "order", "--progress", "none"]);
    assert_eq!(ran.code, 0, "{ran}");
    let history = bench.run(&["history", "-o", "json"]).json();
    let services = history["releases"][0]["services"].as_array().unwrap();
    let names: Vec<&str> = services
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["goods", "order"]);
    assert!(
        bench
            .run(&["status", "--drift"])
            .stdout
            .contains("no drift")
    );
    let again = bench.run(&["deploy", "order", "--progress", "plain"]);
    assert!(again.stderr.contains("nothing to do"), "{again}");
}

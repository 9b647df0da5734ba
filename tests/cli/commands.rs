//! Whole commands on a world in memory.

use shopctl::backend::memory::World;
use shopctl::state::observed::InstanceState;

use crate::support::Bench;
use crate::support::valid;

const STACK: &str = "services:
  goods:
    image: goods:1
    ports: [\"127.0.0.1:8001:8001\"]
    deploy: { resources: { reservations: { cpus: '0.25', memory: 64M } } }
  order:
    image: order:1
    environment: { GREETING: hello }
    depends_on: [goods]
    ports: [{ target: 8000, published: '8000', app_protocol: http }]
    deploy: { replicas: 2 }
";

/// A world whose engine has four cores and the images of [`STACK`].
fn bench() -> Bench {
    let bench = Bench::new(STACK);
    let mut world = World::default();
    "engine".clone_into(&mut world.engine.name);
    world.engine.cpus = 4;
    world.engine.memory = 8 << 30;
    world.engine.cgroup = 1;
    world.add_image("goods:1", "");
    world.add_image("order:1", "");
    *bench.memory.world() = world;
    bench
}

#[test]
fn config_in_its_forms() {
    let bench = bench();
    let json = bench.run(&["config", "-o", "json"]).json();
    assert_eq!(json["services"]["order"]["image"], "order:1");
    assert_eq!(
        bench.run(&["config", "--services"]).stdout,
        "goods\norder\n"
    );
    assert_eq!(
        bench.run(&["config", "--images"]).stdout,
        "goods:1\norder:1\n"
    );
    assert_eq!(bench.run(&["config", "-q"]).stdout, "");
    insta::assert_snapshot!(bench.run(&["config"]));
}

/// One that works and one that does not, each with what was found.
#[test]
fn config_tells_what_is_wrong_quiet_or_not_and_as_a_document() {
    let works = Bench::new(
        "services:\n  order:\n    image: order:1\n    network_mode: host\n    mac_address: 02:42:ac:11:65:43\n    links: [\"goods:shelf\"]\n  goods: { image: goods:1, deploy: { placement: { constraints: [a == b] } } }\n",
    );
    let loud = works.run(&["config"]);
    let quiet = works.run(&["config", "-q"]);
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""));
    assert_eq!(loud.stderr, quiet.stderr);
    let document = works.run(&["config", "-q", "--output", "json"]);
    assert_eq!((document.code, document.stderr.as_str()), (0, ""));
    valid("problems.json", &document.json());
    insta::assert_snapshot!(format!("{}\n{}", quiet.stderr, document.stdout));

    let fails = Bench::new("services:\n  order: { imag: order:1, ports: [\"x\"] }\n");
    let document = fails.run(&["config", "-q", "-o", "json"]);
    assert_eq!((document.code, document.stderr.as_str()), (20, ""));
    valid("problems.json", &document.json());
    insta::assert_snapshot!(document.stdout);
    // A list stays a list.
    let names = works.run(&["config", "-q", "-o", "json", "--services"]);
    assert_eq!(names.stdout, "goods\norder\n");
}

#[test]
fn config_merges_several_files_in_order() {
    let bench = bench();
    bench.write("more.yaml", "services:\n  order: { image: order:2 }\n");
    let images = bench.run(&["-f", "stack.yaml", "config", "-f", "more.yaml", "--images"]);
    assert_eq!(images.stdout, "goods:1\norder:2\n", "{images}");
}

#[test]
fn shopctl_file_names_the_stack_file() {
    let mut bench = Bench::empty();
    bench.write("elsewhere.yaml", "services:\n  only: { image: x }\n");
    bench.set("SHOPCTL_FILE", "elsewhere.yaml");
    assert_eq!(bench.run(&["config", "--services"]).stdout, "only\n");
}

#[test]
fn config_hash_changes_with_the_environment_alone() {
    let bench = bench();
    let before = bench.run(&["config", "--hash", "*"]).stdout;
    bench.write("stack.yaml", &STACK.replace("hello", "good day"));
    let after = bench.run(&["config", "--hash", "*"]).stdout;
    let line = |text: &str, number: usize| text.lines().nth(number).map(str::to_owned);
    assert_eq!(line(&before, 0), line(&after, 0), "goods is the same");
    assert_ne!(line(&before, 1), line(&after, 1), "order is not");
}

#[test]
fn config_lists_the_variables_of_the_file() {
    let bench = Bench::new(
        "services:\n  a: { image: \"x:${TAG:-1}\", environment: { K: \"${KEY:?set it}\" } }\n",
    );
    assert_eq!(bench.run(&["config", "-q"]).code, 20, "KEY is not set");
    let mut bench = bench;
    bench.set("KEY", "secret");
    insta::assert_snapshot!(bench.run(&["config", "--variables"]));
    let raw = bench
        .run(&["config", "--no-interpolate", "-o", "json"])
        .json();
    assert_eq!(raw["services"]["a"]["image"], "x:${TAG:-1}");
}

#[test]
fn plan_says_why_and_shows_no_value() {
    let bench = bench();
    insta::assert_snapshot!(bench.run(&["plan"]));
    insta::assert_snapshot!(bench.run(&["plan", "-o", "markdown"]));
    let json = bench.run(&["plan", "-o", "json"]);
    valid("plan.json", &json.json());
    assert!(!json.stdout.contains("hello"), "values stay out: {json}");
    assert_eq!(bench.run(&["plan", "--check"]).code, 3);
}

#[test]
fn capacity_in_its_forms() {
    let bench = bench();
    valid(
        "capacity.json",
        &bench.run(&["capacity", "-o", "json"]).json(),
    );
    insta::assert_snapshot!(bench.run(&["capacity"]));
    insta::assert_snapshot!(bench.run(&["capacity", "-o", "markdown"]));
    insta::assert_snapshot!(bench.run(&["capacity", "-o", "yaml"]));
}

#[test]
fn deploy_then_look_at_everything() {
    let bench = bench();
    let deployed = bench.run(&["deploy", "--progress", "none", "-o", "json"]);
    assert_eq!(deployed.code, 0, "{deployed}");
    let last = deployed.stdout.lines().last().expect("a last line");
    assert!(last.contains("\"finished\""), "{last}");

    for line in deployed.stdout.lines() {
        let event = serde_json::from_str(line).expect("each line is JSON");
        valid("event.json", &event);
    }
    valid("status.json", &bench.run(&["status", "-o", "json"]).json());

    insta::assert_snapshot!(bench.run(&["status"]));
    assert_eq!(bench.run(&["status", "--check"]).code, 0);
    assert_eq!(bench.run(&["plan", "--check"]).code, 0);

    let exec = bench.run(&["exec", "order", "--", "/bin/say", "hello"]);
    assert_eq!(
        (exec.code, exec.stdout.as_str()),
        (0, "/bin/say hello\n"),
        "{exec}"
    );

    let run = bench.run(&["run", "order", "--", "/bin/say", "hello"]);
    assert_eq!((run.code, run.stdout.as_str()), (0, "it ran\n"), "{run}");

    let again = bench.run(&["deploy", "--progress", "plain"]);
    assert_eq!(again.code, 0, "{again}");
    assert!(again.stderr.contains("nothing to do"), "{again}");

    let down = bench.run(&["down", "--volumes", "--yes", "--progress", "none"]);
    assert_eq!(down.code, 0, "{down}");
}

#[test]
fn logs_are_merged_by_time_with_their_origin() {
    let bench = bench();
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    let names: Vec<String> = bench.memory.world().containers.keys().cloned().collect();
    let find = |start: &str| {
        names
            .iter()
            .find(|name| name.starts_with(start))
            .expect("a replica")
    };
    let line = |second: u32, text: &str| format!("2026-01-01T00:00:{second:02}.000000000Z {text}");
    {
        let mut world = bench.memory.world();
        let logs = &mut world.logs;
        logs.insert(
            find("shop-order-1-").clone(),
            vec![line(1, "first"), line(4, "fourth")],
        );
        logs.insert(find("shop-order-2-").clone(), vec![line(3, "third")]);
        logs.insert(find("shop-goods-1-").clone(), vec![line(2, "second")]);
    }
    assert_eq!(
        bench.run(&["logs"]).stdout,
        "order-1 | first\ngoods-1 | second\norder-2 | third\norder-1 | fourth\n"
    );
    assert_eq!(bench.run(&["logs", "goods"]).stdout, "goods-1 | second\n");
    assert_eq!(
        bench.run(&["logs", "--tail", "1", "order"]).stdout,
        "order-2 | third\norder-1 | fourth\n"
    );
}

#[test]
fn build_sends_nothing_the_second_time() {
    let bench = Bench::new("services:\n  app: { build: . }\n  db: { image: db:1 }\n");
    bench.write("Dockerfile", "FROM scratch\n");
    let first = bench.run(&["build", "-o", "json"]);
    assert_eq!(first.code, 0, "{first}");
    valid("build.json", &first.json());
    let images = first.json()["images"].clone();
    assert_eq!(
        (&images[0]["service"], &images[0]["built"]),
        (&"app".into(), &true.into())
    );
    assert_eq!(images.as_array().map(Vec::len), Some(1));
    let second = bench.run(&["build", "-o", "json"]).json();
    assert_eq!(second["images"][0]["built"], false);
    assert_eq!(second["images"][0]["ref"], images[0]["ref"]);
}

#[test]
fn doctor_names_what_is_missing_and_goes_on() {
    let bench = Bench::empty();
    *bench.memory.world() = World::default();
    let ran = bench.run(&["doctor", "-o", "json"]);
    let report = ran.json();
    valid("doctor.json", &report);
    let checks = report["checks"].as_array().expect("checks");
    let stack = checks
        .iter()
        .find(|it| it["name"] == "stack file")
        .expect("a check");
    assert_eq!(stack["outcome"], "warning");
    assert!(
        stack["mend"]
            .as_str()
            .is_some_and(|mend| mend.contains("shopctl init"))
    );
    assert!(
        checks.iter().any(|it| it["name"] == "disk"),
        "it went on: {ran}"
    );
}

#[test]
fn doctor_finds_a_port_that_a_foreign_container_holds() {
    let bench = bench();
    bench
        .memory
        .world()
        .foreign
        .push(shopctl::state::observed::Foreign {
            name: "squatter".to_owned(),
            host_ports: ["127.0.0.1:8000/tcp".to_owned()].into(),
            ..Default::default()
        });
    let ran = bench.run(&["doctor"]);
    assert_eq!(ran.code, 3, "{ran}");
    assert!(
        ran.stdout.contains("8000 is held by container squatter"),
        "{ran}"
    );
}

#[test]
fn a_plan_file_is_carried_out_or_refused_as_stale() {
    let bench = bench();
    assert_eq!(bench.run(&["plan", "--out", "plan.json"]).code, 0);
    let text = std::fs::read_to_string(bench.path().join("plan.json")).expect("a plan file");
    assert!(!text.contains("hello"), "values stay out");
    valid("plan.json", &serde_json::from_str(&text).expect("JSON"));

    bench.write("stack.yaml", &STACK.replace("hello", "good day"));
    let stale = bench.run(&["deploy", "--plan", "plan.json"]);
    assert_eq!(stale.code, 42, "{stale}");
    assert!(
        bench.memory.world().containers.is_empty(),
        "nothing was changed"
    );

    bench.write("stack.yaml", STACK);
    let done = bench.run(&["deploy", "--plan", "plan.json", "--progress", "plain"]);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(bench.run(&["plan", "--check"]).code, 0);
    let again = bench.run(&["deploy", "--plan", "plan.json"]);
    assert_eq!(again.code, 42, "the world has moved: {again}");
    assert_eq!(bench.run(&["deploy", "--plan", "absent.json"]).code, 2);
}

/// [`STACK`] without the time in which a replica is watched.
fn quick() -> String {
    let rollout = "deploy: { update_config: { monitor: 0s }, ";
    STACK.replace("deploy: { ", rollout)
}

fn prompt() -> Bench {
    let bench = bench();
    bench.write("stack.yaml", &quick());
    bench
}

#[test]
fn a_plan_file_is_held_against_the_world_under_the_lock() {
    let bench = prompt();
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    bench.write("stack.yaml", &quick().replace("hello", "good day"));
    assert_eq!(bench.run(&["plan", "--out", "plan.json"]).code, 0);
    let journal = bench.memory.world().journal.len();
    bench.memory.world().before_lock = Some(|world| {
        let mut containers = world.containers.values_mut();
        let replica = containers.find(|one| one.instance.service == "goods");
        replica.expect("a replica").instance.state = InstanceState::Exited {
            code: 1,
            oom: false,
        };
    });
    let stale = bench.run(&["deploy", "--plan", "plan.json"]);
    assert_eq!(stale.code, 42, "{stale}");
    assert!(stale.stderr.contains("the plan is stale"), "{stale}");
    let world = bench.memory.world();
    assert_eq!(world.journal.len(), journal, "nothing was changed");
    assert_eq!(world.releases["shop"].len(), 1, "nothing was recorded");
    assert!(world.locks.is_empty(), "the lock is free");
}

/// A yes to all questions is no flag that changes a plan.
#[test]
fn a_plan_file_removes_no_more_than_it_says() {
    let bench = prompt();
    let more = format!("{}  mail: {{ image: goods:1 }}\n", quick());
    bench.write("stack.yaml", &more);
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    bench.write("stack.yaml", &quick().replace("hello", "good day"));
    assert_eq!(bench.run(&["plan", "--out", "plan.json"]).code, 0);
    let done = bench.run(&["deploy", "--plan", "plan.json", "--yes"]);
    assert_eq!(done.code, 0, "{done}");
    assert_eq!(bench.memory.world().running("shop", "mail"), 1);
    for flags in [
        &["--prune"][..],
        &["--pull"],
        &["--overcommit", "cpu=2"],
        &["--reset-scale"],
        &["order"],
    ] {
        let refused = bench.run(&[&["deploy", "--plan", "plan.json"], flags].concat());
        assert_eq!(refused.code, 2, "{flags:?}: {refused}");
    }
}

#[test]
fn progress_without_a_terminal_is_plain() {
    let bench = bench();
    let ran = bench.run(&["deploy"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(ran.stdout, "", "progress goes to stderr");
    assert!(ran.stderr.lines().count() > 5, "{ran}");
    let control = |letter: char| letter.is_control() && letter != '\n';
    assert!(!ran.stderr.contains(control), "{:?}", ran.stderr);
    assert!(ran.stderr.contains("order: "), "{ran}");
}

#[test]
fn demand_that_does_not_fit_is_refused_with_its_table() {
    let bench = bench();
    bench.write("stack.yaml", &STACK.replace("64M", "900G"));
    insta::assert_snapshot!(bench.run(&["deploy"]));
    assert_eq!(bench.run(&["capacity"]).code, 0, "the answer is no failure");
    assert!(
        bench.memory.world().containers.is_empty(),
        "nothing was changed"
    );
}

#[test]
fn a_stack_is_looked_at_and_taken_down_without_its_sources() {
    let bench = bench();
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    let gone = STACK.replace("image: goods:1", "build: ./not-here");
    bench.write("stack.yaml", &gone);
    assert_eq!(bench.run(&["plan"]).code, 21, "a plan needs the sources");
    for command in [&["status"][..], &["capacity"], &["restart", "order"]] {
        let ran = bench.run(command);
        assert_eq!(ran.code, 0, "{command:?}: {ran}");
    }
    let down = bench.run(&["down", "--yes"]);
    assert_eq!(down.code, 0, "{down}");
    assert_eq!(bench.memory.world().running("shop", "goods"), 0);
}

#[test]
fn a_network_that_the_engine_will_not_let_go_does_not_fail_a_down() {
    let bench = bench();
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    let stuck = "shop_default".to_owned();
    bench.memory.world().stuck.insert(stuck.clone());
    let down = bench.run(&["down", "--yes"]);
    assert_eq!(down.code, 0, "{down}");
    assert!(down.stderr.contains("network shop_default stays"), "{down}");
    assert!(bench.memory.world().containers.is_empty());
    assert_eq!(
        bench.run(&["deploy", "--progress", "none"]).code,
        0,
        "it is used again"
    );
}

/// A stack for a cluster is not brought to an engine because a flag was forgotten.
#[test]
fn the_backend_of_the_file_holds_where_no_flag_says_otherwise() {
    let file = |backend: &str| {
        format!("x-shop: {{ backend: {backend} }}\nservices: {{ a: {{ image: \"a:1\" }} }}\n")
    };
    let bench = Bench::new(&file("swarm"));
    let refused = bench.run(&["deploy", "--progress", "none"]);
    assert_eq!(refused.code, 2, "{refused}");
    for words in [
        "the swarm backend is not part of this version",
        "hint: --backend docker",
    ] {
        assert!(refused.stderr.contains(words), "{refused}");
    }
    assert!(bench.memory.world().containers.is_empty());
    let bench = Bench::new(&file("kubernetes"));
    let rendered = bench.run(&["render"]);
    assert_eq!(rendered.code, 0, "{rendered}");
    assert!(rendered.stdout.contains("kind: Deployment"), "{rendered}");
    let engine = ["--backend", "docker"];
    assert_eq!(bench.run(&[&engine[..], &["render"]].concat()).code, 2);
    let planned = bench.run(&[&engine[..], &["plan"]].concat());
    assert_eq!(planned.code, 0, "{planned}");
}

#[cfg(feature = "kubernetes")]
#[test]
fn objects_of_a_cluster_are_written_as_a_chart_or_a_base() {
    let bench = Bench::new(
        "x-shop: { backend: kubernetes, mesh: istio }\nservices: { a: { image: \"a:1\", x-shop: { autoscale: { max: 3 } } } }\n",
    );
    let nowhere = bench.run(&["render", "--format", "helm"]);
    assert_eq!(nowhere.code, 2, "{nowhere}");
    assert!(nowhere.stderr.contains("--out"), "{nowhere}");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    for (form, file) in [("helm", "templates"), ("kustomize", "kustomization.yaml")] {
        let out = format!("{out}-{form}");
        let made = bench.run(&["render", "--format", form, "--out", &out]);
        assert_eq!((made.code, made.stdout.as_str()), (0, ""), "{made}");
        assert!(std::path::Path::new(&out).join(file).exists(), "{out}");
        // They act there, so nobody is warned that they do not.
        assert!(!made.stderr.contains("has no effect"), "{made}");
    }
    let plain = bench.run(&["render"]);
    assert!(
        plain.stdout.contains("kind: HorizontalPodAutoscaler"),
        "{plain}"
    );
    let keda = bench.run(&["render", "--has", "keda,openshift"]);
    assert!(keda.stdout.contains("kind: ScaledObject"), "{keda}");
    let engine = bench.run(&["--backend", "docker", "plan"]);
    for key in ["x-shop.mesh", "services.a.x-shop.autoscale"] {
        let named = format!("warning: {key} has no effect");
        assert!(engine.stderr.contains(&named), "{key}: {engine}");
    }
}

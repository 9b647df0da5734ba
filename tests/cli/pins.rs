//! Images of releases: a reference may come to mean another image, a release does not.

use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::world::image;
use shopctl::state::observed::ImageInfo;

use crate::support::Bench;
use crate::support::Ran;
use crate::support::valid;

const STACK: &str = "services:
  order:
    image: order:1
    ports: [{ target: 8000, published: '8000', app_protocol: http }]
    x-shop: { ready: { http: /readyz, port: 8000 } }
    deploy: { replicas: 2, update_config: { monitor: 0s } }
";

fn bench() -> Bench {
    let bench = Bench::new(STACK);
    bench.memory.world().add_image("order:1", "one");
    bench
}

fn deploy(bench: &Bench) -> Ran {
    bench.run(&["deploy", "--progress", "plain"])
}

fn id(content: &str) -> String {
    image("order:1", content).id
}

/// Ids of the images that replicas run.
fn running(bench: &Bench) -> Vec<String> {
    let world = bench.memory.world();
    let replicas = world
        .containers
        .values()
        .filter(|one| one.instance.service == "order" && one.runs());
    replicas.map(|one| one.instance.image_id.clone()).collect()
}

/// An image as a registry gives it.
fn pulled(content: &str, digest: &str) -> ImageInfo {
    ImageInfo {
        repo_digests: vec![format!("order@sha256:{digest}")],
        ..image("order:1", content)
    }
}

#[test]
fn a_moved_reference_with_a_bad_image_goes_back_to_the_image_that_served() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    {
        let mut world = bench.memory.world();
        world.add_image("order:1", "bad");
        world.behaviours.insert(id("bad"), Behaviour::Exits(3));
    }
    let failed = deploy(&bench);
    assert_eq!(failed.code, 50, "{failed}");
    assert_eq!(running(&bench), [id("one"), id("one")]);
    let drift = bench.run(&["status", "--drift"]);
    assert!(drift.stdout.contains("no drift"), "{drift}");
    assert_eq!(bench.run(&["plan", "--check"]).code, 3, "the file is ahead");
}

#[test]
fn a_rollback_brings_the_image_back_and_a_count_stays_with_it() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    bench.memory.world().add_image("order:1", "two");
    let second = deploy(&bench);
    assert_eq!(second.code, 0, "{second}");
    assert_eq!(running(&bench), [id("two"), id("two")]);
    let back = bench.run(&["rollback", "--progress", "plain"]);
    assert_eq!(back.code, 0, "{back}");
    assert_eq!(running(&bench), [id("one"), id("one")]);
    let more = bench.run(&["scale", "order=3", "--progress", "none"]);
    assert_eq!(more.code, 0, "{more}");
    assert_eq!(running(&bench), [id("one"), id("one"), id("one")]);
    let again = bench.run(&["rollback", "--to", "2", "--progress", "none"]);
    assert_eq!(again.code, 0, "{again}");
    assert_eq!(running(&bench).first(), Some(&id("two")));
}

#[test]
fn an_image_of_a_release_that_is_gone_is_named_before_anything_is_touched() {
    let bench = bench();
    assert_eq!(deploy(&bench).code, 0);
    bench.memory.world().add_image("order:1", "two");
    assert_eq!(deploy(&bench).code, 0);
    let journal = {
        let mut world = bench.memory.world();
        world.images.remove(&id("one"));
        world.journal.len()
    };
    let refused = bench.run(&["rollback"]);
    assert_eq!(refused.code, 22, "{refused}");
    let short = &id("one")[..19];
    let named = format!("image order:1 ({short})");
    assert!(refused.stderr.contains(&named), "{refused}");
    assert_eq!(bench.memory.world().journal.len(), journal);
    assert_eq!(running(&bench), [id("two"), id("two")]);
}

#[test]
fn an_image_that_was_pulled_is_had_again_by_its_digest() {
    let bench = Bench::new(&STACK.replace("order:1\n", "order:1\n    pull_policy: always\n"));
    let offer = |content: &str, digest: &str| {
        let mut world = bench.memory.world();
        let info = pulled(content, digest);
        let by_digest = info.repo_digests[0].clone();
        world.registry.insert(by_digest, info.clone());
        world.registry.insert("order:1".to_owned(), info);
    };
    offer("one", "11");
    assert_eq!(deploy(&bench).code, 0);
    offer("two", "22");
    assert_eq!(deploy(&bench).code, 0);
    assert_eq!(running(&bench), [id("two"), id("two")]);
    let history = bench.run(&["history", "-o", "json"]).json();
    valid("history.json", &history);
    let first = &history["releases"][1]["services"][0];
    assert_eq!(first["image_id"], id("one"), "{history:#}");
    assert_eq!(first["repo_digest"], "order@sha256:11", "{history:#}");

    bench.memory.world().images.remove(&id("one"));
    let back = bench.run(&["rollback", "--progress", "plain"]);
    assert_eq!(back.code, 0, "{back}");
    assert!(back.stderr.contains("order@sha256:11"), "{back}");
    assert_eq!(running(&bench), [id("one"), id("one")]);

    // Neither here nor there.
    {
        let mut world = bench.memory.world();
        world.images.remove(&id("two"));
        world.registry.clear();
    }
    let gone = bench.run(&["rollback", "--to", "2"]);
    assert_eq!(gone.code, 22, "{gone}");
    assert_eq!(running(&bench), [id("one"), id("one")]);
}

/// What is pulled in a run is what its replicas run, and what its release records.
#[test]
fn a_bad_image_that_a_deploy_pulls_goes_back_without_another_pull() {
    let bench = Bench::new(&STACK.replace("order:1\n", "order:1\n    pull_policy: always\n"));
    let offer = |content: &str| {
        let info = image("order:1", content);
        bench
            .memory
            .world()
            .registry
            .insert("order:1".to_owned(), info);
    };
    offer("one");
    assert_eq!(deploy(&bench).code, 0);
    offer("bad");
    let bad = (id("bad"), Behaviour::Exits(3));
    bench.memory.world().behaviours.extend([bad]);
    let failed = deploy(&bench);
    assert_eq!(failed.code, 50, "{failed}");
    assert_eq!(running(&bench), [id("one"), id("one")]);
    // The same again, the environment changed too: pull and replacement in one plan.
    let text = STACK.replace(
        "order:1\n",
        "order:1\n    pull_policy: always\n    environment: { A: b }\n",
    );
    bench.write("stack.yaml", &text);
    let failed = deploy(&bench);
    assert_eq!(failed.code, 50, "{failed}");
    assert_eq!(running(&bench), [id("one"), id("one")]);
}

#[test]
fn config_names_images_by_the_digests_of_their_registries() {
    let digest = "sha256:00";
    let file = format!(
        "services:
  a: {{ image: order }}
  b: {{ image: \"order:1@{digest}\" }}
  c: {{ build: . }}
  d: {{ image: gone:1 }}
"
    );
    let bench = Bench::new(&file);
    let known = image("order", "one");
    let id = known.id.clone();
    bench
        .memory
        .world()
        .registry
        .insert("order".to_owned(), known);
    let gone = bench.run(&["config", "--resolve-image-digests"]);
    assert_eq!(gone.code, 22, "{gone}");
    assert!(gone.stderr.contains("gone:1"), "{gone}");
    bench.write("stack.yaml", &file.replace("gone:1", "order"));
    let pinned = bench.run(&["config", "--resolve-image-digests", "-o", "json"]);
    let document: serde_json::Value = serde_json::from_str(&pinned.stdout).expect("JSON");
    let image = |service: &str| document["services"][service]["image"].clone();
    let latest = format!("order:latest@{id}");
    assert_eq!(image("a"), latest);
    assert_eq!(image("b"), format!("order:1@{digest}"));
    assert_eq!(image("c"), serde_json::Value::Null);
    assert_eq!(image("d"), latest);
}

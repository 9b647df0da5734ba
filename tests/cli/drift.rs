//! `status --drift`: every kind of difference from the release is named, and a way back
//! never leads to what stands or never stood.

use proptest::prelude::*;
use serde_json::Value;
use shopctl::backend::memory::Behaviour;
use shopctl::backend::memory::World;
use shopctl::backend::memory::world::image;
use shopctl::state::observed::Environment;
use shopctl::state::observed::Instance;

use crate::support::Bench;

const STACK: &str = "services:
  order:
    image: order:1
    environment: { GREETING: hello }
    ports: [{ target: 8000, published: '8000', app_protocol: http }]
    x-shop: { ready: { http: /readyz, port: 8000 } }
    deploy: { replicas: 2, update_config: { monitor: 0s } }
";

fn bench() -> Bench {
    let bench = Bench::new(STACK);
    for version in 1..=3 {
        let name = format!("order:{version}");
        bench.memory.world().add_image(&name, "");
    }
    bench
}

fn replica(world: &mut World) -> &mut Instance {
    let mut containers = world.containers.values_mut();
    let found = containers.find(|one| one.instance.service == "order");
    &mut found.expect("a replica").instance
}

#[test]
fn drift_names_every_kind_of_difference() {
    type Spoil = fn(&mut World);
    let cases: [(&str, Spoil); 6] = [
        ("image changed", |world| {
            replica(world).image_id = "sha256:other".to_owned();
        }),
        ("environment changed (GREETING)", |world| {
            let one = replica(world);
            one.revision = "other".to_owned();
            let pair = ("GREETING".to_owned(), "bye".to_owned());
            one.environment = Some(Environment([pair].into()));
        }),
        ("memory limit", |world| {
            replica(world).live.memory = Some(64 << 20);
        }),
        ("order/", |world| {
            let routes = world.routes.get_mut("shop").expect("routes");
            routes.services.clear();
        }),
        ("order/1: missing", |world| {
            let name = replica(world).name.clone();
            world.containers.remove(&name);
        }),
        ("mail", |world| {
            world.add_compose_container("shop", "mail", 1, "");
        }),
    ];
    for (words, spoil) in cases {
        let bench = bench();
        assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
        let clean = bench.run(&["status", "--drift", "--check"]);
        assert_eq!(clean.code, 0, "{clean}");
        spoil(&mut bench.memory.world());
        let drifted = bench.run(&["status", "--drift", "--check", "-o", "json"]);
        let lines = drifted.json()["drift"].to_string();
        assert!(lines.contains(words), "{words}: {lines}");
        assert_eq!(drifted.code, 3, "{words}: {drifted}");
    }
}

/// The recorded releases in their order.
fn releases(bench: &Bench) -> Vec<Value> {
    let world = bench.memory.world();
    let documents = world.releases.get("shop").into_iter().flatten();
    documents
        .map(|(_, bytes)| serde_json::from_slice(bytes).expect("JSON"))
        .collect()
}

fn stable(releases: &[Value]) -> Option<&Value> {
    let mut newest = releases.iter().rev();
    newest.find(|one| one["outcome"] == "deployed")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Invariant I14.
    #[test]
    fn a_way_back_leads_to_another_stable_release_and_is_gone_once(
        acts in proptest::collection::vec((0_u32..4, any::<bool>()), 1..7),
    ) {
        let bench = bench();
        for (version, bad) in acts {
            let before = releases(&bench);
            let id = image(&format!("order:{version}"), "").id;
            bench.memory.world().behaviours.clear();
            if bad {
                bench.memory.world().behaviours.insert(id, Behaviour::Exits(3));
            }
            let ran = if version == 0 {
                bench.run(&["rollback", "--progress", "plain"])
            } else {
                let file = STACK.replace("order:1", &format!("order:{version}"));
                bench.write("stack.yaml", &file);
                bench.run(&["deploy", "--progress", "plain"])
            };
            let after = releases(&bench);
            prop_assert!(ran.stderr.matches("going back to release").count() <= 1, "{}", ran);
            let newest = after.last();
            match (version, ran.code) {
                (0, 0) => {
                    let to = newest.map(|one| one["back_to"].clone());
                    let target = before.iter().find(|one| Some(&one["number"]) == to.as_ref());
                    let target = target.expect("it is recorded");
                    prop_assert_eq!(&target["outcome"], "deployed");
                    let stood = stable(&before).expect("one stood");
                    let whole = before.last().is_some_and(|one| one["outcome"] != "failed");
                    prop_assert!(!whole || target["spec"] != stood["spec"], "{}", ran);
                }
                (_, 50) => {
                    let stood = stable(&before).expect("one stood");
                    let newest = newest.expect("it is recorded");
                    prop_assert_eq!(&newest["outcome"], "rolled_back");
                    prop_assert_ne!(&newest["spec"], &stood["spec"]);
                    prop_assert_eq!(stable(&after).map(|one| &one["number"]), Some(&stood["number"]));
                }
                (_, code) => prop_assert!([0, 41, 51, 52].contains(&code), "{}", ran),
            }
        }
    }
}

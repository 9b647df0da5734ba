//! What happens to a revision that does not come up, and the way back.

use super::support::DEPLOYMENT;
use super::support::PODS;
use super::support::Stack;
use super::support::order;

fn image(stack: &Stack) -> String {
    let found = stack.api().get(DEPLOYMENT);
    let image = &found["spec"]["template"]["spec"]["containers"][0]["image"];
    image.as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs a cluster"]
fn a_bad_revision_is_taken_back_and_the_old_pods_never_stop() {
    let stack = Stack::new("bad", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    let before = stack.api().names(PODS);
    stack.write(&order("shop/bad:2", ""));
    let said = stack.run(&["deploy"]).ends(50);
    assert!(
        said.err.contains("image shop/bad:2 cannot be pulled"),
        "{}",
        said.err
    );
    assert!(
        said.err
            .contains("the stack went back, and release 1 serves"),
        "{}",
        said.err
    );
    let after = stack.api().names(PODS);
    assert!(
        before.iter().all(|pod| after.contains(pod)),
        "{before:?} {after:?}"
    );
    assert_eq!(image(&stack), "shop/order:1");
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    assert_eq!(history["releases"][0]["outcome"], "rolled_back");
}

#[test]
#[ignore = "needs a cluster"]
fn a_first_release_that_fails_stays_to_be_looked_at() {
    let stack = Stack::new("first", &order("shop/bad:1", ""));
    stack.run(&["deploy"]).ends(52);
    stack.run(&["status", "--check"]).ends(3);
    stack.write(&order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
}

#[test]
#[ignore = "needs a cluster"]
fn a_way_back_finds_the_secrets_that_its_release_had() {
    let file = |image: &str| {
        let services = order(image, "    secrets: [key]\n");
        format!("{services}secrets: {{ key: {{ environment: KEY }} }}\n")
    };
    let stack = Stack::new("back", &file("shop/order:1"));
    let deploy = |key: &str| {
        let output = stack.command(&["deploy"]).env("KEY", key).output().unwrap();
        super::support::said(output).ends(0)
    };
    deploy("one");
    let mount = || {
        let found = stack.api().get(DEPLOYMENT);
        found["spec"]["template"]["spec"]["volumes"].clone()
    };
    let first = mount();
    stack.write(&file("shop/order:2"));
    let said = deploy("two");
    assert!(!said.err.contains("two"), "{}", said.err);
    assert_ne!(mount(), first);
    let output = stack
        .command(&["rollback"])
        .env("KEY", "two")
        .output()
        .unwrap();
    super::support::said(output).ends(0);
    assert_eq!(mount(), first);
    assert_eq!(image(&stack), "shop/order:1");
}

#[test]
#[ignore = "needs a cluster"]
fn a_plan_that_the_world_has_overtaken_is_refused() {
    let stack = Stack::new("stale", &order("shop/order:1", ""));
    stack.run(&["deploy"]).ends(0);
    stack.write(&order("shop/order:2", ""));
    stack.run(&["plan", "--out", "plan.json"]).ends(0);
    let filed = std::fs::read_to_string(stack.dir.path().join("plan.json")).unwrap();
    stack.run(&["scale", "order=1"]).ends(0);
    stack.run(&["deploy", "--plan", "plan.json"]).ends(42);
    assert_eq!(image(&stack), "shop/order:1");
    stack.run(&["plan", "--out", "plan.json"]).ends(0);
    stack.run(&["deploy", "--plan", "plan.json"]).ends(0);
    assert_eq!(image(&stack), "shop/order:2");
    assert!(filed.contains("\"apply_object\""), "{filed}");
}

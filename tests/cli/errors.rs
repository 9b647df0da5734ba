//! What the user reads when something fails.

use crate::support::Bench;

#[test]
fn a_wrong_key_shows_the_line_and_what_was_meant() {
    let bench = Bench::new("services:\n  order:\n    imagee: x\n");
    insta::assert_snapshot!(bench.run(&["deploy"]));
}

#[test]
fn several_problems_are_all_named() {
    let bench = Bench::new(
        "services:\n  a: { image: x, depends_on: [nobody] }\n  b: { image: x, networks: [nowhere] }\n",
    );
    insta::assert_snapshot!(bench.run(&["config"]));
}

#[test]
fn no_stack_file() {
    insta::assert_snapshot!(Bench::empty().run(&["status"]));
}

#[test]
fn not_yaml() {
    insta::assert_snapshot!(Bench::new("services: [\n").run(&["plan"]));
}

#[test]
fn an_unknown_service_has_a_neighbour() {
    let bench = Bench::new("services:\n  order: { image: x }\n");
    insta::assert_snapshot!(bench.run(&["logs", "ordr"]));
    insta::assert_snapshot!(bench.run(&["exec", "basket", "--", "true"]));
}

#[test]
fn a_backend_of_a_later_version() {
    let bench = Bench::new("services:\n  order: { image: x }\n");
    insta::assert_snapshot!(bench.run(&["--backend", "swarm", "status"]));
}

#[test]
fn exec_without_a_replica_is_our_own_failure() {
    let bench = Bench::new("services:\n  order: { image: x }\n");
    insta::assert_snapshot!(bench.run(&["exec", "order", "--", "true"]));
}

#[test]
fn an_acting_command_ends_with_its_json_line_also_when_it_never_began() {
    let bench = Bench::new("services:\n  order: { imagee: x }\n");
    let ran = bench.run(&["deploy", "-o", "json"]);
    let last: serde_json::Value =
        serde_json::from_str(ran.stdout.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&last["event"], &last["exit_code"], &last["version"]),
        (&"finished".into(), &20.into(), &"1".into()),
        "{ran}"
    );
    assert!(ran.stderr.contains("error:"), "{ran}");
}

//! No request is lost and none is done twice while a shop is rolled over, switched from
//! blue to green, scaled and taken back: 50,000 requests in an open loop through the gateway, at 500 a second,
//! with streams and switched protocols beside them. `benches/zero-loss.sh` is the same
//! with 1,000,000.
//!
//! The same rig must find a loss where a replica is stopped without being drained, be it
//! behind shopctl's back or because the file leaves it no time.

mod support;

use support::block_on;
use support::docker;
use support::rig::BLUE_GREEN;
use support::rig::RATE;
use support::rig::ROLLING;
use support::rig::Rig;

#[test]
#[ignore = "engine"]
fn a_shop_that_is_changed_all_the_time_loses_and_repeats_nothing() {
    let count = 50_000;
    // Requests take a tenth of a second, and up to 1.5 s on a machine that is busy.
    let mut rig = Rig::start(count, "4s");
    let mut version = 1;
    let mut changes = 0;
    while rig.is_busy() {
        version += 1;
        match changes % 5 {
            0 => rig.deploy(version, ROLLING),
            1 => rig.change(&["scale", "web=4"]),
            2 => rig.deploy(version, BLUE_GREEN),
            3 => rig.change(&["scale", "web=2"]),
            _ => rig.change(&["rollback"]),
        }
        changes += 1;
    }
    let found = rig.prove(&format!("{changes} changes"), count);
    let turns = rig.events.iter().filter(|event| {
        let what = event["what"].as_str().unwrap_or_default();
        event["event"] == "step_finished" && what.starts_with("send 100 % of web")
    });
    assert!(turns.count() >= 1, "blue became green");
    assert!(changes >= 5, "every kind of change was made: {changes}");
    let rate = found["rate"].as_f64().expect("a rate");
    assert!(rate >= 0.95 * f64::from(RATE), "the rate was held: {found}");
}

/// The negative control: without a drain the rig must see the loss.
#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn a_replica_that_is_stopped_without_a_drain_is_found_out() {
    let mut rig = Rig::start(5_000, "2s");
    let victim = rig.stack.replicas("web").remove(0);
    rig.switches.push(block_on(async {
        let kill = bollard::query_parameters::KillContainerOptionsBuilder::default()
            .signal("SIGTERM")
            .build();
        let at = std::time::SystemTime::now();
        docker()
            .kill_container(&victim, Some(kill))
            .await
            .expect("it runs");
        let since = at
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        u64::try_from(since.as_millis()).expect("a time")
    }));
    let (code, found) = rig.check();
    println!("{found}");
    assert_eq!(code, 1, "{found}");
    assert!(found["lost"].as_u64().expect("a number") > 0, "{found}");
}

/// The other control: the same deploys, with no time to drain.
#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn deploys_that_leave_no_time_to_drain_are_found_out() {
    let mut rig = Rig::start(5_000, "0s");
    let mut version = 1;
    while rig.is_busy() {
        version += 1;
        rig.deploy(version, ROLLING);
    }
    let (code, found) = rig.check();
    println!("{found}");
    assert_eq!(code, 1, "{found}");
    assert!(found["lost"].as_u64().expect("a number") > 0, "{found}");
}

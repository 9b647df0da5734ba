//! Runs that meet each other, or are told to stop.

use crate::GOOD;
use crate::Revision;
use crate::Shop;
use crate::kill;
use crate::support::client::Client;
use crate::unhurt;

/// Races of two deploys.
const ROUNDS: usize = 100;
/// Of so many one replaces the replica; the others give it more memory while it
/// runs, which leaves the two less time to meet.
const REPLACES: usize = 10;

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "how often they met")]
fn of_two_deploys_at_once_one_wins_and_the_other_waits_or_says_so() {
    let shop = Shop::serving(GOOD);
    let mut client = Client::start(shop.port);
    let (mut waited, mut refused) = (0, 0);
    for round in 1..=ROUNDS {
        let version = round / REPLACES;
        shop.write(Revision {
            environment: format!("VERSION: \"{version}\"").leak(),
            memory: format!("{}M", 24 + round).leak(),
            ..GOOD
        });
        let patience = if round % 2 == 0 { "0s" } else { "30s" };
        let arguments = ["deploy", "--progress", "none", "--lock-wait", patience];
        let mut runs = [shop.spawn(&arguments), shop.spawn(&arguments)];
        let mut codes = runs
            .each_mut()
            .map(|run| run.wait().expect("it ends").code().unwrap_or(-1));
        codes.sort_unstable();
        match (codes, patience) {
            ([0, 0], "30s") => waited += 1,
            ([0, 60], "0s") => refused += 1,
            // The second came so late that nothing was left to do.
            ([0, 0], _) => {}
            other => panic!("round {round}: {other:?}"),
        }
        shop.stack.ok(&["plan", "--check"]);
        assert_eq!(shop.stack.replicas("web").len(), 1);
        unhurt(&mut client);
    }
    println!("{ROUNDS} rounds: {waited} waited, {refused} were refused");
    assert_eq!(waited, ROUNDS / 2);
    assert!(refused >= ROUNDS / 4, "they did meet: {refused}");
}

#[test]
#[ignore = "engine"]
fn sigterm_stops_a_deploy_at_a_safe_point() {
    let shop = Shop::serving(GOOD);
    let mut client = Client::start(shop.port);
    let mut run = shop.begin(Revision {
        environment: "VERSION: \"2\", READY_AFTER_MS: \"5000\"",
        ..GOOD
    });
    kill("-TERM", i64::from(run.id()));
    assert_eq!(run.wait().expect("it ends").code(), Some(143));
    shop.stack.ok(&["status", "-o", "json"]);
    let lock = format!("{}-lock", shop.stack.name);
    assert!(!shop.stack.all_containers().contains(&lock));
    shop.converges();
    unhurt(&mut client);
}

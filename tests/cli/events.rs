//! `events`: what it prints, of whom, and from when to when.

use shopctl::state::happening::Happening;

use crate::support::Bench;
use crate::support::valid;

const FILE: &str = "services:\n  order: { image: order:1 }\n  goods: { image: goods:1 }\n";
/// The first second of 2026.
const BEGIN: u64 = 1_767_225_600_000;

fn happening(second: u64, service: &str, replica: Option<u32>, action: &str) -> Happening {
    Happening {
        at: BEGIN + second * 1000,
        service: service.to_owned(),
        replica,
        object: format!("shop-{service}-x"),
        action: action.to_owned(),
        ..Happening::default()
    }
}

/// A world in which a few things have happened.
fn bench() -> Bench {
    let bench = Bench::new(FILE);
    let mut died = happening(2, "order", Some(2), "die");
    died.details.insert("exit_code".to_owned(), "7".to_owned());
    let mut failed = happening(3, "goods", None, "Failed");
    failed.warning = true;
    "no such\nimage".clone_into(&mut failed.message);
    bench.memory.world().happenings.extend([
        happening(1, "order", Some(2), "start"),
        died,
        failed,
        happening(4, "", None, "start"),
    ]);
    bench
}

#[test]
fn each_is_a_line() {
    let ran = bench().run(&["events"]);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    assert_eq!(
        ran.stdout,
        "2026-01-01T00:00:01.000Z order-2 shop-order-x: start\n\
         2026-01-01T00:00:02.000Z order-2 shop-order-x: die (exit_code=7)\n\
         2026-01-01T00:00:03.000Z goods shop-goods-x: Warning Failed: no such image\n\
         2026-01-01T00:00:04.000Z - shop--x: start\n"
    );
}

#[test]
fn services_and_times_are_those_asked_for() {
    let bench = bench();
    assert_eq!(
        bench.run(&["events", "goods"]).stdout,
        "2026-01-01T00:00:03.000Z goods shop-goods-x: Warning Failed: no such image\n"
    );
    let range = ["--since", "2026-01-01T00:00:01Z", "--until", "1767225602"];
    let ran = bench.run(&["events", range[0], range[1], range[2], range[3]]);
    assert_eq!(
        ran.stdout,
        "2026-01-01T00:00:01.000Z order-2 shop-order-x: start\n\
         2026-01-01T00:00:02.000Z order-2 shop-order-x: die (exit_code=7)\n"
    );
    assert_eq!(bench.run(&["events", "--since", "10s"]).stdout, "");
    let turned = bench.run(&["events", "--since", "1m", "--until", "2m"]);
    assert_eq!(
        (turned.code, turned.stderr.as_str()),
        (2, "error: --since is later than --until\n")
    );
    assert_eq!(bench.run(&["events", "other"]).code, 2);
}

#[test]
fn as_json_each_is_an_object_on_a_line() {
    let ran = bench().run(&["events", "-o", "json", "order"]);
    assert_eq!(
        ran.stdout,
        concat!(
            r#"{"version":"1","at":1767225601000,"service":"order","replica":2,"object":"shop-order-x","action":"start","warning":false,"message":"","details":{}}"#,
            "\n",
            r#"{"version":"1","at":1767225602000,"service":"order","replica":2,"object":"shop-order-x","action":"die","warning":false,"message":"","details":{"exit_code":"7"}}"#,
            "\n",
        )
    );
    for line in ran.stdout.lines() {
        valid("happening.json", &serde_json::from_str(line).expect("JSON"));
    }
}

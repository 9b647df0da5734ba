//! What `status` says of a release whose run was killed.

use crate::releases::STACK;
use crate::releases::bench;
use crate::support::Bench;
use crate::support::valid;

/// Release 2 changes the image of order, and is killed after so many calls.
fn killed(after: u64) -> Bench {
    let bench = bench();
    let deploy = || bench.run(&["deploy", "--progress", "none"]).code;
    assert_eq!(deploy(), 0);
    bench.write("stack.yaml", &STACK.replace("order:1", "order:2"));
    {
        let faults = &mut bench.memory.world().faults;
        faults.crash_after = Some(faults.calls + after);
    }
    assert_ne!(deploy(), 0);
    bench.memory.world().faults.crash_after = None;
    bench
}

#[test]
fn status_names_the_step_at_which_a_release_was_interrupted() {
    let bench = killed(4);
    let status = bench.run(&["status", "-o", "json"]).json();
    valid("status.json", &status);
    let deployment = &status["deployment"];
    assert_eq!(deployment["release"], 2, "{status:#}");
    assert_eq!(deployment["outcome"], "running");
    assert_eq!(deployment["next"]["service"], "order");
    let what = deployment["next"]["what"].as_str().expect("words");
    assert!(what.contains("order"), "{what}");
    let text = bench.run(&["status"]).stdout;
    let line = format!("interrupted at: order: {what}");
    assert!(text.contains("release 2 (by ana@laptop)"), "{text}");
    assert!(text.contains(&line), "{text}");

    // What the release asked for counts, not what was edited since.
    let edited = STACK.replace("goods:1", "goods:2");
    bench.write("stack.yaml", &edited);
    let later = bench.run(&["status", "-o", "json"]).json();
    assert_eq!(later["deployment"], *deployment);
    assert_eq!(later["converged"], false);

    bench.write("stack.yaml", &STACK.replace("order:1", "order:2"));
    assert_eq!(bench.run(&["deploy", "--progress", "none"]).code, 0);
    let whole = bench.run(&["status", "-o", "json"]).json();
    assert!(whole["deployment"].is_null(), "{whole:#}");
}

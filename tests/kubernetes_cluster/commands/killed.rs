//! A client that dies at any moment leaves nothing that the next run does not finish.

use std::io::BufRead as _;
use std::io::BufReader;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use super::proxy::Proxy;
use super::support::PODS;
use super::support::Stack;
use super::support::order;

/// Stacks at a time: each mostly waits out the lock of a run that was killed.
const PARALLEL: usize = 8;

/// What a deploy of this number finds and makes: of each kind something new, something
/// other and something that is to go.
fn file(number: usize) -> String {
    let services = order(
        &format!("shop/order:{number}"),
        "    ports: [\"8000:8000\"]\n    configs: [page]\n",
    );
    format!(
        "{services}  only{number}:
    image: shop/only:1
    depends_on: [order]
    deploy: {{ update_config: {{ monitor: 0s }} }}
configs: {{ page: {{ content: \"{number}\" }} }}
"
    )
}

/// What is there of a stack, but for its records.
fn objects(stack: &Stack) -> Vec<String> {
    let lists = [
        PODS,
        "/apis/apps/v1/namespaces/NS/deployments",
        "/apis/apps/v1/namespaces/NS/statefulsets",
        "/api/v1/namespaces/NS/services",
        "/api/v1/namespaces/NS/configmaps",
        "/apis/networking.k8s.io/v1/namespaces/NS/networkpolicies",
        "/apis/coordination.k8s.io/v1/namespaces/NS/leases",
    ];
    let api = stack.api();
    let names = lists.iter().flat_map(|list| {
        let mut names = api.names(list);
        if *list == PODS {
            // Their names end at random.
            for name in &mut names {
                name.truncate(name.find('-').unwrap_or(name.len()));
            }
        }
        names.into_iter().map(move |name| format!("{list} {name}"))
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// A deploy that changes all that can change, killed after so many calls, and the next one;
/// whether it was killed.
fn sweep(first: bool, calls: usize, wanted: &[String]) -> bool {
    let stack = Stack::new(&format!("killed-{first}-{calls}"), &file(1));
    if !first {
        stack.run(&["deploy"]).ends(0);
        stack.write(&file(2));
    }
    let proxy = Proxy::that_kills_after(calls);
    let ended = proxy.run(&mut stack.command(&["deploy"]));
    assert!(ended.is_none_or(|code| code == 0), "{ended:?}");
    stack.run(&["deploy", "--lock-wait", "2m"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
    assert_eq!(objects(&stack), wanted, "killed after {calls}");
    let history = stack.run(&["history", "-o", "json"]).ends(0).json();
    assert_eq!(history["releases"][0]["outcome"], "deployed");
    ended.is_none()
}

/// How many calls there are after which a deploy was killed, each with a stack of its own.
fn sweeps(first: bool) -> usize {
    let whole = Stack::new(&format!("whole-{first}"), &file(1));
    whole.run(&["deploy"]).ends(0);
    if !first {
        whole.write(&file(2));
        whole.run(&["deploy"]).ends(0);
    }
    let wanted = objects(&whole);
    let (next, ended) = (AtomicUsize::new(1), AtomicBool::new(false));
    let killed = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    let calls = next.fetch_add(1, Ordering::Relaxed);
                    if sweep(first, calls, &wanted) {
                        killed.fetch_add(1, Ordering::Relaxed);
                    } else {
                        ended.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    killed.into_inner()
}

#[test]
#[ignore = "needs a cluster"]
fn a_first_deploy_that_was_killed_after_any_call_is_finished_by_the_next() {
    let calls = sweeps(true);
    assert!(calls >= 10, "{calls}");
}

#[test]
#[ignore = "needs a cluster"]
fn a_change_that_was_killed_after_any_call_is_finished_by_the_next() {
    let calls = sweeps(false);
    assert!(calls >= 7, "{calls}");
}

/// Ctrl-C while pods get ready: the cluster goes on, and the next run finds the lock free.
#[test]
#[ignore = "needs a cluster"]
fn a_run_that_was_interrupted_frees_its_lock_and_is_finished_by_the_next() {
    let slow = order(
        "shop/order:1",
        "    annotations: { fake/ready-delay: \"4\" }\n",
    );
    let stack = Stack::new("interrupted", &slow);
    let mut child = stack
        .command(&["deploy"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(said.any(|line| line.unwrap().contains("order: waiting for")));
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let status = stack.run(&["status"]).ends(0);
    assert!(status.out.contains("interrupted"), "{}", status.out);
    stack.run(&["deploy"]).ends(0);
    stack.run(&["plan", "--check"]).ends(0);
}

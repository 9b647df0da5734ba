//! Calls between services on a real Docker Engine: by name through the gateway, none lost
//! while what is called is replaced, and none from one network to another.

mod support;

use std::time::Duration;

use support::TestStack;
use support::block_on;
use support::docker;
use support::eventually;
use support::free_port;
use support::get;

/// Long enough for anything on a busy machine.
const SOON: Duration = Duration::from_mins(1);

/// `order` calls `goods`, which takes 50 ms for each answer and publishes nothing.
fn file(port: u16, goods: &str) -> String {
    format!(
        r#"
services:
  goods:
    build: app
    environment: {{ VERSION: "${{VERSION:-1}}", START_MS: "200", DELAY_MS: "50" }}
    restart: unless-stopped
    stop_grace_period: 3s
    expose: ["8000"]
    deploy: {{ replicas: 2, update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }}, {goods} }}
  order:
    build: app
    environment: {{ CALL: "goods:8000" }}
    restart: unless-stopped
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    depends_on: {{ goods: {{ condition: service_healthy }} }}
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#
    )
}

/// How the calls of `order` went: `lost 0; 1 answered 20`.
fn calls(port: u16) -> String {
    get(port, "/calls").expect("the gateway answers").1
}

/// Waits until so many more calls were answered by this version.
fn answered(port: u16, version: u32, more: u64) -> String {
    let count = |words: &str| -> u64 {
        let start = format!("; {version} answered ");
        let rest = words.split_once(&start).map_or("0", |(_, rest)| rest);
        let number = rest.split(';').next().unwrap_or_default();
        number.trim().parse().expect("a number")
    };
    let before = count(&calls(port));
    eventually(SOON, "calls are answered", || {
        let words = calls(port);
        (count(&words) >= before + more).then_some(words)
    })
}

/// The names of a service's replicas in their networks.
fn names(stack: &TestStack, service: &str) -> Vec<String> {
    let mut all = Vec::new();
    for replica in stack.replicas(service) {
        let found = block_on(docker().inspect_container(&replica, None)).expect("it is there");
        let settings = found.network_settings.expect("settings");
        for endpoint in settings.networks.expect("networks").into_values() {
            all.extend(endpoint.aliases.unwrap_or_default());
        }
    }
    all
}

#[test]
#[ignore = "engine"]
#[expect(clippy::print_stdout, reason = "the figures are the proof")]
fn a_service_that_is_replaced_again_and_again_loses_no_call_of_another() {
    let port = free_port();
    let stack = TestStack::new(&file(port, ""));
    stack.ok(&["deploy"]);
    assert!(!names(&stack, "goods").contains(&"goods".to_owned()));
    answered(port, 1, 100);
    for version in 2..=5_u32 {
        let version_text = version.to_string();
        let ran = stack.run_with(&["deploy"], &[("VERSION", &version_text)]);
        assert_eq!(ran.code, 0, "{ran}");
        answered(port, version, 50);
        let again = stack.run_with(&["plan", "--check"], &[("VERSION", &version_text)]);
        assert_eq!(again.code, 0, "{again}");
    }
    let words = calls(port);
    println!("{words}");
    assert!(words.starts_with("lost 0 "), "{words}");
    // One by one in place, and one replica fewer and more.
    let last = [("VERSION", "5")];
    for change in [
        &["restart", "goods"][..],
        &["scale", "goods=1"],
        &["scale", "goods=3"],
    ] {
        let ran = stack.run_with(change, &last);
        assert_eq!(ran.code, 0, "{ran}");
        answered(port, 5, 50);
    }
    let words = calls(port);
    println!("{words}");
    assert!(words.starts_with("lost 0 "), "{words}");
}

#[test]
#[ignore = "engine"]
fn a_name_moves_to_the_gateway_with_the_next_change_and_back_when_the_file_says_so() {
    let port = free_port();
    let stack = TestStack::new(&file(port, "route: { internal: false }"));
    stack.ok(&["deploy"]);
    assert!(names(&stack, "goods").contains(&"goods".to_owned()));
    answered(port, 1, 50);
    // As they are, the replicas keep their name, and it is said.
    stack.write("stack.yaml", &file(port, ""));
    stack.ok(&["plan", "--check"]);
    let status = stack.ok(&["status"]);
    let said = format!("{}{}", status.stdout, status.stderr);
    assert!(said.contains("do not go through the gateway yet"), "{said}");
    let moved = stack.run_with(&["deploy"], &[("VERSION", "2")]);
    assert_eq!(moved.code, 0, "{moved}");
    assert!(!names(&stack, "goods").contains(&"goods".to_owned()));
    // Long enough for calls that were lost to have been counted.
    answered(port, 2, 300);
    let before = calls(port);
    let ran = stack.run_with(&["deploy"], &[("VERSION", "3")]);
    assert_eq!(ran.code, 0, "{ran}");
    let after = answered(port, 3, 50);
    let lost = |words: &str| words.split(';').next().unwrap_or_default().to_owned();
    assert_eq!(
        lost(&before),
        lost(&after),
        "the gateway has the name alone"
    );
    stack.write("stack.yaml", &file(port, "route: { internal: false }"));
    let back = stack.run_with(&["deploy"], &[("VERSION", "3")]);
    assert_eq!(back.code, 0, "{back}");
    assert!(names(&stack, "goods").contains(&"goods".to_owned()));
    answered(port, 3, 50);
    let again = stack.run_with(&["plan", "--check"], &[("VERSION", "3")]);
    assert_eq!(again.code, 0, "{again}");
}

#[test]
#[ignore = "engine"]
fn a_service_of_another_network_is_out_of_reach() {
    let port = free_port();
    let service = |networks: &str, inside: u16| {
        format!(
            "build: app
    environment: {{ PORT: \"{inside}\" }}
    networks: [{networks}]
    expose: [\"{inside}\"]
    stop_grace_period: 2s
    deploy: {{ update_config: {{ monitor: 0s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: {inside} }} }}"
        )
    };
    let stack = TestStack::new(&format!(
        r#"
services:
  web:
    {}
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
  cart:
    {}
  stock:
    {}
  ledger:
    {}
networks: {{ front: {{}}, back: {{}} }}
"#,
        service("front", 8000),
        service("front", 80),
        service("back", 8000),
        service("back", 81),
    ));
    stack.ok(&["deploy"]);
    let ask = |to: &str, host: &str| {
        let (status, answer) = get(port, &format!("/ask/{to}/{host}")).expect("web answers");
        assert_eq!(status, 200, "{answer}");
        answer
    };
    // A neighbour, at a port below 1024.
    let cart = ask("cart:80", "cart");
    assert!(cart.starts_with("200 "), "{cart}");
    // Who is in the other network is not found, whatever the way: by name, under its name
    // at a port where both have somebody, and at a port that is only used over there.
    let answer = ask("stock:8000", "stock");
    assert!(answer.starts_with("failed: "), "{answer}");
    let answer = ask("web:8000", "stock");
    assert!(
        !answer.starts_with("200 ") || is_of(&stack, "web", &answer),
        "{answer}"
    );
    let ledger = ask("cart:81", "ledger");
    assert!(ledger.starts_with("failed: "), "{ledger}");
    let ledger = ask("cart:80", "ledger");
    assert!(
        !ledger.starts_with("200 ") || is_of(&stack, "cart", &ledger),
        "{ledger}"
    );
}

/// Whether an answer, `200 VERSION HOST`, is that of a replica of a service.
fn is_of(stack: &TestStack, service: &str, answer: &str) -> bool {
    let host = answer.split_whitespace().nth(2).unwrap_or_default();
    stack.replicas(service).iter().any(|name| {
        let found = block_on(docker().inspect_container(name, None)).expect("it is there");
        found.id.is_some_and(|id| id.starts_with(host))
    })
}

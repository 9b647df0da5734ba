//! Images of releases on a real Docker Engine: a tag is moved, and a release still means
//! the image that it was deployed with. No registry is needed: tags are moved here.

mod support;

use std::process::Command;

use support::TestStack;
use support::free_port;
use support::get;

/// The engine, as its own command line tells it.
fn engine(arguments: &[&str]) -> String {
    let output = Command::new("docker")
        .args(arguments)
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .expect("docker runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Builds the workload with these variables and lets the tag mean it; its id. A second
/// tag keeps it, and lets the test take it away again.
fn image(stack: &TestStack, kept: &str, variables: &str) -> String {
    let dockerfile = format!(
        "FROM scratch\nCOPY workload /workload\nUSER 65532:65532\nENV {variables}\nENTRYPOINT [\"/workload\"]\n"
    );
    stack.write("app/Dockerfile", &dockerfile);
    let folder = stack.path().join("app").display().to_string();
    let tag = |name: &str| format!("{}-img:{name}", stack.name);
    let (moved, kept) = (tag("1"), tag(kept));
    engine(&["build", "-q", "-t", &kept, &folder]);
    engine(&["tag", &kept, &moved]);
    engine(&["image", "inspect", "-f", "{{.Id}}", &moved])
}

fn running(stack: &TestStack) -> Vec<String> {
    let replicas = stack.replicas("web");
    let image = |name: &String| stack.inspect(name).image.unwrap_or_default();
    replicas.iter().map(image).collect()
}

#[test]
#[ignore = "engine"]
fn a_moved_tag_with_a_bad_image_goes_back_to_the_old_image() {
    let port = free_port();
    let stack = TestStack::new("services: {}\n");
    let file = |policy: &str| {
        format!(
            r#"
services:
  web:
    image: "{name}-img:1"
    pull_policy: {policy}
    stop_grace_period: 2s
    ports: [{{ target: 8000, published: "{port}", host_ip: 127.0.0.1, app_protocol: http }}]
    deploy: {{ replicas: 2, update_config: {{ monitor: 1s }} }}
    x-shop: {{ ready: {{ http: /readyz, port: 8000 }} }}
"#,
            name = stack.name
        )
    };
    let version = || get(port, "/").expect("the gateway answers").1;
    stack.write("stack.yaml", &file("never"));
    let good = image(&stack, "good", "VERSION=1");
    stack.ok(&["deploy"]);
    assert_eq!(running(&stack), [good.clone(), good.clone()]);

    let bad = image(&stack, "bad", "VERSION=2 EXIT_AFTER_MS=300 EXIT_CODE=9");
    assert_ne!(bad, good);
    let failed = stack.code(50, &["deploy"]);
    assert!(failed.stderr.contains("release 1 serves"), "{failed}");
    assert_eq!(running(&stack), [good.clone(), good.clone()]);
    assert!(version().starts_with("1 "), "{}", version());
    stack.ok(&["status", "--drift"]);

    stack.write("stack.yaml", &file("missing"));
    let next = image(&stack, "next", "VERSION=3");
    stack.ok(&["deploy"]);
    assert_eq!(running(&stack), [next.clone(), next.clone()]);
    stack.ok(&["rollback"]);
    assert_eq!(running(&stack), [good.clone(), good]);
    assert!(version().starts_with("1 "), "{}", version());
    stack.ok(&["rollback", "--to", "3"]);
    assert_eq!(running(&stack), [next.clone(), next.clone()]);

    // The old image is gone for good: said before anything is touched.
    engine(&["image", "rm", &format!("{}-img:good", stack.name)]);
    let before = stack.containers();
    let refused = stack.code(22, &["rollback", "--to", "1"]);
    let named = format!("image {}-img:1 (sha256:", stack.name);
    assert!(refused.stderr.contains(&named), "{refused}");
    assert_eq!(stack.containers(), before);
}

//! Builds from more than one context: on an engine whose builder knows them, and told
//! from one that is too old.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use support::TestStack;
use support::engine::Engine;

/// `tool` is built from the image of `base` and the folder `lib`.
fn stack() -> TestStack {
    let stack = TestStack::new("");
    stack.write(
        "stack.yaml",
        &format!(
            "services:
  base: {{ build: {{ context: app, tags: [\"{name}-base:1\"] }} }}
  tool:
    build:
      context: tool
      network: none
      additional_contexts: {{ lib: ./lib, base: \"docker-image://{name}-base:1\" }}
      secrets: [key]
secrets: {{ key: {{ file: key }} }}
",
            name = stack.name
        ),
    );
    stack.write("key", "a canary");
    for folder in ["tool", "lib", "lib/some", "lib/out"] {
        fs::create_dir(stack.path().join(folder)).expect("a folder");
    }
    stack.write("lib/.dockerignore", "out\n!out/kept\n");
    stack.write("lib/some/file", "first");
    stack.write("lib/out/kept", "kept although");
    stack.write("lib/out/left", "left out");
    // The builder wants what is in `some` before it.
    stack.write("lib/some-more", "");
    // More than one piece, and it must be all there.
    stack.write("lib/large", &format!("{}the end", "x".repeat(100_000)));
    symlink("some/file", stack.path().join("lib/link")).expect("a link");
    stack.write(
        "tool/Dockerfile",
        r#"FROM base
COPY --from=lib / /lib/
RUN ["/workload", "task", "show", "/lib/link", "show", "/lib/out/kept", "show", "/lib/large"]
RUN --mount=type=secret,id=key,uid=65532,required ["/workload", "task", "show", "/run/secrets/key"]
"#,
    );
    stack
}

#[test]
#[ignore = "engine"]
fn folders_and_images_beside_the_context_are_copied_from() {
    let mut engine = Engine::newer();
    engine.start();
    let stack = stack();
    let build = |service: &str| engine.run(&stack, &["build", service, "--progress", "plain"]);
    let base = build("base");
    assert_eq!(base.code, 0, "{base}");
    let first = build("tool");
    assert_eq!(first.code, 0, "{first}");
    let wanted = [
        "tool: first\n",
        "tool: kept although\n",
        "xthe end\n",
        "tool: ****\n",
    ];
    for said in wanted {
        assert!(first.stderr.contains(said), "{said}: {first}");
    }
    let same = build("tool");
    assert!(!same.stderr.contains("RUN"), "{same}");
    // As long as before, and files of a context have no time.
    stack.write("lib/some/file", "other");
    let second = build("tool");
    assert_eq!(second.code, 0, "{second}");
    assert!(second.stderr.contains("tool: other"), "{second}");

    stack.write("lib/.dockerignore", "out\n");
    let third = build("tool");
    assert_eq!(third.code, 21, "{third}");
    assert!(!third.stderr.contains("kept although"), "{third}");
}

#[test]
#[ignore = "engine"]
fn what_cannot_be_built_from_is_said_and_nothing_is_left() {
    let stack = stack();
    stack.ok(&["build", "base"]);
    let old = stack.run(&["build", "tool"]);
    // The machine's own engine may be new enough one day.
    let refused = old.code == 21 && old.stderr.contains("Dockerfile frontend 1.4");
    assert!(refused || old.code == 0, "{old}");
    let classic = stack.run_with(&["build", "tool"], &[("DOCKER_BUILDKIT", "0")]);
    assert_eq!(classic.code, 21, "{classic}");
    assert!(classic.stderr.contains("take BuildKit"), "{classic}");
    let file = fs::read_to_string(stack.path().join("stack.yaml")).expect("a file");
    let image = format!("docker-image://{}-base:1", stack.name);
    stack.write("stack.yaml", &file.replace(&image, "oci-layout://lib"));
    for command in [&["build", "tool"][..], &["deploy", "tool"]] {
        let ran = stack.code(21, command);
        let said = "context base for the build of tool: oci-layout://lib: ";
        assert!(ran.stderr.contains(said), "{ran}");
        assert!(!ran.stderr.contains("Dockerfile"), "{ran}");
    }
    let circle = file.replace(&image, "service:base").replace(
        "context: app,",
        "context: app, additional_contexts: { tool: \"service:tool\" },",
    );
    stack.write("stack.yaml", &circle);
    for command in [&["build", "tool"][..], &["deploy"]] {
        let ran = stack.code(21, command);
        let said = "the images of base, tool are built from each other";
        assert!(ran.stderr.contains(said), "{ran}");
    }
    assert_eq!(stack.images().len(), 2, "{:?}", stack.images());
}

#[test]
#[ignore = "engine"]
fn a_service_is_built_from_the_image_of_another_which_is_built_first() {
    let mut engine = Engine::newer();
    engine.start();
    let stack = stack();
    let file = fs::read_to_string(stack.path().join("stack.yaml")).expect("a file");
    let image = format!("docker-image://{}-base:1", stack.name);
    let file = file.replace(&image, "service:base");
    let build = |words: &[&str]| {
        let built = engine.run(&stack, words);
        assert_eq!(built.code, 0, "{built}");
        built
    };
    let names = || -> BTreeSet<String> {
        let listed = engine.docker(&["images", "json"]).stdout;
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).expect("JSON");
        let tags = listed
            .iter()
            .flat_map(|one| one["RepoTags"].as_array().into_iter().flatten());
        tags.filter_map(|tag| tag.as_str())
            .filter(|tag| !tag.ends_with(":1"))
            .map(str::to_owned)
            .collect()
    };

    // Nobody starts it: it is there to be built from.
    let aside = file.replace("base: {", "base: { profiles: [never],");
    stack.write("stack.yaml", &aside);
    build(&["build", "--progress", "plain"]);
    let first = names();
    assert_eq!(first.len(), 2, "{first:?}");
    let same = build(&["build", "--progress", "plain"]);
    assert!(!same.stderr.contains("RUN"), "{same}");
    assert_eq!(names(), first);

    // Both at a time, and the one still waits for the other.
    stack.write("stack.yaml", &file);
    stack.write(
        "app/Dockerfile",
        "FROM scratch\nCOPY workload /workload\nUSER 65532:65532\n",
    );
    build(&["build", "--progress", "plain"]);
    let both = names();
    assert_eq!(both.difference(&first).count(), 2, "{both:?}");
}

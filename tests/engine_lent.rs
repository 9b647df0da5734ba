//! What a build is lent, on the real engine: secrets and ssh agents are there for its
//! commands and nowhere else.

#[path = "support/base.rs"]
mod base;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use support::Ran;
use support::TestStack;

/// A stack whose one image is built from these lines, with these keys in `build`.
fn stack(lines: &str, build: &str) -> TestStack {
    let base = base::debian_image("shopctl-lent", "openssh-client");
    let stack = TestStack::new(&format!(
        "services:
  tool:
    build: {{ context: tool, no_cache: true, {build} }}
    restart: unless-stopped
secrets:
  plain: {{ file: plain }}
  variable: {{ environment: LENT }}
"
    ));
    fs::create_dir(stack.path().join("tool")).expect("a folder");
    stack.write("tool/Dockerfile", &format!("FROM {base}\n{lines}\n"));
    stack.write("plain", "canary-of-file");
    stack
}

const LENT: (&str, &str) = ("LENT", "canary-of-variable");

#[track_caller]
fn built(stack: &TestStack, variables: &[(&str, &str)]) -> Ran {
    let ran = stack.run_with(&["build", "--progress", "plain"], variables);
    assert_eq!(ran.code, 0, "{ran}");
    ran
}

#[track_caller]
fn silent(text: &[u8]) {
    let value = b"canary-of-";
    let at = text.windows(value.len()).position(|part| part == value);
    let around = at.map(|at| &text[at.saturating_sub(60)..text.len().min(at + 60)]);
    assert_eq!(around.map(String::from_utf8_lossy), None);
}

/// The image with all its layers and labels, and what its history says.
fn saved(image: &str) -> Vec<u8> {
    let output = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output();
        output.expect("docker runs").stdout
    };
    let mut all = output(&["save", image]);
    assert!(all.len() > 1 << 20, "an image with Debian in it");
    all.extend(output(&["history", "--no-trunc", image]));
    all.extend(output(&["inspect", image]));
    all
}

#[test]
#[ignore = "engine"]
fn secrets_are_read_by_commands_and_are_nowhere_in_the_image() {
    let stack = stack(
        "RUN --mount=type=secret,id=plain,required \\
    grep -qx c[a]nary-of-file /run/secrets/plain
RUN --mount=type=secret,id=named,target=/token,uid=1234,gid=2345,mode=0440 \\
    grep -qx c[a]nary-of-variable /token && stat -c 'is %u:%g %a' /token
RUN --mount=type=secret,id=none test ! -e /run/secrets/none && test ! -e /run/secrets/plain
RUN --mount=type=secret,id=plain sed 's/^/it says /' /run/secrets/plain; sleep 1",
        "secrets: [plain, { source: variable, target: named }]",
    );
    let plan = stack.run_with(&["plan", "-o", "json", "--out", "plan.json"], &[LENT]);
    silent(plan.stdout.as_bytes());
    silent(&fs::read(stack.path().join("plan.json")).expect("a plan"));
    let ran = built(&stack, &[LENT]);
    assert!(ran.stderr.contains("is 1234:2345 440"), "{ran}");
    // What a command says of it is not repeated.
    assert!(ran.stderr.contains("it says ****"), "{ran}");
    silent(ran.stderr.as_bytes());
    silent(ran.stdout.as_bytes());
    let images = stack.images();
    assert_eq!(images.len(), 1, "{images:?}");
    silent(&saved(&images[0]));

    // Another value wants no other image, and where nothing is built none is needed.
    stack.write("plain", "another");
    let again = built(&stack, &[("LENT", "canary-of-another")]);
    assert!(!again.stderr.contains("grep"), "{again}");
    fs::remove_file(stack.path().join("plain")).expect("it is there");
    built(&stack, &[]);
    assert_eq!(stack.images(), images);
}

#[test]
#[ignore = "engine"]
fn a_secret_that_is_missing_is_named_before_anything_runs() {
    let stack = stack(
        "RUN --mount=type=secret,id=variable true",
        "secrets: [variable]",
    );
    let file = fs::read_to_string(stack.path().join("stack.yaml")).expect("a file");
    let prepared = "    x-shop: { build: { prepare: [[touch, ran]] } }\nsecrets:";
    stack.write(
        "stack.yaml",
        &file.replace("secrets:\n", &format!("{prepared}\n")),
    );
    for command in ["build", "deploy"] {
        let ran = stack.code(21, &[command]);
        let said = "secret variable for the build of tool: the variable LENT is not set";
        assert!(ran.stderr.contains(said), "{ran}");
        assert!(
            !stack.path().join("ran").exists(),
            "{command} ran a command"
        );
    }
    let wrong = stack.code(21, &["deploy", "--no-prepare"]);
    assert!(wrong.stderr.contains("LENT is not set"), "{wrong}");
    assert_eq!(stack.leftovers(), Vec::<String>::new());
    // What looks only needs no secrets.
    stack.ok(&["status"]);
    stack.ok(&["plan"]);
    // One that the Dockerfile requires and the file does not lend.
    stack.write(
        "stack.yaml",
        &file.replace("secrets: [variable]", "secrets: [plain]"),
    );
    let dockerfile = fs::read_to_string(stack.path().join("tool/Dockerfile")).expect("a file");
    stack.write(
        "tool/Dockerfile",
        &dockerfile.replace("id=variable", "id=variable,required"),
    );
    let refused = stack.code(21, &["build"]);
    assert!(refused.stderr.contains("secret variable"), "{refused}");
    let classic = stack.run_with(&["build"], &[("DOCKER_BUILDKIT", "0")]);
    assert_eq!(classic.code, 21, "{classic}");
    assert!(classic.stderr.contains("take BuildKit"), "{classic}");
}

/// Makes a key; its public half.
fn key(path: &Path) -> String {
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "shop", "-f"])
        .arg(path)
        .status();
    assert!(status.expect("ssh-keygen runs").success());
    fs::read_to_string(path.with_extension("pub")).expect("a public key")
}

/// An agent with a key, as a developer has one.
struct Agent {
    process: Child,
    socket: String,
}

impl Agent {
    fn holding(folder: &Path, key: &Path) -> Self {
        let socket = folder.join("agent").display().to_string();
        let process = Command::new("ssh-agent")
            .args(["-D", "-a", &socket])
            .stdout(Stdio::null())
            .spawn()
            .expect("ssh-agent runs");
        support::eventually(std::time::Duration::from_secs(5), "an agent", || {
            Path::new(&socket).exists().then_some(())
        });
        let status = Command::new("ssh-add")
            .arg("-q")
            .arg(key)
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(status.expect("ssh-add runs").success());
        Self { process, socket }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Signs with the agent and checks the signature, both in the build.
const SIGN: &str = "rm -f /order* && ssh-add -L >/key.pub && cat /key.pub && echo order >/order \\
    && ssh-keygen -q -Y sign -n shop -f /key.pub /order \\
    && ssh-keygen -Y check-novalidate -n shop -s /order.sig </order";

#[test]
#[ignore = "engine"]
fn commands_sign_with_keys_that_stay_on_this_machine() {
    let stack = stack(
        &format!(
            "RUN --mount=type=ssh,required {SIGN}
RUN --mount=type=ssh,id=own,required {SIGN}
RUN --mount=type=ssh,id=socket,required ssh-add -L
RUN --mount=type=ssh,id=none test ! -e \"$SSH_AUTH_SOCK\""
        ),
        "ssh: [default, own=keys/own, socket=keys/agent]",
    );
    let keys = stack.path().join("keys");
    fs::create_dir(&keys).expect("a folder");
    let (held, own) = (keys.join("held"), keys.join("own"));
    let (held_public, own_public) = (key(&held), key(&own));
    // Docker Compose reads one that others may read, too.
    fs::set_permissions(&own, fs::Permissions::from_mode(0o644)).expect("permissions");
    let agent = Agent::holding(&keys, &held);
    let ran = built(&stack, &[("SSH_AUTH_SOCK", &agent.socket)]);
    let good = ran.stderr.matches("Good \"shop\" signature").count();
    assert_eq!(good, 2, "{ran}");
    assert_eq!(
        ran.stderr.matches(held_public.trim_end()).count(),
        2,
        "{ran}"
    );
    let start = own_public.rsplit_once(' ').expect("a comment").0;
    assert_eq!(ran.stderr.matches(start).count(), 1, "{ran}");

    // Nothing is left to build, so nothing is asked of an agent.
    drop(agent);
    built(&stack, &[]);
    stack.write("tool/new", "");
    let missing = stack.run_with(&["build"], &[("SSH_AUTH_SOCK", "")]);
    assert_eq!(missing.code, 21, "{missing}");
    let said = "ssh agent default for the build of tool: no agent runs";
    assert!(missing.stderr.contains(said), "{missing}");
}

//! A private registry: the real server of the distribution, with a password. Images are
//! pushed by their names in the stack file and pulled with the credentials of the Docker
//! configuration, and without them nothing is changed.

mod support;

use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use bollard::query_parameters::RemoveImageOptionsBuilder;
use support::Ran;
use support::TestStack;
use support::block_on;
use support::docker;
use support::free_port;

/// bcrypt of `secret`.
const USERS: &str = "ana:$2b$05$aU1CfhT8WBQzZyRd3JXF7.98GiVIaBY.8oD3URfCYaOD2swFdevFm\n";

/// The distribution's registry server, unpacked beside the tests and kept for the next
/// run: installing the package would start it for the whole machine.
fn server() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docker-registry");
    let binary = folder.join("usr/bin/docker-registry");
    if binary.exists() {
        return binary;
    }
    let part = folder.with_extension("part");
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).expect("a folder");
    let script = "apt-get download docker-registry && dpkg -x docker-registry_*.deb .";
    let status = Command::new("sh")
        .args(["-ec", script])
        .current_dir(&part)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("sh runs");
    assert!(status.success(), "the package docker-registry is available");
    fs::rename(part, &folder).expect("renamed");
    binary
}

struct Registry {
    /// `127.0.0.1:<port>`, which engines trust without TLS.
    host: String,
    folder: tempfile::TempDir,
    process: Child,
}

impl Registry {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let host = format!("127.0.0.1:{}", free_port());
        let users = folder.path().join("users");
        fs::write(&users, USERS).expect("written");
        let config = format!(
            "version: 0.1\nlog: {{ accesslog: {{ disabled: true }}, level: error }}\n\
             storage: {{ filesystem: {{ rootdirectory: {data} }} }}\n\
             http: {{ addr: \"{host}\" }}\n\
             auth: {{ htpasswd: {{ realm: test, path: {users} }} }}\n",
            data = folder.path().join("data").display(),
            users = users.display(),
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).expect("written");
        let process = Command::new(server())
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the registry starts");
        support::eventually(Duration::from_secs(20), "the registry listens", || {
            std::net::TcpStream::connect(&host).ok()
        });
        Self {
            host,
            folder,
            process,
        }
    }

    /// A Docker configuration with this password for ana, or without any.
    fn login(&self, name: &str, auth: Option<&str>) -> String {
        let folder = self.folder.path().join(name);
        fs::create_dir(&folder).expect("a folder");
        let auths = auth.map_or_else(String::new, |auth| {
            format!(r#""{}":{{"auth":"{auth}"}}"#, self.host)
        });
        let config = format!(r#"{{"auths":{{{auths}}}}}"#);
        fs::write(folder.join("config.json"), config).expect("written");
        folder.display().to_string()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn with(stack: &TestStack, config: &str, arguments: &[&str]) -> Ran {
    stack.run_with(arguments, &[("DOCKER_CONFIG", config)])
}

fn forget(image: &str) {
    block_on(async {
        let options = RemoveImageOptionsBuilder::default().build();
        let removed = docker().remove_image(image, Some(options), None).await;
        removed.expect("the engine forgets the name");
    });
}

#[test]
#[ignore = "engine"]
fn credentials_of_the_docker_configuration_open_a_private_registry() {
    let registry = Registry::start();
    // ana:secret, ana:wrong
    let known = registry.login("known", Some("YW5hOnNlY3JldA=="));
    let wrong = registry.login("wrong", Some("YW5hOndyb25n"));
    let none = registry.login("none", None);

    let maker = TestStack::new("services:\n  app: { build: app }\n");
    let nameless = with(&maker, &known, &["build", "--push"]);
    assert_eq!(nameless.code, 20, "{nameless}");
    let hint = "hint: add to services.app: image: REGISTRY/NAME:TAG, or give --registry";
    assert!(nameless.stderr.contains(hint), "{nameless}");

    let image = format!("{}/{}/app:1", registry.host, maker.name);
    maker.write(
        "stack.yaml",
        &format!("services:\n  app: {{ build: app, image: \"{image}\" }}\n"),
    );
    let refused = with(&maker, &none, &["build", "--push"]);
    assert_eq!(refused.code, 22, "{refused}");
    let hint =
        format!("hint: check the name, sign in with `docker login`, then: docker push {image}");
    assert!(refused.stderr.contains(&hint), "{refused}");
    let pushed = with(&maker, &known, &["build", "--push", "-o", "json"]);
    assert_eq!(pushed.code, 0, "{pushed}");
    let document: serde_json::Value = serde_json::from_str(&pushed.stdout).expect("JSON");
    let built = &document["images"][0];
    assert_eq!(
        (&built["names"], &built["built"], &built["pushed"]),
        (
            &[image.clone()].as_slice().into(),
            &false.into(),
            &true.into()
        ),
        "{document}"
    );

    // Below a registry an image is named by its content, and sent once.
    let prefix = format!("{}/below", registry.host);
    let below = ["build", "--push", "--registry", &prefix, "-o", "json"];
    let first = with(&maker, &known, &below);
    assert_eq!(first.code, 0, "{first}");
    let content = first.json()["images"][0]["ref"]
        .as_str()
        .map(|tag| format!("{prefix}/{tag}"));
    let content = content.expect("a tag");
    assert!(first.stderr.contains(&format!("push {content}")), "{first}");
    let again = with(&maker, &known, &below);
    assert_eq!(again.code, 0, "{again}");
    assert!(!again.stderr.contains("push "), "{again}");
    forget(&content);
    forget(&image);

    let user = TestStack::new(&format!("services:\n  app: {{ image: \"{image}\" }}\n"));
    for config in [&none, &wrong] {
        let refused = with(&user, config, &["deploy"]);
        assert_eq!(refused.code, 22, "{refused}");
        assert!(refused.stderr.contains(&image), "{refused}");
        assert_eq!(user.leftovers(), Vec::<String>::new());
    }
    let refused = with(&user, &none, &["deploy"]);
    let login = format!("docker login {}", registry.host);
    assert!(refused.stderr.contains(&login), "{refused}");

    let digest = |config| with(&user, config, &["config", "--resolve-image-digests"]);
    assert_eq!(digest(&none).code, 22, "{}", digest(&none));
    let pinned = digest(&known);
    assert_eq!(pinned.code, 0, "{pinned}");
    let image_line = format!("image: {image}@sha256:");
    assert!(pinned.stdout.contains(&image_line), "{pinned}");

    let deployed = with(&user, &known, &["deploy"]);
    assert_eq!(deployed.code, 0, "{deployed}");
    assert_eq!(user.replicas("app").len(), 1);
    let id = user.inspect(&user.replicas("app")[0]).image;
    assert_eq!(id.as_deref(), built["id"].as_str());

    // The engine knows when it was pulled; nothing is asked for again before its time.
    let refreshed = |every: &str| {
        let text = format!("services:\n  app: {{ image: \"{image}\", pull_policy: {every} }}\n");
        user.write("stack.yaml", &text);
        with(&user, &known, &["plan", "--check"])
    };
    let fresh = refreshed("daily");
    assert_eq!(fresh.code, 0, "{fresh}");
    let due = refreshed("every_1ms");
    assert_eq!(due.code, 3, "{due}");
    assert!(due.stdout.contains(&format!("pull image {image}")), "{due}");
    assert_eq!(with(&user, &known, &["deploy"]).code, 0);
    let fresh = refreshed("every_1h");
    assert_eq!(fresh.code, 0, "{fresh}");
    user.ok(&["down", "--volumes", "--yes"]);
    forget(&image);

    // A build that starts from it asks with the same credentials.
    let child = TestStack::new("services:\n  app: { build: { context: app, pull: true } }\n");
    child.write("app/Dockerfile", &format!("FROM {image}\nLABEL a=b\n"));
    for config in [&none, &wrong] {
        let refused = with(&child, config, &["build"]);
        assert_eq!(refused.code, 21, "{refused}");
        assert!(refused.stderr.contains(&image), "{refused}");
    }
    let built = with(&child, &known, &["build"]);
    assert_eq!(built.code, 0, "{built}");
}

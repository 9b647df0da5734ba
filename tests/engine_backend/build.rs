//! Images built, looked up, loaded and missed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use shopctl::backend::BackendError;
use shopctl::backend::Images as _;
use shopctl::backend::docker::Docker;
use shopctl::backend::docker::Settings;
use shopctl::backend::docker::image;
use shopctl::build::BuildError;
use shopctl::build::BuildInputs;
use shopctl::build::builder;
use shopctl::build::context::Context;
use shopctl::build::identify;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::probe;
use crate::support::shim::Shim;
use crate::world::World;

struct Project {
    folder: TempDir,
    inputs: BuildInputs,
}

impl Project {
    fn new(world: &World, dockerfile: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("context");
        fs::create_dir(&context).unwrap();
        fs::copy(probe::path(), context.join("probe")).unwrap();
        fs::write(context.join("text"), "hello").unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let inputs = BuildInputs {
            stack: world.stack.clone(),
            service: "order".to_owned(),
            project: context.clone(),
            context,
            dockerfile: "Dockerfile".into(),
            ..BuildInputs::default()
        };
        Self { folder, inputs }
    }

    fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    async fn build(&self, docker: &Docker) -> Result<(builder::Built, Vec<String>), BuildError> {
        let (sender, mut receiver) = mpsc::channel(1000);
        let built = builder::build(docker, &self.inputs, &self.cache(), false, sender).await?;
        let mut lines = Vec::new();
        while let Some(line) = receiver.recv().await {
            lines.push(line);
        }
        Ok((built, lines))
    }
}

const DOCKERFILE: &str = r#"FROM scratch AS base
ARG GREETING
COPY probe /shopctl
FROM base
COPY text /text
RUN ["/shopctl", "print", "from-the-build", "-"]
LABEL greeting=$GREETING
ENTRYPOINT ["/shopctl"]
"#;

async fn builds(classic: bool) {
    let world = World::new().await;
    let docker = Docker::connect(&Settings {
        classic_builder: classic,
        ..Settings::default()
    })
    .await
    .unwrap();
    let mut project = Project::new(&world, DOCKERFILE);
    project.inputs.args = [("GREETING".to_owned(), Some("hi".to_owned()))].into();
    project.inputs.tags = vec![format!("{}-extra:2", world.stack)];
    let tag = identify(&project.inputs, &project.cache())
        .unwrap()
        .unwrap();
    let (built, lines) = project.build(&docker).await.unwrap();
    assert!(built.sent);
    assert_eq!(built.tag, tag);
    assert!(
        lines.iter().any(|line| line.contains("from-the-build")),
        "{lines:#?}"
    );
    let extra = docker
        .image(&project.inputs.tags[0])
        .await
        .unwrap()
        .unwrap();
    assert_eq!(extra.id, built.image.id);
    let (again, lines) = project.build(&docker).await.unwrap();
    assert!(!again.sent && lines.is_empty());
    assert_eq!(again.image, built.image);
    let mut instance = world.instance("order", &[], &["cat", "/text"]);
    instance.spec.image = tag;
    instance.image_id = Some(built.image.id);
    world.run(instance).await;
}

#[tokio::test]
#[ignore = "engine"]
async fn buildkit_builds() {
    builds(false).await;
}

#[tokio::test]
#[ignore = "engine"]
async fn the_classic_builder_builds() {
    builds(true).await;
}

#[tokio::test]
#[ignore = "engine"]
async fn a_failing_build_says_everything() {
    let world = World::new().await;
    for classic_builder in [false, true] {
        let settings = Settings {
            classic_builder,
            ..Settings::default()
        };
        let docker = Docker::connect(&settings).await.unwrap();
        let failing = "FROM scratch\nCOPY probe /shopctl\nRUN [\"/shopctl\", \"print\", \"said\", \"-\"]\n\
            RUN [\"/shopctl\", \"exit\", \"3\"]\n";
        let project = Project::new(&world, failing);
        match project.build(&docker).await.unwrap_err() {
            BuildError::Backend(BackendError::Build {
                reason,
                output,
                tag,
            }) => {
                assert!(tag.starts_with(&world.stack));
                assert!(reason.contains('3'), "{reason}");
                assert!(
                    output.iter().any(|line| line.contains("said")),
                    "{output:#?}"
                );
            }
            other => panic!("{other}"),
        }
        let project = Project::new(&world, "FROM scratch\nNONSENSE\n");
        let error = project.build(&docker).await.unwrap_err();
        match error {
            BuildError::Backend(BackendError::Build { reason, .. }) => {
                assert!(reason.to_lowercase().contains("nonsense"), "{reason}");
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn an_unchanged_service_sends_nothing() {
    let shim = Shim::start();
    let world = World::at(Some(shim.host())).await;
    let project = Project::new(&world, "FROM scratch\nCOPY text /text\n");
    project.build(&world.docker).await.unwrap();
    shim.reset(None);
    project.build(&world.docker).await.unwrap();
    let calls = shim.calls();
    assert_eq!(calls.len(), 1, "{calls:?}");
    assert_eq!(calls[0].method, "GET");
    let sent = image::ensure(&world.docker, &world.context.helper_image, &probe::path()).await;
    assert!(!sent.unwrap());
    assert_eq!(shim.mutating(), []);
}

#[tokio::test]
#[ignore = "engine"]
async fn an_image_that_nobody_has_is_missing() {
    let world = World::new().await;
    let reference = "localhost:1/none/none:1";
    let (progress, _) = mpsc::channel(1);
    match world
        .docker
        .pull(reference, None, progress)
        .await
        .unwrap_err()
    {
        BackendError::ImageMissing {
            reference: found,
            reason,
        } => {
            assert_eq!(found, reference);
            assert!(reason.contains("localhost:1"), "{reason}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(world.docker.image(reference).await.unwrap(), None);
}

/// The client of the engine here as the oracle: what it sends is what we list.
#[tokio::test]
#[ignore = "engine"]
async fn dockerignore_means_what_docker_says() {
    let world = World::new().await;
    let files = [
        "README.md",
        "a.log",
        "src/main.rs",
        "src/a.log",
        "src/deep/er/b.log",
        "src/with space/c",
        "target/debug/x",
        "target/keep/y",
        "docs/one.md",
        "docs/two.txt",
        "docs/sub/three.md",
        ".hidden/z",
        "vendor/a/b/c.rs",
        "vendor/keep.rs",
        "x1",
        "x2",
        "xx",
        "tmp/cache/1",
        "tmp/keep",
    ];
    let ignores = [
        "",
        "*.log\n",
        "**/*.log\ntarget\n",
        "target\n!target/keep\n",
        "# c\n\n  docs/*.md  \n!docs/one.md\nx?\n!x2\n",
        "*\n!src\n!docs/two.txt\nsrc/deep\n",
        "/vendor/\n!vendor/keep.rs\n.hidden\n",
        "src/**\n!src/with space/c\n",
        "**/b.log\n**/keep\n./tmp/../tmp/cache\n",
        "Dockerfile\n.dockerignore\n[x-z][12]\n",
        "**\n!docs\n",
        "docs/\n!docs/sub/three.md\nsrc/*/er\n",
    ];
    for ignore in ignores {
        let project = Project::new(&world, "FROM scratch\nCOPY . /\n");
        fs::remove_file(project.inputs.context.join("probe")).unwrap();
        for file in files {
            let path = project.inputs.context.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(project.inputs.context.join(".dockerignore"), ignore).unwrap();
        let ours: Vec<String> = Context::list(&project.inputs)
            .unwrap()
            .entries
            .iter()
            .map(|entry| entry.path.clone())
            .filter(|path| files.contains(&path.as_str()) || path == "text")
            .collect();
        let theirs: Vec<String> = in_image(&world, &project.inputs.context)
            .into_iter()
            .filter(|path| files.contains(&path.as_str()) || path == "text")
            .collect();
        assert_eq!(ours, theirs, "with {ignore:?}");
    }
}

/// Files of the image that the client builds of a folder.
fn in_image(world: &World, context: &Path) -> Vec<String> {
    let tag = format!("{}-oracle:1", world.stack);
    let run = |arguments: &[&str]| {
        let output = Command::new("docker")
            .args(arguments)
            .env("DOCKER_BUILDKIT", "0")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text}");
        output.stdout
    };
    run(&[
        "build",
        "-q",
        "--no-cache",
        "-t",
        &tag,
        &context.display().to_string(),
    ]);
    let label = format!("{}={}", shopctl::state::names::STACK, world.stack);
    let container = run(&["create", "--label", &label, &tag, "none"]);
    let container = String::from_utf8(container).unwrap();
    let exported = run(&["export", container.trim()]);
    run(&["rm", container.trim()]);
    let mut paths: Vec<String> = tar::Archive::new(&exported[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
#[ignore = "engine"]
async fn modes_survive_the_way_into_the_image() {
    let world = World::new().await;
    let project = Project::new(&world, "FROM scratch\nCOPY . /\nENTRYPOINT [\"/probe\"]\n");
    let text = project.inputs.context.join("text");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o640)).unwrap();
    let (built, _) = project.build(&world.docker).await.unwrap();
    let mut instance = world.instance("order", &[], &["owner", "/text"]);
    instance.spec.image = built.tag;
    let name = world.run(instance).await;
    let query = shopctl::backend::LogQuery {
        follow: true,
        ..Default::default()
    };
    let mut lines = shopctl::backend::Logs::logs(&world.docker, &name, &query)
        .await
        .unwrap();
    assert_eq!(lines.recv().await.unwrap().text, "0:0 640");
}

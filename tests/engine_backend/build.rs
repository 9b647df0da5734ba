//! Images built, looked up, loaded and missed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use shopctl::backend::BackendError;
use shopctl::backend::BuildImages as _;
use shopctl::backend::Images as _;
use shopctl::backend::docker::Docker;
use shopctl::backend::docker::Settings;
use shopctl::backend::docker::image;
use shopctl::build::Builder;
use shopctl::build::Recipe;
use shopctl::build::identity;
use shopctl::state::observed::ImageInfo;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::support::probe;
use crate::support::shim::Shim;
use crate::world::World;

struct Project {
    folder: TempDir,
    recipe: Recipe,
}

impl Project {
    fn new(world: &World, dockerfile: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("context");
        fs::create_dir(&context).unwrap();
        fs::copy(probe::path(), context.join("probe")).unwrap();
        fs::write(context.join("text"), "hello").unwrap();
        fs::write(context.join("Dockerfile"), dockerfile).unwrap();
        let recipe = Recipe {
            stack: world.stack.clone(),
            service: "order".to_owned(),
            context,
            dockerfile: "Dockerfile".into(),
            ..Recipe::default()
        };
        Self { folder, recipe }
    }

    fn tag(&self) -> String {
        let cache = self.folder.path().join("cache");
        let recipes = [("order".to_owned(), self.recipe.clone())].into();
        let tags = identity::tags(&recipes, &cache);
        tags.unwrap().remove("order").unwrap()
    }

    async fn build(&self, docker: &Docker) -> Result<(ImageInfo, Vec<String>), BackendError> {
        let (sender, mut receiver) = mpsc::channel(1000);
        let recipes = [("order".to_owned(), self.recipe.clone())].into();
        let tags = [("order".to_owned(), self.tag())].into();
        let builder = Builder::new(docker, &recipes, &tags);
        let built = builder.build("order", sender).await?;
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
    project.recipe.args = [("GREETING".to_owned(), Some("hi".to_owned()))].into();
    project.recipe.tags = vec![format!("{}-extra:2", world.stack)];
    let (built, lines) = project.build(&docker).await.unwrap();
    let said = lines.iter().any(|line| line.contains("from-the-build"));
    assert!(said, "{lines:#?}");
    for tag in [&project.tag(), &project.recipe.tags[0]] {
        assert_eq!(docker.image(tag).await.unwrap(), Some(built.clone()));
    }
    let mut instance = world.instance("order", &[], &["cat", "/text"]);
    instance.spec.image = project.tag();
    instance.image_id = Some(built.id);
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
            BackendError::Build {
                reason,
                output,
                tag,
            } => {
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
            BackendError::Build { reason, .. } => {
                assert!(reason.to_lowercase().contains("nonsense"), "{reason}");
            }
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
#[ignore = "engine"]
async fn an_image_that_is_there_is_not_sent_again() {
    let shim = Shim::start();
    let world = World::at(Some(shim.host())).await;
    shim.reset(None);
    let sent = image::ensure(&world.docker, &world.context.helper_image, &probe::path()).await;
    assert!(!sent.unwrap());
    let calls = shim.calls();
    assert!(calls.len() == 1 && !calls[0].mutates(), "{calls:?}");
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
        let context = &project.recipe.context;
        fs::remove_file(context.join("probe")).unwrap();
        for file in files {
            let path = context.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(context.join(".dockerignore"), ignore).unwrap();
        project.build(&world.docker).await.unwrap();
        let ours = in_image(&world, &project.tag());
        let tag = format!("{}-oracle:1", world.stack);
        let context = context.display().to_string();
        docker(&["build", "-q", "--no-cache", "-t", &tag, &context]);
        assert_eq!(ours, in_image(&world, &tag), "with {ignore:?}");
    }
}

/// Runs the engine's own client.
fn docker(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("docker")
        .args(arguments)
        .env("DOCKER_BUILDKIT", "0")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}");
    output.stdout
}

/// Files that a build put into an image; the engine adds some of its own to every
/// container, and the Dockerfile is only sometimes among what is copied.
fn in_image(world: &World, tag: &str) -> Vec<String> {
    let label = format!("{}={}", shopctl::state::names::STACK, world.stack);
    let container = docker(&["create", "--label", &label, tag, "none"]);
    let container = String::from_utf8(container).unwrap();
    let exported = docker(&["export", container.trim()]);
    docker(&["rm", container.trim()]);
    let own = [
        "dev/",
        "etc/",
        "proc/",
        "sys/",
        ".dockerenv",
        "Dockerfile",
        ".dockerignore",
    ];
    let mut paths: Vec<String> = tar::Archive::new(&exported[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.header().entry_type().is_file())
        .map(|entry| entry.path().unwrap().display().to_string())
        .filter(|path| !own.iter().any(|start| path.starts_with(start)))
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
#[ignore = "engine"]
async fn modes_survive_the_way_into_the_image() {
    let world = World::new().await;
    let project = Project::new(&world, "FROM scratch\nCOPY . /\nENTRYPOINT [\"/probe\"]\n");
    let text = project.recipe.context.join("text");
    fs::set_permissions(&text, fs::Permissions::from_mode(0o640)).unwrap();
    project.build(&world.docker).await.unwrap();
    let mut instance = world.instance("order", &[], &["owner", "/text"]);
    instance.spec.image = project.tag();
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

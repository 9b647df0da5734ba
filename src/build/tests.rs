//! Contexts, identities and prepare commands over real folders.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use tokio::sync::mpsc;

use super::context::Context;
use super::*;
use crate::event::EventKind;

struct World {
    folder: TempDir,
    inputs: BuildInputs,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let context = folder.path().join("context");
        for (path, text) in files {
            write(&context.join(path), text);
        }
        let inputs = BuildInputs {
            stack: "shop".to_owned(),
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

    fn paths(&self) -> Vec<String> {
        let context = Context::list(&self.inputs).unwrap();
        context
            .entries
            .into_iter()
            .map(|entry| entry.path)
            .collect()
    }

    fn tag(&self) -> String {
        identify(&self.inputs, &self.cache()).unwrap().unwrap()
    }

    async fn prepare(&self) -> Result<Vec<EventKind>, BuildError> {
        let (events, mut received) = mpsc::channel(64);
        let (lines, _) = mpsc::channel(1);
        prepare::run(&self.inputs, &self.cache(), &events, &lines).await?;
        drop(events);
        let mut all = Vec::new();
        while let Some(event) = received.recv().await {
            all.push(event);
        }
        Ok(all)
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn skipped(events: &[EventKind]) -> bool {
    matches!(
        events.last(),
        Some(EventKind::PrepareFinished { skipped: true, .. })
    )
}

const DOCKERFILE: (&str, &str) = ("Dockerfile", "FROM scratch\nCOPY . /\n");

#[test]
fn the_context_is_what_dockerignore_leaves() {
    let world = World::new(&[
        DOCKERFILE,
        (
            ".dockerignore",
            "**/*.tmp\ntarget\n!target/out/bin\nDockerfile\n",
        ),
        ("a.tmp", ""),
        ("src/b.tmp", ""),
        ("src/main.rs", ""),
        ("target/debug/x", ""),
        ("target/out/bin", ""),
    ]);
    assert_eq!(
        world.paths(),
        [
            ".dockerignore",
            "Dockerfile",
            "src",
            "src/main.rs",
            "target/out/bin"
        ]
    );
}

#[test]
fn an_ignore_file_of_the_dockerfile_goes_first() {
    let world = World::new(&[
        DOCKERFILE,
        (".dockerignore", "a"),
        ("Dockerfile.dockerignore", "b"),
        ("a", ""),
        ("b", ""),
    ]);
    let paths = world.paths();
    assert!(paths.contains(&"a".to_owned()) && !paths.contains(&"b".to_owned()));
}

#[test]
fn a_dockerfile_outside_the_context_travels_along() {
    let mut world = World::new(&[("a", "")]);
    write(&world.folder.path().join("Other"), "FROM scratch");
    world.inputs.dockerfile = "../Other".into();
    let context = Context::list(&world.inputs).unwrap();
    assert!(context.dockerfile.starts_with(".dockerfile-"));
    let packed = context.pack(&world.inputs).unwrap();
    let names: Vec<String> = tar::Archive::new(&packed[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names, ["a".to_owned(), context.dockerfile.clone()]);
    world.inputs.dockerfile_inline = Some("FROM scratch".to_owned());
    let inline = Context::list(&world.inputs).unwrap();
    assert_eq!(inline.dockerfile, context.dockerfile);
}

#[test]
fn a_missing_dockerfile_is_named() {
    let world = World::new(&[("a", "")]);
    let error = Context::list(&world.inputs).unwrap_err().to_string();
    assert!(error.contains("context/Dockerfile"), "{error}");
}

#[test]
fn the_archive_is_the_same_for_the_same_content() {
    let files = [DOCKERFILE, ("b", "1"), ("a/c", "2")];
    let (one, two) = (World::new(&files), World::new(&files));
    let pack = |world: &World| {
        let context = Context::list(&world.inputs).unwrap();
        context.pack(&world.inputs).unwrap()
    };
    assert_eq!(pack(&one), pack(&two));
    assert_eq!(one.tag(), two.tag());
}

#[test]
fn everything_that_goes_in_changes_the_tag() {
    let mut world = World::new(&[DOCKERFILE, ("a", "1")]);
    let mut tags = vec![world.tag()];
    assert_eq!(tags[0].split(':').next(), Some("shop-order"));
    let mut changed = |world: &World, what: &str| {
        let tag = world.tag();
        assert!(!tags.contains(&tag), "{what} does not count");
        tags.push(tag);
    };
    write(&world.inputs.context.join("a"), "2");
    changed(&world, "content");
    let executable = fs::Permissions::from_mode(0o755);
    fs::set_permissions(world.inputs.context.join("a"), executable).unwrap();
    changed(&world, "mode");
    write(&world.inputs.context.join("b"), "");
    changed(&world, "a new file");
    std::os::unix::fs::symlink("a", world.inputs.context.join("link")).unwrap();
    changed(&world, "a link");
    write(&world.inputs.context.join("Dockerfile"), "FROM scratch");
    changed(&world, "the Dockerfile");
    world.inputs.args = BTreeMap::from([("A".to_owned(), Some("1".to_owned()))]);
    changed(&world, "an argument");
    world.inputs.target = Some("x".to_owned());
    changed(&world, "the target");
    world.inputs.labels = BTreeMap::from([("l".to_owned(), "1".to_owned())]);
    changed(&world, "a label");
    world.inputs.platform = Some("linux/arm64".to_owned());
    changed(&world, "the platform");
    world.inputs.dockerfile_inline = Some("FROM scratch\n".to_owned());
    changed(&world, "an inline Dockerfile");
}

#[test]
fn what_is_ignored_and_how_it_is_built_do_not() {
    let mut world = World::new(&[DOCKERFILE, (".dockerignore", "log"), ("a", "1")]);
    let tag = world.tag();
    write(&world.inputs.context.join("log"), "x");
    world.inputs.no_cache = true;
    world.inputs.tags = vec!["other:1".to_owned()];
    assert_eq!(world.tag(), tag);
}

#[tokio::test]
async fn commands_run_once_until_an_input_changes() {
    let mut world = World::new(&[DOCKERFILE, (".dockerignore", "src"), ("src/main", "1")]);
    let copy = ["sh", "-c", "cp src/main out; echo done >> src/count"];
    world.inputs.prepare = vec![copy.map(ToOwned::to_owned).to_vec()];
    world.inputs.prepare_inputs = vec!["src/main*".to_owned()];
    let count = || fs::read_to_string(world.inputs.project.join("src/count")).unwrap();
    assert_eq!(identify(&world.inputs, &world.cache()).unwrap(), None);
    let events = world.prepare().await.unwrap();
    assert!(
        matches!(&events[0], EventKind::PrepareStarted { command, .. }
        if command.starts_with("sh -c "))
    );
    assert!(!skipped(&events));
    let first = world.tag();
    assert!(skipped(&world.prepare().await.unwrap()));
    assert_eq!(count().lines().count(), 1);
    write(&world.inputs.project.join("src/main"), "two");
    assert_eq!(identify(&world.inputs, &world.cache()).unwrap(), None);
    assert!(!skipped(&world.prepare().await.unwrap()));
    assert_ne!(world.tag(), first);
}

#[tokio::test]
async fn what_a_command_made_and_is_gone_is_made_again() {
    let mut world = World::new(&[DOCKERFILE, ("main", "1")]);
    world.inputs.prepare = vec![["cp", "main", "out"].map(ToOwned::to_owned).to_vec()];
    world.inputs.prepare_inputs = vec!["main".to_owned()];
    world.prepare().await.unwrap();
    fs::remove_file(world.inputs.context.join("out")).unwrap();
    assert!(!skipped(&world.prepare().await.unwrap()));
    assert!(world.inputs.context.join("out").exists());
}

#[tokio::test]
async fn without_inputs_commands_run_each_time() {
    let mut world = World::new(&[DOCKERFILE]);
    world.inputs.prepare = vec![vec!["true".to_owned()]];
    for _ in 0..2 {
        assert!(!skipped(&world.prepare().await.unwrap()));
        assert_eq!(identify(&world.inputs, &world.cache()).unwrap(), None);
    }
}

#[tokio::test]
async fn a_failing_command_says_what_it_said() {
    let mut world = World::new(&[DOCKERFILE]);
    let fail = ["sh", "-c", "echo out; echo err >&2; exit 3"];
    world.inputs.prepare = vec![fail.map(ToOwned::to_owned).to_vec()];
    match world.prepare().await.unwrap_err() {
        BuildError::Prepare {
            outcome,
            mut output,
            ..
        } => {
            output.sort();
            assert_eq!(output, ["err", "out"]);
            assert_eq!(outcome, "ended with exit status: 3");
        }
        other => panic!("{other}"),
    }
    world.inputs.prepare = vec![vec!["no-such-program".to_owned()]];
    let error = world.prepare().await.unwrap_err().to_string();
    assert!(
        error.contains("`no-such-program` cannot be started"),
        "{error}"
    );
}

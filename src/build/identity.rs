//! What an image is called before it is built: a digest of all that goes in.

use std::collections::BTreeMap;
use std::path::Path;

use super::BuildError;
use super::context::Files;
use super::memo;
use super::prepare;
use super::recipe::Recipe;
use super::recipe::Source;
use crate::state::names::hex;

/// Part of every digest; a new way to build images needs a new one.
const FORMAT: u32 = 1;

/// The tags of the images of these recipes, `<stack>-<service>:<12 hex>`, by service. One
/// has none while its prepare commands have yet to run, because they may still change the
/// context, or while an image that it is built from has none.
///
/// Reads the contexts at most; runs, builds, sends nothing.
///
/// # Errors
/// A context, Dockerfile or `.dockerignore` that cannot be read, and images that are built
/// from each other.
pub fn tags(
    recipes: &BTreeMap<String, Recipe>,
    cache: &Path,
) -> Result<BTreeMap<String, String>, BuildError> {
    let mut tags = BTreeMap::new();
    for recipe in in_order(recipes)? {
        if let Some(tag) = tag(recipe, &tags, cache)? {
            tags.insert(recipe.service.clone(), tag);
        }
    }
    Ok(tags)
}

/// The recipes, each behind those that it is built from.
fn in_order(recipes: &BTreeMap<String, Recipe>) -> Result<Vec<&Recipe>, BuildError> {
    let mut rest: Vec<&Recipe> = recipes.values().collect();
    let mut ordered = Vec::new();
    while !rest.is_empty() {
        let waiting: Vec<&str> = rest.iter().map(|it| it.service.as_str()).collect();
        let ready = |it: &&Recipe| !it.bases().any(|base| waiting.contains(&base));
        let (ready, later): (Vec<_>, Vec<_>) = rest.iter().partition(|it| ready(it));
        if ready.is_empty() {
            let services = waiting.into_iter().map(str::to_owned).collect();
            return Err(BuildError::Circle { services });
        }
        ordered.extend(ready);
        rest = later;
    }
    Ok(ordered)
}

/// The tag of one, where those that it is built from have these.
fn tag(
    recipe: &Recipe,
    bases: &BTreeMap<String, String>,
    cache: &Path,
) -> Result<Option<String>, BuildError> {
    if prepare::is_due(recipe, cache)? {
        return Ok(None);
    }
    let files = Files::find(recipe)?;
    let key = format!(
        "context {} {}",
        recipe.context.display(),
        recipe.dockerfile.display()
    );
    let main = digest(recipe, &files, cache, &key)?;
    let mut others = BTreeMap::new();
    for (name, source) in &recipe.contexts {
        let content = match source {
            Source::Remote(place) => place.clone(),
            Source::Service(base) => match bases.get(base) {
                Some(tag) => tag.clone(),
                None => return Ok(None),
            },
            Source::Folder(root) => {
                let files = Files::beside(&recipe.service, root)?;
                let key = format!("beside {}", root.display());
                digest(recipe, &files, cache, &key)?
            }
        };
        others.insert(name.as_str(), content);
    }
    let content = together(main, &others);
    Ok(Some(name(recipe, &files.dockerfile, &content)))
}

/// The digest of a context, read only where it may have changed.
fn digest(recipe: &Recipe, files: &Files, cache: &Path, key: &str) -> Result<String, BuildError> {
    let fingerprint = files.fingerprint();
    if let Some(digest) = memo::recall(cache, key, &fingerprint) {
        return Ok(digest);
    }
    let digest = files.digest(&recipe.service)?;
    memo::remember(cache, key, &fingerprint, &digest, files.youngest());
    Ok(digest)
}

/// The content of all contexts: the digest of the main one where there are no others.
pub(super) fn together(main: String, others: &BTreeMap<&str, String>) -> String {
    if others.is_empty() {
        return main;
    }
    // A map of strings cannot fail to serialise.
    let others = serde_json::to_string(others).unwrap_or_default();
    hex(format!("{main}\n{others}").as_bytes())
}

/// The tag for a context with this digest.
pub(super) fn name(recipe: &Recipe, dockerfile: &str, content: &str) -> String {
    // A map of strings cannot fail to serialise.
    let settings = serde_json::to_string(recipe).unwrap_or_default();
    let digest = hex(format!("{FORMAT}\n{content}\n{dockerfile}\n{settings}").as_bytes());
    // Service names may have capitals, image names must not.
    let name = format!("{}-{}", recipe.stack, recipe.service).to_lowercase();
    format!("{name}:{}", digest.get(..12).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::build::recipe::Prepare;

    struct Fixture {
        folder: tempfile::TempDir,
        cache: tempfile::TempDir,
    }

    impl Fixture {
        fn new() -> Self {
            let fixture = Self {
                folder: tempfile::tempdir().expect("a folder"),
                cache: tempfile::tempdir().expect("a folder"),
            };
            fixture.write("Dockerfile", "FROM scratch\nCOPY a /a\n");
            fixture.write("a", "one");
            fixture
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.folder.path().join(name), text).expect("writable");
        }

        fn recipe(&self) -> Recipe {
            Recipe {
                stack: "shop".into(),
                service: "order".into(),
                context: self.folder.path().into(),
                dockerfile: PathBuf::from("Dockerfile"),
                ..Recipe::default()
            }
        }

        fn tag(&self, recipe: &Recipe) -> Option<String> {
            tag(recipe, &BTreeMap::new(), self.cache.path()).expect("readable")
        }
    }

    #[test]
    fn the_same_content_has_the_same_name_wherever_it_lies() {
        let (one, two) = (Fixture::new(), Fixture::new());
        let name = one.tag(&one.recipe());
        assert_eq!(name, two.tag(&two.recipe()));
        assert!(name.is_some_and(
            |name| name.starts_with("shop-order:") && name.len() == "shop-order:".len() + 12
        ));
    }

    #[test]
    fn everything_that_goes_in_changes_the_name() {
        let fixture = Fixture::new();
        let recipe = fixture.recipe();
        let mut seen = vec![fixture.tag(&recipe)];
        let mut changed = recipe.clone();
        changed.args.insert("VERSION".into(), Some("2".into()));
        seen.push(fixture.tag(&changed));
        changed.target = Some("final".into());
        seen.push(fixture.tag(&changed));
        fixture.write("a", "two");
        seen.push(fixture.tag(&recipe));
        fixture.write("b", "new");
        seen.push(fixture.tag(&recipe));
        fixture.write("Dockerfile", "FROM scratch\nCOPY b /b\n");
        seen.push(fixture.tag(&recipe));
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "{seen:?}");
    }

    #[test]
    fn contexts_beside_the_main_one_count_by_name_and_content() {
        let (fixture, beside) = (Fixture::new(), Fixture::new());
        let mut recipe = fixture.recipe();
        let mut seen = vec![fixture.tag(&recipe)];
        let folder = Source::Folder(beside.folder.path().into());
        recipe.contexts.insert("lib".into(), folder.clone());
        seen.push(fixture.tag(&recipe));
        beside.write("a", "two");
        seen.push(fixture.tag(&recipe));
        beside.write(".dockerignore", "noise");
        seen.push(fixture.tag(&recipe));
        let quiet = fixture.tag(&recipe);
        beside.write("noise", "x");
        assert_eq!(quiet, fixture.tag(&recipe), "what is ignored does not");
        recipe.contexts = BTreeMap::from([("libs".to_owned(), folder)]);
        seen.push(fixture.tag(&recipe));
        for image in ["docker-image://a:1", "docker-image://a:2"] {
            let image = Source::Remote(image.to_owned());
            recipe.contexts = BTreeMap::from([("lib".to_owned(), image)]);
            seen.push(fixture.tag(&recipe));
        }
        let all = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), all, "{seen:?}");
    }

    #[test]
    fn an_image_is_named_after_those_that_it_is_built_from() {
        let fixture = Fixture::new();
        let from = |base: &str| {
            let base = Source::Service(base.to_owned());
            BTreeMap::from([("base".to_owned(), base)])
        };
        let mut recipes = BTreeMap::new();
        for (service, base) in [("a", Some("b")), ("b", Some("c")), ("c", None)] {
            let mut recipe = fixture.recipe();
            recipe.service = service.into();
            recipe.contexts = base.map(from).unwrap_or_default();
            recipes.insert(service.to_owned(), recipe);
        }
        let named = |recipes: &BTreeMap<String, Recipe>| {
            tags(recipes, fixture.cache.path()).expect("readable")
        };
        let first = named(&recipes);
        recipes.get_mut("c").expect("a recipe").target = Some("final".into());
        let second = named(&recipes);
        for service in ["a", "b", "c"] {
            assert_ne!(first[service], second[service], "{service}");
        }
        recipes.get_mut("a").expect("a recipe").target = Some("final".into());
        let third = named(&recipes);
        assert_eq!((&third["b"], &third["c"]), (&second["b"], &second["c"]));
        assert_ne!(third["a"], second["a"]);

        recipes.get_mut("c").expect("a recipe").prepare = Some(Prepare {
            folder: fixture.folder.path().into(),
            commands: vec![vec!["true".to_owned()]],
            inputs: Vec::new(),
        });
        assert_eq!(named(&recipes), BTreeMap::new(), "c may change yet");

        recipes.get_mut("c").expect("a recipe").contexts = from("b");
        let circle = tags(&recipes, fixture.cache.path()).expect_err("a circle");
        assert_eq!(
            circle.to_string(),
            "the images of a, b, c are built from each other"
        );
    }

    #[test]
    fn what_is_ignored_does_not_count() {
        let fixture = Fixture::new();
        fixture.write(".dockerignore", "*.log\n");
        let before = fixture.tag(&fixture.recipe());
        fixture.write("noise.log", "x");
        assert_eq!(before, fixture.tag(&fixture.recipe()));
    }

    #[test]
    fn a_missing_dockerfile_is_named() {
        let fixture = Fixture::new();
        fs::remove_file(fixture.folder.path().join("Dockerfile")).expect("it was there");
        let recipes = BTreeMap::from([("order".to_owned(), fixture.recipe())]);
        let error = tags(&recipes, fixture.cache.path()).expect_err("it is missing");
        assert!(error.to_string().contains("Dockerfile"), "{error}");
    }

    #[tokio::test]
    async fn prepare_runs_until_its_inputs_are_known_and_again_when_they_change() {
        let fixture = Fixture::new();
        let mut recipe = fixture.recipe();
        recipe.prepare = Some(Prepare {
            folder: fixture.folder.path().into(),
            commands: vec![["sh", "-c", "cat a >made"].map(str::to_owned).into()],
            inputs: vec!["a".into()],
        });
        let run = async |fixture: &Fixture| {
            let (lines, _kept) = tokio::sync::mpsc::channel(8);
            crate::build::prepare::run(&recipe, fixture.cache.path(), lines).await
        };
        assert_eq!(fixture.tag(&recipe), None, "the command has yet to run");
        run(&fixture).await.expect("it runs");
        let first = fixture.tag(&recipe);
        assert!(first.is_some(), "its inputs are unchanged");
        fixture.write("a", "two");
        assert_eq!(fixture.tag(&recipe), None, "an input changed");
        run(&fixture).await.expect("it runs");
        assert_ne!(fixture.tag(&recipe), first);
    }

    #[tokio::test]
    async fn inputs_may_lie_above_the_folder_of_the_stack_file() {
        let fixture = Fixture::new();
        let below = fixture.folder.path().join("stacks");
        fs::create_dir(&below).expect("a folder");
        let mut recipe = fixture.recipe();
        recipe.prepare = Some(Prepare {
            folder: below,
            commands: vec![vec!["true".to_owned()]],
            inputs: vec!["../a*".into()],
        });
        let (lines, _kept) = tokio::sync::mpsc::channel(8);
        crate::build::prepare::run(&recipe, fixture.cache.path(), lines)
            .await
            .expect("it runs");
        assert!(fixture.tag(&recipe).is_some(), "the input is known");
        fixture.write("a", "changed");
        assert_eq!(fixture.tag(&recipe), None, "and seen to change");
    }

    #[tokio::test]
    async fn a_failing_prepare_command_shows_what_it_said() {
        let fixture = Fixture::new();
        let mut recipe = fixture.recipe();
        recipe.prepare = Some(Prepare {
            folder: fixture.folder.path().into(),
            commands: vec![["sh", "-c", "echo so; exit 7"].map(str::to_owned).into()],
            inputs: Vec::new(),
        });
        let (lines, _kept) = tokio::sync::mpsc::channel(8);
        let error = crate::build::prepare::run(&recipe, fixture.cache.path(), lines)
            .await
            .expect_err("it fails");
        let crate::build::BuildError::Prepare { ended, output, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(
            (ended.as_str(), output),
            ("exit code 7", vec!["so".to_owned()])
        );
    }
}

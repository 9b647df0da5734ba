//! A stack made ready for planning: loaded, its images named, resolved.
//!
//! Between the stack file and the pure planner stand a few things that only a
//! command may touch: the contents of secret files, the digests of build
//! contexts, the prepare commands. They are gathered here, for every command the
//! same way.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::mpsc;

use super::change::Goals;
use crate::build;
use crate::build::BuildError;
use crate::build::Prepare;
use crate::build::Recipe;
use crate::build::identity;
use crate::build::lend;
use crate::build::lend::Secret;
use crate::build::recipe::Source;
use crate::event::EventKind;
use crate::exec::Emitter;
use crate::release;
use crate::stack::Problem;
use crate::stack::Problems;
use crate::stack::Stack;
use crate::stack::model::Build;
use crate::stack::model::FileSource;
use crate::state::desired::DesiredState;
use crate::state::resolve;

/// A stack, ready to be planned.
pub(super) struct Project {
    /// What should be.
    pub(super) desired: DesiredState,
    /// How images are built, by service.
    pub(super) recipes: BTreeMap<String, Recipe>,
    /// Tags of built images, by service; absent while prepare is due.
    pub(super) tags: BTreeMap<String, String>,
    /// What the file asks for in vain, and what the loader warned of.
    pub(super) warnings: Vec<Problem>,
    /// Values that must not appear in any output.
    pub(super) secrets: Vec<String>,
    stack: Stack,
    inputs: resolve::Inputs,
    cache: PathBuf,
}

/// Whether a command can do without the names of images that are built, which need
/// the build contexts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// A context that cannot be read is an error.
    Required,
    /// A context that cannot be read leaves its image without a name.
    WherePossible,
}

/// Why a stack cannot be made ready.
#[derive(Debug)]
pub(super) enum ProjectError {
    /// The file is wrong.
    Problems(Problems),
    /// A build cannot start, or a prepare command failed.
    Build(BuildError),
}

impl From<Problems> for ProjectError {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<BuildError> for ProjectError {
    fn from(error: BuildError) -> Self {
        Self::Build(error)
    }
}

impl Project {
    /// Built images are called by this registry, where one is named, instead of the file's.
    pub(super) fn named_below(&mut self, registry: &str) {
        if !registry.is_empty() {
            registry.clone_into(&mut self.desired.registry);
        }
    }

    /// Reads what planning needs beside the file. Runs, builds, pulls and sends
    /// nothing.
    pub(super) fn new(
        stack: Stack,
        environment: &BTreeMap<String, String>,
        cache: &Path,
        only: &[String],
        naming: Naming,
    ) -> Result<Self, ProjectError> {
        let mut inputs = resolve::Inputs {
            only: only.iter().cloned().collect(),
            ..resolve::Inputs::default()
        };
        for path in resolve::files(&stack) {
            // What cannot be read is left out; who needs it names it.
            if let Ok(content) = fs::read(&path) {
                inputs.contents.insert(path, content);
            }
        }
        let recipes: BTreeMap<String, Recipe> = stack
            .services
            .values()
            .chain(stack.bases.values())
            .filter_map(|service| {
                let build = service.build.as_ref()?;
                let mut recipe = recipe(&stack, &service.name, build, environment);
                recipe.prepare = service
                    .shop
                    .as_ref()
                    .and_then(|shop| shop.prepare.as_ref())
                    .map(|prepare| Prepare {
                        folder: stack.working_dir.clone(),
                        commands: prepare.commands.clone(),
                        inputs: prepare.inputs.clone(),
                    });
                recipe.secrets = lent_secrets(&stack, build, &inputs.contents);
                recipe.ssh = lend::places(&build.ssh, environment.get("SSH_AUTH_SOCK"));
                recipe.platform = service.platform.clone().or(recipe.platform);
                Some((service.name.clone(), recipe))
            })
            .collect();
        let secrets = secrets(&stack, &inputs.contents);
        let tags = match (identity::tags(&recipes, cache), naming) {
            (Ok(tags), _) => tags,
            // Who only looks at what runs, or takes it away, needs no sources.
            (Err(_), Naming::WherePossible) => BTreeMap::new(),
            (Err(error), Naming::Required) => return Err(error.into()),
        };
        inputs.tags.clone_from(&tags);
        let resolved = resolve::resolve(&stack, &inputs)?;
        Ok(Self {
            desired: resolved.desired,
            recipes,
            tags,
            warnings: resolved.warnings,
            secrets,
            stack,
            inputs,
            cache: cache.to_owned(),
        })
    }

    /// Whether the builds of these services can start: what they are lent is there.
    pub(super) fn can_build<'a>(
        &'a self,
        services: impl Iterator<Item = &'a String>,
    ) -> Result<(), ProjectError> {
        for service in self.with_bases(services.map(String::as_str)) {
            self.recipes.get(service).map_or(Ok(()), lend::check)?;
        }
        Ok(())
    }

    /// These services, and those whose images theirs are built from.
    fn with_bases<'a>(&'a self, services: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
        let mut all = BTreeSet::new();
        let mut next: Vec<&str> = services.collect();
        while let Some(service) = next.pop() {
            if all.insert(service)
                && let Some(recipe) = self.recipes.get(service)
            {
                next.extend(recipe.bases());
            }
        }
        all
    }

    /// The services in scope whose prepare commands are due.
    fn unprepared(&self) -> Result<BTreeSet<String>, ProjectError> {
        let mut due = BTreeSet::new();
        let scope = self.with_bases(self.scope());
        for (service, recipe) in &self.recipes {
            if recipe.prepare.is_some()
                && scope.contains(service.as_str())
                && build::prepare::is_due(recipe, &self.cache)?
            {
                due.insert(service.clone());
            }
        }
        Ok(due)
    }

    /// Runs the prepare commands that are due, and names the images they make.
    pub(super) async fn prepare(&mut self, emitter: &Emitter) -> Result<(), ProjectError> {
        let ran = self.unprepared()?;
        // They are for a build that is to follow.
        self.can_build(ran.iter())?;
        for (service, recipe) in &self.recipes {
            let Some(prepare) = &recipe.prepare else {
                continue;
            };
            if !ran.contains(service) {
                continue;
            }
            let started = Instant::now();
            let commands: Vec<String> = prepare
                .commands
                .iter()
                .map(|it| build::prepare::typed(it))
                .collect();
            emitter.emit(EventKind::PrepareStarted {
                service: service.clone(),
                command: commands.join("; "),
            });
            let (sender, mut lines) = mpsc::channel(256);
            let forward = async {
                while let Some(text) = lines.recv().await {
                    emitter.emit(EventKind::StepProgress {
                        step: 0,
                        service: service.clone(),
                        text,
                    });
                }
            };
            let (result, ()) =
                tokio::join!(build::prepare::run(recipe, &self.cache, sender), forward);
            result?;
            emitter.emit(EventKind::PrepareFinished {
                service: service.clone(),
                skipped: false,
                elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
        }
        if ran.is_empty() {
            return Ok(());
        }
        // Commands without inputs are due for ever; in this run they are done.
        for (_, recipe) in self.recipes.iter_mut().filter(|it| ran.contains(it.0)) {
            recipe.prepare = None;
        }
        self.name_images()
    }

    /// Names images as if no prepare command were due (`--no-prepare`).
    pub(super) fn skip_prepare(&mut self) -> Result<(), ProjectError> {
        for recipe in self.recipes.values_mut() {
            recipe.prepare = None;
        }
        self.name_images()
    }

    /// What a change to it takes.
    pub(super) fn goals(&self) -> Goals<'_> {
        self.goals_for(&self.desired)
    }

    /// The same for another state of this stack.
    pub(super) fn goals_for<'a>(&'a self, desired: &'a DesiredState) -> Goals<'a> {
        Goals {
            desired,
            recipes: &self.recipes,
            tags: &self.tags,
            secrets: &self.secrets,
        }
    }

    /// Names that the file gives to the built image of a service: `image`, then
    /// `build.tags`, each once.
    pub(super) fn names(&self, service: &str) -> Vec<String> {
        let service = self.stack.services.get(service);
        let image = service.and_then(|it| it.image.as_ref());
        let build = service.and_then(|it| it.build.as_ref());
        let mut names: Vec<String> = Vec::new();
        for name in image
            .into_iter()
            .chain(build.iter().flat_map(|it| &it.tags))
        {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The services that are asked for.
    fn scope(&self) -> impl Iterator<Item = &str> {
        let all = self.stack.services.keys();
        all.map(String::as_str)
            .filter(|it| self.inputs.only.is_empty() || self.inputs.only.contains(*it))
    }

    fn name_images(&mut self) -> Result<(), ProjectError> {
        self.tags = identity::tags(&self.recipes, &self.cache)?;
        self.inputs.tags.clone_from(&self.tags);
        self.desired = resolve::resolve(&self.stack, &self.inputs)?.desired;
        Ok(())
    }
}

fn recipe(
    stack: &Stack,
    service: &str,
    build: &Build,
    environment: &BTreeMap<String, String>,
) -> Recipe {
    // An argument without a value takes that of the environment, as Docker has it.
    let argument = |(name, value): (&String, &Option<String>)| {
        (
            name.clone(),
            value.clone().or_else(|| environment.get(name).cloned()),
        )
    };
    let hosts = build.extra_hosts.iter().flat_map(|(name, addresses)| {
        addresses
            .iter()
            .map(move |address| format!("{name}:{address}"))
    });
    Recipe {
        stack: stack.name.clone(),
        service: service.to_owned(),
        context: PathBuf::from(&build.context),
        dockerfile: PathBuf::from(&build.dockerfile),
        dockerfile_inline: build.dockerfile_inline.clone(),
        args: build.args.iter().map(argument).collect(),
        target: build.target.clone(),
        labels: build.labels.clone(),
        network: build.network.clone(),
        platform: build.platforms.first().cloned(),
        extra_hosts: hosts.collect(),
        shm_size: build.shm_size.and_then(|size| i64::try_from(size).ok()),
        contexts: contexts(build),
        secrets: BTreeMap::new(),
        ssh: BTreeMap::new(),
        tags: build.tags.clone(),
        cache_from: build.cache_from.clone(),
        no_cache: build.no_cache,
        pull: build.pull,
        prepare: None,
    }
}

/// The contexts beside the main one.
fn contexts(build: &Build) -> BTreeMap<String, Source> {
    let contexts = build.additional_contexts.iter();
    contexts
        .map(|(name, place)| {
            // The loader made every path of this machine absolute.
            let source = if place.starts_with('/') {
                Source::Folder(PathBuf::from(place))
            } else if let Some(service) = place.strip_prefix("service:") {
                Source::Service(service.to_owned())
            } else {
                Source::Remote(place.clone())
            };
            (name.clone(), source)
        })
        .collect()
}

/// What the build may read of the stack's secrets, by the id in the Dockerfile.
fn lent_secrets(
    stack: &Stack,
    build: &Build,
    contents: &BTreeMap<PathBuf, Vec<u8>>,
) -> BTreeMap<String, Secret> {
    let grants = build.secrets.iter();
    grants
        .filter_map(|grant| {
            let object = stack.secrets.get(&grant.source)?;
            let secret = Secret(resolve::content(object, contents));
            Some((grant.target.clone(), secret))
        })
        .collect()
}

/// Values of the stack's secrets, so that reports can leave them out.
fn secrets(stack: &Stack, contents: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<String> {
    let values: BTreeSet<String> = stack
        .secrets
        .values()
        .filter_map(|secret| match &secret.source {
            FileSource::File(path) => contents
                .get(path)
                .map(|bytes| String::from_utf8_lossy(bytes).trim().to_owned()),
            FileSource::Environment { value, .. } => value.clone(),
            FileSource::Content(text) => Some(text.trim().to_owned()),
            FileSource::External => None,
        })
        .flat_map(|value| release::words(&value))
        .collect();
    values.into_iter().collect()
}

//! `build`: prepare commands and images, and nothing else.

use futures_util::StreamExt as _;
use futures_util::TryStreamExt as _;
use futures_util::stream;
use tokio::sync::mpsc;

use super::args::BuildArgs;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::project::Project;
use super::signals::Signals;
use crate::backend::Backend;
use crate::backend::BackendError;
use crate::backend::BuildImages as _;
use crate::build::Builder;
use crate::event::EventKind;
use crate::exec::Emitter;
use crate::exec::Secrets;
use crate::plan::action::Cause;
use crate::plan::action::StepId;
use crate::report::documents::BuildDocument;
use crate::report::documents::BuiltImage;
use crate::report::documents::VERSION;
use crate::report::progress::Progress;
use crate::report::tables;

/// Builds at a time.
const PARALLEL: usize = 4;

/// Builds what changed, pushes where asked.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    backend: &B,
    args: &BuildArgs,
) -> Result<Exit, CliError> {
    let loaded = desk.load(&args.services)?;
    let settings = desk.settings;
    let mut project = Project::new(
        loaded.stack,
        &settings.load.environment,
        &settings.cache,
        &args.services,
        Naming::Required,
    )?;
    let (sender, events) = mpsc::unbounded_channel();
    let progress = Progress {
        console: desk.console.clone(),
        mode: desk.settings.progress,
        json: false,
        verbose: desk.settings.verbose,
    };
    if args.push {
        have_names(&project, args)?;
    }
    let mut signals = Signals::new();
    let work = async {
        let emitter = Emitter::new(sender, uuid::Uuid::now_v7().simple().to_string());
        project.prepare(&emitter).await?;
        tokio::select! {
            images = images(backend, &project, args, &emitter) => images,
            exit = signals.next() => Err(CliError::new(
                exit,
                "interrupted; images that were built stay",
            )),
        }
    };
    let (images, ()) = tokio::join!(work, progress.follow(events));
    let document = BuildDocument {
        version: VERSION.to_owned(),
        stack: project.desired.stack.clone(),
        images: images?,
    };
    desk.answer(&document, tables::build)?;
    Ok(Exit::Done)
}

async fn images<B: Backend>(
    backend: &B,
    project: &Project,
    args: &BuildArgs,
    emitter: &Emitter,
) -> Result<Vec<BuiltImage>, CliError> {
    let mut missing = Vec::new();
    for (service, tag) in wanted(project, args) {
        if backend.image(tag).await?.is_none() {
            missing.push(service);
        }
    }
    project.can_build(missing.into_iter())?;
    let builder = Builder::new(backend, &project.recipes, &project.tags);
    let build = Build {
        backend,
        project,
        builder,
        emitter,
    };
    let mut images: Vec<BuiltImage> = stream::iter(wanted(project, args).zip(1..))
        .map(|((service, tag), step)| build.image(service, tag, step))
        .buffer_unordered(PARALLEL)
        .try_collect()
        .await?;
    images.sort_by(|one, other| one.service.cmp(&other.service));
    for image in &mut images {
        let below = args.registry.name_of(&image.r#ref);
        image.names.extend(below.clone());
        name(backend, image).await?;
        if args.push {
            push(backend, image, below.as_deref(), emitter).await?;
        }
    }
    Ok(images)
}

/// Whether the image of a service is asked for, and not just built from.
fn is_asked(project: &Project, args: &BuildArgs, service: &str) -> bool {
    project.desired.services.contains_key(service)
        && (args.services.is_empty() || args.services.iter().any(|it| it == service))
}

/// Tags of the images that are asked for, by service.
fn wanted<'a>(
    project: &'a Project,
    args: &'a BuildArgs,
) -> impl Iterator<Item = (&'a String, &'a String)> {
    let tags = project.tags.iter();
    tags.filter(move |(service, _)| is_asked(project, args, service))
}

/// A built image's own tag means nothing to a registry.
fn have_names(project: &Project, args: &BuildArgs) -> Result<(), CliError> {
    let mut asked = project
        .recipes
        .keys()
        .filter(|service| is_asked(project, args, service));
    let nameless =
        |service: &&String| args.registry.prefix.is_empty() && project.names(service).is_empty();
    let Some(service) = asked.find(nameless) else {
        return Ok(());
    };
    let message = format!("the image of {service} has no name to push it by");
    let hint = format!("add to services.{service}: image: REGISTRY/NAME:TAG, or give --registry");
    Err(CliError::new(Exit::StackInvalid, message).hint(hint))
}

/// Lets the names of the stack file mean the image.
async fn name<B: Backend>(backend: &B, image: &BuiltImage) -> Result<(), CliError> {
    for name in &image.names {
        let found = backend.image(name).await?;
        if found.is_none_or(|found| found.id != image.id) {
            backend.tag(&image.r#ref, name).await?;
        }
    }
    Ok(())
}

/// Pushes an image by its names in the file, or where a registry is named by the one below
/// that alone, which tells its content: what is there need not be sent again.
async fn push<B: Backend>(
    backend: &B,
    image: &mut BuiltImage,
    below: Option<&str>,
    emitter: &Emitter,
) -> Result<(), CliError> {
    for name in &image.names {
        let is_below = below == Some(name.as_str());
        if below.is_some() && (!is_below || backend.digest(name).await.is_ok()) {
            continue;
        }
        let (sender, mut lines) = mpsc::channel(256);
        let forward = async {
            while let Some(line) = lines.recv().await {
                emitter.emit(EventKind::StepProgress {
                    step: 0,
                    service: image.service.clone(),
                    text: format!("push {name}: {line}"),
                });
            }
        };
        let (pushed, ()) = tokio::join!(backend.push(name, sender), forward);
        pushed?;
    }
    image.pushed = true;
    Ok(())
}

/// Images that are built, each on its own.
struct Build<'a, B> {
    backend: &'a B,
    project: &'a Project,
    builder: Builder<'a, B>,
    emitter: &'a Emitter,
}

impl<B: Backend> Build<'_, B> {
    /// One image; nothing is sent when the engine has its content already.
    async fn image(&self, service: &str, tag: &str, step: StepId) -> Result<BuiltImage, CliError> {
        let Self {
            project, emitter, ..
        } = self;
        let result = |id: String, built| BuiltImage {
            service: service.to_owned(),
            r#ref: tag.to_owned(),
            names: project.names(service),
            id,
            built,
            pushed: false,
        };
        if let Some(found) = self.backend.image(tag).await? {
            return Ok(result(found.id, false));
        }
        let what = format!("build {tag}");
        emitter.emit(EventKind::StepStarted {
            step,
            service: service.to_owned(),
            what: what.clone(),
            cause: Cause::Missing,
        });
        let started = tokio::time::Instant::now();
        let (sender, mut lines) = mpsc::channel::<String>(256);
        // A command of the build may say what it was lent.
        let secrets = Secrets::new(project.secrets.clone());
        let forward = async {
            while let Some(line) = lines.recv().await {
                emitter.emit(EventKind::StepProgress {
                    step,
                    service: service.to_owned(),
                    text: secrets.redact(&line),
                });
            }
        };
        let (built, ()) = tokio::join!(self.builder.build(service, sender), forward);
        let built = built.map_err(|error| silenced(error, &secrets))?;
        emitter.emit(EventKind::StepFinished {
            step,
            service: service.to_owned(),
            what,
            elapsed_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(result(built.id, true))
    }
}

/// The failure of a build without the values of secrets.
fn silenced(error: BackendError, secrets: &Secrets) -> BackendError {
    match error {
        BackendError::Build {
            tag,
            reason,
            output,
        } => BackendError::Build {
            tag,
            reason: secrets.redact(&reason),
            output: output.iter().map(|line| secrets.redact(line)).collect(),
        },
        other => other,
    }
}

//! `run`: a command in a container of its own, with the image and settings of a
//! service; its exit code is ours.

use tokio::sync::mpsc;

use super::args::RunArgs;
use super::change;
use super::desk::Desk;
use super::error::CliError;
use super::exit::Exit;
use super::project::Naming;
use super::signals::Signals;
use super::terminal::ConsoleWriter;
use super::terminal::RawTerminal;
use super::terminal::sizes;
use super::world::World;
use crate::backend::Backend;
use crate::backend::Context;
use crate::backend::Query;
use crate::backend::RunRequest;
use crate::plan;
use crate::plan::Options;
use crate::plan::PlanInput;
use crate::plan::action::Action;
use crate::plan::action::InstanceSpec;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::observed::ObservedState;

/// Runs it; what it needs is not started.
pub(super) async fn run<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    args: &RunArgs,
) -> Result<u8, CliError> {
    attempt(desk, world, args).await.map_err(|mut error| {
        // Whatever fails beside the command is ours, not the command's.
        if !matches!(error.exit, Exit::StackInvalid | Exit::Usage) {
            error.exit = Exit::Exec;
        }
        error
    })
}

async fn attempt<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    args: &RunArgs,
) -> Result<u8, CliError> {
    if world.backend.capabilities().is_cluster {
        let message = "no container is made for one command on a cluster in this version";
        return Err(CliError::usage(message)
            .hint("shopctl exec SERVICE -- COMMAND, in a replica that runs"));
    }
    let tty = !args.no_tty && !args.detach && desk.terminals.stdin && desk.terminals.stdout;
    let instance = instance(world, args, tty).await?;
    let container = instance.name.clone();
    let context = Context {
        stack: instance_stack(&instance),
        run: uuid::Uuid::now_v7().simple().to_string(),
        ..Context::default()
    };
    let create = Action::CreateInstance { instance };
    world.backend.apply(&context, &create).await?;
    if args.detach {
        let started = Action::StartContainer {
            container: container.clone(),
        };
        if let Err(error) = world.backend.apply(&context, &started).await {
            remove(world, &context, &container).await;
            return Err(error.into());
        }
        desk.console.out(&container)?;
        return Ok(Exit::Done.code());
    }
    let ended = stay(desk, world, &container, tty).await;
    if ended.is_err() {
        remove(world, &context, &container).await;
    }
    ended
}

/// Attached until it ends. The first signal is passed on, the second ends it.
async fn stay<B: Backend>(
    desk: &Desk<'_>,
    world: &World<'_, B>,
    container: &str,
    tty: bool,
) -> Result<u8, CliError> {
    let request = RunRequest {
        container: container.to_owned(),
        tty,
        sizes: if tty { sizes() } else { None },
    };
    let _raw = if tty { RawTerminal::enter() } else { None };
    let mut signals = Signals::new();
    let running = world.backend.run(
        &request,
        Some(Box::new(tokio::io::stdin())),
        Box::new(ConsoleWriter::out(desk.console)),
        Box::new(ConsoleWriter::err(desk.console)),
    );
    tokio::pin!(running);
    loop {
        let told = signals.last.is_some();
        tokio::select! {
            code = &mut running => return Ok(u8::try_from(code?).unwrap_or(u8::MAX)),
            exit = signals.next() => {
                let name = match exit {
                    _ if told => "SIGKILL",
                    Exit::Terminated => "SIGTERM",
                    _ => "SIGINT",
                };
                world.backend.signal(container, name).await?;
            }
        }
    }
}

async fn remove<B: Backend>(world: &World<'_, B>, context: &Context, container: &str) {
    let action = Action::RemoveContainer {
        container: container.to_owned(),
    };
    // The error that led here is the one to report.
    let _ = world.backend.apply(context, &action).await;
}

/// The container to make: the service as it was released, else as the file has it.
async fn instance<B: Backend>(
    world: &World<'_, B>,
    args: &RunArgs,
    tty: bool,
) -> Result<InstanceSpec, CliError> {
    let service = args.service.as_str();
    let project = world.load_with(&[service.to_owned()], Naming::WherePossible)?;
    let desired = change::as_deployed(world.backend, &project.desired).await?;
    let mut observed = world.backend.observe(&Query::of(&desired)).await?;
    if bring_image(world, &desired, service, &observed).await? {
        observed = world.backend.observe(&Query::of(&desired)).await?;
    }
    let input = PlanInput {
        desired: &desired,
        observed: &observed,
        options: &Options::default(),
    };
    let id = uuid::Uuid::now_v7().simple().to_string();
    let name = format!("{}-{service}-run-{}", desired.stack, &id[20..]);
    let Some(mut instance) = plan::one_off(&input, service, name) else {
        return Err(CliError::usage(format!(
            "the stack has no service {service}"
        )));
    };
    grounded(&instance, &observed)?;
    held(&desired, &instance, &observed)?;
    let spec = &mut instance.spec;
    spec.tty = tty;
    spec.stdin_open = !args.detach;
    if let Some(entrypoint) = &args.entrypoint {
        let words = shlex::split(entrypoint).unwrap_or_else(|| vec![entrypoint.clone()]);
        spec.entrypoint = Some(words);
        spec.command = None;
    }
    if !args.command.is_empty() {
        spec.command = Some(args.command.clone());
    }
    spec.user = args.user.clone().or(spec.user.take());
    spec.working_dir = args.workdir.clone().or(spec.working_dir.take());
    for variable in &args.env {
        let (name, value) = if let Some((name, value)) = variable.split_once('=') {
            (name, Some(value.to_owned()))
        } else {
            let environment = &world.settings.load.environment;
            (variable.as_str(), environment.get(variable).cloned())
        };
        spec.environment.insert(name.to_owned(), value);
    }
    Ok(instance)
}

/// Pulls the image where the engine lacks it; whether it did.
async fn bring_image<B: Backend>(
    world: &World<'_, B>,
    desired: &DesiredState,
    service: &str,
    observed: &ObservedState,
) -> Result<bool, CliError> {
    let Some(spec) = desired.services.get(service) else {
        return Ok(false);
    };
    let pinned = spec.pinned.as_ref();
    let image = pinned.map_or(&spec.container.image, |pinned| &pinned.id);
    if observed.images.contains_key(image) {
        return Ok(false);
    }
    let ImageSource::Pull { reference, .. } = &spec.image else {
        return Err(
            CliError::new(Exit::Exec, format!("the image of {service} is not built"))
                .hint(format!("shopctl build {service}")),
        );
    };
    let (progress, _) = mpsc::channel(1);
    let platform = spec.container.platform.as_deref();
    let digest = pinned.and_then(|pinned| pinned.repo_digest.as_ref());
    let reference = digest.unwrap_or(reference);
    world.backend.pull(reference, platform, progress).await?;
    Ok(true)
}

/// Refuses where a network or volume is missing: a deploy makes them, and the engine
/// would make a volume that nobody knows.
fn grounded(instance: &InstanceSpec, observed: &ObservedState) -> Result<(), CliError> {
    let networks = instance.networks.values();
    let volumes = instance.volumes.values().chain(instance.files.values());
    let missing = networks
        .filter(|name| !observed.networks.contains_key(*name))
        .map(|name| format!("network {name}"))
        .chain(
            volumes
                .filter(|name| !observed.volumes.contains_key(*name))
                .map(|name| format!("volume {name}")),
        )
        .next();
    match missing {
        None => Ok(()),
        Some(what) => {
            let message = format!("{what} does not exist");
            Err(CliError::new(Exit::Exec, message).hint("shopctl deploy"))
        }
    }
}

/// Refuses where secrets are gone that were in memory only: the engine would mount
/// nothing in their place.
fn held(
    desired: &DesiredState,
    instance: &InstanceSpec,
    observed: &ObservedState,
) -> Result<(), CliError> {
    let in_memory = |set: &String| desired.files.get(set).is_some_and(|set| set.memory);
    let mut volumes = instance.files.iter().filter(|(set, _)| in_memory(set));
    if volumes.all(|(_, volume)| plan::holder(observed, volume).is_some()) {
        return Ok(());
    }
    let message = format!(
        "the secrets of {} were in memory only and are lost",
        instance.service
    );
    Err(CliError::new(Exit::Exec, message).hint("shopctl deploy"))
}

fn instance_stack(instance: &InstanceSpec) -> String {
    let label = instance.labels.get(crate::state::names::STACK);
    label.cloned().unwrap_or_default()
}

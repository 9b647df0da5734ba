//! `run` on an engine: a container beside those of the service.

use tokio::sync::mpsc;

use super::Command;
use super::unknown;
use crate::backend::Backend;
use crate::backend::Context;
use crate::backend::Query;
use crate::cli::error::CliError;
use crate::cli::exit::Exit;
use crate::cli::signals::Signals;
use crate::cli::world::World;
use crate::plan;
use crate::plan::Options;
use crate::plan::PlanInput;
use crate::plan::action::Action;
use crate::plan::action::InstanceSpec;
use crate::state::desired::DesiredState;
use crate::state::desired::ImageSource;
use crate::state::observed::ObservedState;

/// Makes it, and does not start it. From then on signals are its.
pub(super) async fn make<B: Backend>(
    world: &World<'_, B>,
    desired: &DesiredState,
    command: &Command<'_>,
    context: &Context,
) -> Result<(Signals, String), CliError> {
    let instance = instance(world, desired, command).await?;
    let signals = Signals::new();
    let name = instance.name.clone();
    let create = Action::CreateInstance { instance };
    world.backend.apply(context, &create).await?;
    Ok((signals, name))
}

/// The container to make.
async fn instance<B: Backend>(
    world: &World<'_, B>,
    desired: &DesiredState,
    command: &Command<'_>,
) -> Result<InstanceSpec, CliError> {
    let service = command.args.service.as_str();
    let mut observed = world.backend.observe(&Query::of(desired)).await?;
    if bring_image(world, desired, service, &observed).await? {
        observed = world.backend.observe(&Query::of(desired)).await?;
    }
    let input = PlanInput {
        desired,
        observed: &observed,
        options: &Options::default(),
    };
    let name = format!("{}-{service}-run-{}", desired.stack, command.id);
    let mut instance = plan::one_off(&input, service, name).ok_or_else(|| unknown(service))?;
    grounded(&instance, &observed)?;
    held(desired, &instance, &observed)?;
    command.settle(world, &mut instance.spec);
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

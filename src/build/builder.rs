//! Builds the image of a service, unless the engine has it.

use std::path::Path;

use tokio::sync::mpsc;

use super::BuildError;
use super::BuildInputs;
use super::context::Context;
use super::identify;
use crate::backend::BackendError;
use crate::backend::BuildRequest;
use crate::backend::Images;
use crate::state::observed::ImageInfo;

/// Times that a context may change under our hands.
const TRIES: u32 = 3;

/// An image that is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its tag.
    pub tag: String,
    /// What the engine says of it.
    pub image: ImageInfo,
    /// Whether anything was sent to the engine.
    pub sent: bool,
}

/// Makes sure that the engine has the image; prepare commands must have run. With
/// `force` it is built even when present.
pub async fn build(
    images: &dyn Images,
    inputs: &BuildInputs,
    cache: &Path,
    force: bool,
    progress: mpsc::Sender<String>,
) -> Result<Built, BuildError> {
    let tag = blocking(inputs, cache, |inputs, cache| {
        identify::tag(inputs, &Context::list(inputs)?, cache)
    })
    .await?;
    if !force && let Some(image) = images.image(&tag).await? {
        return Ok(Built {
            tag,
            image,
            sent: false,
        });
    }
    let (tag, request) = blocking(inputs, cache, request).await?;
    let image = images.build(request, progress).await?;
    Ok(Built {
        tag,
        image,
        sent: true,
    })
}

/// Packs what the tag stands for: a file may change between the look and the read.
fn request(inputs: &BuildInputs, cache: &Path) -> Result<(String, BuildRequest), BuildError> {
    for _ in 0..TRIES {
        let context = Context::list(inputs)?;
        let tag = identify::tag(inputs, &context, cache)?;
        let archive = context.pack(inputs)?;
        let after = identify::tag(inputs, &Context::list(inputs)?, cache)?;
        if after != tag {
            continue;
        }
        let request = BuildRequest {
            tag: tag.clone(),
            context: archive,
            dockerfile: context.dockerfile,
            args: inputs.args.clone(),
            target: inputs.target.clone(),
            labels: inputs.labels.clone(),
            extra_tags: inputs.tags.clone(),
            cache_from: inputs.cache_from.clone(),
            no_cache: inputs.no_cache,
            pull: inputs.pull,
            network: inputs.network.clone(),
            platform: inputs.platform.clone(),
            shm_size: inputs.shm_size,
            extra_hosts: inputs.extra_hosts.clone(),
        };
        return Ok((tag, request));
    }
    Err(BuildError::Unsettled {
        service: inputs.service.clone(),
        context: inputs.context.clone(),
    })
}

/// Reads files on a thread of its own.
async fn blocking<T: Send + 'static>(
    inputs: &BuildInputs,
    cache: &Path,
    work: impl FnOnce(&BuildInputs, &Path) -> Result<T, BuildError> + Send + 'static,
) -> Result<T, BuildError> {
    let (inputs, cache) = (inputs.clone(), cache.to_owned());
    tokio::task::spawn_blocking(move || work(&inputs, &cache))
        .await
        .map_err(|source| BackendError::Other {
            doing: "read the build context".to_owned(),
            source: Box::new(source),
        })?
}

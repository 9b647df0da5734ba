//! The identity of an image before it is built: a digest of all that goes into it.

use std::path::Path;

use super::BuildError;
use super::BuildInputs;
use super::context::Context;
use super::digests::Digests;
use super::prepare;
use crate::state::names;

/// Changes when the digest comes to cover something else, so that no old image is
/// taken for a new one.
const VERSION: &str = "1";

/// The tag of a service's image, `<stack>-<service>:<12 hex>`; `None` while prepare
/// commands have yet to run, since they may change the context. Reads files, runs
/// nothing; `cache` is a folder of this user.
pub fn identify(inputs: &BuildInputs, cache: &Path) -> Result<Option<String>, BuildError> {
    if prepare::is_due(inputs, cache)? {
        return Ok(None);
    }
    let context = Context::list(inputs)?;
    tag(inputs, &context, cache).map(Some)
}

/// The tag of an image made of a listed context.
pub(super) fn tag(
    inputs: &BuildInputs,
    context: &Context,
    cache: &Path,
) -> Result<String, BuildError> {
    let mut digests = Digests::open(cache, &inputs.context);
    let content = context.digest(inputs, &mut digests)?;
    // The cache only saves time; a read-only home must not stop a plan.
    let _ = digests.save();
    let all = serde_json::json!([
        VERSION,
        content,
        context.dockerfile,
        inputs.args,
        inputs.target,
        inputs.labels,
        inputs.network,
        inputs.platform,
        inputs.shm_size,
        inputs.extra_hosts,
    ]);
    let digest = names::hex(all.to_string().as_bytes());
    let name = format!("{}-{}", inputs.stack, inputs.service).to_lowercase();
    Ok(format!("{name}:{}", &digest[..12]))
}

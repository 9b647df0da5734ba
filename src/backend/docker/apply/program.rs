//! Our own program in a stack's store, from where running gateways start it.

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::Docker;
use crate::backend::BackendError;
use crate::backend::Context;
use crate::backend::docker::archive::Archive;
use crate::backend::docker::store::OWNER;
use crate::state::names;

/// Its folder in the store; see `shop_gateway::Succession`.
const FOLDER: &str = "bin";
/// Gateways start programs and cannot change them.
const ROOT: (u32, u32) = (0, 0);

impl Docker {
    /// Puts the executable of our image into the store. It is another one where another
    /// shopctl made the plan.
    pub(super) async fn store_program(
        &self,
        context: &Context,
        program: &str,
    ) -> Result<(), BackendError> {
        if !context.helper_image.ends_with(&format!(":{program}")) {
            return Err(BackendError::Unsupported(format!(
                "data plane {program} with a shopctl that brings {}",
                context.helper_image
            )));
        }
        let (binary, name) = (context.helper_binary.clone(), program.to_owned());
        let packed = tokio::task::spawn_blocking(move || packed(&binary, &name)).await;
        let archive = packed.map_err(io::Error::other).flatten();
        let archive = archive.map_err(|source| BackendError::Other {
            doing: format!("pack {}", context.helper_binary.display()),
            source: Box::new(source),
        })?;
        let holders = self.holders(&context.stack).await?;
        self.put_in_store(&context.stack, &holders, archive).await?;
        Ok(())
    }
}

/// The digest first: a program without one is never started.
fn packed(binary: &Path, program: &str) -> io::Result<Bytes> {
    let content = std::fs::read(binary)?;
    let digest = names::hex(&content);
    let mut archive = Archive::new();
    archive.folder(FOLDER, OWNER, 0o700)?;
    let name = format!("{FOLDER}/{program}");
    archive.file(&format!("{name}.sha256"), ROOT, 0o444, digest.as_bytes())?;
    archive.file(&name, ROOT, 0o555, &content)?;
    archive.finish()
}

//! Our own image: one static executable on nothing, packed here and loaded through
//! the API, so neither a builder nor a registry is needed. Its tag is a digest of
//! the data plane's sources: the same tag is the same image, and nothing is sent.

use std::io;
use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::archive::Archive;
use super::store::FOLDER;
use super::store::OWNER;
use crate::backend::BackendError;
use crate::backend::Images;
use crate::state::names;

const ROOT: (u32, u32) = (0, 0);
const REPOSITORY: &str = "shopctl-gateway";

/// The tag of the image that belongs to this build of shopctl.
pub fn tag() -> String {
    format!("{REPOSITORY}:{}", env!("SHOPCTL_DATA_PLANE"))
}

/// Makes sure that the engine has the image `tag`, made of the static executable at
/// `binary` when it has not. Says whether anything was sent.
pub async fn ensure(images: &dyn Images, tag: &str, binary: &Path) -> Result<bool, BackendError> {
    if images.image(tag).await?.is_some() {
        return Ok(false);
    }
    let other = |source: io::Error| BackendError::Other {
        doing: format!("pack {} as image {tag}", binary.display()),
        source: Box::new(source),
    };
    let content = tokio::fs::read(binary).await.map_err(other)?;
    images.load(archive(&content, tag).map_err(other)?).await?;
    Ok(true)
}

/// A docker archive with the executable as `/shopctl`; the same bytes in, the same
/// bytes out.
pub fn archive(binary: &[u8], tag: &str) -> io::Result<Bytes> {
    let layer = layer(binary)?;
    let config = json!({
        "architecture": architecture(binary),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": format!("{}:{}", OWNER.0, OWNER.1),
            "Entrypoint": ["/shopctl"],
            "WorkingDir": "/",
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", names::hex(&layer))] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "shopctl" }],
    })
    .to_string();
    let config_name = format!("{}.json", names::hex(config.as_bytes()));
    let manifest = json!([{
        "Config": config_name,
        "RepoTags": [tag],
        "Layers": ["layer.tar"],
    }])
    .to_string();
    let mut archive = Archive::new();
    archive
        .file(&config_name, ROOT, 0o644, config.as_bytes())?
        .file("layer.tar", ROOT, 0o644, &layer)?
        .file("manifest.json", ROOT, 0o644, manifest.as_bytes())?;
    archive.finish()
}

fn layer(binary: &[u8]) -> io::Result<Bytes> {
    let mut archive = Archive::new();
    archive
        .folder("run", ROOT, 0o755)?
        .folder(FOLDER.trim_start_matches('/'), OWNER, 0o700)?
        .folder("tmp", OWNER, 0o700)?
        .file("shopctl", ROOT, 0o755, binary)?;
    archive.finish()
}

/// By the machine field of the ELF header, so that the image of a cross-built
/// executable is labelled right.
fn architecture(binary: &[u8]) -> &'static str {
    match binary.get(18..20) {
        Some([0xb7, 0]) => "arm64",
        Some([0x28, 0]) => "arm",
        Some([0xf3, 0]) => "riscv64",
        Some([0x16, 0]) => "s390x",
        Some([0x15, 0]) => "ppc64le",
        _ => "amd64",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::docker::archive::files_in;

    #[test]
    fn the_same_executable_is_the_same_image() {
        let one = archive(b"binary", "shopctl-gateway:1").unwrap();
        assert_eq!(one, archive(b"binary", "shopctl-gateway:1").unwrap());
        assert_ne!(one, archive(b"other", "shopctl-gateway:1").unwrap());
    }

    #[test]
    fn the_layer_has_what_the_gateway_needs() {
        let layer = layer(b"binary").unwrap();
        let found: Vec<String> = tar::Archive::new(&layer[..])
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                let (uid, mode) = (header.uid().unwrap(), header.mode().unwrap());
                format!("{path} {uid} {mode:o}")
            })
            .collect();
        assert_eq!(
            found,
            [
                "run 0 755",
                "run/shopctl 65532 700",
                "tmp 65532 700",
                "shopctl 0 755"
            ]
        );
        assert_eq!(files_in(&layer).unwrap()[""], b"binary");
    }

    #[test]
    fn the_tag_is_twelve_hex_digits() {
        let tag = tag();
        let digest = tag.strip_prefix("shopctl-gateway:").unwrap();
        assert!(digest.len() == 12 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn the_architecture_is_read_from_the_executable() {
        let mut elf = vec![0_u8; 64];
        elf[18] = 0xb7;
        assert_eq!(architecture(&elf), "arm64");
        assert_eq!(architecture(b""), "amd64");
    }
}

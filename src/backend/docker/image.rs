//! Our own image: one static executable on nothing, packed here and loaded through
//! the API, so neither a builder nor a registry is needed. Its tag is a digest of
//! the data plane's sources: the same tag is the same image, and nothing is sent.

use std::fs::File;
use std::io;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use serde_json::json;

use super::archive::Archive;
use super::archive::file_header;
use super::store::FOLDER;
use super::store::MOUNT;
use super::store::OWNER;
use crate::backend::BackendError;
use crate::backend::Images;
use crate::state::names;

const ROOT: (u32, u32) = (0, 0);
/// Enough of an executable to know its machine.
const ELF_HEAD: usize = 20;
/// Size of a tar header.
const BLOCK: usize = 512;
/// What the archive holds beside the executable, generously.
const ROOM: usize = 64 << 10;
const REPOSITORY: &str = "shopctl-gateway";

/// The tag of the image that belongs to this build of shopctl.
pub fn tag() -> String {
    format!("{REPOSITORY}:{}", program())
}

/// What this build of shopctl is called as a program that gateways run: the digest of
/// its data plane.
pub const fn program() -> &'static str {
    env!("SHOPCTL_DATA_PLANE")
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
    let (path, name) = (binary.to_owned(), tag.to_owned());
    let packed = tokio::task::spawn_blocking(move || {
        let file = File::open(&path)?;
        let size = file.metadata()?.len();
        archive(file, size, &name)
    });
    let archive = packed
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(other)?;
    images.load(archive).await?;
    Ok(true)
}

/// A docker archive with the executable as `/shopctl`; the same bytes in, the same
/// bytes out. The executable is in memory once: it is by far the largest part.
pub fn archive(mut binary: impl Read, size: u64, tag: &str) -> io::Result<Bytes> {
    let mut head = [0_u8; ELF_HEAD];
    let known = usize::try_from(size).map_or(ELF_HEAD, |size| size.min(ELF_HEAD));
    binary.read_exact(&mut head[..known])?;
    let architecture = architecture(&head);
    let room = usize::try_from(size).map_err(io::Error::other)? + ROOM;
    let mut out = Vec::with_capacity(room);
    // The layer's own header is known when the layer is.
    out.resize(BLOCK, 0);
    layer(&mut out, head[..known].chain(binary), size)?;
    let layer_size = u64::try_from(out.len() - BLOCK).map_err(io::Error::other)?;
    let header = file_header("layer.tar", 0o644, layer_size)?;
    out[..BLOCK].copy_from_slice(header.as_bytes());
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "User": format!("{}:{}", OWNER.0, OWNER.1),
            "Entrypoint": ["/shopctl"],
            "WorkingDir": "/",
        },
        "rootfs": {
            "type": "layers",
            "diff_ids": [format!("sha256:{}", names::hex(&out[BLOCK..]))],
        },
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
    let mut archive = Archive::onto(&mut out);
    archive
        .file(&config_name, ROOT, 0o644, config.as_bytes())?
        .file("manifest.json", ROOT, 0o644, manifest.as_bytes())?;
    archive.close()?;
    Ok(out.into())
}

fn layer(out: &mut Vec<u8>, binary: impl Read, size: u64) -> io::Result<()> {
    let mut archive = Archive::onto(out);
    archive
        .folder("run", ROOT, 0o755)?
        .folder(MOUNT.trim_start_matches('/'), OWNER, 0o700)?
        .folder(FOLDER.trim_start_matches('/'), OWNER, 0o700)?
        .folder("tmp", OWNER, 0o700)?
        .stream("shopctl", ROOT, 0o755, size, binary)?;
    archive.close()
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
        let pack = |binary: &[u8]| {
            let size = u64::try_from(binary.len()).unwrap();
            archive(binary, size, "shopctl-gateway:1").unwrap()
        };
        assert_eq!(pack(b"binary"), pack(b"binary"));
        assert_ne!(pack(b"binary"), pack(b"other"));
        let whole = pack(&vec![7; 100_000]);
        assert_eq!(files_in(&whole).unwrap().len(), 1, "names have no folder");
    }

    #[test]
    fn the_layer_has_what_the_gateway_needs() {
        let mut layer = Vec::new();
        super::layer(&mut layer, &b"binary"[..], 6).unwrap();
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
                "run/shopctl/live 65532 700",
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
